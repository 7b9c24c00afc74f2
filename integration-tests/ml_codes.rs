//! Stages of classes, buckets and lengths, against Spark ML's own.

use spark_connect::functions::expr;
use tinderbox::{
    advanced::NativeStage,
    dataframe::DataFrame,
    ml::{
        Estimator, Pipeline, Transformer,
        feature::{
            Bucketizer, HandleInvalid, Imputer, ImputerStrategy, IndexToString, MaxAbsScaler, MaxAbsScalerModel,
            MinMaxScaler, MinMaxScalerModel, Normalizer, OneHotEncoder, QuantileDiscretizer, StringIndexer,
            StringIndexerModel, VectorAssembler,
        },
    },
    session::Session,
};

use crate::{
    ml::{Reference, assert_close, assert_same_vectors, metadata, mixed},
    support::{rows, session, spark_ml::Operator},
};

/// A stage as it comes back from JSON.
fn restored(stage: &dyn Transformer) -> Box<dyn Transformer> {
    NativeStage::from_json(&stage.native().unwrap().to_json()).unwrap().into_transformer()
}

/// Words that spell without a dot, indexed by us.
async fn indexed(spark: &Session, seed: i64, of: &str) -> DataFrame {
    let frame = mixed(spark, seed).with_column_renamed("wo.rd", "word").filter_expr(of);
    StringIndexer::new("word", "label").fit(&frame).await.unwrap().transform(&frame).await.unwrap()
}

#[tokio::test]
async fn class_names_come_back_as_spark_ml_gives_them() {
    let spark = session().await;
    let frame = indexed(&spark, 1, "true").await;
    let ours = restored(&IndexToString::new("label", "name")).transform(&frame).await.unwrap();
    let theirs = Operator::feature("IndexToString").text("inputCol", "label").text("outputCol", "name").apply(&frame);
    let picked = |frame: &DataFrame| frame.select(["id", "name"]).order_by(["id"]);
    assert_eq!(rows(&picked(&ours)).await, rows(&picked(&theirs)).await);
    assert_eq!(rows(&ours.filter_expr("name != word")).await, Vec::<String>::new());

    let named = IndexToString::new("few", "name").labels(["zero", "one"]).transform(&frame).await.unwrap();
    assert_eq!(rows(&named.filter_expr("few = 1").select(["name"]).limit(1)).await, ["one"]);
    assert_eq!(named.filter_expr("few IS NULL AND name IS NOT NULL").count().await.unwrap(), 0);
    let unseen = named.filter_expr("few = 2").collect().await.unwrap_err().to_string();
    assert!(unseen.contains("Unseen index in column `few`: 2.0"), "{unseen}");
    let bare = IndexToString::new("few", "name").transform(&frame).await.unwrap_err().to_string();
    assert!(bare.contains("class names in its metadata"), "{bare}");
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn the_one_hot_encoder_gives_what_spark_mls_gives() {
    let spark = session().await;
    // Spark's own refuses a class without a name.
    let frame = indexed(&spark, 2, "word != ''").await.with_column("few", expr("CAST(coalesce(few, 0) AS DOUBLE)"));
    for (drop_last, handling, invalid) in [
        (true, HandleInvalid::Error, "error"),
        (false, HandleInvalid::Error, "error"),
        (true, HandleInvalid::Keep, "keep"),
        (false, HandleInvalid::Keep, "keep"),
    ] {
        // Fitted to a part: what `keep` is for. The label's classes are in its metadata, those of `few` are not.
        let fitted_to = if handling == HandleInvalid::Keep { frame.filter_expr("few < 2") } else { frame.clone() };
        let ours = OneHotEncoder::new(["label", "few"], ["a", "b"]).drop_last(drop_last).handle_invalid(handling);
        let model = ours.fit(&fitted_to).await.unwrap();
        let ours = restored(model.as_ref()).transform(&frame).await.unwrap();
        let theirs = Operator::feature("OneHotEncoder")
            .texts("inputCols", &["label", "few"])
            .texts("outputCols", &["a", "b"])
            .flag("dropLast", drop_last)
            .text("handleInvalid", invalid);
        let theirs = theirs.fit_apply(&fitted_to, &frame).await.unwrap();
        assert_same_vectors(&ours, &theirs, "a", 0.0).await;
        assert_same_vectors(&ours, &theirs, "b", 0.0).await;
    }
    let part = frame.filter_expr("few < 2");
    let model = OneHotEncoder::new(["few"], ["b"]).fit(&part).await.unwrap();
    let unseen = model.transform(&frame).await.unwrap().collect().await.unwrap_err().to_string();
    assert!(unseen.contains("Unseen index in column `few`: 2.0"), "{unseen}");
    let nameless = indexed(&spark, 3, "word = ''").await;
    let nameless =
        OneHotEncoder::new(["label"], ["a"]).drop_last(false).fit(&nameless).await.unwrap().transform(&nameless).await;
    let named = metadata(&nameless.unwrap(), "a").await;
    assert!(named.to_string().contains("\"name\":\"0\""), "{named}");
    let odd = OneHotEncoder::new(["float"], ["b"]).fit(&frame).await.unwrap_err().to_string();
    assert!(odd.contains("column `float`") && odd.contains("expected class indices"), "{odd}");
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn buckets_hold_and_are_named_as_spark_ml_has_them() {
    let spark = session().await;
    let splits = [f64::NEG_INFINITY, -100.0, -0.5, 0.001, 12345678.5, f64::INFINITY];
    let frame = mixed(&spark, 3);
    for (handling, invalid) in [(HandleInvalid::Keep, "keep"), (HandleInvalid::Skip, "skip")] {
        let ours = restored(&Bucketizer::new("real", "out", splits).handle_invalid(handling));
        let ours = ours.transform(&frame).await.unwrap();
        let theirs = Operator::feature("Bucketizer").text("inputCol", "real").text("outputCol", "out");
        let theirs = theirs.numbers("splits", &splits).text("handleInvalid", invalid).apply(&frame);
        let picked = |frame: &DataFrame| frame.select(["id", "out"]).order_by(["id"]);
        assert_eq!(rows(&picked(&ours)).await, rows(&picked(&theirs)).await, "{invalid}");
        assert_eq!(metadata(&ours, "out").await, metadata(&theirs, "out").await, "{invalid}");
    }
    let edges = spark.range(0, 5).select_expr(["id", "CAST(id AS DOUBLE) AS x"]);
    let bucketed = Bucketizer::new("x", "out", [0.0, 2.0, 3.0]).transform(&edges).await.unwrap();
    let buckets = bucketed.filter_expr("id < 4").select(["id", "out"]).order_by(["id"]);
    assert_eq!(rows(&buckets).await, ["0|0.0", "1|0.0", "2|1.0", "3|1.0"]);
    let outside = bucketed.collect().await.unwrap_err().to_string();
    assert!(outside.contains("column `x`") && outside.contains("outside the buckets"), "{outside}");
    let nan = Bucketizer::new("real", "out", splits).transform(&frame).await.unwrap();
    assert!(nan.collect().await.unwrap_err().to_string().contains("Column `real` is NaN"));
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn quantiles_and_lengths_are_those_of_spark_ml() {
    let spark = session().await;
    for (seed, buckets) in [(4, 2), (5, 7)] {
        let frame = mixed(&spark, seed);
        let ours = QuantileDiscretizer::multi(["real", "few"], ["a", "b"]).num_buckets(buckets);
        let ours = ours.handle_invalid(HandleInvalid::Keep).fit(&frame).await.unwrap();
        let ours = ours.transform(&frame).await.unwrap();
        let theirs = Operator::feature("QuantileDiscretizer").texts("inputCols", &["real", "few"]);
        let theirs = theirs.texts("outputCols", &["a", "b"]).int("numBuckets", buckets as i32);
        let theirs = theirs.text("handleInvalid", "keep").fit_apply(&frame, &frame).await.unwrap();
        let picked = |frame: &DataFrame| frame.select(["id", "a", "b"]).order_by(["id"]);
        assert_eq!(rows(&picked(&ours)).await, rows(&picked(&theirs)).await, "{buckets}");
        assert_eq!(metadata(&ours, "a").await, metadata(&theirs, "a").await);
    }
    let same = QuantileDiscretizer::new("same", "out").fit(&mixed(&spark, 6)).await;
    assert!(same.is_ok(), "one border between two infinite ones");
    let none = QuantileDiscretizer::new("real", "out").fit(&mixed(&spark, 6).filter_expr("real IS NULL")).await;
    assert!(none.unwrap_err().to_string().contains("column `real`"));

    let frame = VectorAssembler::new(["float", "dec", "same"], "raw").transform(&mixed(&spark, 7)).await.unwrap();
    let frame = frame.with_column("zero", expr("0D"));
    for p in [1.0, 2.0, 3.5, f64::INFINITY] {
        let ours = restored(&Normalizer::new("raw", "out").p(p)).transform(&frame).await.unwrap();
        let theirs = Operator::feature("Normalizer").text("inputCol", "raw").text("outputCol", "out");
        assert_close(&ours, &theirs.number("p", p).apply(&frame), "out").await;
    }
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn stages_are_fitted_in_as_few_queries_as_their_inputs_allow() {
    let spark = session().await;
    // The time stands still within a query and is another in the next: stages that learnt the same asked together.
    let now = |name| format!("unix_micros(current_timestamp()) AS {name}");
    let frame =
        spark.range(0, 40).select_expr(["id", &now("word"), &format!("DOUBLE({}", now("x").replace(" AS", ") AS"))]);
    let pipeline = Pipeline::new()
        .stage(StringIndexer::new("word", "label"))
        .stage(Imputer::new(["x"], ["filled"]).strategy(ImputerStrategy::Median))
        .stage(VectorAssembler::new(["x", "filled"], "raw"))
        .stage(MinMaxScaler::new("raw", "ranged"))
        .stage(MaxAbsScaler::new("raw", "small"))
        .stage(StringIndexer::new("x", "other"));
    let model = pipeline.fit(&frame).await.unwrap();
    let classes = |i: usize| {
        let model: &StringIndexerModel = model.stages()[i].as_any().downcast_ref().unwrap();
        model.labels()[0].iter().map(|label| label.parse::<f64>().unwrap()).collect::<Vec<_>>()
    };
    let first = classes(0);
    assert_eq!((first.len(), classes(5)), (1, first.clone()), "asked for with all that depends on no other stage");
    let ranged: &MinMaxScalerModel = model.stages()[3].as_any().downcast_ref().unwrap();
    let small: &MaxAbsScalerModel = model.stages()[4].as_any().downcast_ref().unwrap();
    assert_eq!(ranged.original_max()[0], small.max_abs()[0], "the scalers were asked for together");
    assert!(ranged.original_max()[0] > first[0], "after the others");
    let Some(NativeStage::ImputerModel(imputer)) = model.stages()[1].native() else { panic!() };
    assert_eq!(imputer.surrogates(), first, "with the classes");
    spark.stop().await.unwrap();
}
