use super::*;
use crate::{
    nn::Network,
    tensor::{Input, Minibatch, Targets, Values},
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
        inputs: vec![Input { name: "x".into(), values: Values::F32(values), shape: vec![4], lengths: None }],
        targets: Targets::Classes((from..to).map(|i| (i % 3) as u32).collect()),
        weights: vec![1.0; to - from],
        numbers: (from as u32..to as u32).collect(),
    }
}

fn step(replicas: &mut Replicas, from: usize, to: usize, number: usize) -> Result<Seen> {
    let staged = replicas.stager().stage(minibatch(from, to), None)?;
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
    let spec = Network::mlp([7]).dropout(0.2).resolve(4, 3).unwrap();
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
