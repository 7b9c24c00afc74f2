//! Stages that are networks: computed in this process, or by the cluster's workers.

use futures::future::BoxFuture;
use spark_connect::types::DataType;

use super::{EncoderModel, NeuralModel, on_cluster::ClusterStage};
use crate::{Result, dataframe::DataFrame, ml::Transformer, stream::RecordStream};

/// A stage that appends a network's columns.
pub(crate) trait NetworkStage: Transformer {
    /// Returns the rows with the stage's columns, computed locally.
    ///
    /// # Errors
    /// As the stage's own scoring of a frame.
    fn append(&self, rows: RecordStream) -> Result<RecordStream>;

    /// Returns the stage, for rows that cannot be used to be kept, with the reason in a column of this name behind its
    /// others.
    fn keeping(&self, reason: &str) -> Box<dyn Transformer>;

    /// Returns the stage as the cluster's workers compute it.
    fn cluster_stage(&self) -> ClusterStage;

    /// Returns the frame with the stage's columns, computed on the cluster when it is read; or why the cluster cannot.
    fn on_cluster<'a>(&'a self, frame: &'a DataFrame) -> BoxFuture<'a, Result<Result<DataFrame, String>>> {
        Box::pin(async move {
            let before = frame.schema().await?;
            let after = self.transform_schema(&before)?;
            self.cluster_stage().transform(frame, &before, &after).await
        })
    }
}

impl NetworkStage for NeuralModel {
    fn append(&self, rows: RecordStream) -> Result<RecordStream> {
        self.model().predict(rows, self.prediction())
    }

    fn keeping(&self, reason: &str) -> Box<dyn Transformer> {
        Box::new(self.clone().keeping(reason))
    }

    fn cluster_stage(&self) -> ClusterStage {
        ClusterStage {
            network: self.model().numpy(self.prediction()),
            on_invalid: self.prediction().on_invalid,
            name: "neural_model",
            number: DataType::Double,
        }
    }
}

impl NetworkStage for EncoderModel {
    fn append(&self, rows: RecordStream) -> Result<RecordStream> {
        self.encoder().encode(rows, self.options())
    }

    fn keeping(&self, reason: &str) -> Box<dyn Transformer> {
        Box::new(self.clone().keeping(reason))
    }

    fn cluster_stage(&self) -> ClusterStage {
        ClusterStage {
            network: self.encoder().numpy(self.options()),
            on_invalid: self.options().on_invalid,
            name: "encoder_model",
            number: DataType::Float,
        }
    }
}

/// Returns the stage as a network, if it is one.
pub(crate) fn network_stage(stage: &dyn Transformer) -> Option<&dyn NetworkStage> {
    let stage = stage.as_any();
    let network = stage.downcast_ref::<NeuralModel>().map(|stage| stage as &dyn NetworkStage);
    network.or_else(|| stage.downcast_ref::<EncoderModel>().map(|stage| stage as &dyn NetworkStage))
}
