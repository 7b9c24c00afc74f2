//! One replica of the network on one device, and its share of a minibatch.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use candle_core::{Device, DeviceLocation, Tensor};
use serde::{Deserialize, Serialize};

use super::{
    loss::{Objective, Target},
    sparse::SparseShard,
};
use crate::{
    Error, Result,
    model::{Evaluation, Metric},
    nn::{Id, InputShape, Mode, Sequential, Tape, add_into},
    number,
    tensor::{ElementType, LabelKind, Minibatch, MinibatchInput, SparseRows, TensorField, Values, field::LABEL},
};

/// Sums of one step, or of several.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct LossTally {
    /// The weighted sum of the loss.
    #[serde(with = "number::one")]
    pub(super) loss: f64,
    /// Divisor of the loss.
    pub(super) weight: f64,
    /// The sum that the metric comes from, and over how many values.
    #[serde(with = "number::pair")]
    pub(super) measured: (f64, f64),
}

impl LossTally {
    pub(super) fn add(&mut self, other: LossTally) {
        self.loss += other.loss;
        self.weight += other.weight;
        self.measured.0 += other.measured.0;
        self.measured.1 += other.measured.1;
    }

    /// Returns the mean loss; rows that all weigh nothing have none.
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
    /// Divisor of the sum of the loss.
    pub(super) weight: f64,
    pub(super) shards: Vec<Shard>,
    /// The columns that occur in it, where rows are mostly zeros.
    pub(super) columns: Option<Arc<Vec<u32>>>,
}

/// A replica's share of a minibatch.
pub(super) struct Shard {
    features: Features,
    /// The steps of each row, where rows are sequences.
    lengths: Option<Vec<u32>>,
    pub(super) target: Target,
    pub(super) rows: usize,
    first_row: usize,
}

/// The features of a shard, where its replica wants them.
enum Features {
    /// The processor: its kernels read them where they lie.
    Host(Vec<f32>),
    Device(Tensor),
    /// The processor, and rows of mostly zeros.
    Sparse(SparseShard),
}

/// Places minibatches on the devices; it runs ahead of the replicas, on another thread.
#[derive(Clone)]
pub(super) struct DevicePlacer {
    pub(super) devices: Vec<Device>,
    pub(super) objective: Arc<Objective>,
    pub(super) ids: Vec<Id>,
    /// True if sparse rows stay sparse.
    pub(super) sparse: bool,
}

impl DevicePlacer {
    /// Splits a minibatch into runs of rows, one a device and as even as can be. With fewer rows than devices some
    /// replicas sit the minibatch out. `at`, an epoch and the minibatch's number within it, decides how its input is
    /// corrupted, if corruption is set; it is `None` in evaluation.
    pub(super) fn stage(&self, mut minibatch: Minibatch, at: Option<(usize, u64)>) -> Result<Staged> {
        let rows = minibatch.rows();
        if self.sparse
            && let Some(MinibatchInput { values: Values::Sparse(values), .. }) = minibatch.inputs.first_mut()
        {
            let values = std::mem::take(values);
            return self.stage_sparse(&minibatch, values);
        }
        let name = minibatch.inputs.first().map(|input| input.name.clone()).unwrap_or_default();
        let (width, lengths, mut features) = features(&mut minibatch);
        self.check_ids(&name, &features, width, lengths.as_deref(), &minibatch.numbers)?;
        let target = self.objective.target(&minibatch, &features)?;
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
        Ok(Staged { rows, weight: target.weight, shards, columns: None })
    }

    fn stage_sparse(&self, minibatch: &Minibatch, values: SparseRows) -> Result<Staged> {
        let rows = minibatch.rows();
        let target = self.objective.target(minibatch, &[])?;
        let all = SparseShard::new(values);
        let count = self.devices.len().min(rows);
        let shard = |i: usize| {
            let (begin, end) = (rows * i / count, rows * (i + 1) / count);
            let features = Features::Sparse(all.slice(begin, end));
            Shard {
                features,
                lengths: None,
                target: target.part(begin, end, rows),
                rows: end - begin,
                first_row: begin,
            }
        };
        let (shards, columns) = ((0..count).map(shard).collect(), Some(all.columns().clone()));
        Ok(Staged { rows, weight: target.weight, shards, columns })
    }
}

impl DevicePlacer {
    /// Refuses ids that an embedding lacks.
    fn check_ids(
        &self,
        column: &str,
        features: &[f32],
        width: usize,
        lengths: Option<&[u32]>,
        numbers: &[u32],
    ) -> Result<()> {
        if self.ids.is_empty() {
            return Ok(());
        }
        for (i, row) in features.chunks_exact(width.max(1)).enumerate() {
            let row = lengths.map_or(row, |lengths| &row[..lengths[i] as usize]);
            let size = if lengths.is_some() { 1 } else { width };
            let missing = |(step, row): (usize, &[f32])| {
                self.ids.iter().find_map(|id| Some((id, id.missing(row)?, step + id.place)))
            };
            if let Some((id, value, place)) = row.chunks_exact(size).enumerate().find_map(missing) {
                let row = numbers.get(i).copied().unwrap_or(i as u32);
                return Err(id.refusal(column, row.into(), value, place));
            }
        }
        Ok(())
    }
}

/// Checks that the fields have the label, such as classes, and one input of numbers; returns the shape of its rows.
pub(super) fn check_fields(fields: &[TensorField], kind: LabelKind, ids: bool) -> Result<InputShape> {
    let label = fields.iter().find(|field| field.name == LABEL).map(|field| field.element);
    let (fits, expected) = match kind {
        LabelKind::Class => (label == Some(ElementType::U32), "a canonical column of classes, 32 bits each"),
        LabelKind::None => (true, ""),
        _ => {
            (matches!(label, Some(ElementType::F32 | ElementType::F64)), "a canonical column of floating-point numbers")
        }
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
        [input] if input.element == ElementType::U32 && !ids => {
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

/// Returns the features of a minibatch that [`check_fields`] lets pass: how many a row has, its steps where rows are
/// sequences, and all of them. Bytes become the numbers 0 to 255.
fn features(minibatch: &mut Minibatch) -> (usize, Option<Vec<u32>>, Vec<f32>) {
    let Some(input) = minibatch.inputs.drain(..).next() else { return (0, None, Vec::new()) };
    (input.shape.iter().product(), input.lengths, input.values.into_single())
}

/// A network on one device.
pub(super) struct Replica {
    pub(super) network: Sequential,
    /// Buffers for training on the processor.
    tape: Option<Tape>,
    alone: ReplicaThreads,
    /// Factor of the loss before its gradients are computed.
    pub(super) loss_factor: f64,
    /// Rows beyond which its memory is said to be full.
    #[cfg(test)]
    pub(super) fits: Option<usize>,
}

/// The threads of a replica on the processor.
#[derive(Clone)]
pub(super) enum ReplicaThreads {
    /// All that there are: it has no company.
    No,
    /// The one it runs on.
    One,
    /// A separate pool.
    Pool(Arc<rayon::ThreadPool>),
}

/// Results of a replica's shard.
pub(super) struct ShardResult {
    pub(super) loss: f64,
    pub(super) measured: (f64, f64),
    pub(super) gradients: Vec<Tensor>,
    pub(super) forward: Duration,
    pub(super) backward: Duration,
}

impl Replica {
    pub(super) fn new(network: Sequential, alone: ReplicaThreads) -> Result<Self> {
        let tape = if network.has_kernels() { Some(Tape::new(&network)?) } else { None };
        Ok(Self {
            network,
            tape,
            alone,
            loss_factor: 1.0,
            #[cfg(test)]
            fits: None,
        })
    }

    /// Returns its device as a user names it.
    pub(super) fn device(&self) -> String {
        match self.network.device().location() {
            DeviceLocation::Cpu => "cpu".into(),
            DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
            DeviceLocation::Metal { .. } => "metal".into(),
        }
    }

    /// Replaces the network.
    pub(super) fn replace(&mut self, network: Sequential) -> Result<()> {
        self.tape = if network.has_kernels() { Some(Tape::new(&network)?) } else { None };
        self.network = network;
        Ok(())
    }

    /// Returns the outputs for a shard and the weighted sum of its loss.
    fn loss(&self, objective: &Objective, shard: &Shard, mode: Mode) -> Result<(Tensor, Tensor)> {
        let placed;
        let features = match &shard.features {
            Features::Device(features) => features,
            Features::Host(values) => {
                let shape = (shard.rows, values.len() / shard.rows.max(1));
                placed = Tensor::from_slice(values, shape, self.network.device()).map_err(failed)?;
                &placed
            }
            Features::Sparse(_) => {
                let fits = "only networks on the processor take them".to_owned();
                return Err(Error::Network { layer: "input".into(), got: "sparse rows".into(), fits });
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

    /// Returns the outputs for a shard as they are predicted, and the weighted sum of its loss.
    pub(super) fn outputs(&self, objective: &Objective, shard: &Shard, tape: &mut Tape) -> Result<(Vec<f32>, f64)> {
        let outputs = match (&shard.features, &self.tape, &shard.lengths) {
            (Features::Sparse(rows), ..) => tape.forward_sparse(&self.network, rows.csr()),
            (Features::Host(x), Some(_), Some(lengths)) => {
                tape.forward_sequences(&self.network, x, lengths, Mode::Eval)
            }
            (Features::Host(x), Some(_), None) => tape.forward(&self.network, x, shard.rows, Mode::Eval),
            _ => {
                let (outputs, sum) = self.loss(objective, shard, Mode::Eval)?;
                return Ok((host(&outputs)?, scalar(&sum)?));
            }
        }?;
        let sum = objective.learn(outputs, &shard.target, &mut vec![0.0; outputs.len()]);
        Ok((outputs.to_vec(), sum))
    }

    /// Computes the shard's part of the gradients of the mean loss, by at most `most` rows at a time. `mode` is the
    /// mode for the rows from a row of the global minibatch on.
    pub(super) fn learn(
        &mut self,
        objective: &Objective,
        shard: &Shard,
        most: usize,
        mode: impl Fn(usize) -> Mode + Send + Sync,
    ) -> Result<ShardResult> {
        match self.alone.clone() {
            ReplicaThreads::No => self.parts(objective, shard, most, mode),
            ReplicaThreads::One => crate::nn::alone(|| self.parts(objective, shard, most, mode)),
            ReplicaThreads::Pool(pool) => pool.install(|| self.parts(objective, shard, most, mode)),
        }
    }

    fn parts(
        &mut self,
        objective: &Objective,
        shard: &Shard,
        most: usize,
        mode: impl Fn(usize) -> Mode,
    ) -> Result<ShardResult> {
        if shard.rows <= most {
            return self.gradients(objective, shard, mode(shard.first_row));
        }
        let mut all: Option<ShardResult> = None;
        for begin in (0..shard.rows).step_by(most.max(1)) {
            let part = shard.part(begin, (begin + most).min(shard.rows))?;
            let found = self.gradients(objective, &part, mode(part.first_row))?;
            all = Some(match all {
                None => {
                    let copies = found.gradients.iter().map(Tensor::copy).collect::<candle_core::Result<_>>();
                    ShardResult { gradients: copies.map_err(failed)?, ..found }
                }
                Some(mut sum) => {
                    sum.loss += found.loss;
                    sum.measured = (sum.measured.0 + found.measured.0, sum.measured.1 + found.measured.1);
                    sum.forward += found.forward;
                    sum.backward += found.backward;
                    for (sum, gradient) in sum.gradients.iter_mut().zip(&found.gradients) {
                        add_into(sum, gradient).map_err(failed)?;
                    }
                    sum
                }
            });
        }
        all.ok_or_else(|| Error::Cancelled { what: "a share of a minibatch without rows".into() })
    }

    /// Computes the gradients of a shard in one pass.
    fn gradients(&mut self, objective: &Objective, shard: &Shard, mode: Mode) -> Result<ShardResult> {
        #[cfg(test)]
        if self.fits.is_some_and(|fits| shard.rows > fits) {
            return Err(Error::tensor("a training step", "CUDA_ERROR_OUT_OF_MEMORY"));
        }
        let begun = Instant::now();
        if let (Some(tape), Features::Host(_) | Features::Sparse(_)) = (&mut self.tape, &shard.features) {
            let learn = |outputs: &[f32], gradient: &mut [f32]| {
                let forward = begun.elapsed();
                let loss = objective.learn(outputs, &shard.target, gradient);
                (loss, objective.measure(outputs, &shard.target), forward, Instant::now())
            };
            let (loss, measured, forward, turned) = match (&shard.features, &shard.lengths) {
                (Features::Sparse(rows), _) => tape.learn_sparse(&self.network, rows.csr(), mode, learn),
                (Features::Host(x), Some(lengths)) => tape.learn_sequences(&self.network, x, lengths, mode, learn),
                (Features::Host(x), None) => tape.learn(&self.network, x, shard.rows, mode, learn),
                (Features::Device(_), _) => return Err(Error::tensor("a training step", "features on a device")),
            }?;
            let gradients = tape.gradients().to_vec();
            return Ok(ShardResult { loss, measured, gradients, forward, backward: turned.elapsed() });
        }
        let (outputs, sum) = self.loss(objective, shard, mode)?;
        // Both wait for the device.
        let (measured, loss) = (objective.measure(&host(&outputs)?, &shard.target), scalar(&sum)?);
        let (forward, turned) = (begun.elapsed(), Instant::now());
        let mut store =
            (&sum * (self.loss_factor / shard.target.weight)).and_then(|mean| mean.backward()).map_err(failed)?;
        let gradient = |p: &crate::nn::Parameter| store.remove(&p.var).map_or_else(|| p.var.zeros_like(), Ok);
        let gradients = self.network.parameters().iter().map(gradient).collect::<candle_core::Result<_>>();
        Ok(ShardResult { loss, measured, gradients: gradients.map_err(failed)?, forward, backward: turned.elapsed() })
    }

    /// Returns the running statistics of batch normalisation.
    pub(super) fn statistics(&self) -> Result<Vec<Vec<f32>>> {
        self.network.statistics().iter().map(|p| host(&p.var)).collect()
    }

    /// Puts others in their place.
    pub(super) fn set_statistics(&self, all: &[Vec<f32>]) -> Result<()> {
        for (place, values) in self.network.statistics().iter().zip(all) {
            let placed = Tensor::from_slice(values, place.var.shape(), self.network.device());
            placed.and_then(|values| place.var.set(&values)).map_err(failed)?;
        }
        Ok(())
    }
}

impl Shard {
    /// Returns the rows from `begin` to `end`.
    fn part(&self, begin: usize, end: usize) -> Result<Shard> {
        let features = match &self.features {
            Features::Host(values) => {
                let width = values.len() / self.rows.max(1);
                Features::Host(values[begin * width..end * width].to_vec())
            }
            Features::Device(features) => Features::Device(features.narrow(0, begin, end - begin).map_err(failed)?),
            Features::Sparse(rows) => Features::Sparse(rows.slice(begin, end)),
        };
        let target = self.target.part(begin, end, self.rows);
        let lengths = self.lengths.as_ref().map(|lengths| lengths[begin..end].to_vec());
        Ok(Shard { features, lengths, target, rows: end - begin, first_row: self.first_row + begin })
    }
}

pub(super) fn host(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.flatten_all().and_then(|t| t.to_vec1()).map_err(failed)
}

pub(super) fn scalar(loss: &Tensor) -> Result<f64> {
    loss.to_scalar::<f32>().map(f64::from).map_err(failed)
}

pub(super) fn failed(e: candle_core::Error) -> Error {
    Error::tensor("a training step", e)
}
