//! Checkpoints in a table of the cluster.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, FixedSizeListArray, Float64Array, RecordBatch},
    datatypes::Float32Type,
};
use tinderbox::{
    model::TrainedNetwork,
    nn::Network,
    stream::MemorySource,
    table::CheckpointTable,
    tensor::Columns,
    train::{CheckpointPlace, Checkpoints, TrainParams, Trainer},
};

use crate::support::{database_for, session};

fn rows() -> MemorySource {
    let values = |i: usize| (0..4).map(move |k| Some(((i * (k + 3)) as f32 * 0.7).sin()));
    let features = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>((0..90).map(|i| Some(values(i))), 4);
    let label = Float64Array::from_iter_values((0..90).map(|i| f64::from(u8::from((i as f32 * 2.1).sin() > 0.0))));
    let columns: [(&str, ArrayRef); 2] = [("features", Arc::new(features)), ("label", Arc::new(label))];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    MemorySource::new(batch.schema(), vec![batch])
}

async fn fit(max_steps: Option<usize>, checkpoints: Option<&Checkpoints>) -> TrainedNetwork {
    let params = TrainParams { epochs: 4, batch_size: 16, tol: 0.0, max_steps, ..TrainParams::default() };
    let mut trainer = Trainer::new(Network::mlp([8]).with_dropout(0.2), Columns::new("features", "label"), params);
    if let Some(checkpoints) = checkpoints {
        trainer = trainer.checkpoints(checkpoints.clone());
    }
    trainer.fit(&rows()).await.unwrap()
}

#[tokio::test]
async fn a_run_goes_on_from_a_table_to_the_weights_of_an_undisturbed_one() {
    let spark = session().await;
    let database = database_for("a_run_goes_on_from_a_table_to_the_weights_of_an_undisturbed_one").await;
    let table = database.table("run");
    let checkpoints = Checkpoints::at(Arc::new(CheckpointTable::new(&spark, &table)));
    fit(Some(9), Some(&checkpoints)).await;
    let resumed = fit(None, Some(&checkpoints)).await;
    assert_eq!(resumed.weights(), fit(None, None).await.weights());
    // The latest two are kept, the others' rows are gone.
    let there = checkpoints.clone();
    let steps = tokio::task::spawn_blocking(move || there.steps()).await.unwrap().unwrap();
    assert_eq!(steps, [18, 24]);
    assert_eq!(spark.table(&table).select([tinderbox::dataframe::column("name")]).distinct().count().await.unwrap(), 2);
}

#[tokio::test]
async fn what_is_not_whole_is_not_there() {
    let spark = session().await;
    let database = database_for("what_is_not_whole_is_not_there").await;
    let table = database.table("run");
    let place = Arc::new(CheckpointTable::new(&spark, &table));
    let bytes: Vec<u8> = (0..100_000u32).map(|i| i as u8).collect();
    let (there, written) = (place.clone(), bytes.clone());
    tokio::task::spawn_blocking(move || {
        assert_eq!(there.names().unwrap(), Vec::<String>::new());
        there.write("it's a", vec![7; 10]).unwrap();
        there.write("it's a", written).unwrap();
        there.write("b", vec![1, 2, 3]).unwrap();
    })
    .await
    .unwrap();
    // Half of what another attempt wrote.
    let half =
        format!("INSERT INTO {table} VALUES ('later', {}, 0, 2, X'00', 'b'), ('x', 1, 1, 2, X'00', 'c')", i64::MAX);
    spark.sql(&half).await.unwrap().collect().await.unwrap();
    tokio::task::spawn_blocking(move || {
        let mut names = place.names().unwrap();
        names.sort();
        assert_eq!(names, ["b", "it's a"]);
        assert_eq!(place.read("it's a").unwrap(), bytes);
        assert_eq!(place.read("b").unwrap(), [1, 2, 3]);
        let message = place.read("c").unwrap_err().to_string();
        assert!(message.contains(&table) && message.contains("rows of it are missing"), "{message}");
        place.remove(&["it's a".to_owned()]).unwrap();
        assert_eq!(place.names().unwrap(), ["b"]);
    })
    .await
    .unwrap();
}
