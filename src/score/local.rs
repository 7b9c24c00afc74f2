//! Rows streamed here, scored, and written back.

use crate::{
    Error, Result,
    dataframe::{DataFrame, SaveMode, SourceOptions},
    estimator::{local, upload},
    ml::{PipelineModel, Transformer},
    session::Session,
    stream::RecordStream,
};

type Stage = Box<dyn Transformer>;

impl PipelineModel {
    /// Streams a frame's rows through all stages: networks at the end of the pipeline run here, one after another, the
    /// stages before them on the cluster.
    ///
    /// All columns of the frame and of every stage are there; raw predictions and probabilities are `array<double>`.
    /// Rows of any size are read in partition groups, see [`PartitionedSource`](crate::dataframe::PartitionedSource), and
    /// memory stays bounded by a few of those. Dropping the stream interrupts the work on the cluster.
    ///
    /// # Errors
    /// As [`PipelineModel::transform`],
    /// [`PartitionedSource::stream`](crate::dataframe::PartitionedSource::stream),
    /// [`NeuralModel::score`](crate::estimator::NeuralModel::score) and
    /// [`EncoderModel::encode`](crate::estimator::EncoderModel::encode).
    pub async fn predict(&self, frame: &DataFrame) -> Result<RecordStream> {
        self.predict_with(frame, SourceOptions::default()).await
    }

    /// As [`predict`](Self::predict), with the rows read as told.
    ///
    /// # Errors
    /// As [`predict`](Self::predict), and [`Error::Param`] for options outside their range.
    pub async fn predict_with(&self, frame: &DataFrame, source: SourceOptions) -> Result<RecordStream> {
        self.transform_schema(&frame.schema().await?)?;
        let (there, here) = split(self);
        append(&transform(there, frame).await?, here, source).await
    }

    /// Scores a frame's rows and writes them, with all their columns, to a new table.
    ///
    /// The table is written by one command once every row has been scored and uploaded, so there is no half-written one.
    /// Raw predictions and probabilities are Spark ML vectors; the prediction carries the classes' names (`ml_attr`).
    /// Dropping the future interrupts the work.
    ///
    /// # Errors
    /// [`Error::Param`] when the table exists, before any row is scored; otherwise as
    /// [`PipelineModel::transform`] and
    /// [`DataFrameWriter::save_as_table`](crate::dataframe::DataFrameWriter::save_as_table).
    pub async fn predict_into(&self, frame: &DataFrame, table: &str) -> Result<()> {
        self.predict_into_with(frame, table, SaveMode::ErrorIfExists).await
    }

    /// As [`predict_into`](Self::predict_into), for a table that may exist: `mode` says what becomes of it.
    ///
    /// # Errors
    /// As [`predict_into`](Self::predict_into).
    pub async fn predict_into_with(&self, frame: &DataFrame, table: &str, mode: SaveMode) -> Result<()> {
        if mode == SaveMode::ErrorIfExists && Session::new(frame.client().clone()).table_exists(table).await? {
            return Err(Error::param(
                "table",
                format!("`{table}`"),
                "a table that does not exist yet; or choose a SaveMode",
            ));
        }
        self.transform_schema(&frame.schema().await?)?;
        let (there, here) = split(self);
        let mut frame = transform(there, frame).await?;
        if !here.is_empty() {
            let before = frame.schema().await?;
            let after = here.iter().try_fold(before.clone(), |schema, stage| stage.transform_schema(&schema))?;
            frame = upload(&frame, append(&frame, here, SourceOptions::default()).await?, &before, &after).await?;
        }
        frame.write().mode(mode).save_as_table(table).await
    }
}

/// The stages that run on the cluster, or send rows back to it, and those at the end that compute here.
fn split(pipeline: &PipelineModel) -> (&[Stage], &[Stage]) {
    let stages = pipeline.stages();
    let first = stages.iter().rposition(|stage| local(&**stage).is_none()).map_or(0, |last| last + 1);
    stages.split_at(first)
}

async fn transform(stages: &[Stage], frame: &DataFrame) -> Result<DataFrame> {
    let mut frame = frame.clone();
    for stage in stages {
        frame = stage.transform(&frame).await?;
    }
    Ok(frame)
}

/// A frame's rows with the columns of stages that compute here.
async fn append(frame: &DataFrame, stages: &[Stage], source: SourceOptions) -> Result<RecordStream> {
    let rows = frame.source_with(source).stream().await?;
    stages.iter().filter_map(|stage| local(&**stage)).try_fold(rows, |rows, stage| stage.append(rows))
}
