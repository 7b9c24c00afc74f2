//! Rows scored into a table.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arrow::array::Array;
use futures::StreamExt;
use spark_connect::{column::Column, functions, lit, lit_string};

use super::{
    ScoreOptions, Scored, Scoring,
    predict::{BoxedStage, append, split, transform},
};
use crate::{
    Error, Result,
    dataframe::{
        DataFrame, DataFrameWriter, Observation, SaveMode, Schema, Scratch, ScratchTable, Workers, column, function,
    },
    estimator::{network_stage, upload},
    ml::PipelineModel,
    session::Session,
    stream::RecordStream,
};

/// Names of the counts of rows, as they are read and as they are written.
const READ: &str = "tinderbox_read";
const WRITTEN: &str = "tinderbox_written";

/// Column of a quarantine table with the reason for each row.
const REASON: &str = "invalid_reason";

/// The column that says which run wrote a row.
const RUN: &str = "run_id";

impl PipelineModel {
    /// Scores a frame's rows and writes them, with all their columns, to a new table.
    ///
    /// The networks at the end of the pipeline are computed by the cluster's Python workers where these can, else in
    /// this process; one line of the log says where and why. The table is written by one command, so there is no
    /// half-written one. Raw predictions and probabilities are Spark ML vectors; the prediction carries the classes'
    /// names (`ml_attr`). Dropping the future interrupts the work.
    ///
    /// # Errors
    /// [`Error::Param`] when the table exists, before any row is scored; otherwise as [`PipelineModel::transform`] and
    /// [`DataFrameWriter::save_as_table`](crate::dataframe::DataFrameWriter::save_as_table).
    pub async fn predict_into(&self, frame: &DataFrame, table: &str) -> Result<Scored> {
        self.predict_into_with(frame, table, ScoreOptions::new()).await
    }

    /// As [`predict_into`](Self::predict_into), by [`ScoreOptions`]; a [`SaveMode`] alone says what to do with a table
    /// that exists.
    ///
    /// Many rows that are scored locally are staged in a table `tinderbox_stage_…` first, which is dropped afterwards.
    ///
    /// # Errors
    /// As [`predict_into`](Self::predict_into); [`Error::Param`] too when networks are to be computed on the cluster
    /// and cannot be, with the reason.
    pub async fn predict_into_with(
        &self,
        frame: &DataFrame,
        table: &str,
        options: impl Into<ScoreOptions>,
    ) -> Result<Scored> {
        let (options, began) = (options.into(), Instant::now());
        for (name, table) in [("table", Some(table)), ("quarantine", options.quarantine.as_deref())] {
            let Some(table) = table else { continue };
            let spark = Session::new(frame.client().clone());
            if options.mode == SaveMode::ErrorIfExists && spark.catalog().table_exists(table).await? {
                let legal = "a table that does not exist yet; or choose a SaveMode";
                return Err(Error::param(name, format!("`{table}`"), legal));
            }
        }
        if let Some(id) = options.run_id.as_ref().filter(|id| id.is_empty() || options.mode != SaveMode::Append) {
            return Err(Error::param(
                "run_id",
                format!("`{id}`"),
                "a text that is not empty, and the mode SaveMode::Append",
            ));
        }
        if options.quarantine.as_deref() == Some(table) {
            return Err(Error::param("quarantine", format!("`{table}`"), "another table than that of the predictions"));
        }
        let schema = frame.schema().await?;
        if let Some(name) = schema.repeated_name() {
            let found = "several, which no table can hold; drop or rename all but one before scoring";
            return Err(Error::schema(name, "one column of this name", found));
        }
        // Other Connect servers do not observe rows.
        let read = Observation::named(READ);
        let counts = match frame.observe(&read, [count().alias(READ)]).schema().await {
            Err(error) if error.is_refusal() => None,
            schema => schema.map(|_| Some(read))?,
        };
        let added = [
            (REASON, options.quarantine.is_some(), "why a row is in quarantine"),
            (RUN, options.run_id.is_some(), "the run"),
        ];
        for (name, is_added, what) in added {
            if is_added && schema.get(name).is_some() {
                let expected = format!("no column of this name, which is to say {what}");
                return Err(Error::schema(name, expected, "one; drop or rename it"));
            }
        }
        let job = ScoreRun { table, options: &options, prediction: prediction(self, &schema)?, counts, began };
        if let Some(rows) = job.rows_of_run(frame, table).await? {
            tracing::info!(table, rows, "the run's rows are in the table already");
            return Ok(job.finished(Scored { rows, ..job.nothing() }));
        }
        let (others, networks) = split(self);
        let keeping: Vec<BoxedStage>;
        let networks = match &options.quarantine {
            Some(_) if networks.is_empty() => {
                let legal = "none, as the pipeline does not end in a network";
                return Err(Error::param("quarantine", "a table", legal));
            }
            Some(_) => {
                let stages = networks.iter().filter_map(|stage| network_stage(&**stage)).enumerate();
                keeping = stages.map(|(i, stage)| stage.keeping(&reason(i))).collect();
                &keeping
            }
            None => networks,
        };
        // A network before other stages may be computed locally, which is done once. Otherwise rows are counted.
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
                    let frame = match job.counts.as_ref().filter(|_| before.is_none()) {
                        Some(read) => frame.observe(read, [count().alias(READ)]),
                        None => frame.clone(),
                    };
                    let prepared = match &before {
                        Some(prepared) => prepared.clone(),
                        None => transform(others, &frame).await?,
                    };
                    on_cluster(&prepared, networks).await?.map(|scored| (prepared, scored))
                }
            };
            match scored {
                Ok((prepared, scored)) => return job.write_on_cluster(&prepared, &scored, networks.len()).await,
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

/// Returns the frame through the networks, computed by the cluster when it is read; or why the cluster cannot.
async fn on_cluster(prepared: &DataFrame, networks: &[BoxedStage]) -> Result<Result<DataFrame, String>> {
    let mut scored = prepared.clone();
    for stage in networks.iter().filter_map(|stage| network_stage(&**stage)) {
        match stage.on_cluster(&scored).await? {
            Ok(next) => scored = next,
            reason => return Ok(reason),
        }
    }
    Ok(Ok(scored))
}

/// Returns the first column that the last network adds, which is null where a row could not be scored.
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

/// Returns the column of the reason why one of the networks could not use a row, while rows are staged.
fn reason(network: usize) -> String {
    format!("__tinderbox_reason_{network}")
}

fn count() -> Column {
    functions::count(lit(1))
}

/// One table to be made.
struct ScoreRun<'a> {
    table: &'a str,
    options: &'a ScoreOptions,
    prediction: Option<String>,
    /// The number of rows read, if the server counts rows while they are written.
    counts: Option<Observation>,
    began: Instant,
}

impl ScoreRun<'_> {
    async fn write_on_cluster(&self, prepared: &DataFrame, scored: &DataFrame, networks: usize) -> Result<Scored> {
        tracing::info!(table = self.table, "scoring on the cluster");
        let staging = match &self.options.quarantine {
            Some(_) => Some(ScratchTable::new(scored.context(), self.scratch().as_ref()).await?),
            None => None,
        };
        let (table, mode) = match &staging {
            Some(staging) => (staging.name(), SaveMode::ErrorIfExists),
            None => (self.table, self.options.mode),
        };
        let marked = if staging.is_some() { scored.clone() } else { self.marked(scored) };
        let mut done = Scored { scoring: Scoring::OnCluster, ..self.nothing() };
        if let Some(read) = &self.counts {
            let missing = match &self.prediction {
                Some(name) => function("count_if", [column(name).is_null()]),
                None => function("count_if", [spark_connect::lit_boolean(false)]),
            };
            let written = Observation::named(WRITTEN);
            let counted = marked.observe(&written, [count().alias("rows"), missing.alias("missing")]);
            counted.write().mode(mode).save_as_table(table).await?;
            done.rows = written.count("rows");
            done.skipped = read.count(READ).saturating_sub(done.rows);
            done.without_prediction = written.count("missing");
        } else {
            marked.write().mode(mode).save_as_table(table).await?;
            done.rows = scored.count().await?;
        }
        if let Some(staging) = staging {
            let given = prepared.schema().await?;
            self.part(&staging.rows(scored), &given, networks, |frame| staging.tagged(frame).write(), &mut done)
                .await?;
            staging.close().await;
        } else {
            self.check_run(scored, self.table, done.rows).await?;
        }
        Ok(self.finished(done))
    }

    /// Streams rows to this process, scores them and writes them back.
    async fn score_locally(&self, frame: &DataFrame, networks: &[BoxedStage]) -> Result<Scored> {
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
        let uploaded = upload(frame, scored, &before, &after, self.scratch().as_ref()).await?;
        let [read, rows, missing] = [read, rows, missing].map(|count| count.load(Ordering::Relaxed));
        let skipped = read.saturating_sub(rows);
        let mut done = Scored { rows, skipped, without_prediction: missing, ..self.nothing() };
        match self.options.quarantine {
            None => self.save(uploaded.frame(), self.table, rows, |frame| uploaded.write_of(frame)).await?,
            Some(_) => {
                let write = |frame: &DataFrame| uploaded.write_of(frame);
                self.part(uploaded.frame(), &before, networks.len(), write, &mut done).await?;
            }
        }
        uploaded.close().await;
        Ok(self.finished(done))
    }

    /// Writes kept rows to both tables: those with a reason to quarantine, with the columns that the networks were
    /// given.
    async fn part(
        &self,
        kept: &DataFrame,
        given: &Schema,
        networks: usize,
        write: impl Fn(&DataFrame) -> DataFrameWriter,
        done: &mut Scored,
    ) -> Result<()> {
        let Some(quarantine) = &self.options.quarantine else { return Ok(()) };
        let reasons: Vec<String> = (0..networks).map(reason).collect();
        let first = function("coalesce", reasons.iter().map(|name| column(name)));
        let columns = given.names().map(column).chain([first.clone().alias(REASON)]);
        let unusable = kept.filter(first.clone().is_not_null());
        done.quarantined = unusable.count().await?;
        // First, so that no row is missing in both.
        self.save(&unusable.select(columns), quarantine, done.quarantined, &write).await?;
        done.rows -= done.quarantined;
        let usable = kept.filter(first.is_null()).drop(reasons.iter().map(String::as_str));
        self.save(&usable, self.table, done.rows, &write).await?;
        done.without_prediction = done.without_prediction.saturating_sub(done.quarantined);
        Ok(())
    }

    /// Writes rows to a table, unless it has those of the run.
    async fn save(
        &self,
        frame: &DataFrame,
        table: &str,
        rows: u64,
        write: impl Fn(&DataFrame) -> DataFrameWriter,
    ) -> Result<()> {
        // A client that died may have had its last command done meanwhile.
        if self.rows_of_run(frame, table).await?.is_none() {
            write(&self.marked(frame)).mode(self.options.mode).save_as_table(table).await?;
        }
        self.check_run(frame, table, rows).await
    }

    fn marked(&self, frame: &DataFrame) -> DataFrame {
        match &self.options.run_id {
            Some(id) => frame.with_column(RUN, lit_string(id)),
            None => frame.clone(),
        }
    }

    /// Returns the number of rows of the run in a table, if the table exists.
    async fn rows_of_run(&self, like: &DataFrame, table: &str) -> Result<Option<u64>> {
        let Some(id) = &self.options.run_id else { return Ok(None) };
        let spark = Session::new(like.client().clone());
        if !spark.catalog().table_exists(table).await? {
            return Ok(None);
        }
        Error::pass_over(spark.catalog().refresh_table(table).await, "to refresh a table")?;
        let rows = spark.table(table);
        if rows.schema().await?.get(RUN).is_none() {
            let expected = format!("a column of this name in `{table}`, which marks the run's rows");
            return Err(Error::schema(RUN, expected, "none"));
        }
        let rows = rows.filter(column(RUN).eq(lit_string(id))).count().await?;
        Ok((rows > 0).then_some(rows))
    }

    /// Refuses a table that has more or fewer rows of the run than it should.
    async fn check_run(&self, like: &DataFrame, table: &str, rows: u64) -> Result<()> {
        let Some(id) = &self.options.run_id else { return Ok(()) };
        let found = self.rows_of_run(like, table).await?.unwrap_or_default();
        if found == rows {
            return Ok(());
        }
        Err(Error::RowsLost {
            step: format!("appending run `{id}` to `{table}` (delete its rows before another try)"),
            expected: rows,
            found,
        })
    }

    fn scratch(&self) -> Option<Scratch> {
        self.options.scratch.clone().or_else(|| Scratch::beside(self.table))
    }

    fn nothing(&self) -> Scored {
        Scored {
            table: self.table.to_owned(),
            rows: 0,
            skipped: 0,
            without_prediction: 0,
            quarantined: 0,
            scoring: Scoring::Local,
            took: Duration::ZERO,
        }
    }

    fn finished(&self, done: Scored) -> Scored {
        let done = Scored { took: self.began.elapsed(), ..done };
        let Scored { table, rows, skipped, without_prediction, quarantined, scoring, took } = &done;
        tracing::info!(table, rows, skipped, without_prediction, quarantined, %scoring, ?took, "wrote a table of predictions");
        done
    }
}

/// Returns the rows, counted as they pass, and the nulls of a column among them.
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
