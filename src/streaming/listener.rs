//! Events of a session's queries, as they happen.

use futures::{Stream, StreamExt, TryStreamExt};
use serde::Deserialize;
use spark_connect_proto::{
    self as proto, StreamingQueryEventType as Kind, command::CommandType, execute_plan_response::ResponseType,
    streaming_query_listener_bus_command::Command,
};

use super::{StreamingQueryManager, StreamingQueryProgress, query::from_json};
use crate::{Result, connect::Event};

/// An event of a query.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq)]
pub enum StreamingQueryEvent {
    /// A micro-batch is done.
    Progress(Box<StreamingQueryProgress>),
    /// There was nothing to do.
    Idle {
        /// The query.
        id: String,
        /// Its run.
        run_id: String,
        /// The moment, in ISO 8601 and UTC.
        timestamp: String,
    },
    /// A query has ended.
    Terminated {
        /// The query.
        id: String,
        /// Its run.
        run_id: String,
        /// The failure, if it failed.
        exception: Option<String>,
        /// Spark's error condition, if it failed and the server named one.
        class: Option<String>,
    },
}

impl StreamingQueryManager {
    /// Returns the events of the session's queries from now on, until the stream is dropped. A session has one such
    /// stream.
    ///
    /// # Errors
    /// [`Error::Server`](crate::Error::Server) when there is one already;
    /// [`Error::Unreachable`](crate::Error::Unreachable); the stream's items fail likewise.
    pub async fn events(&self) -> Result<impl Stream<Item = Result<StreamingQueryEvent>> + Send + use<>> {
        let bus = |command| {
            CommandType::StreamingQueryListenerBusCommand(proto::StreamingQueryListenerBusCommand {
                command: Some(command),
            })
        };
        let context = self.session.context().clone();
        let leave = Leave { context: context.clone(), command: Some(bus(Command::RemoveListenerBusListener(true))) };
        let mut answers = context.start(bus(Command::AddListenerBusListener(true)));
        // The first answer says that the server listens.
        let first = loop {
            match answers.try_next().await? {
                Some(Event::Response(answer)) => break events_of(*answer),
                Some(_) => {}
                None => break Vec::new(),
            }
        };
        let rest = answers.map_ok(move |event| {
            _ = &leave;
            match event {
                Event::Response(answer) => events_of(*answer),
                _ => Vec::new(),
            }
        });
        let all = futures::stream::iter([Ok(first)]).chain(rest);
        Ok(all.map_ok(|events| futures::stream::iter(events.into_iter().map(read))).try_flatten().boxed())
    }
}

/// Has the server stop listening when dropped.
struct Leave {
    context: std::sync::Arc<crate::dataframe::Context>,
    command: Option<CommandType>,
}

impl Drop for Leave {
    fn drop(&mut self) {
        if let Some(command) = self.command.take() {
            let execution = self.context.start(command);
            self.context.client().in_background(async move {
                if let Err(error) = execution.responses().await {
                    tracing::debug!(%error, "the server listens for events until the session ends");
                }
            });
        }
    }
}

fn events_of(answer: ResponseType) -> Vec<proto::StreamingQueryListenerEvent> {
    match answer {
        ResponseType::StreamingQueryListenerEventsResult(result) => result.events,
        _ => Vec::new(),
    }
}

#[derive(Deserialize)]
struct ProgressReport {
    progress: StreamingQueryProgress,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Other {
    id: String,
    run_id: String,
    timestamp: String,
    exception: Option<String>,
    error_class_on_exception: Option<String>,
}

fn read(event: proto::StreamingQueryListenerEvent) -> Result<StreamingQueryEvent> {
    if event.event_type() == Kind::QueryProgressEvent {
        let ProgressReport { progress } = from_json(&event.event_json)?;
        return Ok(StreamingQueryEvent::Progress(Box::new(progress)));
    }
    let Other { id, run_id, timestamp, exception, error_class_on_exception } = from_json(&event.event_json)?;
    Ok(match event.event_type() {
        Kind::QueryTerminatedEvent => {
            StreamingQueryEvent::Terminated { id, run_id, exception, class: error_class_on_exception }
        }
        _ => StreamingQueryEvent::Idle { id, run_id, timestamp },
    })
}
