//! Fields within structs as input of stages and networks.

use arrow::{array::AsArray, datatypes::Float64Type};
use tinderbox::{
    Error,
    estimator::NeuralClassifier,
    ml::{
        Pipeline, PipelineModel, Transformer,
        feature::{StringIndexer, VectorAssembler},
    },
    nn::Network,
};

use crate::{
    ml::{Reference, assert_same_vectors},
    support::{database_for, rows, session, spark_ml::Operator},
};

/// 300 rows with a struct `a` of a number, a text and another struct, and a column that is itself named `a.own`.
const ROWS: &str = "SELECT id, named_struct('x', CAST(id % 7 AS DOUBLE), 's', concat('class ', id % 3), \
                    'in.ner', named_struct('y', CAST(id % 3 AS INT)), 'own', 'hidden') AS a, id % 5 AS `a.own` \
                    FROM range(0, 300, 1, 2)";

#[tokio::test]
async fn stages_read_fields_of_structs_as_spark_ml_does() {
    let spark = session().await;
    let frame = spark.sql(ROWS).await.unwrap();
    let before = frame.schema().await.unwrap();
    let names = ["a.x", "a.in.ner.y", "a.own"];
    let ours = VectorAssembler::new(names, "v").transform(&frame).await.unwrap();
    let expected: Vec<&str> = before.names().chain(["v"]).collect();
    assert_eq!(ours.schema().await.unwrap().names().collect::<Vec<_>>(), expected);
    let flat = format!("SELECT id, a.x AS `a.x`, a.`in.ner`.y AS `a.in.ner.y`, `a.own` FROM ({ROWS})");
    let flat = spark.sql(&flat).await.unwrap();
    let flat = VectorAssembler::new(names, "v").transform(&flat).await.unwrap();
    assert_same_vectors(&ours, &flat, "v", 0.0).await;
    // Spark ML reads `a.x` so too.
    let theirs = Operator::feature("VectorAssembler").texts("inputCols", &["a.x"]).text("outputCol", "v").apply(&frame);
    let ours = VectorAssembler::new(["a.x"], "v").transform(&frame).await.unwrap();
    assert_same_vectors(&ours, &theirs, "v", 0.0).await;
    for absent in ["a.nothing", "b.x", "a.x.y"] {
        match VectorAssembler::new([absent], "v").transform(&frame).await.unwrap_err() {
            Error::Schema { column, .. } => assert_eq!(column, absent),
            other => panic!("{other}"),
        }
    }
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn networks_learn_from_fields_of_structs_and_score_them_everywhere() {
    let spark = session().await;
    let database = database_for("networks_learn_from_fields_of_structs_and_score_them_everywhere").await;
    let frame = spark.sql(ROWS).await.unwrap();
    let classifier = NeuralClassifier::new(Network::mlp([16])).epochs(40).learning_rate(0.02).seed(5);
    let pipeline = Pipeline::new()
        .stage(StringIndexer::new("a.s", "label"))
        .stage(classifier.features_cols(["a.x", "a.in.ner.y"]));
    let model = pipeline.fit(&frame).await.unwrap();
    let table = database.table("scored");
    model.predict_into(&frame, &table).await.unwrap();
    let counts = format!("SELECT count(*), count_if(predictedLabel = a.s) FROM {table}");
    assert_eq!(rows(&spark.sql(&counts).await.unwrap()).await, ["300|300"]);
    let columns = spark.table(&table).schema().await.unwrap();
    assert!(columns.names().all(|name| !name.starts_with("a.") || name == "a.own"), "{columns}");

    let store = database.table("models");
    model.save(&spark, &store, "nested").await.unwrap();
    let loaded = PipelineModel::load(&spark, &store, "nested", None).await.unwrap();
    let batches = frame.collect().await.unwrap();
    let mut right = 0;
    for batch in &batches {
        let scored = loaded.transform_batch(batch).unwrap();
        assert_eq!(scored.schema().fields().len(), batch.schema().fields().len() + 5);
        let numbers = |name: &str| scored.column_by_name(name).unwrap().as_primitive::<Float64Type>().clone();
        let (label, prediction) = (numbers("label"), numbers("prediction"));
        right += label.iter().zip(prediction.iter()).filter(|(a, b)| a == b).count();
    }
    assert_eq!(right, 300);
    spark.stop().await.unwrap();
}
