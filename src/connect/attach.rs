//! Stays attached to an execution until its result is complete.
//!
//! The server ends every result stream early by design (after two minutes, or a gibibyte), networks end others. So:
//! receive until the stream ends; without the server's word that the result is complete, attach again after the last
//! response that arrived; give up only when nothing arrives for as long as the retry policy allows. Behaviour follows
//! the server's `ExecuteGrpcResponseSender` and `ExecuteResponseObserver`.

use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use spark_connect_proto::{self as proto, execute_plan_response as response};
use tokio::{sync::OwnedSemaphorePermit, task::JoinHandle, time::timeout};
use tonic::{Status, Streaming};

use super::{
    assemble::Assembler,
    client::{Client, Interrupt, OperationState, request},
    execute::{Event, Outlet},
    retry::{Retries, is_transport_failure, server_wish},
    silence::Silence,
    status,
};
use crate::{Error, Result};

/// While the reader pauses, the server ends the stream, and abandons an operation without a client after
/// five minutes; attaching again this often keeps it.
pub(super) const STAY_ATTACHED: Duration = Duration::from_millis(if cfg!(test) { 300 } else { 60_000 });

/// A stream that the server ended without a response counts as a failed attempt when it was shorter than this.
const SUSPICIOUSLY_SHORT: Duration = Duration::from_millis(500);

/// Received bytes after which the client releases them on the server.
const RELEASE_EVERY: usize = 4 << 20;

/// Time limit of the last calls for an execution.
const FAREWELL: Duration = Duration::from_secs(5);

/// Time that an interrupted operation usually takes to end.
const WIND_DOWN: Duration = Duration::from_millis(500);

/// One execution, from its start to its release.
#[derive(Debug)]
pub(super) struct Attachment {
    client: Client,
    request: proto::ExecutePlanRequest,
    stream: Option<Streaming<proto::ExecutePlanResponse>>,
    /// True if the request may have reached the server, so that the next step is to attach.
    started: bool,
    last_response: Option<String>,
    has_schema: bool,
    assembler: Assembler,
    retries: Retries,
    silence: Silence,
    unreleased: usize,
    releasing: Option<JoinHandle<()>>,
    /// The number of the token that the stream was opened with.
    token: u64,
    /// True if a new token was requested since the last response.
    renewed: bool,
}

/// Why a stream ended without the result being complete.
enum Ended {
    ByServer { lived: Duration },
    ByFailure(Status),
}

impl Attachment {
    pub(super) fn new(client: Client, request: proto::ExecutePlanRequest) -> Self {
        let (retries, silence) = (client.retries(), client.silence());
        Self {
            token: client.token_number(),
            renewed: false,
            client,
            request,
            stream: None,
            started: false,
            last_response: None,
            has_schema: false,
            assembler: Assembler::default(),
            retries,
            silence,
            unreleased: 0,
            releasing: None,
        }
    }

    /// Drives the execution until it is complete, has failed, or its reader is gone; then releases it.
    pub(super) async fn run(mut self: Box<Self>, outlet: Outlet) {
        let _unsettled = self.client.settling().begin();
        let outcome = tokio::select! {
            biased;
            () = outlet.closed() => None,
            outcome = self.drive(&outlet) => Some(outcome),
        };
        self.stream = None;
        let reachable = !matches!(outcome, Some(Err(Error::Unreachable { .. })));
        let abandoned = matches!(outcome, None | Some(Err(Error::Silent { .. })));
        if let Some(Err(error)) = outcome {
            outlet.send(Err(error));
        }
        drop(outlet);
        if self.started && reachable {
            self.farewell(abandoned).await;
        }
    }

    async fn drive(&mut self, outlet: &Outlet) -> Result<()> {
        loop {
            let response = self.receive().await?;
            if self.accept(response, outlet).await? {
                return self.assembler.finish().map_err(|reason| self.incomplete(reason));
            }
        }
    }

    /// Returns the next response, however often that takes attaching again.
    async fn receive(&mut self) -> Result<proto::ExecutePlanResponse> {
        loop {
            let since = Instant::now();
            let ended = match self.next_message().await? {
                Ok(Some(response)) => {
                    self.retries.progress();
                    self.renewed = false;
                    return Ok(response);
                }
                Ok(None) => Ended::ByServer { lived: since.elapsed() },
                Err(failure) => Ended::ByFailure(failure),
            };
            self.stream = None;
            self.recover(ended).await?;
        }
    }

    /// Returns the next message of the stream, which is opened if there is none; asks about the operation while the
    /// server says nothing. Servers may not even open the stream before they have something to say.
    async fn next_message(&mut self) -> Result<Result<Option<proto::ExecutePlanResponse>, Status>> {
        if self.stream.is_none() {
            let mut opening = self.open();
            loop {
                tokio::select! {
                    biased;
                    opened = &mut opening => match opened {
                        Ok(stream) => break self.stream = Some(stream),
                        Err(failure) => return Ok(Err(failure)),
                    },
                    () = self.silence.lasts() => self.silence.ask(&self.client, self.request.operation_id()).await?,
                }
            }
        }
        let Some(stream) = &mut self.stream else { return Ok(Ok(None)) };
        loop {
            tokio::select! {
                biased;
                message = stream.message() => return Ok(message),
                () = self.silence.lasts() => self.silence.ask(&self.client, self.request.operation_id()).await?,
            }
        }
    }

    /// Begins the execution, or attaches to it.
    fn open(&mut self) -> BoxFuture<'static, Result<Streaming<proto::ExecutePlanResponse>, Status>> {
        let client = self.client.clone();
        self.token = client.token_number();
        if !std::mem::replace(&mut self.started, true) {
            let request = client.wrap(self.request.clone());
            return Box::pin(async move { Ok(client.stub().execute_plan(request).await?.into_inner()) });
        }
        tracing::debug!(operation = self.operation_id(), after = self.last_response, "attaching again");
        let message = request!(
            client,
            ReattachExecuteRequest {
                operation_id: self.operation_id().to_owned(),
                last_response_id: self.last_response.clone(),
            }
        );
        let request = client.wrap(message);
        Box::pin(async move { Ok(client.stub().reattach_execute(request).await?.into_inner()) })
    }

    /// Decides what a stream's end means: carry on (after a delay where due), or give up.
    async fn recover(&mut self, ended: Ended) -> Result<()> {
        match ended {
            Ended::ByServer { lived } if lived >= SUSPICIOUSLY_SHORT => {
                self.retries.progress();
                Ok(())
            }
            Ended::ByServer { .. } => match self.retries.next_delay(None) {
                Some(delay) => {
                    tokio::time::sleep(delay).await;
                    Ok(())
                }
                None => Err(self.incomplete("the server ends the stream again and again without a response".into())),
            },
            Ended::ByFailure(failure) => self.recover_from(failure).await,
        }
    }

    async fn recover_from(&mut self, failure: Status) -> Result<()> {
        if status::is_operation_known(&failure) {
            return Ok(()); // the request had arrived after all: attach to it
        }
        if !self.renewed && self.client.has_other_token(&failure, self.token).await? {
            // A request that was refused never began.
            self.renewed = true;
            self.started &= self.last_response.is_some();
            return Ok(());
        }
        let restart = status::is_operation_unknown(&failure);
        if restart && self.last_response.is_some() {
            let why = format!("the server no longer knows it ({}); was it restarted?", status::error_class(&failure));
            return Err(self.incomplete(why));
        }
        if !restart && !is_transport_failure(&failure) {
            return Err(self.client.failure(failure).await);
        }
        let Some(delay) = self.retries.next_delay(server_wish(&failure)) else {
            return Err(status::unreachable(&failure, self.retries.failing_for(), self.client.address()));
        };
        tracing::debug!(operation = self.operation_id(), reason = failure.message(), ?delay, "stream broken");
        // The request never arrived, or the server forgot it before it answered: nothing is lost by starting over.
        self.started &= !restart;
        tokio::time::sleep(delay).await;
        Ok(())
    }

    /// Takes a response; says whether it was the last one.
    async fn accept(&mut self, response: proto::ExecutePlanResponse, outlet: &Outlet) -> Result<bool> {
        self.client.note_server_session(&response.server_side_session_id);
        if !response.response_id.is_empty() {
            self.last_response = Some(response.response_id);
        }
        match &response.response_type {
            Some(response::ResponseType::ExecutionProgress(_)) | None => {}
            Some(_) => self.silence.broken(),
        }
        if let Some(schema) = response.schema
            && !std::mem::replace(&mut self.has_schema, true)
        {
            outlet.send(Ok(Event::Schema(schema)));
        }
        if !response.observed_metrics.is_empty() {
            outlet.send(Ok(Event::Observed(response.observed_metrics)));
        }
        if let Some(metrics) = response.metrics {
            outlet.send(Ok(Event::Metrics(metrics.metrics)));
        }
        match response.response_type {
            None => {}
            Some(response::ResponseType::ResultComplete(_)) => return Ok(true),
            Some(response::ResponseType::ArrowBatch(message)) => {
                self.release_received(message.data.len());
                if let Some(batch) = self.assembler.add(message).map_err(|reason| self.incomplete(reason))? {
                    let share = self.room(batch.data.len(), outlet).await;
                    outlet.send_batch(batch, share);
                }
            }
            Some(response::ResponseType::ExecutionProgress(message)) => {
                let progress = message.into();
                self.silence.reported(&progress);
                self.client.progress_handlers().tell(&progress);
                outlet.send(Ok(Event::Progress(progress)));
            }
            Some(answer) => outlet.send(Ok(Event::Response(Box::new(answer)))),
        }
        Ok(false)
    }

    /// Waits for room ahead of the reader, staying attached while the reader rests.
    async fn room(&mut self, bytes: usize, outlet: &Outlet) -> OwnedSemaphorePermit {
        loop {
            match timeout(STAY_ATTACHED, outlet.room(bytes)).await {
                Ok(share) => {
                    self.silence.broken();
                    return share;
                }
                // A failure is handled when the next response is received, which fails too.
                Err(_) => self.stream = self.open().await.ok(),
            }
        }
    }

    /// Tells the server now and then what it may forget; one such call at a time, and none is waited for.
    fn release_received(&mut self, bytes: usize) {
        self.unreleased += bytes;
        let busy = self.releasing.as_ref().is_some_and(|call| !call.is_finished());
        if self.unreleased < RELEASE_EVERY || busy {
            return;
        }
        let Some(response_id) = self.last_response.clone() else { return };
        self.unreleased = 0;
        let until = proto::release_execute_request::ReleaseUntil { response_id };
        let release = self.release(proto::release_execute_request::Release::ReleaseUntil(until));
        self.releasing = Some(tokio::spawn(release));
    }

    fn release(&self, what: proto::release_execute_request::Release) -> impl Future<Output = ()> + Send + use<> {
        let client = self.client.clone();
        let message = request!(
            client,
            ReleaseExecuteRequest { operation_id: self.operation_id().to_owned(), release: Some(what) }
        );
        async move {
            if let Err(status) = client.stub().release_execute(client.wrap(message)).await {
                tracing::debug!(reason = status.message(), "release not taken");
            }
        }
    }

    /// Frees the operation on the server; one whose reader went away is interrupted first.
    async fn farewell(&mut self, abandoned: bool) {
        if let Some(call) = self.releasing.take() {
            _ = timeout(FAREWELL, call).await;
        }
        if abandoned {
            _ = timeout(FAREWELL, self.interrupt()).await;
        }
        let all = proto::release_execute_request::Release::ReleaseAll(Default::default());
        _ = timeout(FAREWELL, self.release(all)).await;
    }

    /// Interrupts the operation and waits for its end: one that is released while it still winds down stays "running"
    /// in the server's books for ever.
    async fn interrupt(&self) -> Result<()> {
        let id = self.operation_id().to_owned();
        self.client.interrupt(Interrupt::Operation(id.clone())).await?;
        if !self.client.version().at_least(4, 2) {
            tokio::time::sleep(WIND_DOWN).await; // older servers do not answer this
            return Ok(());
        }
        loop {
            let states = self.client.operation_states(vec![id.clone()]).await?;
            let running = |state| matches!(state, OperationState::Running | OperationState::Terminating);
            if !states.iter().any(|(_, state)| running(*state)) {
                return Ok(());
            }
            tokio::time::sleep(WIND_DOWN / 10).await;
        }
    }

    fn operation_id(&self) -> &str {
        self.request.operation_id()
    }

    fn incomplete(&self, reason: String) -> Error {
        Error::Incomplete {
            operation: self.operation_id().to_owned(),
            reason: format!("{reason} ({} rows had arrived)", self.assembler.rows()),
        }
    }
}
