//! Softmax cross-entropy from logits, with its gradient.

use super::math::{exp, wide};

/// Returns the sum over rows of `Σₖ target[k] · -log softmax(logits)[k]`, and in `gradient` its gradient times `scale`.
///
/// `logits`, `target` and `gradient` hold `rows × classes` values; targets need not sum to 1. PyTorch's `cross_entropy`
/// with probabilities as targets.
pub fn cross_entropy(logits: &[f32], target: &[f32], classes: usize, scale: f32, gradient: &mut [f32]) -> f64 {
    let rows = logits.chunks_exact(classes).zip(target.chunks_exact(classes)).zip(gradient.chunks_exact_mut(classes));
    wide(|| {
        let mut loss = 0.0;
        for ((logits, target), gradient) in rows {
            // NaN must not hide behind a larger number.
            let largest =
                logits.iter().copied().fold(f32::NEG_INFINITY, |a, b| if b > a || b.is_nan() { b } else { a });
            gradient.iter_mut().zip(logits).for_each(|(g, l)| *g = exp(l - largest));
            let sum: f32 = gradient.iter().sum();
            let weight: f32 = target.iter().sum();
            let log = sum.ln();
            let (share, mut likelihood) = (weight / sum, 0.0f32);
            for ((g, t), l) in gradient.iter_mut().zip(target).zip(logits) {
                *g = scale * (share * *g - t);
                if *t != 0.0 || l.is_nan() {
                    likelihood += t * (l - largest - log);
                }
            }
            loss -= f64::from(likelihood);
        }
        loss
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loss_is_that_of_the_formula_and_huge_logits_do_no_harm() {
        let mut gradient = [0.0; 6];
        let loss =
            cross_entropy(&[1e4, 0.0, 0.0, 1.0, 2.0, 3.0], &[0.0, 1.0, 0.0, 0.0, 0.0, 2.0], 3, 0.5, &mut gradient);
        let sum = 1.0 + (-1.0f64).exp() + (-2.0f64).exp();
        assert!((loss - (1e4 + 2.0 * sum.ln())).abs() < 1e-2, "{loss}");
        let want = [0.5, -0.5, 0.0, (-2.0f64).exp() / sum, (-1.0f64).exp() / sum, 1.0 / sum - 1.0];
        assert!(gradient.iter().zip(want).all(|(g, w)| (f64::from(*g) - w).abs() < 1e-6), "{gradient:?}");
    }

    #[test]
    fn a_logit_that_is_no_number_shows_in_the_loss() {
        assert!(cross_entropy(&[0.0, f32::NAN], &[1.0, 0.0], 2, 1.0, &mut [0.0; 2]).is_nan());
    }
}
