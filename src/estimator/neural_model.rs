//! A trained neural classifier as a stage of a fitted pipeline.

use std::any::Any;

use futures::future::BoxFuture;
use serde_json::{Map, Value};
use spark_connect::{
    Column, functions,
    types::{DataType, StructField},
};

use crate::{
    Result,
    dataframe::{DataFrame, Schema, column, function, vector_type},
    ml::{Model, Transformer, attribute::Attribute},
    model::{self, Lineage, Outputs, PredictOptions},
    session::Session,
    stream::RecordStream,
    train::TrainParams,
};

/// What a [`NeuralClassifier`](super::NeuralClassifier) has learnt.
///
/// As a transformer it reads its frame's rows at once, scores them in this process and uploads them again: the result is
/// a frame of scored rows, not a plan over the frame. Use
/// [`PipelineModel::predict`](crate::ml::PipelineModel::predict) for rows that are needed here only.
#[derive(Debug, Clone, PartialEq)]
pub struct NeuralClassificationModel {
    model: model::Model,
    training: TrainParams,
    prediction: PredictOptions,
    lineage: Lineage,
}

impl NeuralClassificationModel {
    /// Puts a stage together from a trained model.
    ///
    /// # Errors
    /// [`Error::Param`](crate::Error::Param) for thresholds that do not fit the classes.
    pub fn new(
        model: model::Model,
        training: TrainParams,
        prediction: PredictOptions,
        lineage: Lineage,
    ) -> Result<Self> {
        prediction.check(model.classes().len())?;
        Ok(Self { model, training, prediction, lineage })
    }

    /// The network with its weights, columns, classes and history.
    pub fn model(&self) -> &model::Model {
        &self.model
    }

    /// How it was trained.
    pub fn training(&self) -> &TrainParams {
        &self.training
    }

    /// How it predicts.
    pub fn prediction(&self) -> &PredictOptions {
        &self.prediction
    }

    /// Where its training rows came from.
    pub fn lineage(&self) -> &Lineage {
        &self.lineage
    }

    /// Changes how it predicts.
    ///
    /// # Errors
    /// [`Error::Param`](crate::Error::Param) for thresholds that do not fit the classes.
    pub fn with_prediction(self, prediction: PredictOptions) -> Result<Self> {
        Self::new(self.model, self.training, prediction, self.lineage)
    }

    /// Streams a frame's rows here and appends the prediction columns, batch by batch.
    ///
    /// Raw predictions and probabilities are `array<double>`. Dropping the stream interrupts the work on the cluster.
    ///
    /// # Errors
    /// As [`Model::predict`](model::Model::predict) and [`DataFrame::stream`].
    pub async fn score(&self, frame: &DataFrame) -> Result<RecordStream> {
        self.model.predict(frame.stream().await?, &self.prediction)
    }

    /// Scores the rows here and uploads them, block by block.
    async fn scored_frame(&self, frame: &DataFrame) -> Result<DataFrame> {
        let before = frame.schema().await?;
        let outputs = &self.prediction.outputs;
        let after = output_schema(&before, outputs, self.model.classes())?;
        let scores = [outputs.raw_prediction.as_str(), outputs.probability.as_str()];
        let is_score = |field: &StructField| !field.name.is_empty() && scores.contains(&field.name.as_str());
        // Vectors of scores travel as arrays and are put together over there.
        let sent = Schema::new(after.fields().iter().map(|field| {
            let data_type = if is_score(field) { array_of_doubles() } else { field.data_type.clone() };
            StructField { data_type, ..field.clone() }
        }));
        let session = Session::new(frame.client().clone());
        let scored = session.create_dataframe_from_stream(self.score(frame).await?, Some(&sent)).await?;
        let select = |field: &StructField| -> Column {
            match is_score(field) {
                true => {
                    // Spark's function fails on null, which is what a row that was kept without being usable has.
                    let array = column(&field.name);
                    let vector = function("array_to_vector", [array.clone()]);
                    functions::when(array.is_not_null(), vector).alias(&field.name)
                }
                false => column(&field.name),
            }
        };
        Ok(scored.select(after.fields().iter().map(select)))
    }
}

impl Transformer for NeuralClassificationModel {
    fn transform<'a>(&'a self, frame: &'a DataFrame) -> BoxFuture<'a, Result<DataFrame>> {
        Box::pin(self.scored_frame(frame))
    }

    fn transform_schema(&self, schema: &Schema) -> Result<Schema> {
        super::features::check_features(schema, self.model.columns())?;
        output_schema(schema, &self.prediction.outputs, self.model.classes())
    }

    fn duplicate(&self) -> Box<dyn Transformer> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Model for NeuralClassificationModel {
    fn into_transformer(self: Box<Self>) -> Box<dyn Transformer> {
        self
    }
}

fn array_of_doubles() -> DataType {
    DataType::Array { element_type: Box::new(DataType::Double), contains_null: false }
}

/// A schema with the prediction columns behind it; the predicted class carries the classes' names, if they are known.
pub(super) fn output_schema(schema: &Schema, outputs: &Outputs, classes: &[String]) -> Result<Schema> {
    outputs.check(schema.names())?;
    let mut fields = schema.fields().to_vec();
    let mut add = |name: &str, data_type: DataType, metadata: Map<String, Value>| {
        if !name.is_empty() {
            let metadata = metadata.into_iter().collect();
            fields.push(StructField { name: name.to_owned(), data_type, nullable: true, metadata });
        }
    };
    let nominal = match classes {
        [] => Map::new(),
        classes => Attribute::nominal(&outputs.prediction, classes.iter().cloned()).to_metadata(),
    };
    add(&outputs.raw_prediction, vector_type(), Map::new());
    add(&outputs.probability, vector_type(), Map::new());
    add(&outputs.prediction, DataType::Double, nominal);
    add(&outputs.predicted_label, DataType::String { collation: "UTF8_BINARY".into() }, Map::new());
    Ok(Schema::new(fields))
}
