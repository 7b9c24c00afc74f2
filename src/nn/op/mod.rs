//! The processor's kernels: forward and backward over slices, without allocation once warm.
//!
//! A [`Kernel`] is one layer with every size known. It is used in two ways. [`Tape`](super::Tape) runs kernels one
//! after another over buffers that live as long as the training; [`apply`] wraps one as a candle operation with a
//! gradient, for networks put together from tensors. Work is split by sizes alone and sums are taken in a fixed order,
//! so that the same numbers give the same result, whatever the threads do.

mod activation;
mod add;
mod attention;
mod by_row;
mod conv;
mod conv_transpose;
mod cross_entropy;
mod csr;
mod custom;
mod dropout;
pub(crate) mod gemm;
mod linear;
mod lookup;
pub(crate) mod math;
mod norm;
mod pool;
pub(crate) mod rnn;
mod steps;
#[cfg(target_arch = "x86_64")]
mod tiles;
#[cfg(target_arch = "x86_64")]
mod turn;
mod window;

pub(crate) use activation::{Elementwise, activate, from_output};
pub(crate) use add::{add_into, add_values};
pub(crate) use attention::Mixing;
pub(crate) use conv::Convolution;
pub(crate) use conv_transpose::TransposedConvolution;
pub use cross_entropy::cross_entropy;
pub(crate) use csr::Csr;
pub(crate) use custom::{apply, look};
pub(crate) use dropout::{DropoutKernel, mask as dropout_mask};
pub(crate) use linear::Dense;
pub(crate) use lookup::{Lookup, has_line};
pub(crate) use math::{exp, sigmoid, wide};
pub(crate) use norm::{BatchNormalization, LayerNormalization};
pub(crate) use pool::{Pooling, Reduce};
pub(crate) use steps::{Positions, Reading, positions};
pub(crate) use window::Window;

use std::{cell::Cell, fmt::Debug};

use rayon::prelude::*;

use super::Mode;

/// Input of a kernel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pass<'a> {
    /// Number of rows.
    pub(crate) rows: usize,
    /// `rows × inputs` values.
    pub(crate) x: &'a [f32],
    /// The layer's parameters, then its statistics, in the order of the specification.
    pub(crate) params: &'a [&'a [f32]],
    pub(crate) mode: Mode,
    /// Number of steps of each row, where rows are sequences that vary in length: `x` is padded to the longest.
    pub(crate) lengths: Option<&'a [u32]>,
    /// The rows in place of `x`, where they are mostly zeros; [`Dense`] alone takes such.
    pub(crate) csr: Option<Csr<'a>>,
}

impl Pass<'_> {
    /// Returns the steps that rows are padded to, one of which has `width` values.
    pub(crate) fn time(&self, width: usize) -> usize {
        self.x.len() / (self.rows * width).max(1)
    }
}

/// Results of a forward pass for the backward one, and scratch space; reused from step to step.
#[derive(Debug, Default)]
pub(crate) struct SavedState {
    pub(crate) values: Vec<f32>,
    pub(crate) places: Vec<u32>,
    pub(crate) scratch: Vec<f32>,
    pub(crate) sequences: rnn::Sequences,
    /// Of kernels inside of it.
    pub(crate) inner: Vec<SavedState>,
    /// Values between those kernels, and their gradients.
    pub(crate) between: Vec<Vec<f32>>,
    pub(crate) upstream: [Vec<f32>; 2],
}

/// Statistics of a normalisation over the training rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moments<'a> {
    /// Which of the layer's statistics is the running mean; the running variance is the one behind it.
    pub(crate) place: usize,
    /// The mean of each channel, then the (biased) variance of each.
    pub(crate) values: &'a [f32],
    /// Values a channel.
    pub(crate) count: usize,
    /// The share of them that running statistics take over.
    pub(crate) momentum: f64,
}

/// Gradients that a backward pass overwrites.
#[derive(Debug)]
pub(crate) struct Gradients<'a, 'b> {
    /// Of the input, if it is needed.
    pub(crate) x: Option<&'a mut [f32]>,
    /// Of the trained parameters.
    pub(crate) params: &'a mut [&'b mut [f32]],
}

/// One layer on the processor.
pub(crate) trait Kernel: Debug + Send + Sync {
    /// Returns its name in errors.
    fn name(&self) -> &'static str;

    /// Values of a row that go in.
    fn inputs(&self) -> usize;

    /// Values of a row that come out.
    fn outputs(&self) -> usize;

    /// Returns whether it takes sparse rows as [`Csr`].
    fn takes_sparse(&self) -> bool {
        false
    }

    /// Fills `y`, `rows × outputs`.
    fn forward(&self, pass: Pass<'_>, y: &mut [f32], saved: &mut SavedState);

    /// Fills the gradients from that of the output, which it may use up.
    fn backward(&self, pass: Pass<'_>, y: &[f32], dy: &mut [f32], saved: &mut SavedState, gradients: Gradients<'_, '_>);

    /// Returns the statistics of normalisations in the last forward pass, over `rows` training rows.
    fn found<'a>(&self, _saved: &'a SavedState, _rows: usize) -> Vec<Moments<'a>> {
        Vec::new()
    }
}

/// Fewer values than this are not worth a second thread.
const WORTH_SHARING: usize = 1 << 15;

thread_local! {
    static ALONE: Cell<bool> = const { Cell::new(false) };
}

/// Runs kernels on the calling thread only: one of several, each over its own rows.
pub(crate) fn alone<R>(f: impl FnOnce() -> R) -> R {
    struct Before(bool);
    impl std::ops::Drop for Before {
        fn drop(&mut self) {
            ALONE.set(self.0);
        }
    }
    let _before = Before(ALONE.replace(true));
    f()
}

/// Returns the number of threads that a kernel may use.
pub(crate) fn threads() -> usize {
    if ALONE.get() { 1 } else { rayon::current_num_threads() }
}

/// Calls `f` with the first row and the values of runs of whole rows, on all threads when there is enough to do.
pub(crate) fn over_rows(y: &mut [f32], width: usize, f: impl Fn(usize, &mut [f32]) + Sync) {
    if y.len() < WORTH_SHARING || width == 0 || threads() == 1 {
        f(0, y);
        return;
    }
    let rows = (WORTH_SHARING / 4).div_ceil(width);
    y.par_chunks_mut(rows * width).enumerate().for_each(|(i, chunk)| f(i * rows, chunk));
}

/// Makes room for `count` values that will all be written; old ones may show through.
pub(crate) fn room<T: Copy + Default>(buffer: &mut Vec<T>, count: usize) -> &mut [T] {
    if buffer.len() < count {
        buffer.resize(count, T::default());
    }
    &mut buffer[..count]
}

/// Adds to `sums` the sum of each column of rows of `sums.len()` values.
pub(crate) fn add_columns(sums: &mut [f32], rows: &[f32]) {
    wide(|| {
        for row in rows.chunks_exact(sums.len().max(1)) {
            sums.iter_mut().zip(row).for_each(|(s, v)| *s += v);
        }
    });
}

#[cfg(test)]
mod tests;
