//! Servers that stay connected and say nothing of an operation.

use std::time::{Duration, Instant};

use super::{client::Client, progress::Progress};
use crate::{Error, Result};

/// Time limit of the server's answer about a silent operation.
const ANSWER: Duration = Duration::from_secs(5);

/// Reaction to a server that reports nothing new about a running operation: no rows, no answer, no task begun or
/// completed.
///
/// A server whose scheduler died, of too little memory for example, answers calls and never completes an operation. A
/// long optimisation of a plan looks the same from outside.
///
/// | field | default | purpose |
/// |---|---|---|
/// | `warn_after` | 60 s | time after which the client asks the server about the operation, and logs its answer as a warning; again after as long |
/// | `give_up_after` | none | time after which the operation is interrupted and fails with [`Error::Silent`] |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SilencePolicy {
    /// Time after which the client asks the server, and logs a warning.
    pub warn_after: Duration,
    /// Time after which the operation fails; `None` for never.
    pub give_up_after: Option<Duration>,
}

impl Default for SilencePolicy {
    fn default() -> Self {
        Self { warn_after: Duration::from_secs(60), give_up_after: None }
    }
}

/// Time since the last news of one operation.
#[derive(Debug)]
pub(super) struct Silence {
    policy: SilencePolicy,
    since: Instant,
    warned: u32,
    progress: Option<Progress>,
}

impl Silence {
    pub(super) fn new(policy: SilencePolicy) -> Self {
        Self { policy, since: Instant::now(), warned: 0, progress: None }
    }

    /// Takes note of news.
    pub(super) fn broken(&mut self) {
        self.since = Instant::now();
        self.warned = 0;
    }

    /// Takes note of a progress report, which is news if it differs from the last one.
    pub(super) fn reported(&mut self, progress: &Progress) {
        if self.progress.as_ref() != Some(progress) {
            self.progress = Some(progress.clone());
            self.broken();
        }
    }

    /// Resolves when something is due: a warning or the end.
    pub(super) async fn lasts(&self) {
        let warning = self.policy.warn_after.saturating_mul(self.warned + 1);
        let due = self.policy.give_up_after.map_or(warning, |end| end.min(warning));
        tokio::time::sleep(due.saturating_sub(self.since.elapsed())).await;
    }

    /// Asks the server about the operation and warns; fails when the time is over.
    pub(super) async fn ask(&mut self, client: &Client, operation: &str) -> Result<()> {
        let waited = self.since.elapsed();
        let state = state(client, operation).await;
        if self.policy.give_up_after.is_some_and(|end| waited >= end) {
            return Err(Error::Silent { operation: operation.to_owned(), waited, state });
        }
        self.warned += 1;
        let tasks = self.progress.as_ref().map_or(0, |progress| progress.inflight_tasks);
        tracing::warn!(operation, waited_s = waited.as_secs(), tasks, "no news of a running operation: {state}");
        Ok(())
    }
}

/// Returns the server's account of the operation.
async fn state(client: &Client, operation: &str) -> String {
    let asked = async {
        match client.version().at_least(4, 2) {
            true => client.operation_states(vec![operation.to_owned()]).await.map(|states| {
                let state = states.first().map(|(_, state)| state.as_str_name().trim_start_matches("OPERATION_STATE_"));
                state.unwrap_or("unknown").to_ascii_lowercase()
            }),
            // Older servers do not tell states.
            false => client.check_session(ANSWER).await.map(|()| "running, as far as it says".to_owned()),
        }
    };
    match tokio::time::timeout(ANSWER, asked).await {
        Ok(Ok(state)) => format!("the server answers, and says that it is {state}"),
        Ok(Err(error)) => format!("the server answers: {error}"),
        Err(_) => "the server does not answer".to_owned(),
    }
}
