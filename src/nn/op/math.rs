//! Loops the processor can do many values at a time, and functions that such loops can hold.

/// Runs a loop compiled for the widest registers that both the build and the processor have.
///
/// Nothing is rounded differently for it: additions keep their order and are not fused with products.
#[inline(always)]
pub(crate) fn wide<R>(body: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2")]
        fn avx2<R>(body: impl FnOnce() -> R) -> R {
            body()
        }
        if std::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has the feature.
            return unsafe { avx2(body) };
        }
    }
    body()
}

/// A function compiled for the widest registers of the processor, as by [`wide`]; for bodies so long that the compiler
/// would leave them where they are, for no registers in particular.
macro_rules! widened {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        $vis fn $name($($arg: $type),*) {
            #[inline(always)]
            fn body($($arg: $type),*) $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f")]
                fn avx512($($arg: $type),*) {
                    body($($arg),*);
                }
                #[target_feature(enable = "avx2")]
                fn avx2($($arg: $type),*) {
                    body($($arg),*);
                }
                if std::is_x86_feature_detected!("avx512f") {
                    // SAFETY: the processor has the feature.
                    return unsafe { avx512($($arg),*) };
                }
                if std::is_x86_feature_detected!("avx2") {
                    // SAFETY: the processor has the feature.
                    return unsafe { avx2($($arg),*) };
                }
            }
            body($($arg),*);
        }
    };
}
pub(in crate::nn) use widened;

/// `exp(x)`, within 2 units in the last place; 0 below -87.3, infinite above 88.7, NaN for NaN.
///
/// Cody and Waite's reduction by powers of two and a polynomial of degree 6, as in Cephes' `expf`.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 × 2²³: adding it rounds to a whole number
    let clamped = x.clamp(-87.336_54, 88.722_83);
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (clamped - n * 0.693_359_4) - n * -2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_2e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 5e-1;
    let y = p * (r * r) + r + 1.0;
    // Two factors, since 2¹²⁸ is not a number.
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()) as i32;
    let half = exponent >> 1;
    let power = |n: i32| f32::from_bits(((n + 127) as u32) << 23);
    let y = y * power(half) * power(exponent - half);
    let y = if x < -87.336_54 { 0.0 } else { y };
    if x > 88.722_83 { f32::INFINITY } else { y }
}

/// `1 / (1 + exp(-x))`.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Returns the hyperbolic tangent, within 1e-6 of 1 and, near 0, 1e-6 of itself.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let size = x.abs();
    // Near 0 the difference of exponentials loses digits; the continued fraction is exact to single precision.
    let square = x * x;
    let near =
        x * (10395.0 + square * (1260.0 + square * 21.0)) / (10395.0 + square * (4725.0 + square * (210.0 + square)));
    let power = exp(-2.0 * size);
    let far = ((1.0 - power) / (1.0 + power)).copysign(x);
    if size < 0.6 { near } else { far }
}

/// Returns the error function, within 4e-7: its series near 0, Abramowitz and Stegun's 7.1.26 beyond.
#[inline(always)]
pub(crate) fn erf(x: f32) -> f32 {
    let size = x.abs();
    let s = x * x;
    let near = x
        * (std::f32::consts::FRAC_2_SQRT_PI
            + s * (-0.376_126_4 + s * (0.112_837_92 + s * (-0.026_866_17 + s * (5.223_977_6e-3 + s * -8.548_327e-4)))));
    let t = 1.0 / (1.0 + 0.327_591_1 * size);
    let tail =
        t * (0.254_829_6 + t * (-0.284_496_74 + t * (1.421_413_7 + t * (-1.453_152 + t * 1.061_405_4)))) * exp(-s);
    let far = (1.0 - tail).copysign(x);
    if size < 0.5 { near } else { far }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worst(low: f64, high: f64, f: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64, relative: bool) -> f64 {
        let at = |i: usize| low + (high - low) * i as f64 / 200_000.0;
        let error = |x: f32| {
            let want = exact(f64::from(x));
            let error = (f64::from(f(x)) - want).abs();
            if relative { error / want.abs().max(f64::MIN_POSITIVE) } else { error }
        };
        (0..=200_000).map(|i| error(at(i) as f32)).fold(0.0, f64::max)
    }

    #[test]
    fn approximations_keep_to_their_stated_errors() {
        let found = [
            worst(-87.3, 88.7, exp, f64::exp, true),
            worst(-20.0, 20.0, sigmoid, |x| 1.0 / (1.0 + (-x).exp()), true),
            worst(-9.0, 9.0, tanh, f64::tanh, true),
        ];
        assert!(found.iter().all(|&e| e < 1e-6), "{found:?}");
    }

    #[test]
    fn the_error_function_agrees_with_tables() {
        // scipy.special.erf
        for (x, y) in
            [(0.1, 0.112_462_916), (0.49, 0.511_668_26), (0.51, 0.529_243_6), (1.0, 0.842_700_8), (2.5, 0.999_593)]
        {
            assert!((erf(x) - y).abs() < 4e-7 && (erf(-x) + y).abs() < 4e-7, "{x}: {}", erf(x));
        }
        assert_eq!((erf(0.0), erf(9.0), erf(-9.0)), (0.0, 1.0, -1.0));
    }

    #[test]
    fn extremes_and_not_a_number_pass_through() {
        assert_eq!((exp(-200.0), exp(200.0), exp(0.0)), (0.0, f32::INFINITY, 1.0));
        assert!([exp(f32::NAN), tanh(f32::NAN), sigmoid(f32::NAN)].iter().all(|v| v.is_nan()));
        assert_eq!((tanh(50.0), tanh(-50.0), sigmoid(-200.0), sigmoid(200.0)), (1.0, -1.0, 0.0, 1.0));
    }
}
