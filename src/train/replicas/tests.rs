use super::{super::replica::host, *};
use crate::{
    nn::{Conv, Network, NetworkLayer, Pool, Precision, Recurrent, SequenceOutput},
    tensor::{Minibatch, MinibatchInput, Targets, Values},
    train::CrossEntropy,
};

fn spec() -> NetworkSpec {
    Network::new().linear(6).batch_norm().linear(5).resolve(4, 3).unwrap()
}

fn replicas(spec: &NetworkSpec, devices: usize, micro_batch: MicroBatch) -> Replicas {
    let params = TrainParams { seed: 3, micro_batch, ..TrainParams::default() };
    let objective = Objective::classes(CrossEntropy::new(vec![1.0, 2.0, 0.5], 0.0));
    Replicas::new(spec, &params, objective, &vec![Device::Cpu; devices]).unwrap()
}

/// Rows `from` to `to` of an endless table.
fn minibatch(from: usize, to: usize) -> Minibatch {
    let values = (4 * from..4 * to).map(|i| ((i * 37) % 101) as f32 / 20.0 - 1.0).collect();
    Minibatch {
        inputs: vec![MinibatchInput { name: "x".into(), values: Values::F32(values), shape: vec![4], lengths: None }],
        targets: Targets::Classes((from..to).map(|i| (i % 3) as u32).collect()),
        weights: vec![1.0; to - from],
        numbers: (from as u32..to as u32).collect(),
    }
}

fn step(replicas: &mut Replicas, from: usize, to: usize, number: usize) -> Result<StepResult> {
    let staged = replicas.placer().stage(minibatch(from, to), None)?;
    replicas.step(&staged, number, 0.01)
}

fn gap(a: &Weights, b: &Weights) -> f32 {
    let pairs = a.tensors().iter().zip(b.tensors()).flat_map(|(a, b)| a.values.iter().zip(&b.values));
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn running_statistics_are_the_same_everywhere_and_weigh_replicas_by_their_rows() {
    let mut two = replicas(&spec(), 2, MicroBatch::Whole);
    step(&mut two, 0, 17, 0).unwrap();
    let found = two.replicas[0].statistics().unwrap();
    assert_eq!(found, two.replicas[1].statistics().unwrap());
    // What each replica finds alone in its share, of 8 and of 9 rows.
    let alone = |from, to| {
        let mut one = replicas(&spec(), 1, MicroBatch::Whole);
        step(&mut one, from, to, 0).unwrap();
        one.replicas[0].statistics().unwrap().concat()
    };
    for ((both, a), b) in found.concat().iter().zip(alone(0, 8)).zip(alone(8, 17)) {
        assert!((both - (8.0 * a + 9.0 * b) / 17.0).abs() < 1e-6, "{both}: {a}, {b}");
    }
    assert_ne!(alone(0, 8), alone(8, 17));
}

#[test]
fn rows_learnt_from_in_parts_take_the_same_steps_to_rounding() {
    let spec = Network::mlp([7]).with_dropout(0.2).resolve(4, 3).unwrap();
    let train = |devices, micro| {
        let mut replicas = replicas(&spec, devices, micro);
        for (number, rows) in [40, 1, 23, 40].into_iter().enumerate() {
            step(&mut replicas, 100 * number, 100 * number + rows, number).unwrap();
        }
        replicas.weights().unwrap()
    };
    let whole = train(1, MicroBatch::Whole);
    for devices in [1, 2, 3] {
        for micro in [MicroBatch::Whole, MicroBatch::Rows(1), MicroBatch::Rows(7), MicroBatch::Fitting] {
            let found = train(devices, micro);
            assert!(gap(&found, &whole) < 1e-5, "{devices} replicas, {micro:?}: {}", gap(&found, &whole));
            assert_eq!(found, train(devices, micro));
        }
    }
}

#[test]
fn full_memory_halves_the_rows_at_once_when_asked_and_names_the_device_when_not() {
    let mut fitting = replicas(&spec(), 2, MicroBatch::Fitting);
    fitting.replicas[1].fits = Some(3);
    step(&mut fitting, 0, 22, 0).unwrap();
    assert_eq!(fitting.most, 3);
    let mut known = replicas(&spec(), 2, MicroBatch::Rows(3));
    step(&mut known, 0, 22, 0).unwrap();
    assert_eq!(fitting.weights().unwrap(), known.weights().unwrap(), "what failed left nothing behind");

    for micro in [MicroBatch::Whole, MicroBatch::Rows(4)] {
        let mut full = replicas(&spec(), 2, micro);
        let before = full.weights().unwrap();
        full.replicas[1].fits = Some(3);
        let message = step(&mut full, 0, 22, 0).unwrap_err().to_string();
        for words in ["OUT_OF_MEMORY", "replica 1", "`cpu`"] {
            assert!(message.contains(words), "{message}");
        }
        let trained = |weights: &Weights| weights.get("0.weight").cloned();
        assert_eq!(trained(&full.weights().unwrap()), trained(&before));
    }
    let mut nothing = replicas(&spec(), 1, MicroBatch::Fitting);
    nothing.replicas[0].fits = Some(0);
    assert!(step(&mut nothing, 0, 5, 0).unwrap_err().to_string().contains("OUT_OF_MEMORY"));
}

#[test]
fn the_parts_of_a_step_are_timed() {
    let mut replicas = replicas(&spec(), 2, MicroBatch::Whole);
    let parts = step(&mut replicas, 0, 50, 0).unwrap().parts;
    assert!([parts.forward, parts.backward, parts.reduce, parts.step].iter().all(|part| !part.is_zero()), "{parts:?}");
}

#[test]
fn half_precision_learns_what_single_precision_does_from_single_weights() {
    let spec = Network::new().linear(6).layer_norm().linear(5).resolve(4, 3).unwrap();
    let train = |precision| {
        let params = TrainParams { seed: 3, precision, ..TrainParams::default() };
        let objective = Objective::classes(CrossEntropy::new(vec![1.0; 3], 0.0));
        let mut replicas = Replicas::new(&spec, &params, objective, &[Device::Cpu, Device::Cpu]).unwrap();
        let losses = (0..60).map(|number| step(&mut replicas, 0, 30, number).unwrap().tally.mean_loss());
        (losses.collect::<Vec<_>>(), replicas.weights().unwrap(), replicas.scale)
    };
    let (single, half) = (train(Precision::F32), train(Precision::F16));
    assert!(half.0[59] < 0.8 * half.0[0], "{:?}", half.0);
    for (single, half) in single.0.iter().zip(&half.0) {
        assert!((single - half).abs() < 0.02 * single, "{single} in single precision, {half} in half");
    }
    assert_ne!(single.1, half.1);
    let rounded = |v: f32| half::f16::from_f32(v).to_f32() == v;
    let values: Vec<f32> = half.1.tensors().iter().flat_map(|t| t.values.clone()).collect();
    assert!(values.iter().filter(|v| !rounded(**v)).count() > values.len() / 2, "weights are in single precision");
    assert!(half.2.is_some() && single.2.is_none());
}

#[test]
fn gradients_that_overflow_leave_the_step_out_and_halve_the_scale() {
    let spec = Network::mlp([5]).resolve(4, 3).unwrap();
    let params = TrainParams { seed: 3, precision: Precision::F16, ..TrainParams::default() };
    let objective = Objective::classes(CrossEntropy::new(vec![1.0; 3], 0.0));
    let mut replicas = Replicas::new(&spec, &params, objective, &[Device::Cpu]).unwrap();
    (0..20).for_each(|_| replicas.scale.as_mut().unwrap().note(true));
    let mut found = replicas.scale.unwrap();
    // One row, whose gradient times 2^24 is beyond half precision.
    let mut text = serde_json::to_value(found).unwrap();
    text["factor"] = serde_json::json!(16777216.0);
    found = serde_json::from_value(text).unwrap();
    replicas.scale = Some(found);
    let before = replicas.weights().unwrap();
    let seen = step(&mut replicas, 0, 1, 0).unwrap();
    assert!(seen.tally.loss.is_finite());
    assert_eq!(replicas.weights().unwrap(), before);
    assert_eq!(replicas.scale.unwrap().factor(), 8388608.0);
    for number in 1..20 {
        step(&mut replicas, 0, 1, number).unwrap();
    }
    assert_ne!(replicas.weights().unwrap(), before, "smaller factors work");
}

#[test]
fn sequences_and_convolutions_learn_in_half_precision() {
    let images = Network::new()
        .conv2d(Conv::new(2, 2))
        .max_pool2d(Pool::new(2))
        .flatten()
        .layer(NetworkLayer::Dropout { p: 0.1 });
    for (spec, x) in [
        (images.resolve([1, 4, 4], 2).unwrap(), [3, 16]),
        (
            Network::new()
                .gru_layer(Recurrent { output: SequenceOutput::Max, ..Recurrent::new(3) })
                .resolve([5, 2], 2)
                .unwrap(),
            [3, 10],
        ),
        (
            Network::new()
                .lstm_layer(Recurrent { output: SequenceOutput::Mean, ..Recurrent::new(3) })
                .resolve([5, 2], 2)
                .unwrap(),
            [3, 10],
        ),
    ] {
        let mode = Mode::Train { seed: 1, step: 0, first_row: 0 };
        let network = Sequential::init(&spec, 1, &Device::Cpu).unwrap();
        let x = Tensor::arange(0.0, (x[0] * x[1]) as f32, &Device::Cpu).unwrap();
        let x = ((x / 40.0).unwrap() - 0.3).unwrap().reshape((3, ())).unwrap();
        let single = host(&network.forward(&x, mode).unwrap()).unwrap();
        let half = host(&network.with_precision(Precision::F16).forward(&x, mode).unwrap()).unwrap();
        assert_ne!(single, half);
        for (single, half) in single.iter().zip(&half) {
            assert!((single - half).abs() < 5e-3, "{single} in single precision, {half} in half");
        }
    }
}
