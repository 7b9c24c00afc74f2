use std::{collections::BTreeMap, sync::Arc};

use candle_core::{Device, Tensor, Var};
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

fn readout(name: &str) -> Readout {
    match name {
        "all" => Readout::All,
        "last" => Readout::Last,
        "mean" => Readout::Mean,
        _ => Readout::Max,
    }
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn far(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs() / (1.0 + b.abs())).fold(0.0, f32::max)
}

/// Outputs, and the gradients of `x` and of the weights, of the sum of outputs times factors.
fn run(
    shape: &Shape,
    x: &Var,
    lengths: &[u32],
    weights: &[Var],
    factors: &[f32],
) -> (Vec<f32>, Vec<f32>, Vec<Vec<f32>>) {
    let tensors: Vec<Tensor> = weights.iter().map(|w| w.as_tensor().clone()).collect();
    let scratch = Arc::new(Scratch::default());
    let y = rnn(shape, x, &lengths.into(), &tensors, &scratch).unwrap();
    let factors = Tensor::from_slice(&factors[..y.elem_count()], y.shape(), &Device::Cpu).unwrap();
    let gradients = (&y * factors).unwrap().sum_all().unwrap().backward().unwrap();
    let of = |v: &Var| flat(gradients.get(v).unwrap());
    (flat(&y), of(x), weights.iter().map(of).collect())
}

#[test]
fn outputs_and_gradients_are_those_of_pytorch() {
    let mut worst = 0f32;
    for case in cases() {
        let (rows, dims) = (case.lengths.len(), (case.lengths.len(), case.time, case.inputs));
        let x = Var::from_vec(case.x, dims, &Device::Cpu).unwrap();
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
            let var = |(name, dims): &(String, Vec<usize>)| {
                Var::from_slice(&case.weights[name], dims.as_slice(), &Device::Cpu).unwrap()
            };
            let weights: Vec<Var> = parameters.iter().map(var).collect();
            let (y, d_x, d_weights) = run(&shape, &x, &case.lengths, &weights, &case.factors);
            worst = worst.max(far(&y, &expected.y)).max(far(&d_x, &expected.x));
            for ((parameter, _), gradient) in parameters.iter().zip(d_weights) {
                worst = worst.max(far(&gradient, &expected.weights[parameter]));
            }
            assert!(worst <= 5e-6, "{} {name}, {rows} rows: {worst}", case.kind);
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

#[test]
fn gradients_agree_with_finite_differences() {
    let lengths = [3, 1, 4, 2, 4, 3, 1, 2, 2, 4, 1, 3, 4, 4, 2, 1, 3];
    for (kind, layers, bidirectional, readout) in [
        (CellKind::Lstm, 2, true, Readout::Last),
        (CellKind::Gru, 2, true, Readout::Mean),
        (CellKind::Lstm, 1, false, Readout::All),
        (CellKind::Gru, 1, false, Readout::Last),
        (CellKind::Tanh, 1, true, Readout::Mean),
    ] {
        let shape = Shape { kind, inputs: 2, hidden: 3, layers, bidirectional, readout };
        let count = shape.parameters().iter().map(|(_, dims)| dims.iter().product::<usize>()).sum();
        let (mut weights, x) = (uniform(1, count, 0.8), uniform(2, lengths.len() * 4 * 2, 1.0));
        let factors = uniform(3, shape.out_len(lengths.len(), 4), 1.0);
        let scratch = Scratch::default();
        let loss = |weights: &[f32]| -> f64 {
            let (out, shares) = forward(&shape, weights, &x, &lengths, 4, &scratch);
            shares.into_iter().for_each(|share| share.free(&scratch));
            out.iter().zip(&factors).map(|(&y, &f)| f64::from(y) * f64::from(f)).sum()
        };
        let shares = forward(&shape, &weights, &x, &lengths, 4, &scratch).1;
        let (d_weights, _) = backward(&shape, &weights, shares, &factors, (&lengths, 4), false, &scratch);
        let step = 1e-2;
        for i in 0..count {
            let at = weights[i];
            let mut beside = |by: f32| {
                weights[i] = at + by;
                let loss = loss(&weights);
                weights[i] = at;
                loss
            };
            // Five points, so that a step large enough for single precision is small enough for the curvature.
            let slope = (8.0 * (beside(step) - beside(-step)) - (beside(2.0 * step) - beside(-2.0 * step)))
                / (12.0 * f64::from(step));
            let d = f64::from(d_weights[i]);
            assert!((slope - d).abs() <= 2e-3 * (1.0 + d.abs()), "{shape:?}, weight {i}: {d}, differences {slope}");
        }
    }
}

#[test]
fn what_stands_behind_a_sequences_end_changes_nothing() {
    let shape =
        Shape { kind: CellKind::Lstm, inputs: 2, hidden: 5, layers: 2, bidirectional: true, readout: Readout::All };
    let weights: Vec<Var> = shape
        .parameters()
        .into_iter()
        .enumerate()
        .map(|(i, (_, dims))| Var::from_vec(uniform(i as u64, dims.iter().product(), 0.5), dims, &Device::Cpu).unwrap())
        .collect();
    let (lengths, factors) = ([2, 4, 1], uniform(9, 3 * 4 * 10, 1.0));
    let values = uniform(8, 3 * 4 * 2, 1.0);
    let mut other = values.clone();
    for (row, &length) in lengths.iter().enumerate() {
        other[(row * 4 + length as usize) * 2..(row + 1) * 8].fill(f32::NAN);
    }
    let var = |values: Vec<f32>| Var::from_vec(values, (3, 4, 2), &Device::Cpu).unwrap();
    let (first, second) = (
        run(&shape, &var(values), &lengths, &weights, &factors),
        run(&shape, &var(other), &lengths, &weights, &factors),
    );
    assert_eq!(first, second);
    for (row, &length) in lengths.iter().enumerate() {
        assert!(first.0[(row * 4 + length as usize) * 10..(row + 1) * 40].iter().all(|&v| v == 0.0));
        assert!(first.1[(row * 4 + length as usize) * 2..(row + 1) * 8].iter().all(|&v| v == 0.0));
    }
}

#[test]
fn a_second_backward_pass_gives_the_same_gradients() {
    let shape =
        Shape { kind: CellKind::Gru, inputs: 2, hidden: 3, layers: 1, bidirectional: false, readout: Readout::Last };
    let weights: Vec<Var> = shape
        .parameters()
        .into_iter()
        .map(|(_, dims)| Var::from_vec(uniform(4, dims.iter().product(), 0.5), dims, &Device::Cpu).unwrap())
        .collect();
    let tensors: Vec<Tensor> = weights.iter().map(|w| w.as_tensor().clone()).collect();
    let x = Tensor::from_vec(uniform(5, 12, 1.0), (2, 3, 2), &Device::Cpu).unwrap();
    let loss = rnn(&shape, &x, &[3, 2].into(), &tensors, &Arc::default()).unwrap().sum_all().unwrap();
    let gradients = || {
        let all = loss.backward().unwrap();
        weights.iter().map(|w| flat(all.get(w).unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(gradients(), gradients());
}

#[test]
fn buffers_come_back_whether_or_not_a_backward_pass_follows() {
    let shape =
        Shape { kind: CellKind::Lstm, inputs: 2, hidden: 3, layers: 2, bidirectional: true, readout: Readout::Max };
    let weights: Vec<Tensor> = shape
        .parameters()
        .into_iter()
        .map(|(_, dims)| Tensor::zeros(dims, candle_core::DType::F32, &Device::Cpu).unwrap())
        .collect();
    let x = Tensor::zeros((2, 3, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
    let scratch = Arc::new(Scratch::default());
    let lengths: Arc<[u32]> = [3, 2].into();
    drop(rnn(&shape, &x, &lengths, &weights, &scratch).unwrap());
    let kept = scratch.len();
    assert!(kept > 0);
    for _ in 0..3 {
        drop(rnn(&shape, &x, &lengths, &weights, &scratch).unwrap());
        assert_eq!(scratch.len(), kept);
    }
}

#[test]
fn lengths_and_weights_that_do_not_fit_are_named() {
    let shape =
        Shape { kind: CellKind::Lstm, inputs: 2, hidden: 3, layers: 1, bidirectional: false, readout: Readout::Last };
    let zeros = |dims: &[usize]| Tensor::zeros(dims, candle_core::DType::F32, &Device::Cpu).unwrap();
    let weights: Vec<Tensor> = shape.parameters().iter().map(|(_, dims)| zeros(dims)).collect();
    let says = |x: &[usize], lengths: &[u32], weights: &[Tensor], words: &str| {
        let message = rnn(&shape, &zeros(x), &lengths.into(), weights, &Arc::default()).unwrap_err().to_string();
        assert!(message.contains(words), "{message}");
    };
    says(&[2, 3, 2], &[3, 0], &weights, "row 1: a sequence of length 0");
    says(&[2, 3, 2], &[4, 1], &weights, "row 0: a sequence of length 4; 1 to 3");
    says(&[2, 3, 2], &[3], &weights, "1 lengths for 2 sequences");
    says(&[2, 3, 5], &[3, 1], &weights, "5 values a step; it takes 2");
    let mut other = weights.clone();
    other[1] = zeros(&[12, 4]);
    says(&[2, 3, 2], &[3, 1], &other, "`weight_hh_l0` has shape [12, 4]; [12, 3] fits");
    says(&[2, 3, 2], &[3, 1], &weights[..3], "3 tensors");
    let none = rnn(&shape, &zeros(&[0, 3, 2]), &Arc::from([]), &weights, &Arc::default()).unwrap();
    assert_eq!(none.dims(), [0, 3]);
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
