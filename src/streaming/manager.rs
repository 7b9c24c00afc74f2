//! The queries of a session.

use std::time::Duration;

use spark_connect_proto::{
    self as proto,
    command::CommandType,
    execute_plan_response::ResponseType,
    streaming_query_manager_command::{AwaitAnyTerminationCommand, Command},
    streaming_query_manager_command_result::{ResultType, StreamingQueryInstance},
};

use super::query::{QueryId, StreamingQuery, incomplete, until_ended};
use crate::{Result, session::Session};

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
        until_ended(limit, async |timeout_ms| {
            let wait = Command::AwaitAnyTermination(AwaitAnyTerminationCommand { timeout_ms: Some(timeout_ms) });
            match self.ask(wait).await? {
                Some(ResultType::AwaitAnyTermination(answer)) => Ok(answer.terminated),
                _ => Err(incomplete("await_any_termination")),
            }
        })
        .await
    }

    /// Forgets the queries that have ended, for [`await_any_termination`](Self::await_any_termination).
    ///
    /// # Errors
    /// As [`active`](Self::active).
    pub async fn reset_terminated(&self) -> Result<()> {
        self.ask(Command::ResetTerminated(true)).await.map(drop)
    }
}
