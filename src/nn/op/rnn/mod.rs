//! Recurrent layers over whole sequences: LSTM, GRU and simple RNN, forward and back through time, on the CPU.
//!
//! Fast because nothing is handed between threads inside a sequence: each thread owns its rows of the minibatch for all
//! steps and layers. The inputs' part of all steps is one matrix product, and so is the gradient of each weight; a step
//! itself is one product and one fused pass over its gates. Steps behind a sequence's end are never computed.
//!
//! The same minibatch on the same number of threads gives the same numbers, bit for bit.

mod cell;
mod direction;
mod gate;
mod matrix;
mod order;
mod scratch;
mod share;

use std::borrow::Cow;

use rayon::prelude::*;

use super::{Gradients, Kernel, Pass, SavedState, wide};
use crate::nn::layer::SequenceOutput;
use direction::{PreparedWeights, WeightsUse};
use scratch::RnnBuffers;
use share::ThreadShare;

/// Cell of a recurrent layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CellKind {
    /// Long short-term memory, PyTorch's `nn.LSTM`.
    Lstm,
    /// Gated recurrent unit, PyTorch's `nn.GRU`.
    Gru,
    /// PyTorch's `nn.RNN` with `tanh`.
    Tanh,
    /// PyTorch's `nn.RNN` with `relu`.
    Relu,
}

impl CellKind {
    /// Returns the width of its sums, in hidden sizes.
    fn gates(self) -> usize {
        match self {
            CellKind::Lstm => 4,
            CellKind::Gru => 3,
            CellKind::Tanh | CellKind::Relu => 1,
        }
    }
}

/// A stack of recurrent layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) kind: CellKind,
    /// Values a step going in.
    pub(crate) inputs: usize,
    /// Units of each direction.
    pub(crate) hidden: usize,
    /// Layers on top of each other, at least one.
    pub(crate) layers: usize,
    /// True if each layer also reads the sequence from its end.
    pub(crate) bidirectional: bool,
    pub(crate) readout: SequenceOutput,
}

impl Shape {
    fn directions(&self) -> usize {
        1 + usize::from(self.bidirectional)
    }

    /// Values a step (or sequence) coming out: the directions' hidden states side by side.
    pub(crate) fn outputs(&self) -> usize {
        self.directions() * self.hidden
    }

    /// Returns the parameters' names and shapes as PyTorch's modules have them, in the order in which the kernel takes
    /// them.
    pub(crate) fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        let wide = self.kind.gates() * self.hidden;
        let mut all = Vec::new();
        for layer in 0..self.layers {
            let inputs = if layer == 0 { self.inputs } else { self.outputs() };
            for suffix in &["", "_reverse"][..self.directions()] {
                all.extend([
                    (format!("weight_ih_l{layer}{suffix}"), vec![wide, inputs]),
                    (format!("weight_hh_l{layer}{suffix}"), vec![wide, self.hidden]),
                    (format!("bias_ih_l{layer}{suffix}"), vec![wide]),
                    (format!("bias_hh_l{layer}{suffix}"), vec![wide]),
                ]);
            }
        }
        all
    }

    /// Returns the number of weights of one direction of a layer.
    fn direction_len(&self, inputs: usize) -> usize {
        self.kind.gates() * self.hidden * (inputs + self.hidden + 2)
    }

    /// `weights` as [`Shape::parameters`] lists them.
    fn prepare<'a>(&self, weights: &[&'a [f32]], way: WeightsUse) -> Vec<Vec<PreparedWeights<'a>>> {
        let layer = |(layer, weights): (usize, &[&'a [f32]])| {
            let inputs = if layer == 0 { self.inputs } else { self.outputs() };
            let direction = |own: &[&'a [f32]; 4]| PreparedWeights::new(self.kind, (inputs, self.hidden), *own, way);
            weights.as_chunks().0.iter().map(direction).collect()
        };
        weights.chunks_exact(4 * self.directions()).enumerate().map(layer).collect()
    }

    /// Returns the number of output values.
    fn out_len(&self, rows: usize, time: usize) -> usize {
        rows * self.outputs() * if self.readout == SequenceOutput::All { time } else { 1 }
    }
}

/// Fewer rows than this are not worth a thread: the weights are read once per step for all of them.
const ROWS_PER_THREAD: usize = 8;

/// Cuts the rows into as many runs as there are threads to use, each with about as many steps as the others.
fn cuts(lengths: &[u32]) -> Vec<usize> {
    let threads = crate::nn::op::threads().min(lengths.len().div_ceil(ROWS_PER_THREAD)).max(1);
    let total: u64 = lengths.iter().map(|&l| u64::from(l)).sum();
    let (mut cuts, mut sum) = (vec![0], 0u64);
    for (row, &length) in lengths.iter().enumerate() {
        let wanted = total * cuts.len() as u64 / threads as u64;
        if cuts.len() < threads && sum + u64::from(length) / 2 >= wanted && row > 0 {
            cuts.push(row);
        }
        sum += u64::from(length);
    }
    cuts.push(lengths.len());
    cuts
}

/// Runs a forward pass over `x` `(rows, time, inputs)`, padded behind each row's length, which is at least 1. Fills
/// `out`; returns the values that the backward pass needs.
fn forward(
    shape: &Shape,
    weights: &[&[f32]],
    x: &[f32],
    (lengths, time): (&[u32], usize),
    out: &mut [f32],
    scratch: &RnnBuffers,
) -> Vec<ThreadShare> {
    let layers = shape.prepare(weights, WeightsUse::Forward);
    out.fill(0.0);
    let (mut rest, mut jobs) = (out, Vec::new());
    for cut in cuts(lengths).windows(2) {
        let (own, after) = rest.split_at_mut(shape.out_len(cut[1] - cut[0], time));
        rest = after;
        jobs.push((&lengths[cut[0]..cut[1]], &x[cut[0] * time * shape.inputs..cut[1] * time * shape.inputs], own));
    }
    let run = |(lengths, x, out)| ThreadShare::forward(shape, &layers, x, (lengths, time), out, scratch);
    if jobs.len() == 1 { jobs.into_iter().map(run).collect() } else { jobs.into_par_iter().map(run).collect() }
}

/// Fills the gradients of the weights and, if asked for, of `x`, from that of the output.
fn backward(
    shape: &Shape,
    weights: &[&[f32]],
    shares: Vec<ThreadShare>,
    (lengths, time): (&[u32], usize),
    d_out: &[f32],
    gradients: Gradients<'_, '_>,
    scratch: &RnnBuffers,
) {
    let layers = shape.prepare(weights, WeightsUse::Backward);
    let (mut rest, mut jobs) = (gradients.x, Vec::new());
    for (cut, share) in cuts(lengths).windows(2).zip(shares) {
        let rows = cut[1] - cut[0];
        let (own, after) = rest.map(|d_x| d_x.split_at_mut(rows * time * shape.inputs)).unzip();
        rest = after;
        let from = shape.out_len(cut[0], time);
        jobs.push((share, &d_out[from..][..shape.out_len(rows, time)], own));
    }
    let count = weights.iter().map(|w| w.len()).sum();
    let run = |(share, d_out, d_x): (ThreadShare, _, Option<&mut [f32]>)| {
        let mut d_weights = scratch.zeros(count);
        share.backward(shape, &layers, (d_out, time), &mut d_weights, d_x, scratch);
        d_weights
    };
    let parts: Vec<Vec<f32>> =
        if jobs.len() == 1 { jobs.into_iter().map(run).collect() } else { jobs.into_par_iter().map(run).collect() };
    // Summed in the order of the rows, whichever thread was done first.
    let mut at = 0;
    for to in gradients.params.iter_mut() {
        to.fill(0.0);
        for part in &parts {
            to.iter_mut().zip(&part[at..]).for_each(|(sum, d)| *sum += d);
        }
        at += to.len();
    }
    parts.into_iter().for_each(|part| scratch.give(part));
}

/// Buffers of a recurrent layer between forward and backward, and between two steps.
#[derive(Debug, Default)]
pub(crate) struct Sequences {
    scratch: RnnBuffers,
    shares: Vec<ThreadShare>,
}

/// A stack of recurrent layers over rows of `time` steps, or over sequences whose lengths the pass tells: then `time`
/// is 1, so that inputs and outputs are those of a step.
#[derive(Debug)]
pub(crate) struct Recurrence {
    pub(crate) shape: Shape,
    pub(crate) time: usize,
}

impl Recurrence {
    /// Returns the rows' lengths, and the steps that they are padded to.
    fn lengths<'a>(&self, pass: &Pass<'a>) -> (Cow<'a, [u32]>, usize) {
        match pass.lengths {
            Some(lengths) => (lengths.into(), pass.time(self.shape.inputs)),
            None => (vec![self.time as u32; pass.rows].into(), self.time),
        }
    }
}

impl Kernel for Recurrence {
    fn name(&self) -> &'static str {
        match self.shape.kind {
            CellKind::Lstm => "lstm",
            CellKind::Gru => "gru",
            CellKind::Tanh | CellKind::Relu => "rnn",
        }
    }

    fn inputs(&self) -> usize {
        self.time * self.shape.inputs
    }

    fn outputs(&self) -> usize {
        self.shape.out_len(1, self.time)
    }

    fn forward(&self, pass: Pass<'_>, y: &mut [f32], saved: &mut SavedState) {
        let Sequences { scratch, shares } = &mut saved.sequences;
        shares.drain(..).for_each(|share| share.free(scratch));
        let (lengths, time) = self.lengths(&pass);
        *shares = forward(&self.shape, pass.params, pass.x, (&lengths, time), y, scratch);
    }

    fn backward(
        &self,
        pass: Pass<'_>,
        _: &[f32],
        dy: &mut [f32],
        saved: &mut SavedState,
        gradients: Gradients<'_, '_>,
    ) {
        let Sequences { scratch, shares } = &mut saved.sequences;
        let (lengths, time) = self.lengths(&pass);
        let shares = std::mem::take(shares);
        backward(&self.shape, pass.params, shares, (&lengths, time), dy, gradients, scratch);
    }
}

#[cfg(test)]
mod tests;
