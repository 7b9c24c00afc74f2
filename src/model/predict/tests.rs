use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, Float32Array, Int64Array, ListArray, RecordBatch},
    compute::filter_record_batch,
    datatypes::{DataType, Float64Type, Int64Type},
};

use super::{columns::argmax, scorer::ROWS_AT_ONCE, *};
use crate::{
    DataProblem,
    model::{History, Link, Scaling},
    nn::{Embedding, NamedTensor, Network, Sequential, Weights},
    tensor::Columns,
};

/// Two inputs, three outputs: `(a, b, 0)`.
fn model_of(task: impl Into<Task>) -> TrainedNetwork {
    let spec = Network::new().resolve(2, 3).unwrap();
    let weights = Weights::new(vec![
        NamedTensor { name: "0.bias".into(), shape: vec![3], values: vec![0.0; 3] },
        NamedTensor { name: "0.weight".into(), shape: vec![3, 2], values: vec![1.0, 0.0, 0.0, 1.0, 0.0, 0.0] },
    ]);
    TrainedNetwork::new(spec, weights.unwrap(), Columns::side_by_side(["a", "b"], "y"), task, History::default())
        .unwrap()
}

fn names() -> Vec<String> {
    ["left", "right", "none"].map(String::from).to_vec()
}

fn model() -> TrainedNetwork {
    model_of(names())
}

fn input() -> RecordBatch {
    let column = |values: Vec<Option<f32>>| Arc::new(Float32Array::from(values)) as ArrayRef;
    RecordBatch::try_from_iter(vec![
        ("id", Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef),
        ("a", column(vec![Some(2.0), None, Some(-1.0)])),
        ("b", column(vec![Some(1.0), Some(9.0), Some(-3.0)])),
    ])
    .unwrap()
}

fn usable() -> RecordBatch {
    filter_record_batch(&input(), &BooleanArray::from(vec![true, false, true])).unwrap()
}

async fn predict(batches: Vec<RecordBatch>, options: &PredictOptions) -> Result<Vec<RecordBatch>> {
    model().predict(RecordStream::from_batches(batches[0].schema(), batches), options)?.collect().await
}

fn doubles(batch: &RecordBatch, name: &str) -> Vec<f64> {
    batch.column_by_name(name).unwrap().as_primitive::<Float64Type>().values().to_vec()
}

fn lists(batch: &RecordBatch, name: &str) -> Vec<f64> {
    batch.column_by_name(name).unwrap().as_list::<i32>().values().as_primitive::<Float64Type>().values().to_vec()
}

#[tokio::test]
async fn prediction_columns_follow_those_that_were_there() {
    let whole = usable();
    let batches = vec![whole.slice(0, 1), whole.slice(0, 0), whole.slice(1, 1)];
    let scored = predict(batches, &PredictOptions::default()).await.unwrap();
    assert_eq!(scored.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [1, 0, 1]);
    let scored = arrow::compute::concat_batches(&scored[0].schema(), &scored).unwrap();
    let names: Vec<_> = scored.schema().fields().iter().map(|f| f.name().clone()).collect();
    assert_eq!(names, ["id", "a", "b", "rawPrediction", "probability", "prediction", "predictedLabel"]);
    assert_eq!(scored.columns()[..3], whole.columns()[..]);
    assert_eq!(lists(&scored, "rawPrediction"), [2.0, 1.0, 0.0, -1.0, -3.0, 0.0]);
    assert_eq!(doubles(&scored, "prediction"), [0.0, 2.0]);
    let labels = scored.column_by_name("predictedLabel").unwrap().as_string::<i32>().clone();
    assert_eq!(labels.iter().collect::<Vec<_>>(), [Some("left"), Some("none")]);
    let probability = lists(&scored, "probability");
    let sum: f64 = [2f64, 1.0, 0.0].iter().map(|v| v.exp()).sum();
    assert!((probability[0] - 2f64.exp() / sum).abs() < 1e-12, "{probability:?}");
    assert!((probability[3..].iter().sum::<f64>() - 1.0).abs() < 1e-12);
}

#[tokio::test]
async fn rows_that_cannot_be_used_are_refused_skipped_or_kept() {
    let message = predict(vec![input()], &PredictOptions::default()).await.unwrap_err().to_string();
    assert!(message.contains("`a`") && message.contains("row 1") && message.contains("is null"), "{message}");

    let skip = PredictOptions { on_invalid: OnInvalid::Skip, ..Default::default() };
    let scored = &predict(vec![input()], &skip).await.unwrap()[0];
    assert_eq!(scored.column(0).as_primitive::<Int64Type>().values(), &[1, 3]);
    assert_eq!(doubles(scored, "prediction"), [0.0, 2.0]);

    let keep = PredictOptions { on_invalid: OnInvalid::Keep, ..Default::default() };
    let scored = &predict(vec![input()], &keep).await.unwrap()[0];
    assert_eq!(scored.num_rows(), 3);
    for name in ["rawPrediction", "probability", "prediction", "predictedLabel"] {
        let column = scored.column_by_name(name).unwrap();
        assert!(!column.is_null(0) && column.is_null(1) && !column.is_null(2), "{name}");
    }
}

#[tokio::test]
async fn an_empty_name_switches_a_column_off_and_one_that_exists_is_refused() {
    let none = Outputs {
        raw_prediction: String::new(),
        probability: String::new(),
        prediction: String::new(),
        predicted_label: String::new(),
        invalid_reason: String::new(),
    };
    let options = PredictOptions { outputs: Outputs { prediction: "p".into(), ..none }, ..Default::default() };
    let scored = &predict(vec![usable()], &options).await.unwrap()[0];
    assert_eq!(scored.num_columns(), 4);
    assert_eq!(doubles(scored, "p"), [0.0, 2.0]);

    for (prediction, probability) in [("id", ""), ("p", "p")] {
        let outputs = Outputs { prediction: prediction.into(), probability: probability.into(), ..Default::default() };
        let options = PredictOptions { outputs, ..Default::default() };
        let message = predict(vec![usable()], &options).await.unwrap_err().to_string();
        assert!(message.contains(&format!("`{prediction}`")) && message.contains("drop it"), "{message}");
    }
}

#[tokio::test]
async fn thresholds_scale_the_choice_as_in_spark() {
    let with = |thresholds: &[f64]| PredictOptions { thresholds: Some(thresholds.to_vec()), ..Default::default() };
    let scored = &predict(vec![usable()], &with(&[10.0, 1.0, 1.0])).await.unwrap()[0];
    assert_eq!(doubles(scored, "prediction"), [1.0, 2.0]);
    let scored = &predict(vec![usable()], &with(&[1.0, 0.0, 1.0])).await.unwrap()[0];
    assert_eq!(doubles(scored, "prediction"), [1.0, 1.0]);
    assert_eq!(argmax(&[1.0, 0.0], Some(&[1.0, 0.0])), 0);
    assert_eq!(argmax(&[0.4, 0.4, 0.2], None), 0);
    for bad in [&[1.0, 1.0][..], &[0.0, 0.0, 1.0], &[-1.0, 1.0, 1.0], &[f64::NAN, 1.0, 1.0]] {
        let message = predict(vec![usable()], &with(bad)).await.unwrap_err().to_string();
        assert!(message.contains("thresholds") && message.contains("3 finite"), "{message}");
    }
}

#[tokio::test]
async fn an_unknown_category_is_told_with_its_own_row() {
    let spec = Network::new().categories([Embedding::new(10, 2)]).resolve(2, 3).unwrap();
    let weights = Sequential::init(&spec, 1, &candle_core::Device::Cpu).unwrap().weights().unwrap();
    let columns = Columns::side_by_side(["b", "a"], "y");
    let model = TrainedNetwork::new(spec, weights, columns, names(), History::default()).unwrap();
    let options = PredictOptions { on_invalid: OnInvalid::Skip, ..PredictOptions::default() };
    // The second row is left out.
    let error = model.predict_batch(&input(), &options).unwrap_err();
    let problem = DataProblem::UnknownCategory { value: -3.0, categories: 10, place: Some(0) };
    assert!(matches!(&error, Error::Data { row: Some(2), problem: found, .. } if *found == problem), "{error}");
}

#[tokio::test]
async fn features_of_another_width_are_refused() {
    let wide: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>([Some([Some(1.0), Some(2.0)])]));
    let batch = RecordBatch::try_from_iter([("a", wide.clone()), ("b", wide)]).unwrap();
    let error = predict(vec![batch], &PredictOptions::default()).await.unwrap_err();
    let problem = DataProblem::Length { expected: 2, found: 4 };
    assert!(
        matches!(&error, Error::Data { column: Some(column), problem: found, .. } if column == "a, b" && *found == problem)
    );
}

#[tokio::test]
async fn a_large_batch_goes_through_in_parts() {
    let rows = 2 * ROWS_AT_ONCE + 3;
    let column = |sign: f32| Arc::new(Float32Array::from_iter_values((0..rows).map(|i| sign * (i % 7) as f32)));
    let batch = RecordBatch::try_from_iter([("a", column(1.0) as ArrayRef), ("b", column(-1.0))]).unwrap();
    let scored = &predict(vec![batch], &PredictOptions::default()).await.unwrap()[0];
    assert_eq!(scored.num_rows(), rows);
    let raw = lists(scored, "rawPrediction");
    assert!((0..rows).all(|i| raw[3 * i] == (i % 7) as f64 && raw[3 * i + 1] == -((i % 7) as f64)));
}

#[tokio::test]
async fn labels_have_a_chance_each_and_their_names() {
    let model = model_of(Task::Labels { names: names() });
    let keep = PredictOptions { on_invalid: OnInvalid::Keep, ..Default::default() };
    let predict = |options: &PredictOptions| {
        let stream = model.predict(RecordStream::from_batches(input().schema(), vec![input()]), options);
        async move { stream?.collect().await }
    };
    let scored = &predict(&keep).await.unwrap()[0];
    let probabilities = lists(scored, "probability");
    assert!(
        (probabilities[0] - 1.0 / (1.0 + (-2f64).exp())).abs() < 1e-12 && probabilities[2] == 0.5,
        "{probabilities:?}"
    );
    let predicted = scored.column_by_name("prediction").unwrap().as_list::<i32>();
    assert!(predicted.is_null(1));
    assert_eq!(predicted.value(0).as_primitive::<Float64Type>().values(), &[1.0, 1.0, 0.0]);
    let labels = scored.column_by_name("predictedLabel").unwrap().as_list::<i32>();
    let of = |row: usize| labels.value(row).as_string::<i32>().iter().flatten().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(of(0), ["left", "right"]);
    assert!(labels.is_null(1) && of(2).is_empty());

    let thresholds = PredictOptions { thresholds: Some(vec![0.9, 0.1, 0.4]), ..keep.clone() };
    let scored = &predict(&thresholds).await.unwrap()[0];
    let predicted = scored.column_by_name("prediction").unwrap().as_list::<i32>();
    assert_eq!(predicted.value(0).as_primitive::<Float64Type>().values(), &[0.0, 1.0, 1.0]);
    let bad = PredictOptions { thresholds: Some(vec![0.9, 0.1, 1.5]), ..keep };
    let message = predict(&bad).await.unwrap_err().to_string();
    assert!(message.contains("thresholds") && message.contains("3 numbers in [0, 1]"), "{message}");
}

#[tokio::test]
async fn values_come_in_their_own_units() {
    let scaling = Scaling { mean: vec![10.0, 0.0, 5.0], std: vec![2.0, 1.0, 1.0] };
    let task = |link, scaling| Task::Values { names: names(), scaling, link };
    let options = PredictOptions { outputs: Outputs::values(), ..Default::default() };
    for (task, expected) in [
        (task(Link::Identity, Some(scaling)), [14.0, 1.0, 5.0, 8.0, -3.0, 5.0]),
        (task(Link::Exp, None), [2f64.exp(), 1f64.exp(), 1.0, (-1f64).exp(), (-3f64).exp(), 1.0]),
    ] {
        let stream = RecordStream::from_batches(usable().schema(), vec![usable()]);
        let scored = &model_of(task).predict(stream, &options).unwrap().collect().await.unwrap()[0];
        assert_eq!(scored.num_columns(), 4);
        assert_eq!(lists(scored, "prediction"), expected);
    }

    let spec = Network::new().resolve(2, 1).unwrap();
    let weights = Weights::new(vec![
        NamedTensor { name: "0.bias".into(), shape: vec![1], values: vec![1.0] },
        NamedTensor { name: "0.weight".into(), shape: vec![1, 2], values: vec![1.0, 1.0] },
    ]);
    let task = Task::Values { names: vec!["y".into()], scaling: None, link: Link::Identity };
    let columns = Columns::side_by_side(["a", "b"], "y");
    let model = TrainedNetwork::new(spec, weights.unwrap(), columns, task, History::default()).unwrap();
    let stream = RecordStream::from_batches(usable().schema(), vec![usable()]);
    let scored = &model.predict(stream, &options).unwrap().collect().await.unwrap()[0];
    assert_eq!(*scored.column(3).data_type(), DataType::Float64);
    assert_eq!(doubles(scored, "prediction"), [4.0, -3.0]);
    let thresholds = PredictOptions { thresholds: Some(vec![1.0]), ..options };
    assert!(thresholds.check(model.task()).is_err());
}
