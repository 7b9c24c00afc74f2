//! Scaled dot-product attention of a sequence's steps to each other.

use std::cell::RefCell;

use rayon::prelude::*;

use super::{
    Gradients, Kernel, Pass, SavedState,
    gemm::{Matrix, Threads, gemm},
    math::{exp, wide},
    room, threads,
};

/// Each step's mixture of all steps' values, by how much its query is like their keys: `softmax(Q Kᵀ / √d) V` for each
/// head, as in PyTorch's `nn.MultiheadAttention` between its projections. Steps behind a sequence's end neither take
/// part nor get anything but 0.
///
/// Input a step: queries, keys and values, `width` each, those of one head side by side; output `width`. A row is one
/// thread's work. The weights are computed again on the way back, so that nothing as large as steps × steps is kept.
#[derive(Debug)]
pub(crate) struct Mixing {
    pub(crate) heads: usize,
    pub(crate) width: usize,
    /// Steps of a row; 1 where the lengths of sequences tell, so that inputs and outputs are those of a step.
    pub(crate) time: usize,
}

/// Queries at a time: their weights stay in the second-level cache for sequences of some hundred steps.
const QUERIES: usize = 128;

thread_local! {
    static WEIGHTS: RefCell<[Vec<f32>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

impl Mixing {
    /// Returns the steps that rows are padded to.
    fn padded(&self, pass: &Pass<'_>) -> usize {
        if pass.lengths.is_some() { pass.time(3 * self.width) } else { self.time }
    }

    /// Fills `weights`, `(queries, steps)`, for queries from step `begin` on; `x` are one row's steps up to its end.
    fn weigh(&self, x: &[f32], head: usize, begin: usize, steps: usize, weights: &mut [f32]) {
        let (each, stride) = (self.width / self.heads, 3 * self.width);
        let queries = Matrix::rows(&x[begin * stride + head * each..], stride);
        let keys = Matrix::rows(&x[self.width + head * each..], stride);
        gemm([weights.len() / steps, steps, each], queries, keys.t(), (weights, steps), false, Threads::One);
        let scale = 1.0 / (each as f32).sqrt();
        wide(|| {
            for line in weights.chunks_exact_mut(steps) {
                let most = line.iter().fold(f32::NEG_INFINITY, |most, v| most.max(*v));
                line.iter_mut().for_each(|v| *v = exp((*v - most) * scale));
                let share = 1.0 / line.iter().sum::<f32>();
                line.iter_mut().for_each(|v| *v *= share);
            }
        });
    }

    fn forward_row(&self, x: &[f32], steps: usize, y: &mut [f32]) {
        let (width, each, stride) = (self.width, self.width / self.heads, 3 * self.width);
        y[steps * width..].fill(0.0);
        WEIGHTS.with_borrow_mut(|[weights, _]| {
            for head in 0..self.heads {
                let values = Matrix::rows(&x[2 * width + head * each..], stride);
                for begin in (0..steps).step_by(QUERIES) {
                    let count = QUERIES.min(steps - begin);
                    let weights = room(weights, count * steps);
                    self.weigh(x, head, begin, steps, weights);
                    let to = (&mut y[begin * width + head * each..], width);
                    gemm([count, each, steps], Matrix::rows(weights, steps), values, to, false, Threads::One);
                }
            }
        });
    }

    fn backward_row(&self, x: &[f32], steps: usize, dy: &[f32], dx: &mut [f32]) {
        let (width, each, stride) = (self.width, self.width / self.heads, 3 * self.width);
        let scale = 1.0 / (each as f32).sqrt();
        dx.fill(0.0);
        WEIGHTS.with_borrow_mut(|[weights, slopes]| {
            for head in 0..self.heads {
                let [query, key, value] = [0, 1, 2].map(|part| part * width + head * each);
                for begin in (0..steps).step_by(QUERIES) {
                    let count = QUERIES.min(steps - begin);
                    let (weights, slopes) = (room(weights, count * steps), room(slopes, count * steps));
                    self.weigh(x, head, begin, steps, weights);
                    let upstream = Matrix::rows(&dy[begin * width + head * each..], width);
                    let mixed = Matrix::rows(weights, steps);
                    gemm([steps, each, count], mixed.t(), upstream, (&mut dx[value..], stride), true, Threads::One);
                    let values = Matrix::rows(&x[value..], stride);
                    gemm([count, steps, each], upstream, values.t(), (slopes, steps), false, Threads::One);
                    wide(|| {
                        for (slopes, weights) in slopes.chunks_exact_mut(steps).zip(weights.chunks_exact(steps)) {
                            let along: f32 = slopes.iter().zip(weights).map(|(s, w)| s * w).sum();
                            slopes.iter_mut().zip(weights).for_each(|(s, w)| *s = w * (*s - along) * scale);
                        }
                    });
                    let (slopes, first) = (Matrix::rows(slopes, steps), begin * stride);
                    let keys = Matrix::rows(&x[key..], stride);
                    gemm([count, each, steps], slopes, keys, (&mut dx[first + query..], stride), false, Threads::One);
                    let queries = Matrix::rows(&x[first + query..], stride);
                    gemm([steps, each, count], slopes.t(), queries, (&mut dx[key..], stride), true, Threads::One);
                }
            }
        });
    }
}

impl Kernel for Mixing {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn inputs(&self) -> usize {
        self.time * 3 * self.width
    }

    fn outputs(&self) -> usize {
        self.time * self.width
    }

    fn forward(&self, pass: Pass<'_>, y: &mut [f32], _: &mut SavedState) {
        let time = self.padded(&pass);
        let (inputs, outputs) = (time * 3 * self.width, time * self.width);
        let row = |(row, (y, x)): (usize, (&mut [f32], &[f32]))| {
            self.forward_row(x, pass.lengths.map_or(time, |lengths| lengths[row] as usize), y);
        };
        match threads() {
            1 => y.chunks_mut(outputs).zip(pass.x.chunks(inputs)).enumerate().for_each(row),
            _ => y.par_chunks_mut(outputs).zip(pass.x.par_chunks(inputs)).enumerate().for_each(row),
        }
    }

    fn backward(&self, pass: Pass<'_>, _: &[f32], dy: &mut [f32], _: &mut SavedState, gradients: Gradients<'_, '_>) {
        let Some(dx) = gradients.x else { return };
        let time = self.padded(&pass);
        let (inputs, outputs) = (time * 3 * self.width, time * self.width);
        let row = |row: usize, x: &[f32], dx: &mut [f32], dy: &mut [f32]| {
            self.backward_row(x, pass.lengths.map_or(time, |lengths| lengths[row] as usize), dy, dx);
        };
        match threads() {
            1 => {
                let gradients = dx.chunks_mut(inputs).zip(dy.chunks_mut(outputs));
                let rows = gradients.zip(pass.x.chunks(inputs)).enumerate();
                rows.for_each(|(i, ((dx, dy), x))| row(i, x, dx, dy));
            }
            _ => {
                let gradients = dx.par_chunks_mut(inputs).zip(dy.par_chunks_mut(outputs));
                let rows = gradients.zip(pass.x.par_chunks(inputs)).enumerate();
                rows.for_each(|(i, ((dx, dy), x))| row(i, x, dx, dy));
            }
        }
    }
}
