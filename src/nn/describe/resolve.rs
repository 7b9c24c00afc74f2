//! From a description to a specification: sizes filled in, layer by layer.

use super::{Network, NetworkLayer};
use crate::{
    Error, Result,
    nn::{
        InputColumn, InputShape, LayerSpec, columns, custom,
        spec::{mirror, named, placed, tied},
    },
};

impl Network {
    /// Returns the number of layers, sizes filled in, before the mirror at its end; `None` without one.
    pub(crate) fn mirrored(&self, inputs: &InputShape) -> Result<Option<usize>> {
        let Some((NetworkLayer::Mirror { .. }, layers)) = self.layers.split_last() else { return Ok(None) };
        Ok(Some(sized(layers, ("", true), 0, &[], inputs)?.0.len()))
    }

    /// Returns whether its first layer is an embedding.
    pub(crate) fn takes_ids(&self) -> bool {
        matches!(
            self.layers.first(),
            Some(NetworkLayer::Embedding(_) | NetworkLayer::Categories { .. } | NetworkLayer::Join { .. })
        )
    }
}

/// Layers whose sizes are being filled in.
struct Filler<'a> {
    /// The blocks that they are in.
    path: &'a str,
    /// True if the first of all layers takes the network's input.
    ids: bool,
    /// Number of layers before them.
    before: usize,
    /// Columns of a row.
    columns: &'a [InputColumn],
    layers: Vec<LayerSpec>,
    /// Input shape of each layer, and output shape of the last.
    shapes: Vec<InputShape>,
}

/// Layers with their sizes filled in, and what comes out of the last. `path` are the blocks that they are in, and
/// whether the first of all takes what goes into the network; so many stand `before` them already. `columns` are those
/// of a row.
pub(in crate::nn) fn sized<'a>(
    layers: impl IntoIterator<Item = &'a NetworkLayer>,
    (path, ids): (&str, bool),
    before: usize,
    columns: &[InputColumn],
    input: &InputShape,
) -> Result<(Vec<LayerSpec>, InputShape)> {
    let mut filler = Filler { path, ids, before, columns, layers: Vec::new(), shapes: vec![input.clone()] };
    layers.into_iter().try_for_each(|layer| filler.add(layer))?;
    let output = filler.shapes.pop().unwrap_or_else(|| input.clone());
    Ok((filler.layers, output))
}

impl Filler<'_> {
    fn push(&mut self, layer: LayerSpec) -> Result<()> {
        let name = placed(self.path, self.before + self.layers.len(), &layer, self.ids)?;
        let shape = layer.after(&name, &self.shapes[self.layers.len()])?;
        self.layers.push(layer);
        self.shapes.push(shape);
        Ok(())
    }

    fn add(&mut self, layer: &NetworkLayer) -> Result<()> {
        let shape = &self.shapes[self.layers.len()];
        if matches!(layer, NetworkLayer::Linear { .. }) && shape.dims.len() > 1 && !shape.ragged {
            self.push(LayerSpec::Flatten)?;
        }
        let (shape, at) = (&self.shapes[self.layers.len()], self.before + self.layers.len());
        let refused =
            |kind: &str, (got, fits): (String, String)| Error::Network { layer: named(self.path, at, kind), got, fits };
        let filled = match *layer {
            NetworkLayer::Embedding(table) => LayerSpec::Embedding(table),
            NetworkLayer::Custom { ref name, ref settings } => custom::probe(name, settings, shape)?,
            NetworkLayer::Categories { ref tables } => LayerSpec::Categories { tables: tables.clone() },
            NetworkLayer::Linear { out_features: outputs } => {
                LayerSpec::Linear { in_features: shape.count(), out_features: outputs }
            }
            NetworkLayer::Activation { function } => LayerSpec::Activation { function },
            NetworkLayer::Dropout { p } => LayerSpec::Dropout { p },
            NetworkLayer::Conv1d(conv) => LayerSpec::Conv1d(conv),
            NetworkLayer::Conv2d(conv) => LayerSpec::Conv2d(conv),
            NetworkLayer::ConvTranspose2d(conv) => LayerSpec::ConvTranspose2d(conv),
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
            NetworkLayer::Unflatten { ref dims } => LayerSpec::Unflatten { dims: dims.clone() },
            NetworkLayer::Flatten => LayerSpec::Flatten,
            NetworkLayer::Mirror { tied } => {
                let back = mirror(&self.layers, &self.shapes, tied).map_err(|misfit| refused("mirror", misfit))?;
                return back.into_iter().try_for_each(|layer| self.push(layer));
            }
            NetworkLayer::Tied { of } => {
                tied(&self.layers, &self.shapes, of).map_err(|misfit| refused("tied", misfit))?
            }
            NetworkLayer::Join { ref branches } => {
                let name = placed(self.path, at, &LayerSpec::Join { branches: Vec::new() }, self.ids)?;
                columns::join(&name, branches, self.columns, shape)?
            }
            NetworkLayer::Residual { ref layers } => {
                let name = named(self.path, at, "residual");
                let (layers, output) = sized(layers, (&name, false), 0, &[], shape)?;
                LayerSpec::Residual { layers, shortcut: LayerSpec::shortcut(&name, shape, &output)? }
            }
        };
        self.push(filled)
    }
}
