//! The training loop.

use std::{
    iter, mem,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::Receiver,
    },
    time::{Duration, Instant},
};

use super::Trainer;
use crate::{
    Error, Result,
    model::{EpochRecord, History, Task, TrainedNetwork},
    nn::NetworkSpec,
    train::{
        Position, Run, StepRecord, TrainParams,
        checkpoint::{Keeper, RunProgress, is_finite, run_identity},
        feed::{Everything, Prefetched, TrainingBlock, prefetch},
        reading::reading_ended,
        replica::{Staged, check_fields},
        replicas::Replicas,
    },
};

/// Trains on the blocks that arrive, and then again on all of them.
pub(super) fn train(
    trainer: &Trainer,
    blocks: Receiver<Result<TrainingBlock>>,
    cancelled: &AtomicBool,
) -> Result<TrainedNetwork> {
    let first = blocks.recv().map_err(|_| reading_ended())??;
    let mut training = Training::begin(trainer, &first, cancelled)?;
    let mut everything: Option<Everything> = None;
    let mut blocks = Some(iter::once(Ok(first)).chain(blocks));
    for epoch in 0..trainer.params.epochs {
        // An epoch's order and steps follow from its number; only the first, which brings the rows, is read again.
        if training.course.over || (0 < epoch && epoch < training.course.epoch) {
            continue;
        }
        let _span = tracing::info_span!("epoch", epoch).entered();
        let begun = Instant::now();
        let minibatches = match (&everything, blocks.take()) {
            (None, Some(blocks)) => training.prefetch(blocks, epoch),
            (Some(all), _) => training.prefetch(iter::once(Ok(all.block(&trainer.params, epoch))), epoch),
            (None, None) => return Err(reading_ended()),
        };
        let passed = training.epoch(&minibatches, epoch, everything.as_ref());
        let passed = passed.map_err(|error| training.keeper.interrupted(error))?;
        if passed.ended {
            break;
        }
        if let Some(all) = minibatches.end() {
            training.keeper.check_rows(&mut training.course, all.sum)?;
            everything = Some(all);
        }
        if epoch == training.course.epoch {
            training.epoch_is_over(everything.as_ref().ok_or_else(reading_ended)?, passed, begun)?;
        }
    }
    training.finish(everything)
}

/// A run at work.
struct Training<'a> {
    trainer: &'a Trainer,
    params: &'a TrainParams,
    cancelled: &'a AtomicBool,
    spec: NetworkSpec,
    task: Task,
    run: Run,
    replicas: Replicas,
    keeper: Keeper<'a>,
    course: RunProgress,
}

/// Outcome of an epoch's steps.
#[derive(Default)]
struct Passed {
    /// For minibatches.
    waiting: Duration,
    /// That of the last step.
    learning_rate: f64,
    /// True if training ended before the epoch did.
    ended: bool,
}

impl<'a> Training<'a> {
    /// Builds the network on its devices and takes up the run where its last checkpoint left it.
    fn begin(trainer: &'a Trainer, first: &TrainingBlock, cancelled: &'a AtomicBool) -> Result<Self> {
        let params = &trainer.params;
        let inputs = check_fields(first.rows.fields(), trainer.label_kind(), trainer.network.takes_ids())?;
        let (task, outputs) = trainer.task(first, &inputs)?;
        let spec = trainer.resolve(inputs, outputs)?;
        let devices = params.devices.open()?;
        let objective = trainer.objective(&task, first.end.as_ref(), outputs)?;
        let mut replicas = Replicas::new(&spec, params, objective, &devices)?;
        if let Some(given) = &trainer.initial {
            replicas.load(&spec, &spec.initial_weights(params.seed, given)?)?;
        }
        let parameters = spec.parameters().iter().map(|p| p.shape.iter().product::<usize>()).sum();
        let run = trainer.announced(first.end.as_ref(), parameters, task.names());
        let run = Run { metric: replicas.metric(), ..run };
        trainer.observers.iter().for_each(|o| o.begin(&run));
        let identity = run_identity(&spec, params, &trainer.columns, &task, trainer.initial.as_ref())?;
        let mut keeper = Keeper::new(trainer.checkpoints.as_ref(), identity);
        let mut course = keeper.resume(&spec, params, &mut replicas)?;
        course.history.metric = replicas.metric();
        replicas.scale = course.loss_scale.or(replicas.scale);
        Ok(Self { trainer, params, cancelled, spec, task, run, replicas, keeper, course })
    }

    fn prefetch(
        &self,
        blocks: impl Iterator<Item = Result<TrainingBlock>> + Send + 'static,
        epoch: usize,
    ) -> Prefetched<Staged> {
        let placer = self.replicas.placer();
        let stage = move |minibatch, index| placer.stage(minibatch, Some((epoch, index)));
        prefetch(blocks, stage, self.params.batch_size)
    }

    /// Takes a step for every minibatch that no step was taken for before an interruption.
    fn epoch(&mut self, minibatches: &Prefetched<Staged>, epoch: usize, all: Option<&Everything>) -> Result<Passed> {
        let steps = all.map_or(self.run.steps, |all| all.split.training.len().div_ceil(self.params.batch_size));
        let mut passed = Passed { learning_rate: self.params.learning_rate, ..Passed::default() };
        if epoch < self.course.epoch {
            return skip(minibatches, usize::MAX).map(|()| passed);
        }
        skip(minibatches, self.course.step_in_epoch)?;
        let mut asked = Instant::now();
        loop {
            if self.is_to_end() {
                self.keeper.save(&self.course, &mut self.replicas)?;
                return Ok(Passed { ended: true, ..passed });
            }
            let Some(staged) = minibatches.next() else { return Ok(passed) };
            let waited = asked.elapsed();
            passed.waiting += waited;
            passed.learning_rate = self.step(&staged?, steps, waited)?;
            asked = Instant::now();
        }
    }

    /// Returns whether time, steps or a stop request end the run.
    fn is_to_end(&self) -> bool {
        self.trainer.stop.requested()
            || self.params.max_steps.is_some_and(|most| self.course.step >= most)
            || self.params.max_seconds.is_some_and(|most| self.keeper.seconds() >= most)
    }

    /// Takes one step; gives its learning rate.
    fn step(&mut self, staged: &Staged, steps: usize, waited: Duration) -> Result<f64> {
        let RunProgress { epoch, step, step_in_epoch, .. } = self.course;
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(Error::Cancelled { what: format!("training at epoch {epoch}, step {step}") });
        }
        let _span = tracing::debug_span!("step", step).entered();
        let at = Position {
            epoch,
            epochs: self.params.epochs,
            step_in_epoch: step_in_epoch as u64,
            steps_per_epoch: (steps > 0).then_some(steps as u64),
            step: step as u64,
        };
        let learning_rate = self.params.learning_rate * self.params.schedule.factor(&at, &self.course.plateau);
        let begun = Instant::now();
        let seen = self.replicas.step(staged, step, learning_rate)?;
        let (rows, took) = (staged.rows, begun.elapsed());
        self.course.loss_scale = self.replicas.scale;
        if !seen.tally.loss.is_finite() {
            return Err(exploded(epoch, step, rows, seen.tally.loss, learning_rate));
        }
        self.course.tally.add(seen.tally);
        let (loss, parts) = (seen.tally.mean_loss(), seen.parts);
        let record = StepRecord { epoch, step, rows, loss, learning_rate, waited, took, parts };
        self.trainer.observers.iter().for_each(|o| o.step(&record));
        self.course.step += 1;
        self.course.step_in_epoch += 1;
        self.keeper.step_is_over(&self.course, &mut self.replicas)?;
        Ok(learning_rate)
    }

    /// Measures the epoch, tells of it, and decides whether it was the last.
    fn epoch_is_over(&mut self, all: &Everything, passed: Passed, begun: Instant) -> Result<()> {
        let course = &mut self.course;
        course.history.rows = all.counts();
        let mut held_out = None;
        if !all.split.held_out.is_empty() {
            let (evaluation, matrix) = self.replicas.evaluate(&all.rows, &all.split.held_out)?;
            held_out = Some(evaluation);
            course.history.held_out = matrix;
        }
        let (epoch, seconds, waiting) = (course.epoch, begun.elapsed().as_secs_f64(), passed.waiting.as_secs_f64());
        let training = mem::take(&mut course.tally).evaluation(self.replicas.metric());
        let learning_rate = passed.learning_rate;
        let record = EpochRecord { epoch, training, held_out, seconds, waiting, learning_rate };
        self.params.schedule.epoch(held_out.unwrap_or(training).loss, &mut course.plateau);
        self.trainer.observers.iter().for_each(|o| o.epoch(&record));
        if let Some(stopping) = self.params.early_stopping {
            if course.lowest.note(&record, stopping.min_delta) && stopping.restore_best {
                self.keeper.best = Some(self.replicas.weights()?);
            }
            course.over = course.lowest.out_of(stopping.patience);
        }
        course.history.epochs.push(record);
        course.over |= has_converged(&course.history, self.params.tol);
        (course.epoch, course.step_in_epoch) = (epoch + 1, 0);
        let last = course.epoch == self.params.epochs;
        self.keeper.epoch_is_over(course, &mut self.replicas, last)
    }

    /// Returns the model that the run gives.
    fn finish(mut self, everything: Option<Everything>) -> Result<TrainedNetwork> {
        let Self { replicas, mut course, .. } = self;
        let mut replicas = replicas;
        if let Some(best) = self.keeper.best.take() {
            replicas.load(&self.spec, &best)?;
            if let Some(all) = everything.filter(|all| !all.split.held_out.is_empty()) {
                course.history.held_out = replicas.evaluate(&all.rows, &all.split.held_out)?.1;
            }
        }
        let weights = replicas.weights()?;
        if !is_finite(&weights) {
            let (epoch, step) = (course.epoch.saturating_sub(1), course.step.saturating_sub(1));
            return Err(exploded(epoch, step, self.params.batch_size, f64::NAN, self.params.learning_rate));
        }
        self.trainer.observers.iter().for_each(|o| o.end(&course.history));
        TrainedNetwork::new(self.spec, weights, self.trainer.columns.clone(), self.task, course.history)
    }
}

/// Returns whether the last epoch changed the loss by less than the tolerance.
fn has_converged(history: &History, tol: f64) -> bool {
    let loss = |e: &EpochRecord| e.held_out.unwrap_or(e.training).loss;
    match history.epochs.as_slice() {
        [.., before, last] => (loss(before) - loss(last)).abs() < tol * loss(before).abs(),
        _ => false,
    }
}

/// Skips minibatches of steps that were taken before an interruption.
fn skip(minibatches: &Prefetched<Staged>, count: usize) -> Result<()> {
    for _ in 0..count {
        match minibatches.next() {
            Some(staged) => staged.map(|_| ())?,
            None => break,
        }
    }
    Ok(())
}

fn exploded(epoch: usize, step: usize, rows: usize, loss: f64, rate: f64) -> Error {
    Error::Diverged { epoch, step, quantity: "the loss".into(), value: loss, rows: rows as u64, learning_rate: rate }
}
