//! A server that allows no settings, no copies of sessions and no kept rows.

use tinderbox::{
    dataframe::{SourceOptions, Strategy},
    prelude::*,
};

use crate::support::{Gate, database_for, remote, rows};

#[tokio::test]
async fn pipelines_work_on_a_server_that_allows_no_housekeeping() {
    let database = database_for("pipelines_work_on_a_server_that_allows_no_housekeeping").await;
    let gate = Gate::before(&remote().await).await;
    let spark = Session::builder().remote(gate.remote()).create().await.unwrap();
    let flowers = "SELECT id, concat('class ', id % 3) AS name, CAST(id % 3 AS DOUBLE) AS x, pmod(hash(id), 97) / 97D AS y \
                   FROM range(0, 900, 1, 3)";
    let frame = spark.sql(flowers).await.unwrap();
    let classifier = NeuralClassifier::new(Network::mlp([16])).epochs(20).learning_rate(0.02).seed(7);
    let pipeline = Pipeline::new()
        .stage(StringIndexer::new("name", "label"))
        .stage(VectorAssembler::new(["x", "y"], "features"))
        .stage(classifier);
    let model = pipeline.fit(&frame).await.unwrap();
    let (scored, models) = (database.table("scored"), database.table("models"));
    model.predict_into(&frame, &scored).await.unwrap();
    let counts = format!("SELECT count(*), count_if(name = predictedLabel) FROM {scored}");
    assert_eq!(rows(&spark.sql(&counts).await.unwrap()).await, ["900|900"]);
    model.save(&spark, &models, "flowers").await.unwrap();
    PipelineModel::load(&spark, &models, "flowers", None).await.unwrap();

    // Groups of rows that the cluster may not keep are read all at once.
    let table = spark.table(&scored);
    let options = SourceOptions { strategy: Strategy::Persisted, cap: Some(64 << 10), ..SourceOptions::default() };
    let source = table.source_with(options);
    let read = source.stream().await.unwrap().collect().await.unwrap();
    assert_eq!(read.iter().map(|batch| batch.num_rows()).sum::<usize>(), 900);
    source.close().await.unwrap();
    assert!(gate.refused() > 0);
    spark.stop().await.unwrap();
}
