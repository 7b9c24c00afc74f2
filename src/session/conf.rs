//! A session's settings.

use spark_connect_proto::{KeyValue, config_request as ask, config_request::operation::OpType};

use crate::{Result, connect::Client};

/// Reads and changes the settings of a session.
#[derive(Debug, Clone)]
pub struct RuntimeConfig {
    client: Client,
}

impl RuntimeConfig {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Returns the value of a setting, Spark's default included; `None` when it has none.
    ///
    /// # Errors
    /// [`Error::Server`](crate::Error::Server); [`Error::Unreachable`](crate::Error::Unreachable).
    pub async fn get(&self, key: &str) -> Result<Option<String>> {
        let answer = self.client.config(OpType::GetOption(ask::GetOption { keys: vec![key.to_owned()] })).await?;
        Ok(answer.pairs.into_iter().next().and_then(|pair| pair.value))
    }

    /// Gives a setting a value.
    ///
    /// # Errors
    /// [`Error::Server`](crate::Error::Server) for a value or a key that Spark does not take now;
    /// [`Error::Unreachable`](crate::Error::Unreachable).
    pub async fn set(&self, key: &str, value: impl ToString) -> Result<()> {
        self.set_all(&[(key.to_owned(), value.to_string())]).await
    }

    /// Gives a setting its default again.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub async fn unset(&self, key: &str) -> Result<()> {
        self.client.config(OpType::Unset(ask::Unset { keys: vec![key.to_owned()] })).await.map(drop)
    }

    pub(super) async fn set_all(&self, settings: &[(String, String)]) -> Result<()> {
        if settings.is_empty() {
            return Ok(());
        }
        let pair = |(key, value): &(String, String)| KeyValue { key: key.clone(), value: Some(value.clone()) };
        let pairs = settings.iter().map(pair).collect();
        let answer = self.client.config(OpType::Set(ask::Set { pairs, ..Default::default() })).await?;
        answer.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        Ok(())
    }
}
