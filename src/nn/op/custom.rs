//! Kernels as candle operations with a gradient.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Storage, Tensor, bail};

use super::{Gradients, Kernel, Pass, SavedState};
use crate::nn::Mode;

/// Applies a kernel to `(rows, …)` on the processor; the result is `(rows, outputs)`. Gradients run to `x` and to the
/// parameters (none, or weight and bias), not to the statistics.
pub(crate) fn apply(
    kernel: Arc<dyn Kernel>,
    x: &Tensor,
    params: &[&Tensor],
    statistics: &[&Tensor],
    mode: Mode,
) -> Result<Tensor> {
    let statistics = statistics.iter().map(|t| t.flatten_all()?.to_vec1()).collect::<Result<_>>()?;
    let op = Op { kernel, statistics, mode };
    let x = x.contiguous()?;
    match params {
        [] => x.apply_op1(op),
        [weight, bias] => x.apply_op3(&weight.contiguous()?, &bias.contiguous()?, op),
        all => {
            let shapes = all.iter().map(|p| p.shape().clone()).collect();
            let flat = all.iter().map(|p| p.flatten_all()).collect::<Result<Vec<_>>>()?;
            x.apply_op2(&Tensor::cat(&flat, 0)?, Joined { op, shapes })
        }
    }
}

/// Returns the output of a kernel's forward pass over `(rows, …)`.
pub(crate) fn look(
    kernel: &dyn Kernel,
    x: &Tensor,
    params: &[&Tensor],
    statistics: &[&Tensor],
    mode: Mode,
) -> Result<SavedState> {
    let owned = params.iter().chain(statistics).map(|t| t.flatten_all()?.to_vec1());
    let owned = owned.collect::<Result<Vec<Vec<f32>>>>()?;
    let params: Vec<&[f32]> = owned.iter().map(Vec::as_slice).collect();
    let (rows, mut saved) = (x.dim(0)?, SavedState::default());
    with_values(x, |x| {
        let pass = Pass { rows, x, params: &params, mode, lengths: None, csr: None };
        kernel.forward(pass, &mut vec![0.0; rows * kernel.outputs()], &mut saved);
        Ok(saved)
    })
}

struct Op {
    kernel: Arc<dyn Kernel>,
    statistics: Vec<Vec<f32>>,
    mode: Mode,
}

fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((begin, end))) => Ok(&values[begin..end]),
        (_, None) => bail!("kernels take contiguous tensors"),
        _ => bail!("kernels take single precision"),
    }
}

/// Calls `f` with the values of a tensor on the processor.
pub(crate) fn with_values<T>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> Result<T>) -> Result<T> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => f(values(storage, layout)?),
        _ => bail!("kernels run on the processor"),
    }
}

impl Op {
    fn params<'a>(&'a self, trained: &[&'a [f32]]) -> Vec<&'a [f32]> {
        trained.iter().copied().chain(self.statistics.iter().map(Vec::as_slice)).collect()
    }

    fn rows(&self, layout: &Layout) -> Result<usize> {
        let (rows, wanted) = (layout.dims().first().copied().unwrap_or(0), self.kernel.inputs());
        if rows * wanted != layout.shape().elem_count() {
            bail!("rows of shape {:?} reach it; it takes {wanted} values", layout.dims().get(1..).unwrap_or_default())
        }
        Ok(rows)
    }

    fn forward(&self, x: (&CpuStorage, &Layout), trained: &[&[f32]]) -> Result<(CpuStorage, Shape)> {
        let (rows, outputs) = (self.rows(x.1)?, self.kernel.outputs());
        let mut y = vec![0.0; rows * outputs];
        let pass = Pass {
            rows,
            x: values(x.0, x.1)?,
            params: &self.params(trained),
            mode: self.mode,
            lengths: None,
            csr: None,
        };
        if rows > 0 {
            self.kernel.forward(pass, &mut y, &mut SavedState::default());
        }
        Ok((CpuStorage::F32(y), Shape::from((rows, outputs))))
    }

    /// Returns the gradients of `x` and of the parameters. What the forward pass saved is computed again.
    fn backward(&self, x: &Tensor, trained: &[&Tensor], y: &Tensor, dy: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let rows = x.dim(0)?;
        let owned = trained.iter().map(|t| t.flatten_all()?.to_vec1()).collect::<Result<Vec<Vec<f32>>>>()?;
        let params: Vec<&[f32]> = owned.iter().map(Vec::as_slice).collect();
        let params = self.params(&params);
        let mut dy: Vec<f32> = dy.flatten_all()?.to_vec1()?;
        let mut dx = vec![0.0; x.elem_count()];
        let mut dparams: Vec<Vec<f32>> = owned.iter().map(|p| vec![0.0; p.len()]).collect();
        if rows > 0 {
            with_values(x, |x| {
                let pass = Pass { rows, x, params: &params, mode: self.mode, lengths: None, csr: None };
                let mut saved = SavedState::default();
                self.kernel.forward(pass, &mut vec![0.0; dy.len()], &mut saved);
                let mut slices: Vec<&mut [f32]> = dparams.iter_mut().map(Vec::as_mut_slice).collect();
                let gradients = Gradients { x: Some(&mut dx), params: &mut slices };
                with_values(y, |y| {
                    self.kernel.backward(pass, y, &mut dy, &mut saved, gradients);
                    Ok(())
                })
            })?;
        }
        let place = |values: Vec<f32>, like: &Tensor| Tensor::from_vec(values, like.shape(), like.device()).map(Some);
        let dparams = dparams.into_iter().zip(trained).map(|(values, like)| place(values, like));
        std::iter::once(place(dx, x)).chain(dparams).collect()
    }
}

/// A kernel whose parameters, of these shapes, come one after another in one tensor: candle's operations take at most
/// three.
struct Joined {
    op: Op,
    shapes: Vec<Shape>,
}

impl CustomOp2 for Joined {
    fn name(&self) -> &'static str {
        self.op.kernel.name()
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        layout: &Layout,
        params: &CpuStorage,
        params_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let mut rest = values(params, params_layout)?;
        let part = |shape: &Shape| {
            let (own, after) = rest.split_at(shape.elem_count());
            rest = after;
            own
        };
        let parts: Vec<&[f32]> = self.shapes.iter().map(part).collect();
        self.op.forward((x, layout), &parts)
    }

    fn bwd(&self, x: &Tensor, params: &Tensor, y: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let mut at = 0;
        let part = |shape: &Shape| {
            at += shape.elem_count();
            params.narrow(0, at - shape.elem_count(), shape.elem_count())
        };
        let parts = self.shapes.iter().map(part).collect::<Result<Vec<_>>>()?;
        let mut gradients = self.op.backward(x, &parts.iter().collect::<Vec<_>>(), y, dy)?.into_iter();
        let dx = gradients.next().flatten();
        Ok((dx, Some(Tensor::cat(&gradients.flatten().collect::<Vec<_>>(), 0)?)))
    }
}

impl CustomOp1 for Op {
    fn name(&self) -> &'static str {
        self.kernel.name()
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        self.forward((x, layout), &[])
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        Ok(self.backward(x, &[], y, dy)?.into_iter().next().flatten())
    }
}

impl CustomOp3 for Op {
    fn name(&self) -> &'static str {
        self.kernel.name()
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.forward((x, layout), &[values(weight, weight_layout)?, values(bias, bias_layout)?])
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let mut gradients = self.backward(x, &[weight, bias], y, dy)?.into_iter();
        let mut next = || gradients.next().flatten();
        Ok((next(), next(), next()))
    }
}
