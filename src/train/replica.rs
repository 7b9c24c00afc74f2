//! Replicas of the network, one a device, that step together.

use std::thread;

use candle_core::{Device, Tensor};

use super::{AdamW, CrossEntropy, TrainParams, loss::Target};
use crate::{
    Error, Result,
    model::{ConfusionMatrix, Evaluation},
    nn::{Mode, NetworkSpec, Sequential, Tape, Weights},
    tensor::{Examples, Minibatch},
};

/// Rows evaluated at once, so that the rows held out need not fit on a device together.
const ROWS_AT_ONCE: usize = 4096;

/// One network and its optimizer on one device.
struct Replica {
    network: Sequential,
    optimizer: AdamW,
    /// What the network learns on, where that is the processor.
    tape: Option<Tape>,
}

/// What one step, or several, saw.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    /// The weighted sum of the loss.
    pub(super) loss: f64,
    /// What to divide it by.
    pub(super) weight: f64,
    pub(super) right: usize,
    pub(super) rows: usize,
}

impl Tally {
    pub(super) fn add(&mut self, other: Tally) {
        self.loss += other.loss;
        self.weight += other.weight;
        self.right += other.right;
        self.rows += other.rows;
    }

    /// The mean loss; rows that all weigh nothing have none.
    pub(super) fn mean_loss(&self) -> f64 {
        if self.weight == 0.0 { 0.0 } else { self.loss / self.weight }
    }

    pub(super) fn evaluation(&self) -> Evaluation {
        Evaluation { loss: self.mean_loss(), accuracy: self.right as f64 / self.rows.max(1) as f64 }
    }
}

/// A replica's share of a minibatch.
struct Shard<'a> {
    features: &'a [f32],
    labels: &'a [u32],
    target: &'a [f32],
    first_row: usize,
}

/// Synchronous data parallelism.
///
/// A minibatch is split into consecutive shards. Each replica computes the gradient of its shard's part of the mean loss;
/// the parts are added up on the host in the order of the devices, and every replica takes the same optimizer step, so
/// all stay equal. One replica keeps its gradients where they are.
pub(super) struct Replicas {
    replicas: Vec<Replica>,
    loss: CrossEntropy,
    seed: u64,
}

impl Replicas {
    /// Builds the same initial network on every device.
    pub(super) fn new(
        spec: &NetworkSpec,
        params: &TrainParams,
        loss: CrossEntropy,
        devices: &[Device],
    ) -> Result<Self> {
        let replica = |device| {
            let network = Sequential::init(spec, params.seed, device)?;
            let optimizer = AdamW::new(params, network.parameters())?;
            let tape = if device.is_cpu() { Some(Tape::new(&network)?) } else { None };
            Ok(Replica { network, optimizer, tape })
        };
        let replicas = devices.iter().map(replica).collect::<Result<_>>()?;
        Ok(Self { replicas, loss, seed: params.seed })
    }

    /// Takes one step. Nothing moves when the loss is not finite, or when all rows weigh nothing.
    pub(super) fn step(&mut self, minibatch: &Minibatch, step: usize) -> Result<Tally> {
        let target = self.loss.target(minibatch);
        let mut tally = Tally { weight: target.weight, rows: minibatch.rows(), ..Tally::default() };
        if target.weight == 0.0 {
            return Ok(tally);
        }
        let (loss, seed) = (&self.loss, self.seed);
        let shards = shards(minibatch, &target, self.replicas.len().min(minibatch.rows()));
        let learn = |replica: &mut Replica, shard: &Shard<'_>| {
            let mode = Mode::Train { seed, step: step as u64, first_row: shard.first_row };
            replica.gradients(loss, shard, target.weight, mode)
        };
        if let [replica] = self.replicas.as_mut_slice() {
            let found = learn(replica, &shards[0])?;
            tally.loss = found.loss;
            tally.right = found.right;
            if found.loss.is_finite() {
                replica.optimizer.step(replica.network.parameters(), &found.gradients)?;
            }
            return Ok(tally);
        }
        let parts: Vec<Result<(f64, usize, Vec<f32>)>> = thread::scope(|scope| {
            let start = |(replica, shard)| {
                scope.spawn(move || {
                    let found: Found = learn(replica, shard)?;
                    Ok((found.loss, found.right, flatten(&found.gradients)?))
                })
            };
            let running: Vec<_> = self.replicas.iter_mut().zip(&shards).map(start).collect();
            running.into_iter().map(|thread| thread.join().unwrap_or_else(|p| std::panic::resume_unwind(p))).collect()
        });
        let mut sum: Vec<f32> = Vec::new();
        for part in parts {
            let (loss, right, gradients) = part?;
            tally.loss += loss;
            tally.right += right;
            if sum.is_empty() {
                sum = gradients;
            } else {
                sum.iter_mut().zip(gradients).for_each(|(s, g)| *s += g);
            }
        }
        if tally.loss.is_finite() {
            self.apply(&sum)?;
        }
        Ok(tally)
    }

    /// Steps every replica by the same gradients.
    fn apply(&mut self, gradients: &[f32]) -> Result<()> {
        thread::scope(|scope| {
            let running: Vec<_> =
                self.replicas.iter_mut().map(|replica| scope.spawn(|| replica.apply(gradients))).collect();
            running.into_iter().try_for_each(|t| t.join().unwrap_or_else(|p| std::panic::resume_unwind(p)))
        })
    }

    /// Measures the network on some rows, dropout off, on the first device.
    pub(super) fn evaluate(&self, examples: &Examples, rows: &[u32]) -> Result<(Evaluation, ConfusionMatrix)> {
        let mut tally = Tally::default();
        let mut matrix = ConfusionMatrix::new(self.loss.classes());
        for part in rows.chunks(ROWS_AT_ONCE) {
            let minibatch = Minibatch::gather(examples, part);
            let target = self.loss.target(&minibatch);
            let shard = Shard {
                features: &minibatch.features,
                labels: &minibatch.labels,
                target: &target.values,
                first_row: 0,
            };
            let (logits, loss) = self.replicas[0].loss(&self.loss, &shard, Mode::Eval)?;
            let predicted = predicted(&host(&logits)?, self.loss.classes());
            let right = minibatch.labels.iter().zip(&predicted).filter(|(label, class)| label == class).count();
            for (label, class) in minibatch.labels.iter().zip(predicted) {
                matrix.count(*label as usize, class as usize);
            }
            tally.add(Tally { loss: scalar(&loss)?, weight: target.weight, right, rows: part.len() });
        }
        Ok((tally.evaluation(), matrix))
    }

    pub(super) fn weights(&self) -> Result<Weights> {
        self.replicas[0].network.weights()
    }
}

/// What a replica found in its shard.
struct Found {
    loss: f64,
    right: usize,
    gradients: Vec<Tensor>,
}

impl Replica {
    /// The logits of a shard and the weighted sum of its loss.
    fn loss(&self, loss: &CrossEntropy, shard: &Shard<'_>, mode: Mode) -> Result<(Tensor, Tensor)> {
        let shape = (shard.labels.len(), self.network.spec().inputs.count());
        let features = Tensor::from_slice(shard.features, shape, self.network.device()).map_err(failed)?;
        let logits = self.network.forward(&features, mode)?;
        let sum = loss.sum(&logits, shard.target).map_err(failed)?;
        Ok((logits, sum))
    }

    /// The shard's part of the gradients of the mean loss, `weight` being what the whole sum is divided by.
    fn gradients(&mut self, loss: &CrossEntropy, shard: &Shard<'_>, weight: f64, mode: Mode) -> Result<Found> {
        if let Some(tape) = &mut self.tape {
            let (sum, right) =
                tape.learn(&self.network, shard.features, shard.labels.len(), mode, |logits, gradient| {
                    (loss.learn(logits, shard.target, weight, gradient), right(shard, logits, loss.classes()))
                })?;
            return Ok(Found { loss: sum, right, gradients: tape.gradients().to_vec() });
        }
        let (logits, sum) = self.loss(loss, shard, mode)?;
        let mut store = (&sum / weight).and_then(|mean| mean.backward()).map_err(failed)?;
        let gradient = |p: &crate::nn::Parameter| store.remove(&p.var).map_or_else(|| p.var.zeros_like(), Ok);
        let gradients = self.network.parameters().iter().map(gradient).collect::<candle_core::Result<_>>();
        let right = right(shard, &host(&logits)?, loss.classes());
        Ok(Found { loss: scalar(&sum)?, right, gradients: gradients.map_err(failed)? })
    }

    fn apply(&mut self, mut flat: &[f32]) -> Result<()> {
        let parameters = self.network.parameters();
        let mut gradients = Vec::with_capacity(parameters.len());
        for parameter in parameters {
            let (own, rest) = flat.split_at(parameter.var.elem_count());
            flat = rest;
            gradients.push(Tensor::from_slice(own, parameter.var.shape(), self.network.device()).map_err(failed)?);
        }
        self.optimizer.step(parameters, &gradients)
    }
}

/// Splits a minibatch into `count` runs of rows, as even as can be. With fewer shards than replicas some replicas sit the
/// minibatch out.
fn shards<'a>(minibatch: &'a Minibatch, target: &'a Target, count: usize) -> Vec<Shard<'a>> {
    let rows = minibatch.rows();
    let (width, classes) = (minibatch.features.len() / rows.max(1), target.values.len() / rows.max(1));
    let shard = |i: usize| {
        let (begin, end) = (rows * i / count, rows * (i + 1) / count);
        Shard {
            features: &minibatch.features[begin * width..end * width],
            labels: &minibatch.labels[begin..end],
            target: &target.values[begin * classes..end * classes],
            first_row: begin,
        }
    };
    (0..count).map(shard).collect()
}

/// The likeliest class of every row, the first of equals.
fn predicted(logits: &[f32], classes: usize) -> Vec<u32> {
    let likeliest = |row: &[f32]| (1..classes).fold(0, |best, class| if row[class] > row[best] { class } else { best });
    logits.chunks_exact(classes).map(|row| likeliest(row) as u32).collect()
}

/// How many rows of a shard are told right.
fn right(shard: &Shard<'_>, logits: &[f32], classes: usize) -> usize {
    shard.labels.iter().zip(predicted(logits, classes)).filter(|(label, class)| *label == class).count()
}

fn host(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.flatten_all().and_then(|t| t.to_vec1()).map_err(failed)
}

fn flatten(gradients: &[Tensor]) -> Result<Vec<f32>> {
    let mut flat = Vec::with_capacity(gradients.iter().map(Tensor::elem_count).sum());
    for gradient in gradients {
        flat.extend(host(gradient)?);
    }
    Ok(flat)
}

fn scalar(loss: &Tensor) -> Result<f64> {
    loss.to_scalar::<f32>().map(f64::from).map_err(failed)
}

fn failed(e: candle_core::Error) -> Error {
    Error::tensor("a training step", e)
}
