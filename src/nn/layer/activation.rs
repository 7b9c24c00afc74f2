//! Element-wise functions between linear layers.

use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

use crate::nn::onnx::{self, Graph};

/// An element-wise function; any shape in, the same shape out. Defined as in PyTorch, with its defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "job", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `max(x, 0)`.
    #[default]
    Relu,
    /// `x` above 0, `0.01 x` below.
    LeakyRelu,
    /// `x` above 0, `exp(x) - 1` below.
    Elu,
    /// `x Φ(x)` with the exact normal distribution function, PyTorch's default `gelu`.
    Gelu,
    /// `x σ(x)`.
    Silu,
    /// The hyperbolic tangent.
    Tanh,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `log(1 + exp(x))`, `x` itself above 20.
    Softplus,
}

impl Activation {
    /// Applies the function by candle's own operations, on any device.
    pub(crate) fn forward(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Activation::Relu => positive(x),
            Activation::LeakyRelu => (positive(x)? * 0.99)? + (x * 0.01)?,
            Activation::Elu => x.elu(1.0),
            Activation::Gelu => x.gelu_erf(),
            Activation::Silu => x.silu(),
            Activation::Tanh => x.tanh(),
            Activation::Sigmoid => candle_nn::ops::sigmoid(x),
            // log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|))
            Activation::Softplus => x.relu()? + ((x.abs()?.neg()?.exp()? + 1.0)?.log()?),
        }
    }

    /// Returns the function as ONNX's operators have it.
    pub(in crate::nn) fn onnx(self, graph: &mut Graph<'_>, x: &str) -> String {
        let operator = match self {
            Activation::Relu => "Relu",
            Activation::LeakyRelu => {
                return graph.node("LeakyRelu", &[x], vec![("alpha", onnx::OnnxAttribute::Float(0.01))]);
            }
            Activation::Elu => "Elu",
            Activation::Gelu => "Gelu",
            Activation::Silu => {
                let gate = graph.node("Sigmoid", &[x], Vec::new());
                return graph.node("Mul", &[x, &gate], Vec::new());
            }
            Activation::Tanh => "Tanh",
            Activation::Sigmoid => "Sigmoid",
            Activation::Softplus => "Softplus",
        };
        graph.node(operator, &[x], Vec::new())
    }
}

/// `max(x, 0)` with slope 0 at 0, as in PyTorch; candle's slope at 0 is 1. NaN stays NaN.
fn positive(x: &Tensor) -> Result<Tensor> {
    let zero = x.zeros_like()?;
    x.le(&zero)?.where_cond(&zero, x)
}
