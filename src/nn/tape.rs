//! Training on the processor: forward, backward and gradients over buffers that are kept.

use std::{
    cell::RefCell,
    mem,
    ops::Deref,
    sync::{Mutex, PoisonError},
};

use candle_core::{CpuStorage, DType, InplaceOp1, Layout, Storage, Tensor};
use rayon::prelude::*;

use super::{
    Mode, Parameter, Sequential,
    op::{Csr, Gradients, Pass, SavedState, add_values, alone, room, threads},
    stage::KernelStage,
};
use crate::{Error, Result};

/// Values between the layers of a network on the processor while it trains: every layer's output, the values its
/// backward pass needs, and the gradients.
///
/// The buffers are as large as the largest minibatch so far and are used again at every step, so that a step allocates
/// nothing of size. A tape is made for one network and used with that one.
#[derive(Debug, Default)]
pub struct Tape {
    outputs: Vec<Vec<f32>>,
    saved: Vec<SavedState>,
    /// Gradient from the layer above, and gradient for the layer below.
    upstream: [Vec<f32>; 2],
    gradients: Vec<Tensor>,
    /// Of parameters that several layers share: one layer's part.
    shared: Vec<Vec<f32>>,
    /// Of prediction: those of a thread at work, when it is not.
    lanes: Mutex<Vec<Lane>>,
}

/// Rows that one thread takes through the whole network when nothing has to be kept: what passes between two layers
/// stays in the second-level cache. Independent of the number of threads.
const ROWS: usize = 64;

/// Buffers of one thread that takes rows through the network.
#[derive(Debug, Default)]
struct Lane {
    between: [Vec<f32>; 2],
    saved: Vec<SavedState>,
}

impl Tape {
    /// Makes a tape for a network.
    ///
    /// # Errors
    /// [`Error::Param`] when the network is not on the processor.
    pub fn new(network: &Sequential) -> Result<Self> {
        if !network.has_kernels() {
            let value = format!("{:?}", network.device());
            return Err(Error::param("device", value, "the processor, and a network without custom parts"));
        }
        let zeros = |p: &Parameter| Tensor::zeros(p.var.shape(), DType::F32, network.device());
        let gradients = network.parameters().iter().map(zeros).collect::<candle_core::Result<_>>();
        let gradients = gradients.map_err(|e| Error::tensor("making room for gradients", e))?;
        Ok(Self { gradients, ..Self::default() })
    }

    /// Applies the network to `rows × inputs` values and gives `rows × outputs`.
    ///
    /// # Errors
    /// [`Error::Network`] when `x` is not `rows` rows of the network's inputs.
    pub fn forward(&mut self, network: &Sequential, x: &[f32], rows: usize, mode: Mode) -> Result<&[f32]> {
        let whole = Pass { rows, x, params: &[], mode, lengths: None, csr: None };
        if mode == Mode::Eval { self.predict(network, whole) } else { self.apply(network, whole) }
    }

    /// Applies a network that [takes sparse rows](Sequential::takes_sparse) to some and gives `rows × outputs`.
    ///
    /// # Errors
    /// [`Error::Network`] when the network takes none, or a value lies beyond a row.
    pub(crate) fn forward_sparse(&mut self, network: &Sequential, csr: Csr<'_>) -> Result<&[f32]> {
        let rows = csr.offsets.len().saturating_sub(1);
        self.apply(network, Pass { rows, x: &[], params: &[], mode: Mode::Eval, lengths: None, csr: Some(csr) })
    }

    /// Trains on sparse rows, as [`learn`](Tape::learn) does on others. The gradient of the first weight is
    /// `(columns, outputs)`, of the columns that occur.
    ///
    /// # Errors
    /// As [`forward_sparse`](Tape::forward_sparse).
    pub(crate) fn learn_sparse<T>(
        &mut self,
        network: &Sequential,
        csr: Csr<'_>,
        mode: Mode,
        loss: impl FnOnce(&[f32], &mut [f32]) -> T,
    ) -> Result<T> {
        let rows = csr.offsets.len().saturating_sub(1);
        self.go(network, Pass { rows, x: &[], params: &[], mode, lengths: None, csr: Some(csr) }, loss)
    }

    /// Applies the network to sequences of these lengths, each at least 1, padded to as many steps each: `x` holds
    /// `sequences × steps × inputs` values. Gives `sequences × outputs`.
    ///
    /// # Errors
    /// [`Error::Network`] when `x` is not that, a length is 0 or more than there are steps, or the network takes rows
    /// of a fixed shape.
    pub fn forward_sequences(
        &mut self,
        network: &Sequential,
        x: &[f32],
        lengths: &[u32],
        mode: Mode,
    ) -> Result<&[f32]> {
        self.apply(network, Pass { rows: lengths.len(), x, params: &[], mode, lengths: Some(lengths), csr: None })
    }

    fn apply(&mut self, network: &Sequential, whole: Pass<'_>) -> Result<&[f32]> {
        let (stages, Pass { rows, x, mode, .. }) = (network.stages(), whole);
        let time = check(network, &whole)?;
        self.outputs.resize_with(stages.len(), Vec::new);
        self.saved.resize_with(stages.len(), SavedState::default);
        if stages.is_empty() {
            self.outputs = vec![x.to_vec()];
            return Ok(&self.outputs[0]);
        }
        if rows == 0 {
            return Ok(&[]);
        }
        {
            let held = ReadGuards::of(network);
            for (i, stage) in stages.iter().enumerate() {
                let (before, after) = self.outputs.split_at_mut(i);
                let params = held.params(network, stage.layer)?;
                let pass = pass(stage, i, whole, time, before.last().map_or(x, Vec::as_slice), &params);
                let y = room(&mut after[0], rows * stage.outputs(time));
                stage.kernel.forward(pass, y, &mut self.saved[i]);
            }
        }
        if let Mode::Train { .. } = mode {
            for (stage, saved) in stages.iter().zip(&self.saved) {
                stage.kernel.found(saved, rows).into_iter().try_for_each(|found| network.follow(stage.layer, found))?;
            }
        }
        Ok(self.outputs.last().map_or(&[], |y| &y[..rows * network.spec().outputs]))
    }

    /// Forward pass without gradients: each thread takes its own rows through all layers.
    fn predict(&mut self, network: &Sequential, whole: Pass<'_>) -> Result<&[f32]> {
        check(network, &whole)?;
        let Self { outputs, lanes, .. } = self;
        outputs.resize_with(network.stages().len().max(1), Vec::new);
        if network.stages().is_empty() || whole.rows == 0 {
            outputs[0] = whole.x.to_vec();
            return Ok(&outputs[0]);
        }
        let held = ReadGuards::of(network);
        let params: Vec<_> = network.stages().iter().map(|s| held.params(network, s.layer)).collect::<Result<_>>()?;
        let (inputs, width) = (network.spec().inputs.count(), network.spec().outputs);
        let Some(all) = outputs.last_mut().map(|last| room(last, whole.rows * width)) else { return Ok(&[]) };
        let lanes = &*lanes;
        let run = |(x, y): (&[f32], &mut [f32])| {
            let mut lane = lanes.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
            lane.forward(network, &params, x, y);
            lanes.lock().unwrap_or_else(PoisonError::into_inner).push(lane);
        };
        if whole.rows <= ROWS || threads() == 1 {
            whole.x.chunks(ROWS * inputs).zip(all.chunks_mut(ROWS * width)).for_each(run);
        } else {
            let shares = whole.x.par_chunks(ROWS * inputs).zip(all.par_chunks_mut(ROWS * width));
            shares.for_each(|share| alone(|| run(share)));
        }
        Ok(all)
    }

    /// Takes rows through the network and the gradient back: `loss` sees the outputs and fills in its gradient with
    /// respect to them, both `rows × outputs`. What it returns is returned; [`Tape::gradients`] then has those of the
    /// parameters.
    ///
    /// # Errors
    /// [`Error::Network`] when `x` is not `rows` rows of the network's inputs.
    pub fn learn<T>(
        &mut self,
        network: &Sequential,
        x: &[f32],
        rows: usize,
        mode: Mode,
        loss: impl FnOnce(&[f32], &mut [f32]) -> T,
    ) -> Result<T> {
        self.go(network, Pass { rows, x, params: &[], mode, lengths: None, csr: None }, loss)
    }

    /// Trains on sequences, as [`forward_sequences`](Tape::forward_sequences) takes them.
    ///
    /// # Errors
    /// As [`forward_sequences`](Tape::forward_sequences).
    pub fn learn_sequences<T>(
        &mut self,
        network: &Sequential,
        x: &[f32],
        lengths: &[u32],
        mode: Mode,
        loss: impl FnOnce(&[f32], &mut [f32]) -> T,
    ) -> Result<T> {
        self.go(network, Pass { rows: lengths.len(), x, params: &[], mode, lengths: Some(lengths), csr: None }, loss)
    }

    fn go<T>(
        &mut self,
        network: &Sequential,
        whole: Pass<'_>,
        loss: impl FnOnce(&[f32], &mut [f32]) -> T,
    ) -> Result<T> {
        self.apply(network, whole)?;
        self.shape_gradients(network, &whole)?;
        let mut buffers = self.gradients.iter().map(|t| take(t, Vec::new())).collect::<Result<Vec<_>>>()?;
        let count = whole.rows * network.spec().outputs;
        let outputs = self.outputs.last().map_or(&[][..], |y| &y[..count]);
        let told = loss(outputs, room(&mut self.upstream[0], count));
        let done = if whole.rows > 0 { self.back(network, whole, &mut buffers) } else { Ok(()) };
        for (tensor, buffer) in self.gradients.iter().zip(buffers) {
            take(tensor, buffer)?;
        }
        done.map(|()| told)
    }

    /// Makes the gradient of the first weight as large as sparse rows need it, or as the weight is.
    fn shape_gradients(&mut self, network: &Sequential, whole: &Pass<'_>) -> Result<()> {
        let Some(stage) = network.stages().first().filter(|stage| stage.kernel.takes_sparse()) else { return Ok(()) };
        let Some(&weight) = network.own(stage.layer).parameters.first() else { return Ok(()) };
        let dims = match whole.csr {
            Some(csr) => vec![csr.columns.len(), stage.kernel.outputs()],
            None => network.parameters()[weight].var.dims().to_vec(),
        };
        if self.gradients[weight].dims() != dims {
            let zeros = Tensor::zeros(dims, DType::F32, network.device());
            self.gradients[weight] = zeros.map_err(|e| Error::tensor("making room for gradients", e))?;
        }
        Ok(())
    }

    fn back(&mut self, network: &Sequential, whole: Pass<'_>, buffers: &mut [Vec<f32>]) -> Result<()> {
        let (rows, time) = (whole.rows, whole.time(network.spec().inputs.count()));
        let held = ReadGuards::of(network);
        let mut filled = vec![false; buffers.len()];
        self.shared.resize_with(buffers.len(), Vec::new);
        for (i, stage) in network.stages().iter().enumerate().rev() {
            let [dy, dx] = &mut self.upstream;
            let (inputs, outputs) = (rows * stage.inputs(time), rows * stage.outputs(time));
            let x = if i == 0 { whole.x } else { &self.outputs[i - 1] };
            let own = &network.own(stage.layer).parameters;
            let slot = |&p: &usize| match filled[p] {
                false => mem::take(&mut buffers[p]),
                true => {
                    let mut part = mem::take(&mut self.shared[p]);
                    part.resize(buffers[p].len(), 0.0);
                    part
                }
            };
            let mut slots: Vec<Vec<f32>> = own.iter().map(slot).collect();
            let mut slices: Vec<&mut [f32]> = slots.iter_mut().map(Vec::as_mut_slice).collect();
            let gradients = Gradients { x: (i > 0).then(|| room(dx, inputs)), params: &mut slices };
            let params = held.params(network, stage.layer)?;
            let pass = pass(stage, i, whole, time, x, &params);
            stage.kernel.backward(pass, &self.outputs[i][..outputs], &mut dy[..outputs], &mut self.saved[i], gradients);
            for (&p, slot) in own.iter().zip(slots) {
                if mem::replace(&mut filled[p], true) {
                    add_values(&mut buffers[p], &slot);
                    self.shared[p] = slot;
                } else {
                    buffers[p] = slot;
                }
            }
            self.upstream.swap(0, 1);
        }
        Ok(())
    }

    /// Returns the gradients of the last [`learn`](Tape::learn), in the order of the network's parameters. The tensors
    /// are the tape's own: the next call writes into them.
    pub fn gradients(&self) -> &[Tensor] {
        &self.gradients
    }
}

impl Lane {
    /// Fills `y` from `x`; `params` are those of each kernel.
    fn forward(&mut self, network: &Sequential, params: &[Vec<&[f32]>], x: &[f32], y: &mut [f32]) {
        let stages = network.stages();
        let rows = y.len() / network.spec().outputs;
        let whole = Pass { rows, x, params: &[], mode: Mode::Eval, lengths: None, csr: None };
        self.saved.resize_with(stages.len(), SavedState::default);
        let [mut before, mut after] = mem::take(&mut self.between);
        for (i, (stage, saved)) in stages.iter().zip(&mut self.saved).enumerate() {
            let pass = stage.pass(whole, 1, if i == 0 { x } else { &before }, &params[i]);
            if i + 1 == stages.len() {
                stage.kernel.forward(pass, y, saved);
            } else {
                stage.kernel.forward(pass, room(&mut after, rows * stage.outputs(1)), saved);
                mem::swap(&mut before, &mut after);
            }
        }
        self.between = [before, after];
    }
}

/// Returns the input of stage `i`. Only the first takes sparse rows.
fn pass<'a>(
    stage: &KernelStage,
    i: usize,
    whole: Pass<'a>,
    time: usize,
    x: &'a [f32],
    params: &'a [&'a [f32]],
) -> Pass<'a> {
    match whole.csr {
        Some(_) if i == 0 => Pass { params, ..whole },
        _ => stage.pass(Pass { csr: None, ..whole }, time, x, params),
    }
}

/// Checks that sparse rows are what the network takes.
fn check_sparse(network: &Sequential, rows: usize, csr: &Csr<'_>) -> Result<usize> {
    let inputs = network.spec().inputs.count();
    let refused = |got: String, fits: String| Err(Error::Network { layer: "input".into(), got, fits });
    if !network.takes_sparse() {
        return refused("sparse rows".into(), "a network takes them whose first layer is linear".into());
    }
    let ends = csr.offsets.last().map_or(0, |&end| end as usize);
    let whole = csr.offsets.len() == rows + 1 && csr.indices.len() == ends && csr.values.len() == ends;
    if !whole || !csr.offsets.is_sorted() {
        return refused(
            format!("{} sparse values for {rows} rows", csr.values.len()),
            "as many as the rows have".into(),
        );
    }
    match csr.indices.iter().find(|&&index| index as usize >= inputs) {
        Some(index) => refused(format!("a value at position {index}"), format!("it takes rows of {inputs} values")),
        None => Ok(1),
    }
}

/// Checks that rows are what the network takes; gives the steps that sequences are padded to, 1 without.
fn check(network: &Sequential, pass: &Pass<'_>) -> Result<usize> {
    if let Some(csr) = &pass.csr {
        return check_sparse(network, pass.rows, csr);
    }
    let inputs = &network.spec().inputs;
    let refused = |got: String, fits: String| Err(Error::Network { layer: "input".into(), got, fits });
    if !network.has_kernels() {
        return refused("a network with custom parts".into(), "kernels run on the processor alone".into());
    }
    let Some(lengths) = pass.lengths.filter(|_| inputs.ragged) else {
        if pass.lengths.is_some() || inputs.ragged {
            let got = if inputs.ragged { "rows without their lengths" } else { "sequences of any length" };
            return refused(got.into(), format!("it takes rows of {inputs} values"));
        }
        if pass.x.len() != pass.rows * inputs.count() {
            let got = format!("{} values for {} rows", pass.x.len(), pass.rows);
            return refused(got, format!("it takes rows of {inputs} values"));
        }
        return Ok(1);
    };
    let time = pass.time(inputs.count());
    if pass.x.len() != pass.rows * time * inputs.count() {
        let got = format!("{} values for {} sequences", pass.x.len(), pass.rows);
        return refused(got, format!("it takes {inputs} values, as many steps each"));
    }
    match lengths.iter().position(|&length| !(1..=time as u32).contains(&length)) {
        Some(row) => refused(format!("a length of {} in row {row}", lengths[row]), format!("it is 1 to {time}")),
        None => Ok(time),
    }
}

/// Swaps a buffer with that of a tensor on the processor.
fn take(tensor: &Tensor, buffer: Vec<f32>) -> Result<Vec<f32>> {
    struct Swap(RefCell<Vec<f32>>);
    impl InplaceOp1 for Swap {
        fn name(&self) -> &'static str {
            "swap"
        }
        fn cpu_fwd(&self, storage: &mut CpuStorage, _: &Layout) -> candle_core::Result<()> {
            match storage {
                CpuStorage::F32(values) => mem::swap(values, &mut self.0.borrow_mut()),
                _ => candle_core::bail!("gradients are single precision"),
            }
            Ok(())
        }
    }
    let swap = Swap(RefCell::new(buffer));
    tensor.inplace_op1(&swap).map_err(|e| Error::tensor("handing on gradients", e))?;
    Ok(swap.0.into_inner())
}

/// Read access to one tensor's values.
type Guard<'a> = Box<dyn Deref<Target = Storage> + 'a>;

/// Read access to all tensors of a network.
struct ReadGuards<'a> {
    parameters: Vec<(Guard<'a>, &'a Layout)>,
    statistics: Vec<(Guard<'a>, &'a Layout)>,
}

impl<'a> ReadGuards<'a> {
    fn of(network: &'a Sequential) -> Self {
        let one = |p: &'a Parameter| {
            let (storage, layout) = p.var.storage_and_layout();
            (Box::new(storage) as Guard<'a>, layout)
        };
        let hold = |all: &'a [Parameter]| all.iter().map(one).collect();
        Self { parameters: hold(network.parameters()), statistics: hold(network.statistics()) }
    }

    /// Returns a layer's tensors in the order of the specification.
    fn params(&self, network: &Sequential, layer: usize) -> Result<Vec<&[f32]>> {
        let own = network.own(layer);
        let parameters = own.parameters.iter().map(|&i| (&self.parameters[i], &network.parameters()[i].name));
        let statistics = own.statistics.iter().map(|&i| (&self.statistics[i], &network.statistics()[i].name));
        let mut all = Vec::with_capacity(own.parameters.len() + own.statistics.len());
        for ((storage, layout), name) in parameters.chain(statistics) {
            match (&***storage, layout.contiguous_offsets()) {
                (Storage::Cpu(CpuStorage::F32(values)), Some((begin, end))) => all.push(&values[begin..end]),
                _ => {
                    return Err(Error::Network {
                        layer: format!("`{name}`"),
                        got: "a tensor that is scattered or of another kind".into(),
                        fits: "a contiguous one in single precision".into(),
                    });
                }
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests;
