//! Background work that outlives its owner, and waiting for it.

use tokio::sync::watch;

/// Counts background work.
#[derive(Debug)]
pub(super) struct Settling(watch::Sender<usize>);

impl Default for Settling {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

/// One piece of background work, until dropped.
#[derive(Debug)]
pub(super) struct Unsettled(watch::Sender<usize>);

impl Settling {
    pub(super) fn begin(&self) -> Unsettled {
        self.0.send_modify(|n| *n += 1);
        Unsettled(self.0.clone())
    }

    pub(super) async fn settled(&self) {
        // The sender lives in `self`, so waiting cannot fail.
        _ = self.0.subscribe().wait_for(|n| *n == 0).await;
    }
}

impl Drop for Unsettled {
    fn drop(&mut self) {
        self.0.send_modify(|n| *n -= 1);
    }
}
