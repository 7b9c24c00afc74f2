//! Convolution over planes with the activation that follows it.

use std::ops::Range;

use super::{
    Gradients, Kernel, Pass, SavedState, Window,
    by_row::{self, ByRow, ThreadColumns},
    gemm::{Matrix, Threads, gemm},
    math::wide,
    room,
};
use crate::nn::Activation;

/// `y = f(W ∗ x + b)`; input `(channels, height, width)`, weight `(outputs, channels / groups, kernel)`, bias
/// `(outputs)`.
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

impl Convolution {
    /// Rows of the columns' matrix: values under the kernel, of one group.
    fn depth(&self) -> usize {
        self.channels / self.groups * self.window.kernel_plane()
    }

    /// Output rows at a time.
    fn bands(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let [height, width] = self.window.output;
        // Rows that are columns as they are need no memory.
        let line = if self.window.is_identity() { 1 } else { self.depth() * width };
        by_row::bands(height, line)
    }
}

impl ByRow for Convolution {
    fn activation(&self) -> Option<Activation> {
        self.activation
    }

    fn forward_row(&self, x: &[f32], params: &[&[f32]], y: &mut [f32], [columns, _]: &mut ThreadColumns) {
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
    }

    fn backward_row(
        &self,
        x: &[f32],
        weight: &[f32],
        dy: &[f32],
        (dweight, dbias): (&mut [f32], &mut [f32]),
        mut dx: Option<&mut [f32]>,
        [columns, dcolumns]: &mut ThreadColumns,
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

/// Returns a sum over sixteen lanes, always in the same order.
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

    fn forward(&self, pass: Pass<'_>, y: &mut [f32], _: &mut SavedState) {
        by_row::forward(self, pass, y);
    }

    fn backward(
        &self,
        pass: Pass<'_>,
        y: &[f32],
        dy: &mut [f32],
        saved: &mut SavedState,
        gradients: Gradients<'_, '_>,
    ) {
        by_row::backward(self, pass, y, dy, saved, gradients);
    }
}
