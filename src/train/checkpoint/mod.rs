//! Checkpoints: a killed run resumes from the last one.

mod format;
mod keeper;
mod place;

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

pub(super) use self::keeper::{Keeper, is_finite, run_identity};
pub use self::place::CheckpointPlace;
use self::{
    format::{decode, encode},
    place::Folder,
};
use super::{OptimizerState, Plateau, loss_scale::LossScale, replica::LossTally, row_sum::RowSum, stop::LowestLoss};
use crate::{Error, Result, model::History, nn::Weights, number};

/// Where and when a training run writes checkpoints.
///
/// A checkpoint holds the whole state of a run: weights, optimizer, position in the data, history, schedule and the
/// best weights if they are wanted; random numbers follow from the seed and the position. A run that finds its own
/// checkpoint in the place resumes from it, and on the processor ends with exactly the weights of an undisturbed run.
/// Use a place for one run.
///
/// That takes the same rows in the same order: rows that were held out would be trained on otherwise. Number and
/// checksum of the rows are kept, and a run that resumes on others is refused unless
/// [`accept_other_rows`](Self::accept_other_rows) says so. A run that ended by early stopping or convergence is over:
/// started again, it gives its model and a warning, whatever the number of epochs.
///
/// In a folder a file is written under another name, brought to the disk, and then renamed: it exists whole or not at
/// all.
#[derive(Debug, Clone)]
pub struct Checkpoints {
    place: Arc<dyn CheckpointPlace>,
    steps: Option<usize>,
    epochs: Option<usize>,
    time: Option<Duration>,
    keep: usize,
    keep_best: usize,
    accept_other_rows: bool,
}

/// The network of a checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckpointNetwork {
    /// The epochs that were over by then.
    pub history: History,
    /// The network's weights.
    pub weights: Weights,
}

/// Progress of a run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct RunProgress {
    pub(super) epoch: usize,
    pub(super) step_in_epoch: usize,
    /// Over all epochs.
    pub(super) step: usize,
    /// True if training is over, though epochs may be left.
    pub(super) over: bool,
    /// Sums of the epoch's steps so far.
    pub(super) tally: LossTally,
    pub(super) history: History,
    pub(super) plateau: Plateau,
    pub(super) lowest: LowestLoss,
    /// The losses of the best epochs so far and the steps of their checkpoints, the lowest loss first.
    #[serde(default, with = "number::counted")]
    pub(super) best: Vec<(f64, u64)>,
    /// In half precision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) loss_scale: Option<LossScale>,
    /// Seconds since training began, interruptions left out.
    pub(super) seconds: f64,
    /// The rows that the run reads; none in its first epoch, before all of them came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) rows: Option<RowSum>,
}

/// A run at one moment.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Checkpoint {
    /// Checksum of the run's settings, so that no other run resumes from it.
    pub(super) run: String,
    pub(super) course: RunProgress,
    pub(super) weights: Weights,
    pub(super) optimizer: OptimizerState,
    pub(super) best: Option<Weights>,
}

impl Checkpoints {
    /// Writes into `folder`, created if missing: after every epoch, the last two kept.
    pub fn new(folder: impl AsRef<Path>) -> Self {
        Self::at(Arc::new(Folder(folder.as_ref().to_path_buf())))
    }

    /// Writes to another place: after every epoch, the last two kept.
    pub fn at(place: Arc<dyn CheckpointPlace>) -> Self {
        Self { place, steps: None, epochs: Some(1), time: None, keep: 2, keep_best: 0, accept_other_rows: false }
    }

    /// Writes after every so many steps too (at least 1).
    pub fn every_steps(mut self, steps: usize) -> Self {
        self.steps = Some(steps.max(1));
        self
    }

    /// Writes after every so many epochs (default 1); 0 leaves the ends of epochs alone.
    pub fn every_epochs(mut self, epochs: usize) -> Self {
        self.epochs = (epochs > 0).then_some(epochs);
        self
    }

    /// Writes after the first step that ends so long after the last checkpoint too.
    pub fn every(mut self, time: Duration) -> Self {
        self.time = Some(time);
        self
    }

    /// Keeps so many of the latest (default 2, at least 1).
    pub fn keep(mut self, latest: usize) -> Self {
        self.keep = latest.max(1);
        self
    }

    /// Keeps the checkpoints of so many epochs with the lowest losses too (default 0), on the validation rows or else
    /// on the training rows. They are written at their epoch's end in any case.
    pub fn keep_best(mut self, epochs: usize) -> Self {
        self.keep_best = epochs;
        self
    }

    /// Resumes on a table that changed since the checkpoint was written, with a warning. Rows that were held out before
    /// may be trained on then, so that metrics of held-out rows mean less.
    pub fn accept_other_rows(mut self) -> Self {
        self.accept_other_rows = true;
        self
    }

    /// Returns the steps after which the checkpoints that are there were written, the latest last.
    ///
    /// # Errors
    /// [`Error::Io`] when the place cannot be read.
    pub fn steps(&self) -> Result<Vec<u64>> {
        let step = |name: String| name.strip_prefix("step-")?.strip_suffix(".tinder")?.parse().ok();
        let mut steps: Vec<u64> = self.place.names()?.into_iter().filter_map(step).collect();
        steps.sort_unstable();
        steps.dedup();
        Ok(steps)
    }

    /// Reads the checkpoint that was written after a step.
    ///
    /// # Errors
    /// [`Error::Io`] when it is missing, or damaged.
    pub fn open(&self, step: u64) -> Result<CheckpointNetwork> {
        let Checkpoint { course, weights, .. } = self.read(step)?;
        Ok(CheckpointNetwork { history: course.history, weights })
    }

    /// Removes all checkpoints, so that the next run begins anew. Other things in the place stay.
    ///
    /// # Errors
    /// [`Error::Io`] when the place cannot be changed.
    pub fn clear(&self) -> Result<()> {
        let names: Vec<String> = self.steps()?.into_iter().map(name).collect();
        if names.is_empty() { Ok(()) } else { self.place.remove(&names) }
    }

    fn read(&self, step: u64) -> Result<Checkpoint> {
        let name = name(step);
        let bytes = self.place.read(&name)?;
        decode(&format!("{}/{name}", self.place.describe()), &bytes)
    }

    /// Returns whether a checkpoint is due after a step, the last having been written at `last`.
    fn is_due_after_step(&self, step: usize, last: Instant) -> bool {
        self.steps.is_some_and(|steps| step.is_multiple_of(steps))
            || self.time.is_some_and(|time| last.elapsed() >= time)
    }

    fn is_due_after_epoch(&self, epoch: usize) -> bool {
        self.epochs.is_some_and(|epochs| epoch.is_multiple_of(epochs))
    }

    /// Takes note of an epoch that is over; says whether it is one of the best so far.
    fn is_among_the_best(&self, course: &mut RunProgress) -> bool {
        let Some(record) = course.history.last() else { return false };
        let loss = record.held_out.unwrap_or(record.training).loss;
        let rank = course.best.partition_point(|(other, _)| *other <= loss);
        if rank >= self.keep_best || !loss.is_finite() {
            return false;
        }
        course.best.insert(rank, (loss, course.step as u64));
        course.best.truncate(self.keep_best);
        true
    }

    fn save(&self, checkpoint: &Checkpoint) -> Result<()> {
        self.place.write(&name(checkpoint.course.step as u64), encode(checkpoint)?)?;
        let best = |step: &u64| checkpoint.course.best.iter().any(|(_, of)| of == step);
        let old = self.steps()?.into_iter().rev().skip(self.keep).filter(|step| !best(step));
        let old: Vec<String> = old.map(name).collect();
        if old.is_empty() { Ok(()) } else { self.place.remove(&old) }
    }

    /// Returns the latest whole checkpoint; one that is damaged is passed over with a warning.
    fn describe(&self) -> String {
        self.place.describe()
    }

    fn latest(&self, run: &str) -> Result<Option<Checkpoint>> {
        for step in self.steps()?.into_iter().rev() {
            match self.read(step) {
                Ok(checkpoint) if checkpoint.run == run => return Ok(Some(checkpoint)),
                Ok(_) => {
                    let legal = "another place: it holds checkpoints of a run with other parameters or initial weights, another \
                                 network or other rows";
                    return Err(Error::param("checkpoints", self.place.describe(), legal));
                }
                Err(e) => tracing::warn!("a checkpoint is passed over: {e}"),
            }
        }
        Ok(None)
    }
}

fn name(step: u64) -> String {
    format!("step-{step:012}.tinder")
}

#[cfg(test)]
mod tests;
