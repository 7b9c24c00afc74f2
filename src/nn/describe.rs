//! The description of a network that a user writes.

use serde::{Deserialize, Serialize};

use super::{
    Branch, InputColumn, InputShape, NetworkSpec,
    layer::{Activation, Attention, Conv, ConvTranspose, Embedding, Pool, Recurrent},
};
use crate::Result;

mod resolve;

pub(super) use resolve::sized;

/// A network as a user describes it. The shape of its inputs and the number of outputs come from the data.
///
/// The last linear layer, with one output per class, is added by [`Network::resolve`]; only what stands before it is
/// described.
///
/// ```
/// use tinderbox::nn::{Activation, Conv, Network, Pool};
///
/// let small = Network::mlp([16, 16]);
/// let tanh = Network::mlp([16, 16]).with_activation(Activation::Tanh).with_dropout(0.2);
/// let by_layer = Network::new().linear(16).activation(Activation::Relu).dropout(0.2).linear(8);
/// # assert_ne!(small, tanh); assert_ne!(tanh, by_layer);
///
/// let images = Network::new()
///     .conv2d(Conv { padding: 1, ..Conv::new(32, 3) })
///     .activation(Activation::Relu)
///     .max_pool2d(Pool::new(2))
///     .resolve([1, 28, 28], 10)?;
/// assert_eq!(images.outputs, 10);
/// # Ok::<(), tinderbox::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "job", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// The layers before the last, first to last.
    pub layers: Vec<NetworkLayer>,
    /// True if no last linear layer is added behind them; not unless set, or a [mirror](NetworkLayer::Mirror) comes
    /// last.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub closed: bool,
}

/// One layer of a [`Network`], its inputs still open. Parameters have PyTorch's names and defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "job", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum NetworkLayer {
    /// A fully connected layer with a bias.
    Linear {
        /// Number of units.
        out_features: usize,
    },
    /// An element-wise function.
    Activation {
        /// Which one.
        function: Activation,
    },
    /// Dropout while training.
    Dropout {
        /// Probability that a value is dropped, in `[0, 1)`.
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
    BatchNorm {
        /// Added to the variance; 1e-5 unless set.
        #[serde(default = "eps")]
        eps: f64,
        /// Weight of each minibatch in the running statistics; 0.1 unless set.
        #[serde(default = "momentum")]
        momentum: f64,
    },
    /// Each row normalised over all its values.
    LayerNorm {
        /// Added to the variance; 1e-5 unless set.
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
    /// Lines of one table in the place of ids: PyTorch's `nn.Embedding`. The first layer; ids `(n)` become `(n, dims)`,
    /// a step that is one id becomes `dims` numbers.
    Embedding(Embedding),
    /// Embeddings of a row's first values, each of which is a category; the other values follow them.
    /// The first layer.
    Categories {
        /// One a category, in the order of the values.
        tables: Vec<Embedding>,
    },
    /// A network of the user's own, see [`CustomNetwork`](super::CustomNetwork).
    Custom {
        /// Registered name.
        name: String,
        /// Settings that it is built from.
        #[serde(default)]
        settings: serde_json::Value,
    },
    /// A row of any dimensions as a flat one. Put before a linear layer by itself where it is needed.
    Flatten,
    /// A flat row as one of these dimensions.
    Unflatten {
        /// Their product is the number of values.
        dims: Vec<usize>,
    },
    /// The layers so far in the opposite order, each transposed: the decoder of an auto-encoder. Linear layers exchange
    /// their sizes, transposed convolutions undo convolutions and pooling in two dimensions.
    Mirror {
        /// True if they share the weights of linear layers and convolutions, with separate biases; not unless set.
        #[serde(default)]
        tied: bool,
    },
    /// The transpose of an earlier layer, which shares its weight.
    Tied {
        /// Its position, flattening that was put in by itself counted.
        of: usize,
    },
    /// Layers, and what goes into them added to what comes out (He et al., "Deep residual learning", 2016). Where they
    /// change the shape, a 1×1 convolution of the stride that fits, or a linear layer, is put beside them by itself:
    /// `{"kind": "residual", "layers": [{"kind": "conv2d", …}, …]}`.
    Residual {
        /// First to last.
        layers: Vec<NetworkLayer>,
    },
    /// Branches of layers over some columns of a row each, their outputs side by side. The first layer.
    Join {
        /// In the order in which their outputs lie.
        branches: Vec<Branch>,
    },
}

pub(super) fn eps() -> f64 {
    1e-5
}

pub(super) fn momentum() -> f64 {
    0.1
}

impl Network {
    /// Creates a network without hidden layers: logistic regression.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns whether it trains on sparse rows without their zeros, on the processor: its first layer is linear.
    pub fn takes_sparse(&self) -> bool {
        let mirrors = |layer: &NetworkLayer| matches!(layer, NetworkLayer::Mirror { .. });
        matches!(self.layers.first(), None | Some(NetworkLayer::Linear { .. })) && !self.layers.iter().any(mirrors)
    }

    /// Creates a multilayer perceptron: fully connected hidden layers of these sizes, each followed by a ReLU.
    pub fn mlp(hidden: impl IntoIterator<Item = usize>) -> Self {
        hidden.into_iter().fold(Self::new(), |net, outputs| net.linear(outputs).activation(Activation::Relu))
    }

    /// Creates a convolutional network for images: for each of `channels` a 3×3 convolution (padding 1), a ReLU and 2×2
    /// max pooling; then fully connected layers of sizes `hidden`, each with a ReLU.
    ///
    /// ```
    /// use tinderbox::nn::Network;
    ///
    /// let spec = Network::cnn([32, 64], [128]).resolve([1, 28, 28], 10)?;
    /// println!("{}", spec.summary());
    /// # Ok::<(), tinderbox::Error>(())
    /// ```
    pub fn cnn(channels: impl IntoIterator<Item = usize>, hidden: impl IntoIterator<Item = usize>) -> Self {
        let block = |net: Self, outputs| {
            net.conv2d(Conv { padding: 1, ..Conv::new(outputs, 3) })
                .activation(Activation::Relu)
                .max_pool2d(Pool::new(2))
        };
        let net = channels.into_iter().fold(Self::new(), block).flatten();
        hidden.into_iter().fold(net, |net, outputs| net.linear(outputs).activation(Activation::Relu))
    }

    /// Creates a long short-term memory of this many units, whose last hidden state decides.
    ///
    /// ```
    /// use tinderbox::nn::{Network, Recurrent};
    ///
    /// let small = Network::lstm(64).resolve([50, 12], 9)?;
    /// assert_eq!(small.trained(), 4 * 64 * (12 + 64 + 2) + 64 * 9 + 9);
    /// let deep = Network::new().gru_layer(Recurrent { num_layers: 2, bidirectional: true, ..Recurrent::new(64) });
    /// # deep.resolve([50, 12], 9)?;
    /// # Ok::<(), tinderbox::Error>(())
    /// ```
    pub fn lstm(hidden: usize) -> Self {
        Self::new().lstm_layer(Recurrent::new(hidden))
    }

    /// Creates a network for tables: an embedding for each of these columns of categories, all other columns beside
    /// them as they are, and hidden layers over all of it. How many categories a column has comes from its metadata,
    /// which a `StringIndexer` writes; one of `n` becomes `(n + 1) / 2` numbers, 50 at most.
    ///
    /// ```
    /// use tinderbox::nn::{InputColumn, Network};
    ///
    /// let network = Network::tabular(["city", "plan"], [32]);
    /// // Estimators find these out by themselves. The layers after it get 4 + 6 + 3 numbers.
    /// let columns = [InputColumn::category("city", 0, 7), InputColumn::category("plan", 1, 12)];
    /// let figures = InputColumn { name: "figures".into(), begin: 2, dims: vec![3], categories: None };
    /// let spec = network.resolve_columns(&[&columns[..], &[figures]].concat(), 5, 2)?;
    /// assert_eq!(spec.trained(), 7 * 4 + 12 * 6 + (13 + 1) * 32 + (32 + 1) * 2);
    /// # Ok::<(), tinderbox::Error>(())
    /// ```
    pub fn tabular<N: Into<String>>(
        categories: impl IntoIterator<Item = N>,
        hidden: impl IntoIterator<Item = usize>,
    ) -> Self {
        let mut network = Self::new().join([Branch::categories(categories), Branch::rest()]);
        network.layers.extend(Self::mlp(hidden).layers);
        network
    }

    /// Appends branches, each over some of the columns; the first layer. Their outputs lie side by side.
    ///
    /// ```
    /// use tinderbox::nn::{Branch, InputColumn, Network};
    ///
    /// // Wide and deep (Cheng et al., 2016): all columns go to the last layer as they are, and through hidden layers.
    /// let deep = Branch::numbers(["age", "income"]).through(Network::mlp([16, 8]));
    /// let network = Network::new().join([Branch::numbers(["age", "income"]), deep]);
    /// let columns = InputColumn::side_by_side([("age", []), ("income", [])]);
    /// assert_eq!(network.resolve_columns(&columns, 2, 1)?.trained(), 3 * 16 + 17 * 8 + (2 + 8 + 1));
    /// # Ok::<(), tinderbox::Error>(())
    /// ```
    pub fn join(self, branches: impl IntoIterator<Item = Branch>) -> Self {
        self.layer(NetworkLayer::Join { branches: branches.into_iter().collect() })
    }

    /// Creates a deep auto-encoder: fully connected layers of sizes `hidden`, each with a ReLU, a linear code of `code`
    /// values, and the same [back](NetworkLayer::Mirror).
    ///
    /// ```
    /// let network = tinderbox::nn::Network::autoencoder([256, 64], 32).resolve(784, 784)?;
    /// assert_eq!(network.trained(), 2 * (784 * 256 + 256 * 64 + 64 * 32) + 2 * (256 + 64) + 32 + 784);
    /// # Ok::<(), tinderbox::Error>(())
    /// ```
    pub fn autoencoder(hidden: impl IntoIterator<Item = usize>, code: usize) -> Self {
        Self::mlp(hidden).linear(code).mirror(false)
    }

    /// Appends the layers so far in the opposite order, each transposed; `tied` says whether they share weights.
    pub fn mirror(self, tied: bool) -> Self {
        self.layer(NetworkLayer::Mirror { tied })
    }

    /// Appends a custom network, by the name that it is [registered](super::register) as. The last linear layer
    /// follows as ever.
    pub fn custom(self, name: impl Into<String>, settings: serde_json::Value) -> Self {
        self.layer(NetworkLayer::Custom { name: name.into(), settings })
    }

    /// Appends an embedding of ids.
    pub fn embedding(self, table: Embedding) -> Self {
        self.layer(NetworkLayer::Embedding(table))
    }

    /// Appends embeddings of a row's first values.
    pub fn categories(self, tables: impl IntoIterator<Item = Embedding>) -> Self {
        self.layer(NetworkLayer::Categories { tables: tables.into_iter().collect() })
    }

    /// Creates gated recurrent units, this many, whose last hidden state decides.
    pub fn gru(hidden: usize) -> Self {
        Self::new().gru_layer(Recurrent::new(hidden))
    }

    /// Appends long short-term memory over steps × values.
    pub fn lstm_layer(self, settings: Recurrent) -> Self {
        self.layer(NetworkLayer::Lstm(settings))
    }

    /// Appends gated recurrent units over steps × values.
    pub fn gru_layer(self, settings: Recurrent) -> Self {
        self.layer(NetworkLayer::Gru(settings))
    }

    /// Appends a block of self-attention over steps × values.
    pub fn attention(self, settings: Attention) -> Self {
        self.layer(NetworkLayer::Attention(settings))
    }

    /// Appends a simple recurrent layer with a hyperbolic tangent, over steps × values.
    pub fn rnn_layer(self, settings: Recurrent) -> Self {
        self.layer(NetworkLayer::Rnn(settings))
    }

    /// Replaces every activation described so far.
    pub fn with_activation(mut self, function: Activation) -> Self {
        fn replace(layers: &mut [NetworkLayer], function: Activation) {
            for layer in layers {
                match layer {
                    NetworkLayer::Activation { function: f } => *f = function,
                    NetworkLayer::Residual { layers } => replace(layers, function),
                    NetworkLayer::Join { branches } => {
                        branches.iter_mut().for_each(|branch| replace(&mut branch.layers, function));
                    }
                    _ => {}
                }
            }
        }
        replace(&mut self.layers, function);
        self
    }

    /// Adds dropout after every activation described so far; `p` is the probability that a value is dropped.
    pub fn with_dropout(self, p: f64) -> Self {
        let closed = self.closed;
        let layers = self.layers.into_iter().flat_map(|layer| {
            let follows = matches!(layer, NetworkLayer::Activation { .. });
            let layer = match layer {
                NetworkLayer::Residual { layers } => {
                    NetworkLayer::Residual { layers: Self { layers, closed }.with_dropout(p).layers }
                }
                NetworkLayer::Join { mut branches } => {
                    for branch in &mut branches {
                        branch.layers =
                            Self { layers: std::mem::take(&mut branch.layers), closed }.with_dropout(p).layers;
                    }
                    NetworkLayer::Join { branches }
                }
                other => other,
            };
            std::iter::once(layer).chain(follows.then_some(NetworkLayer::Dropout { p }))
        });
        Self { layers: layers.collect(), closed }
    }

    /// Appends any layer.
    pub fn layer(mut self, layer: NetworkLayer) -> Self {
        self.layers.push(layer);
        self
    }

    /// Appends a fully connected layer.
    pub fn linear(self, outputs: usize) -> Self {
        self.layer(NetworkLayer::Linear { out_features: outputs })
    }

    /// Appends an activation.
    pub fn activation(self, function: Activation) -> Self {
        self.layer(NetworkLayer::Activation { function })
    }

    /// Appends dropout; `p` is the probability that a value is dropped.
    pub fn dropout(self, p: f64) -> Self {
        self.layer(NetworkLayer::Dropout { p })
    }

    /// Appends a convolution over channels × length.
    pub fn conv1d(self, conv: Conv) -> Self {
        self.layer(NetworkLayer::Conv1d(conv))
    }

    /// Appends a convolution over channels × height × width.
    pub fn conv2d(self, conv: Conv) -> Self {
        self.layer(NetworkLayer::Conv2d(conv))
    }

    /// Appends a transposed convolution over channels × height × width.
    pub fn conv_transpose2d(self, conv: ConvTranspose) -> Self {
        self.layer(NetworkLayer::ConvTranspose2d(conv))
    }

    /// Appends max pooling over channels × length.
    pub fn max_pool1d(self, pool: Pool) -> Self {
        self.layer(NetworkLayer::MaxPool1d(pool))
    }

    /// Appends max pooling over channels × height × width.
    pub fn max_pool2d(self, pool: Pool) -> Self {
        self.layer(NetworkLayer::MaxPool2d(pool))
    }

    /// Appends average pooling over channels × length.
    pub fn avg_pool1d(self, pool: Pool) -> Self {
        self.layer(NetworkLayer::AvgPool1d(pool))
    }

    /// Appends average pooling over channels × height × width.
    pub fn avg_pool2d(self, pool: Pool) -> Self {
        self.layer(NetworkLayer::AvgPool2d(pool))
    }

    /// Appends the largest value of each channel.
    pub fn global_max_pool(self) -> Self {
        self.layer(NetworkLayer::GlobalMaxPool)
    }

    /// Appends the mean of each channel.
    pub fn global_avg_pool(self) -> Self {
        self.layer(NetworkLayer::GlobalAvgPool)
    }

    /// Appends batch normalisation with PyTorch's defaults.
    pub fn batch_norm(self) -> Self {
        self.layer(NetworkLayer::BatchNorm { eps: eps(), momentum: momentum() })
    }

    /// Appends layer normalisation with PyTorch's default.
    pub fn layer_norm(self) -> Self {
        self.layer(NetworkLayer::LayerNorm { eps: eps() })
    }

    /// Appends the layers of another network as a residual block: what goes in is added to what comes out.
    ///
    /// ```
    /// use tinderbox::nn::{Activation, Conv, Network, Pool};
    ///
    /// let conv = |outputs, stride| Conv { padding: 1, stride, ..Conv::new(outputs, 3) };
    /// let block = |outputs, stride| {
    ///     Network::new()
    ///         .conv2d(conv(outputs, stride))
    ///         .batch_norm()
    ///         .activation(Activation::Relu)
    ///         .conv2d(conv(outputs, 1))
    ///         .batch_norm()
    /// };
    /// let small = Network::new()
    ///     .conv2d(conv(16, 1))
    ///     .residual(block(16, 1))
    ///     .activation(Activation::Relu)
    ///     .residual(block(32, 2))
    ///     .activation(Activation::Relu)
    ///     .global_avg_pool();
    /// println!("{}", small.resolve([3, 32, 32], 10)?.summary());
    /// # Ok::<(), tinderbox::Error>(())
    /// ```
    pub fn residual(self, block: Network) -> Self {
        self.layer(NetworkLayer::Residual { layers: block.layers })
    }

    /// Appends a flattening of every row.
    pub fn flatten(self) -> Self {
        self.layer(NetworkLayer::Flatten)
    }

    /// Fills in the sizes and appends the last linear layer. `inputs` is a number for flat rows, or dimensions such as
    /// `[1, 28, 28]`.
    ///
    /// # Errors
    /// [`Error::Network`](crate::Error::Network) names the layer that cannot be built, what reaches it and what fits.
    pub fn resolve(&self, inputs: impl Into<InputShape>, outputs: usize) -> Result<NetworkSpec> {
        self.resolve_columns(&[], inputs, outputs)
    }

    /// Returns the same for a network that [joins](Self::join) columns, given which these are.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve); it also names a missing column of a branch, or one that should be a
    /// category and is not known to be one.
    pub fn resolve_columns(
        &self,
        columns: &[InputColumn],
        inputs: impl Into<InputShape>,
        outputs: usize,
    ) -> Result<NetworkSpec> {
        let inputs = inputs.into();
        let last = NetworkLayer::Linear { out_features: outputs };
        let open = !self.closed && !matches!(self.layers.last(), Some(NetworkLayer::Mirror { .. }));
        let all = self.layers.iter().chain(open.then_some(&last));
        let (layers, _) = sized(all, ("", true), 0, columns, &inputs)?;
        let spec = NetworkSpec { inputs, outputs, layers };
        spec.check()?;
        Ok(spec)
    }
}

#[cfg(test)]
mod tests;
