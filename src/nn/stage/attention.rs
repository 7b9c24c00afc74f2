//! A block of self-attention as kernels.

use std::sync::Arc;

use super::{Chain, KernelStage, Over};
use crate::nn::{
    Activation, SequenceOutput,
    chain::Sum,
    layer::{Attention, AttentionBlock},
    op::{Dense, Kernel, LayerNormalization, Mixing, Positions, Reading},
};

/// Kernels being put one behind the other, over steps of which a row has `time`, or as many as its length says.
struct Builder {
    chain: Chain,
    /// Layout of whole sequences, for kernels that need them.
    whole: Over,
}

impl Builder {
    fn new(inputs: usize, time: usize, ragged: bool) -> Self {
        let chain = Chain { inputs: time * inputs, outputs: time * inputs, time, ..Chain::default() };
        Self { chain, whole: if ragged { Over::Sequences { all: true } } else { Over::Rows } }
    }

    /// Adds a kernel with as many parameters; it gives `outputs` values, of a step where that is what it looks at.
    fn push(&mut self, kernel: impl Kernel + 'static, over: Over, params: usize) {
        let chain = &mut self.chain;
        let begin = chain.counts[0];
        chain.outputs = kernel.outputs() * if over == Over::Steps { chain.time } else { 1 };
        chain.counts[0] += params;
        chain.own.push([begin..begin + params, 0..0]);
        chain.stages.push(KernelStage { kernel: Arc::new(kernel), layer: 0, over });
    }

    fn linear(&mut self, inputs: usize, outputs: usize, activation: Option<Activation>) {
        self.push(Dense { inputs, outputs, activation, turned: false }, Over::Steps, 2);
    }
}

/// Returns the kernels of a block; over sequences of any length where `ragged`.
pub(super) fn attention(settings: &Attention, block: AttentionBlock, ragged: bool) -> Chain {
    let AttentionBlock { inputs, width, time, eps } = block;
    let mut all = Builder::new(inputs, time, ragged);
    let whole = all.whole;
    if settings.width.is_some() {
        all.linear(inputs, width, None);
    }
    if settings.positions {
        all.push(Positions { width, time }, whole, 0);
    }
    let mut inside = Builder::new(width, time, ragged);
    inside.linear(width, 3 * width, None);
    inside.push(Mixing { heads: settings.num_heads, width, time }, whole, 0);
    inside.linear(width, width, None);
    all.push(Sum { inside: inside.chain, beside: Chain::default() }, whole, 4);
    all.push(LayerNormalization { width, eps }, Over::Steps, 2);
    if let Some(hidden) = settings.feed_forward {
        let mut inside = Builder::new(width, time, ragged);
        inside.linear(width, hidden, Some(Activation::Relu));
        inside.linear(hidden, width, None);
        all.push(Sum { inside: inside.chain, beside: Chain::default() }, whole, 4);
        all.push(LayerNormalization { width, eps }, Over::Steps, 2);
    }
    if settings.output != SequenceOutput::All {
        let over = if ragged { Over::Sequences { all: false } } else { Over::Rows };
        all.push(Reading { width, time, readout: settings.output }, over, 0);
    }
    all.chain
}
