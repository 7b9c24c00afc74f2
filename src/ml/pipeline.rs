//! Stages in a row.

use std::any::Any;

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use futures::future::BoxFuture;

use super::{
    fitting::Fitting,
    local::LocalBatch,
    row_scorer::RowScorer,
    stage::{Estimator, Model, NativeStage, Transformer},
    step,
};
use crate::{
    Result,
    dataframe::{DataFrame, Schema},
};

/// A stage of a pipeline to be fitted.
#[derive(Debug)]
pub enum PipelineStage {
    /// An estimator, fitted to the output of the stages before it.
    Estimator(Box<dyn Estimator>),
    /// Needs no learning.
    Transformer(Box<dyn Transformer>),
}

impl PipelineStage {
    /// Returns the stage's type, such as `StringIndexer`.
    pub fn name(&self) -> &'static str {
        match self {
            PipelineStage::Estimator(stage) => stage.name(),
            PipelineStage::Transformer(stage) => stage.name(),
        }
    }

    pub(super) fn transform_schema(&self, schema: &Schema) -> Result<Schema> {
        match self {
            PipelineStage::Estimator(stage) => stage.transform_schema(schema),
            PipelineStage::Transformer(stage) => stage.transform_schema(schema),
        }
    }

    pub(super) fn has_known_schema(&self) -> bool {
        match self {
            PipelineStage::Estimator(stage) => stage.has_known_schema(),
            PipelineStage::Transformer(stage) => stage.has_known_schema(),
        }
    }
}

/// A type that can be a stage: every [`Estimator`] and every [`Transformer`]. `Kind` only distinguishes the two.
pub trait IntoStage<Kind> {
    /// Returns the stage.
    fn into_stage(self) -> PipelineStage;
}

/// Marks [`IntoStage`] for estimators.
#[derive(Debug)]
pub enum FromEstimator {}

/// Marks [`IntoStage`] for transformers.
#[derive(Debug)]
pub enum FromTransformer {}

impl<S: Estimator> IntoStage<FromEstimator> for S {
    fn into_stage(self) -> PipelineStage {
        PipelineStage::Estimator(Box::new(self))
    }
}

impl<S: Transformer> IntoStage<FromTransformer> for S {
    fn into_stage(self) -> PipelineStage {
        PipelineStage::Transformer(Box::new(self))
    }
}

/// Estimators and transformers in a row (`org.apache.spark.ml.Pipeline`).
#[derive(Debug, Default)]
pub struct Pipeline {
    stages: Vec<PipelineStage>,
}

impl Pipeline {
    /// Creates a pipeline without stages.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a stage.
    pub fn stage<Kind>(mut self, stage: impl IntoStage<Kind>) -> Self {
        self.stages.push(stage.into_stage());
        self
    }

    /// Returns the stages, in order.
    pub fn stages(&self) -> &[PipelineStage] {
        &self.stages
    }

    /// Returns the schema of the fitted pipeline's output; checks every stage before any work, up to one whose outputs
    /// only the server knows.
    ///
    /// # Errors
    /// As [`Transformer::transform_schema`], from the first stage that does not fit.
    pub fn transform_schema(&self, schema: &Schema) -> Result<Schema> {
        let told = self.stages.iter().position(|stage| !stage.has_known_schema()).map_or(self.stages.len(), |i| i + 1);
        self.stages[..told].iter().try_fold(schema.clone(), |schema, stage| stage.transform_schema(&schema))
    }

    /// Checks every stage against the frame's schema, then fits the estimators, each to what the stages before it give.
    ///
    /// Estimators that are fitted by aggregates share queries: one query for all those whose input is known, then
    /// one for those that depend on them, and so on.
    ///
    /// Dropping the future interrupts what runs on the cluster.
    ///
    /// # Errors
    /// As [`Estimator::fit`], from the first stage that fails.
    pub async fn fit(&self, frame: &DataFrame) -> Result<PipelineModel> {
        Fitting::new(&self.stages, frame).await?.run().await
    }
}

/// Fitted stages in a row (`org.apache.spark.ml.PipelineModel`).
#[derive(Debug, Default)]
pub struct PipelineModel {
    stages: Vec<Box<dyn Transformer>>,
}

impl PipelineModel {
    /// Creates a pipeline model of fitted stages.
    pub fn new(stages: impl IntoIterator<Item = Box<dyn Transformer>>) -> Self {
        Self { stages: stages.into_iter().collect() }
    }

    /// Returns the stages, in order.
    pub fn stages(&self) -> &[Box<dyn Transformer>] {
        &self.stages
    }

    /// Returns the stages before the last, and the last.
    pub fn split_last(mut self) -> Option<(PipelineModel, Box<dyn Transformer>)> {
        let last = self.stages.pop()?;
        Some((self, last))
    }

    /// Returns the frame with the columns of every stage.
    ///
    /// # Errors
    /// As [`Transformer::transform`], from the first stage that does not fit; no query runs before all have been
    /// checked.
    pub async fn transform(&self, frame: &DataFrame) -> Result<DataFrame> {
        let mut schema = frame.schema_for_stages().await?;
        Transformer::transform_schema(self, &schema)?;
        let mut frame = frame.clone();
        for stage in &self.stages {
            (frame, schema) = step::transform(stage.as_ref(), &frame, &schema).await?;
        }
        Ok(frame)
    }
}

impl Transformer for PipelineModel {
    fn transform<'a>(&'a self, frame: &'a DataFrame) -> BoxFuture<'a, Result<DataFrame>> {
        Box::pin(self.transform(frame))
    }

    fn transform_schema(&self, schema: &Schema) -> Result<Schema> {
        let told = self.stages.iter().position(|stage| !stage.has_known_schema()).map_or(self.stages.len(), |i| i + 1);
        self.stages[..told].iter().try_fold(schema.clone(), |schema, stage| stage.transform_schema(&schema))
    }

    fn transform_batch(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        Transformer::transform_schema(self, LocalBatch::new(batch)?.schema())?;
        self.stages.iter().try_fold(batch.clone(), |batch, stage| stage.transform_batch(&batch))
    }

    fn row_scorer(&self, schema: &SchemaRef) -> Result<RowScorer> {
        Transformer::transform_schema(self, LocalBatch::new(&RecordBatch::new_empty(schema.clone()))?.schema())?;
        let mut scorers: Vec<RowScorer> = Vec::with_capacity(self.stages.len());
        for stage in &self.stages {
            let before = scorers.last().map_or(schema, RowScorer::schema).clone();
            scorers.push(stage.row_scorer(&before)?);
        }
        RowScorer::new(schema, move |rows| {
            scorers.iter_mut().try_fold(rows.clone(), |rows, scorer| scorer.score_rows(&rows))
        })
    }

    fn has_known_schema(&self) -> bool {
        self.stages.iter().all(|stage| stage.has_known_schema())
    }

    /// Returns the columns that all stages read, their own outputs included; `None` when one of them does not know.
    fn reads(&self) -> Option<Vec<String>> {
        let reads = self.stages.iter().map(|stage| stage.reads()).collect::<Option<Vec<_>>>()?;
        Some(reads.concat())
    }

    /// `None` when one of the stages is not this crate's.
    fn native(&self) -> Option<NativeStage> {
        let stages = self.stages.iter().map(|stage| stage.native()).collect::<Option<_>>()?;
        Some(NativeStage::PipelineModel { stages })
    }

    fn duplicate(&self) -> Box<dyn Transformer> {
        Box::new(PipelineModel::new(self.stages.iter().map(|stage| stage.duplicate())))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Model for PipelineModel {
    fn into_transformer(self: Box<Self>) -> Box<dyn Transformer> {
        self
    }
}
