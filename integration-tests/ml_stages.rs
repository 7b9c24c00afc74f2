//! Stages that scale and complete, against Spark ML's own; stages fitted together in one query.

use spark_connect::functions::expr;
use tinderbox::{
    advanced::NativeStage,
    dataframe::DataFrame,
    ml::{
        Estimator, Pipeline, Transformer,
        feature::{
            HandleInvalid, Imputer, ImputerStrategy, MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler,
            StringIndexer, VectorAssembler,
        },
    },
    session::Session,
};

use crate::{
    ml::{Reference, assert_close, assert_same_vectors, mixed},
    support::{rows, session, spark_ml::Operator},
};

/// Vectors with NaN, a constant, zeros and numbers of both signs; without metadata if `bare`.
async fn raw(spark: &Session, seed: i64, bare: bool) -> DataFrame {
    let assembler = VectorAssembler::new(["float", "same", "real", "few", "dec", "flag"], "raw");
    let frame = assembler.handle_invalid(HandleInvalid::Keep).transform(&mixed(spark, seed)).await.unwrap();
    if bare { frame.with_metadata("raw", &Default::default()) } else { frame }
}

/// Fits a stage of ours, alone and in a pipeline; the second as it comes back from JSON.
async fn both_ways<E: Estimator + Clone>(stage: E, frame: &DataFrame) -> [DataFrame; 2] {
    let alone = stage.fit(frame).await.unwrap().transform(frame).await.unwrap();
    let together = Pipeline::new().stage(stage).fit(frame).await.unwrap();
    let restored = NativeStage::from_json(&Transformer::native(&together).unwrap().to_json()).unwrap();
    [alone, restored.into_transformer().transform(frame).await.unwrap()]
}

#[tokio::test]
async fn the_scalers_give_what_spark_mls_give() {
    let spark = session().await;
    for (seed, bare) in [(1, false), (2, true)] {
        let frame = raw(&spark, seed, bare).await;
        let operator = |class| Operator::feature(class).text("inputCol", "raw").text("outputCol", "out");
        let theirs = operator("MinMaxScaler").number("min", -1.0).number("max", 3.0);
        let theirs = theirs.fit_apply(&frame, &frame).await.unwrap();
        for ours in both_ways(MinMaxScaler::new("raw", "out").min(-1.0).max(3.0), &frame).await {
            assert_same_vectors(&ours, &theirs, "out", 0.0).await;
        }
        let theirs = operator("MaxAbsScaler").fit_apply(&frame, &frame).await.unwrap();
        for ours in both_ways(MaxAbsScaler::new("raw", "out"), &frame).await {
            assert_same_vectors(&ours, &theirs, "out", 0.0).await;
        }
        let theirs = operator("RobustScaler").flag("withCentering", true).number("lower", 0.1);
        let theirs = theirs.fit_apply(&frame, &frame).await.unwrap();
        for ours in both_ways(RobustScaler::new("raw", "out").with_centering(true).lower(0.1), &frame).await {
            assert_same_vectors(&ours, &theirs, "out", 0.0).await;
        }
        let finite = VectorAssembler::new(["float", "same", "dec"], "v").transform(&frame).await.unwrap();
        let theirs = Operator::feature("StandardScaler").text("inputCol", "v").text("outputCol", "out");
        let theirs = theirs.flag("withMean", true).fit_apply(&finite, &finite).await.unwrap();
        for ours in both_ways(StandardScaler::new("v", "out").with_mean(true), &finite).await {
            assert_close(&ours, &theirs, "out").await;
        }
    }
    let frame = raw(&spark, 3, false).await;
    assert!(MinMaxScaler::new("raw", "out").min(1.0).fit(&frame).await.unwrap_err().to_string().contains("`min`"));
    assert!(RobustScaler::new("raw", "out").upper(1.5).fit(&frame).await.unwrap_err().to_string().contains("`lower`"));
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn the_imputer_gives_what_spark_mls_gives() {
    let spark = session().await;
    for (seed, strategy, name) in
        [(1, ImputerStrategy::Mean, "mean"), (2, ImputerStrategy::Median, "median"), (3, ImputerStrategy::Mode, "mode")]
    {
        for missing in [f64::NAN, 1.0] {
            let frame = mixed(&spark, seed).with_column("tied", expr("IF(id % 4 = 0, NULL, CAST(id % 2 AS FLOAT))"));
            let (inputs, outputs) = (["real", "few", "tied", "dec"], ["a", "b", "c", "d"]);
            let ours = Imputer::new(inputs, outputs).strategy(strategy).missing_value(missing);
            let theirs = Operator::feature("Imputer").texts("inputCols", &inputs).texts("outputCols", &outputs);
            let theirs = theirs.text("strategy", name).number("missingValue", missing);
            let theirs = theirs.fit_apply(&frame, &frame).await.unwrap();
            let picked = |frame: &DataFrame| frame.select(["id", "a", "b", "c", "d"]).order_by(["id"]);
            for ours in both_ways(ours, &frame).await {
                assert_eq!(rows(&picked(&ours)).await, rows(&picked(&theirs)).await, "{name}, {missing}");
                let types = |schema: tinderbox::dataframe::Schema| schema.to_string();
                let (mine, reference) = (picked(&ours).schema().await, picked(&theirs).schema().await);
                assert_eq!(types(mine.unwrap()), types(reference.unwrap()));
            }
        }
    }
    let none = mixed(&spark, 4).select_expr(["CAST(NULL AS DOUBLE) AS x"]);
    let error = Imputer::new(["x"], ["y"]).fit(&none).await.unwrap_err().to_string();
    assert!(error.contains("column `x`") && error.contains("at least one number"), "{error}");
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn stages_fitted_together_learn_what_spark_mls_learn_one_by_one() {
    let spark = session().await;
    let frame = mixed(&spark, 7).repartition(3);
    for (imputed, missing) in [(["real", "few"], f64::NAN), (["dec", "few"], 1.0)] {
        let pipeline = Pipeline::new()
            .stage(StringIndexer::new("wo.rd", "label"))
            .stage(Imputer::new(imputed, ["a", "b"]).missing_value(missing))
            .stage(VectorAssembler::new(["a", "b", "float"], "raw"))
            .stage(StandardScaler::new("raw", "features").with_mean(true))
            .stage(StringIndexer::new("few", "few_index").handle_invalid(HandleInvalid::Keep))
            .stage(MinMaxScaler::new("raw", "ranged"));
        let ours = pipeline.fit(&frame).await.unwrap().transform(&frame).await.unwrap();

        let operator = Operator::feature;
        let indexed =
            operator("StringIndexer").texts("inputCols", &["word", "few"]).texts("outputCols", &["label", "few_index"]);
        let plain = frame.with_column_renamed("wo.rd", "word");
        let theirs = indexed.text("handleInvalid", "keep").fit_apply(&plain, &plain).await.unwrap();
        let imputer = operator("Imputer").texts("inputCols", &imputed).texts("outputCols", &["a", "b"]);
        let theirs = imputer.number("missingValue", missing).fit_apply(&theirs, &theirs).await.unwrap();
        let assembler = operator("VectorAssembler").texts("inputCols", &["a", "b", "float"]);
        let theirs = assembler.text("outputCol", "raw").apply(&theirs);
        let scaler = operator("StandardScaler").text("inputCol", "raw").text("outputCol", "features");
        let theirs = scaler.flag("withMean", true).fit_apply(&theirs, &theirs).await.unwrap();
        let ranged = operator("MinMaxScaler").text("inputCol", "raw").text("outputCol", "ranged");
        let theirs = ranged.fit_apply(&theirs, &theirs).await.unwrap();
        let picked = |frame: &DataFrame| frame.select(["id", "label", "few_index"]).order_by(["id"]);
        assert_eq!(rows(&picked(&ours)).await, rows(&picked(&theirs)).await);
        assert_close(&ours, &theirs, "features").await;
        assert_close(&ours, &theirs, "ranged").await;
    }
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn a_stage_learns_from_the_rows_that_those_before_it_leave() {
    let spark = session().await;
    let frame = mixed(&spark, 8);
    let pipeline = Pipeline::new()
        .stage(MaxAbsScaler::new("all", "all_scaled"))
        .stage(VectorAssembler::new(["real"], "some").handle_invalid(HandleInvalid::Skip))
        .stage(StandardScaler::new("some", "scaled"))
        .stage(StringIndexer::new("wo.rd", "label"));
    let frame = VectorAssembler::new(["dec"], "all").transform(&frame).await.unwrap();
    let model = pipeline.fit(&frame).await.unwrap();
    let left = frame.filter_expr("real IS NOT NULL AND NOT isnan(real)");
    let expected = StringIndexer::new("wo.rd", "label").fit(&left).await.unwrap();
    assert_eq!(model.stages()[3].native(), Some(expected.native().unwrap()));
    let expected = MaxAbsScaler::new("all", "all_scaled").fit(&frame).await.unwrap();
    assert_eq!(model.stages()[0].native(), expected.native());

    // Classes of no row are none, and what else is asked for says so.
    let empty = frame.filter_expr("id < 0");
    let both = Pipeline::new().stage(StringIndexer::new("wo.rd", "label")).stage(Imputer::new(["real"], ["x"]));
    let error = both.fit(&empty).await.unwrap_err().to_string();
    assert!(error.contains("column `real`"), "{error}");
    // A value that the assembler refuses stops the fit of what reads it.
    let refused = Pipeline::new()
        .stage(VectorAssembler::new(["real"], "v"))
        .stage(MinMaxScaler::new("v", "out"))
        .fit(&frame)
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("Column `real` is null or NaN"), "{refused}");
    spark.stop().await.unwrap();
}
