//! A session's settings.

use std::collections::BTreeMap;

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

    /// Returns the settings that have been given a value, on the server or in the session, those whose keys begin with a
    /// prefix if there is one.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn get_all(&self, prefix: Option<&str>) -> Result<BTreeMap<String, String>> {
        let all = ask::GetAll { prefix: prefix.map(str::to_owned) };
        let answer = self.client.config(OpType::GetAll(all)).await?;
        // Spark gives the keys without the prefix.
        let whole = |key: String| format!("{}{key}", prefix.unwrap_or_default());
        Ok(answer.pairs.into_iter().filter_map(|pair| Some((whole(pair.key), pair.value?))).collect())
    }

    /// Returns whether a session can change a setting.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn is_modifiable(&self, key: &str) -> Result<bool> {
        let answer = self.client.config(OpType::IsModifiable(ask::IsModifiable { keys: vec![key.to_owned()] })).await?;
        Ok(answer.pairs.first().and_then(|pair| pair.value.as_deref()) == Some("true"))
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
