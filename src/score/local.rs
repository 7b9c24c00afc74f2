//! Rows streamed here, scored, and written back.

use crate::{
    Error, Result,
    dataframe::{DataFrame, SaveMode},
    estimator::NeuralClassificationModel,
    ml::{PipelineModel, Transformer},
    session::Session,
    stream::RecordStream,
};

impl PipelineModel {
    /// Streams a frame's rows through all stages: those before the network run on the cluster, the network runs here.
    ///
    /// All columns of the frame and of every stage are there; raw predictions and probabilities are `array<double>`.
    /// Memory stays bounded by a batch. Dropping the stream interrupts the work on the cluster.
    ///
    /// # Errors
    /// As [`PipelineModel::transform`] and [`NeuralClassificationModel::score`].
    pub async fn predict(&self, frame: &DataFrame) -> Result<RecordStream> {
        self.transform_schema(&frame.schema().await?)?;
        let network = self.stages().split_last().and_then(|(last, before)| {
            last.as_any().downcast_ref::<NeuralClassificationModel>().map(|network| (network, before))
        });
        let Some((network, before)) = network else { return self.transform(frame).await?.stream().await };
        let mut frame = frame.clone();
        for stage in before {
            frame = stage.transform(&frame).await?;
        }
        network.score(&frame).await
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
        self.transform(frame).await?.write().mode(mode).save_as_table(table).await
    }
}
