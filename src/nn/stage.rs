//! A specification as the processor runs it: kernels, each with the tensors that are its own.

use std::sync::Arc;

use super::{
    ConvTranspose, InputShape, LayerSpec, Mode, NetworkSpec,
    branches::{BranchKernels, Branches},
    chain::{Chain, Sum},
    layer::lookup,
    op::{
        BatchNormalization, Convolution, Dense, DropoutKernel, Elementwise, Kernel, LayerNormalization, Pass, Pooling,
        Reduce, TransposedConvolution, Window, from_output, rnn::Recurrence,
    },
    spec::{Nested, named},
};
use crate::{Error, Result};

mod attention;

/// One kernel of a network.
#[derive(Debug, Clone)]
pub(super) struct KernelStage {
    pub(super) kernel: Arc<dyn Kernel>,
    /// The layer's position; that of the first where one kernel does several.
    pub(super) layer: usize,
    pub(super) over: Over,
}

/// Layout of a kernel's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// The minibatch's.
    Rows,
    /// The steps of sequences, each by itself; the kernel's sizes are those of a step.
    Steps,
    /// Sequences of any length, of which it gives all steps or one row; the kernel's sizes are those of a step.
    Sequences { all: bool },
}

impl KernelStage {
    /// Values of a row that go in, sequences being padded to `time` steps.
    pub(super) fn inputs(&self, time: usize) -> usize {
        self.kernel.inputs() * if self.over == Over::Rows { 1 } else { time }
    }

    /// Values of a row that come out.
    pub(super) fn outputs(&self, time: usize) -> usize {
        let steps = matches!(self.over, Over::Steps | Over::Sequences { all: true });
        self.kernel.outputs() * if steps { time } else { 1 }
    }

    /// Returns the kernel's input, for `rows` rows that start with `x`.
    pub(super) fn pass<'a>(&self, whole: Pass<'a>, time: usize, x: &'a [f32], params: &'a [&'a [f32]]) -> Pass<'a> {
        let x = &x[..whole.rows * self.inputs(time)];
        match (self.over, whole.mode) {
            (Over::Rows, _) => Pass { x, params, lengths: None, ..whole },
            (Over::Sequences { .. }, _) => Pass { x, params, ..whole },
            (Over::Steps, mode) => {
                let mode = match mode {
                    Mode::Train { seed, step, first_row } => Mode::Train { seed, step, first_row: first_row * time },
                    Mode::Eval => Mode::Eval,
                };
                Pass { rows: whole.rows * time, x, params, mode, lengths: None, csr: None }
            }
        }
    }
}

/// Returns the kernels of a checked specification. Activations join the linear or convolutional layer before them where
/// their derivative can be had from the output, and flattening is nothing at all.
pub(super) fn stages(spec: &NetworkSpec) -> Result<Vec<KernelStage>> {
    build(&spec.layers, &spec.shapes()?, "", 0)
}

/// Returns the kernels of layers; `lane` is the first of their dropout masks.
fn build(all: &[LayerSpec], shapes: &[InputShape], path: &str, lane: u32) -> Result<Vec<KernelStage>> {
    let mut stages: Vec<KernelStage> = Vec::with_capacity(all.len());
    let mut layers = all.iter().zip(shapes).enumerate().peekable();
    while let Some((layer, (kind, shape))) = layers.next() {
        let lane = lane + all[..layer].iter().map(LayerSpec::places).sum::<u32>();
        let name = || named(path, layer, kind.kind());
        let mut joined = || match layers.peek() {
            Some((_, (LayerSpec::Activation { function }, _))) if from_output(*function) => {
                let function = *function;
                layers.next();
                Some(function)
            }
            _ => None,
        };
        let width = shape.count();
        let misfit = |(got, fits)| Error::Network { layer: name(), got, fits };
        let kernel: Arc<dyn Kernel> = match kind {
            LayerSpec::Linear { in_features: inputs, out_features: outputs } => {
                Arc::new(Dense { inputs: *inputs, outputs: *outputs, activation: joined(), turned: false })
            }
            LayerSpec::ConvTranspose2d(conv) => {
                Arc::new(TransposedConvolution { activation: joined(), ..transposed(conv, shape).map_err(misfit)? })
            }
            LayerSpec::Tied { layer: opposite, .. } => match **opposite {
                LayerSpec::Linear { in_features: inputs, out_features: outputs } => {
                    Arc::new(Dense { inputs, outputs, activation: joined(), turned: true })
                }
                LayerSpec::ConvTranspose2d(ref conv) => {
                    Arc::new(TransposedConvolution { activation: joined(), ..transposed(conv, shape).map_err(misfit)? })
                }
                _ => continue,
            },
            LayerSpec::Conv1d(conv) | LayerSpec::Conv2d(conv) => {
                let axes = if matches!(kind, LayerSpec::Conv1d(_)) { 1 } else { 2 };
                let (_, window) = conv.shape(axes, shape).map_err(misfit)?;
                let (channels, outputs, groups) = (shape.dims[0], conv.out_channels, conv.groups);
                Arc::new(Convolution { channels, outputs, groups, window, activation: joined() })
            }
            LayerSpec::MaxPool1d(pool) => pooling(Reduce::Max, shape, pool.shape(1, shape).map_err(misfit)?.1),
            LayerSpec::MaxPool2d(pool) => pooling(Reduce::Max, shape, pool.shape(2, shape).map_err(misfit)?.1),
            LayerSpec::AvgPool1d(pool) => pooling(Reduce::Mean, shape, pool.shape(1, shape).map_err(misfit)?.1),
            LayerSpec::AvgPool2d(pool) => pooling(Reduce::Mean, shape, pool.shape(2, shape).map_err(misfit)?.1),
            LayerSpec::GlobalMaxPool => pooling(Reduce::Max, shape, whole(shape)),
            LayerSpec::GlobalAvgPool => pooling(Reduce::Mean, shape, whole(shape)),
            LayerSpec::BatchNorm { eps, momentum } => {
                let channels = shape.dims.first().copied().unwrap_or(1);
                Arc::new(BatchNormalization { channels, plane: width / channels, eps: *eps, momentum: *momentum })
            }
            LayerSpec::LayerNorm { eps } => Arc::new(LayerNormalization { width, eps: *eps }),
            LayerSpec::Activation { function } => Arc::new(Elementwise { function: *function, width }),
            LayerSpec::Dropout { p } => Arc::new(DropoutKernel { p: *p, layer: lane, width }),
            LayerSpec::Lstm(_) | LayerSpec::Gru(_) | LayerSpec::Rnn(_) | LayerSpec::RnnRelu(_) => {
                let Some((cell, settings)) = kind.recurrent() else { continue };
                Arc::new(Recurrence {
                    shape: settings.shape(cell, shape).map_err(misfit)?.1,
                    time: if shape.ragged { 1 } else { shape.dims[0] },
                })
            }
            LayerSpec::Embedding(table) => Arc::new(lookup::embedding(*table, shape).map_err(misfit)?.1),
            LayerSpec::Categories { tables } => Arc::new(lookup::categories(tables, shape).map_err(misfit)?.1),
            LayerSpec::Attention(settings) => {
                Arc::new(attention::attention(settings, settings.shape(shape).map_err(misfit)?.1, shape.ragged))
            }
            LayerSpec::Residual { layers, .. } => {
                let inner = layers.iter().map(LayerSpec::places).sum::<u32>();
                let mut lanes = [lane + 1, lane + 1 + inner].into_iter();
                let mut chains = kind.nested(shape).into_iter().zip(&mut lanes);
                let mut next =
                    || chains.next().map_or(Ok(Chain::default()), |(inner, lane)| chain(&inner, &name(), lane));
                Arc::new(Sum { inside: next()?, beside: next()? })
            }
            LayerSpec::Join { branches } => {
                let mut lane = lane + 1;
                let mut ways = Vec::with_capacity(branches.len());
                for (branch, inner) in branches.iter().zip(kind.nested(shape)) {
                    let parts = branch.columns.iter().map(|part| (part.begin, part.count)).collect();
                    ways.push(BranchKernels { parts, chain: chain(&inner, &name(), lane)? });
                    lane += inner.layers.iter().map(LayerSpec::places).sum::<u32>();
                }
                Arc::new(Branches { inputs: width, ways })
            }
            // Only candle's operations run it.
            LayerSpec::Custom(_) | LayerSpec::Flatten | LayerSpec::Unflatten { .. } => continue,
        };
        let over = match (shape.ragged, kind.takes_sequences()) {
            (false, _) => Over::Rows,
            (true, false) if !matches!(kind, LayerSpec::Residual { .. }) => Over::Steps,
            (true, _) => Over::Sequences { all: !kind.ends_sequences() },
        };
        stages.push(KernelStage { kernel, layer, over });
    }
    Ok(stages)
}

/// Layers inside of a block as one kernel.
fn chain(Nested { layers, shapes, path, .. }: &Nested<'_>, name: &str, lane: u32) -> Result<Chain> {
    let ends = [shapes.first(), shapes.last()].map(|shape| shape.map_or(0, InputShape::count));
    let (mut counts, mut own) = ([0, 0], Vec::with_capacity(layers.len()));
    for (layer, shape) in layers.iter().zip(shapes) {
        let (trained, statistics) = layer.counts(shape);
        let begin = counts;
        counts = [begin[0] + trained, begin[1] + statistics];
        own.push([begin[0]..counts[0], begin[1]..counts[1]]);
    }
    let stages = build(layers, shapes, &format!("{name}{path}"), lane)?;
    let own = stages.iter().map(|stage| own[stage.layer].clone()).collect();
    Ok(Chain { stages, own, counts, inputs: ends[0], outputs: ends[1], time: 1 })
}

fn transposed(conv: &ConvTranspose, shape: &InputShape) -> Result<TransposedConvolution, (String, String)> {
    let (_, window) = conv.shape(shape)?;
    Ok(TransposedConvolution { channels: shape.dims[0], outputs: conv.out_channels, window, activation: None })
}

fn pooling(reduce: Reduce, shape: &InputShape, window: Window) -> Arc<dyn Kernel> {
    Arc::new(Pooling { channels: shape.dims[0], reduce, window })
}

/// Returns a window as large as the plane it looks at.
fn whole(shape: &InputShape) -> Window {
    let plane = [1, shape.count() / shape.dims[0]];
    Window { input: plane, output: [1, 1], kernel: plane, stride: [1, 1], padding: [0, 0], dilation: [1, 1] }
}
