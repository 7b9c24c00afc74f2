//! Recurrent layers over whole sequences: LSTM, GRU and simple RNN, forward and back through time, on the CPU.
//!
//! Fast because nothing is handed between threads inside a sequence: each thread owns its rows of the minibatch for all
//! steps and layers. The inputs' part of all steps is one matrix product, and so is the gradient of each weight; a step
//! itself is one product and one fused pass over its gates. Steps behind a sequence's end are never computed.
//!
//! The same minibatch on the same number of threads gives the same numbers, bit for bit.

mod cell;
mod direction;
mod matrix;
mod op;
mod order;
mod scratch;
mod share;
mod vector;

use rayon::prelude::*;

use direction::Prepared;
pub(crate) use op::rnn;
pub(crate) use scratch::Scratch;
use share::Share;

/// What a recurrent layer computes at each step.
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
    /// How many times the hidden size its sums are wide.
    fn gates(self) -> usize {
        match self {
            CellKind::Lstm => 4,
            CellKind::Gru => 3,
            CellKind::Tanh | CellKind::Relu => 1,
        }
    }
}

/// What a recurrent layer gives for a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readout {
    /// The outputs of all steps, zeros behind the end.
    All,
    /// Each direction's last hidden state: PyTorch's `h_n` of the last layer.
    Last,
    /// The mean over the sequence's steps.
    Mean,
    /// The largest value over the sequence's steps.
    Max,
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
    /// Whether each layer also reads the sequence from its end.
    pub(crate) bidirectional: bool,
    pub(crate) readout: Readout,
}

impl Shape {
    fn directions(&self) -> usize {
        1 + usize::from(self.bidirectional)
    }

    /// Values a step (or sequence) coming out: the directions' hidden states side by side.
    pub(crate) fn outputs(&self) -> usize {
        self.directions() * self.hidden
    }

    /// The parameters' names and shapes as PyTorch's modules have them, in the order in which [`rnn`] takes them.
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

    /// How many weights one direction of a layer has.
    fn direction_len(&self, inputs: usize) -> usize {
        self.kind.gates() * self.hidden * (inputs + self.hidden + 2)
    }

    fn prepare<'a>(&self, mut weights: &'a [f32]) -> Vec<Vec<Prepared<'a>>> {
        let layer = |layer| {
            let inputs = if layer == 0 { self.inputs } else { self.outputs() };
            let direction = |_| {
                let (own, rest) = weights.split_at(self.direction_len(inputs));
                weights = rest;
                Prepared::new(self.kind, inputs, self.hidden, own)
            };
            (0..self.directions()).map(direction).collect()
        };
        (0..self.layers).map(layer).collect()
    }

    /// How many values come out.
    fn out_len(&self, rows: usize, time: usize) -> usize {
        rows * self.outputs() * if self.readout == Readout::All { time } else { 1 }
    }
}

/// Fewer rows than this are not worth a thread: the weights are read once per step for all of them.
const ROWS_PER_THREAD: usize = 8;

/// Cuts the rows into as many runs as there are threads to use, each with about as many steps as the others.
fn cuts(lengths: &[u32]) -> Vec<usize> {
    let threads = rayon::current_num_threads().min(lengths.len().div_ceil(ROWS_PER_THREAD)).max(1);
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

/// A forward pass over `x` `(rows, time, inputs)`, padded behind each row's length; `weights` are the parameters one after
/// another. Gives the output and what the backward pass needs.
fn forward(
    shape: &Shape,
    weights: &[f32],
    x: &[f32],
    lengths: &[u32],
    time: usize,
    scratch: &Scratch,
) -> (Vec<f32>, Vec<Share>) {
    let layers = shape.prepare(weights);
    let mut out = vec![0.0; shape.out_len(lengths.len(), time)];
    let (mut rest, mut jobs) = (&mut out[..], Vec::new());
    for cut in cuts(lengths).windows(2) {
        let (own, after) = rest.split_at_mut(shape.out_len(cut[1] - cut[0], time));
        rest = after;
        jobs.push((&lengths[cut[0]..cut[1]], &x[cut[0] * time * shape.inputs..cut[1] * time * shape.inputs], own));
    }
    let run = |(lengths, x, out)| Share::forward(shape, &layers, x, (lengths, time), out, scratch);
    let shares =
        if jobs.len() == 1 { jobs.into_iter().map(run).collect() } else { jobs.into_par_iter().map(run).collect() };
    (out, shares)
}

/// The gradients of the weights and, if asked for, of `x`, from that of the output.
fn backward(
    shape: &Shape,
    weights: &[f32],
    shares: Vec<Share>,
    d_out: &[f32],
    (lengths, time): (&[u32], usize),
    wants_x: bool,
    scratch: &Scratch,
) -> (Vec<f32>, Option<Vec<f32>>) {
    let layers = shape.prepare(weights);
    let mut d_x = wants_x.then(|| vec![0.0; lengths.len() * time * shape.inputs]);
    let (mut rest, mut jobs) = (d_x.as_deref_mut(), Vec::new());
    for (cut, share) in cuts(lengths).windows(2).zip(shares) {
        let rows = cut[1] - cut[0];
        let (own, after) = rest.map(|d_x| d_x.split_at_mut(rows * time * shape.inputs)).unzip();
        rest = after;
        let from = shape.out_len(cut[0], time);
        jobs.push((share, &d_out[from..][..shape.out_len(rows, time)], own));
    }
    let run = |(share, d_out, d_x): (Share, _, _)| {
        let mut d_weights = scratch.zeros(weights.len());
        share.backward(shape, &layers, (d_out, time), &mut d_weights, d_x, scratch);
        d_weights
    };
    let parts: Vec<Vec<f32>> =
        if jobs.len() == 1 { jobs.into_iter().map(run).collect() } else { jobs.into_par_iter().map(run).collect() };
    // Summed in the order of the rows, whichever thread was done first.
    let mut d_weights = vec![0.0; weights.len()];
    for part in parts {
        d_weights.iter_mut().zip(&part).for_each(|(sum, d)| *sum += d);
        scratch.give(part);
    }
    (d_weights, d_x)
}

#[cfg(test)]
mod tests;
