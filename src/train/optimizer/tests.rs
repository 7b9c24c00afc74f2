use std::collections::BTreeMap;

use candle_core::{Device, Var};

use super::*;

/// Written by `reference/optimizers.py`.
#[derive(Deserialize)]
struct Reference {
    starts: [Vec<f32>; 2],
    targets: [Vec<f32>; 2],
    steps: BTreeMap<String, Vec<Vec<f32>>>,
}

fn reference() -> Reference {
    serde_json::from_str(include_str!("../reference/optimizers.json")).unwrap()
}

const NESTEROV: Optimizer = Optimizer::Sgd { momentum: 0.9, nesterov: true };

fn params(optimizer: Optimizer) -> TrainParams {
    TrainParams {
        optimizer,
        learning_rate: 0.05,
        betas: (0.8, 0.95),
        eps: 1e-6,
        weight_decay: 0.1,
        ..Default::default()
    }
}

fn cases() -> Vec<(&'static str, TrainParams)> {
    let sgd = Optimizer::Sgd { momentum: 0.0, nesterov: false };
    vec![
        ("adamw", params(Optimizer::Adamw)),
        ("adam", params(Optimizer::Adam)),
        ("sgd", params(sgd)),
        ("momentum", params(Optimizer::Sgd { momentum: 0.9, nesterov: false })),
        ("nesterov", params(NESTEROV)),
        ("adagrad", params(Optimizer::Adagrad { initial: 0.1 })),
        ("rmsprop", params(Optimizer::Rmsprop { alpha: 0.9, momentum: 0.0 })),
        ("rmsprop_momentum", params(Optimizer::Rmsprop { alpha: 0.9, momentum: 0.7 })),
        ("lamb", params(Optimizer::Lamb)),
        ("by_norm", TrainParams { clip: Clip::Norm(1.5), ..params(sgd) }),
        ("by_value", TrainParams { clip: Clip::Value(0.75), ..params(sgd) }),
    ]
}

fn parameters(values: &[Vec<f32>; 2]) -> Vec<Parameter> {
    let weight = Var::from_slice(&values[0], (3, 4), &Device::Cpu).unwrap();
    let bias = Var::from_slice(&values[1], 4, &Device::Cpu).unwrap();
    [("weight", weight), ("bias", bias)].map(|(name, var)| Parameter { name: name.into(), var }).into()
}

/// The gradient of the summed square of the distance to the targets.
fn gradients(parameters: &[Parameter], targets: &[Vec<f32>; 2]) -> Vec<Tensor> {
    let gradient = |(p, target): (&Parameter, &Vec<f32>)| {
        let target = Tensor::from_slice(target, p.var.shape(), &Device::Cpu).unwrap();
        ((p.var.as_detached_tensor() - target).unwrap() * 2.0).unwrap()
    };
    parameters.iter().zip(targets).map(gradient).collect()
}

fn values(parameters: &[Parameter]) -> Vec<f32> {
    parameters.iter().flat_map(|p| p.var.flatten_all().unwrap().to_vec1::<f32>().unwrap()).collect()
}

fn assert_goes(name: &str, updater: &mut Updater) {
    let reference = reference();
    let parameters = parameters(&reference.starts);
    assert_eq!(reference.steps[name].len(), 8);
    for (i, expected) in reference.steps[name].iter().enumerate() {
        updater.step(&parameters, &gradients(&parameters, &reference.targets)).unwrap();
        let worst = values(&parameters).iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 2e-6, "{name}, step {i}: {worst}");
    }
}

#[test]
fn every_optimizer_goes_where_its_reference_goes() {
    assert_eq!(cases().len(), reference().steps.len());
    for (name, params) in cases() {
        assert_goes(name, &mut Updater::new(&params, &parameters(&reference().starts)).unwrap());
    }
}

#[test]
fn tensor_operations_take_the_same_steps_as_the_one_pass() {
    for (name, params) in cases() {
        let parameters = parameters(&reference().starts);
        let mut updater = Updater::new(&params, &parameters).unwrap();
        for (place, parameter) in updater.slots.iter_mut().zip(&parameters) {
            let StateSlot::Host(slots) = place else { panic!("the processor's memory is the host's") };
            let tensors = slots.iter().map(|s| Tensor::from_slice(s, parameter.var.shape(), &Device::Cpu).unwrap());
            *place = StateSlot::Device(tensors.collect());
        }
        assert_goes(name, &mut updater);
    }
}

#[test]
fn a_state_taken_out_and_put_back_goes_on_as_if_never_stopped() {
    let Reference { starts, targets, .. } = reference();
    for (name, params) in cases() {
        let (undisturbed, parameters) = (parameters(&starts), parameters(&starts));
        let mut updater = Updater::new(&params, &undisturbed).unwrap();
        (0..6).for_each(|_| updater.step(&undisturbed, &gradients(&undisturbed, &targets)).unwrap());

        let mut updater = Updater::new(&params, &parameters).unwrap();
        (0..4).for_each(|_| updater.step(&parameters, &gradients(&parameters, &targets)).unwrap());
        let state: OptimizerState =
            serde_json::from_str(&serde_json::to_string(&updater.state().unwrap()).unwrap()).unwrap();
        assert_eq!(state.step, 4);
        let mut resumed = Updater::resume(&params, &parameters, state.clone()).unwrap();
        assert_eq!(resumed.state().unwrap(), state);
        (0..2).for_each(|_| resumed.step(&parameters, &gradients(&parameters, &targets)).unwrap());
        assert_eq!(values(&parameters), values(&undisturbed), "{name}");
    }
}

#[test]
fn a_state_of_something_else_is_refused() {
    let parameters = parameters(&reference().starts);
    let state = Updater::new(&params(NESTEROV), &parameters).unwrap().state().unwrap();
    for state in [state.clone(), OptimizerState { slots: state.slots[1..].to_vec(), step: 1 }] {
        let message = Updater::resume(&params(Optimizer::Adamw), &parameters, state).unwrap_err().to_string();
        assert!(message.contains("optimizer state") && message.contains("square"), "{message}");
    }
}

#[test]
fn a_transposed_gradient_is_read_in_its_own_order() {
    let Reference { starts, targets, steps } = reference();
    let parameters = parameters(&starts);
    let mut gradients = gradients(&parameters, &targets);
    gradients[0] = gradients[0].t().unwrap().contiguous().unwrap().t().unwrap();
    Updater::new(&params(Optimizer::Adamw), &parameters).unwrap().step(&parameters, &gradients).unwrap();
    let worst = values(&parameters).iter().zip(&steps["adamw"][0]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 2e-6, "{worst}");
}

#[test]
fn large_parameters_move_as_their_parts_would_alone() {
    // More than two runs of the threads, the last one short.
    let large: Vec<f32> = (0..70_001).map(|i| (i as f32 * 0.37).sin()).collect();
    for optimizer in [Optimizer::Adamw, NESTEROV, Optimizer::Sgd { momentum: 0.0, nesterov: false }] {
        let moved = |from: usize, to: usize| {
            let var = Var::from_slice(&large[from..to], (1, to - from), &Device::Cpu).unwrap();
            let parameters = [Parameter { name: "p".into(), var }];
            let mut updater = Updater::new(&params(optimizer), &parameters).unwrap();
            for _ in 0..3 {
                let gradient = parameters[0].var.as_detached_tensor().cos().unwrap();
                updater.step(&parameters, &[gradient]).unwrap();
            }
            values(&parameters)
        };
        let (whole, part) = (moved(0, 70_001), moved(65_000, 70_001));
        assert_eq!(whole[65_000..], part);
        assert_ne!(whole[69_999], large[69_999]);
    }
}

#[test]
fn lamb_moves_a_parameter_of_zeros_too() {
    let var = Var::zeros(3, candle_core::DType::F32, &Device::Cpu).unwrap();
    let parameters = [Parameter { name: "bias".into(), var }];
    let gradient = Tensor::new(&[1f32, -2.0, 0.0], &Device::Cpu).unwrap();
    Updater::new(&params(Optimizer::Lamb), &parameters).unwrap().step(&parameters, &[gradient]).unwrap();
    let moved = values(&parameters);
    assert!((moved[0] + 0.05).abs() < 1e-6 && (moved[1] - 0.05).abs() < 1e-6 && moved[2] == 0.0, "{moved:?}");
}

#[test]
fn settings_are_checked_and_written_as_words() {
    for (optimizer, words) in [
        (Optimizer::Sgd { momentum: 1.0, nesterov: false }, ["optimizer.momentum", "[0, 1)"]),
        (Optimizer::Sgd { momentum: 0.0, nesterov: true }, ["optimizer.momentum", "nesterov"]),
        (Optimizer::Adagrad { initial: f64::NAN }, ["optimizer.initial", "at least 0"]),
        (Optimizer::Rmsprop { alpha: -0.1, momentum: 0.0 }, ["optimizer.alpha", "[0, 1)"]),
    ] {
        let message = optimizer.check().unwrap_err().to_string();
        assert!(words.iter().all(|w| message.contains(w)), "{message}");
    }
    let sgd: Optimizer = serde_json::from_str(r#"{"sgd": {"momentum": 0.9, "nesterov": true}}"#).unwrap();
    assert_eq!(sgd, NESTEROV);
    assert_eq!(serde_json::to_string(&Optimizer::Adamw).unwrap(), r#""adamw""#);
}

#[test]
fn columns_moved_when_needed_end_where_dense_steps_take_them() {
    const STEPS: usize = 400;
    // Columns 4 and 5 never have a gradient, column 0 has one at the beginning only.
    let columns = |step: usize| -> Vec<u32> {
        (0..4).filter(|c| if *c == 0 { step < 2 } else { step % (90 * *c as usize) < 3 }).collect()
    };
    for (name, params) in cases() {
        // Of the last one a step leaves nothing, or a few leave next to nothing.
        for decay in [0.0, 0.1, 20.0, 19.999] {
            let params = TrainParams { weight_decay: decay, decayed: DecayScope::All, ..params.clone() };
            let start: Vec<f32> = (0..18).map(|i| (i as f32 * 0.7).sin()).collect();
            let new = || {
                let var = Var::from_slice(&start, (3, 6), &Device::Cpu).unwrap();
                vec![Parameter { name: "weight".into(), var }]
            };
            let (dense, sparse) = (new(), new());
            let mut by_step = Updater::new(&params, &dense).unwrap();
            let mut by_column = Updater::new(&params, &sparse).unwrap();
            for step in 0..STEPS {
                let columns = columns(step);
                let own: Vec<f32> = (0..3 * columns.len()).map(|i| ((i + 5 * step) as f32).cos()).collect();
                let own = Tensor::from_vec(own, (columns.len(), 3), &Device::Cpu).unwrap();
                let all = spread(&dense[0], &own, &columns).unwrap();
                let touched = Touched { parameter: 0, columns: &columns };
                let rate = 0.05 / (1.0 + step as f64);
                by_step.set_learning_rate(rate);
                by_column.set_learning_rate(rate);
                by_step.step(&dense, &[all]).unwrap();
                by_column.catch_up(&sparse, touched).unwrap();
                by_column.step_sparse(&sparse, &[own], touched).unwrap();
                if step == 37 {
                    by_column.settle(&sparse).unwrap();
                    by_column = Updater::resume(&params, &sparse, by_column.state().unwrap()).unwrap();
                }
            }
            by_column.settle(&sparse).unwrap();
            let values = |p: &[Parameter]| p[0].var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let near = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-6 + 1e-5 * b.abs());
            assert!(near(&values(&sparse), &values(&dense)), "{name}, decay {decay}");
            let (ours, theirs) = (by_column.state().unwrap(), by_step.state().unwrap());
            assert_eq!(ours.step, theirs.step);
            let slots = ours.slots[0].iter().zip(&theirs.slots[0]);
            assert!(slots.into_iter().all(|(a, b)| near(a, b)), "the state of {name}, decay {decay}");
        }
    }
}
