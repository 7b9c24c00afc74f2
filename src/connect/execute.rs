//! One execution as a stream of events.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use arrow::buffer::Buffer;
use futures::{Stream, TryStreamExt};
use spark_connect_proto::{self as proto, execute_plan_response as response};
use tokio::sync::{
    OwnedSemaphorePermit, Semaphore,
    mpsc::{self, UnboundedReceiver, UnboundedSender},
};
use uuid::Uuid;

use super::{
    attach::Attachment,
    client::{Client, request},
    progress::Progress,
};
use crate::{Error, Result};

/// Settings of one execution.
///
/// | field | default | purpose | legal |
/// |---|---|---|---|
/// | `tags` | none | names by which it can be interrupted | not empty, without commas |
/// | `prefetch_bytes` | 16 MiB | result bytes received and not yet taken by the reader; more waits on the server | any; one batch always passes |
/// | `chunk_bytes` | 1 MiB | size in which the server cuts a batch for travel (Spark 4.1 or later) | 1 or more |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecuteOptions {
    /// Names by which the execution can be interrupted.
    pub tags: Vec<String>,
    /// Result bytes received ahead of the reader.
    pub prefetch_bytes: usize,
    /// Size in which the server cuts a batch for travel.
    pub chunk_bytes: usize,
}

impl Default for ExecuteOptions {
    fn default() -> Self {
        Self { tags: Vec::new(), prefetch_bytes: 16 << 20, chunk_bytes: 1 << 20 }
    }
}

/// One message of an execution.
#[non_exhaustive]
#[derive(Debug)]
pub enum Event {
    /// The result's schema; comes once, before any batch.
    Schema(proto::DataType),
    /// A batch of rows, possibly empty.
    Batch(ArrowPayload),
    /// Progress on the server.
    Progress(Progress),
    /// Metrics that the plan observes.
    Observed(Vec<response::ObservedMetrics>),
    /// Metrics of the physical plan's nodes.
    Metrics(Vec<response::metrics::MetricObject>),
    /// The result of a command.
    Response(Box<response::ResponseType>),
}

/// A batch of rows as it travelled: one whole Arrow IPC stream.
#[derive(Debug)]
pub struct ArrowPayload {
    /// Rows in it, by the server's count.
    pub rows: u64,
    /// The first one's position in the whole result, where the server says so.
    pub offset: Option<u64>,
    /// The IPC stream.
    pub data: Buffer,
    /// Its share of the prefetch budget.
    _share: OwnedSemaphorePermit,
}

/// The stream of one execution's events.
///
/// Ends after the server's word that the result is complete, never before; an error is the last item otherwise.
/// Dropping it interrupts the operation and releases it on the server, in the background ([`Client::settle`] waits
/// for that).
pub struct Execution {
    operation_id: String,
    state: ExecutionState,
}

enum ExecutionState {
    Idle(Box<Attachment>, Arc<Semaphore>),
    Running(UnboundedReceiver<Result<Event>>),
    Done,
}

/// Where the attachment puts events: a queue bounded by the bytes in it.
#[derive(Debug)]
pub(super) struct Outlet {
    events: UnboundedSender<Result<Event>>,
    budget: Arc<Semaphore>,
    units: u32,
}

/// Bytes per unit of the prefetch budget; a semaphore counts at most 2³² of them.
const UNIT: usize = 1 << 10;

impl Execution {
    pub(super) fn new(client: Client, plan: proto::Plan, options: ExecuteOptions) -> Self {
        let operation_id = Uuid::new_v4().to_string();
        if let Err(error) = check(&options) {
            let (events, receiver) = mpsc::unbounded_channel();
            _ = events.send(Err(error));
            return Self { operation_id, state: ExecutionState::Running(receiver) };
        }
        let request = request!(
            client,
            ExecutePlanRequest {
                operation_id: Some(operation_id.clone()),
                plan: Some(plan),
                request_options: request_options(&client, options.chunk_bytes),
                tags: options.tags,
            }
        );
        let budget = Arc::new(Semaphore::new((options.prefetch_bytes / UNIT).clamp(1, u32::MAX as usize >> 1)));
        Self { operation_id, state: ExecutionState::Idle(Box::new(Attachment::new(client, request)), budget) }
    }

    /// Returns the server's id of the operation.
    pub fn operation_id(&self) -> &str {
        &self.operation_id
    }

    /// Runs a command to its end and gathers what it answers.
    ///
    /// # Errors
    /// The first error of the stream.
    pub async fn responses(self) -> Result<Vec<response::ResponseType>> {
        let answers = self.try_filter_map(|event| {
            std::future::ready(Ok(match event {
                Event::Response(answer) => Some(*answer),
                _ => None,
            }))
        });
        answers.try_collect().await
    }
}

fn check(options: &ExecuteOptions) -> Result<()> {
    if options.chunk_bytes == 0 {
        return Err(Error::param("chunk_bytes", 0, "1 or more"));
    }
    match options.tags.iter().find(|tag| tag.is_empty() || tag.contains(',')) {
        Some(tag) => Err(Error::param("tag", format!("`{tag}`"), "not empty and without commas")),
        None => Ok(()),
    }
}

fn request_options(client: &Client, chunk_bytes: usize) -> Vec<proto::execute_plan_request::RequestOption> {
    use proto::execute_plan_request::{RequestOption, request_option::RequestOption as Kind};
    let mut options = vec![Kind::ReattachOptions(proto::ReattachOptions { reattachable: true })];
    if client.version().at_least(4, 1) {
        options.push(Kind::ResultChunkingOptions(proto::ResultChunkingOptions {
            allow_arrow_batch_chunking: true,
            preferred_arrow_chunk_size: Some(i64::try_from(chunk_bytes).unwrap_or(i64::MAX)),
        }));
    }
    options.into_iter().map(|kind| RequestOption { request_option: Some(kind) }).collect()
}

impl Outlet {
    /// Passes an event on. The reader may be gone; whoever drives the execution watches [`Outlet::closed`].
    pub(super) fn send(&self, event: Result<Event>) {
        _ = self.events.send(event);
    }

    /// Resolves when the reader is gone.
    pub(super) async fn closed(&self) {
        self.events.closed().await;
    }

    /// Waits until the reader has made room for `bytes`; more than the whole budget counts as the whole budget.
    pub(super) async fn room(&self, bytes: usize) -> OwnedSemaphorePermit {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).clamp(1, self.units);
        self.budget.clone().acquire_many_owned(units).await.expect("the budget is never closed")
    }

    /// Passes a batch on, for which there is room.
    pub(super) fn send_batch(&self, batch: super::assemble::Assembled, share: OwnedSemaphorePermit) {
        let payload = ArrowPayload { rows: batch.rows, offset: batch.offset, data: batch.data, _share: share };
        self.send(Ok(Event::Batch(payload)));
    }
}

impl Stream for Execution {
    type Item = Result<Event>;

    /// # Panics
    /// Outside a Tokio runtime, at the first call.
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let ExecutionState::Idle(..) = self.state
            && let ExecutionState::Idle(attachment, budget) = std::mem::replace(&mut self.state, ExecutionState::Done)
        {
            let (events, receiver) = mpsc::unbounded_channel();
            let units = budget.available_permits() as u32;
            tokio::spawn(attachment.run(Outlet { events, budget, units }));
            self.state = ExecutionState::Running(receiver);
        }
        let ExecutionState::Running(receiver) = &mut self.state else { return Poll::Ready(None) };
        let item = std::task::ready!(receiver.poll_recv(cx));
        if !matches!(item, Some(Ok(_))) {
            self.state = ExecutionState::Done;
        }
        Poll::Ready(item)
    }
}

impl fmt::Debug for Execution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Execution").field("operation_id", &self.operation_id).finish_non_exhaustive()
    }
}
