//! The functions that recurrent gates are made of: one division each, where the activations' own take two.

/// The hyperbolic tangent, at most 4e-7 away; NaN stays NaN.
///
/// The rational minimax approximation of degree 13 over 6 that Eigen uses in single precision (`ptanh_float`).
#[inline(always)]
pub(super) fn tanh(x: f32) -> f32 {
    // Beyond ±9 it is 1 in single precision. `clamp` lets NaN through, so a diverged network is seen to be one.
    let x = x.clamp(-9.0, 9.0);
    let s = x * x;
    let p = s * -2.760_768_5e-16 + 2.000_188e-13;
    let p = p * s - 8.604_672e-11;
    let p = p * s + 5.122_297e-8;
    let p = p * s + 1.485_722_4e-5;
    let p = p * s + 6.372_619_3e-4;
    let p = p * s + 4.893_524_6e-3;
    let q = s * 1.198_258_4e-6 + 1.185_347_1e-4;
    let q = q * s + 2.268_434_6e-3;
    let q = q * s + 4.893_525e-3;
    x * p / q
}

/// `1 / (1 + exp(-x))`, at most 2.2e-7 away; NaN stays NaN.
#[inline(always)]
pub(super) fn sigmoid(x: f32) -> f32 {
    0.5 * tanh(0.5 * x) + 0.5
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_are_within_the_stated_distance_of_the_exact_functions() {
        let mut worst = (0f64, 0f64);
        for i in -120_000..=120_000 {
            let x = i as f32 / 4000.0;
            let exact = f64::from(x).tanh();
            worst.0 = worst.0.max((f64::from(tanh(x)) - exact).abs());
            worst.1 = worst.1.max((f64::from(sigmoid(x)) - 1.0 / (1.0 + (-f64::from(x)).exp())).abs());
        }
        assert!(worst.0 <= 4e-7 && worst.1 <= 2.2e-7, "{worst:?}");
    }

    #[test]
    fn infinities_saturate_and_nan_passes() {
        assert!((tanh(f32::INFINITY) - 1.0).abs() <= 4e-7 && (tanh(f32::NEG_INFINITY) + 1.0).abs() <= 4e-7);
        assert!(tanh(f32::NAN).is_nan() && sigmoid(f32::NAN).is_nan());
    }
}
