//! Kernels of weights and biases to which a row is one thread's work: convolutions and transposed ones.

use std::{cell::RefCell, ops::Range};

use rayon::prelude::*;

use super::{Gradients, Kernel, Pass, SavedState, activation, room, threads};
use crate::nn::Activation;

/// Values of a band of columns: they and the product's packed copies fit the second-level cache.
const BAND: usize = 1 << 16;

/// Shares of a minibatch whose parts of the weights' gradient are summed apart; independent of the number of
/// threads, so that sums are taken in the same order on any machine.
const SHARES: usize = 8;

/// A thread's columns, and their gradients.
pub(super) type ThreadColumns = [Vec<f32>; 2];

thread_local! {
    static COLUMNS: RefCell<ThreadColumns> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

/// Work of such a kernel on one row.
pub(super) trait ByRow: Kernel {
    /// Activation that follows it: one whose derivative follows from its output.
    fn activation(&self) -> Option<Activation>;

    /// Fills `y`, in front of the activation.
    fn forward_row(&self, x: &[f32], params: &[&[f32]], y: &mut [f32], columns: &mut ThreadColumns);

    /// Adds a row's part to the gradients of weight and bias, and fills that of the row itself.
    fn backward_row(
        &self,
        x: &[f32],
        weight: &[f32],
        dy: &[f32],
        sums: (&mut [f32], &mut [f32]),
        dx: Option<&mut [f32]>,
        columns: &mut ThreadColumns,
    );
}

/// Runs of `lines` whose columns, `line` values each, are made at a time.
pub(super) fn bands(lines: usize, line: usize) -> impl Iterator<Item = Range<usize>> + use<> {
    let step = (BAND / line).clamp(1, lines);
    (0..lines).step_by(step).map(move |begin| begin..(begin + step).min(lines))
}

pub(super) fn forward(kernel: &impl ByRow, pass: Pass<'_>, y: &mut [f32]) {
    let row = |(y, x): (&mut [f32], &[f32])| {
        COLUMNS.with_borrow_mut(|columns| kernel.forward_row(x, pass.params, y, columns));
        if let Some(function) = kernel.activation() {
            activation::activate(function, y);
        }
    };
    let (inputs, outputs) = (kernel.inputs(), kernel.outputs());
    match threads() {
        1 => y.chunks_mut(outputs).zip(pass.x.chunks(inputs)).for_each(row),
        _ => y.par_chunks_mut(outputs).zip(pass.x.par_chunks(inputs)).for_each(row),
    }
}

pub(super) fn backward(
    kernel: &impl ByRow,
    pass: Pass<'_>,
    y: &[f32],
    dy: &mut [f32],
    saved: &mut SavedState,
    gradients: Gradients<'_, '_>,
) {
    let [dweight, dbias] = gradients.params else { return };
    let (inputs, outputs) = (kernel.inputs(), kernel.outputs());
    let share = pass.rows.div_ceil(SHARES).max(1);
    let (weights, part) = (dweight.len(), dweight.len() + dbias.len());
    let count = pass.rows.div_ceil(share);
    let parts = room(&mut saved.scratch, count * part);
    // A share of the input's gradient each, or `None` each when it is not needed.
    let mut dx = gradients.x.map(|dx| dx.chunks_mut(share * inputs));
    let dx: Vec<Option<&mut [f32]>> = (0..count).map(|_| dx.as_mut().and_then(Iterator::next)).collect();
    let work = parts.par_chunks_mut(part).zip(dy.par_chunks_mut(share * outputs)).zip(dx).enumerate();
    work.for_each(|(i, ((part, dy), mut dx))| {
        part.fill(0.0);
        let (dweight, dbias) = part.split_at_mut(weights);
        COLUMNS.with_borrow_mut(|columns| {
            for (j, dy) in dy.chunks_exact_mut(outputs).enumerate() {
                let row = i * share + j;
                if let Some(function) = kernel.activation() {
                    activation::chain(function, &y[row * outputs..][..outputs], dy);
                }
                let (x, dx) =
                    (&pass.x[row * inputs..][..inputs], dx.as_mut().map(|dx| &mut dx[j * inputs..][..inputs]));
                kernel.backward_row(x, pass.params[0], dy, (dweight, dbias), dx, columns);
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
