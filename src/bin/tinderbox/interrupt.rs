//! Ctrl-C: the first asks a training run to stop where it can resume, the second ends any command at once.

use std::sync::atomic::{AtomicBool, Ordering};

use tinderbox::train::Stop;

/// Reaction to Ctrl-C.
#[derive(Debug, Default)]
pub(crate) struct Interrupt {
    stop: Stop,
    trains: AtomicBool,
    prompts: AtomicBool,
}

impl Interrupt {
    /// Returns the request to stop for a training run. From now on the first Ctrl-C is that request.
    pub(crate) fn for_training(&self) -> Stop {
        self.trains.store(true, Ordering::Relaxed);
        self.stop.clone()
    }

    /// Leaves Ctrl-C to a prompt, where it ends a query.
    pub(crate) fn for_prompt(&self) {
        self.prompts.store(true, Ordering::Relaxed);
    }

    /// Resolves when the command is to end at once. Dropping its future then interrupts its work on the cluster.
    pub(crate) async fn cancelled(&self) {
        loop {
            if tokio::signal::ctrl_c().await.is_err() {
                return std::future::pending().await;
            }
            if self.prompts.load(Ordering::Relaxed) {
                continue;
            }
            if !self.trains.load(Ordering::Relaxed) || self.stop.requested() {
                return;
            }
            self.stop.request();
            eprintln!("\nstopping after this step; press Ctrl-C again to end at once");
        }
    }
}
