//! A query that runs on the cluster.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use spark_connect_proto::{
    self as proto,
    command::CommandType,
    execute_plan_response::ResponseType,
    streaming_query_command::{AwaitTerminationCommand, Command, ExplainCommand},
    streaming_query_command_result::ResultType,
};

use super::StreamingQueryProgress;
use crate::{Error, Result, connect::Client, dataframe::Context};

/// Longest wait of one request for a query's end; a longer one takes several.
const WAIT: Duration = Duration::from_secs(10);

/// A query that runs on the cluster. A clone is the same query; dropping it does not end the query.
///
/// It ends with [`stop`](Self::stop), with its trigger, with a failure, or with its session.
#[derive(Clone)]
pub struct StreamingQuery {
    context: Arc<Context>,
    id: QueryId,
    name: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct QueryId {
    id: String,
    run_id: String,
}

/// State of a query at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamingQueryStatus {
    /// Its activity, in Spark's words.
    pub message: String,
    /// True if there are rows that it has not read.
    pub is_data_available: bool,
    /// True if it works on a micro-batch.
    pub is_trigger_active: bool,
    /// True if it runs.
    pub is_active: bool,
}

/// The failure that ended a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamingQueryException {
    /// Spark's error condition; empty when the server named none.
    pub class: String,
    /// The message, for people.
    pub message: String,
    /// Where it arose in the server, if it says so.
    pub stack_trace: Option<String>,
}

impl fmt::Display for StreamingQueryException {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for StreamingQueryException {}

impl QueryId {
    pub(super) fn from_proto(id: proto::StreamingQueryInstanceId) -> Self {
        Self { id: id.id, run_id: id.run_id }
    }

    fn to_proto(&self) -> proto::StreamingQueryInstanceId {
        proto::StreamingQueryInstanceId { id: self.id.clone(), run_id: self.run_id.clone() }
    }
}

impl StreamingQuery {
    pub(super) fn new(context: Arc<Context>, id: QueryId, name: Option<String>) -> Self {
        Self { context, id, name }
    }

    pub(super) fn client(&self) -> &Client {
        self.context.client()
    }

    /// Returns the query's id, which it keeps when it is started again from its checkpoint.
    pub fn id(&self) -> &str {
        &self.id.id
    }

    /// Returns the id of this run.
    pub fn run_id(&self) -> &str {
        &self.id.run_id
    }

    /// Returns the name, if it has one.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    async fn ask(&self, command: Command) -> Result<ResultType> {
        let command = proto::StreamingQueryCommand { query_id: Some(self.id.to_proto()), command: Some(command) };
        let answers = self.context.command(CommandType::StreamingQueryCommand(command)).await?;
        let answer = answers.into_iter().find_map(|answer| match answer {
            ResponseType::StreamingQueryCommandResult(result) => Some(result.result_type),
            _ => None,
        });
        // Commands without an answer have an empty result.
        let none = proto::streaming_query_command_result::ExplainResult::default();
        Ok(answer.ok_or_else(|| incomplete("StreamingQueryCommand"))?.unwrap_or(ResultType::Explain(none)))
    }

    /// Returns the state.
    ///
    /// # Errors
    /// [`Error::Server`], also when the server does not know the query any more; [`Error::Unreachable`].
    pub async fn status(&self) -> Result<StreamingQueryStatus> {
        let ResultType::Status(status) = self.ask(Command::Status(true)).await? else {
            return Err(incomplete("status"));
        };
        Ok(StreamingQueryStatus {
            message: status.status_message,
            is_data_available: status.is_data_available,
            is_trigger_active: status.is_trigger_active,
            is_active: status.is_active,
        })
    }

    /// Returns whether the query runs.
    ///
    /// # Errors
    /// As [`status`](Self::status).
    pub async fn is_active(&self) -> Result<bool> {
        Ok(self.status().await?.is_active)
    }

    /// Returns the report on the last micro-batch; `None` before the first one.
    ///
    /// # Errors
    /// As [`status`](Self::status).
    pub async fn last_progress(&self) -> Result<Option<StreamingQueryProgress>> {
        Ok(self.reports(Command::LastProgress(true)).await?.pop())
    }

    /// Returns the reports on the last micro-batches that the server keeps (`spark.sql.streaming.numRecentProgressUpdates`),
    /// oldest first.
    ///
    /// # Errors
    /// As [`status`](Self::status).
    pub async fn recent_progress(&self) -> Result<Vec<StreamingQueryProgress>> {
        self.reports(Command::RecentProgress(true)).await
    }

    async fn reports(&self, command: Command) -> Result<Vec<StreamingQueryProgress>> {
        let ResultType::RecentProgress(reports) = self.ask(command).await? else { return Ok(Vec::new()) };
        reports.recent_progress_json.iter().map(|report| from_json(report)).collect()
    }

    /// Returns Spark's account of the query's plan.
    ///
    /// # Errors
    /// As [`status`](Self::status).
    pub async fn explain(&self, extended: bool) -> Result<String> {
        match self.ask(Command::Explain(ExplainCommand { extended })).await? {
            ResultType::Explain(plan) => Ok(plan.result),
            _ => Err(incomplete("explain")),
        }
    }

    /// Returns the failure that ended the query; `None` while it runs and after a good end.
    ///
    /// # Errors
    /// As [`status`](Self::status).
    pub async fn exception(&self) -> Result<Option<StreamingQueryException>> {
        let ResultType::Exception(failure) = self.ask(Command::Exception(true)).await? else { return Ok(None) };
        Ok(failure.exception_message.map(|message| StreamingQueryException {
            class: failure.error_class.unwrap_or_default(),
            message,
            stack_trace: failure.stack_trace,
        }))
    }

    /// Ends the query, and waits until it has ended.
    ///
    /// # Errors
    /// As [`status`](Self::status).
    pub async fn stop(&self) -> Result<()> {
        self.ask(Command::Stop(true)).await.map(drop)
    }

    /// Waits until every row that is there now has been written. For tests: it may wait on while rows keep coming.
    ///
    /// # Errors
    /// As [`status`](Self::status); the query's own failure.
    pub async fn process_all_available(&self) -> Result<()> {
        self.ask(Command::ProcessAllAvailable(true)).await.map(drop)
    }

    /// Waits until the query has ended, for at most so long if there is a limit; returns whether it has.
    ///
    /// # Errors
    /// As [`status`](Self::status); [`Error::Server`] with the failure that ended the query.
    pub async fn await_termination(&self, limit: Option<Duration>) -> Result<bool> {
        until_ended(limit, async |timeout_ms| {
            let wait = Command::AwaitTermination(AwaitTerminationCommand { timeout_ms: Some(timeout_ms) });
            match self.ask(wait).await? {
                ResultType::AwaitTermination(answer) => Ok(answer.terminated),
                _ => Err(incomplete("await_termination")),
            }
        })
        .await
    }
}

/// Asks, for so many milliseconds each time, whether something has ended, until it has or a limit is reached.
pub(super) async fn until_ended(limit: Option<Duration>, ask: impl AsyncFn(i64) -> Result<bool>) -> Result<bool> {
    let began = Instant::now();
    loop {
        let left = limit.map_or(WAIT, |limit| limit.saturating_sub(began.elapsed()).min(WAIT));
        let has_ended = ask((left.as_millis() as i64).max(1)).await?;
        if has_ended || limit.is_some_and(|limit| began.elapsed() >= limit) {
            return Ok(has_ended);
        }
    }
}

impl fmt::Debug for StreamingQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamingQuery").field("id", &self.id).field("name", &self.name).finish_non_exhaustive()
    }
}

pub(super) fn incomplete(operation: &str) -> Error {
    Error::Incomplete { operation: operation.into(), reason: "the server's answer is empty".into() }
}

/// Reads a report of the server's.
pub(super) fn from_json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| Error::Incomplete {
        operation: "reading a streaming query's report".into(),
        reason: format!("{error} in {text}"),
    })
}
