//! Replicas of the network, one a device, that step together.

use std::thread;

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::{CrossEntropy, OptimizerState, TrainParams, Updater};
use crate::{
    Error, Result,
    model::{ConfusionMatrix, Evaluation},
    nn::{InputShape, Mode, NetworkSpec, Sequential, Tape, Weights},
    tensor::{Element, Minibatch, Rows, TensorField, Values, field::LABEL},
};

/// Rows evaluated at once, and their bytes, so that the rows held out need not fit on a device together.
const ROWS_AT_ONCE: usize = 4096;
const BYTES_AT_ONCE: usize = 64 << 20;

/// One network and its optimizer on one device.
struct Replica {
    network: Sequential,
    optimizer: Updater,
    /// What the network learns on, where that is the processor.
    tape: Option<Tape>,
}

/// What one step, or several, saw.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
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

/// A minibatch on its devices.
pub(super) struct Staged {
    pub(super) rows: usize,
    /// What the sum of the loss is divided by.
    weight: f64,
    shards: Vec<Shard>,
}

/// A replica's share of a minibatch.
struct Shard {
    features: Features,
    labels: Vec<u32>,
    target: Vec<f32>,
    first_row: usize,
}

/// The features of a shard, where its replica wants them.
enum Features {
    /// The processor: its kernels read them where they lie.
    Host(Vec<f32>),
    Device(Tensor),
}

/// Places minibatches on the devices; it runs ahead of the replicas, on another thread.
#[derive(Clone)]
pub(super) struct Stager {
    devices: Vec<Device>,
    loss: CrossEntropy,
}

impl Stager {
    /// Splits a minibatch into runs of rows, one a device and as even as can be. With fewer rows than devices some replicas
    /// sit the minibatch out.
    pub(super) fn stage(&self, minibatch: Minibatch) -> Result<Staged> {
        let rows = minibatch.rows();
        let target = self.loss.target(&minibatch);
        let count = self.devices.len().min(rows);
        let labels = minibatch.classes().to_vec();
        let (width, mut features) = features(minibatch);
        let mut shards = Vec::with_capacity(count);
        // From the last to the first, so that each takes its rows off the end and a single one takes all without a copy.
        for i in (0..count).rev() {
            let (begin, end) = (rows * i / count, rows * (i + 1) / count);
            let own = if begin == 0 { std::mem::take(&mut features) } else { features.split_off(begin * width) };
            let classes = target.values.len() / rows;
            let features = match &self.devices[i] {
                Device::Cpu => Features::Host(own),
                device => Tensor::from_vec(own, (end - begin, width), device)
                    .map(Features::Device)
                    .map_err(|e| Error::tensor("placing a minibatch on its device", e))?,
            };
            shards.push(Shard {
                features,
                labels: labels[begin..end].to_vec(),
                target: target.values[begin * classes..end * classes].to_vec(),
                first_row: begin,
            });
        }
        shards.reverse();
        Ok(Staged { rows, weight: target.weight, shards })
    }
}

/// Checks that there are classes to tell apart and one input of numbers; gives the shape of its rows.
pub(super) fn check_fields(fields: &[TensorField]) -> Result<InputShape> {
    if !fields.iter().any(|field| field.name == LABEL && field.element == Element::U32) {
        return Err(Error::schema(LABEL, "a canonical column of classes, 32 bits each", "none, or one of numbers"));
    }
    let inputs: Vec<&TensorField> = fields.iter().filter(|field| field.is_input()).collect();
    let refused = |got: String| {
        let (layer, fits) =
            ("input".to_owned(), "one input of numbers is taken, each row of the same shape".to_owned());
        Err(Error::Network { layer, got, fits })
    };
    match inputs.as_slice() {
        [input] if input.shape.ragged => refused(format!("rows of different lengths in column `{}`", input.name)),
        [input] if input.element == Element::U32 => {
            refused(format!("class or token numbers in column `{}`", input.name))
        }
        [input] => Ok(InputShape::from(input.shape.dims.clone())),
        several => {
            let names: Vec<&str> = several.iter().map(|input| input.name.as_str()).collect();
            refused(format!("the inputs [{}]", names.join(", ")))
        }
    }
}

/// The features of a minibatch that [`check_fields`] lets pass, and how many a row has. Bytes become the numbers 0 to 255.
fn features(minibatch: Minibatch) -> (usize, Vec<f32>) {
    let Some(input) = minibatch.inputs.into_iter().next() else { return (0, Vec::new()) };
    let features = match input.values {
        Values::F32(values) => values,
        Values::U8(values) => values.into_iter().map(f32::from).collect(),
        Values::U32(values) => values.into_iter().map(|value| value as f32).collect(),
    };
    (input.shape.iter().product(), features)
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
            let optimizer = Updater::new(params, network.parameters())?;
            let tape = if device.is_cpu() { Some(Tape::new(&network)?) } else { None };
            Ok(Replica { network, optimizer, tape })
        };
        let replicas = devices.iter().map(replica).collect::<Result<_>>()?;
        Ok(Self { replicas, loss, seed: params.seed })
    }

    /// What places minibatches where the replicas want them.
    pub(super) fn stager(&self) -> Stager {
        let devices = self.replicas.iter().map(|replica| replica.network.device().clone()).collect();
        Stager { devices, loss: self.loss.clone() }
    }

    /// Changes the step size for the steps to come.
    pub(super) fn set_learning_rate(&mut self, rate: f64) {
        self.replicas.iter_mut().for_each(|replica| replica.optimizer.set_learning_rate(rate));
    }

    /// Takes one step. Nothing moves when the loss is not finite, or when all rows weigh nothing.
    pub(super) fn step(&mut self, staged: &Staged, step: usize) -> Result<Tally> {
        let Staged { rows, weight, shards } = staged;
        let mut tally = Tally { weight: *weight, rows: *rows, ..Tally::default() };
        if *weight == 0.0 {
            return Ok(tally);
        }
        let (loss, seed) = (&self.loss, self.seed);
        let learn = |replica: &mut Replica, shard: &Shard| {
            let mode = Mode::Train { seed, step: step as u64, first_row: shard.first_row };
            replica.gradients(loss, shard, *weight, mode)
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
            let running: Vec<_> = self.replicas.iter_mut().zip(shards).map(start).collect();
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
    pub(super) fn evaluate(&self, rows: &Rows, numbers: &[u32]) -> Result<(Evaluation, ConfusionMatrix)> {
        let mut tally = Tally::default();
        let mut matrix = ConfusionMatrix::new(self.loss.classes());
        let stager = Stager { devices: vec![self.replicas[0].network.device().clone()], loss: self.loss.clone() };
        let row_bytes = 4 * self.replicas[0].network.spec().inputs.count();
        for part in numbers.chunks((BYTES_AT_ONCE / row_bytes.max(1)).clamp(1, ROWS_AT_ONCE)) {
            let Staged { weight, shards, .. } = stager.stage(rows.gather(part))?;
            let Some(shard) = shards.first() else { continue };
            let (logits, loss) = self.replicas[0].loss(&self.loss, shard, Mode::Eval)?;
            let predicted = predicted(&host(&logits)?, self.loss.classes());
            let right = shard.labels.iter().zip(&predicted).filter(|(label, class)| label == class).count();
            for (label, class) in shard.labels.iter().zip(predicted) {
                matrix.count(*label as usize, class as usize);
            }
            tally.add(Tally { loss: scalar(&loss)?, weight, right, rows: part.len() });
        }
        Ok((tally.evaluation(), matrix))
    }

    pub(super) fn weights(&self) -> Result<Weights> {
        self.replicas[0].network.weights()
    }

    /// The optimizer's state, the same for all replicas.
    pub(super) fn optimizer(&self) -> Result<OptimizerState> {
        self.replicas[0].optimizer.state()
    }

    /// Puts other weights in the place of those that are there.
    pub(super) fn load(&mut self, spec: &NetworkSpec, weights: &Weights) -> Result<()> {
        for replica in &mut self.replicas {
            replica.network = Sequential::load(spec, weights, replica.network.device())?;
            replica.tape = replica.tape.take().map(|_| Tape::new(&replica.network)).transpose()?;
        }
        Ok(())
    }

    /// Goes on from an optimizer's state.
    pub(super) fn resume(&mut self, params: &TrainParams, state: &OptimizerState) -> Result<()> {
        for replica in &mut self.replicas {
            replica.optimizer = Updater::resume(params, replica.network.parameters(), state.clone())?;
        }
        Ok(())
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
    fn loss(&self, loss: &CrossEntropy, shard: &Shard, mode: Mode) -> Result<(Tensor, Tensor)> {
        let logits = match &shard.features {
            Features::Device(features) => self.network.forward(features, mode)?,
            Features::Host(values) => {
                let shape = (shard.labels.len(), self.network.spec().inputs.count());
                let features = Tensor::from_slice(values, shape, self.network.device()).map_err(failed)?;
                self.network.forward(&features, mode)?
            }
        };
        let sum = loss.sum(&logits, &shard.target).map_err(failed)?;
        Ok((logits, sum))
    }

    /// The shard's part of the gradients of the mean loss, `weight` being what the whole sum is divided by.
    fn gradients(&mut self, loss: &CrossEntropy, shard: &Shard, weight: f64, mode: Mode) -> Result<Found> {
        if let (Some(tape), Features::Host(features)) = (&mut self.tape, &shard.features) {
            let (sum, right) = tape.learn(&self.network, features, shard.labels.len(), mode, |logits, gradient| {
                (loss.learn(logits, &shard.target, weight, gradient), right(shard, logits, loss.classes()))
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

/// The likeliest class of every row, the first of equals.
fn predicted(logits: &[f32], classes: usize) -> Vec<u32> {
    let likeliest = |row: &[f32]| (1..classes).fold(0, |best, class| if row[class] > row[best] { class } else { best });
    logits.chunks_exact(classes).map(|row| likeliest(row) as u32).collect()
}

/// How many rows of a shard are told right.
fn right(shard: &Shard, logits: &[f32], classes: usize) -> usize {
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
