//! PySpark and this crate on the same tables: what one fits, the other uses.

use serde_json::Value;
use tinderbox::{
    ml::evaluation::{MulticlassClassificationEvaluator, MulticlassMetric},
    prelude::*,
};

use crate::support::{database_for, pyspark_connect, remote, session};

/// Runs our script on PySpark's Connect client; gives what it says.
async fn pyspark<const N: usize>(arguments: [&str; N]) -> Value {
    let arguments = std::iter::once(remote().await).chain(arguments.map(str::to_owned)).collect();
    let (said, is_well) = pyspark_connect("both_ways.py", arguments).await;
    assert!(is_well, "PySpark's half failed; its words are above");
    serde_json::from_str(&said).unwrap()
}

#[tokio::test]
async fn pyspark_and_this_crate_use_what_the_other_has_fitted() {
    let spark = session().await;
    let database = database_for("pyspark_and_this_crate_use_what_the_other_has_fitted").await;
    let [raw, indexed, scored] = ["raw", "indexed", "scored"].map(|name| database.table(name));
    let text = "SELECT id, element_at(array('größe', 'b.c', 'o\\'hara'), 1 + CAST(id % 3 AS INT)) AS species, \
                id % 3 + pmod(hash(id), 100) / 80.0D AS x, pmod(hash(id), 71) / 71.0D - id % 3 AS y \
                FROM range(0, 300, 1, 2)";
    spark.sql(text).await.unwrap().write().save_as_table(&raw).await.unwrap();

    // Their indexer, our network: the names come along in the metadata.
    let fitted = pyspark(["fit", &raw, &indexed]).await;
    let frame = spark.table(&indexed);
    let classifier = NeuralClassifier::new(Network::mlp([8])).epochs(30).learning_rate(0.01).seed(7);
    let pipeline = Pipeline::new().stage(VectorAssembler::new(["x", "y"], "features")).stage(classifier);
    let model = pipeline.fit(&frame).await.unwrap();
    assert_eq!(serde_json::json!(model.network().unwrap().model().classes()), fitted["labels"]);
    assert_eq!(fitted["labels"], serde_json::json!(["o'hara", "größe", "b.c"]));
    model.predict_into(&frame, &scored).await.unwrap();

    // Our predictions, their evaluators and their names.
    let evaluated = pyspark(["evaluate", &scored]).await;
    let metrics = MulticlassClassificationEvaluator::new(MulticlassMetric::LogLoss);
    let metrics = metrics.metrics(&spark.table(&scored)).await.unwrap();
    for (name, metric) in
        [("accuracy", MulticlassMetric::Accuracy), ("f1", MulticlassMetric::F1), ("logLoss", MulticlassMetric::LogLoss)]
    {
        let (ours, theirs) = (metrics.get(metric), evaluated[name].as_f64().unwrap());
        assert!((ours - theirs).abs() < 1e-12, "{name}: {ours} where PySpark has {theirs}");
    }
    assert!(metrics.get(MulticlassMetric::Accuracy) > 0.9);
    assert_eq!(evaluated["named"], 300);
    assert_eq!(evaluated["metadata"]["ml_attr"]["vals"], fitted["labels"]);
    assert_eq!(evaluated["vector"], "DenseVector");
    spark.stop().await.unwrap();
}
