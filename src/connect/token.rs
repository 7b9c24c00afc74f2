//! The token that requests carry, and where another comes from when it has run out.

use std::{
    error::Error as StdError,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use futures::future::BoxFuture;
use tonic::metadata::{Ascii, MetadataValue};

use crate::{Error, Result};

type Provided = std::result::Result<String, Box<dyn StdError + Send + Sync>>;

/// Source of tokens that expire: a function that gives the first one, and another whenever the server
/// refuses the one before.
///
/// Requests that were refused are sent again with the new token, so that a long run continues. A token that is refused
/// though it is new is an error. No token is ever logged.
///
/// ```
/// use tinderbox::connect::TokenProvider;
///
/// let provider = TokenProvider::new(|| async { std::fs::read_to_string("/run/secrets/token") });
/// ```
#[derive(Clone)]
pub struct TokenProvider(Arc<dyn Fn() -> BoxFuture<'static, Provided> + Send + Sync>);

impl TokenProvider {
    /// Creates a provider that asks this function. White space around a token does not count.
    pub fn new<F, W, E>(provide: F) -> Self
    where
        F: Fn() -> W + Send + Sync + 'static,
        W: Future<Output = std::result::Result<String, E>> + Send + 'static,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        Self(Arc::new(move || {
            let asked = provide();
            Box::pin(async move { asked.await.map_err(Into::into) })
        }))
    }

    /// Returns whether both are the same function.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for TokenProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenProvider")
    }
}

/// The token of a connection.
#[derive(Debug)]
pub(super) struct Token {
    /// Number of tokens so far, and the last one.
    current: Mutex<(u64, Option<MetadataValue<Ascii>>)>,
    provider: Option<TokenProvider>,
    /// One asks for another at a time.
    renewing: tokio::sync::Mutex<()>,
}

impl Token {
    /// # Errors
    /// [`Error::Param`] for a token that cannot be sent.
    pub(super) fn new(token: Option<&str>, provider: Option<TokenProvider>) -> Result<Self> {
        let value = token.map(header).transpose()?;
        Ok(Self { current: Mutex::new((0, value)), provider, renewing: Default::default() })
    }

    /// Returns the token to send, and its number.
    pub(super) fn current(&self) -> (u64, Option<MetadataValue<Ascii>>) {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks the provider for the first token, unless the connection string has one.
    ///
    /// # Errors
    /// As [`renew`](Self::renew).
    pub(super) async fn begin(&self, address: &str) -> Result<()> {
        match self.current() {
            (0, None) => self.renew(0, address).await.map(drop),
            _ => Ok(()),
        }
    }

    /// Asks for another token than the one of a number, which the server refused. Returns whether there is one: none
    /// without a provider.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] when the provider has none.
    pub(super) async fn renew(&self, refused: u64, address: &str) -> Result<bool> {
        let Some(provider) = &self.provider else { return Ok(false) };
        let _one_at_a_time = self.renewing.lock().await;
        if self.current().0 > refused {
            return Ok(true);
        }
        tracing::debug!("asking for another token");
        let token = (provider.0)().await.map_err(|error| Error::Unauthenticated {
            address: address.to_owned(),
            reason: format!("the token provider failed: {error}"),
        })?;
        let value = header(token.trim())?;
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = (refused + 1, Some(value));
        Ok(true)
    }
}

/// Returns the header of a token, marked so that it is never logged.
fn header(token: &str) -> Result<MetadataValue<Ascii>> {
    let header = format!("Bearer {token}").parse::<MetadataValue<Ascii>>();
    let mut header =
        header.map_err(|_| Error::param("token", "one that cannot be sent", "visible ASCII characters"))?;
    header.set_sensitive(true);
    Ok(header)
}
