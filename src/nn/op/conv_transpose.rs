//! Transposed convolution over planes with the activation that follows it.

use std::ops::Range;

use super::{
    Gradients, Kernel, Pass, SavedState, Window,
    by_row::{self, ByRow, ThreadColumns},
    gemm::{Matrix, Threads, gemm},
    room,
};
use crate::nn::Activation;

/// `y = f(b + Wᵀ ∗ x)`, what a convolution's backward pass does to the gradient of its output: input `(channels,
/// height, width)`, weight `(channels, outputs, kernel)`, bias `(outputs)`.
///
/// A row is one thread's work: a product makes columns of a band of its lines, which are added up where a kernel would
/// have looked.
#[derive(Debug)]
pub(crate) struct TransposedConvolution {
    pub(crate) channels: usize,
    pub(crate) outputs: usize,
    /// Window of the convolution: its input is this kernel's output.
    pub(crate) window: Window,
    /// One whose derivative its output tells.
    pub(crate) activation: Option<Activation>,
}

impl TransposedConvolution {
    /// Rows of the columns' matrix.
    fn depth(&self) -> usize {
        self.outputs * self.window.kernel_plane()
    }

    /// Lines of the input at a time.
    fn bands(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let [height, width] = self.window.output;
        by_row::bands(height, self.depth() * width)
    }
}

impl ByRow for TransposedConvolution {
    fn activation(&self) -> Option<Activation> {
        self.activation
    }

    fn forward_row(&self, x: &[f32], params: &[&[f32]], y: &mut [f32], [columns, _]: &mut ThreadColumns) {
        let (depth, plane, width) = (self.depth(), self.window.output_plane(), self.window.output[1]);
        for (y, b) in y.chunks_exact_mut(self.window.input_plane()).zip(params[1]) {
            y.fill(*b);
        }
        let weight = Matrix::rows(params[0], depth);
        for band in self.bands() {
            let wide = band.len() * width;
            let columns = room(columns, depth * wide);
            let x = Matrix::rows(&x[band.start * width..], plane);
            gemm([depth, wide, self.channels], weight.t(), x, (columns, wide), false, Threads::One);
            self.window.scatter(columns, band, y);
        }
    }

    fn backward_row(
        &self,
        x: &[f32],
        weight: &[f32],
        dy: &[f32],
        (dweight, dbias): (&mut [f32], &mut [f32]),
        mut dx: Option<&mut [f32]>,
        [columns, _]: &mut ThreadColumns,
    ) {
        let (depth, plane, width) = (self.depth(), self.window.output_plane(), self.window.output[1]);
        for (sum, dy) in dbias.iter_mut().zip(dy.chunks_exact(self.window.input_plane())) {
            *sum += dy.iter().sum::<f32>();
        }
        let weight = Matrix::rows(weight, depth);
        for band in self.bands() {
            let (wide, first) = (band.len() * width, band.start * width);
            let columns = room(columns, depth * wide);
            self.window.gather(dy, band, columns);
            let columns = Matrix::rows(columns, wide);
            let x = Matrix::rows(&x[first..], plane);
            gemm([self.channels, depth, wide], x, columns.t(), (dweight, depth), true, Threads::One);
            if let Some(dx) = &mut dx {
                gemm([self.channels, wide, depth], weight, columns, (&mut dx[first..], plane), false, Threads::One);
            }
        }
    }
}

impl Kernel for TransposedConvolution {
    fn name(&self) -> &'static str {
        "conv_transpose"
    }

    fn inputs(&self) -> usize {
        self.channels * self.window.output_plane()
    }

    fn outputs(&self) -> usize {
        self.outputs * self.window.input_plane()
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
