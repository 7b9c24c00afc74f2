//! Transposed convolution over planes with the activation that follows it.

use std::cell::RefCell;

use rayon::prelude::*;

use super::{
    Gradients, Kernel, Pass, Saved, Window, activation,
    gemm::{Matrix, Threads, gemm},
    room, threads,
};
use crate::nn::Activation;

/// `y = f(b + Wᵀ ∗ x)`, what a convolution's backward pass does to the gradient of its output: input `(channels, height,
/// width)`, weight `(channels, outputs, kernel)`, bias `(outputs)`.
///
/// A row is one thread's work: a product makes columns of a band of its lines, which are added up where a kernel would have
/// looked.
#[derive(Debug)]
pub(crate) struct TransposedConvolution {
    pub(crate) channels: usize,
    pub(crate) outputs: usize,
    /// That of the convolution: its input is what comes out here.
    pub(crate) window: Window,
    /// One whose derivative its output tells.
    pub(crate) activation: Option<Activation>,
}

/// Values of a band of columns: they and the product's packed copies fit the second-level cache.
const BAND: usize = 1 << 16;

/// Shares of a minibatch whose parts of the weights' gradient are summed apart, as in a convolution.
const SHARES: usize = 8;

thread_local! {
    static COLUMNS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

impl TransposedConvolution {
    /// Rows of the columns' matrix.
    fn depth(&self) -> usize {
        self.outputs * self.window.kernel_plane()
    }

    /// Lines of the input at a time.
    fn bands(&self) -> impl Iterator<Item = std::ops::Range<usize>> + use<> {
        let [height, width] = self.window.output;
        let step = (BAND / (self.depth() * width)).clamp(1, height);
        (0..height).step_by(step).map(move |begin| begin..(begin + step).min(height))
    }

    fn forward_row(&self, x: &[f32], params: &[&[f32]], y: &mut [f32], columns: &mut Vec<f32>) {
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
        columns: &mut Vec<f32>,
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

    fn forward(&self, pass: Pass<'_>, y: &mut [f32], _: &mut Saved) {
        let row = |(y, x): (&mut [f32], &[f32])| {
            COLUMNS.with_borrow_mut(|columns| self.forward_row(x, pass.params, y, columns));
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
                    let dx = dx.as_mut().map(|dx| &mut dx[j * inputs..][..inputs]);
                    let x = &pass.x[row * inputs..][..inputs];
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
