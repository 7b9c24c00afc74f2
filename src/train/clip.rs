//! Limits on gradients.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Limit of the gradients of a step.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "job", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Clip {
    /// Not at all.
    #[default]
    None,
    /// All gradients together are shortened to at most this Euclidean norm, PyTorch's `clip_grad_norm_`. Above 0.
    Norm(f64),
    /// Every value is kept between minus this and this, PyTorch's `clip_grad_value_`. Above 0.
    Value(f64),
}

/// Clipping of one step's gradients: each is multiplied, then kept within the limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Clipping {
    pub(super) scale: f32,
    pub(super) limit: f32,
}

impl Clip {
    pub(super) fn check(&self) -> Result<()> {
        match *self {
            Clip::Norm(most) | Clip::Value(most) if !(most.is_finite() && most > 0.0) => {
                Err(Error::param("clip", most, "a finite number above 0"))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn resolve(&self, gradients: &[Tensor]) -> candle_core::Result<Clipping> {
        Ok(match *self {
            Clip::None => Clipping { scale: 1.0, limit: f32::INFINITY },
            Clip::Value(limit) => Clipping { scale: 1.0, limit: limit as f32 },
            Clip::Norm(most) => {
                // PyTorch adds the same millionth.
                let scale = (most / (norm(gradients)? + 1e-6)).min(1.0);
                Clipping { scale: scale as f32, limit: f32::INFINITY }
            }
        })
    }
}

impl Clipping {
    #[inline(always)]
    pub(super) fn apply(self, gradient: f32) -> f32 {
        (gradient * self.scale).clamp(-self.limit, self.limit)
    }

    pub(super) fn apply_to(self, gradient: &Tensor) -> candle_core::Result<Tensor> {
        let scaled = if self.scale == 1.0 { gradient.clone() } else { (gradient * f64::from(self.scale))? };
        if self.limit.is_finite() { scaled.clamp(-self.limit, self.limit) } else { Ok(scaled) }
    }
}

/// Returns the Euclidean norm of all gradients together.
fn norm(gradients: &[Tensor]) -> candle_core::Result<f64> {
    let mut squares = 0.0;
    for gradient in gradients {
        squares += f64::from(gradient.sqr()?.sum_all()?.to_scalar::<f32>()?);
    }
    Ok(squares.sqrt())
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn gradients() -> Vec<Tensor> {
        vec![
            Tensor::new(&[3f32, 0.0], &Device::Cpu).unwrap(),
            Tensor::new(&[[0f32], [4.0], [-12.0]], &Device::Cpu).unwrap(),
        ]
    }

    #[test]
    fn a_norm_counts_all_gradients_and_never_lengthens_them() {
        let clipping = Clip::Norm(6.5).resolve(&gradients()).unwrap();
        assert!((clipping.scale - 0.5).abs() < 1e-6, "{clipping:?}");
        assert_eq!(Clip::Norm(14.0).resolve(&gradients()).unwrap().scale, 1.0);
    }

    #[test]
    fn values_are_kept_within_the_limit_wherever_they_are() {
        let clipping = Clip::Value(3.5).resolve(&gradients()).unwrap();
        assert_eq!([3.0, 4.0, -12.0].map(|g| clipping.apply(g)), [3.0, 3.5, -3.5]);
        let clipped = clipping.apply_to(&gradients()[1]).unwrap();
        assert_eq!(clipped.flatten_all().unwrap().to_vec1::<f32>().unwrap(), [0.0, 3.5, -3.5]);
        assert!(clipping.apply(f32::NAN).is_nan());
    }
}
