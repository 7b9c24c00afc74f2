//! A specification as the processor runs it: kernels, each with the tensors that are its own.

use std::sync::Arc;

use super::{
    InputShape, LayerSpec, NetworkSpec,
    op::{
        BatchNormalization, Convolution, Dense, Drop, Elementwise, Kernel, LayerNormalization, Pooling, Reduce, Window,
        from_output, rnn::Recurrence,
    },
};
use crate::{Error, Result};

/// One kernel of a network.
#[derive(Debug, Clone)]
pub(super) struct Stage {
    pub(super) kernel: Arc<dyn Kernel>,
    /// The layer's position; that of the first where one kernel does several.
    pub(super) layer: usize,
    /// The share of each minibatch that running statistics take over, of a layer that has them.
    pub(super) momentum: Option<f64>,
}

/// The kernels of a checked specification. Activations join the linear or convolutional layer before them where their
/// derivative can be had from the output, and flattening is nothing at all.
pub(super) fn stages(spec: &NetworkSpec) -> Result<Vec<Stage>> {
    let shapes = spec.shapes()?;
    let mut stages: Vec<Stage> = Vec::with_capacity(spec.layers.len());
    let mut layers = spec.layers.iter().zip(&shapes).enumerate().peekable();
    while let Some((layer, (kind, shape))) = layers.next() {
        let mut joined = || match layers.peek() {
            Some((_, (LayerSpec::Activation { function }, _))) if from_output(*function) => {
                let function = *function;
                layers.next();
                Some(function)
            }
            _ => None,
        };
        let width = shape.count();
        let mut momentum = None;
        let misfit = |(got, fits)| Error::Network { layer: spec.name(layer), got, fits };
        let kernel: Arc<dyn Kernel> = match kind {
            LayerSpec::Linear { inputs, outputs } => {
                Arc::new(Dense { inputs: *inputs, outputs: *outputs, activation: joined() })
            }
            LayerSpec::Conv1d(conv) | LayerSpec::Conv2d(conv) => {
                let axes = if matches!(kind, LayerSpec::Conv1d(_)) { 1 } else { 2 };
                let (_, window) = conv.shape(axes, shape).map_err(misfit)?;
                let (channels, outputs, groups) = (shape.dims[0], conv.outputs, conv.groups);
                Arc::new(Convolution { channels, outputs, groups, window, activation: joined() })
            }
            LayerSpec::MaxPool1d(pool) => pooling(Reduce::Max, shape, pool.shape(1, shape).map_err(misfit)?.1),
            LayerSpec::MaxPool2d(pool) => pooling(Reduce::Max, shape, pool.shape(2, shape).map_err(misfit)?.1),
            LayerSpec::AvgPool1d(pool) => pooling(Reduce::Mean, shape, pool.shape(1, shape).map_err(misfit)?.1),
            LayerSpec::AvgPool2d(pool) => pooling(Reduce::Mean, shape, pool.shape(2, shape).map_err(misfit)?.1),
            LayerSpec::GlobalMaxPool => pooling(Reduce::Max, shape, whole(shape)),
            LayerSpec::GlobalAvgPool => pooling(Reduce::Mean, shape, whole(shape)),
            LayerSpec::BatchNorm { eps, momentum: share } => {
                momentum = Some(*share);
                let channels = shape.dims.first().copied().unwrap_or(1);
                Arc::new(BatchNormalization { channels, plane: width / channels, eps: *eps })
            }
            LayerSpec::LayerNorm { eps } => Arc::new(LayerNormalization { width, eps: *eps }),
            LayerSpec::Activation { function } => Arc::new(Elementwise { function: *function, width }),
            LayerSpec::Dropout { p } => Arc::new(Drop { p: *p, layer: layer as u32, width }),
            LayerSpec::Lstm(_) | LayerSpec::Gru(_) | LayerSpec::Rnn(_) | LayerSpec::RnnRelu(_) => {
                let Some((cell, settings)) = kind.recurrent() else { continue };
                Arc::new(Recurrence { shape: settings.shape(cell, shape).map_err(misfit)?.1, time: shape.dims[0] })
            }
            LayerSpec::Flatten => continue,
        };
        stages.push(Stage { kernel, layer, momentum });
    }
    Ok(stages)
}

fn pooling(reduce: Reduce, shape: &InputShape, window: Window) -> Arc<dyn Kernel> {
    Arc::new(Pooling { channels: shape.dims[0], reduce, window })
}

/// A window as large as the plane it looks at.
fn whole(shape: &InputShape) -> Window {
    let plane = [1, shape.count() / shape.dims[0]];
    Window { input: plane, output: [1, 1], kernel: plane, stride: [1, 1], padding: [0, 0], dilation: [1, 1] }
}
