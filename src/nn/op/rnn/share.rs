//! All layers over the sequences of one thread.

use super::{
    SequenceOutput, Shape,
    direction::{DirectionState, PreparedWeights},
    order::Order,
    scratch::RnnBuffers,
};

/// One thread's buffers for its sequences between forward and backward.
#[derive(Debug)]
pub(super) struct ThreadShare {
    order: Order,
    /// By layer, then direction.
    kept: Vec<Vec<DirectionState>>,
    /// [`SequenceOutput::Max`]: for every sequence, longest first, and every output the packed place of the largest value.
    largest: Vec<u32>,
}

impl ThreadShare {
    /// `x` `(sequences, time, inputs)`; `out` as [`Shape::out_len`] says, zeros.
    pub(super) fn forward(
        shape: &Shape,
        layers: &[Vec<PreparedWeights<'_>>],
        x: &[f32],
        (lengths, time): (&[u32], usize),
        out: &mut [f32],
        scratch: &RnnBuffers,
    ) -> Self {
        let order = Order::new(lengths);
        let mut inputs = scratch.take(order.len() * shape.inputs);
        order.pack(x, time, shape.inputs, &mut inputs);
        let mut kept: Vec<Vec<DirectionState>> = Vec::with_capacity(layers.len());
        for (layer, directions) in layers.iter().enumerate() {
            let width = if layer == 0 { shape.inputs } else { shape.outputs() };
            let turned = directions.get(1).map(|_| {
                let mut turned = scratch.take(inputs.len());
                order.turn(|from, to| copy_row(&inputs, from, &mut turned, to, width));
                turned
            });
            let passes: Vec<DirectionState> = directions
                .iter()
                .zip([Some(inputs), turned].into_iter().flatten())
                .map(|(d, x)| d.forward(x, &order, scratch))
                .collect();
            inputs = join(&passes, shape.hidden, &order, scratch);
            kept.push(passes);
        }
        let mut share = Self { order, kept, largest: Vec::new() };
        share.read_out(shape, &inputs, time, out);
        scratch.give(inputs);
        share
    }

    /// `d_out`: the gradient of the output. Adds to the weights' gradients and writes the inputs' when they are needed.
    pub(super) fn backward(
        mut self,
        shape: &Shape,
        layers: &[Vec<PreparedWeights<'_>>],
        (d_out, time): (&[f32], usize),
        d_weights: &mut [f32],
        d_x: Option<&mut [f32]>,
        scratch: &RnnBuffers,
    ) {
        let order = &self.order;
        let mut d_outputs = scratch.zeros(order.len() * shape.outputs());
        read_back(shape, order, &self.largest, (d_out, time), &mut d_outputs);
        let mut end = d_weights.len();
        for (layer, directions) in layers.iter().enumerate().rev() {
            let width = if layer == 0 { shape.inputs } else { shape.outputs() };
            let wanted = layer > 0 || d_x.is_some();
            let size = shape.direction_len(width);
            let begin = end - size * directions.len();
            let mut d_inputs: Option<Vec<f32>> = None;
            let passes = self.kept.pop().unwrap_or_default();
            for (d, (direction, kept)) in directions.iter().zip(passes).enumerate() {
                let mut d_hidden = split(&d_outputs, d, shape, order, scratch);
                let d_weights = &mut d_weights[begin + d * size..][..size];
                let part = direction.backward(kept, &mut d_hidden, d_weights, wanted, order, scratch);
                scratch.give(d_hidden);
                let Some(part) = part else { continue };
                match &mut d_inputs {
                    None => d_inputs = Some(part),
                    Some(sum) => {
                        order.turn(|from, to| {
                            let (sum, part) = (&mut sum[to * width..][..width], &part[from * width..][..width]);
                            sum.iter_mut().zip(part).for_each(|(s, p)| *s += p);
                        });
                        scratch.give(part);
                    }
                }
            }
            end = begin;
            scratch.give(std::mem::replace(&mut d_outputs, d_inputs.unwrap_or_default()));
        }
        if let Some(d_x) = d_x {
            d_x.fill(0.0);
            order.unpack(&d_outputs, time, shape.inputs, d_x);
        }
        scratch.give(d_outputs);
    }

    /// Gives all buffers back.
    pub(super) fn free(self, scratch: &RnnBuffers) {
        self.kept.into_iter().flatten().for_each(|kept| kept.free(scratch));
    }

    fn read_out(&mut self, shape: &Shape, outputs: &[f32], time: usize, out: &mut [f32]) {
        let (order, width, h) = (&self.order, shape.outputs(), shape.hidden);
        if shape.readout == SequenceOutput::All {
            return order.unpack(outputs, time, width, out);
        }
        if shape.readout == SequenceOutput::Max {
            self.largest = vec![0; order.sequences().count() * width];
        }
        for (i, (row, length)) in order.sequences().enumerate() {
            let out = &mut out[row * width..][..width];
            match shape.readout {
                SequenceOutput::All => {}
                SequenceOutput::Last => {
                    let (first, last) = (order.offset(0) + i, order.offset(length - 1) + i);
                    out[..h].copy_from_slice(&outputs[last * width..][..h]);
                    out[h..].copy_from_slice(&outputs[first * width + h..][..width - h]);
                }
                SequenceOutput::Mean => {
                    for place in order.places(i) {
                        out.iter_mut().zip(&outputs[place * width..]).for_each(|(sum, value)| *sum += value);
                    }
                    out.iter_mut().for_each(|sum| *sum /= length as f32);
                }
                SequenceOutput::Max => {
                    let largest = &mut self.largest[i * width..][..width];
                    for (step, place) in order.places(i).enumerate() {
                        let values = &outputs[place * width..][..width];
                        for ((out, at), &value) in out.iter_mut().zip(largest.iter_mut()).zip(values) {
                            if step == 0 || value > *out || value.is_nan() {
                                (*out, *at) = (value, place as u32);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The gradient of the packed outputs, from that of what was read out of them.
fn read_back(shape: &Shape, order: &Order, largest: &[u32], (d_out, time): (&[f32], usize), d_outputs: &mut [f32]) {
    let (width, h) = (shape.outputs(), shape.hidden);
    if shape.readout == SequenceOutput::All {
        return order.pack(d_out, time, width, d_outputs);
    }
    for (i, (row, length)) in order.sequences().enumerate() {
        let d_out = &d_out[row * width..][..width];
        match shape.readout {
            SequenceOutput::All => {}
            SequenceOutput::Last => {
                let (first, last) = (order.offset(0) + i, order.offset(length - 1) + i);
                d_outputs[last * width..][..h].copy_from_slice(&d_out[..h]);
                d_outputs[first * width + h..][..width - h].copy_from_slice(&d_out[h..]);
            }
            SequenceOutput::Mean => {
                for place in order.places(i) {
                    let to = &mut d_outputs[place * width..][..width];
                    to.iter_mut().zip(d_out).for_each(|(to, d)| *to = d / length as f32);
                }
            }
            SequenceOutput::Max => {
                for (j, (&place, d)) in largest[i * width..][..width].iter().zip(d_out).enumerate() {
                    d_outputs[place as usize * width + j] = *d;
                }
            }
        }
    }
}

fn copy_row(from: &[f32], at: usize, to: &mut [f32], place: usize, width: usize) {
    to[place * width..][..width].copy_from_slice(&from[at * width..][..width]);
}

/// Returns the outputs of a layer, its directions side by side, in forward order.
fn join(passes: &[DirectionState], h: usize, order: &Order, scratch: &RnnBuffers) -> Vec<f32> {
    let width = h * passes.len();
    let mut joined = scratch.take(order.len() * width);
    match passes {
        [forward, backward] => {
            for (to, from) in joined.chunks_exact_mut(width).zip(forward.hidden.chunks_exact(h)) {
                to[..h].copy_from_slice(from);
            }
            order.turn(|from, to| {
                joined[to * width + h..][..h].copy_from_slice(&backward.hidden[from * h..][..h]);
            });
        }
        passes => passes.iter().for_each(|pass| joined.copy_from_slice(&pass.hidden)),
    }
    joined
}

/// Returns one direction's part of the gradient of a layer's outputs, in that direction's order.
fn split(d_outputs: &[f32], direction: usize, shape: &Shape, order: &Order, scratch: &RnnBuffers) -> Vec<f32> {
    let (h, width) = (shape.hidden, shape.outputs());
    let mut part = scratch.take(order.len() * h);
    if width == h {
        part.copy_from_slice(d_outputs);
    } else if direction == 0 {
        for (to, from) in part.chunks_exact_mut(h).zip(d_outputs.chunks_exact(width)) {
            to.copy_from_slice(&from[..h]);
        }
    } else {
        order.turn(|from, to| {
            part[to * h..][..h].copy_from_slice(&d_outputs[from * width + h..][..h]);
        });
    }
    part
}
