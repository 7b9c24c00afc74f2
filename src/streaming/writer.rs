//! Queries that write rows that keep coming.

use std::time::Duration;

use spark_connect_proto::{
    self as proto,
    command::CommandType,
    execute_plan_response::ResponseType,
    write_stream_operation_start::{SinkDestination, Trigger as Kind},
};

use super::query::{QueryId, StreamingQuery, incomplete};
use crate::{Error, Result, dataframe::DataFrame};

/// The rows that a query writes of a result that changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OutputMode {
    /// Rows that will not change any more.
    #[default]
    Append,
    /// All rows, each time.
    Complete,
    /// Rows that changed since the last time.
    Update,
}

/// When a query takes the next rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trigger {
    /// Every so often; at once after the last batch, if that took longer.
    ProcessingTime(Duration),
    /// Takes all rows that are there, in several batches if the source limits them, and ends.
    AvailableNow,
    /// Takes all rows that are there in one batch, and ends.
    Once,
    /// Row by row, with a checkpoint every so often; for a few sources and sinks.
    Continuous(Duration),
    /// With the least delay, in batches of this length; for a few sources and sinks. Spark 4.1 or later.
    RealTime(Duration),
}

/// Starts a query that writes a frame of rows that keep coming, from [`DataFrame::write_stream`].
#[derive(Debug, Clone)]
#[must_use = "nothing is written until a method such as `start` is awaited"]
pub struct DataStreamWriter {
    pub(super) frame: DataFrame,
    pub(super) trigger: Option<Trigger>,
    pub(super) start: proto::WriteStreamOperationStart,
}

impl DataFrame {
    /// Writes this frame, whose rows keep coming, as a query on the cluster.
    pub fn write_stream(&self) -> DataStreamWriter {
        DataStreamWriter { frame: self.clone(), trigger: None, start: Default::default() }
    }
}

impl DataStreamWriter {
    /// Sets the sink's format: `parquet` and other formats of files, `kafka`, `console`, `memory`, `noop` …
    pub fn format(mut self, format: &str) -> Self {
        self.start.format = format.to_owned();
        self
    }

    /// Sets the rows that are written; [`OutputMode::Append`] unless set.
    pub fn output_mode(mut self, mode: OutputMode) -> Self {
        let mode = match mode {
            OutputMode::Append => "append",
            OutputMode::Complete => "complete",
            OutputMode::Update => "update",
        };
        self.start.output_mode = mode.to_owned();
        self
    }

    /// Sets an option of the sink.
    pub fn option(mut self, key: &str, value: impl ToString) -> Self {
        self.start.options.insert(key.to_owned(), value.to_string());
        self
    }

    /// Sets options of the sink.
    pub fn options<K: Into<String>, V: Into<String>>(mut self, options: impl IntoIterator<Item = (K, V)>) -> Self {
        self.start.options.extend(options.into_iter().map(|(key, value)| (key.into(), value.into())));
        self
    }

    /// Sets the cluster's folder in which the query notes how far it has come. A query that is started with the folder
    /// of another one continues where that stopped.
    pub fn checkpoint_location(self, path: &str) -> Self {
        self.option("checkpointLocation", path)
    }

    /// Writes one folder for each combination of values in these columns.
    pub fn partition_by<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.start.partitioning_column_names = names.into_iter().map(Into::into).collect();
        self
    }

    /// Clusters a table by columns, where its format can.
    pub fn cluster_by<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.start.clustering_column_names = names.into_iter().map(Into::into).collect();
        self
    }

    /// Names the query; no other that runs in the session may have the name. The `memory` sink makes a view of it.
    pub fn query_name(mut self, name: &str) -> Self {
        self.start.query_name = name.to_owned();
        self
    }

    /// Sets when the next rows are taken; as soon as they are there unless set.
    pub fn trigger(mut self, trigger: Trigger) -> Self {
        self.trigger = Some(trigger);
        self
    }

    /// Starts the query, into a sink without a path.
    ///
    /// # Errors
    /// [`Error::Param`] for a trigger of no time; [`Error::Server`] when Spark refuses the query, for example a frame
    /// whose rows do not keep coming, or a sink without a checkpoint location; [`Error::Unreachable`].
    pub async fn start(self) -> Result<StreamingQuery> {
        self.started(None).await
    }

    /// Starts the query, into the files of a folder of the cluster's.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_into(self, path: &str) -> Result<StreamingQuery> {
        self.started(Some(SinkDestination::Path(path.to_owned()))).await
    }

    /// Starts the query, into a table, which is made if there is none; the name is SQL.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn to_table(self, name: &str) -> Result<StreamingQuery> {
        self.started(Some(SinkDestination::TableName(name.to_owned()))).await
    }

    async fn started(mut self, sink: Option<SinkDestination>) -> Result<StreamingQuery> {
        self.start.trigger = self.trigger.map(kind).transpose()?;
        self.start.sink_destination = sink;
        self.start.input = Some(self.frame.checked()?);
        let answers = self.frame.command(CommandType::WriteStreamOperationStart(self.start)).await?;
        let started = answers.into_iter().find_map(|answer| match answer {
            ResponseType::WriteStreamOperationStartResult(started) => Some(started),
            _ => None,
        });
        let started = started.ok_or_else(|| incomplete("WriteStreamOperationStart"))?;
        let name = (!started.name.is_empty()).then_some(started.name);
        let id = QueryId::from_proto(started.query_id.unwrap_or_default());
        Ok(StreamingQuery::new(self.frame.context().clone(), id, name))
    }
}

fn kind(trigger: Trigger) -> Result<Kind> {
    let interval = |time: Duration| match (time.as_millis(), time.subsec_millis()) {
        (0, _) => Err(Error::param("trigger", format!("{trigger:?}"), "at least a millisecond")),
        (_, 0) => Ok(format!("{} seconds", time.as_secs())),
        (millis, _) => Ok(format!("{millis} milliseconds")),
    };
    Ok(match trigger {
        // Spark takes no time as "as soon as possible".
        Trigger::ProcessingTime(Duration::ZERO) => Kind::ProcessingTimeInterval("0 seconds".into()),
        Trigger::ProcessingTime(time) => Kind::ProcessingTimeInterval(interval(time)?),
        Trigger::AvailableNow => Kind::AvailableNow(true),
        Trigger::Once => Kind::Once(true),
        Trigger::Continuous(time) => Kind::ContinuousCheckpointInterval(interval(time)?),
        Trigger::RealTime(time) => Kind::RealTimeBatchDuration(interval(time)?),
    })
}
