//! Observers of a training run.

#[cfg(feature = "progress")]
mod progress;
mod tensorboard;

use std::time::Duration;

#[cfg(feature = "progress")]
pub use progress::ProgressObserver;
pub use tensorboard::TensorBoard;

use crate::model::{EpochRecord, History, Metric};

/// Receives the progress of training. Every method does nothing by default; all are called in order, `reading` from the
/// thread that decodes rows and the others from the training thread, so a slow one slows training.
pub trait Observer: Send + Sync {
    /// Rows are being read; `rows` have arrived so far. No longer called once training has begun.
    fn reading(&self, rows: u64) {
        let _ = rows;
    }

    /// Training begins. More rows may still arrive.
    fn begin(&self, run: &Run) {
        let _ = run;
    }

    /// A step was taken.
    fn step(&self, step: &StepRecord) {
        let _ = step;
    }

    /// An epoch is over.
    fn epoch(&self, epoch: &EpochRecord) {
        let _ = epoch;
    }

    /// Training is over. Not called when it fails or is cancelled.
    fn end(&self, history: &History) {
        let _ = history;
    }
}

/// Facts about the run that begins. When the first epoch trains while rows arrive, numbers of rows and steps are
/// the expected ones; 0 when unknown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Run {
    /// Epochs asked for.
    pub epochs: usize,
    /// Steps per epoch.
    pub steps: usize,
    /// Training rows.
    pub rows: usize,
    /// Rows held out.
    pub held_out: usize,
    /// Rows left out because they could not be used.
    pub skipped: u64,
    /// Numbers to learn.
    pub parameters: usize,
    /// The classes' or targets' names.
    pub classes: Vec<String>,
    /// Metric of epochs.
    pub metric: Metric,
    /// The devices, one replica each.
    pub devices: String,
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct StepRecord {
    /// The epoch, from 0.
    pub epoch: usize,
    /// The step over all epochs, from 0.
    pub step: usize,
    /// Rows in the minibatch.
    pub rows: usize,
    /// The minibatch's weighted mean loss, before the step.
    pub loss: f64,
    /// The step's learning rate.
    pub learning_rate: f64,
    /// Time that the training thread waited for the minibatch.
    pub waited: Duration,
    /// Duration of the step.
    pub took: Duration,
    /// Parts of that.
    pub parts: StepParts,
}

/// Parts of a step's time; with several replicas, that of the slowest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StepParts {
    /// The forward pass and the loss.
    pub forward: Duration,
    /// The backward pass.
    pub backward: Duration,
    /// Adding up the replicas' gradients.
    pub reduce: Duration,
    /// The optimizer.
    pub step: Duration,
}

impl StepParts {
    pub(super) fn add(&mut self, other: StepParts) {
        self.forward += other.forward;
        self.backward += other.backward;
        self.reduce += other.reduce;
        self.step += other.step;
    }
}
