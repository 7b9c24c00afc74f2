//! Settings of a session, and the process's own.

use std::{env, path::PathBuf, sync::Arc, time::Duration};

use std::sync::{Mutex, PoisonError};

use super::Session;
use crate::{
    Result,
    connect::{Client, ConnectOptions, LocalSpark, RetryPolicy},
};

/// The session that `get_or_create` shares, with the address it was asked for.
static DEFAULT: Mutex<Option<Session>> = Mutex::new(None);

/// Serialises `get_or_create`, so that two calls at once make one session.
static CREATING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Settings of a session.
///
/// | setting | default |
/// |---|---|
/// | `remote` | `SPARK_REMOTE`, else a local Spark that is started on first use |
/// | `connect_timeout` | 15 s |
/// | `retry` | [`RetryPolicy::default`] |
/// | `ca_file` | the system's certificates |
/// | `keep_alive` | 5 min |
/// | `app_name`, `config` | none |
#[derive(Debug, Clone, Default)]
pub struct SessionBuilder {
    remote: Option<String>,
    connect_timeout: Option<Duration>,
    retry: Option<RetryPolicy>,
    ca_file: Option<PathBuf>,
    keep_alive: Option<Duration>,
    config: Vec<(String, String)>,
}

impl SessionBuilder {
    /// The connection string, such as `sc://host:15002/;token=…`.
    pub fn remote(mut self, url: impl Into<String>) -> Self {
        self.remote = Some(url.into());
        self
    }

    /// How long the server may take to answer at first.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = Some(timeout);
        self
    }

    /// How a broken connection is retried.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = Some(policy);
        self
    }

    /// A file of certificates (PEM) to trust instead of the system's.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(path.into());
        self
    }

    /// How often the server is asked something cheap, so that it does not forget a session that is silent for an hour
    /// (while a network trains on what was read, say); 0 for never.
    pub fn keep_alive(mut self, every: Duration) -> Self {
        self.keep_alive = Some(every);
        self
    }

    /// The application's name (`spark.app.name`).
    pub fn app_name(self, name: impl Into<String>) -> Self {
        self.config("spark.app.name", name)
    }

    /// A setting of the session.
    pub fn config(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.push((key.into(), value.into()));
        self
    }

    /// The process's shared session; made if there is none, or if the one there is at another address than `remote`.
    ///
    /// Its settings are set on it either way. It lives on the Tokio runtime that made it; a program with several
    /// runtimes wants [`create`](Self::create).
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub async fn get_or_create(self) -> Result<Session> {
        let _one_at_a_time = CREATING.lock().await;
        if let Some(session) = default_session()
            && self.is_for(&session)?
        {
            session.conf().set_all(&self.config).await?;
            return Ok(session);
        }
        let session = self.create().await?;
        *DEFAULT.lock().unwrap_or_else(PoisonError::into_inner) = Some(session.clone());
        Ok(session)
    }

    /// A new session.
    ///
    /// # Errors
    /// [`Error::BadAddress`](crate::Error::BadAddress), [`Error::Unreachable`](crate::Error::Unreachable) and
    /// [`Error::Unauthenticated`](crate::Error::Unauthenticated) as [`Client::connect`] has them;
    /// [`Error::Unsupported`](crate::Error::Unsupported) for a Spark before 3.5;
    /// [`Error::LocalSpark`](crate::Error::LocalSpark) when a local Spark is to be started and cannot be;
    /// [`Error::Server`](crate::Error::Server) for a setting that cannot be set.
    pub async fn create(self) -> Result<Session> {
        let remote = match self.wanted() {
            Some(remote) => remote,
            None => LocalSpark::shared().await?.remote(),
        };
        let mut options = ConnectOptions::new(remote.parse()?);
        if let Some(timeout) = self.connect_timeout {
            options.connect_timeout = timeout;
        }
        if let Some(retry) = self.retry {
            options.retry = retry;
        }
        options.ca_file = self.ca_file.or(options.ca_file);
        if let Some(every) = self.keep_alive {
            options.session_keep_alive = every;
        }
        let session = Session::new(Client::connect(options).await?);
        session.conf().set_all(&self.config).await?;
        Ok(session)
    }

    /// The address asked for, by the program or by the environment.
    fn wanted(&self) -> Option<String> {
        self.remote.clone().or_else(|| env::var("SPARK_REMOTE").ok()).filter(|remote| !remote.is_empty())
    }

    fn is_for(&self, session: &Session) -> Result<bool> {
        match &self.remote {
            Some(remote) => {
                let url: crate::connect::ConnectUrl = remote.parse()?;
                Ok(url.address() == session.client().address())
            }
            None => Ok(true),
        }
    }
}

fn default_session() -> Option<Session> {
    DEFAULT.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Gives up the shared session, if it is this one.
pub(super) fn forget(session: &Session) {
    let mut shared = DEFAULT.lock().unwrap_or_else(PoisonError::into_inner);
    if shared.as_ref().is_some_and(|known| Arc::ptr_eq(&known.context, &session.context)) {
        *shared = None;
    }
}
