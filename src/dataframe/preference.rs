//! Settings that the work is better with, on servers that allow them.

use spark_connect_proto::{KeyValue, config_request as ask, config_request::operation::OpType};

use crate::{Error, Result, connect::Client};

/// Changes settings of the client's session, for what `purpose` names; a server's refusal is passed over.
///
/// # Errors
/// [`Error::Unreachable`]; [`Error::Server`] when the session is lost.
pub(super) async fn prefer(client: &Client, purpose: &str, settings: Vec<(&str, String)>) -> Result<()> {
    let pair = |(key, value): (&str, String)| KeyValue { key: key.to_owned(), value: Some(value) };
    let pairs = settings.into_iter().map(pair).collect();
    let set = client.config(OpType::Set(ask::Set { pairs, ..Default::default() })).await;
    Error::pass_over(set.map(drop), purpose)
}
