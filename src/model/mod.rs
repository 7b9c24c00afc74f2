//! A trained network with all it takes to use it: weights, columns, class names and how it came to be.

mod append;
mod encoder;
mod history;
mod metric;
mod numpy;
mod onnx;
mod predict;
mod roc;
mod task;

use candle_core::Device;

pub(crate) use append::batch_by_batch;
pub use encoder::{EncodeOptions, Encoded, Encoder};
pub use history::{EpochRecord, Evaluation, History, Lineage, RowCounts};
pub use metric::{ConfusionMatrix, Metric};
pub(crate) use numpy::{NumpyNetwork, numpy_source};
pub use predict::{Outputs, PredictOptions};
pub use roc::RocCurve;
pub use task::{Link, Scaling, Task};

use crate::{
    Result,
    nn::{NetworkSpec, Sequential, Weights},
    tensor::Columns,
};

/// A trained network. It lives in the host's memory and is placed on a device to predict.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainedNetwork {
    spec: NetworkSpec,
    weights: Weights,
    columns: Columns,
    task: Task,
    history: History,
}

impl From<&TrainedNetwork> for Weights {
    fn from(model: &TrainedNetwork) -> Self {
        model.weights.clone()
    }
}

impl TrainedNetwork {
    /// Puts a model together, checking that its parts fit each other.
    ///
    /// # Errors
    /// [`Error::Network`](crate::Error::Network) when the weights do not fit the network,
    /// [`Error::Param`](crate::Error::Param) when its outputs are not as many as the task needs.
    pub fn new(
        spec: NetworkSpec,
        weights: Weights,
        columns: Columns,
        task: impl Into<Task>,
        history: History,
    ) -> Result<Self> {
        spec.check_weights(&weights)?;
        let task = task.into();
        task.check(spec.inputs.count(), spec.outputs)?;
        Ok(Self { spec, weights, columns, task, history })
    }

    /// Returns the network.
    pub fn spec(&self) -> &NetworkSpec {
        &self.spec
    }

    /// Returns the weights, sorted by name.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// Returns the columns it was trained on; prediction needs its features.
    pub fn columns(&self) -> &Columns {
        &self.columns
    }

    /// Returns the meaning of its outputs.
    pub fn task(&self) -> &Task {
        &self.task
    }

    /// Returns the classes' names, by label; empty unless the network is a classifier.
    pub fn classes(&self) -> &[String] {
        match &self.task {
            Task::Classes { names } => names,
            _ => &[],
        }
    }

    /// Returns the same model over other columns, when it was trained on columns derived from them.
    pub(crate) fn with_columns(self, columns: Columns) -> Self {
        Self { columns, ..self }
    }

    /// Returns the record of the training run.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Builds the network on a device.
    ///
    /// # Errors
    /// [`Error::Tensor`](crate::Error::Tensor) when the device fails.
    pub fn network(&self, device: &Device) -> Result<Sequential> {
        Sequential::load(&self.spec, &self.weights, device)
    }
}
