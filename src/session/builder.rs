//! Settings of a session, and the process's own.

use std::{env, path::PathBuf, sync::Arc, time::Duration};

use std::sync::{Mutex, PoisonError};

use super::Session;
#[cfg(feature = "local-spark")]
use crate::connect::LocalSpark;
use crate::{
    Result,
    connect::{Client, ClientIdentity, ConnectOptions, Identity, RetryPolicy, SilencePolicy, TokenProvider},
};

/// Time limit of the check whether the shared session still exists.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);

/// The session that `get_or_create` shares.
static DEFAULT: Mutex<Option<Shared>> = Mutex::new(None);

/// A session, and the identity it was made for.
#[derive(Debug, Clone)]
struct Shared {
    session: Session,
    identity: Identity,
}

/// Serialises `get_or_create`, so that two calls at once make one session.
static CREATING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Settings of a session.
///
/// | setting | default |
/// |---|---|
/// | `remote` | `SPARK_REMOTE`, else a local Spark that is started on first use |
/// | `connect_timeout` | 15 s |
/// | `wait_for_server` | `connect_timeout` of the connection string, else 0 |
/// | `silence` | [`SilencePolicy::default`] |
/// | `retry` | [`RetryPolicy::default`] |
/// | `ca_file` | the system's certificates |
/// | `client_identity` | none |
/// | `token_provider` | the token of the connection string, else `SPARK_CONNECT_AUTHENTICATE_TOKEN`, unchanged |
/// | `proxy` | the environment's (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`) |
/// | `keep_alive` | 5 min |
/// | `app_name`, `config` | none |
#[derive(Debug, Clone, Default)]
pub struct SessionBuilder {
    remote: Option<String>,
    connect_timeout: Option<Duration>,
    wait_for_server: Option<Duration>,
    retry: Option<RetryPolicy>,
    silence: Option<SilencePolicy>,
    ca_file: Option<PathBuf>,
    client_identity: Option<ClientIdentity>,
    token_provider: Option<TokenProvider>,
    proxy: Option<String>,
    keep_alive: Option<Duration>,
    config: Vec<(String, String)>,
}

impl SessionBuilder {
    /// Sets the connection string, such as `sc://host:15002/;token=…`.
    pub fn remote(mut self, url: impl Into<String>) -> Self {
        self.remote = Some(url.into());
        self
    }

    /// Sets the time limit of the server's first answer.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = Some(timeout);
        self
    }

    /// Time to wait for a server that is still starting. Without it, a refused connection is an error within a second.
    pub fn wait_for_server(mut self, wait: Duration) -> Self {
        self.wait_for_server = Some(wait);
        self
    }

    /// Sets the retries of a broken connection.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = Some(policy);
        self
    }

    /// Sets the reaction to a server that says nothing of a running operation.
    pub fn silence(mut self, policy: SilencePolicy) -> Self {
        self.silence = Some(policy);
        self
    }

    /// Sets a file of certificates (PEM) to trust instead of the system's.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(path.into());
        self
    }

    /// Sets a certificate by which the server knows this client (mutual TLS), and its private key: PEM files.
    pub fn client_identity(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.client_identity = Some(ClientIdentity { certificate: certificate.into(), key: key.into() });
        self
    }

    /// Where tokens come from that run out.
    pub fn token_provider(mut self, provider: TokenProvider) -> Self {
        self.token_provider = Some(provider);
        self
    }

    /// Sets the interval of a cheap request that keeps the server from forgetting a session that is idle for an hour
    /// (during training, for example); 0 for never.
    pub fn keep_alive(mut self, every: Duration) -> Self {
        self.keep_alive = Some(every);
        self
    }

    /// Sets the application's name (`spark.app.name`).
    pub fn app_name(self, name: impl Into<String>) -> Self {
        self.config("spark.app.name", name)
    }

    /// Sets the HTTP proxy through which the server is reached, such as `http://proxy:3128`, instead of the
    /// environment's (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`).
    pub fn proxy(mut self, url: impl Into<String>) -> Self {
        self.proxy = Some(url.into());
        self
    }

    /// Sets a configuration property of the session.
    pub fn config(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.push((key.into(), value.into()));
        self
    }

    /// Returns the process's shared session, or makes it.
    ///
    /// The shared session serves whoever asks with the same identity: server, user, token, session id, headers, TLS and
    /// `ca_file`. Anybody else gets a new session, which is the shared one from then on. A builder without an address,
    /// where `SPARK_REMOTE` gives none either, takes the shared session unchanged. A session that was stopped or
    /// forgotten, or whose server was started again, is replaced.
    ///
    /// The builder's `config` is set on the session either way. The session lives on the Tokio runtime that made it; a
    /// program with several runtimes wants [`create`](Self::create).
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub async fn get_or_create(self) -> Result<Session> {
        let _one_at_a_time = CREATING.lock().await;
        if let Some(shared) = default_session()
            && self.is_for(&shared)?
        {
            match shared.session.client().check_session(SIGN_OF_LIFE).await {
                Ok(()) => {
                    shared.session.conf().set_all(&self.config).await?;
                    return Ok(shared.session);
                }
                Err(error) => tracing::info!(%error, "the shared session is gone; making another"),
            }
        }
        let options = self.options().await?;
        let identity = options.identity()?;
        let session = Self::connect(options, &self.config).await?;
        *DEFAULT.lock().unwrap_or_else(PoisonError::into_inner) = Some(Shared { session: session.clone(), identity });
        Ok(session)
    }

    /// Returns a new session.
    ///
    /// # Errors
    /// [`Error::BadAddress`](crate::Error::BadAddress), [`Error::Unreachable`](crate::Error::Unreachable) and
    /// [`Error::Unauthenticated`](crate::Error::Unauthenticated) as [`Client::connect`] has them;
    /// [`Error::Unsupported`](crate::Error::Unsupported) for a Spark before 3.5;
    /// [`Error::LocalSpark`](crate::Error::LocalSpark) when a local Spark is to be started and cannot be;
    /// [`Error::Server`](crate::Error::Server) for a setting that cannot be set.
    pub async fn create(self) -> Result<Session> {
        Self::connect(self.options().await?, &self.config).await
    }

    async fn connect(options: ConnectOptions, config: &[(String, String)]) -> Result<Session> {
        let session = Session::new(Client::connect(options).await?);
        session.conf().set_all(config).await?;
        Ok(session)
    }

    /// Returns the options of the connection; starts a local Spark when no address is given.
    async fn options(&self) -> Result<ConnectOptions> {
        match self.address() {
            Some(remote) => self.options_for(&remote),
            #[cfg(feature = "local-spark")]
            None => self.options_for(&LocalSpark::shared().await?.remote()),
            #[cfg(not(feature = "local-spark"))]
            None => Err(crate::Error::param(
                "remote",
                "none",
                "set (or SPARK_REMOTE), or the feature `local-spark` enabled",
            )),
        }
    }

    fn options_for(&self, remote: &str) -> Result<ConnectOptions> {
        let mut options = ConnectOptions::new(remote.parse()?);
        options.connect_timeout = self.connect_timeout.unwrap_or(options.connect_timeout);
        options.wait_for_server = self.wait_for_server.unwrap_or(options.wait_for_server);
        options.retry = self.retry.clone().unwrap_or(options.retry);
        options.silence = self.silence.clone().unwrap_or(options.silence);
        options.ca_file = self.ca_file.clone();
        options.client_identity = self.client_identity.clone();
        options.token_provider = self.token_provider.clone();
        options.proxy = self.proxy.clone();
        options.session_keep_alive = self.keep_alive.unwrap_or(options.session_keep_alive);
        Ok(options)
    }

    /// Returns the address given by the program, else by the environment.
    fn address(&self) -> Option<String> {
        self.remote.clone().or_else(|| env::var("SPARK_REMOTE").ok()).filter(|remote| !remote.is_empty())
    }

    fn is_for(&self, shared: &Shared) -> Result<bool> {
        match self.address() {
            Some(remote) => Ok(self.options_for(&remote)?.identity()? == shared.identity),
            None => Ok(true),
        }
    }
}

fn default_session() -> Option<Shared> {
    DEFAULT.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Gives up the shared session, if it is this one.
pub(super) fn forget(session: &Session) {
    let mut shared = DEFAULT.lock().unwrap_or_else(PoisonError::into_inner);
    if shared.as_ref().is_some_and(|known| Arc::ptr_eq(&known.session.context, &session.context)) {
        *shared = None;
    }
}
