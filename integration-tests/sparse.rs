//! Wide vectors of mostly zeros, from the stage that makes them to the scored table.

use arrow::{array::AsArray, datatypes::Float64Type};
use tinderbox::{
    DataProblem, Error,
    dataframe::{DataFrame, column, function},
    estimator::{Autoencoder, NeuralClassifier},
    ml::{
        Estimator, Pipeline, PipelineModel, Transformer,
        feature::{HandleInvalid, OneHotEncoder, StringIndexer, VectorAssembler},
        operator::RemoteTransformer,
    },
    nn::Network,
};

use crate::{
    ml::{Reference, assert_same_vectors},
    support::{database_for, rows, session, spark_ml::Operator},
};

/// 6,000 rows of 500 names; the class is the number in the name, modulo 3.
const NAMES: &str = "SELECT id, concat('name ', id % 500) AS name, CAST(id % 500 % 3 AS DOUBLE) AS label, \
                     CAST(id % 7 AS DOUBLE) AS x FROM range(0, 6000, 1, 4)";

/// The length of the longest vector of a column as JSON, in which a sparse one has no zeros.
async fn longest(frame: &DataFrame, vector: &str) -> i32 {
    let json = function("to_json", [function("struct", [column(vector).alias("v")])]);
    let longest = spark_connect::functions::max(function("octet_length", [json]));
    rows(&frame.agg([longest])).await[0].parse().unwrap()
}

#[tokio::test]
async fn encoders_make_sparse_vectors_equal_to_those_of_spark_ml() {
    let spark = session().await;
    let frame = spark.sql(NAMES).await.unwrap();
    let indexed = StringIndexer::new("name", "index").fit(&frame).await.unwrap();
    let indexed = indexed.into_transformer().transform(&frame).await.unwrap();
    for (keep, drop) in [(false, true), (true, false), (true, true)] {
        let (handling, invalid) = if keep { (HandleInvalid::Keep, "keep") } else { (HandleInvalid::Error, "error") };
        let encoder = OneHotEncoder::new(["index"], ["one"]).drop_last(drop).handle_invalid(handling);
        let encoder = encoder.fit(&indexed).await.unwrap().into_transformer();
        let ours = encoder.transform(&indexed).await.unwrap();
        assert!(longest(&ours, "one").await < 100, "there are zeros");
        let operator = Operator::feature("OneHotEncoder")
            .texts("inputCols", &["index"])
            .texts("outputCols", &["one"])
            .flag("dropLast", drop)
            .text("handleInvalid", invalid);
        let theirs = operator.fit_apply(&indexed, &indexed).await.unwrap();
        assert_same_vectors(&ours, &theirs, "one", 0.0).await;

        let ours = VectorAssembler::new(["x", "one", "label"], "features").transform(&ours).await.unwrap();
        assert!(longest(&ours, "features").await < 150, "there are zeros");
        let assembler = Operator::feature("VectorAssembler").texts("inputCols", &["x", "one", "label"]);
        let theirs = assembler.text("outputCol", "features").apply(&theirs);
        assert_same_vectors(&ours, &theirs, "features", 0.0).await;
    }
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn one_hot_names_are_trained_scored_saved_and_loaded_without_their_zeros() {
    let spark = session().await;
    let database = database_for("one_hot_names_are_trained_scored_saved_and_loaded_without_their_zeros").await;
    let frame = spark.sql(NAMES).await.unwrap();
    let pipeline = Pipeline::new()
        .stage(StringIndexer::new("name", "index"))
        .stage(OneHotEncoder::new(["index"], ["one"]))
        .stage(VectorAssembler::new(["x", "one"], "features"))
        .stage(NeuralClassifier::new(Network::mlp([16])).epochs(8).learning_rate(0.02).seed(5));
    let model = pipeline.fit(&frame).await.unwrap();
    let table = database.table("scored");
    model.predict_into(&frame, &table).await.unwrap();
    let right = "SELECT count(*), count_if(prediction = label) FROM ";
    let counts = rows(&spark.sql(&format!("{right}{table}")).await.unwrap()).await;
    assert_eq!(counts, ["6000|6000"]);
    assert!(longest(&spark.table(&table), "features").await < 150, "there are zeros");

    let store = database.table("models");
    model.save(&spark, &store, "names").await.unwrap();
    let loaded = PipelineModel::load(&spark, &store, "names", None).await.unwrap();
    let batches = loaded.predict(&frame).await.unwrap().collect().await.unwrap();
    // The same rows, without the cluster: vectors are dense there.
    let here = frame.select_expr(["id", "name", "label", "x"]).limit(50).collect().await.unwrap();
    let here = loaded.transform_batch(&here[0]).unwrap();
    let numbers = |batch: &arrow::array::RecordBatch, name: &str| {
        batch.column_by_name(name).unwrap().as_primitive::<Float64Type>().values().to_vec()
    };
    let right = |batch: &arrow::array::RecordBatch| numbers(batch, "prediction") == numbers(batch, "label");
    assert!(batches.iter().all(right) && right(&here) && here.num_rows() == 50);
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn hashed_words_train_without_their_zeros_or_are_refused_with_the_bytes() {
    let spark = session().await;
    // Half of the rows say "good", half "bad", and all two words besides, which are one in the first 917 rows.
    let frame = spark
        .sql(
            "SELECT id, CAST(id % 2 AS DOUBLE) AS label, \
         split(concat(if(id % 2 = 0, 'good ', 'bad '), 'w', id % 917, ' w', id % 1009), ' ') AS words \
         FROM range(0, 2000, 1, 4)",
        )
        .await
        .unwrap();
    let hashing = RemoteTransformer::new("org.apache.spark.ml.feature.HashingTF")
        .set("inputCol", "words")
        .set("outputCol", "features")
        .set("numFeatures", 1 << 18);
    let hashed = hashing.transform(&frame).await.unwrap();
    let classifier = |network| NeuralClassifier::new(network).epochs(4).learning_rate(0.02).seed(5);
    let model = classifier(Network::mlp([8])).fit_frame(&hashed).await.unwrap();
    assert_eq!(model.model().history().rows.trained + model.model().history().rows.held_out, 2000);
    let scored = model.score(&hashed).await.unwrap().collect().await.unwrap();
    let right = scored.iter().map(|batch| {
        let values = |name| batch.column_by_name(name).unwrap().as_primitive::<Float64Type>().clone();
        let (prediction, label) = (values("prediction"), values("label"));
        prediction.iter().zip(label.iter()).filter(|(a, b)| a == b).count()
    });
    assert!(right.sum::<usize>() > 1950);

    let refused = |error: Error| match error {
        Error::Data { column, problem: DataProblem::TooLarge { what, size, limit, .. }, .. } => {
            assert_eq!((column.as_deref(), size, limit), (Some("features"), 128 << 20, 64 << 20));
            assert!(what.contains("262144 values") && what.contains("5083"), "{what}");
        }
        other => panic!("{other}"),
    };
    refused(classifier(Network::new().batch_norm()).batch_size(128).fit_frame(&hashed).await.unwrap_err());
    refused(Autoencoder::new([8], 2).batch_size(128).fit_frame(&hashed).await.unwrap_err());
    spark.stop().await.unwrap();
}
