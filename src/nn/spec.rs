//! What a network is made of: the description a user writes, and the same with every size filled in.

use serde::{Deserialize, Serialize};

use super::{layer::Activation, weights::Weights};
use crate::{Error, Result};

/// More parameters than this cannot be meant: 4 Gi, 16 GiB of weights.
const MAX_PARAMETERS: usize = 1 << 32;

/// A network as a user describes it. The number of inputs and of outputs come from the data.
///
/// The last linear layer, with one output per class, is added by [`Network::resolve`]; only what stands before it is
/// described.
///
/// ```
/// use tinderbox::nn::{Activation, Network};
///
/// let small = Network::mlp([16, 16]);
/// let tanh = Network::mlp([16, 16]).activation(Activation::Tanh).dropout(0.2);
/// let by_layer = Network::new().linear(16).activate(Activation::Relu).drop_out(0.2).linear(8);
/// # assert_ne!(small, tanh); assert_ne!(tanh, by_layer);
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// The layers before the last, first to last.
    pub layers: Vec<NetworkLayer>,
}

/// One layer of a [`Network`], its inputs still open.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum NetworkLayer {
    /// A fully connected layer with a bias.
    Linear {
        /// How many units.
        outputs: usize,
    },
    /// An element-wise function.
    Activation {
        /// Which one.
        function: Activation,
    },
    /// Dropout while training.
    Dropout {
        /// The chance that a value is dropped, in `[0, 1)`.
        p: f64,
    },
}

impl Network {
    /// A network without hidden layers: logistic regression.
    pub fn new() -> Self {
        Self::default()
    }

    /// A multilayer perceptron: fully connected hidden layers of these sizes, each followed by a ReLU.
    pub fn mlp(hidden: impl IntoIterator<Item = usize>) -> Self {
        hidden.into_iter().fold(Self::new(), |net, outputs| net.linear(outputs).activate(Activation::Relu))
    }

    /// Replaces every activation described so far.
    pub fn activation(mut self, function: Activation) -> Self {
        for layer in &mut self.layers {
            if let NetworkLayer::Activation { function: f } = layer {
                *f = function;
            }
        }
        self
    }

    /// Adds dropout after every activation described so far; `p` is the chance that a value is dropped.
    pub fn dropout(self, p: f64) -> Self {
        let layers = self.layers.into_iter().flat_map(|layer| {
            let follows = matches!(layer, NetworkLayer::Activation { .. });
            std::iter::once(layer).chain(follows.then_some(NetworkLayer::Dropout { p }))
        });
        Self { layers: layers.collect() }
    }

    /// Appends a fully connected layer.
    pub fn linear(mut self, outputs: usize) -> Self {
        self.layers.push(NetworkLayer::Linear { outputs });
        self
    }

    /// Appends an activation.
    pub fn activate(mut self, function: Activation) -> Self {
        self.layers.push(NetworkLayer::Activation { function });
        self
    }

    /// Appends dropout; `p` is the chance that a value is dropped.
    pub fn drop_out(mut self, p: f64) -> Self {
        self.layers.push(NetworkLayer::Dropout { p });
        self
    }

    /// Fills in the sizes and appends the last linear layer.
    ///
    /// # Errors
    /// [`Error::Network`] names the layer that cannot be built.
    pub fn resolve(&self, inputs: usize, outputs: usize) -> Result<NetworkSpec> {
        let mut width = inputs;
        let mut layers: Vec<LayerSpec> = Vec::with_capacity(self.layers.len() + 1);
        for layer in &self.layers {
            layers.push(match *layer {
                NetworkLayer::Linear { outputs } => {
                    LayerSpec::Linear { inputs: std::mem::replace(&mut width, outputs), outputs }
                }
                NetworkLayer::Activation { function } => LayerSpec::Activation { function },
                NetworkLayer::Dropout { p } => LayerSpec::Dropout { p },
            });
        }
        layers.push(LayerSpec::Linear { inputs: width, outputs });
        let spec = NetworkSpec { inputs, outputs, layers };
        spec.check()?;
        Ok(spec)
    }
}

/// A network with every size filled in. This is what a model table stores.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkSpec {
    /// Values per row going in.
    pub inputs: usize,
    /// Values per row coming out: one raw score (logit) per class.
    pub outputs: usize,
    /// The layers, first to last.
    pub layers: Vec<LayerSpec>,
}

/// One layer of a [`NetworkSpec`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum LayerSpec {
    /// `y = x Wᵀ + b`; input `(rows, inputs)`, output `(rows, outputs)`; parameters `weight` `(outputs, inputs)` and
    /// `bias` `(outputs)`.
    Linear {
        /// Values per row going in.
        inputs: usize,
        /// Units.
        outputs: usize,
    },
    /// An element-wise function; the shape stays.
    Activation {
        /// Which one.
        function: Activation,
    },
    /// Dropout while training; the shape stays.
    Dropout {
        /// The chance that a value is dropped, in `[0, 1)`.
        p: f64,
    },
}

impl LayerSpec {
    /// The layer's kind in a word, as errors name it.
    pub fn kind(&self) -> &'static str {
        match self {
            LayerSpec::Linear { .. } => "linear",
            LayerSpec::Activation { .. } => "activation",
            LayerSpec::Dropout { .. } => "dropout",
        }
    }
}

/// One parameter that a [`NetworkSpec`] calls for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterSpec {
    /// `<layer>.weight` or `<layer>.bias`, with the layer's position from 0, as PyTorch's `nn.Sequential` names them.
    pub name: String,
    /// Its dimensions.
    pub shape: Vec<usize>,
    pub(super) layer: usize,
    pub(super) index: usize,
}

impl NetworkSpec {
    /// Checks that each layer takes what the one before it gives, and that sizes and chances are in range.
    ///
    /// # Errors
    /// [`Error::Network`] names the layer, what reaches it and what would fit.
    pub fn check(&self) -> Result<()> {
        let mut width = self.inputs;
        if width == 0 {
            return Err(misfit("input".into(), "0 values a row", "a network needs at least one input".into()));
        }
        let mut parameters = 0usize;
        for (i, layer) in self.layers.iter().enumerate() {
            let name = || format!("{i} ({})", layer.kind());
            match *layer {
                LayerSpec::Linear { inputs, outputs } => {
                    if inputs != width {
                        return Err(misfit(name(), format!("{width} values a row"), format!("it takes {inputs}")));
                    }
                    if outputs == 0 {
                        return Err(misfit(name(), "0 outputs", "it needs at least one".into()));
                    }
                    let count = inputs.checked_mul(outputs).and_then(|n| n.checked_add(outputs));
                    parameters = match count.and_then(|n| n.checked_add(parameters)) {
                        Some(n) if n <= MAX_PARAMETERS => n,
                        _ => {
                            let got = format!("{inputs} × {outputs} weights");
                            return Err(misfit(
                                name(),
                                got,
                                format!("a network holds at most {MAX_PARAMETERS} parameters"),
                            ));
                        }
                    };
                    width = outputs;
                }
                LayerSpec::Activation { .. } => {}
                LayerSpec::Dropout { p } => {
                    if !(0.0..1.0).contains(&p) {
                        return Err(misfit(name(), format!("p = {p}"), "a chance in [0, 1) is legal".into()));
                    }
                }
            }
        }
        if width != self.outputs {
            let fits = format!("the network must give {}", self.outputs);
            return Err(misfit("output".into(), format!("{width} values a row"), fits));
        }
        Ok(())
    }

    /// The parameters, sorted by name.
    pub fn parameters(&self) -> Vec<ParameterSpec> {
        let mut all = Vec::new();
        for (i, layer) in self.layers.iter().enumerate() {
            if let LayerSpec::Linear { inputs, outputs } = *layer {
                let weight =
                    ParameterSpec { name: format!("{i}.weight"), shape: vec![outputs, inputs], layer: i, index: 0 };
                let bias = ParameterSpec { name: format!("{i}.bias"), shape: vec![outputs], layer: i, index: 1 };
                all.extend([weight, bias]);
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
mod tests {
    use super::*;

    #[test]
    fn sizes_come_from_the_data() {
        let spec = Network::mlp([16, 8]).resolve(4, 3).unwrap();
        let names: Vec<_> = spec.parameters().into_iter().map(|p| (p.name, p.shape)).collect();
        assert_eq!(
            names,
            [
                ("0.bias".to_owned(), vec![16]),
                ("0.weight".into(), vec![16, 4]),
                ("2.bias".into(), vec![8]),
                ("2.weight".into(), vec![8, 16]),
                ("4.bias".into(), vec![3]),
                ("4.weight".into(), vec![3, 8]),
            ]
        );
    }

    #[test]
    fn misfits_name_the_layer_what_it_got_and_what_fits() {
        let says = |spec: NetworkSpec, words: &[&str]| {
            let message = spec.check().unwrap_err().to_string();
            assert!(words.iter().all(|w| message.contains(w)), "{message}");
        };
        let linear = |inputs, outputs| LayerSpec::Linear { inputs, outputs };
        says(
            NetworkSpec { inputs: 4, outputs: 3, layers: vec![linear(4, 8), linear(9, 3)] },
            &["1 (linear)", "8", "9"],
        );
        says(NetworkSpec { inputs: 4, outputs: 3, layers: vec![linear(4, 2)] }, &["output", "2", "3"]);
        says(NetworkSpec { inputs: 4, outputs: 0, layers: vec![linear(4, 0)] }, &["0 (linear)", "0 outputs"]);
        says(NetworkSpec { inputs: 0, outputs: 0, layers: vec![] }, &["input"]);
        says(NetworkSpec { inputs: 4, outputs: 1 << 40, layers: vec![linear(4, 1 << 40)] }, &["at most"]);
        says(NetworkSpec { inputs: 4, outputs: 2, layers: vec![linear(4, usize::MAX / 2)] }, &["at most"]);
        for p in [1.0, -0.1, f64::NAN] {
            says(
                NetworkSpec { inputs: 1, outputs: 1, layers: vec![LayerSpec::Dropout { p }] },
                &["0 (dropout)", "[0, 1)"],
            );
        }
    }

    #[test]
    fn a_description_reads_back_as_written() {
        let net = Network::mlp([16]).activation(Activation::Gelu).dropout(0.5);
        let json = serde_json::to_string(&net).unwrap();
        assert_eq!(
            json,
            r#"{"layers":[{"kind":"linear","outputs":16},{"kind":"activation","function":"gelu"},{"kind":"dropout","p":0.5}]}"#
        );
        assert_eq!(serde_json::from_str::<Network>(&json).unwrap(), net);
        assert!(serde_json::from_str::<Network>(&json.replace("outputs", "units")).is_err());
    }
}
