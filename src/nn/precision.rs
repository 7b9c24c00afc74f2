//! In what precision a network computes.

use candle_core::{DType, Result as Candle, Tensor};
use serde::{Deserialize, Serialize};

use super::{Devices, LayerSpec};
use crate::{Error, Result};

/// In what precision a network computes while it learns. Weights, gradients and the optimizer are in single precision
/// always, and so are normalisation, losses, embeddings, blocks (residual, joined) and a user's own layers.
///
/// ```
/// use tinderbox::nn::Precision;
///
/// assert_eq!(serde_json::from_str::<Precision>(r#""bf16""#)?, Precision::Bf16);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "job", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Single, on every device.
    #[default]
    F32,
    /// `bfloat16` on CUDA and Metal devices: the range of single precision with 8 bits of mantissa.
    Bf16,
    /// `float16` on CUDA and Metal devices: 11 bits of mantissa and a small range, for which the loss is scaled
    /// (`torch.amp.GradScaler`).
    F16,
}

impl Precision {
    /// Checks that devices compute so.
    ///
    /// # Errors
    /// [`Error::Param`] with the processor among them, whose kernels are in single precision.
    pub fn check(self, devices: &Devices) -> Result<()> {
        if self == Precision::F32 || !devices.include_processor() {
            return Ok(());
        }
        let legal = format!("`f32`, as devices = {devices} has the processor; others need CUDA or Metal devices");
        Err(Error::param("precision", self.name(), legal))
    }

    /// Returns its name, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
            Precision::F16 => "f16",
        }
    }

    fn dtype(self) -> DType {
        match self {
            Precision::F32 => DType::F32,
            Precision::Bf16 => DType::BF16,
            Precision::F16 => DType::F16,
        }
    }

    /// Returns the precision of a layer's input: products in this precision, sums over many values and
    /// custom layers in single precision, the rest in that of its input.
    fn of(self, layer: &LayerSpec, input: DType) -> DType {
        match layer {
            LayerSpec::Linear { .. } | LayerSpec::Conv1d(_) | LayerSpec::Conv2d(_) => self.dtype(),
            LayerSpec::ConvTranspose2d(_) | LayerSpec::Tied { .. } => self.dtype(),
            _ if layer.takes_sequences() => self.dtype(),
            LayerSpec::BatchNorm { .. } | LayerSpec::LayerNorm { .. } | LayerSpec::Custom(_) => DType::F32,
            // Blocks hold normalisation or sums.
            LayerSpec::Residual { .. } | LayerSpec::Join { .. } => DType::F32,
            // Ids beyond 2048 are not whole numbers of half precision.
            LayerSpec::Embedding(_) | LayerSpec::Categories { .. } => DType::F32,
            _ => input,
        }
    }

    /// Returns a layer's input and parameters as it computes with them.
    pub(super) fn cast(self, layer: &LayerSpec, x: &Tensor, params: &[&Tensor]) -> Candle<(Tensor, Vec<Tensor>)> {
        let dtype = self.of(layer, x.dtype());
        let params = params.iter().map(|p| p.to_dtype(dtype)).collect::<Candle<_>>()?;
        Ok((x.to_dtype(dtype)?, params))
    }
}
