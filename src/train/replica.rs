//! Replicas of the network, one a device, that step together.

use std::{sync::Arc, thread};

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::{
    OptimizerState, TrainParams, Updater,
    loss::{Objective, Target},
};
use crate::{
    Error, Result,
    model::{ConfusionMatrix, Evaluation, Metric},
    nn::{InputShape, Lookup, Mode, NetworkSpec, Sequential, Tape, Weights},
    tensor::{Element, LabelKind, Minibatch, Rows, TensorField, Values, field::LABEL},
};

/// Rows evaluated at once, and their bytes, so that the rows held out need not fit on a device together.
const ROWS_AT_ONCE: usize = 4096;
const BYTES_AT_ONCE: usize = 64 << 20;
const SEQUENCES_AT_ONCE: usize = 256;

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
    /// The sum that the figure of merit comes from, and over how many values.
    pub(super) measured: (f64, f64),
}

impl Tally {
    pub(super) fn add(&mut self, other: Tally) {
        self.loss += other.loss;
        self.weight += other.weight;
        self.measured.0 += other.measured.0;
        self.measured.1 += other.measured.1;
    }

    /// The mean loss; rows that all weigh nothing have none.
    pub(super) fn mean_loss(&self) -> f64 {
        if self.weight == 0.0 { 0.0 } else { self.loss / self.weight }
    }

    pub(super) fn evaluation(&self, metric: Metric) -> Evaluation {
        Evaluation { loss: self.mean_loss(), metric: metric.of(self.measured.0, self.measured.1) }
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
    /// The steps of each row, where rows are sequences.
    lengths: Option<Vec<u32>>,
    target: Target,
    rows: usize,
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
    objective: Arc<Objective>,
    lookup: Option<Lookup>,
}

impl Stager {
    /// Splits a minibatch into runs of rows, one a device and as even as can be. With fewer rows than devices some replicas
    /// sit the minibatch out. `at`, an epoch and the minibatch's number within it, decides how its input is made worse, if
    /// that is asked for; it is not where the network is only measured.
    pub(super) fn stage(&self, mut minibatch: Minibatch, at: Option<(usize, u64)>) -> Result<Staged> {
        let rows = minibatch.rows();
        let name = minibatch.inputs.first().map(|input| input.name.clone()).unwrap_or_default();
        let (width, lengths, mut features) = features(&mut minibatch);
        self.check_ids(&name, &features, width, lengths.as_deref(), &minibatch.numbers)?;
        let target = self.objective.target(&minibatch, &features);
        if let Some((epoch, index)) = at {
            self.objective.corrupt(&mut features, epoch, index);
        }
        let count = self.devices.len().min(rows);
        let mut shards = Vec::with_capacity(count);
        // From the last to the first, so that each takes its rows off the end and a single one takes all without a copy.
        for i in (0..count).rev() {
            let (begin, end) = (rows * i / count, rows * (i + 1) / count);
            let own = if begin == 0 { std::mem::take(&mut features) } else { features.split_off(begin * width) };
            let features = match &self.devices[i] {
                Device::Cpu => Features::Host(own),
                device => Tensor::from_vec(own, (end - begin, width), device)
                    .map(Features::Device)
                    .map_err(|e| Error::tensor("placing a minibatch on its device", e))?,
            };
            shards.push(Shard {
                features,
                lengths: lengths.as_ref().map(|lengths| lengths[begin..end].to_vec()),
                target: target.part(begin, end, rows),
                rows: end - begin,
                first_row: begin,
            });
        }
        shards.reverse();
        Ok(Staged { rows, weight: target.weight, shards })
    }
}

impl Stager {
    /// Refuses ids that an embedding lacks.
    fn check_ids(
        &self,
        column: &str,
        features: &[f32],
        width: usize,
        lengths: Option<&[u32]>,
        numbers: &[u32],
    ) -> Result<()> {
        let Some(lookup) = &self.lookup else { return Ok(()) };
        for (i, row) in features.chunks_exact(width.max(1)).enumerate() {
            let row = lengths.map_or(row, |lengths| &row[..lengths[i] as usize]);
            let size = if lengths.is_some() { 1 } else { width };
            let miss = row.chunks_exact(size).enumerate().find_map(|(step, ids)| Some((step, lookup.misses(ids)?)));
            if let Some((step, (place, value, count))) = miss {
                let reason = format!(
                    "row {} holds {value} as value {}, where the network knows {count} categories: 0 to {}",
                    numbers.get(i).copied().unwrap_or(i as u32),
                    step + place,
                    count - 1
                );
                return Err(Error::data(column, reason));
            }
        }
        Ok(())
    }
}

/// Checks that there is what is to be learnt, be it classes, and one input of numbers; gives the shape of its rows.
pub(super) fn check_fields(fields: &[TensorField], kind: LabelKind, ids: bool) -> Result<InputShape> {
    let label = fields.iter().find(|field| field.name == LABEL).map(|field| field.element);
    let (fits, expected) = match kind {
        LabelKind::Class => (label == Some(Element::U32), "a canonical column of classes, 32 bits each"),
        LabelKind::None => (true, ""),
        _ => (label == Some(Element::F32), "a canonical column of numbers in single precision"),
    };
    if !fits {
        return Err(Error::schema(
            LABEL,
            expected,
            label.map_or("none".into(), |element| format!("one of {element:?}")),
        ));
    }
    let inputs: Vec<&TensorField> = fields.iter().filter(|field| field.is_input()).collect();
    let refused = |got: String| {
        let (layer, fits) = ("input".to_owned(), "one input of numbers is taken".to_owned());
        Err(Error::Network { layer, got, fits })
    };
    match inputs.as_slice() {
        [input] if input.element == Element::U32 && !ids => {
            refused(format!("ids in column `{}`, which an embedding as first layer would take", input.name))
        }
        [input] if input.shape.ragged && kind == LabelKind::None => {
            refused(format!("sequences in column `{}` and no label: they cannot be restored", input.name))
        }
        // A step that is one number has one dimension all the same.
        [input] if input.shape.ragged && input.shape.dims.is_empty() => Ok(InputShape::sequence([1])),
        [input] => Ok(InputShape { dims: input.shape.dims.clone(), ragged: input.shape.ragged }),
        several => {
            let names: Vec<&str> = several.iter().map(|input| input.name.as_str()).collect();
            refused(format!("the inputs [{}]", names.join(", ")))
        }
    }
}

/// The features of a minibatch that [`check_fields`] lets pass: how many a row has, its steps where rows are sequences, and
/// all of them. Bytes become the numbers 0 to 255.
fn features(minibatch: &mut Minibatch) -> (usize, Option<Vec<u32>>, Vec<f32>) {
    let Some(input) = minibatch.inputs.drain(..).next() else { return (0, None, Vec::new()) };
    let features = match input.values {
        Values::F32(values) => values,
        Values::U8(values) => values.into_iter().map(f32::from).collect(),
        Values::U32(values) => values.into_iter().map(|value| value as f32).collect(),
    };
    (input.shape.iter().product(), input.lengths, features)
}

/// Synchronous data parallelism.
///
/// A minibatch is split into consecutive shards. Each replica computes the gradient of its shard's part of the mean loss;
/// the parts are added up on the host in the order of the devices, and every replica takes the same optimizer step, so
/// all stay equal. One replica keeps its gradients where they are.
pub(super) struct Replicas {
    replicas: Vec<Replica>,
    objective: Arc<Objective>,
    seed: u64,
}

impl Replicas {
    /// Builds the same initial network on every device.
    pub(super) fn new(
        spec: &NetworkSpec,
        params: &TrainParams,
        objective: Objective,
        devices: &[Device],
    ) -> Result<Self> {
        let replica = |device| {
            let network = Sequential::init(spec, params.seed, device)?;
            let optimizer = Updater::new(params, network.parameters())?;
            let tape = if network.has_kernels() { Some(Tape::new(&network)?) } else { None };
            Ok(Replica { network, optimizer, tape })
        };
        let replicas = devices.iter().map(replica).collect::<Result<_>>()?;
        Ok(Self { replicas, objective: Arc::new(objective), seed: params.seed })
    }

    /// What places minibatches where the replicas want them.
    pub(super) fn stager(&self) -> Stager {
        let devices = self.replicas.iter().map(|replica| replica.network.device().clone()).collect();
        let lookup = self.replicas[0].network.spec().lookup();
        Stager { devices, objective: self.objective.clone(), lookup }
    }

    /// Changes the step size for the steps to come.
    pub(super) fn set_learning_rate(&mut self, rate: f64) {
        self.replicas.iter_mut().for_each(|replica| replica.optimizer.set_learning_rate(rate));
    }

    /// Takes one step. Nothing moves when the loss is not finite, or when all rows weigh nothing.
    pub(super) fn step(&mut self, staged: &Staged, step: usize) -> Result<Tally> {
        let Staged { weight, shards, .. } = staged;
        let mut tally = Tally { weight: *weight, ..Tally::default() };
        if *weight == 0.0 {
            return Ok(tally);
        }
        let (objective, seed) = (&*self.objective, self.seed);
        let learn = |replica: &mut Replica, shard: &Shard| {
            let mode = Mode::Train { seed, step: step as u64, first_row: shard.first_row };
            replica.gradients(objective, shard, mode)
        };
        if let [replica] = self.replicas.as_mut_slice() {
            let found = learn(replica, &shards[0])?;
            (tally.loss, tally.measured) = (found.loss, found.measured);
            if found.loss.is_finite() {
                replica.optimizer.step(replica.network.parameters(), &found.gradients)?;
            }
            return Ok(tally);
        }
        let parts: Vec<Result<(Tally, Vec<f32>)>> = thread::scope(|scope| {
            let start = |(replica, shard)| {
                scope.spawn(move || {
                    let found: Found = learn(replica, shard)?;
                    let seen = Tally { loss: found.loss, measured: found.measured, ..Tally::default() };
                    Ok((seen, flatten(&found.gradients)?))
                })
            };
            let running: Vec<_> = self.replicas.iter_mut().zip(shards).map(start).collect();
            running.into_iter().map(|thread| thread.join().unwrap_or_else(|p| std::panic::resume_unwind(p))).collect()
        });
        let mut sum: Vec<f32> = Vec::new();
        for part in parts {
            let (seen, gradients) = part?;
            tally.add(seen);
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

    /// What epochs are measured by.
    pub(super) fn metric(&self) -> Metric {
        self.objective.metric()
    }

    /// Measures the network on some rows, dropout off, on the first device; counts what is taken for what where there are
    /// classes.
    pub(super) fn evaluate(&self, rows: &Rows, numbers: &[u32]) -> Result<(Evaluation, Option<ConfusionMatrix>)> {
        let mut tally = Tally::default();
        let objective = &self.objective;
        let mut tape = Tape::default();
        let mut matrix = objective.tells_classes().then(|| ConfusionMatrix::new(objective.outputs()));
        let stager = Stager { devices: vec![self.replicas[0].network.device().clone()], ..self.stager() };
        let inputs = &self.replicas[0].network.spec().inputs;
        let most = if inputs.ragged { SEQUENCES_AT_ONCE } else { ROWS_AT_ONCE };
        for part in numbers.chunks((BYTES_AT_ONCE / (4 * inputs.count()).max(1)).clamp(1, most)) {
            let Staged { weight, shards, .. } = stager.stage(rows.gather(part), None)?;
            let Some(shard) = shards.first() else { continue };
            let (outputs, loss) = self.replicas[0].outputs(objective, shard, &mut tape)?;
            if let Some(matrix) = &mut matrix {
                for (label, class) in shard.target.labels.iter().zip(objective.predicted(&outputs)) {
                    matrix.count(*label as usize, class as usize);
                }
            }
            let measured = objective.measure(&outputs, &shard.target);
            tally.add(Tally { loss, weight, measured });
        }
        Ok((tally.evaluation(self.metric()), matrix))
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
    measured: (f64, f64),
    gradients: Vec<Tensor>,
}

impl Replica {
    /// The outputs for a shard and the weighted sum of its loss.
    fn loss(&self, objective: &Objective, shard: &Shard, mode: Mode) -> Result<(Tensor, Tensor)> {
        let placed;
        let features = match &shard.features {
            Features::Device(features) => features,
            Features::Host(values) => {
                let shape = (shard.rows, values.len() / shard.rows.max(1));
                placed = Tensor::from_slice(values, shape, self.network.device()).map_err(failed)?;
                &placed
            }
        };
        let logits = match &shard.lengths {
            None => self.network.forward(features, mode)?,
            Some(lengths) => {
                let steps = (lengths.len(), (), self.network.spec().inputs.count());
                let features = features.reshape(steps).map_err(failed)?;
                self.network.forward_sequences(&features, lengths, mode)?
            }
        };
        let sum = objective.sum(&logits, &shard.target).map_err(failed)?;
        Ok((logits, sum))
    }

    /// The outputs for a shard as they are predicted, and the weighted sum of its loss.
    fn outputs(&self, objective: &Objective, shard: &Shard, tape: &mut Tape) -> Result<(Vec<f32>, f64)> {
        let (Features::Host(features), Some(_)) = (&shard.features, &self.tape) else {
            let (outputs, sum) = self.loss(objective, shard, Mode::Eval)?;
            return Ok((host(&outputs)?, scalar(&sum)?));
        };
        let outputs = match &shard.lengths {
            Some(lengths) => tape.forward_sequences(&self.network, features, lengths, Mode::Eval),
            None => tape.forward(&self.network, features, shard.rows, Mode::Eval),
        }?;
        let sum = objective.learn(outputs, &shard.target, &mut vec![0.0; outputs.len()]);
        Ok((outputs.to_vec(), sum))
    }

    /// The shard's part of the gradients of the mean loss.
    fn gradients(&mut self, objective: &Objective, shard: &Shard, mode: Mode) -> Result<Found> {
        if let (Some(tape), Features::Host(features)) = (&mut self.tape, &shard.features) {
            let learn = |outputs: &[f32], gradient: &mut [f32]| {
                (objective.learn(outputs, &shard.target, gradient), objective.measure(outputs, &shard.target))
            };
            let (loss, measured) = match &shard.lengths {
                Some(lengths) => tape.learn_sequences(&self.network, features, lengths, mode, learn),
                None => tape.learn(&self.network, features, shard.rows, mode, learn),
            }?;
            return Ok(Found { loss, measured, gradients: tape.gradients().to_vec() });
        }
        let (outputs, sum) = self.loss(objective, shard, mode)?;
        let mut store = (&sum / shard.target.weight).and_then(|mean| mean.backward()).map_err(failed)?;
        let gradient = |p: &crate::nn::Parameter| store.remove(&p.var).map_or_else(|| p.var.zeros_like(), Ok);
        let gradients = self.network.parameters().iter().map(gradient).collect::<candle_core::Result<_>>();
        let measured = objective.measure(&host(&outputs)?, &shard.target);
        Ok(Found { loss: scalar(&sum)?, measured, gradients: gradients.map_err(failed)? })
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
