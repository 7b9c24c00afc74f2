//! Keeps idle sessions alive: a server forgets one after an hour without a request.

use std::{sync::Weak, time::Duration};

use spark_connect_proto::analyze_plan_request as ask;
use tokio::sync::oneshot;

use super::client::{Client, Inner};

/// Ends the calls when dropped.
#[derive(Debug)]
pub(super) struct Alive(#[expect(dead_code, reason = "held to be dropped")] oneshot::Sender<()>);

/// Asks the server something cheap, now and then, until the client is gone or the session is lost.
pub(super) fn start(client: Weak<Inner>, every: Duration) -> Alive {
    let (alive, mut gone) = oneshot::channel();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = &mut gone => return,
                () = tokio::time::sleep(every) => {}
            }
            let Some(client) = client.upgrade().map(Client) else { return };
            match client.analyze(ask::Analyze::SparkVersion(ask::SparkVersion {})).await {
                Err(error) if error.is_session_lost() => {
                    tracing::warn!(session = client.session_id(), %error, "the server has forgotten this session");
                    return;
                }
                Err(error) => tracing::debug!(session = client.session_id(), %error, "no sign of life from the server"),
                Ok(_) => {}
            }
        }
    });
    Alive(alive)
}
