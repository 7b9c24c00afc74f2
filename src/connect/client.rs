//! One session on one server: its unary calls, one method each.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use futures::future::BoxFuture;
use spark_connect_proto::{
    self as proto, config_request::operation::OpType, spark_connect_service_client::SparkConnectServiceClient,
};
use tonic::{
    Code, Request, Response, Status,
    metadata::{Ascii, MetadataKey, MetadataValue},
};
use uuid::Uuid;

use super::{
    channel::ConnectOptions,
    execute::{ExecuteOptions, Execution},
    grpc_only::GrpcOnly,
    keep_alive::{self, Alive},
    progress::ProgressHandlers,
    retry::{Retries, RetryPolicy, is_transport_failure, server_wish},
    settle::Settling,
    silence::{Silence, SilencePolicy},
    status,
    token::Token,
    version::SparkVersion,
};
use crate::{Error, Result};

/// The generated stub.
pub(super) type Stub = SparkConnectServiceClient<GrpcOnly>;

/// Longest time that a failed call waits for the server's full account of the failure.
const DETAILS_TIMEOUT: Duration = Duration::from_secs(5);

/// A session on a Spark Connect server. A clone is the same session.
///
/// Every call is retried while the way to the server is broken, for as long as the [`RetryPolicy`] allows.
#[derive(Clone)]
pub struct Client(pub(super) Arc<Inner>);

pub(super) struct Inner {
    stub: Stub,
    address: String,
    session_id: String,
    user: proto::UserContext,
    client_type: String,
    headers: Vec<(MetadataKey<Ascii>, MetadataValue<Ascii>)>,
    token: Arc<Token>,
    retry: RetryPolicy,
    silence: SilencePolicy,
    /// The server's own id of the session: sent with every request, so that a restarted server says so.
    server_session: Mutex<Option<String>>,
    version: OnceLock<SparkVersion>,
    /// Settings made through this client and not unset since.
    settings: Mutex<BTreeMap<String, String>>,
    keep_alive: Duration,
    alive: OnceLock<Alive>,
    progress: Arc<ProgressHandlers>,
    settling: Settling,
}

impl Inner {
    /// Returns the same server, user and settings, watched by the same; another session.
    pub(super) fn beside(&self, session_id: String) -> Inner {
        Inner {
            stub: self.stub.clone(),
            address: self.address.clone(),
            session_id,
            user: self.user.clone(),
            client_type: self.client_type.clone(),
            headers: self.headers.clone(),
            token: self.token.clone(),
            retry: self.retry.clone(),
            silence: self.silence.clone(),
            server_session: Mutex::new(None),
            version: self.version.clone(),
            settings: Mutex::new(self.settings.lock().unwrap_or_else(PoisonError::into_inner).clone()),
            keep_alive: self.keep_alive,
            alive: OnceLock::new(),
            progress: self.progress.clone(),
            settling: Settling::default(),
        }
    }
}

/// The operations to interrupt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interrupt {
    /// Every running operation of the session.
    All,
    /// The operations that carry a tag.
    Tag(String),
    /// One operation, by its id.
    Operation(String),
}

/// State of an operation as the server reports it.
pub type OperationState = proto::get_status_response::operation_status::OperationState;

/// A request message with the fields that every request carries.
macro_rules! request {
    ($client:expr, $message:ident { $($field:ident $(: $value:expr)?),* $(,)? }) => {
        proto::$message {
            session_id: $client.session_id().to_owned(),
            user_context: Some($client.user().clone()),
            client_type: Some($client.client_type().to_owned()),
            client_observed_server_side_session_id: $client.server_session(),
            $($field $(: $value)?,)*
        }
    };
}
pub(super) use request;

impl Client {
    /// Connects, and requests the server's version.
    ///
    /// # Errors
    /// [`Error::Unreachable`] when no Spark Connect server answers within `connect_timeout`,
    /// [`Error::Unauthenticated`] when it refuses the credentials, [`Error::Unsupported`] when it is older than 3.5,
    /// [`Error::Param`] or [`Error::BadAddress`] for settings that cannot work.
    pub async fn connect(options: ConnectOptions) -> Result<Client> {
        let options = ConnectOptions { url: options.url.with_environment()?, ..options };
        options.check()?;
        let channel = options.channel().await?;
        let user = options.user();
        let client = Client(Arc::new(Inner {
            // A single row may be larger than any default limit.
            stub: Stub::new(GrpcOnly(channel)).max_decoding_message_size(usize::MAX),
            address: options.url.address(),
            session_id: options.url.session_id().unwrap_or_else(Uuid::new_v4).to_string(),
            user: proto::UserContext { user_id: user.clone(), user_name: user, ..Default::default() },
            client_type: options.url.client_type(),
            headers: headers(&options)?,
            token: Arc::new(Token::new(options.url.token(), options.token_provider.clone())?),
            retry: options.retry.clone(),
            silence: options.silence.clone(),
            server_session: Mutex::new(None),
            version: OnceLock::new(),
            settings: Mutex::default(),
            keep_alive: options.session_keep_alive,
            alive: OnceLock::new(),
            progress: Arc::default(),
            settling: Settling::default(),
        }));
        client.0.token.begin(client.address()).await?;
        let version = client.first_answer(options.connect_timeout, options.wait_for_server).await?;
        tracing::debug!(address = client.address(), session = client.session_id(), %version, "connected");
        _ = client.0.version.set(version);
        client.keep_alive();
        Ok(client)
    }

    /// Returns `host:port`.
    pub fn address(&self) -> &str {
        &self.0.address
    }

    /// Returns the session's id, chosen by the client.
    pub fn session_id(&self) -> &str {
        &self.0.session_id
    }

    /// Returns the user on whose behalf the session runs.
    pub fn user_id(&self) -> &str {
        &self.0.user.user_id
    }

    /// Returns the server's version.
    pub fn version(&self) -> &SparkVersion {
        self.0.version.get().expect("set before the client is handed out")
    }

    /// Asks about a plan: its schema, its explanation, whether it is local …
    ///
    /// # Errors
    /// [`Error::Server`] when Spark cannot analyse the plan; [`Error::Unreachable`].
    pub async fn analyze(
        &self,
        what: proto::analyze_plan_request::Analyze,
    ) -> Result<proto::analyze_plan_response::Result> {
        let message = request!(self, AnalyzePlanRequest { analyze: Some(what) });
        let answer = self.call(message, |mut s, r| Box::pin(async move { s.analyze_plan(r).await })).await?;
        self.note_server_session(&answer.server_side_session_id);
        answer.result.ok_or_else(|| self.empty_answer("AnalyzePlan"))
    }

    /// Reads or changes the session's configuration.
    ///
    /// # Errors
    /// [`Error::Server`] for an unknown or read-only key; [`Error::Unreachable`].
    pub async fn config(&self, what: OpType) -> Result<proto::ConfigResponse> {
        let operation = proto::config_request::Operation { op_type: Some(what.clone()) };
        let message = request!(self, ConfigRequest { operation: Some(operation) });
        let answer = self.call(message, |mut s, r| Box::pin(async move { s.config(r).await })).await?;
        self.note_server_session(&answer.server_side_session_id);
        match what {
            OpType::Set(set) => {
                let set = set.pairs.into_iter().map(|pair| (pair.key, pair.value.unwrap_or_default()));
                self.settings().extend(set);
            }
            OpType::Unset(unset) => self.settings().retain(|key, _| !unset.keys.contains(key)),
            _ => {}
        }
        Ok(answer)
    }

    /// Interrupts running operations; returns their ids.
    ///
    /// # Errors
    /// [`Error::Server`]; [`Error::Unreachable`].
    pub async fn interrupt(&self, what: Interrupt) -> Result<Vec<String>> {
        use proto::interrupt_request::{Interrupt as By, InterruptType};
        let (kind, by) = match what {
            Interrupt::All => (InterruptType::All, None),
            Interrupt::Tag(tag) => (InterruptType::Tag, Some(By::OperationTag(tag))),
            Interrupt::Operation(id) => (InterruptType::OperationId, Some(By::OperationId(id))),
        };
        let message = request!(self, InterruptRequest { interrupt_type: kind.into(), interrupt: by });
        let answer = self.call(message, |mut s, r| Box::pin(async move { s.interrupt(r).await })).await?;
        Ok(answer.interrupted_ids)
    }

    /// Returns the server's view of operations of this session (Spark 4.2 or later); all that it remembers when `ids`
    /// is empty.
    ///
    /// # Errors
    /// [`Error::Unsupported`] before Spark 4.2; [`Error::Server`]; [`Error::Unreachable`].
    pub async fn operation_states(&self, ids: Vec<String>) -> Result<Vec<(String, OperationState)>> {
        self.version().require("asking for the state of operations", 4, 2)?;
        let wanted = proto::get_status_request::OperationStatusRequest { operation_ids: ids, ..Default::default() };
        let message = request!(self, GetStatusRequest { operation_status: Some(wanted), extensions: Vec::new() });
        let answer = self.call(message, |mut s, r| Box::pin(async move { s.get_status(r).await })).await?;
        Ok(answer.operation_statuses.into_iter().map(|s| (s.operation_id.clone(), s.state())).collect())
    }

    /// Ends the session on the server: temporary views, caches and artifacts go.
    ///
    /// Waits first for executions that were dropped to be released.
    ///
    /// # Errors
    /// [`Error::Server`]; [`Error::Unreachable`].
    pub async fn release_session(&self) -> Result<()> {
        self.settle().await;
        let message = proto::ReleaseSessionRequest {
            session_id: self.0.session_id.clone(),
            user_context: Some(self.0.user.clone()),
            client_type: Some(self.0.client_type.clone()),
            ..Default::default()
        };
        self.call(message, |mut s, r| Box::pin(async move { s.release_session(r).await })).await?;
        Ok(())
    }

    /// Executes a plan; the stream of its results starts when first polled.
    ///
    /// Must be polled within a Tokio runtime.
    pub fn execute(&self, plan: proto::Plan, options: ExecuteOptions) -> Execution {
        Execution::new(self.clone(), plan, options)
    }

    /// Calls `handler` with every progress message of this session's executions, until the returned guard is dropped.
    pub fn on_progress(
        &self,
        handler: impl Fn(&super::Progress) + Send + Sync + 'static,
    ) -> super::progress::ProgressGuard {
        self.0.progress.add(handler)
    }

    /// Waits until every execution that was dropped half-way has been interrupted and released on the server, which
    /// happens in the background; call it before the runtime ends.
    pub async fn settle(&self) {
        self.0.settling.settled().await;
    }

    /// Keeps the session from being forgotten, as long as a clone of this client exists.
    pub(super) fn keep_alive(&self) {
        if !self.0.keep_alive.is_zero() {
            _ = self.0.alive.set(keep_alive::start(Arc::downgrade(&self.0), self.0.keep_alive));
        }
    }

    /// Returns the settings made through this client.
    pub(super) fn settings(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.0.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn user(&self) -> &proto::UserContext {
        &self.0.user
    }

    pub(super) fn client_type(&self) -> &str {
        &self.0.client_type
    }

    pub(super) fn progress_handlers(&self) -> &ProgressHandlers {
        &self.0.progress
    }

    /// Does `work` in the background; [`settle`](Self::settle) waits for it. Nothing happens outside a Tokio runtime.
    pub(crate) fn in_background(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let unsettled = self.settling().begin();
            runtime.spawn(async move {
                work.await;
                drop(unsettled);
            });
        }
    }

    pub(super) fn settling(&self) -> &Settling {
        &self.0.settling
    }

    pub(super) fn retries(&self) -> Retries {
        Retries::new(self.0.retry.clone())
    }

    pub(super) fn silence(&self) -> Silence {
        Silence::new(self.0.silence.clone())
    }

    pub(super) fn stub(&self) -> Stub {
        self.0.stub.clone()
    }

    pub(super) fn server_session(&self) -> Option<String> {
        self.0.server_session.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn note_server_session(&self, id: &str) {
        if !id.is_empty() {
            let mut known = self.0.server_session.lock().unwrap_or_else(PoisonError::into_inner);
            known.get_or_insert_with(|| id.to_owned());
        }
    }

    /// Returns the number of the token that requests carry now.
    pub(super) fn token_number(&self) -> u64 {
        self.0.token.current().0
    }

    /// Returns whether a failure came from a token that has been replaced, so that a retry helps; `used` is its number.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] when the provider has no other.
    pub(super) async fn has_other_token(&self, failure: &Status, used: u64) -> Result<bool> {
        match failure.code() {
            Code::Unauthenticated => self.0.token.renew(used, self.address()).await,
            _ => Ok(false),
        }
    }

    /// Puts the headers of the connection string and the token on a message.
    pub(super) fn wrap<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        for (name, value) in &self.0.headers {
            request.metadata_mut().append(name.clone(), value.clone());
        }
        if let (_, Some(token)) = self.0.token.current() {
            request.metadata_mut().append("authorization", token);
        }
        request
    }

    /// Returns one unary call, retried while the way to the server is broken. Every call of the protocol may be
    /// repeated.
    pub(super) async fn call<T, R>(
        &self,
        message: T,
        call: impl Fn(Stub, Request<T>) -> BoxFuture<'static, Result<Response<R>, Status>> + Send,
    ) -> Result<R>
    where
        T: Clone + Send,
    {
        let mut retries = self.retries();
        let mut renewed = false;
        loop {
            let token = self.token_number();
            let failure = match call(self.stub(), self.wrap(message.clone())).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) => status,
            };
            if !renewed && self.has_other_token(&failure, token).await? {
                renewed = true;
                continue;
            }
            if !is_transport_failure(&failure) {
                return Err(self.failure(failure).await);
            }
            match retries.next_delay(server_wish(&failure)) {
                Some(delay) => tokio::time::sleep(delay).await,
                None => return Err(status::unreachable(&failure, retries.failing_for(), self.address())),
            }
        }
    }

    /// Returns the error for a status that is not retried, with the server's full account of it where there is one.
    pub(super) async fn failure(&self, status: Status) -> Error {
        let full = match status::error_id(&status) {
            Some(error_id) => {
                let message = request!(self, FetchErrorDetailsRequest { error_id });
                let mut stub = self.stub();
                let asked = tokio::time::timeout(DETAILS_TIMEOUT, stub.fetch_error_details(self.wrap(message)));
                asked.await.ok().and_then(Result::ok).map(Response::into_inner)
            }
            None => None,
        };
        match status::to_error(status, full, self.address()) {
            Error::Unauthenticated { address, reason } if self.0.version.get().is_some() => {
                let reason = format!("{reason}; what was sent before was taken: has the token run out?");
                Error::Unauthenticated { address, reason }
            }
            error => error,
        }
    }

    pub(super) fn empty_answer(&self, call: &str) -> Error {
        Error::Incomplete { operation: call.into(), reason: format!("{} answered with nothing in it", self.address()) }
    }

    /// Returns which of the named artifacts the server holds.
    pub(super) async fn artifacts_present(&self, names: Vec<String>) -> Result<HashMap<String, bool>> {
        let message = request!(self, ArtifactStatusesRequest { names });
        let answer = self.call(message, |mut s, r| Box::pin(async move { s.artifact_status(r).await })).await?;
        Ok(answer.statuses.into_iter().map(|(name, status)| (name, status.exists)).collect())
    }

    /// Asks the server whether it still has this session.
    ///
    /// # Errors
    /// As any call; [`Error::is_session_lost`] when the session was released or forgotten, or the server was started
    /// again.
    pub(crate) async fn check_session(&self, limit: Duration) -> Result<()> {
        self.first_answer(limit, Duration::ZERO).await.map(drop)
    }

    /// Returns the server's version, within the time allowed for connecting.
    ///
    /// A refused connection is tried again for a moment only, unless `wait` says that the server is still starting: a
    /// wrong address deserves a quick answer.
    async fn first_answer(&self, limit: Duration, wait: Duration) -> Result<SparkVersion> {
        use proto::{analyze_plan_request as ask, analyze_plan_response as answer};
        const REFUSALS: u32 = 3;
        let started = Instant::now();
        let mut retries = Retries::new(RetryPolicy { give_up_after: limit.max(wait), ..self.0.retry.clone() });
        let (mut refusals, mut renewed) = (0, false);
        let answer = loop {
            let token = self.token_number();
            let message =
                request!(self, AnalyzePlanRequest { analyze: Some(ask::Analyze::SparkVersion(ask::SparkVersion {})) });
            let mut stub = self.stub();
            let left = limit.max(wait).saturating_sub(started.elapsed()).max(Duration::from_millis(100));
            let (error, wish) = match tokio::time::timeout(limit.min(left), stub.analyze_plan(self.wrap(message))).await
            {
                Ok(Ok(answer)) => break answer.into_inner(),
                Ok(Err(status)) if !renewed && self.has_other_token(&status, token).await? => {
                    renewed = true;
                    continue;
                }
                Ok(Err(status)) if !is_transport_failure(&status) => return Err(self.failure(status).await),
                Ok(Err(status)) => {
                    (status::unreachable(&status, started.elapsed(), self.address()), server_wish(&status))
                }
                Err(_) => (self.silent(started.elapsed()), None),
            };
            refusals += 1;
            let patient = started.elapsed() < wait || (refusals < REFUSALS && started.elapsed() < limit);
            let Some(delay) = retries.next_delay(wish).filter(|_| patient) else { return Err(error) };
            tracing::warn!(address = self.address(), %error, "no answer yet, trying again");
            tokio::time::sleep(delay).await;
        };
        self.note_server_session(&answer.server_side_session_id);
        match answer.result {
            Some(answer::Result::SparkVersion(found)) => SparkVersion::parse(&found.version),
            _ => Err(self.empty_answer("AnalyzePlan(SparkVersion)")),
        }
    }

    fn silent(&self, waited: Duration) -> Error {
        let reason = "nothing answered; is it a Spark Connect server? (`connect_timeout` sets the limit)".into();
        Error::Unreachable { address: self.address().into(), waited, reason }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("address", &self.address()).field("session_id", &self.session_id()).finish()
    }
}

/// Returns the caller's headers, marked so that they are never logged.
fn headers(options: &ConnectOptions) -> Result<Vec<(MetadataKey<Ascii>, MetadataValue<Ascii>)>> {
    let refuse = |name: &str| Error::BadAddress {
        url: options.url.to_string(),
        reason: format!("`{name}` cannot be sent as a header"),
    };
    let mut headers = Vec::new();
    for (name, value) in options.url.headers() {
        let key = name.parse().map_err(|_| refuse(name))?;
        let mut value = value.parse::<MetadataValue<Ascii>>().map_err(|_| refuse(name))?;
        value.set_sensitive(true);
        headers.push((key, value));
    }
    Ok(headers)
}
