//! From a description to a specification: sizes filled in, layer by layer.

use super::NetworkLayer;
use crate::{
    Result,
    nn::{
        InputColumn, InputShape, LayerSpec, columns, custom,
        spec::{named, placed},
    },
};

/// Layers with their sizes filled in, and what comes out of the last. `path` are the blocks that they are in, and whether the
/// first of all takes what goes into the network; so many stand `before` them already. `columns` are those of a row.
pub(in crate::nn) fn sized<'a>(
    layers: impl IntoIterator<Item = &'a NetworkLayer>,
    (path, ids): (&str, bool),
    before: usize,
    columns: &[InputColumn],
    input: &InputShape,
) -> Result<(Vec<LayerSpec>, InputShape)> {
    let (mut all, mut shape) = (Vec::new(), input.clone());
    let push = |all: &mut Vec<LayerSpec>, layer: LayerSpec, shape: &mut InputShape| -> Result<()> {
        *shape = layer.after(&placed(path, before + all.len(), &layer, ids)?, shape)?;
        all.push(layer);
        Ok(())
    };
    for layer in layers {
        if matches!(layer, NetworkLayer::Linear { .. }) && shape.dims.len() > 1 && !shape.ragged {
            push(&mut all, LayerSpec::Flatten, &mut shape)?;
        }
        let filled = match *layer {
            NetworkLayer::Embedding(table) => LayerSpec::Embedding(table),
            NetworkLayer::Custom { ref name, ref settings } => custom::probe(name, settings, &shape)?,
            NetworkLayer::Categories { ref tables } => LayerSpec::Categories { tables: tables.clone() },
            NetworkLayer::Linear { outputs } => LayerSpec::Linear { inputs: shape.count(), outputs },
            NetworkLayer::Activation { function } => LayerSpec::Activation { function },
            NetworkLayer::Dropout { p } => LayerSpec::Dropout { p },
            NetworkLayer::Conv1d(conv) => LayerSpec::Conv1d(conv),
            NetworkLayer::Conv2d(conv) => LayerSpec::Conv2d(conv),
            NetworkLayer::MaxPool1d(pool) => LayerSpec::MaxPool1d(pool),
            NetworkLayer::MaxPool2d(pool) => LayerSpec::MaxPool2d(pool),
            NetworkLayer::AvgPool1d(pool) => LayerSpec::AvgPool1d(pool),
            NetworkLayer::AvgPool2d(pool) => LayerSpec::AvgPool2d(pool),
            NetworkLayer::GlobalMaxPool => LayerSpec::GlobalMaxPool,
            NetworkLayer::GlobalAvgPool => LayerSpec::GlobalAvgPool,
            NetworkLayer::BatchNorm { eps, momentum } => LayerSpec::BatchNorm { eps, momentum },
            NetworkLayer::LayerNorm { eps } => LayerSpec::LayerNorm { eps },
            NetworkLayer::Lstm(settings) => LayerSpec::Lstm(settings),
            NetworkLayer::Gru(settings) => LayerSpec::Gru(settings),
            NetworkLayer::Rnn(settings) => LayerSpec::Rnn(settings),
            NetworkLayer::RnnRelu(settings) => LayerSpec::RnnRelu(settings),
            NetworkLayer::Attention(settings) => LayerSpec::Attention(settings),
            NetworkLayer::Flatten => LayerSpec::Flatten,
            NetworkLayer::Join { ref branches } => {
                let name = placed(path, before + all.len(), &LayerSpec::Join { branches: Vec::new() }, ids)?;
                columns::join(&name, branches, columns, &shape)?
            }
            NetworkLayer::Residual { ref layers } => {
                let empty = LayerSpec::Residual { layers: Vec::new(), shortcut: Vec::new() };
                let name = named(path, before + all.len(), &empty);
                let (layers, output) = sized(layers, (&name, false), 0, &[], &shape)?;
                LayerSpec::Residual { layers, shortcut: LayerSpec::shortcut(&name, &shape, &output)? }
            }
        };
        push(&mut all, filled, &mut shape)?;
    }
    Ok((all, shape))
}
