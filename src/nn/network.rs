//! A network with weights on a device.

use candle_core::{DType, Device, Tensor, Var};

use super::{
    init,
    layer::{LayerRun, Mode, NormStats},
    op::{self, Moments},
    precision::Precision,
    spec::{LayerSpec, NetworkSpec, missing},
    stage::{KernelStage, stages},
    weights::{NamedTensor, Weights},
};
use crate::{Error, Result};

/// A tensor of the network and its name.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// The name, as in [`NetworkSpec::parameters`].
    pub name: String,
    /// The tensor, shared with the layer that uses it.
    pub var: Var,
}

/// Which tensors are a layer's own, in the order of the specification.
#[derive(Debug, Clone, Default)]
pub(super) struct Own {
    /// Among the network's parameters.
    pub(super) parameters: Vec<usize>,
    /// Among the network's statistics.
    pub(super) statistics: Vec<usize>,
}

/// Layers applied one after another on one device.
///
/// On the processor each layer is a kernel of this crate, on other devices candle's operations. To train on the
/// processor, [`Tape`](super::Tape) does without tensors between the layers.
#[derive(Debug, Clone)]
pub struct Sequential {
    spec: NetworkSpec,
    parameters: Vec<Parameter>,
    statistics: Vec<Parameter>,
    own: Vec<Own>,
    stages: Vec<KernelStage>,
    device: Device,
    precision: Precision,
}

impl Sequential {
    /// Builds a network with initial weights drawn from `seed`.
    ///
    /// # Errors
    /// [`Error::Network`] when the specification does not fit itself, [`Error::Tensor`] when the device fails.
    pub fn init(spec: &NetworkSpec, seed: u64, device: &Device) -> Result<Self> {
        spec.check()?;
        Self::load(spec, &init::weights(spec, seed), device)
    }

    /// Builds a network with given weights.
    ///
    /// # Errors
    /// [`Error::Network`] when the specification does not fit itself or a parameter is missing, left over or of another
    /// shape; [`Error::Tensor`] when the device fails.
    pub fn load(spec: &NetworkSpec, weights: &Weights, device: &Device) -> Result<Self> {
        spec.check()?;
        spec.check_weights(weights)?;
        let mut own = vec![Own::default(); spec.layers.len()];
        let (mut parameters, mut statistics) = (Vec::new(), Vec::new());
        let mut wanted = spec.parameters();
        for parameter in &wanted {
            let tensor = weights.get(&parameter.name).ok_or_else(|| missing(&parameter.name))?;
            let var = Var::from_slice(&tensor.values, tensor.shape.as_slice(), device)
                .map_err(|e| Error::tensor(format!("placing `{}` on the device", tensor.name), e))?;
            let place = if parameter.trained { &mut parameters } else { &mut statistics };
            place.push(Parameter { name: parameter.name.clone(), var });
        }
        wanted.sort_by_key(|p| (p.layer, p.index));
        for p in &wanted {
            let (among, own) = match p.trained {
                true => (&parameters, &mut own[p.layer].parameters),
                false => (&statistics, &mut own[p.layer].statistics),
            };
            own.extend(among.iter().position(|q| q.name == p.name));
        }
        for (layer, own) in spec.layers.iter().zip(&mut own) {
            if let LayerSpec::Tied { of, .. } = layer {
                let shared = format!("{of}.weight");
                if let Some(at) = parameters.iter().position(|p| p.name == shared) {
                    own.parameters.insert(0, at);
                }
            }
        }
        let stages = if device.is_cpu() && !spec.is_custom() { stages(spec)? } else { Vec::new() };
        let (spec, device, precision) = (spec.clone(), device.clone(), Precision::F32);
        Ok(Self { spec, parameters, statistics, own, stages, device, precision })
    }

    /// Computes in another precision; inputs, outputs and weights stay in single precision.
    pub fn with_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// Returns a second network over the same parameters in the same memory, with separate running statistics.
    pub(crate) fn twin(&self) -> Result<Self> {
        let copy = |p: &Parameter| {
            let var = p.var.copy().and_then(|values| Var::from_tensor(&values));
            let var = var.map_err(|e| Error::tensor(format!("copying `{}`", p.name), e))?;
            Ok(Parameter { name: p.name.clone(), var })
        };
        Ok(Self { statistics: self.statistics.iter().map(copy).collect::<Result<_>>()?, ..self.clone() })
    }

    /// Applies the layers; input `(rows, inputs)` or `(rows, …)` with the dimensions of the specification, output
    /// `(rows, outputs)`. Zero rows are allowed. Batch normalisation moves its running statistics while training.
    ///
    /// # Errors
    /// [`Error::Network`] names the layer that failed, what reached it and what it takes.
    pub fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let rows = x.dims().first().copied().unwrap_or(0);
        let inputs = &self.spec.inputs;
        if inputs.ragged {
            let time = x.dims().get(1).map_or(0, |&time| time as u32);
            return self.forward_sequences(x, &vec![time; rows], mode);
        }
        if x.rank() < 2 || x.elem_count() != rows * inputs.count() {
            let layer = if self.spec.layers.is_empty() { "input".into() } else { self.spec.name(0) };
            let got = format!("a tensor of shape {:?}", x.dims());
            return Err(Error::Network { layer, got, fits: format!("it takes rows of {inputs} values") });
        }
        if self.has_kernels() { self.by_kernels(x, mode) } else { self.portably(x, rows, mode) }
    }

    /// Applies the layers to sequences of these lengths, each at least 1; input `(rows, steps, inputs)`, padded behind
    /// each row's length, output `(rows, outputs)`. By candle's operations on every device.
    ///
    /// # Errors
    /// As [`forward`](Sequential::forward).
    pub fn forward_sequences(&self, x: &Tensor, lengths: &[u32], mode: Mode) -> Result<Tensor> {
        let inputs = &self.spec.inputs;
        let time = x.dims().get(1).copied().unwrap_or(0);
        let fits = inputs.ragged
            && x.rank() >= 2
            && x.dims()[0] == lengths.len()
            && x.elem_count() == lengths.len() * time * inputs.count()
            && lengths.iter().all(|&length| (1..=time as u32).contains(&length));
        if !fits {
            let got = format!("a tensor of shape {:?} with {} lengths", x.dims(), lengths.len());
            return Err(Error::Network { layer: "input".into(), got, fits: format!("it takes sequences of {inputs}") });
        }
        let dims: Vec<usize> = [lengths.len(), time].iter().chain(&inputs.dims).copied().collect();
        let mut x = x.reshape(dims).map_err(|e| Error::tensor("shaping the input", e))?;
        let mut lengths = Some(lengths);
        for (i, layer) in self.spec.layers.iter().enumerate() {
            x = self.layer(i, layer, &x, mode, lengths)?;
            if layer.ends_sequences() {
                lengths = None;
            }
        }
        x.to_dtype(DType::F32).map_err(|e| Error::tensor("giving the output", e))
    }

    /// Returns whether this crate's kernels compute it: on the processor in single precision, unless parts are custom.
    pub fn has_kernels(&self) -> bool {
        self.device.is_cpu() && !self.spec.is_custom() && self.precision == Precision::F32
    }

    /// Returns whether it computes sparse rows without their zeros: on the processor, when the first layer is linear
    /// and no later layer shares its weight.
    pub fn takes_sparse(&self) -> bool {
        let tied = |layer: &LayerSpec| matches!(layer, LayerSpec::Tied { .. });
        self.has_kernels()
            && self.stages.first().is_some_and(|stage| stage.kernel.takes_sparse())
            && !self.spec.inputs.ragged
            && !self.spec.layers.iter().any(tied)
    }

    /// Returns the weight of the first layer among the parameters, where that is linear.
    pub(crate) fn first_weight(&self) -> Option<usize> {
        self.own.first()?.parameters.first().copied().filter(|_| self.takes_sparse())
    }

    fn by_kernels(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let mut x = x.clone();
        for stage in &self.stages {
            let (parameters, statistics) = self.tensors(stage.layer);
            let y = op::apply(stage.kernel.clone(), &x, &parameters, &statistics, mode);
            if let (false, Mode::Train { .. }) = (statistics.is_empty(), mode) {
                let saved = op::look(&*stage.kernel, &x, &parameters, &statistics, mode);
                let saved = saved.map_err(|e| self.failed(stage.layer, &x, e))?;
                let found = stage.kernel.found(&saved, x.dims()[0]);
                found.into_iter().try_for_each(|found| self.follow(stage.layer, found))?;
            }
            x = y.map_err(|e| self.failed(stage.layer, &x, e))?;
        }
        Ok(x)
    }

    /// Returns the same by candle's operations.
    pub(super) fn portably(&self, x: &Tensor, rows: usize, mode: Mode) -> Result<Tensor> {
        let dims: Vec<usize> = std::iter::once(rows).chain(self.spec.inputs.dims.iter().copied()).collect();
        let mut x = x.reshape(dims).map_err(|e| Error::tensor("shaping the input", e))?;
        for (i, layer) in self.spec.layers.iter().enumerate() {
            x = self.layer(i, layer, &x, mode, None)?;
        }
        x.to_dtype(DType::F32).map_err(|e| Error::tensor("giving the output", e))
    }

    /// Applies a layer by candle's operations; while training, running statistics follow.
    fn layer(&self, i: usize, layer: &LayerSpec, x: &Tensor, mode: Mode, lengths: Option<&[u32]>) -> Result<Tensor> {
        let mut run = LayerRun { mode, precision: self.precision, found: Vec::new() };
        let y = run.layer(layer, self.spec.lane(i), x, self.tensors(i), lengths).map_err(|e| self.failed(i, x, e))?;
        for NormStats { place, mean, variance, count, momentum } in run.found {
            self.move_statistics(i, place, [&mean, &variance], momentum, count)?;
        }
        Ok(y)
    }

    fn failed(&self, layer: usize, x: &Tensor, e: candle_core::Error) -> Error {
        let got = format!("a tensor of shape {:?}", x.dims());
        Error::Network { layer: self.spec.name(layer), got, fits: format!("it failed: {e}") }
    }

    fn tensors(&self, layer: usize) -> (Vec<&Tensor>, Vec<&Tensor>) {
        let own = &self.own[layer];
        let parameters = own.parameters.iter().map(|&i| self.parameters[i].var.as_tensor()).collect();
        (parameters, own.statistics.iter().map(|&i| self.statistics[i].var.as_tensor()).collect())
    }

    /// Moves a batch normalisation's running statistics towards those that were found.
    pub(super) fn follow(&self, layer: usize, found: Moments<'_>) -> Result<()> {
        let (mean, variance) = found.values.split_at(found.values.len() / 2);
        let place = |values: &[f32]| Tensor::from_slice(values, values.len(), &self.device);
        let placed = place(mean).and_then(|mean| Ok((mean, place(variance)?)));
        let (mean, variance) = placed.map_err(|e| Error::tensor("moving running statistics", e))?;
        self.move_statistics(layer, found.place, [&mean, &variance], found.momentum, found.count)
    }

    /// The running variance takes in the unbiased one, as PyTorch's does; a single value a channel has none.
    fn move_statistics(&self, layer: usize, at: usize, found: [&Tensor; 2], momentum: f64, n: usize) -> Result<()> {
        if n < 2 {
            return Ok(());
        }
        let unbiased = n as f64 / (n as f64 - 1.0);
        for ((found, scale), &i) in found.into_iter().zip([1.0, unbiased]).zip(&self.own[layer].statistics[at..]) {
            let running = &self.statistics[i].var;
            let moved =
                (running.as_detached_tensor() * (1.0 - momentum)).and_then(|kept| kept + (found * (momentum * scale))?);
            moved.and_then(|moved| running.set(&moved)).map_err(|e| Error::tensor("moving running statistics", e))?;
        }
        Ok(())
    }

    /// Returns the specification it was built from.
    pub fn spec(&self) -> &NetworkSpec {
        &self.spec
    }

    /// Returns the trainable tensors, sorted by name.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Returns the running statistics of batch normalisation, sorted by name.
    pub fn statistics(&self) -> &[Parameter] {
        &self.statistics
    }

    pub(super) fn own(&self, layer: usize) -> &Own {
        &self.own[layer]
    }

    pub(super) fn stages(&self) -> &[KernelStage] {
        &self.stages
    }

    /// Where the weights are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Returns the precision of its computations.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Copies the weights and the running statistics to the host.
    ///
    /// # Errors
    /// [`Error::Tensor`] when the device fails.
    pub fn weights(&self) -> Result<Weights> {
        let read = |p: &Parameter| {
            let values = p.var.flatten_all().and_then(|t| t.to_vec1::<f32>());
            let values = values.map_err(|e| Error::tensor(format!("reading `{}` from the device", p.name), e))?;
            Ok(NamedTensor { name: p.name.clone(), shape: p.var.dims().to_vec(), values })
        };
        let all = self.parameters.iter().chain(&self.statistics);
        Ok(Weights::sorted(all.map(read).collect::<Result<_>>()?))
    }
}

#[cfg(test)]
mod tests;
