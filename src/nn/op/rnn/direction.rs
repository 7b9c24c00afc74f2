//! One direction of one layer over the packed sequences of one thread.

use super::{
    CellKind, cell,
    matrix::{Factor, RnnMatrix, add_column_sums, factor, product, step_product},
    order::Order,
    scratch::RnnBuffers,
};

/// Which of its passes weights are prepared for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WeightsUse {
    Forward,
    Backward,
}

/// A direction's weights, prepared once for all threads.
#[derive(Debug)]
pub(super) struct PreparedWeights<'a> {
    kind: CellKind,
    inputs: usize,
    hidden: usize,
    /// `(gates hidden, inputs)`.
    input_weight: &'a [f32],
    /// The hidden state's weight `(gates hidden, hidden)`, laid out for the product of every step: forward its
    /// transpose; backward unchanged, and for GRU the rows of r and z apart from those of n.
    steps: Vec<Factor>,
    bias: Vec<f32>,
}

/// Results of the forward pass that the backward pass needs.
#[derive(Debug)]
pub(super) struct DirectionState {
    inputs: Vec<f32>,
    gates: Vec<f32>,
    /// LSTM: the cells. GRU: the hidden state's part of n. Else empty.
    more: Vec<f32>,
    /// `(steps of all sequences, hidden)`: the direction's output.
    pub(super) hidden: Vec<f32>,
}

impl DirectionState {
    pub(super) fn free(self, scratch: &RnnBuffers) {
        [self.inputs, self.gates, self.more, self.hidden].into_iter().for_each(|buffer| scratch.give(buffer));
    }
}

impl<'a> PreparedWeights<'a> {
    /// The weights and biases of the inputs and of the hidden state, as PyTorch's.
    pub(super) fn new(
        kind: CellKind,
        (inputs, hidden): (usize, usize),
        [input_weight, hidden_weight, input_bias, hidden_bias]: [&'a [f32]; 4],
        way: WeightsUse,
    ) -> Self {
        let wide = kind.gates() * hidden;
        let steps = match (way, kind) {
            (WeightsUse::Forward, _) => vec![factor(RnnMatrix::new(hidden_weight, wide, hidden).t())],
            (WeightsUse::Backward, CellKind::Gru) => {
                let (both, new) = hidden_weight.split_at(2 * hidden * hidden);
                vec![factor(RnnMatrix::new(both, 2 * hidden, hidden)), factor(RnnMatrix::new(new, hidden, hidden))]
            }
            (WeightsUse::Backward, _) => vec![factor(RnnMatrix::new(hidden_weight, wide, hidden))],
        };
        let mut bias: Vec<f32> = input_bias.iter().zip(hidden_bias).map(|(a, b)| a + b).collect();
        if kind == CellKind::Gru {
            // The hidden state's bias of n is inside the product with r.
            bias[2 * hidden..].copy_from_slice(&input_bias[2 * hidden..]);
            bias.extend_from_slice(&hidden_bias[2 * hidden..]);
        }
        Self { kind, inputs, hidden, input_weight, steps, bias }
    }

    fn wide(&self) -> usize {
        self.kind.gates() * self.hidden
    }

    /// `x`: packed inputs, `(steps of all sequences, inputs)`.
    pub(super) fn forward(&self, x: Vec<f32>, order: &Order, scratch: &RnnBuffers) -> DirectionState {
        let (h, wide) = (self.hidden, self.wide());
        let mut gates = scratch.take(order.len() * wide);
        product(
            &mut gates,
            false,
            RnnMatrix::new(&x, order.len(), self.inputs),
            RnnMatrix::new(self.input_weight, wide, self.inputs).t(),
        );
        let mut hidden = scratch.take(order.len() * h);
        let mut more = match self.kind {
            CellKind::Lstm | CellKind::Gru => scratch.take(order.len() * h),
            CellKind::Tanh | CellKind::Relu => Vec::new(),
        };
        let mut sums =
            scratch.take(if self.kind == CellKind::Gru && order.steps() > 0 { order.count(0) * wide } else { 0 });
        for step in 0..order.steps() {
            let (at, n) = (order.offset(step), order.count(step));
            let (earlier, hidden) = hidden.split_at_mut(at * h);
            let before = (step > 0).then(|| &earlier[order.offset(step - 1) * h..][..n * h]);
            let (hidden, gates) = (&mut hidden[..n * h], &mut gates[at * wide..][..n * wide]);
            if let Some(before) = before {
                let (to, add) = if self.kind == CellKind::Gru { (&mut sums[..], false) } else { (&mut *gates, true) };
                step_product(to, add, RnnMatrix::new(before, n, h), &self.steps[0]);
            }
            match self.kind {
                CellKind::Lstm => {
                    let (earlier, cells) = more.split_at_mut(at * h);
                    let before = (step > 0).then(|| &earlier[order.offset(step - 1) * h..]);
                    cell::lstm(gates, &self.bias, before, &mut cells[..n * h], hidden);
                }
                CellKind::Gru => {
                    let sums = before.map(|_| &sums[..]);
                    cell::gru(gates, sums, &self.bias, before, &mut more[at * h..][..n * h], hidden);
                }
                CellKind::Tanh | CellKind::Relu => {
                    cell::plain(gates, &self.bias, self.kind == CellKind::Relu, hidden);
                }
            }
        }
        scratch.give(sums);
        DirectionState { inputs: x, gates, more, hidden }
    }

    /// `d_hidden`: the gradient of the output, used up. Adds the weights' gradients to `d_weights` and gives the
    /// inputs'.
    pub(super) fn backward(
        &self,
        mut kept: DirectionState,
        d_hidden: &mut [f32],
        d_weights: &mut [f32],
        wants_inputs: bool,
        order: &Order,
        scratch: &RnnBuffers,
    ) -> Option<Vec<f32>> {
        self.through_time(&mut kept, d_hidden, order, scratch);
        self.weight_gradients(&kept, d_weights, order, scratch);
        let d_inputs = wants_inputs.then(|| {
            let mut d_inputs = scratch.take(order.len() * self.inputs);
            let d_sums = RnnMatrix::new(&kept.gates, order.len(), self.wide());
            product(&mut d_inputs, false, d_sums, RnnMatrix::new(self.input_weight, self.wide(), self.inputs));
            d_inputs
        });
        kept.free(scratch);
        d_inputs
    }

    /// Replaces the gates by the gradients of their sums (GRU: and `more` by those of the hidden state's part of n).
    fn through_time(&self, kept: &mut DirectionState, d_hidden: &mut [f32], order: &Order, scratch: &RnnBuffers) {
        let (h, wide) = (self.hidden, self.wide());
        let running = if order.steps() > 0 { order.count(0) } else { 0 };
        let mut d_cells = scratch.zeros(if self.kind == CellKind::Lstm { running * h } else { 0 });
        for step in (0..order.steps()).rev() {
            let (at, n) = (order.offset(step), order.count(step));
            let earlier = if step > 0 { order.offset(step - 1) * h } else { 0 };
            let gates = &mut kept.gates[at * wide..][..n * wide];
            let (d_before, d_now) = d_hidden.split_at_mut(at * h);
            let d_now = &d_now[..n * h];
            let mut d_before = (step > 0).then(|| &mut d_before[earlier..][..n * h]);
            match self.kind {
                CellKind::Lstm => {
                    let before = (step > 0).then(|| &kept.more[earlier..]);
                    cell::lstm_back(gates, &kept.more[at * h..][..n * h], before, d_now, &mut d_cells[..n * h], h);
                }
                CellKind::Gru => {
                    let before = (step > 0).then(|| &kept.hidden[earlier..]);
                    let news = &mut kept.more[at * h..][..n * h];
                    cell::gru_back(gates, news, before, d_now, d_before.as_deref_mut(), h);
                }
                CellKind::Tanh | CellKind::Relu => {
                    let relu = self.kind == CellKind::Relu;
                    cell::plain_back(gates, &kept.hidden[at * h..][..n * h], relu, d_now);
                }
            }
            let Some(d_before) = d_before else { continue };
            if self.kind == CellKind::Gru {
                step_product(d_before, true, RnnMatrix::strided(gates, n, 2 * h, wide), &self.steps[0]);
                step_product(d_before, true, RnnMatrix::new(&kept.more[at * h..], n, h), &self.steps[1]);
            } else {
                step_product(d_before, true, RnnMatrix::new(gates, n, wide), &self.steps[0]);
            }
        }
        scratch.give(d_cells);
    }

    fn weight_gradients(&self, kept: &DirectionState, d_weights: &mut [f32], order: &Order, scratch: &RnnBuffers) {
        let (h, wide, len) = (self.hidden, self.wide(), order.len());
        let (d_input, rest) = d_weights.split_at_mut(wide * self.inputs);
        let (d_hidden, rest) = rest.split_at_mut(wide * h);
        let (d_input_bias, d_hidden_bias) = rest.split_at_mut(wide);
        let d_sums = RnnMatrix::new(&kept.gates, len, wide);
        product(d_input, true, d_sums.t(), RnnMatrix::new(&kept.inputs, len, self.inputs));

        // Returns the states before each step, from the second on, in the order of the steps: borrowed, unless
        // sequences
        // end on the way.
        let first = if order.steps() > 0 { order.count(0) } else { 0 };
        let later = len - first;
        let mut moved = Vec::new();
        if later != (order.steps().max(1) - 1) * first {
            moved = scratch.take(later * h);
            for step in 1..order.steps() {
                let count = order.count(step) * h;
                moved[(order.offset(step) - first) * h..][..count]
                    .copy_from_slice(&kept.hidden[order.offset(step - 1) * h..][..count]);
            }
        }
        let states = RnnMatrix::new(if moved.is_empty() { &kept.hidden } else { &moved }, later, h);
        let gates = &kept.gates[first * wide..];
        if self.kind == CellKind::Gru {
            let (both, new) = d_hidden.split_at_mut(2 * h * h);
            product(both, true, RnnMatrix::strided(gates, later, 2 * h, wide).t(), states);
            product(new, true, RnnMatrix::new(&kept.more[first * h..], later, h).t(), states);
        } else {
            product(d_hidden, true, RnnMatrix::new(gates, later, wide).t(), states);
        }
        scratch.give(moved);

        let mut sums = scratch.zeros(wide);
        add_column_sums(&mut sums, &kept.gates, wide);
        add_column_sums(d_input_bias, &sums, wide);
        if self.kind == CellKind::Gru {
            add_column_sums(&mut d_hidden_bias[..2 * h], &sums, wide);
            add_column_sums(&mut d_hidden_bias[2 * h..], &kept.more, h);
        } else {
            add_column_sums(d_hidden_bias, &sums, wide);
        }
        scratch.give(sums);
    }
}
