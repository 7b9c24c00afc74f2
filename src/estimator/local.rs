//! Stages whose columns are computed in this process.

use super::{EncoderModel, NeuralModel};
use crate::{Result, ml::Transformer, stream::RecordStream};

/// A stage that appends columns to rows that are here.
pub(crate) trait LocalStage: Transformer {
    /// The rows with the stage's columns.
    ///
    /// # Errors
    /// As the stage's own scoring of a frame.
    fn append(&self, rows: RecordStream) -> Result<RecordStream>;
}

impl LocalStage for NeuralModel {
    fn append(&self, rows: RecordStream) -> Result<RecordStream> {
        self.model().predict(rows, self.prediction())
    }
}

impl LocalStage for EncoderModel {
    fn append(&self, rows: RecordStream) -> Result<RecordStream> {
        self.encoder().encode(rows, self.options())
    }
}

/// The stage as one that computes here, if it is.
pub(crate) fn local(stage: &dyn Transformer) -> Option<&dyn LocalStage> {
    let stage = stage.as_any();
    let network = stage.downcast_ref::<NeuralModel>().map(|stage| stage as &dyn LocalStage);
    network.or_else(|| stage.downcast_ref::<EncoderModel>().map(|stage| stage as &dyn LocalStage))
}
