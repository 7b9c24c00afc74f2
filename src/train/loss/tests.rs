use candle_core::{Device, Var};
use serde::Deserialize;

use super::*;
use crate::{
    DataProblem,
    model::{Scaling, Task},
    tensor::{Minibatch, Targets},
};

/// Written by `reference/values.py`.
#[derive(Deserialize)]
struct Case {
    loss: Loss,
    outputs: Vec<f32>,
    target: Vec<f32>,
    weights: Vec<f32>,
    mean: f64,
    gradient: Vec<f32>,
}

fn targets(values: Vec<f32>, weights: Vec<f32>) -> Minibatch {
    let width = values.len() / weights.len();
    let values = values.into_iter().map(f64::from).collect();
    Minibatch { targets: Targets::Numbers { values, width }, weights, ..Minibatch::default() }
}

fn values(width: usize, scaling: Option<Scaling>) -> Task {
    Task::Values { names: vec!["y".into(); width], scaling, link: Link::Identity }
}

fn worst(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn losses_over_values_and_their_gradients_are_those_of_pytorch() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("../reference/values.json")).unwrap();
    assert_eq!(cases.len(), 6);
    for case in cases {
        let (rows, width) = (case.weights.len(), case.outputs.len() / case.weights.len());
        let objective = Objective::values(case.loss, &values(width, None), width);
        let target = objective.target(&targets(case.target, case.weights), &[]).unwrap();

        let mut gradient = vec![0.0; case.outputs.len()];
        let mean = objective.learn(&case.outputs, &target, &mut gradient) / target.weight;
        assert!((mean - case.mean).abs() < 1e-5 * case.mean.abs(), "{:?}: {mean} {}", case.loss, case.mean);
        assert!(worst(&gradient, &case.gradient) < 1e-6, "{:?}", case.loss);

        let outputs = Var::from_vec(case.outputs, (rows, width), &Device::Cpu).unwrap();
        let mean = (objective.sum(&outputs, &target).unwrap() / target.weight).unwrap();
        let gradient = mean.backward().unwrap().get(&outputs).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let mean = f64::from(mean.to_scalar::<f32>().unwrap());
        assert!((mean - case.mean).abs() < 1e-5 * case.mean.abs(), "{:?}: {mean} {}", case.loss, case.mean);
        assert!(worst(&gradient, &case.gradient) < 1e-6, "{:?}", case.loss);
    }
}

#[test]
fn an_output_that_is_no_number_shows_in_every_loss() {
    for loss in [
        Loss::SquaredError,
        Loss::AbsoluteError,
        Loss::Huber { delta: 1.0 },
        Loss::Quantile { quantile: 0.5 },
        Loss::Poisson,
        Loss::BinaryCrossEntropy,
    ] {
        let objective = Objective::values(loss, &values(1, None), 1);
        let target = objective.target(&targets(vec![1.0, 1.0], vec![1.0; 2]), &[]).unwrap();
        assert!(objective.learn(&[0.0, f32::NAN], &target, &mut [0.0; 2]).is_nan(), "{loss:?}");
    }
}

#[test]
fn targets_are_scaled_for_the_loss_and_measured_in_their_own_units() {
    let scaling = Scaling { mean: vec![100.0, 0.0], std: vec![10.0, 1.0] };
    let objective = Objective::values(Loss::SquaredError, &values(2, Some(scaling)), 2);
    let target = objective.target(&targets(vec![110.0, 1.0], vec![1.0]), &[]).unwrap();
    assert_eq!(target.values, [1.0, 1.0]);
    let outputs = [0.0, 0.0];
    assert_eq!(objective.learn(&outputs, &target, &mut [0.0; 2]) / target.weight, 1.0);
    let (sum, count) = objective.measure(&outputs, &target);
    assert_eq!((sum, count, objective.metric().of(sum, count)), (101.0, 2.0, 50.5f64.sqrt()));
}

#[test]
fn target_far_from_zero_keeps_its_digits() {
    let scaling = Scaling { mean: vec![1.7e9], std: vec![10.0] };
    let objective = Objective::values(Loss::SquaredError, &values(1, Some(scaling)), 1);
    let targets = Targets::Numbers { values: vec![1.7e9 + 5.0, 1.7e9 - 20.0], width: 1 };
    let minibatch = Minibatch { targets, weights: vec![1.0; 2], ..Minibatch::default() };
    assert_eq!(objective.target(&minibatch, &[]).unwrap().values, [0.5, -2.0]);
}

#[test]
fn target_beyond_single_precision_is_refused_with_its_row() {
    let objective = Objective::values(Loss::SquaredError, &values(1, None), 1);
    let targets = Targets::Numbers { values: vec![1.0, 1e39], width: 1 };
    let minibatch = Minibatch { targets, weights: vec![1.0; 2], numbers: vec![7, 4], ..Minibatch::default() };
    let error = objective.target(&minibatch, &[]).unwrap_err();
    assert!(matches!(error, Error::Data { row: Some(4), problem: DataProblem::Values { .. }, .. }), "{error}");
}

#[test]
fn the_input_is_its_own_target_however_it_is_corrupted() {
    let task = Task::Input { link: Link::Sigmoid };
    let objective = Objective::values(Loss::BinaryCrossEntropy, &task, 4).corrupted(Some(Corruption::Mask(0.5)), 7);
    let minibatch = Minibatch { weights: vec![1.0; 2], ..Minibatch::default() };
    let mut features = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0];
    let target = objective.target(&minibatch, &features).unwrap();
    objective.corrupt(&mut features, 0, 0);
    assert_eq!(target.values, [1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0]);
    assert_ne!(features.as_slice(), target.values);
    assert_eq!((target.weight, objective.metric()), (8.0, Metric::Rmse));
    // A logit of 0 stands for a half, which is a half off everywhere.
    let (sum, count) = objective.measure(&[0.0; 8], &target);
    assert_eq!(objective.metric().of(sum, count), 0.5);
}

#[test]
fn labels_are_told_by_the_sign_of_their_logit() {
    let task = Task::Labels { names: vec!["a".into(), "b".into()] };
    let objective = Objective::values(Loss::BinaryCrossEntropy, &task, 2);
    let target = objective.target(&targets(vec![1.0, 0.0, 1.0, 1.0], vec![1.0; 2]), &[]).unwrap();
    assert_eq!(objective.measure(&[2.0, -1.0, -0.5, 3.0], &target), (3.0, 4.0));
    assert_eq!(objective.metric(), Metric::LabelAccuracy);
}

#[test]
fn losses_read_back_as_written() {
    for (loss, json) in [
        (Loss::CrossEntropy, r#""cross_entropy""#.to_owned()),
        (Loss::Huber { delta: 1.5 }, r#"{"huber":{"delta":1.5}}"#.to_owned()),
    ] {
        assert_eq!(serde_json::to_string(&loss).unwrap(), json);
        assert_eq!(serde_json::from_str::<Loss>(&json).unwrap(), loss);
    }
}
