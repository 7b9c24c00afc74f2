//! The queries of a session.

use std::time::{Duration, Instant};

use spark_connect_proto::{
    self as proto,
    command::CommandType,
    execute_plan_response::ResponseType,
    streaming_query_manager_command::{AwaitAnyTerminationCommand, Command},
    streaming_query_manager_command_result::{ResultType, StreamingQueryInstance},
};

use super::query::{QueryId, StreamingQuery, incomplete};
use crate::{Result, session::Session};

/// Longest wait of one request for a query's end; a longer one takes several.
const WAIT: Duration = Duration::from_secs(10);

/// The queries of a session, from [`Session::streams`].
#[derive(Debug, Clone)]
pub struct StreamingQueryManager {
    pub(super) session: Session,
}

impl Session {
    /// Returns the queries of this session whose rows keep coming.
    pub fn streams(&self) -> StreamingQueryManager {
        StreamingQueryManager { session: self.clone() }
    }
}

impl StreamingQueryManager {
    async fn ask(&self, command: Command) -> Result<Option<ResultType>> {
        let command = proto::StreamingQueryManagerCommand { command: Some(command) };
        let answers = self.session.context().command(CommandType::StreamingQueryManagerCommand(command)).await?;
        let answer = answers.into_iter().find_map(|answer| match answer {
            ResponseType::StreamingQueryManagerCommandResult(result) => Some(result.result_type),
            _ => None,
        });
        answer.ok_or_else(|| incomplete("StreamingQueryManagerCommand"))
    }

    fn query(&self, instance: StreamingQueryInstance) -> StreamingQuery {
        let id = QueryId::from_proto(instance.id.unwrap_or_default());
        StreamingQuery::new(self.session.context().clone(), id, instance.name.filter(|name| !name.is_empty()))
    }

    /// Returns the queries that run.
    ///
    /// # Errors
    /// [`Error::Server`](crate::Error::Server); [`Error::Unreachable`](crate::Error::Unreachable).
    pub async fn active(&self) -> Result<Vec<StreamingQuery>> {
        match self.ask(Command::Active(true)).await? {
            Some(ResultType::Active(active)) => {
                Ok(active.active_queries.into_iter().map(|instance| self.query(instance)).collect())
            }
            _ => Ok(Vec::new()),
        }
    }

    /// Returns the query of an id, if it runs.
    ///
    /// # Errors
    /// As [`active`](Self::active).
    pub async fn get(&self, id: &str) -> Result<Option<StreamingQuery>> {
        match self.ask(Command::GetQuery(id.to_owned())).await? {
            Some(ResultType::Query(instance)) => Ok(Some(self.query(instance))),
            _ => Ok(None),
        }
    }

    /// Waits until any query has ended since the session began, or since
    /// [`reset_terminated`](Self::reset_terminated), for at most so long if there is a limit; returns whether one has.
    ///
    /// # Errors
    /// As [`active`](Self::active); [`Error::Server`](crate::Error::Server) with the failure that ended a query.
    pub async fn await_any_termination(&self, limit: Option<Duration>) -> Result<bool> {
        let began = Instant::now();
        loop {
            let left = limit.map_or(WAIT, |limit| limit.saturating_sub(began.elapsed()).min(WAIT));
            let timeout_ms = Some((left.as_millis() as i64).max(1));
            let wait = Command::AwaitAnyTermination(AwaitAnyTerminationCommand { timeout_ms });
            let Some(ResultType::AwaitAnyTermination(answer)) = self.ask(wait).await? else {
                return Err(incomplete("await_any_termination"));
            };
            if answer.terminated || limit.is_some_and(|limit| began.elapsed() >= limit) {
                return Ok(answer.terminated);
            }
        }
    }

    /// Forgets the queries that have ended, for [`await_any_termination`](Self::await_any_termination).
    ///
    /// # Errors
    /// As [`active`](Self::active).
    pub async fn reset_terminated(&self) -> Result<()> {
        self.ask(Command::ResetTerminated(true)).await.map(drop)
    }
}
