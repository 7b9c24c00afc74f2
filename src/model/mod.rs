//! A trained network with all it takes to use it: weights, columns, class names and how it came to be.

mod history;
mod metric;
mod predict;
mod roc;

use candle_core::Device;

pub use history::{EpochRecord, Evaluation, History, Lineage, RowCounts};
pub use metric::ConfusionMatrix;
pub use predict::{Outputs, PredictOptions};
pub use roc::RocCurve;

use crate::{
    Error, Result,
    nn::{NetworkSpec, Sequential, Weights},
    tensor::Columns,
};

/// A trained classifier. It lives in the host's memory and is placed on a device to predict.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    spec: NetworkSpec,
    weights: Weights,
    columns: Columns,
    classes: Vec<String>,
    history: History,
}

impl Model {
    /// Puts a model together, checking that its parts fit each other.
    ///
    /// # Errors
    /// [`Error::Network`] when the weights do not fit the network, [`Error::Param`] when there is not one class name per
    /// output.
    pub fn new(
        spec: NetworkSpec,
        weights: Weights,
        columns: Columns,
        classes: Vec<String>,
        history: History,
    ) -> Result<Self> {
        spec.check_weights(&weights)?;
        if classes.len() != spec.outputs {
            let legal = format!("as many names as the network has outputs, {}", spec.outputs);
            return Err(Error::param("classes", format!("{} names", classes.len()), legal));
        }
        Ok(Self { spec, weights, columns, classes, history })
    }

    /// The network.
    pub fn spec(&self) -> &NetworkSpec {
        &self.spec
    }

    /// The weights, sorted by name.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// The columns it was trained on; prediction needs its features.
    pub fn columns(&self) -> &Columns {
        &self.columns
    }

    /// The classes' names, by label.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The same model over other columns, when it was trained on what came of them.
    pub(crate) fn with_columns(self, columns: Columns) -> Self {
        Self { columns, ..self }
    }

    /// How training went.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Builds the network on a device.
    ///
    /// # Errors
    /// [`Error::Tensor`] when the device fails.
    pub fn network(&self, device: &Device) -> Result<Sequential> {
        Sequential::load(&self.spec, &self.weights, device)
    }
}
