use std::collections::BTreeMap;

use serde::Deserialize;

use super::*;

/// Written by `reference/rnn.py`.
#[derive(Deserialize)]
struct Case {
    kind: String,
    inputs: usize,
    hidden: usize,
    layers: usize,
    bidirectional: bool,
    lengths: Vec<u32>,
    time: usize,
    x: Vec<f32>,
    factors: Vec<f32>,
    weights: BTreeMap<String, Vec<f32>>,
    readouts: BTreeMap<String, Expected>,
}

#[derive(Deserialize)]
struct Expected {
    y: Vec<f32>,
    x: Vec<f32>,
    weights: BTreeMap<String, Vec<f32>>,
}

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("reference/rnn.json")).unwrap()
}

fn kind(name: &str) -> CellKind {
    match name {
        "lstm" => CellKind::Lstm,
        "gru" => CellKind::Gru,
        "tanh" => CellKind::Tanh,
        _ => CellKind::Relu,
    }
}

fn readout(name: &str) -> SequenceOutput {
    match name {
        "all" => SequenceOutput::All,
        "last" => SequenceOutput::Last,
        "mean" => SequenceOutput::Mean,
        _ => SequenceOutput::Max,
    }
}

fn far(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs() / (1.0 + b.abs())).fold(0.0, f32::max)
}

/// Outputs, and the gradients of `x` and of the weights, of the sum of outputs times factors.
fn run(
    shape: &Shape,
    x: &[f32],
    sizes: (&[u32], usize),
    weights: &[Vec<f32>],
    factors: &[f32],
) -> (Vec<f32>, Vec<f32>, Vec<Vec<f32>>) {
    let slices: Vec<&[f32]> = weights.iter().map(Vec::as_slice).collect();
    let scratch = RnnBuffers::default();
    // What is there already must not show through.
    let mut y = vec![f32::NAN; shape.out_len(sizes.0.len(), sizes.1)];
    let mut d_x = vec![f32::NAN; x.len()];
    let mut d_weights: Vec<Vec<f32>> = weights.iter().map(|w| vec![f32::NAN; w.len()]).collect();
    let shares = forward(shape, &slices, x, sizes, &mut y, &scratch);
    let mut d_slices: Vec<&mut [f32]> = d_weights.iter_mut().map(Vec::as_mut_slice).collect();
    let gradients = Gradients { x: Some(&mut d_x), params: &mut d_slices };
    backward(shape, &slices, shares, sizes, &factors[..y.len()], gradients, &scratch);
    (y, d_x, d_weights)
}

#[test]
fn outputs_and_gradients_are_those_of_pytorch() {
    let mut worst = 0f32;
    for case in cases() {
        for (name, expected) in &case.readouts {
            let shape = Shape {
                kind: kind(&case.kind),
                inputs: case.inputs,
                hidden: case.hidden,
                layers: case.layers,
                bidirectional: case.bidirectional,
                readout: readout(name),
            };
            let parameters = shape.parameters();
            assert_eq!(parameters.len(), case.weights.len());
            let weights: Vec<Vec<f32>> = parameters.iter().map(|(name, _)| case.weights[name].clone()).collect();
            let (y, d_x, d_weights) = run(&shape, &case.x, (&case.lengths, case.time), &weights, &case.factors);
            worst = worst.max(far(&y, &expected.y)).max(far(&d_x, &expected.x));
            for ((parameter, _), gradient) in parameters.iter().zip(d_weights) {
                worst = worst.max(far(&gradient, &expected.weights[parameter]));
            }
            assert!(worst <= 5e-6, "{} {name}, lengths {:?}: {worst}", case.kind, case.lengths);
        }
    }
}

fn uniform(seed: u64, count: usize, bound: f32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / (1 << 24) as f32 * 2.0 - 1.0) * bound
    };
    (0..count).map(|_| next()).collect()
}

fn drawn(shape: &Shape) -> Vec<Vec<f32>> {
    let parameters = shape.parameters().into_iter().enumerate();
    parameters.map(|(i, (_, dims))| uniform(i as u64, dims.iter().product(), 0.8)).collect()
}

#[test]
fn gradients_agree_with_finite_differences() {
    let lengths = [3, 1, 4, 2, 4, 3, 1, 2, 2, 4, 1, 3, 4, 4, 2, 1, 3];
    for (kind, layers, bidirectional, readout) in [
        (CellKind::Lstm, 2, true, SequenceOutput::Last),
        (CellKind::Gru, 2, true, SequenceOutput::Mean),
        (CellKind::Lstm, 1, false, SequenceOutput::All),
        (CellKind::Gru, 1, false, SequenceOutput::Last),
        (CellKind::Tanh, 1, true, SequenceOutput::Mean),
    ] {
        let shape = Shape { kind, inputs: 2, hidden: 3, layers, bidirectional, readout };
        let (x, factors) = (uniform(2, lengths.len() * 4 * 2, 1.0), uniform(3, shape.out_len(lengths.len(), 4), 1.0));
        let mut weights = drawn(&shape);
        let loss = |weights: &[Vec<f32>]| -> f64 {
            let slices: Vec<&[f32]> = weights.iter().map(Vec::as_slice).collect();
            let mut out = vec![0.0; factors.len()];
            forward(&shape, &slices, &x, (&lengths, 4), &mut out, &RnnBuffers::default());
            out.iter().zip(&factors).map(|(&y, &f)| f64::from(y) * f64::from(f)).sum()
        };
        let d_weights = run(&shape, &x, (&lengths, 4), &weights, &factors).2;
        let step = 1e-2;
        for (p, i) in (0..weights.len()).flat_map(|p| (0..d_weights[p].len()).map(move |i| (p, i))) {
            let at = weights[p][i];
            let mut beside = |by: f32| {
                weights[p][i] = at + by;
                let loss = loss(&weights);
                weights[p][i] = at;
                loss
            };
            // Five points, so that a step large enough for single precision is small enough for the curvature.
            let slope = (8.0 * (beside(step) - beside(-step)) - (beside(2.0 * step) - beside(-2.0 * step)))
                / (12.0 * f64::from(step));
            let d = f64::from(d_weights[p][i]);
            assert!((slope - d).abs() <= 2e-3 * (1.0 + d.abs()), "{shape:?}, {p} {i}: {d}, differences {slope}");
        }
    }
}

#[test]
fn what_stands_behind_a_sequences_end_changes_nothing() {
    let shape = Shape {
        kind: CellKind::Lstm,
        inputs: 2,
        hidden: 5,
        layers: 2,
        bidirectional: true,
        readout: SequenceOutput::All,
    };
    let weights = drawn(&shape);
    let (lengths, factors) = ([2, 4, 1], uniform(9, 3 * 4 * 10, 1.0));
    let values = uniform(8, 3 * 4 * 2, 1.0);
    let mut other = values.clone();
    for (row, &length) in lengths.iter().enumerate() {
        other[(row * 4 + length as usize) * 2..(row + 1) * 8].fill(f32::NAN);
    }
    let first = run(&shape, &values, (&lengths, 4), &weights, &factors);
    let second = run(&shape, &other, (&lengths, 4), &weights, &factors);
    assert_eq!(first, second);
    for (row, &length) in lengths.iter().enumerate() {
        assert!(first.0[(row * 4 + length as usize) * 10..(row + 1) * 40].iter().all(|&v| v == 0.0));
        assert!(first.1[(row * 4 + length as usize) * 2..(row + 1) * 8].iter().all(|&v| v == 0.0));
    }
}

#[test]
fn rows_are_dealt_out_by_their_steps() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    pool.install(|| {
        assert_eq!(cuts(&[]), [0, 0]);
        assert_eq!(cuts(&[5; 8]), [0, 8]);
        assert_eq!(cuts(&[5; 64]), [0, 32, 64]);
        let mut lengths = vec![1; 30];
        lengths.extend([30]);
        assert_eq!(cuts(&lengths), [0, 30, 31]);
    });
}

#[test]
fn networks_agree_with_candles_operations_on_the_tape_and_in_the_graph() {
    use candle_core::{Device, Tensor};

    use crate::nn::{Mode, Network, Recurrent, Sequential, Tape};

    let deep = Recurrent { num_layers: 2, bidirectional: true, output: SequenceOutput::All, ..Recurrent::new(5) };
    let on = |readout| Recurrent { output: readout, ..Recurrent::new(4) };
    for (second, readout) in [(0, SequenceOutput::Last), (1, SequenceOutput::Mean), (2, SequenceOutput::Max)] {
        let net = match second {
            0 => Network::new().lstm_layer(deep).gru_layer(on(readout)),
            1 => Network::new().gru_layer(deep).rnn_layer(on(readout)),
            _ => Network::new().rnn_layer(deep).lstm_layer(on(readout)),
        };
        let spec = net.resolve([6, 3], 2).unwrap();
        let network = Sequential::init(&spec, 5, &Device::Cpu).unwrap();
        let x = uniform(7, 9 * 6 * 3, 1.0);
        let input = Tensor::from_slice(&x, (9, 6, 3), &Device::Cpu).unwrap();
        let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let gradients = |y: Tensor| {
            let found = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
            network.parameters().iter().map(|p| flat(found.get(&p.var).unwrap())).collect::<Vec<_>>()
        };
        let exact = network.portably(&input, 9, Mode::Eval).unwrap();
        let graph = network.forward(&input, Mode::Eval).unwrap();
        assert!(far(&flat(&graph), &flat(&exact)) < 1e-5);
        let mut tape = Tape::new(&network).unwrap();
        let taped = tape.learn(&network, &x, 9, Mode::Eval, |y, dy| {
            dy.iter_mut().zip(y).for_each(|(d, y)| *d = 2.0 * y);
            y.to_vec()
        });
        assert!(far(&taped.unwrap(), &flat(&exact)) < 1e-5);
        let taped: Vec<Vec<f32>> = tape.gradients().iter().map(flat).collect();
        for ((exact, graph), tape) in gradients(exact).iter().zip(gradients(graph)).zip(taped) {
            assert!(far(&graph, exact) < 1e-5 && far(&tape, exact) < 1e-5);
        }
    }
}

#[test]
fn settings_that_do_not_fit_are_refused() {
    use crate::nn::{InputShape, Network, Recurrent};

    let says = |net: Network, input: InputShape, words: &[&str]| {
        let message = net.resolve(input, 2).unwrap_err().to_string();
        assert!(words.iter().all(|w| message.contains(w)), "{message}");
    };
    says(Network::lstm(4), 12.into(), &["0 (lstm)", "12", "steps × values"]);
    says(Network::gru(4), InputShape::sequence([3, 4]), &["0 (gru)", "steps×3×4", "steps × values"]);
    says(Network::gru(0), [5, 12].into(), &["0 (gru)", "hidden_size = 0"]);
    says(Network::gru(4).rnn_layer(Recurrent::new(4)), [5, 12].into(), &["1 (rnn)", "steps × values"]);
    let read: Network =
        serde_json::from_str(r#"{"layers":[{"kind":"lstm","hidden_size":8,"output":"mean"}]}"#).unwrap();
    assert_eq!(read, Network::new().lstm_layer(Recurrent { output: SequenceOutput::Mean, ..Recurrent::new(8) }));
}
