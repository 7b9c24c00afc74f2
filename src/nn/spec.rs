//! A network with every size filled in, checked.

use serde::{Deserialize, Serialize};

use super::{
    Custom, InputShape,
    describe::{eps, momentum},
    layer::{Activation, Attention, Conv, ConvTranspose, Embedding, Pool, Recurrent, channels, lookup},
    op::rnn::CellKind,
    weights::Weights,
};
use crate::{Error, Result};

mod block;
mod ids;
mod mirror;
mod parameter;

pub(super) use block::{Nested, named, placed};
pub(crate) use ids::Id;
pub(super) use mirror::{mirror, tied};
pub(super) use parameter::Initial;
pub use parameter::ParameterSpec;

/// More parameters than this cannot be meant: 4 Gi, 16 GiB of weights.
const MAX_PARAMETERS: usize = 1 << 32;
/// Nor can more values of one row between two layers: 4 GiB.
const MAX_VALUES: usize = 1 << 30;

/// A network with every size filled in. This is what a model table stores.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkSpec {
    /// The shape of a row going in.
    pub inputs: InputShape,
    /// Values per row coming out: one raw score (logit) per class.
    pub outputs: usize,
    /// The layers, first to last.
    pub layers: Vec<LayerSpec>,
}

/// One layer with every size filled in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum LayerSpec {
    /// A fully connected layer with a bias.
    Linear {
        /// Values per row going in.
        in_features: usize,
        /// Values per row coming out.
        out_features: usize,
    },
    /// An element-wise function.
    Activation {
        /// Which one.
        function: Activation,
    },
    /// Dropout while training.
    Dropout {
        /// Probability that a value is dropped.
        p: f64,
    },
    /// Convolution along rows of channels × length.
    Conv1d(Conv),
    /// Convolution over rows of channels × height × width.
    Conv2d(Conv),
    /// Transposed convolution over rows of channels × height × width.
    ConvTranspose2d(ConvTranspose),
    /// The largest value under a kernel, channels × length.
    MaxPool1d(Pool),
    /// The largest value under a kernel, channels × height × width.
    MaxPool2d(Pool),
    /// The mean under a kernel, channels × length.
    AvgPool1d(Pool),
    /// The mean under a kernel, channels × height × width.
    AvgPool2d(Pool),
    /// The largest value of each channel.
    GlobalMaxPool,
    /// The mean of each channel.
    GlobalAvgPool,
    /// Each channel (or each value of a flat row) normalised over the minibatch, by running statistics in prediction.
    /// A minibatch of one value a channel becomes 0 and leaves the statistics alone, where PyTorch fails.
    BatchNorm {
        /// Added to the variance.
        #[serde(default = "eps")]
        eps: f64,
        /// Weight of each minibatch in the running statistics.
        #[serde(default = "momentum")]
        momentum: f64,
    },
    /// Each row normalised over all its values.
    LayerNorm {
        /// Added to the variance.
        #[serde(default = "eps")]
        eps: f64,
    },
    /// Long short-term memory over steps × values.
    Lstm(Recurrent),
    /// Gated recurrent units over steps × values.
    Gru(Recurrent),
    /// A simple recurrent layer with a hyperbolic tangent, over steps × values.
    Rnn(Recurrent),
    /// A simple recurrent layer with a ReLU, over steps × values.
    RnnRelu(Recurrent),
    /// A block of self-attention over steps × values.
    Attention(Attention),
    /// Lines of one table in the place of ids; the first layer.
    Embedding(Embedding),
    /// Embeddings of a row's first values, each of which is a category; the first layer.
    Categories {
        /// One a category, in the order of the values.
        tables: Vec<Embedding>,
    },
    /// A network of the user's own, see [`CustomNetwork`](super::CustomNetwork).
    Custom(Custom),
    /// A row of any dimensions as a flat one.
    Flatten,
    /// A flat row as one of these dimensions.
    Unflatten {
        /// Their product is the number of values.
        dims: Vec<usize>,
    },
    /// The transpose of an earlier layer, with its weight and a separate bias.
    Tied {
        /// The position of the earlier one.
        of: usize,
        /// Linear, or a transposed convolution.
        layer: Box<LayerSpec>,
    },
    /// Layers, and what goes into them added to what comes out.
    Residual {
        /// First to last.
        layers: Vec<LayerSpec>,
        /// Layers between the input and the sum; empty where the layers keep the shape.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        shortcut: Vec<LayerSpec>,
    },
    /// Branches of layers over some of a row's values each, their outputs side by side; the first layer.
    Join {
        /// In the order in which their outputs lie.
        branches: Vec<BranchSpec>,
    },
}

/// Some of a row's values, and the layers that they go through.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BranchSpec {
    /// Which values they are, side by side in this order.
    pub columns: Vec<ColumnRange>,
    /// The shape that they have together.
    pub inputs: InputShape,
    /// First to last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<LayerSpec>,
}

/// A column's values among those of a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnRange {
    /// The column's name.
    pub name: String,
    /// The first value's place.
    pub begin: usize,
    /// Number of values.
    pub count: usize,
}

/// Shape found, and shape expected.
type Misfit = (String, String);

impl LayerSpec {
    /// Returns the layer's kind, as errors name it.
    pub fn kind(&self) -> &'static str {
        match self {
            LayerSpec::Linear { .. } => "linear",
            LayerSpec::Activation { .. } => "activation",
            LayerSpec::Dropout { .. } => "dropout",
            LayerSpec::Conv1d(_) => "conv1d",
            LayerSpec::Conv2d(_) => "conv2d",
            LayerSpec::ConvTranspose2d(_) => "conv_transpose2d",
            LayerSpec::Unflatten { .. } => "unflatten",
            LayerSpec::Tied { .. } => "tied",
            LayerSpec::MaxPool1d(_) => "max_pool1d",
            LayerSpec::MaxPool2d(_) => "max_pool2d",
            LayerSpec::AvgPool1d(_) => "avg_pool1d",
            LayerSpec::AvgPool2d(_) => "avg_pool2d",
            LayerSpec::GlobalMaxPool => "global_max_pool",
            LayerSpec::GlobalAvgPool => "global_avg_pool",
            LayerSpec::BatchNorm { .. } => "batch_norm",
            LayerSpec::LayerNorm { .. } => "layer_norm",
            LayerSpec::Lstm(_) => "lstm",
            LayerSpec::Gru(_) => "gru",
            LayerSpec::Rnn(_) => "rnn",
            LayerSpec::RnnRelu(_) => "rnn_relu",
            LayerSpec::Attention(_) => "attention",
            LayerSpec::Embedding(_) => "embedding",
            LayerSpec::Categories { .. } => "categories",
            LayerSpec::Custom(_) => "custom",
            LayerSpec::Flatten => "flatten",
            LayerSpec::Residual { .. } => "residual",
            LayerSpec::Join { .. } => "join",
        }
    }

    /// Returns a recurrent layer's cell and settings.
    pub(super) fn recurrent(&self) -> Option<(CellKind, &Recurrent)> {
        match self {
            LayerSpec::Lstm(settings) => Some((CellKind::Lstm, settings)),
            LayerSpec::Gru(settings) => Some((CellKind::Gru, settings)),
            LayerSpec::Rnn(settings) => Some((CellKind::Tanh, settings)),
            LayerSpec::RnnRelu(settings) => Some((CellKind::Relu, settings)),
            _ => None,
        }
    }

    /// Returns its output shape for rows of this shape.
    fn output(&self, input: &InputShape) -> Result<InputShape, Misfit> {
        if input.ragged && !self.takes_sequences() {
            // These look at a step alone; a step is a row to them.
            return match self {
                LayerSpec::Embedding(table) => lookup::embedding(*table, input).map(|(shape, _)| shape),
                LayerSpec::Linear { .. }
                | LayerSpec::Activation { .. }
                | LayerSpec::Dropout { .. }
                | LayerSpec::LayerNorm { .. } => {
                    let step = self.output(&InputShape::from(input.dims.clone()))?;
                    Ok(InputShape { ragged: true, ..step })
                }
                _ => {
                    let fits = "it takes rows of a fixed shape, such as a recurrent layer's last state";
                    Err((format!("sequences of shape {input}"), fits.into()))
                }
            };
        }
        match self {
            LayerSpec::Linear { in_features: inputs, out_features: outputs } => {
                if input.flat() != Some(*inputs) {
                    return Err((format!("{input} values a row"), format!("it takes {inputs}")));
                }
                if *outputs == 0 {
                    return Err(("0 outputs".into(), "it needs at least one".into()));
                }
                Ok((*outputs).into())
            }
            LayerSpec::Activation { .. } => Ok(input.clone()),
            LayerSpec::Dropout { p } => match (0.0..1.0).contains(p) {
                true => Ok(input.clone()),
                false => Err((format!("p = {p}"), "a probability in [0, 1) is legal".into())),
            },
            LayerSpec::Conv1d(conv) => conv.shape(1, input).map(|(shape, _)| shape),
            LayerSpec::Conv2d(conv) => conv.shape(2, input).map(|(shape, _)| shape),
            LayerSpec::ConvTranspose2d(conv) => conv.shape(input).map(|(shape, _)| shape),
            LayerSpec::Unflatten { dims } => {
                let shape = InputShape::from(dims.clone());
                match input.flat() == Some(shape.count()) && !dims.is_empty() {
                    true => Ok(shape),
                    false => Err((format!("rows of shape {input}"), format!("it makes flat rows into {shape}"))),
                }
            }
            LayerSpec::Tied { layer, .. } => match **layer {
                LayerSpec::Linear { .. } | LayerSpec::ConvTranspose2d(_) => layer.output(input),
                _ => Err((format!("`{}`", layer.kind()), "linear layers and transposed convolutions are tied".into())),
            },
            LayerSpec::MaxPool1d(pool) | LayerSpec::AvgPool1d(pool) => pool.shape(1, input).map(|(shape, _)| shape),
            LayerSpec::MaxPool2d(pool) | LayerSpec::AvgPool2d(pool) => pool.shape(2, input).map(|(shape, _)| shape),
            LayerSpec::GlobalMaxPool | LayerSpec::GlobalAvgPool => {
                let axes = if input.dims.len() == 2 { 1 } else { 2 };
                channels(axes, input).map(InputShape::from)
            }
            LayerSpec::BatchNorm { eps, momentum } => {
                positive("eps", *eps)?;
                match (0.0..=1.0).contains(momentum) {
                    true => Ok(input.clone()),
                    false => Err((format!("momentum = {momentum}"), "a share in [0, 1] is legal".into())),
                }
            }
            LayerSpec::LayerNorm { eps } => positive("eps", *eps).map(|()| input.clone()),
            LayerSpec::Lstm(_) | LayerSpec::Gru(_) | LayerSpec::Rnn(_) | LayerSpec::RnnRelu(_) => {
                match self.recurrent() {
                    Some((kind, settings)) => settings.shape(kind, input).map(|(shape, _)| shape),
                    None => Ok(input.clone()),
                }
            }
            LayerSpec::Embedding(table) => lookup::embedding(*table, input).map(|(shape, _)| shape),
            LayerSpec::Categories { tables } => lookup::categories(tables, input).map(|(shape, _)| shape),
            LayerSpec::Attention(settings) => settings.shape(input).map(|(shape, _)| shape),
            LayerSpec::Custom(custom) if custom.inputs == *input => Ok(custom.output.clone()),
            LayerSpec::Custom(custom) => {
                Err((format!("rows of shape {input}"), format!("it was built for {}", custom.inputs)))
            }
            LayerSpec::Flatten => Ok(input.count().into()),
            LayerSpec::Residual { .. } | LayerSpec::Join { .. } => {
                self.after("", input).map_err(|e| (e.to_string(), "a block that fits".into()))
            }
        }
    }
}

fn positive(name: &str, value: f64) -> Result<(), Misfit> {
    let legal = value > 0.0 && value.is_finite();
    if legal { Ok(()) } else { Err((format!("{name} = {value}"), "a finite number above 0 is legal".into())) }
}

impl NetworkSpec {
    /// Checks that each layer accepts the output of the one before it, and that sizes and probabilities are in range.
    ///
    /// # Errors
    /// [`Error::Network`] names the layer, what reaches it and what would fit.
    pub fn check(&self) -> Result<()> {
        let shapes = self.shapes()?;
        let mut parameters = 0usize;
        for (i, (layer, shape)) in self.layers.iter().zip(&shapes).enumerate() {
            for (_, dims, ..) in layer.tensors(shape) {
                let count = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
                parameters = match count.and_then(|n| n.checked_add(parameters)) {
                    Some(n) if n <= MAX_PARAMETERS => n,
                    _ => {
                        let dims: Vec<String> = dims.iter().map(usize::to_string).collect();
                        let got = format!("{} weights", dims.join(" × "));
                        return Err(misfit(
                            self.name(i),
                            got,
                            format!("a network holds at most {MAX_PARAMETERS} parameters"),
                        ));
                    }
                };
            }
        }
        mirror::check(&self.layers, &shapes)?;
        let last = &shapes[self.layers.len()];
        if last.flat() != Some(self.outputs) {
            let fits = format!("the network must give {}", self.outputs);
            return Err(misfit("output".into(), format!("{last} values a row"), fits));
        }
        Ok(())
    }

    /// Returns the shapes between the layers: what goes into each, and at the end what comes out of the last.
    ///
    /// # Errors
    /// [`Error::Network`] names the first layer that does not take what reaches it.
    pub fn shapes(&self) -> Result<Vec<InputShape>> {
        let shape = &self.inputs;
        if shape.dims.is_empty() || shape.count() == 0 || shape.count() > MAX_VALUES {
            let got = format!("rows of shape {shape}");
            return Err(misfit("input".into(), got, format!("a row has 1 to {MAX_VALUES} values")));
        }
        block::through(&self.layers, "", &self.inputs, true)
    }

    /// Returns a layer's position and kind, as errors name it.
    pub(super) fn name(&self, i: usize) -> String {
        named("", i, self.layers[i].kind())
    }

    /// Which of the network's dropout masks are a layer's own: what stands before it, inside of blocks too.
    pub(super) fn lane(&self, i: usize) -> u32 {
        self.layers[..i].iter().map(LayerSpec::places).sum()
    }

    /// Returns whether it has parts that only candle's operations compute.
    pub(crate) fn is_custom(&self) -> bool {
        self.layers.iter().any(LayerSpec::is_custom)
    }

    /// Returns the parameters and statistics, sorted by name. Empty when the specification does not fit itself.
    pub fn parameters(&self) -> Vec<ParameterSpec> {
        let shapes = self.shapes().unwrap_or_default();
        let mut all = Vec::new();
        for (layer, (spec, shape)) in self.layers.iter().zip(&shapes).enumerate() {
            for (index, (kind, shape, initial, trained)) in spec.tensors(shape).into_iter().enumerate() {
                all.push(ParameterSpec { name: format!("{layer}.{kind}"), shape, trained, layer, index, initial });
            }
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Checks that the weights are exactly what the network calls for.
    ///
    /// # Errors
    /// [`Error::Network`] names the parameter that is missing, left over or of another shape.
    pub fn check_weights(&self, weights: &Weights) -> Result<()> {
        let wanted = self.parameters();
        for parameter in &wanted {
            let tensor = weights.get(&parameter.name).ok_or_else(|| missing(&parameter.name))?;
            if tensor.shape != parameter.shape {
                let (got, fits) = (format!("a tensor of shape {:?}", tensor.shape), format!("{:?}", parameter.shape));
                return Err(misfit(format!("`{}`", parameter.name), got, format!("the network takes {fits}")));
            }
        }
        match weights.tensors().iter().find(|tensor| wanted.iter().all(|p| p.name != tensor.name)) {
            Some(extra) => {
                let fits = "the network has no parameter of this name".into();
                Err(misfit(format!("`{}`", extra.name), "a tensor", fits))
            }
            None => Ok(()),
        }
    }
}

pub(super) fn missing(name: &str) -> Error {
    misfit(format!("`{name}`"), "nothing", "the network needs this parameter".into())
}

fn misfit(layer: String, got: impl Into<String>, fits: String) -> Error {
    Error::Network { layer, got: got.into(), fits }
}

#[cfg(test)]
mod tests;
