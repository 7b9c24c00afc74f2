//! A fully connected layer.

use candle_core::{Result, Tensor, Var};

/// `y = x Wᵀ + b`, PyTorch's `nn.Linear`.
#[derive(Debug, Clone)]
pub(crate) struct Linear {
    /// `(outputs, inputs)`.
    pub(crate) weight: Var,
    /// `(outputs)`.
    pub(crate) bias: Var,
}

impl Linear {
    /// Input `(rows, inputs)`, output `(rows, outputs)`.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.matmul(&self.weight.t()?)?.broadcast_add(&self.bias)
    }
}
