//! PySpark and this crate on the same tables: what one fits, the other uses.

use std::process::{Command, Stdio};

use serde_json::Value;
use tinderbox::{
    ml::evaluation::{MulticlassClassificationEvaluator, MulticlassMetric},
    prelude::*,
};

use crate::support::{database_for, remote, session};

/// Runs our script on PySpark's Connect client; gives what it says.
fn pyspark(remote: &str, arguments: &[&str]) -> Value {
    let folder = env!("CARGO_MANIFEST_DIR");
    let found = Command::new(format!("{folder}/benches/stream/python.sh")).stderr(Stdio::inherit()).output().unwrap();
    let python = String::from_utf8(found.stdout).unwrap();
    let mut command = Command::new(python.trim());
    command.arg(format!("{folder}/integration-tests/pyspark/both_ways.py")).args(arguments);
    let output = command.env("SPARK_REMOTE", remote).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "PySpark's half failed; its words are above");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn pyspark_and_this_crate_use_what_the_other_has_fitted() {
    let (spark, remote) = (session().await, remote().await);
    let database = database_for("pyspark_and_this_crate_use_what_the_other_has_fitted").await;
    let [raw, indexed, scored] = ["raw", "indexed", "scored"].map(|name| database.table(name));
    let text = "SELECT id, element_at(array('größe', 'b.c', 'o\\'hara'), 1 + CAST(id % 3 AS INT)) AS species, \
                id % 3 + pmod(hash(id), 100) / 80.0D AS x, pmod(hash(id), 71) / 71.0D - id % 3 AS y \
                FROM range(0, 300, 1, 2)";
    spark.sql(text).await.unwrap().write().save_as_table(&raw).await.unwrap();

    // Their indexer, our network: the names come along in the metadata.
    let (there, table, out) = (remote.clone(), raw.clone(), indexed.clone());
    let fitted = tokio::task::spawn_blocking(move || pyspark(&there, &["fit", &table, &out])).await.unwrap();
    let frame = spark.table(&indexed);
    let classifier = NeuralClassifier::new(Network::mlp([8])).epochs(30).learning_rate(0.01).seed(7);
    let pipeline = Pipeline::new().stage(VectorAssembler::new(["x", "y"], "features")).stage(classifier);
    let model = pipeline.fit(&frame).await.unwrap();
    let network: &NeuralModel = model.stages()[1].as_any().downcast_ref().unwrap();
    assert_eq!(serde_json::json!(network.model().classes()), fitted["labels"]);
    assert_eq!(fitted["labels"], serde_json::json!(["o'hara", "größe", "b.c"]));
    model.predict_into(&frame, &scored).await.unwrap();

    // Our predictions, their evaluators and their names.
    let (there, table) = (remote.clone(), scored.clone());
    let judged = tokio::task::spawn_blocking(move || pyspark(&there, &["judge", &table])).await.unwrap();
    let metrics = MulticlassClassificationEvaluator::new(MulticlassMetric::LogLoss);
    let metrics = metrics.metrics(&spark.table(&scored)).await.unwrap();
    for (name, metric) in
        [("accuracy", MulticlassMetric::Accuracy), ("f1", MulticlassMetric::F1), ("logLoss", MulticlassMetric::LogLoss)]
    {
        let (ours, theirs) = (metrics.get(metric), judged[name].as_f64().unwrap());
        assert!((ours - theirs).abs() < 1e-12, "{name}: {ours} where PySpark has {theirs}");
    }
    assert!(metrics.get(MulticlassMetric::Accuracy) > 0.9);
    assert_eq!(judged["named"], 300);
    assert_eq!(judged["metadata"]["ml_attr"]["vals"], fitted["labels"]);
    assert_eq!(judged["vector"], "DenseVector");
    spark.stop().await.unwrap();
}
