//! Progress of an execution on the server.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use spark_connect_proto::execute_plan_response::ExecutionProgress;

/// A server's report on a running execution, sent about every two seconds.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// The stages so far; more may follow.
    pub stages: Vec<StageProgress>,
    /// Tasks running now.
    pub inflight_tasks: u64,
}

/// One stage of an execution.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StageProgress {
    /// Spark's id of the stage.
    pub stage_id: i64,
    /// Its tasks.
    pub tasks: u64,
    /// Number of tasks that are done.
    pub completed_tasks: u64,
    /// Bytes read from storage so far.
    pub input_bytes: u64,
    /// True once the stage is done.
    pub done: bool,
}

impl Progress {
    /// Tasks of all stages so far.
    pub fn tasks(&self) -> u64 {
        self.stages.iter().map(|s| s.tasks).sum()
    }

    /// Returns the number of completed tasks of all stages.
    pub fn completed_tasks(&self) -> u64 {
        self.stages.iter().map(|s| s.completed_tasks).sum()
    }

    /// Bytes read from storage by all stages.
    pub fn input_bytes(&self) -> u64 {
        self.stages.iter().map(|s| s.input_bytes).sum()
    }
}

impl From<ExecutionProgress> for Progress {
    fn from(message: ExecutionProgress) -> Self {
        let count = |n: i64| n.max(0) as u64;
        let stages = message.stages.into_iter().map(|s| StageProgress {
            stage_id: s.stage_id,
            tasks: count(s.num_tasks),
            completed_tasks: count(s.num_completed_tasks),
            input_bytes: count(s.input_bytes_read),
            done: s.done,
        });
        Progress { stages: stages.collect(), inflight_tasks: count(message.num_inflight_tasks) }
    }
}

type Handler = dyn Fn(&Progress) + Send + Sync;

/// The handlers of a session; each lives as long as its guard.
#[derive(Default)]
pub(super) struct ProgressHandlers(Mutex<Vec<Weak<Handler>>>);

/// Keeps a progress handler registered until dropped.
#[must_use = "the handler is removed when this is dropped"]
pub struct ProgressGuard(#[expect(dead_code, reason = "held for its reference count")] Arc<Handler>);

impl ProgressHandlers {
    pub(super) fn add(&self, handler: impl Fn(&Progress) + Send + Sync + 'static) -> ProgressGuard {
        let handler: Arc<Handler> = Arc::new(handler);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&handler));
        ProgressGuard(handler)
    }

    /// Tells every handler. None runs under the lock, so a handler may add or drop handlers.
    pub(super) fn tell(&self, progress: &Progress) {
        let live: Vec<_> = {
            let mut handlers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            handlers.retain(|h| h.strong_count() > 0);
            handlers.iter().filter_map(Weak::upgrade).collect()
        };
        live.iter().for_each(|handler| handler(progress));
    }
}

impl fmt::Debug for ProgressGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProgressGuard")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn a_handler_is_told_until_its_guard_is_dropped() {
        let handlers = ProgressHandlers::default();
        let sum = Arc::new(AtomicU64::new(0));
        let counter = sum.clone();
        let guard = handlers.add(move |p| _ = counter.fetch_add(p.completed_tasks(), Ordering::Relaxed));
        let stage = |completed_tasks| StageProgress { completed_tasks, ..Default::default() };
        let progress = Progress { stages: vec![stage(2), stage(3)], inflight_tasks: 1 };
        handlers.tell(&progress);
        drop(guard);
        handlers.tell(&progress);
        assert_eq!(sum.load(Ordering::Relaxed), 5);
    }
}
