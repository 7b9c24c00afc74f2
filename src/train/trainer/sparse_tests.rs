use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Float64Array, Int8Array, Int32Array, ListArray, RecordBatch, StructArray},
    datatypes::{Float64Type, Int32Type},
};

use super::*;
use crate::{
    model::PredictOptions,
    nn::Devices,
    stream::MemorySource,
    train::{Checkpoints, Optimizer},
};

const WIDTH: i32 = 500;

/// 600 rows of Spark ML's sparse vectors: the first of three values tells the class.
fn rows(last_index: i32) -> RecordBatch {
    let count = 600;
    let indices = (0..count).map(|i| {
        let last = if i == count - 1 { last_index } else { 300 + i % 200 };
        Some(vec![Some(i % 97), Some(100 + (i * 7) % 190), Some(last)])
    });
    let values = (0..count).map(|i| Some(vec![Some(1.0), Some(f64::from(i % 5) - 2.0), Some(0.25)]));
    let vector: Vec<(&str, ArrayRef)> = vec![
        ("type", Arc::new(Int8Array::from(vec![0; count as usize]))),
        ("size", Arc::new(Int32Array::from(vec![WIDTH; count as usize]))),
        ("indices", Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(indices))),
        ("values", Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(values))),
    ];
    let vector = StructArray::from(RecordBatch::try_from_iter(vector).unwrap());
    let label = Float64Array::from_iter_values((0..count).map(|i| f64::from(i % 97 % 3)));
    let columns: Vec<(&str, ArrayRef)> = vec![("features", Arc::new(vector)), ("label", Arc::new(label))];
    RecordBatch::try_from_iter(columns).unwrap()
}

fn source() -> MemorySource {
    let batch = rows(499);
    MemorySource::new(batch.schema(), vec![batch.slice(0, 250), batch.slice(250, 1), batch.slice(251, 349)])
}

fn params() -> TrainParams {
    TrainParams { epochs: 6, seed: 3, batch_size: 32, validation_fraction: 0.1, ..TrainParams::default() }
}

fn dense() -> Columns {
    Columns::new("features", "label")
}

async fn fit(network: Network, columns: Columns, params: TrainParams) -> TrainedNetwork {
    let names = ["a", "b", "c"].map(String::from).to_vec();
    Trainer::new(network, columns, params).classes(names).fit(&source()).await.unwrap()
}

/// The largest difference between the weights of two models.
fn distance(a: &TrainedNetwork, b: &TrainedNetwork) -> f32 {
    let tensors = a.weights().tensors().iter().zip(b.weights().tensors());
    let values = tensors.flat_map(|(a, b)| a.values.iter().zip(&b.values));
    values.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[tokio::test]
async fn sparse_rows_train_as_dense_ones_do() {
    for optimizer in [Optimizer::Adamw, Optimizer::Lamb, Optimizer::Sgd { momentum: 0.9, nesterov: false }] {
        let params = TrainParams { optimizer, ..params() };
        let whole = fit(Network::mlp([16]), dense(), params.clone()).await;
        let sparse = fit(Network::mlp([16]), dense().sparse(), params.clone()).await;
        assert!(distance(&whole, &sparse) < 2e-4, "{optimizer:?}: {}", distance(&whole, &sparse));
        let devices = "cpu,cpu".parse::<Devices>().unwrap();
        let two = fit(Network::mlp([16]), dense().sparse(), TrainParams { devices, ..params }).await;
        assert!(distance(&two, &sparse) < 2e-4, "{optimizer:?}: {}", distance(&two, &sparse));
        let last = sparse.history().last().unwrap().held_out.unwrap();
        assert!((last.loss - whole.history().last().unwrap().held_out.unwrap().loss).abs() < 1e-3);
    }
}

#[tokio::test]
async fn a_layer_that_takes_no_sparse_rows_gets_dense_ones() {
    let network = || Network::new().batch_norm().linear(8);
    let whole = fit(network(), dense(), params()).await;
    let sparse = fit(network(), dense().sparse(), params()).await;
    assert_eq!(distance(&whole, &sparse), 0.0);
}

#[tokio::test]
async fn sparse_run_resumed_ends_as_one_never_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let kept = |epochs: usize| {
        let names = ["a", "b", "c"].map(String::from).to_vec();
        let trainer = Trainer::new(Network::mlp([16]), dense().sparse(), TrainParams { epochs, ..params() });
        trainer.classes(names).checkpoints(Checkpoints::new(folder.path()))
    };
    kept(2).fit(&source()).await.unwrap();
    let resumed = kept(6).fit(&source()).await.unwrap();
    let straight = fit(Network::mlp([16]), dense().sparse(), params()).await;
    assert_eq!(distance(&resumed, &straight), 0.0);
}

#[tokio::test]
async fn sparse_rows_are_predicted_as_dense_ones_and_bad_ones_are_named() {
    let model = fit(Network::mlp([16]), dense().sparse(), params()).await;
    let dense = model.clone().with_columns(dense());
    let options = PredictOptions::default();
    let predicted = |model: &TrainedNetwork| {
        let batch = model.predict_batch(&rows(499), &options).unwrap();
        batch.column_by_name("prediction").unwrap().clone()
    };
    assert_eq!(&predicted(&model), &predicted(&dense));
    for bad in [WIDTH, -1, 50] {
        let message = model.predict_batch(&rows(bad), &options).unwrap_err().to_string();
        assert!(
            message.contains("`features`") && message.contains("row 599") && message.contains("sparse"),
            "{message}"
        );
    }
    let skipped = PredictOptions { on_invalid: OnInvalid::Skip, ..PredictOptions::default() };
    assert_eq!(model.predict_batch(&rows(-1), &skipped).unwrap().num_rows(), 599);
    let kept = PredictOptions { on_invalid: OnInvalid::Keep, ..PredictOptions::default() };
    let kept = model.predict_batch(&rows(-1), &kept).unwrap();
    assert_eq!((kept.num_rows(), kept.column_by_name("prediction").unwrap().null_count()), (600, 1));
}
