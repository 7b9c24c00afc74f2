//! A trained network as a stage of a fitted pipeline.

use std::{any::Any, path::Path};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use futures::future::BoxFuture;
use serde_json::{Map, Value};
use spark_connect::types::{DataType, StructField};

use super::{network_stage::NetworkStage, upload::upload};
use crate::{
    Error, Result,
    dataframe::{DataFrame, Schema, vector_type},
    ml::{
        Model, PipelineModel, RowScorer, Transformer,
        attribute::{Attribute, AttributeGroup},
    },
    model::{self, Lineage, Outputs, PredictOptions, Task},
    nn::Weights,
    stream::RecordStream,
    tensor::OnInvalid,
    train::TrainParams,
};

/// A trained network as a fitted stage: for classes, labels or values, see
/// [`TrainedNetwork::task`](model::TrainedNetwork::task).
///
/// As a transformer it gives a lazy frame, which the cluster's Python workers compute when it is read: they need Spark
/// 4.1 or later, numpy and pyarrow, and no code of tinderbox. Where they cannot (custom networks, readers of images,
/// texts and bytes, rows that stay sparse), it reads the frame's rows at once, scores them in this process and uploads
/// them, and says so in the log. Use [`PipelineModel::predict`](crate::ml::PipelineModel::predict) for rows that only
/// this process needs.
#[derive(Debug, Clone, PartialEq)]
pub struct NeuralModel {
    model: model::TrainedNetwork,
    training: TrainParams,
    prediction: PredictOptions,
    lineage: Lineage,
}

impl From<&NeuralModel> for Weights {
    fn from(model: &NeuralModel) -> Self {
        model.model.weights().clone()
    }
}

impl PipelineModel {
    /// Returns the first stage that is a network trained with labels.
    ///
    /// # Errors
    /// [`Error::Param`](crate::Error::Param) where no stage is.
    pub fn network(&self) -> Result<&NeuralModel> {
        let found = self.stages().iter().find_map(|stage| stage.as_any().downcast_ref::<NeuralModel>());
        found.ok_or_else(|| Error::param("model", "a pipeline without such a network", "one that predicts a label"))
    }
}

impl NeuralModel {
    /// Puts a stage together from a trained model.
    ///
    /// # Errors
    /// [`Error::Param`](crate::Error::Param) for thresholds that do not fit the classes or labels.
    pub fn new(
        model: model::TrainedNetwork,
        training: TrainParams,
        prediction: PredictOptions,
        lineage: Lineage,
    ) -> Result<Self> {
        prediction.check(model.task())?;
        Ok(Self { model, training, prediction, lineage })
    }

    /// Returns the network with its weights, columns, classes and history.
    pub fn model(&self) -> &model::TrainedNetwork {
        &self.model
    }

    /// Returns the training parameters.
    pub fn training(&self) -> &TrainParams {
        &self.training
    }

    /// Returns the prediction options.
    pub fn prediction(&self) -> &PredictOptions {
        &self.prediction
    }

    /// Returns the origin of its training rows.
    pub fn lineage(&self) -> &Lineage {
        &self.lineage
    }

    /// Changes how it predicts.
    ///
    /// # Errors
    /// [`Error::Param`](crate::Error::Param) for thresholds that do not fit the classes or labels.
    pub fn with_prediction(self, prediction: PredictOptions) -> Result<Self> {
        Self::new(self.model, self.training, prediction, self.lineage)
    }

    /// Writes the network to an ONNX file, its outputs called as its columns are, see
    /// [`TrainedNetwork::write_onnx`](model::TrainedNetwork::write_onnx).
    ///
    /// # Errors
    /// As [`TrainedNetwork::write_onnx`](model::TrainedNetwork::write_onnx).
    pub fn write_onnx(&self, path: impl AsRef<Path>) -> Result<()> {
        self.model.write_onnx(path, &self.prediction)
    }

    /// Streams a frame's rows to this process, in partition groups where they are many, and appends the prediction
    /// columns, batch by batch.
    ///
    /// Outputs of several numbers are `array<double>`. Dropping the stream interrupts the work on the cluster.
    ///
    /// # Errors
    /// As [`TrainedNetwork::predict`](model::TrainedNetwork::predict) and
    /// [`PartitionedSource::stream`](crate::dataframe::PartitionedSource::stream).
    pub async fn score(&self, frame: &DataFrame) -> Result<RecordStream> {
        self.model.predict(frame.source().stream().await?, &self.prediction)
    }

    pub(super) fn keeping(mut self, reason: &str) -> Self {
        self.prediction.on_invalid = OnInvalid::Keep;
        self.prediction.outputs.invalid_reason = reason.to_owned();
        self
    }

    /// Returns the frame with the prediction columns: computed by the cluster's workers where they can, else locally
    /// and uploaded.
    async fn scored_frame(&self, frame: &DataFrame) -> Result<DataFrame> {
        let before = frame.schema().await?;
        let outputs = &self.prediction.outputs;
        let after = output_schema(&before, outputs, self.model.task())?;
        match self.cluster_stage().transform(frame, &before, &after).await? {
            Ok(scored) => return Ok(scored),
            Err(reason) => tracing::info!(reason, "the network is computed in this process, not by the cluster"),
        }
        Ok(upload(frame, self.score(frame).await?, &before, &after, None).await?.into_frame())
    }
}

impl Transformer for NeuralModel {
    fn transform<'a>(&'a self, frame: &'a DataFrame) -> BoxFuture<'a, Result<DataFrame>> {
        Box::pin(self.scored_frame(frame))
    }

    /// As [`score`](Self::score), of local rows; needs no server.
    fn transform_batch(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        self.model.predict_batch(batch, &self.prediction)
    }

    fn row_scorer(&self, schema: &SchemaRef) -> Result<RowScorer> {
        RowScorer::new(schema, self.model.batch_predictor(schema, &self.prediction)?)
    }

    fn transform_schema(&self, schema: &Schema) -> Result<Schema> {
        super::features::check_features(schema, self.model.columns())?;
        output_schema(schema, &self.prediction.outputs, self.model.task())
    }

    fn duplicate(&self) -> Box<dyn Transformer> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Model for NeuralModel {
    fn into_transformer(self: Box<Self>) -> Box<dyn Transformer> {
        self
    }
}

/// Returns a schema with the prediction columns behind it. A predicted class carries the classes' names, if they are
/// known; the vectors of several labels or targets carry theirs.
pub(super) fn output_schema(schema: &Schema, outputs: &Outputs, task: &Task) -> Result<Schema> {
    outputs.check(schema.names())?;
    let mut fields = schema.fields().to_vec();
    let mut add = |name: &str, data_type: DataType, metadata: Map<String, Value>| {
        if !name.is_empty() {
            let metadata = metadata.into_iter().collect();
            fields.push(StructField { name: name.to_owned(), data_type, nullable: true, metadata });
        }
    };
    let text = || DataType::String { collation: "UTF8_BINARY".into() };
    let each = |names: &[String]| {
        let known = names.iter().all(|name| !name.is_empty());
        let group = AttributeGroup::Attributes(names.iter().map(Attribute::numeric).collect());
        if known { group.to_metadata() } else { Map::new() }
    };
    match task {
        Task::Classes { names } => {
            let nominal = match names.as_slice() {
                [] => Map::new(),
                names => Attribute::nominal(&outputs.prediction, names.iter().cloned()).to_metadata(),
            };
            add(&outputs.raw_prediction, vector_type(), Map::new());
            add(&outputs.probability, vector_type(), Map::new());
            add(&outputs.prediction, DataType::Double, nominal);
            add(&outputs.predicted_label, text(), Map::new());
        }
        Task::Labels { names } => {
            add(&outputs.raw_prediction, vector_type(), each(names));
            add(&outputs.probability, vector_type(), each(names));
            add(&outputs.prediction, vector_type(), each(names));
            let labels = DataType::Array { element_type: Box::new(text()), contains_null: false };
            add(&outputs.predicted_label, labels, Map::new());
        }
        Task::Values { names, .. } if names.len() == 1 => add(&outputs.prediction, DataType::Double, Map::new()),
        Task::Values { names, .. } => add(&outputs.prediction, vector_type(), each(names)),
        Task::Input { .. } => add(&outputs.prediction, vector_type(), Map::new()),
    }
    add(&outputs.invalid_reason, text(), Map::new());
    Ok(Schema::new(fields))
}
