//! Checkpoints in a local folder: a run that is killed goes on from the last one.

mod format;
mod keeper;

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use self::format::{read, write};
pub(super) use self::keeper::{Keeper, is_finite, run_identity};
use super::{OptimizerState, Plateau, replica::Tally, stop::Lowest};
use crate::{Error, Result, model::History, nn::Weights};

/// Where and when a training run writes checkpoints.
///
/// A checkpoint holds all it takes to go on: weights, optimizer, position in the data, history, schedule and the best
/// weights if they are asked for; what is random follows from the seed and the position. A run that finds a checkpoint of
/// its own in the folder goes on from it, and on the processor ends with exactly the weights of an undisturbed run. Use a
/// folder for one run.
///
/// A file is written under another name, brought to the disk, and then renamed: it exists whole or not at all.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoints {
    folder: PathBuf,
    steps: Option<usize>,
    epochs: Option<usize>,
    time: Option<Duration>,
    keep: usize,
}

/// How far a run is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Course {
    pub(super) epoch: usize,
    pub(super) step_in_epoch: usize,
    /// Over all epochs.
    pub(super) step: usize,
    /// Whether training is over, though not all epochs may have passed.
    pub(super) over: bool,
    /// What the epoch's steps so far saw.
    pub(super) tally: Tally,
    pub(super) history: History,
    pub(super) plateau: Plateau,
    pub(super) lowest: Lowest,
    /// Seconds since training began, interruptions left out.
    pub(super) seconds: f64,
}

/// A run at one moment.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Checkpoint {
    /// What the run was to do, so that no other goes on from it.
    pub(super) run: String,
    pub(super) course: Course,
    pub(super) weights: Weights,
    pub(super) optimizer: OptimizerState,
    pub(super) best: Option<Weights>,
}

impl Checkpoints {
    /// Writes into `folder`, made if it is not there: after every epoch, the last two kept.
    pub fn new(folder: impl AsRef<Path>) -> Self {
        Self { folder: folder.as_ref().to_path_buf(), steps: None, epochs: Some(1), time: None, keep: 2 }
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
    pub fn keep(mut self, files: usize) -> Self {
        self.keep = files.max(1);
        self
    }

    /// Whether one is due after a step, the last having been written at `last`.
    pub(super) fn is_due_after_step(&self, step: usize, last: Instant) -> bool {
        self.steps.is_some_and(|steps| step.is_multiple_of(steps))
            || self.time.is_some_and(|time| last.elapsed() >= time)
    }

    pub(super) fn is_due_after_epoch(&self, epoch: usize) -> bool {
        self.epochs.is_some_and(|epochs| epoch.is_multiple_of(epochs))
    }

    pub(super) fn save(&self, checkpoint: &Checkpoint) -> Result<()> {
        fs::create_dir_all(&self.folder).map_err(|e| Error::io(&self.folder, e))?;
        write(&self.folder.join(format!("step-{:012}.tinder", checkpoint.course.step)), checkpoint)?;
        let files = self.files()?;
        for (_, old) in files.iter().rev().skip(self.keep) {
            fs::remove_file(old).map_err(|e| Error::io(old, e))?;
        }
        Ok(())
    }

    /// The latest whole checkpoint; one that is damaged is passed over with a warning.
    pub(super) fn latest(&self, run: &str) -> Result<Option<Checkpoint>> {
        for (_, path) in self.files()?.into_iter().rev() {
            match read(&path) {
                Ok(checkpoint) if checkpoint.run == run => return Ok(Some(checkpoint)),
                Ok(_) => {
                    let legal = "a folder of its own: it holds checkpoints of a run with other parameters, another \
                                 network or other rows";
                    return Err(Error::param("checkpoints", self.folder.display(), legal));
                }
                Err(e) => tracing::warn!("a checkpoint is passed over: {e}"),
            }
        }
        Ok(None)
    }

    /// The checkpoints in the folder by their step, the latest last.
    fn files(&self) -> Result<Vec<(u64, PathBuf)>> {
        let mut files = Vec::new();
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(files),
            Err(e) => return Err(Error::io(&self.folder, e)),
        };
        for entry in entries {
            let path = entry.map_err(|e| Error::io(&self.folder, e))?.path();
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            if let Some(step) = name.strip_prefix("step-").and_then(|n| n.strip_suffix(".tinder")) {
                files.extend(step.parse().ok().map(|step| (step, path.clone())));
            }
        }
        files.sort();
        Ok(files)
    }
}

#[cfg(test)]
mod tests;
