//! Rows streamed to this process and scored.

use crate::{
    Result,
    dataframe::{DataFrame, SourceOptions},
    estimator::network_stage,
    ml::{PipelineModel, RowScorer, Transformer},
    model::batch_by_batch,
    stream::RecordStream,
};

pub(super) type BoxedStage = Box<dyn Transformer>;

impl PipelineModel {
    /// Streams a frame's rows through all stages: networks at the end of the pipeline run locally, one after another,
    /// the stages before them on the cluster.
    ///
    /// The stream has all columns of the frame and of every stage; raw predictions and probabilities are
    /// `array<double>`. Rows of any size are read in partition groups, see
    /// [`PartitionedSource`](crate::dataframe::PartitionedSource), and memory stays bounded by a few of those. Dropping
    /// the stream interrupts the work on the cluster.
    ///
    /// # Errors
    /// As [`PipelineModel::transform`], [`PartitionedSource::stream`](crate::dataframe::PartitionedSource::stream),
    /// [`NeuralModel::score`](crate::estimator::NeuralModel::score) and
    /// [`EncoderModel::encode`](crate::estimator::EncoderModel::encode).
    pub async fn predict(&self, frame: &DataFrame) -> Result<RecordStream> {
        self.predict_with(frame, SourceOptions::default()).await
    }

    /// As [`predict`](Self::predict), with the rows read as told.
    ///
    /// # Errors
    /// As [`predict`](Self::predict), and [`Error::Param`](crate::Error::Param) for options outside their range.
    pub async fn predict_with(&self, frame: &DataFrame, source: SourceOptions) -> Result<RecordStream> {
        self.transform_schema(&frame.schema().await?)?;
        let (there, here) = split(self);
        append(transform(there, frame).await?.source_with(source).stream().await?, here)
    }

    /// Applies all stages to local rows, batch by batch, without a server. For a single batch:
    /// [`transform_batch`](Transformer::transform_batch).
    ///
    /// ```
    /// use std::sync::Arc;
    /// use arrow::array::{ArrayRef, Float64Array, RecordBatch};
    /// use tinderbox::{ml::feature::Bucketizer, prelude::*};
    ///
    /// # async fn example() -> tinderbox::Result<()> {
    /// let model = PipelineModel::new([
    ///     Box::new(Bucketizer::new("age", "decade", [0.0, 10.0, 20.0, 200.0])) as Box<dyn Transformer>,
    ///     Box::new(VectorAssembler::new(["age", "decade"], "features")),
    ///     // … and the network that was fitted after them: what `PipelineModel::load` gives.
    /// ]);
    /// let ages: ArrayRef = Arc::new(Float64Array::from(vec![7.0, 19.5, 64.0]));
    /// let batch = RecordBatch::try_from_iter([("age", ages)]).expect("columns of one length");
    /// let scored = model.predict_rows(RecordStream::from_batches(batch.schema(), vec![batch]))?.collect().await?;
    /// assert_eq!(scored[0].schema().field(2).name(), "features");
    /// # Ok(()) }
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(example()).unwrap();
    /// ```
    ///
    /// A network is put on its device once for all batches. A service that scores a few rows at a time makes a
    /// [`row_scorer`](Transformer::row_scorer). Dropping the stream stops the work and the stream behind it.
    ///
    /// # Errors
    /// As [`transform_batch`](Transformer::transform_batch), for stages and columns that do not fit; the stream then
    /// fails with the first row that does.
    pub fn predict_rows(&self, rows: RecordStream) -> Result<RecordStream> {
        let scorer = self.row_scorer(rows.schema())?;
        Ok(batch_by_batch(scorer.schema().clone(), rows, scorer, RowScorer::score_rows))
    }
}

/// Returns the stages that run on the cluster, or send rows back to it, and those at the end that compute locally.
pub(super) fn split(pipeline: &PipelineModel) -> (&[BoxedStage], &[BoxedStage]) {
    let stages = pipeline.stages();
    let first = stages.iter().rposition(|stage| network_stage(&**stage).is_none()).map_or(0, |last| last + 1);
    stages.split_at(first)
}

pub(super) async fn transform(stages: &[BoxedStage], frame: &DataFrame) -> Result<DataFrame> {
    let mut frame = frame.clone();
    for stage in stages {
        frame = stage.transform(&frame).await?;
    }
    Ok(frame)
}

/// Returns rows with the columns of networks, computed locally.
pub(super) fn append(rows: RecordStream, networks: &[BoxedStage]) -> Result<RecordStream> {
    networks.iter().filter_map(|stage| network_stage(&**stage)).try_fold(rows, |rows, stage| stage.append(rows))
}
