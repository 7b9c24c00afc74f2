//! Writes a run's checkpoints when they are due, and resumes from the last one.

use std::time::Instant;

use sha2::{Digest, Sha256};

use super::{Checkpoint, Checkpoints, RunProgress};
use crate::{
    Error, Result,
    model::Task,
    nn::{NamedTensor, NetworkSpec, Weights},
    tensor::Columns,
    train::{TrainParams, replicas::Replicas, row_sum::RowSum},
};

/// The checkpoints of one run.
pub(in crate::train) struct Keeper<'a> {
    checkpoints: Option<&'a Checkpoints>,
    run: String,
    /// The weights of the epoch with the lowest loss, when they are wanted.
    pub(in crate::train) best: Option<Weights>,
    begun: Instant,
    /// Of training before this process.
    earlier: f64,
    saved: Instant,
    /// Step of the last complete checkpoint.
    step: Option<usize>,
}

impl<'a> Keeper<'a> {
    pub(in crate::train) fn new(checkpoints: Option<&'a Checkpoints>, run: String) -> Self {
        let now = Instant::now();
        Self { checkpoints, run, best: None, begun: now, earlier: 0.0, saved: now, step: None }
    }

    /// Takes up the run where its last checkpoint left it, or at its beginning.
    pub(in crate::train) fn resume(
        &mut self,
        spec: &NetworkSpec,
        params: &TrainParams,
        replicas: &mut Replicas,
    ) -> Result<RunProgress> {
        let Some(found) = self.checkpoints.map(|c| c.latest(&self.run)).transpose()?.flatten() else {
            return Ok(RunProgress::default());
        };
        replicas.load(spec, &found.weights)?;
        replicas.resume(params, &found.optimizer)?;
        let RunProgress { epoch, step, seconds, over, .. } = found.course;
        let place = || self.checkpoints.map(Checkpoints::describe).unwrap_or_default();
        if over {
            tracing::warn!(
                epoch,
                epochs = params.epochs,
                checkpoints = place(),
                "the run of these checkpoints is over: it ended after {epoch} epochs by early stopping or convergence, and \
                 its model is returned; to train on, start a run with other checkpoints from its weights \
                 (`initial_weights`, `initial_model`)"
            );
        } else if epoch > params.epochs {
            tracing::warn!(
                epoch,
                epochs = params.epochs,
                checkpoints = place(),
                "the checkpoint has trained {epoch} epochs, more than the {} asked for; its model is returned",
                params.epochs
            );
        } else {
            tracing::info!(epoch, step, "training resumes from a checkpoint");
        }
        self.best = found.best;
        self.earlier = seconds;
        self.step = Some(step);
        Ok(found.course)
    }

    /// Compares the rows that a resumed run reads with those that it read before, and notes them for later checkpoints.
    ///
    /// # Errors
    /// [`Error::Param`] for other rows, unless they are accepted.
    pub(in crate::train) fn check_rows(&self, course: &mut RunProgress, found: RowSum) -> Result<()> {
        let before = course.rows.replace(found);
        let (Some(before), Some(checkpoints)) = (before.filter(|before| *before != found), self.checkpoints) else {
            return Ok(());
        };
        let difference = match found.rows == before.rows {
            true => format!("{} rows, as before, but others or in another order", found.rows),
            false => format!("{} rows, where the checkpoint was written over {}", found.rows, before.rows),
        };
        if checkpoints.accept_other_rows {
            tracing::warn!("training resumes on {difference}; rows that were held out may be trained on now");
            return Ok(());
        }
        let legal = format!(
            "of the same rows in the same order; found {difference}; write them to a table first, use another folder, or \
             accept them (`Checkpoints::accept_other_rows`)"
        );
        Err(Error::param("checkpoints", checkpoints.describe(), legal))
    }

    /// Seconds since training began, interruptions left out.
    pub(in crate::train) fn seconds(&self) -> f64 {
        self.earlier + self.begun.elapsed().as_secs_f64()
    }

    pub(in crate::train) fn step_is_over(&mut self, course: &RunProgress, replicas: &mut Replicas) -> Result<()> {
        match self.checkpoints {
            Some(c) if c.is_due_after_step(course.step, self.saved) => self.save(course, replicas),
            _ => Ok(()),
        }
    }

    pub(in crate::train) fn epoch_is_over(
        &mut self,
        course: &mut RunProgress,
        replicas: &mut Replicas,
        last: bool,
    ) -> Result<()> {
        let Some(checkpoints) = self.checkpoints else { return Ok(()) };
        let best = checkpoints.is_among_the_best(course);
        if best || last || course.over || checkpoints.is_due_after_epoch(course.epoch) {
            self.save(course, replicas)?;
        }
        Ok(())
    }

    /// Writes a checkpoint, if there is a place for it. Weights that are no numbers are not worth keeping: the run is
    /// about to fail, and the last good checkpoint stays.
    pub(in crate::train) fn save(&mut self, course: &RunProgress, replicas: &mut Replicas) -> Result<()> {
        let Some(checkpoints) = self.checkpoints else { return Ok(()) };
        let weights = replicas.weights()?;
        if !is_finite(&weights) {
            return Ok(());
        }
        let (course, step) = (RunProgress { seconds: self.seconds(), ..course.clone() }, course.step);
        let (run, best) = (self.run.clone(), self.best.clone());
        checkpoints.save(&Checkpoint { run, course, weights, optimizer: replicas.optimizer()?, best })?;
        self.saved = Instant::now();
        self.step = Some(step);
        Ok(())
    }

    /// Turns a failure of the server, or of the network, into one that names the checkpoint to resume from, if there is
    /// one.
    pub(in crate::train) fn interrupted(&self, error: Error) -> Error {
        let is_the_server = matches!(
            error,
            Error::Server(_)
                | Error::Unreachable { .. }
                | Error::Unauthenticated { .. }
                | Error::Incomplete { .. }
                | Error::KeptRowsLost { .. }
                | Error::Silent { .. }
        );
        match (self.step, self.checkpoints) {
            (Some(step), Some(checkpoints)) if is_the_server => {
                Error::Interrupted { step, checkpoints: checkpoints.describe(), source: Box::new(error) }
            }
            _ => error,
        }
    }
}

pub(in crate::train) fn is_finite(weights: &Weights) -> bool {
    weights.tensors().iter().all(|tensor| tensor.values.iter().all(|v| v.is_finite()))
}

/// Returns a checksum of the run's task and its beginning. Devices, duration and the folder of cached rows do not
/// count.
pub(in crate::train) fn run_identity(
    spec: &NetworkSpec,
    params: &TrainParams,
    columns: &Columns,
    task: &Task,
    initial: Option<&Weights>,
) -> Result<String> {
    let usual = TrainParams::default();
    let params = TrainParams {
        epochs: usual.epochs,
        max_steps: None,
        max_seconds: None,
        devices: usual.devices,
        cache_memory: usual.cache_memory,
        cache_folder: None,
        ..params.clone()
    };
    let json = serde_json::to_vec(&(spec, params, columns, task));
    let json = json.map_err(|e| Error::io("checkpoint", std::io::Error::other(e)))?;
    let mut sum = Sha256::new_with_prefix(&json);
    for NamedTensor { name, shape, values } in initial.map(Weights::tensors).unwrap_or_default() {
        sum.update(format!("{name} {shape:?}"));
        values.iter().for_each(|v| sum.update(v.to_le_bytes()));
    }
    Ok(sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
