use std::collections::BTreeMap;

use candle_core::{Device, Tensor, Var};
use serde::Deserialize;

use super::*;
use crate::nn::{
    NamedTensor, NetworkSpec, Sequential, Tape, Weights,
    layer::portable,
    slopes::{are_slopes, flat, slope, weighed},
    stage::stages,
};

/// Written by `reference/kernels.py`.
#[derive(Deserialize)]
struct Case {
    name: String,
    rows: usize,
    train: bool,
    spec: NetworkSpec,
    weights: BTreeMap<String, Values>,
    x: Vec<f32>,
    y: Vec<f32>,
    upstream: Vec<f32>,
    dx: Vec<f32>,
    gradients: BTreeMap<String, Vec<f32>>,
    statistics: BTreeMap<String, Vec<f32>>,
}

#[derive(Deserialize)]
struct Values {
    shape: Vec<usize>,
    values: Vec<f32>,
}

const CASES: usize = 62;
const TRAIN: Mode = Mode::Train { seed: 3, step: 0, first_row: 0 };

impl Case {
    fn all() -> Vec<Self> {
        let cases: Vec<Self> = serde_json::from_str(include_str!("reference/kernels.json")).unwrap();
        assert_eq!(cases.len(), CASES);
        cases
    }

    fn network(&self) -> Sequential {
        let tensor = |(name, v): (&String, &Values)| NamedTensor {
            name: name.clone(),
            shape: v.shape.clone(),
            values: v.values.clone(),
        };
        let weights = Weights::new(self.weights.iter().map(tensor).collect()).unwrap();
        Sequential::load(&self.spec, &weights, &Device::Cpu).unwrap()
    }

    fn mode(&self) -> Mode {
        if self.train { TRAIN } else { Mode::Eval }
    }

    fn input(&self) -> Var {
        let dims: Vec<usize> = std::iter::once(self.rows).chain(self.spec.inputs.dims.clone()).collect();
        Var::from_slice(&self.x, dims, &Device::Cpu).unwrap()
    }

    /// The largest error, as a share of one more than the value.
    fn holds(&self, what: &str, found: &[f32], expected: &[f32]) -> f32 {
        assert_eq!(found.len(), expected.len(), "{}: {what}", self.name);
        found.iter().zip(expected).fold(0.0, |worst, (found, expected)| {
            let error = (found - expected).abs() / (1.0 + expected.abs());
            assert!(error <= 1e-5, "{}: {what}: {found} for {expected}", self.name);
            worst.max(error)
        })
    }

    fn gradients_hold(&self, gradients: &[(String, Vec<f32>)]) -> f32 {
        assert_eq!(gradients.len(), self.gradients.len(), "{}", self.name);
        gradients.iter().fold(0.0, |worst, (name, found)| worst.max(self.holds(name, found, &self.gradients[name])))
    }

    fn statistics_hold(&self, network: &Sequential) {
        assert_eq!(network.statistics().len(), self.statistics.len());
        for statistic in network.statistics() {
            self.holds(&statistic.name, &flat(&statistic.var), &self.statistics[&statistic.name]);
        }
    }
}

#[test]
fn a_tape_gives_the_outputs_and_gradients_of_pytorch() {
    for case in Case::all() {
        let network = case.network();
        let mut tape = Tape::new(&network).unwrap();
        let seen = tape.learn(&network, &case.x, case.rows, case.mode(), |y, dy| {
            dy.copy_from_slice(&case.upstream);
            y.to_vec()
        });
        let output = case.holds("output", &seen.unwrap(), &case.y);
        let gradients = network.parameters().iter().zip(tape.gradients()).map(|(p, g)| (p.name.clone(), flat(g)));
        let gradient = case.gradients_hold(&gradients.collect::<Vec<_>>());
        case.statistics_hold(&network);
        let shape = format!("{} x {:?}", case.rows, case.spec.inputs.dims);
        println!("{:<44} {shape:>18}   output {output:.0e}, gradients {gradient:.0e}", case.name);
    }
}

#[test]
fn kernels_as_candle_operations_give_the_outputs_and_gradients_of_pytorch() {
    for case in Case::all() {
        let (network, x) = (case.network(), case.input());
        let y = network.forward(&x, case.mode()).unwrap();
        case.holds("output", &flat(&y), &case.y);
        case.statistics_hold(&network);
        let upstream = Tensor::from_slice(&case.upstream, y.shape(), &Device::Cpu).unwrap();
        let store = (y * upstream).unwrap().sum_all().unwrap().backward().unwrap();
        case.holds("gradient of the input", &flat(store.get(&x).unwrap()), &case.dx);
        let gradient = |p: &crate::nn::Parameter| (p.name.clone(), flat(store.get(&p.var).unwrap()));
        case.gradients_hold(&network.parameters().iter().map(gradient).collect::<Vec<_>>());
    }
}

#[test]
fn candles_own_operations_give_the_outputs_of_pytorch_and_its_gradients_where_they_are_put_together() {
    for case in Case::all() {
        let (network, x) = (case.network(), case.input());
        let y = network.portably(&x, case.rows, case.mode()).unwrap();
        case.holds("output", &flat(&y), &case.y);
        case.statistics_hold(&network);
        if case.name.contains("pool") || case.name.contains("residual") || case.name.contains("transpose") {
            let upstream = Tensor::from_slice(&case.upstream, y.shape(), &Device::Cpu).unwrap();
            let store = (y * upstream).unwrap().sum_all().unwrap().backward().unwrap();
            case.holds("gradient of the input", &flat(store.get(&x).unwrap()), &case.dx);
            let gradient = |p: &crate::nn::Parameter| (p.name.clone(), flat(store.get(&p.var).unwrap()));
            case.gradients_hold(&network.parameters().iter().map(gradient).collect::<Vec<_>>());
        }
    }
}

/// The gradients of kernels in shapes of their own, against differences of the outputs.
#[test]
fn gradients_are_the_slopes_of_the_outputs() {
    let json = r#"[
        {"inputs":[2,9,7],"outputs":24,"layers":[{"kind":"conv2d","out_channels":4,"kernel_size":3,"stride":2,"padding":1,"groups":2},
            {"kind":"activation","function":"tanh"},{"kind":"avg_pool2d","kernel_size":3,"stride":1,"padding":1},
            {"kind":"batch_norm"},{"kind":"max_pool2d","kernel_size":2},{"kind":"activation","function":"silu"},
            {"kind":"flatten"},{"kind":"layer_norm"},{"kind":"linear","in_features":16,"out_features":24},
            {"kind":"activation","function":"softplus"}]},
        {"inputs":[3,11],"outputs":4,"layers":[{"kind":"conv1d","out_channels":4,"kernel_size":2,"dilation":3,"padding":2},
            {"kind":"activation","function":"sigmoid"},{"kind":"dropout","p":0.3},{"kind":"global_avg_pool"}]}]"#;
    let specs: Vec<NetworkSpec> = serde_json::from_str(json).unwrap();
    for spec in specs {
        let network = Sequential::init(&spec, 5, &Device::Cpu).unwrap();
        let (rows, width) = (3, spec.inputs.count());
        let x: Vec<f32> = (0..rows * width).map(|i| ((i * 37 % 101) as f32 - 50.0) / 40.0).collect();
        let mut tape = Tape::new(&network).unwrap();
        let fill = |_: &[f32], dy: &mut [f32]| dy.iter_mut().enumerate().for_each(|(i, d)| *d = slope(i));
        tape.learn(&network, &x, rows, TRAIN, fill).unwrap();
        let gradients: Vec<Vec<f32>> = tape.gradients().iter().map(flat).collect();
        are_slopes(&network, &gradients, 2e-2, || weighed(tape.forward(&network, &x, rows, TRAIN).unwrap()));
    }
}

fn dropped(p: f64, layer: u32, rows: usize, first_row: usize, step: u64) -> Vec<f32> {
    let drop = DropoutKernel { p, layer, width: 50 };
    let (x, mode) = (vec![1.0; rows * 50], Mode::Train { seed: 3, step, first_row });
    let mut y = vec![0.0; rows * 50];
    drop.forward(Pass { rows, x: &x, params: &[], mode, lengths: None, csr: None }, &mut y, &mut SavedState::default());
    y
}

#[test]
fn values_are_dropped_at_the_asked_rate_and_the_rest_scaled() {
    let all = dropped(0.2, 1, 1000, 0, 0);
    assert!(all.iter().all(|&v| v == 0.0 || v == 1.25));
    let rate = all.iter().filter(|&&v| v == 0.0).count() as f64 / all.len() as f64;
    assert!((rate - 0.2).abs() < 0.01, "{rate}");
}

#[test]
fn a_row_keeps_its_mask_however_the_minibatch_is_split() {
    let whole = dropped(0.5, 1, 1000, 0, 4);
    assert_eq!(whole[5 * 50..8 * 50], dropped(0.5, 1, 3, 5, 4));
    assert_ne!(whole, dropped(0.5, 1, 1000, 0, 5));
    assert_ne!(whole, dropped(0.5, 2, 1000, 0, 4));
}

#[test]
fn dropout_is_the_same_in_kernels_and_in_candles_operations_and_prediction_drops_nothing() {
    let layer = crate::nn::LayerSpec::Dropout { p: 0.5 };
    let ones = Tensor::ones((7, 50), candle_core::DType::F32, &Device::Cpu).unwrap();
    let mode = Mode::Train { seed: 3, step: 4, first_row: 5 };
    assert_eq!(flat(&portable::forward(&layer, 1, &ones, &[], mode, None).unwrap()), dropped(0.5, 1, 7, 5, 4));
    assert_eq!(flat(&portable::forward(&layer, 1, &ones, &[], Mode::Eval, None).unwrap()), flat(&ones));
    let spec = NetworkSpec { inputs: 50.into(), outputs: 50, layers: vec![layer] };
    let network = Sequential::init(&spec, 1, &Device::Cpu).unwrap();
    assert_eq!(flat(&network.forward(&ones, Mode::Eval).unwrap()), flat(&ones));
}

/// Large enough for every kernel to share its work: whatever the threads do, the sums are the same.
#[test]
fn a_step_repeats_bit_for_bit() {
    let net = crate::nn::Network::new()
        .conv2d(crate::nn::Conv { padding: 1, ..crate::nn::Conv::new(8, 3) })
        .batch_norm()
        .activation(crate::nn::Activation::Relu)
        .max_pool2d(crate::nn::Pool::new(2))
        .layer_norm()
        .dropout(0.2)
        .linear(300);
    let spec = net.resolve([1, 28, 28], 10).unwrap();
    assert_eq!(stages(&spec).unwrap().len(), 8);
    let x: Vec<f32> = (0..61 * 784).map(|i| ((i * 7919) % 1013) as f32 / 500.0 - 1.0).collect();
    let step = || {
        let network = Sequential::init(&spec, 5, &Device::Cpu).unwrap();
        let mut tape = Tape::new(&network).unwrap();
        tape.learn(&network, &x, 61, TRAIN, |y, dy| dy.copy_from_slice(y)).unwrap();
        tape.gradients().iter().flat_map(flat).collect::<Vec<_>>()
    };
    let first = step();
    assert!(first.iter().all(|v| v.is_finite()) && first.iter().any(|v| *v != 0.0));
    assert!((0..5).all(|_| step() == first));
}
