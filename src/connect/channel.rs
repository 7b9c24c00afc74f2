//! Dialling: address, TLS and HTTP/2 settings for bulk results.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use tonic::transport::{self, Certificate, Channel, ClientTlsConfig, Endpoint};

use super::{proxy, retry::RetryPolicy, silence::SilencePolicy, token::TokenProvider, url::ConnectUrl};
use crate::{Error, Result};

/// Bytes one result stream may have under way.
///
/// A server keeps the last 10 MiB that it sent, so that a client whose connection broke can attach again; what lies
/// unread in the window when that happens must fit in it, together with one more message.
const STREAM_WINDOW: u32 = 8 << 20;

/// Bytes that all streams of a connection may have under way: so many that result streams whose reader rests can
/// never keep another call's answer from arriving.
const CONNECTION_WINDOW: u32 = 1 << 30;

/// Large frames: less overhead than HTTP/2's 16 KiB.
const FRAME: u32 = 1 << 20;

/// gRPC servers in Java close a connection that is pinged more often than every 5 minutes while nothing else is sent.
const HTTP2_KEEP_ALIVE: Duration = Duration::from_secs(330);

/// Longest time that a ping's answer is waited for.
const HTTP2_ANSWER: Duration = Duration::from_secs(20);

/// Time between two probes of a connection that went quiet; after three without an answer it counts as broken.
const TCP_PROBE: Duration = Duration::from_secs(10);

/// Settings of a connection: where the server is, and how long to try.
///
/// | field | default | purpose |
/// |---|---|---|
/// | `url` | – | where, as whom |
/// | `connect_timeout` | 15 s | longest time until the server has answered a first request |
/// | `wait_for_server` | `connect_timeout` of the connection string, else 0 | time during which refused and broken first connections are tried again, for a server that is still starting; 0: fail after a moment |
/// | `retry` | [`RetryPolicy::default`] | what happens when the connection breaks later |
/// | `silence` | [`SilencePolicy::default`] | what happens when the server says nothing of a running operation |
/// | `ca_file` | the system's roots | PEM file of the certificate authorities to trust, with TLS |
/// | `tls_domain` | the host | name that the server's certificate must carry |
/// | `client_identity` | none | certificate by which the server knows the client (mutual TLS) |
/// | `proxy` | the environment's (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`), never for this machine | HTTP proxy through which the server is reached, by `CONNECT` |
/// | `token_provider` | none | where tokens come from that run out, see [`TokenProvider`] |
/// | `tcp_keep_alive` | 30 s | idle time after which the operating system probes the connection |
/// | `http2_keep_alive` | 330 s | time without a byte after which the server is pinged; one that does not answer for 20 s, or as long again if that is less, counts as gone, and streams continue over a new connection |
/// | `session_keep_alive` | 5 min | time between two signs of life for the session, which a server forgets after an hour without; 0: none |
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// The parsed connection string.
    pub url: ConnectUrl,
    /// Longest time until the server has answered a first request.
    pub connect_timeout: Duration,
    /// Time during which refused and broken first connections are tried again; 0 fails after a moment.
    pub wait_for_server: Duration,
    /// Retries after the connection breaks later.
    pub retry: RetryPolicy,
    /// Reaction to a server that says nothing of a running operation.
    pub silence: SilencePolicy,
    /// PEM file of certificate authorities, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Name in the server's certificate, instead of the host.
    pub tls_domain: Option<String>,
    /// Certificate by which the server knows the client.
    pub client_identity: Option<ClientIdentity>,
    /// Address of an HTTP proxy, such as `http://user:password@proxy:3128`, instead of the environment's.
    pub proxy: Option<String>,
    /// Where tokens come from that run out.
    pub token_provider: Option<TokenProvider>,
    /// Idle time before the operating system probes the connection.
    pub tcp_keep_alive: Duration,
    /// Time without a byte before the server is pinged over HTTP/2.
    pub http2_keep_alive: Duration,
    /// Time between two signs of life for the session; 0 for none.
    pub session_keep_alive: Duration,
}

/// A certificate and its key, by which a server knows a client: PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientIdentity {
    /// The certificate, with those between it and the authority behind it.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Server, user, token, session, headers and trust of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    url: ConnectUrl,
    ca_file: Option<PathBuf>,
    tls_domain: Option<String>,
    client_identity: Option<ClientIdentity>,
    token_provider: Option<TokenProvider>,
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        let same_provider = match (&self.token_provider, &other.token_provider) {
            (Some(a), Some(b)) => a.is(b),
            (None, None) => true,
            _ => false,
        };
        let own = |of: &Self| (of.url.clone(), of.ca_file.clone(), of.tls_domain.clone(), of.client_identity.clone());
        same_provider && own(self) == own(other)
    }
}

impl ConnectOptions {
    /// Creates the defaults for an address.
    pub fn new(url: ConnectUrl) -> Self {
        Self {
            wait_for_server: url.wait_for_server().unwrap_or_default(),
            url,
            connect_timeout: Duration::from_secs(15),
            retry: RetryPolicy::default(),
            silence: SilencePolicy::default(),
            ca_file: None,
            tls_domain: None,
            client_identity: None,
            proxy: None,
            token_provider: None,
            tcp_keep_alive: Duration::from_secs(30),
            http2_keep_alive: HTTP2_KEEP_ALIVE,
            session_keep_alive: Duration::from_secs(300),
        }
    }

    /// User on whose behalf the session runs: `user_id` of the string, else `SPARK_USER`, `USER`, "tinderbox".
    pub(super) fn user(&self) -> String {
        let from = |name| std::env::var(name).ok().filter(|user: &String| !user.is_empty());
        let default = || from("SPARK_USER").or_else(|| from("USER")).unwrap_or_else(|| "tinderbox".into());
        self.url.user_id().map_or_else(default, str::to_owned)
    }

    /// Returns who talks to which server, and over what: the part of the options that a shared session must match.
    ///
    /// # Errors
    /// [`Error::BadAddress`] when the token of the environment cannot be sent.
    pub(crate) fn identity(&self) -> Result<Identity> {
        let url = self.url.clone().with_environment()?.identity(&self.user());
        Ok(Identity {
            url,
            ca_file: self.ca_file.clone(),
            tls_domain: self.tls_domain.clone(),
            client_identity: self.client_identity.clone(),
            token_provider: self.token_provider.clone(),
        })
    }

    /// Refuses settings that cannot work, before anything is dialled.
    ///
    /// # Errors
    /// [`Error::Param`] names the setting; [`Error::Io`] a `ca_file` that cannot be read.
    pub(super) fn check(&self) -> Result<()> {
        if self.connect_timeout.is_zero() {
            return Err(Error::param("connect_timeout", "0", "more than 0"));
        }
        if self.http2_keep_alive.is_zero() {
            return Err(Error::param("http2_keep_alive", "0", "more than 0"));
        }
        if self.silence.warn_after.is_zero() {
            return Err(Error::param("silence.warn_after", "0", "more than 0"));
        }
        let tls_only = [("ca_file", self.ca_file.is_some()), ("client_identity", self.client_identity.is_some())];
        if let Some((name, _)) = tls_only.iter().find(|(_, set)| *set && !self.url.use_ssl()) {
            let legal = "left out without TLS; add `use_ssl=true` to the connection string";
            return Err(Error::param(*name, "set", legal));
        }
        self.retry.check()
    }

    /// Returns a channel that dials when first used, and again after the connection broke.
    pub(super) async fn channel(&self) -> Result<Channel> {
        let address = self.url.address();
        let scheme = if self.url.use_ssl() { "https" } else { "http" };
        let refuse = |reason: String| Error::BadAddress { url: self.url.to_string(), reason };
        let mut endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))
            .map_err(|e| refuse(format!("`{address}` is not an address: {e}")))?
            .connect_timeout(self.connect_timeout)
            .tcp_nodelay(true)
            .tcp_keepalive(Some(self.tcp_keep_alive))
            .tcp_keepalive_interval(Some(TCP_PROBE))
            .tcp_keepalive_retries(Some(3))
            .http2_keep_alive_interval(self.http2_keep_alive)
            .keep_alive_timeout(self.http2_keep_alive.min(HTTP2_ANSWER))
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(FRAME);
        if self.url.use_ssl() {
            endpoint = endpoint.tls_config(self.tls().await?).map_err(|e| refuse(format!("TLS: {}", chain(&e))))?;
        }
        let way = proxy::way_to(endpoint.uri(), self.proxy.as_deref(), self.connect_timeout);
        match way.map_err(|reason| Error::param("proxy", reason, "an HTTP proxy, or none"))? {
            Some(way) => Ok(endpoint.connect_with_connector_lazy(way)),
            None => Ok(endpoint.connect_lazy()),
        }
    }

    async fn tls(&self) -> Result<ClientTlsConfig> {
        let mut tls = match &self.ca_file {
            None => ClientTlsConfig::new().with_native_roots(),
            Some(path) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem("ca_file", path).await?)),
        };
        if let Some(ClientIdentity { certificate, key }) = &self.client_identity {
            let (certificate, key) = (pem("client_identity", certificate).await?, pem("client_identity", key).await?);
            tls = tls.identity(transport::Identity::from_pem(certificate, key));
        }
        Ok(tls.domain_name(self.tls_domain.as_deref().unwrap_or(self.url.host())))
    }
}

/// Returns the content of a PEM file.
async fn pem(setting: &str, path: &Path) -> Result<Vec<u8>> {
    let pem = tokio::fs::read(path).await.map_err(|e| Error::io(path, e))?;
    match pem.windows(11).any(|window| window == b"-----BEGIN ") {
        true => Ok(pem),
        false => Err(Error::param(setting, path.display(), "a PEM file")),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |e| e.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
