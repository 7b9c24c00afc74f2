//! Replicas of the network, one a device, that step together.

use std::{sync::Arc, time::Instant};

use candle_core::{Device, Tensor};

use super::{
    MicroBatch, OptimizerState, StepParts, TrainParams, Updater,
    loss::Objective,
    loss_scale::{LossScale, are_finite},
    optimizer::Touched,
    replica::{DevicePlacer, LossTally, Replica, ReplicaThreads, Shard, ShardResult, Staged, failed},
};
use crate::{
    Error, Result,
    model::{ConfusionMatrix, Evaluation, Metric},
    nn::{Mode, NetworkSpec, Sequential, Tape, Weights, add_into},
    tensor::Rows,
};

/// Rows evaluated at once, and their bytes, so that the rows held out need not fit on a device together.
const ROWS_AT_ONCE: usize = 4096;
const BYTES_AT_ONCE: usize = 64 << 20;
const SEQUENCES_AT_ONCE: usize = 256;

/// Synchronous data parallelism.
///
/// A minibatch is split into consecutive shards. Each replica computes the gradient of its shard's part of the mean
/// loss; the parts are added up in the order of the devices, and every replica takes the same optimizer step, so all
/// stay equal. Replicas on the processor learn the same numbers in the same memory: one step is taken for all of them.
pub(super) struct Replicas {
    replicas: Vec<Replica>,
    /// Of each set of parameters, with the first of the replicas that learn it.
    optimizers: Vec<(usize, Updater)>,
    objective: Arc<Objective>,
    seed: u64,
    micro: MicroBatch,
    /// Largest number of rows in a replica's micro-batch.
    most: usize,
    /// Loss scale that keeps gradients of half precision from vanishing.
    pub(super) scale: Option<LossScale>,
    /// A thread for each replica, where there are several.
    pool: Option<rayon::ThreadPool>,
}

/// Losses of a step, and the durations of its parts.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct StepResult {
    pub(super) tally: LossTally,
    pub(super) parts: StepParts,
}

impl Replicas {
    /// Builds the same initial network on every device.
    pub(super) fn new(
        spec: &NetworkSpec,
        params: &TrainParams,
        objective: Objective,
        devices: &[Device],
    ) -> Result<Self> {
        let on_processor = devices.iter().filter(|device| device.is_cpu()).count();
        let (mut replicas, mut optimizers): (Vec<Replica>, Vec<(usize, Updater)>) = (Vec::new(), Vec::new());
        let mut first: Option<usize> = None;
        for (i, device) in devices.iter().enumerate() {
            let network = match first.filter(|_| device.is_cpu()) {
                Some(first) => replicas[first].network.twin()?,
                None => {
                    let network = Sequential::init(spec, params.seed, device)?.with_precision(params.precision);
                    optimizers.push((i, Updater::new(params, network.parameters())?));
                    network
                }
            };
            if device.is_cpu() {
                first.get_or_insert(i);
            }
            replicas.push(Replica::new(network, alone(on_processor)?)?);
        }
        let pool = if devices.len() > 1 { Some(threads(devices.len())?) } else { None };
        let most = if let MicroBatch::Rows(rows) = params.micro_batch { rows } else { usize::MAX };
        let (micro, seed, objective) = (params.micro_batch, params.seed, Arc::new(objective));
        let scale = LossScale::of(params.precision);
        Ok(Self { replicas, optimizers, objective, seed, micro, most, scale, pool })
    }

    /// Returns the stager, which places minibatches on the replicas' devices.
    pub(super) fn placer(&self) -> DevicePlacer {
        let devices = self.replicas.iter().map(|replica| replica.network.device().clone()).collect();
        let ids = self.replicas[0].network.spec().ids();
        let sparse =
            self.replicas.iter().all(|replica| replica.network.takes_sparse()) && self.objective.takes_sparse();
        DevicePlacer { devices, objective: self.objective.clone(), ids, sparse }
    }

    /// Returns the weight that sparse rows go into, among the parameters.
    fn touched<'a>(&self, columns: &'a [u32]) -> Touched<'a> {
        Touched { parameter: self.replicas[0].network.first_weight().unwrap_or(0), columns }
    }

    /// Takes the steps that columns of a weight have missed, before all of it is read.
    fn settle(&mut self) -> Result<()> {
        let Self { optimizers, replicas, .. } = self;
        optimizers.iter_mut().try_for_each(|(first, updater)| updater.settle(replicas[*first].network.parameters()))
    }

    /// Takes one step. Nothing moves when the loss is not finite, when all rows weigh nothing, or when gradients of
    /// half precision overflow.
    ///
    /// Where the rows at once are to be found out, they are halved for this step and those to come whenever a device's
    /// memory is full.
    pub(super) fn step(&mut self, staged: &Staged, step: usize, learning_rate: f64) -> Result<StepResult> {
        let mut seen =
            StepResult { tally: LossTally { weight: staged.weight, ..LossTally::default() }, ..StepResult::default() };
        if staged.weight == 0.0 {
            return Ok(seen);
        }
        if let Some(scale) = &self.scale {
            self.replicas.iter_mut().for_each(|replica| replica.loss_factor = scale.factor());
        }
        if let Some(columns) = &staged.columns {
            let touched = self.touched(columns);
            let Self { optimizers, replicas, .. } = self;
            for (first, updater) in optimizers {
                updater.catch_up(replicas[*first].network.parameters(), touched)?;
            }
        }
        let found = loop {
            match self.learn(&staged.shards, step) {
                Ok(found) => break found,
                Err(e) if self.micro == MicroBatch::Fitting && is_out_of_memory(&e) => {
                    let rows = staged.shards.iter().map(|shard| shard.rows).max().unwrap_or(0).min(self.most);
                    if rows < 2 {
                        return Err(e);
                    }
                    self.most = rows.div_ceil(2);
                    tracing::warn!("{e}; going on with {} rows at a time", self.most);
                }
                Err(e) => return Err(e),
            }
        };
        for found in &found {
            let part = LossTally { loss: found.loss, measured: found.measured, ..LossTally::default() };
            seen.tally.add(part);
            // The slowest replica is what the others wait for.
            seen.parts.forward = seen.parts.forward.max(found.forward);
            seen.parts.backward = seen.parts.backward.max(found.backward);
        }
        if seen.tally.loss.is_finite() {
            let begun = Instant::now();
            let mut gradients = self.reduce(found)?;
            self.merge_statistics(&staged.shards)?;
            let usable = self.unscale(&mut gradients)?;
            seen.parts.reduce = begun.elapsed();
            let begun = Instant::now();
            if usable {
                self.update(&gradients, learning_rate, staged.columns.as_deref())?;
            } else if self.scale.is_some_and(|scale| scale.is_exhausted()) {
                seen.tally.loss = f64::NAN;
            }
            seen.parts.step = begun.elapsed();
        }
        Ok(seen)
    }

    /// Computes the results of each replica's shard.
    fn learn(&mut self, shards: &[Shard], step: usize) -> Result<Vec<ShardResult>> {
        let Self { replicas, objective, seed, most, pool, micro, .. } = self;
        let (seed, most, objective) = (*seed, *most, &**objective);
        let statistics = match micro {
            // Rows that are trained on twice must not be counted twice.
            MicroBatch::Fitting => Some(replicas[0].statistics()?),
            _ => None,
        };
        let learn = |(i, (replica, shard)): (usize, (&mut Replica, &Shard))| {
            let mode = |first_row| Mode::Train { seed, step: step as u64, first_row };
            replica.learn(objective, shard, most, mode).map_err(|e| on_device(e, i, &replica.device()))
        };
        let work = replicas.iter_mut().zip(shards).enumerate();
        let found: Result<Vec<ShardResult>> = match pool {
            Some(pool) if shards.len() > 1 => {
                let mut found: Vec<Option<Result<ShardResult>>> = shards.iter().map(|_| None).collect();
                pool.in_place_scope(|scope| {
                    for (work, place) in work.zip(&mut found) {
                        scope.spawn(move |_| *place = Some(learn(work)));
                    }
                });
                found.into_iter().flatten().collect()
            }
            _ => work.map(learn).collect(),
        };
        if let (Err(_), Some(statistics)) = (&found, statistics) {
            replicas.iter().try_for_each(|replica| replica.set_statistics(&statistics))?;
        }
        found
    }

    /// Returns the sum of the gradients, where the first replica is.
    fn reduce(&self, found: Vec<ShardResult>) -> Result<Vec<Tensor>> {
        let mut found = found.into_iter().map(|found| found.gradients);
        let mut sums = found.next().unwrap_or_default();
        for gradients in found {
            for (sum, gradient) in sums.iter_mut().zip(gradients) {
                let here = gradient.to_device(sum.device()).map_err(failed)?;
                add_into(sum, &here).map_err(failed)?;
            }
        }
        Ok(sums)
    }

    /// Takes the loss's factor out of its gradients; says whether they can be used.
    fn unscale(&mut self, gradients: &mut [Tensor]) -> Result<bool> {
        let Some(scale) = &mut self.scale else { return Ok(true) };
        let finite = are_finite(gradients).map_err(failed)?;
        if finite {
            for gradient in gradients {
                *gradient = (&*gradient / scale.factor()).map_err(failed)?;
            }
        } else {
            tracing::debug!("gradients overflow at a loss scale of {}; the step is left out", scale.factor());
        }
        scale.note(finite);
        Ok(finite)
    }

    /// Steps every set of parameters by the same gradients.
    fn update(&mut self, gradients: &[Tensor], learning_rate: f64, columns: Option<&Vec<u32>>) -> Result<()> {
        let touched = columns.map(|columns| self.touched(columns));
        for (first, optimizer) in &mut self.optimizers {
            optimizer.set_learning_rate(learning_rate);
            let network = &self.replicas[*first].network;
            let there =
                gradients.iter().map(|g| g.to_device(network.device())).collect::<candle_core::Result<Vec<_>>>();
            let there = there.map_err(|e| on_device(failed(e), *first, &self.replicas[*first].device()))?;
            match touched {
                Some(touched) => optimizer.step_sparse(network.parameters(), &there, touched)?,
                None => optimizer.step(network.parameters(), &there)?,
            }
        }
        Ok(())
    }

    /// Batch normalisation moves its running statistics by each replica's rows: afterwards all replicas have their
    /// mean, each weighted by its rows.
    fn merge_statistics(&mut self, shards: &[Shard]) -> Result<()> {
        if self.replicas.len() < 2 || self.replicas[0].network.statistics().is_empty() {
            return Ok(());
        }
        let rows: usize = shards.iter().map(|shard| shard.rows).sum();
        let mut merged: Vec<Vec<f64>> = Vec::new();
        for (replica, shard) in self.replicas.iter().zip(shards) {
            let share = shard.rows as f64 / rows.max(1) as f64;
            let own = replica.statistics()?;
            merged.resize_with(own.len(), Vec::new);
            for (sum, own) in merged.iter_mut().zip(own) {
                sum.resize(own.len(), 0.0);
                sum.iter_mut().zip(own).for_each(|(sum, v)| *sum += share * f64::from(v));
            }
        }
        let merged: Vec<Vec<f32>> = merged.iter().map(|sums| sums.iter().map(|v| *v as f32).collect()).collect();
        self.replicas.iter().try_for_each(|replica| replica.set_statistics(&merged))
    }

    /// Returns the metric of epochs.
    pub(super) fn metric(&self) -> Metric {
        self.objective.metric()
    }

    /// Measures the network on some rows, dropout off, on the first device; counts what is taken for what where there
    /// are classes.
    pub(super) fn evaluate(&mut self, rows: &Rows, numbers: &[u32]) -> Result<(Evaluation, Option<ConfusionMatrix>)> {
        self.settle()?;
        let mut tally = LossTally::default();
        let objective = &self.objective;
        let mut tape = Tape::default();
        let mut matrix = objective.tells_classes().then(|| ConfusionMatrix::new(objective.outputs()));
        let placer = DevicePlacer { devices: vec![self.replicas[0].network.device().clone()], ..self.placer() };
        let inputs = &self.replicas[0].network.spec().inputs;
        let most = if inputs.ragged { SEQUENCES_AT_ONCE } else { ROWS_AT_ONCE };
        let dense = !(placer.sparse && rows.fields().iter().any(|field| field.sparse));
        let fitting = if dense { BYTES_AT_ONCE / (4 * inputs.count()).max(1) } else { most };
        for part in numbers.chunks(fitting.clamp(1, most)) {
            let Staged { weight, shards, .. } = placer.stage(rows.gather(part), None)?;
            let Some(shard) = shards.first() else { continue };
            let (outputs, loss) = self.replicas[0].outputs(objective, shard, &mut tape)?;
            if let Some(matrix) = &mut matrix {
                for (label, class) in shard.target.labels.iter().zip(objective.predicted(&outputs)) {
                    matrix.count(*label as usize, class as usize);
                }
            }
            let measured = objective.measure(&outputs, &shard.target);
            tally.add(LossTally { loss, weight, measured });
        }
        Ok((tally.evaluation(self.metric()), matrix))
    }

    pub(super) fn weights(&mut self) -> Result<Weights> {
        self.settle()?;
        self.replicas[0].network.weights()
    }

    /// Returns the optimizer's state, the same for all replicas.
    pub(super) fn optimizer(&mut self) -> Result<OptimizerState> {
        self.settle()?;
        self.optimizers[0].1.state()
    }

    /// Replaces the weights.
    pub(super) fn load(&mut self, spec: &NetworkSpec, weights: &Weights) -> Result<()> {
        let mut first: Option<usize> = None;
        for i in 0..self.replicas.len() {
            let device = self.replicas[i].network.device().clone();
            let network = match first.filter(|_| device.is_cpu()) {
                Some(first) => self.replicas[first].network.twin()?,
                None => Sequential::load(spec, weights, &device)?.with_precision(self.replicas[i].network.precision()),
            };
            if device.is_cpu() {
                first.get_or_insert(i);
            }
            self.replicas[i].replace(network)?;
        }
        Ok(())
    }

    /// Resumes from an optimizer's state.
    pub(super) fn resume(&mut self, params: &TrainParams, state: &OptimizerState) -> Result<()> {
        for (first, optimizer) in &mut self.optimizers {
            *optimizer = Updater::resume(params, self.replicas[*first].network.parameters(), state.clone())?;
        }
        Ok(())
    }
}

/// Returns the threads of one of so many replicas on the processor: as many as it has processors to itself.
fn alone(replicas: usize) -> Result<ReplicaThreads> {
    match (replicas, rayon::current_num_threads() / replicas.max(1)) {
        (0 | 1, _) => Ok(ReplicaThreads::No),
        (_, 0 | 1) => Ok(ReplicaThreads::One),
        (_, own) => Ok(ReplicaThreads::Pool(Arc::new(threads(own)?))),
    }
}

fn threads(count: usize) -> Result<rayon::ThreadPool> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(count).thread_name(|i| format!("replica-{i}")).build();
    pool.map_err(|e| Error::io("threads of replicas", std::io::Error::other(e)))
}

/// Names the replica that failed.
fn on_device(e: Error, replica: usize, device: &str) -> Error {
    match e {
        Error::Tensor { context, source } => {
            Error::Tensor { context: format!("{context}, replica {replica} on `{device}`"), source }
        }
        other => other,
    }
}

/// Returns whether a device had no room. The words are CUDA's, cuBLAS's and Metal's own: candle passes on no more.
fn is_out_of_memory(e: &Error) -> bool {
    let Error::Tensor { source, .. } = e else { return false };
    let words = source.to_string().to_lowercase().replace('_', " ");
    ["out of memory", "alloc failed", "failed to create metal"].iter().any(|known| words.contains(known))
}

#[cfg(test)]
mod tests;
