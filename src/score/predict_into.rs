//! Rows scored into a table.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use arrow::array::Array;
use futures::StreamExt;
use spark_connect::{column::Column, functions, lit};

use super::{
    ScoreOptions, Scored, Scoring,
    predict::{Stage, append, split, transform},
};
use crate::{
    Error, Result,
    dataframe::{DataFrame, SaveMode, Schema, Scratch, Workers, column, function},
    estimator::{network_stage, upload},
    ml::PipelineModel,
    session::Session,
    stream::RecordStream,
};

/// What counts of rows are called, as they are read and as they are written.
const READ: &str = "tinderbox_read";
const WRITTEN: &str = "tinderbox_written";

impl PipelineModel {
    /// Scores a frame's rows and writes them, with all their columns, to a new table.
    ///
    /// The networks at the end of the pipeline are computed by the cluster's Python workers where these can, else in this
    /// process; one line of the log says where and why. The table is written by one command, so there is no half-written
    /// one. Raw predictions and probabilities are Spark ML vectors; the prediction carries the classes' names (`ml_attr`).
    /// Dropping the future interrupts the work.
    ///
    /// # Errors
    /// [`Error::Param`] when the table exists, before any row is scored; otherwise as
    /// [`PipelineModel::transform`] and
    /// [`DataFrameWriter::save_as_table`](crate::dataframe::DataFrameWriter::save_as_table).
    pub async fn predict_into(&self, frame: &DataFrame, table: &str) -> Result<Scored> {
        self.predict_into_with(frame, table, ScoreOptions::new()).await
    }

    /// As [`predict_into`](Self::predict_into), by [`ScoreOptions`]; a [`SaveMode`] alone says what to do with a table that
    /// exists.
    ///
    /// Many rows that are scored locally are staged in a table `tinderbox_stage_…` first, which is dropped afterwards.
    ///
    /// # Errors
    /// As [`predict_into`](Self::predict_into); [`Error::Param`] too when networks are to be computed on the cluster and
    /// cannot be, with the reason.
    pub async fn predict_into_with(
        &self,
        frame: &DataFrame,
        table: &str,
        options: impl Into<ScoreOptions>,
    ) -> Result<Scored> {
        let (options, began) = (options.into(), Instant::now());
        if options.mode == SaveMode::ErrorIfExists && Session::new(frame.client().clone()).table_exists(table).await? {
            return Err(Error::param(
                "table",
                format!("`{table}`"),
                "a table that does not exist yet; or choose a SaveMode",
            ));
        }
        let schema = frame.schema().await?;
        if let Some(name) = schema.repeated_name() {
            let found = "several, which no table can hold; drop or rename all but one before scoring";
            return Err(Error::schema(name, "one column of this name", found));
        }
        // Other Connect servers do not observe rows.
        let counts = match frame.observed(READ, [count()]).schema().await {
            Err(error) if error.is_refusal() => false,
            schema => schema.map(|_| true)?,
        };
        let job = Job { table, options: &options, prediction: prediction(self, &schema)?, counts, began };
        let (others, networks) = split(self);
        // A network before other stages may have to be computed here, which is done once. Rows are counted where none is.
        let before = match others.iter().any(|stage| network_stage(&**stage).is_some()) {
            true => Some(transform(others, frame).await?),
            false => None,
        };
        if options.scoring != Scoring::Local || networks.is_empty() {
            let workers = match networks.is_empty() {
                true => Ok(()),
                false => Workers::of(frame).await?.map(drop),
            };
            let scored = match workers {
                Err(reason) => Err(reason),
                Ok(()) => {
                    let frame = match before.is_none() && job.counts {
                        true => frame.observed(READ, [count()]),
                        false => frame.clone(),
                    };
                    let prepared = match &before {
                        Some(prepared) => prepared.clone(),
                        None => transform(others, &frame).await?,
                    };
                    on_cluster(prepared, networks).await?
                }
            };
            match scored {
                Ok(scored) => return job.write_on_cluster(&scored).await,
                Err(reason) if options.scoring == Scoring::OnCluster => {
                    let legal = format!("{} or {}, as the cluster cannot: {reason}", Scoring::Auto, Scoring::Local);
                    return Err(Error::param("scoring", options.scoring, legal));
                }
                Err(reason) => tracing::info!(table, reason, "scoring locally, as the cluster cannot"),
            }
        }
        let prepared = match before {
            Some(prepared) => prepared,
            None => transform(others, frame).await?,
        };
        job.score_locally(&prepared, networks).await
    }
}

/// The frame through the networks, computed by the cluster when it is read; or why the cluster cannot.
async fn on_cluster(mut scored: DataFrame, networks: &[Stage]) -> Result<Result<DataFrame, String>> {
    for stage in networks.iter().filter_map(|stage| network_stage(&**stage)) {
        match stage.on_cluster(&scored).await? {
            Ok(next) => scored = next,
            reason => return Ok(reason),
        }
    }
    Ok(Ok(scored))
}

/// The first column that the last network adds, which is null where a row could not be scored.
fn prediction(pipeline: &PipelineModel, schema: &Schema) -> Result<Option<String>> {
    let mut schema = schema.clone();
    let mut prediction = None;
    for stage in pipeline.stages() {
        let after = stage.transform_schema(&schema)?;
        if network_stage(&**stage).is_some() {
            prediction = after.fields().get(schema.fields().len()).map(|field| field.name.clone());
        }
        schema = after;
    }
    Ok(prediction)
}

fn count() -> Column {
    functions::count(lit(1))
}

/// One table to be made.
struct Job<'a> {
    table: &'a str,
    options: &'a ScoreOptions,
    prediction: Option<String>,
    /// Whether the server counts rows while they are written.
    counts: bool,
    began: Instant,
}

impl Job<'_> {
    async fn write_on_cluster(&self, scored: &DataFrame) -> Result<Scored> {
        tracing::info!(table = self.table, "scoring on the cluster");
        if !self.counts {
            scored.write().mode(self.options.mode).save_as_table(self.table).await?;
            return Ok(self.scored(scored.count().await?, 0, 0, Scoring::OnCluster));
        }
        let missing = match &self.prediction {
            Some(name) => function("count_if", [column(name).is_null()]),
            None => function("count_if", [spark_connect::lit_boolean(false)]),
        };
        let counted = scored.observed(WRITTEN, [count(), missing]);
        let observed = counted.write().mode(self.options.mode).save_as_observed_table(self.table).await?;
        let number = |name: &str, at: usize| {
            let number = observed.get(name).and_then(|numbers| numbers.get(at)).copied().unwrap_or_default();
            number.max(0) as u64
        };
        let rows = number(WRITTEN, 0);
        let skipped = number(READ, 0).saturating_sub(rows);
        Ok(self.scored(rows, skipped, number(WRITTEN, 1), Scoring::OnCluster))
    }

    /// Streams rows here, scores them and writes them back.
    async fn score_locally(&self, frame: &DataFrame, networks: &[Stage]) -> Result<Scored> {
        let before = frame.schema().await?;
        let after = networks.iter().try_fold(before.clone(), |schema, stage| stage.transform_schema(&schema))?;
        let [read, rows, missing] = [(); 3].map(|()| Arc::new(AtomicU64::new(0)));
        let stream = frame.source_with(self.options.source.clone()).stream().await?;
        let stream = counted(stream, read.clone(), None);
        let scored = counted(
            append(stream, networks)?,
            rows.clone(),
            self.prediction.clone().map(|name| (name, missing.clone())),
        );
        let scratch = self.options.scratch.clone().or_else(|| Scratch::beside(self.table));
        let uploaded = upload(frame, scored, &before, &after, scratch.as_ref()).await?;
        uploaded.write().mode(self.options.mode).save_as_table(self.table).await?;
        uploaded.close().await;
        let [read, rows, missing] = [read, rows, missing].map(|count| count.load(Ordering::Relaxed));
        Ok(self.scored(rows, read.saturating_sub(rows), missing, Scoring::Local))
    }

    fn scored(&self, rows: u64, skipped: u64, without_prediction: u64, scoring: Scoring) -> Scored {
        let (table, took) = (self.table.to_owned(), self.began.elapsed());
        tracing::info!(table, rows, skipped, without_prediction, %scoring, ?took, "wrote a table of predictions");
        Scored { table, rows, skipped, without_prediction, scoring, took }
    }
}

/// The rows, counted as they pass, and the nulls of a column among them.
fn counted(stream: RecordStream, rows: Arc<AtomicU64>, nulls: Option<(String, Arc<AtomicU64>)>) -> RecordStream {
    let schema = stream.schema().clone();
    let batches = stream.inspect(move |batch| {
        let Ok(batch) = batch else { return };
        rows.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
        if let Some((name, nulls)) = &nulls
            && let Some(column) = batch.column_by_name(name)
        {
            nulls.fetch_add(column.null_count() as u64, Ordering::Relaxed);
        }
    });
    RecordStream::new(schema, batches)
}
