//! Recurrent layers as an operation of candle's graph.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape as Dims, Tensor, bail};

use super::{Readout, Scratch, Shape, backward, forward, share::Share};

/// Applies a stack of recurrent layers.
///
/// Input `x` `(rows, time, inputs)`, padded behind each row's length in `lengths` `(rows)`; `weights` as
/// [`Shape::parameters`] lists them. Output `(rows, time, outputs)` for [`Readout::All`], else `(rows, outputs)`.
/// The state before the first step is zero.
///
/// # Errors
/// A length of zero or beyond `time` is named with its row; so are weights of another shape. The CPU alone computes it.
pub(crate) fn rnn(
    shape: &Shape,
    x: &Tensor,
    lengths: &Arc<[u32]>,
    weights: &[Tensor],
    scratch: &Arc<Scratch>,
) -> Result<Tensor> {
    let (rows, time, inputs) = x.dims3()?;
    if inputs != shape.inputs {
        bail!("{inputs} values a step; it takes {}", shape.inputs);
    }
    if lengths.len() != rows {
        bail!("{} lengths for {rows} sequences", lengths.len());
    }
    if let Some(row) = lengths.iter().position(|&l| l == 0 || l as usize > time) {
        bail!("row {row}: a sequence of length {}; 1 to {time} steps fit", lengths[row]);
    }
    let parameters = shape.parameters();
    if weights.len() != parameters.len() {
        bail!("{} tensors for {} parameters", weights.len(), parameters.len());
    }
    for (weight, (name, dims)) in weights.iter().zip(parameters) {
        if weight.dims() != dims {
            bail!("`{name}` has shape {:?}; {dims:?} fits", weight.dims());
        }
    }
    let flat = weights.iter().map(|weight| weight.flatten_all()).collect::<Result<Vec<_>>>()?;
    let flat = Tensor::cat(&flat, 0)?;
    let op = Op {
        shape: shape.clone(),
        lengths: lengths.clone(),
        time,
        wants_x: x.track_op(),
        kept: Mutex::new(None),
        scratch: scratch.clone(),
    };
    x.contiguous()?.apply_op2(&flat, op)
}

struct Op {
    shape: Shape,
    lengths: Arc<[u32]>,
    time: usize,
    wants_x: bool,
    /// Taken by the first backward pass; a second one computes it anew.
    kept: Mutex<Option<Vec<Share>>>,
    scratch: Arc<Scratch>,
}

impl Drop for Op {
    fn drop(&mut self) {
        let kept = self.kept.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        kept.into_iter().flatten().for_each(|share| share.free(&self.scratch));
    }
}

/// The values behind a contiguous layout.
fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let all = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets() {
        Some((begin, end)) => Ok(&all[begin..end]),
        None => bail!("the values are not contiguous"),
    }
}

/// Calls `f` with a tensor's values in memory.
fn with_values<R>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        candle_core::Storage::Cpu(storage) => Ok(f(values(storage, layout)?)),
        _ => bail!("the values are on another device"),
    }
}

impl CustomOp2 for Op {
    fn name(&self) -> &'static str {
        "rnn"
    }

    fn cpu_fwd(&self, x: &CpuStorage, x_at: &Layout, w: &CpuStorage, w_at: &Layout) -> Result<(CpuStorage, Dims)> {
        let (x, weights) = (values(x, x_at)?, values(w, w_at)?);
        let (out, shares) = forward(&self.shape, weights, x, &self.lengths, self.time, &self.scratch);
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(shares);
        let (rows, outputs) = (self.lengths.len(), self.shape.outputs());
        let dims = match self.shape.readout {
            Readout::All => Dims::from((rows, self.time, outputs)),
            _ => Dims::from((rows, outputs)),
        };
        Ok((CpuStorage::F32(out), dims))
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, _: &Tensor, d_out: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (d_weights, d_x) = with_values(w, |weights| {
            let shares = match kept {
                Some(shares) => shares,
                None => {
                    with_values(x, |x| forward(&self.shape, weights, x, &self.lengths, self.time, &self.scratch).1)?
                }
            };
            let sizes = (&self.lengths[..], self.time);
            with_values(d_out, |d_out| {
                backward(&self.shape, weights, shares, d_out, sizes, self.wants_x, &self.scratch)
            })
        })??;
        let d_x = d_x.map(|d_x| Tensor::from_vec(d_x, x.shape(), x.device())).transpose()?;
        Ok((d_x, Some(Tensor::from_vec(d_weights, w.shape(), w.device())?)))
    }
}
