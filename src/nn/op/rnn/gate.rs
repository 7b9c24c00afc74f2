//! The functions that recurrent gates are made of: one division for two of them, where the activations' own take two
//! each.

/// Returns the hyperbolic tangent, at most 4e-7 away; NaN stays NaN.
///
/// The rational minimax approximation of degree 13 over 6 that Eigen uses in single precision (`ptanh_float`).
#[inline(always)]
pub(super) fn tanh(x: f32) -> f32 {
    let (p, q) = parts(x);
    p / q
}

/// Returns the numerator and the denominator of the hyperbolic tangent. The denominator is between 0.004 and 1.
#[inline(always)]
fn parts(x: f32) -> (f32, f32) {
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
    (x * p, q)
}

/// Two quotients by one division.
#[inline(always)]
fn divided(a: (f32, f32), b: (f32, f32)) -> (f32, f32) {
    let one = 1.0 / (a.1 * b.1);
    (a.0 * (one * b.1), b.0 * (one * a.1))
}

/// `1 / (1 + exp(-x))` of both, at most 3e-7 away. NaN in one is NaN in both: one unit's gates have no numbers apart.
#[inline(always)]
pub(super) fn sigmoids(x: f32, y: f32) -> (f32, f32) {
    let (a, b) = divided(parts(0.5 * x), parts(0.5 * y));
    (0.5 * a + 0.5, 0.5 * b + 0.5)
}

/// `1 / (1 + exp(-x))` and the hyperbolic tangent of `y`, as [`sigmoids`] and [`tanh`].
#[inline(always)]
pub(super) fn sigmoid_and_tanh(x: f32, y: f32) -> (f32, f32) {
    let (a, b) = divided(parts(0.5 * x), parts(y));
    (0.5 * a + 0.5, b)
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
            let y = ((i * 37) % 120_000) as f32 / 4000.0;
            let logistic = |x: f32| 1.0 / (1.0 + (-f64::from(x)).exp());
            let ((a, b), (c, d)) = (sigmoids(x, y), sigmoid_and_tanh(y, x));
            let tanhs = [tanh(x), d].map(|found| (f64::from(found) - exact).abs());
            let sigmoids = [(a, x), (b, y), (c, y)].map(|(found, x)| (f64::from(found) - logistic(x)).abs());
            worst = (tanhs.into_iter().fold(worst.0, f64::max), sigmoids.into_iter().fold(worst.1, f64::max));
        }
        assert!(worst.0 <= 4e-7 && worst.1 <= 3e-7, "{worst:?}");
    }

    #[test]
    fn infinities_saturate_and_nan_passes() {
        assert!((tanh(f32::INFINITY) - 1.0).abs() <= 4e-7 && (tanh(f32::NEG_INFINITY) + 1.0).abs() <= 4e-7);
        assert!(
            tanh(f32::NAN).is_nan() && sigmoids(f32::NAN, 0.0).0.is_nan() && sigmoid_and_tanh(0.0, f32::NAN).1.is_nan()
        );
    }
}
