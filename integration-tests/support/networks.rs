//! Networks that nobody trained, as fitted stages.

use candle_core::Device;
use tinderbox::{
    model::{self, History, Lineage, PredictOptions, Task},
    nn::{InputShape, Network, NetworkSpec, Sequential, Weights},
    prelude::*,
    tensor::Columns,
    train::TrainParams,
};

/// Weights from a seed; of normalisations too, which begin as nothing.
pub fn drawn(network: &NetworkSpec, seed: u64) -> Weights {
    let weights = Sequential::init(network, seed, &Device::Cpu).unwrap().weights().unwrap();
    let tensors = weights.tensors().iter().cloned().map(|mut tensor| {
        if tensor.name.contains("running") || tensor.name.contains("norm") || tensor.shape.len() == 1 {
            let values = tensor.values.iter().enumerate();
            tensor.values = values.map(|(i, value)| value + 0.3 + 0.1 * (i as f32 * 0.7).sin()).collect();
        }
        tensor
    });
    Weights::new(tensors.collect()).unwrap()
}

/// A fitted stage that nobody trained.
pub fn untrained(network: Network, input: impl Into<InputShape>, columns: Columns, task: Task) -> NeuralModel {
    let outputs = match &task {
        Task::Classes { names } | Task::Labels { names } | Task::Values { names, .. } => names.len(),
        Task::Input { .. } => unreachable!(),
    };
    fitted(network.resolve(input, outputs).unwrap(), columns, task)
}

pub fn fitted(spec: NetworkSpec, columns: Columns, task: Task) -> NeuralModel {
    let weights = drawn(&spec, 7);
    let model = model::TrainedNetwork::new(spec, weights, columns, task, History::default()).unwrap();
    let lineage = Lineage { source: "a test".into(), rows: 0, plan_hash: None };
    NeuralModel::new(model, TrainParams::default(), PredictOptions::default(), lineage).unwrap()
}

pub fn classes() -> Task {
    Task::Classes { names: ["a", "größe", "c'"].map(String::from).to_vec() }
}
