//! Convolution over planes with the activation that follows it.

use std::cell::RefCell;

use rayon::prelude::*;

use super::{
    Gradients, Kernel, Pass, Saved, Window, activation,
    gemm::{Matrix, Threads, gemm},
    math::wide,
    room, threads,
};
use crate::nn::Activation;

/// `y = f(W ∗ x + b)`; input `(channels, height, width)`, weight `(outputs, channels / groups, kernel)`, bias `(outputs)`.
///
/// A row is one thread's work: what lies under the kernel is copied into columns, band by band of output rows, and each
/// band is one matrix product.
#[derive(Debug)]
pub(crate) struct Convolution {
    pub(crate) channels: usize,
    pub(crate) outputs: usize,
    pub(crate) groups: usize,
    pub(crate) window: Window,
    /// One whose derivative its output tells.
    pub(crate) activation: Option<Activation>,
}

/// Values of a band of columns: they and the product's packed copies fit the second-level cache.
const BAND: usize = 1 << 16;

/// Shares of a minibatch whose parts of the weights' gradient are summed apart; a number of its own, not that of the
/// threads, so that sums are taken in the same order on any machine.
const SHARES: usize = 8;

thread_local! {
    static COLUMNS: RefCell<[Vec<f32>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

impl Convolution {
    /// Rows of the columns' matrix: values under the kernel, of one group.
    fn depth(&self) -> usize {
        self.channels / self.groups * self.window.kernel_plane()
    }

    /// Output rows at a time.
    fn bands(&self) -> impl Iterator<Item = std::ops::Range<usize>> + use<> {
        let [height, width] = self.window.output;
        let step = if self.window.is_identity() { height } else { (BAND / (self.depth() * width)).clamp(1, height) };
        (0..height).step_by(step).map(move |begin| begin..(begin + step).min(height))
    }

    fn forward_row(&self, x: &[f32], params: &[&[f32]], y: &mut [f32], columns: &mut Vec<f32>) {
        let (depth, plane, width) = (self.depth(), self.window.output_plane(), self.window.output[1]);
        let (ins, outs) = (self.channels / self.groups * self.window.input_plane(), self.outputs / self.groups);
        for group in 0..self.groups {
            let x = &x[group * ins..][..ins];
            let weight = Matrix::rows(&params[0][group * outs * depth..][..outs * depth], depth);
            let y = &mut y[group * outs * plane..][..outs * plane];
            for band in self.bands() {
                let wide = band.len() * width;
                let columns = if self.window.is_identity() {
                    x
                } else {
                    let columns = room(columns, depth * wide);
                    self.window.gather(x, band.clone(), columns);
                    columns
                };
                let y = &mut y[band.start * width..];
                gemm([outs, wide, depth], weight, Matrix::rows(columns, wide), (y, plane), false, Threads::One);
            }
        }
        wide(|| {
            for (y, b) in y.chunks_exact_mut(plane).zip(params[1]) {
                y.iter_mut().for_each(|v| *v += b);
            }
        });
        if let Some(function) = self.activation {
            activation::activate(function, y);
        }
    }

    /// Adds a row's part to the gradients of weight and bias, and fills that of the row itself.
    fn backward_row(
        &self,
        x: &[f32],
        weight: &[f32],
        dy: &[f32],
        (dweight, dbias): (&mut [f32], &mut [f32]),
        mut dx: Option<&mut [f32]>,
        [columns, dcolumns]: &mut [Vec<f32>; 2],
    ) {
        let (depth, plane, width) = (self.depth(), self.window.output_plane(), self.window.output[1]);
        let (ins, outs) = (self.channels / self.groups * self.window.input_plane(), self.outputs / self.groups);
        wide(|| {
            for (sum, dy) in dbias.iter_mut().zip(dy.chunks_exact(plane)) {
                *sum += lanes_sum(dy);
            }
        });
        if let Some(dx) = &mut dx {
            dx.fill(0.0);
        }
        for group in 0..self.groups {
            let x = &x[group * ins..][..ins];
            let weight = Matrix::rows(&weight[group * outs * depth..][..outs * depth], depth);
            let dweight = &mut dweight[group * outs * depth..][..outs * depth];
            let dy = &dy[group * outs * plane..][..outs * plane];
            for band in self.bands() {
                let wide = band.len() * width;
                let columns = if self.window.is_identity() {
                    x
                } else {
                    let columns = room(columns, depth * wide);
                    self.window.gather(x, band.clone(), columns);
                    columns
                };
                let dy = Matrix::rows(&dy[band.start * width..], plane);
                let seen = Matrix::rows(columns, wide);
                gemm([outs, depth, wide], dy, seen.t(), (dweight, depth), true, Threads::One);
                if let Some(dx) = &mut dx {
                    let dx = &mut dx[group * ins..][..ins];
                    if self.window.is_identity() {
                        gemm([depth, wide, outs], weight.t(), dy, (dx, wide), false, Threads::One);
                    } else {
                        let dcolumns = room(dcolumns, depth * wide);
                        gemm([depth, wide, outs], weight.t(), dy, (dcolumns, wide), false, Threads::One);
                        self.window.scatter(dcolumns, band, dx);
                    }
                }
            }
        }
    }
}

/// A sum over sixteen lanes, always in the same order.
#[inline(always)]
fn lanes_sum(values: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 16];
    let chunks = values.chunks_exact(16);
    let rest: f32 = chunks.remainder().iter().sum();
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(l, v)| *l += v);
    }
    lanes.iter().sum::<f32>() + rest
}

impl Kernel for Convolution {
    fn name(&self) -> &'static str {
        "convolution"
    }

    fn inputs(&self) -> usize {
        self.channels * self.window.input_plane()
    }

    fn outputs(&self) -> usize {
        self.outputs * self.window.output_plane()
    }

    fn forward(&self, pass: Pass<'_>, y: &mut [f32], _: &mut Saved) {
        let row = |(y, x): (&mut [f32], &[f32])| {
            COLUMNS.with_borrow_mut(|[columns, _]| self.forward_row(x, pass.params, y, columns));
        };
        let (inputs, outputs) = (self.inputs(), Kernel::outputs(self));
        match threads() {
            1 => y.chunks_mut(outputs).zip(pass.x.chunks(inputs)).for_each(row),
            _ => y.par_chunks_mut(outputs).zip(pass.x.par_chunks(inputs)).for_each(row),
        }
    }

    fn backward(&self, pass: Pass<'_>, y: &[f32], dy: &mut [f32], saved: &mut Saved, gradients: Gradients<'_, '_>) {
        let [dweight, dbias] = gradients.params else { return };
        let (inputs, outputs) = (self.inputs(), Kernel::outputs(self));
        let share = pass.rows.div_ceil(SHARES).max(1);
        let (weights, part) = (dweight.len(), dweight.len() + dbias.len());
        let count = pass.rows.div_ceil(share);
        let parts = room(&mut saved.scratch, count * part);
        // A share of the input's gradient each, or nothing each when nobody asks for it.
        let mut dx = gradients.x.map(|dx| dx.chunks_mut(share * inputs));
        let dx: Vec<Option<&mut [f32]>> = (0..count).map(|_| dx.as_mut().and_then(Iterator::next)).collect();
        let work = parts.par_chunks_mut(part).zip(dy.par_chunks_mut(share * outputs)).zip(dx).enumerate();
        work.for_each(|(i, ((part, dy), mut dx))| {
            part.fill(0.0);
            let (dweight, dbias) = part.split_at_mut(weights);
            COLUMNS.with_borrow_mut(|columns| {
                for (j, dy) in dy.chunks_exact_mut(outputs).enumerate() {
                    let row = i * share + j;
                    if let Some(function) = self.activation {
                        activation::chain(function, &y[row * outputs..][..outputs], dy);
                    }
                    let (x, dx) =
                        (&pass.x[row * inputs..][..inputs], dx.as_mut().map(|dx| &mut dx[j * inputs..][..inputs]));
                    self.backward_row(x, pass.params[0], dy, (dweight, dbias), dx, columns);
                }
            });
        });
        dweight.fill(0.0);
        dbias.fill(0.0);
        for part in parts.chunks_exact(part) {
            let (weight, bias) = part.split_at(weights);
            dweight.iter_mut().zip(weight).for_each(|(sum, v)| *sum += v);
            dbias.iter_mut().zip(bias).for_each(|(sum, v)| *sum += v);
        }
    }
}
