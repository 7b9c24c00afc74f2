//! A factor that keeps small gradients above what half precision can tell from 0.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use crate::nn::Precision;

/// The loss is multiplied by it, and the gradients are divided by it, as `torch.amp.GradScaler` does: it is halved when
/// gradients overflow, the step being left out, and doubled after 2000 steps without that.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct LossScale {
    factor: f64,
    /// Steps since it last changed.
    steps: u32,
}

impl LossScale {
    const FIRST: f64 = 65536.0;
    const STEPS: u32 = 2000;
    /// A loss that overflows below this overflows without a factor too.
    const LEAST: f64 = 1.0 / 65536.0;

    /// Returns the loss scale of a precision, if it needs one.
    pub(super) fn of(precision: Precision) -> Option<Self> {
        (precision == Precision::F16).then_some(Self { factor: Self::FIRST, steps: 0 })
    }

    pub(super) fn factor(&self) -> f64 {
        self.factor
    }

    /// Takes note of a step whose gradients were finite, or were not.
    pub(super) fn note(&mut self, finite: bool) {
        self.steps += 1;
        if !finite {
            *self = Self { factor: self.factor / 2.0, steps: 0 };
        } else if self.steps == Self::STEPS {
            *self = Self { factor: self.factor * 2.0, steps: 0 };
        }
    }

    /// Returns whether no factor helps any more.
    pub(super) fn is_exhausted(&self) -> bool {
        self.factor < Self::LEAST
    }
}

/// Returns whether every gradient is a finite number.
pub(super) fn are_finite(gradients: &[Tensor]) -> candle_core::Result<bool> {
    for gradient in gradients {
        // Anything infinite or NaN becomes NaN, and so does a sum with one.
        let sum = (gradient * 0.0)?.sum_all()?.to_scalar::<f32>()?;
        if sum != 0.0 {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn the_factor_halves_on_overflow_and_doubles_after_2000_steps() {
        let mut scale = LossScale::of(Precision::F16).unwrap();
        scale.note(false);
        assert_eq!(scale.factor(), 32768.0);
        (0..1999).for_each(|_| scale.note(true));
        assert_eq!(scale.factor(), 32768.0);
        scale.note(true);
        assert_eq!(scale.factor(), 65536.0);
        assert!(!scale.is_exhausted());
        (0..40).for_each(|_| scale.note(false));
        assert!(scale.is_exhausted());
        assert_eq!(LossScale::of(Precision::Bf16), None);
    }

    #[test]
    fn one_number_that_is_not_finite_is_found() {
        let of = |values: [f32; 3]| Tensor::new(&values, &Device::Cpu).unwrap();
        assert!(are_finite(&[of([1.0, -2.0, 3e38]), of([0.0; 3])]).unwrap());
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(!are_finite(&[of([1.0; 3]), of([1.0, bad, 2.0])]).unwrap());
        }
    }
}
