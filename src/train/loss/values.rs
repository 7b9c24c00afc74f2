//! Losses over values: each output against one number, with gradients.

use candle_core::Tensor;

use super::Loss;
use crate::nn::{exp, sigmoid, wide};

/// Returns one value's loss and its derivative with respect to the output; `o` is the output, `t` the target.
#[inline(always)]
fn squared(o: f32, t: f32) -> (f32, f32) {
    let e = o - t;
    (e * e, 2.0 * e)
}

#[inline(always)]
fn absolute(o: f32, t: f32) -> (f32, f32) {
    let e = o - t;
    (e.abs(), sign(e))
}

/// PyTorch's `huber_loss`: half the square up to `delta`, a line beyond.
#[inline(always)]
fn huber(o: f32, t: f32, delta: f32) -> (f32, f32) {
    let e = o - t;
    let size = e.abs();
    if size < delta { (0.5 * e * e, e) } else { (delta * (size - 0.5 * delta), delta * sign(e)) }
}

/// Returns the pinball loss: smallest where a share `q` of the targets is below the output.
#[inline(always)]
fn pinball(o: f32, t: f32, q: f32) -> (f32, f32) {
    let e = t - o;
    let loss = (q * e).max((q - 1.0) * e);
    // The maximum of a number and NaN is the number.
    let loss = if e.is_nan() { e } else { loss };
    (
        loss,
        if e > 0.0 {
            -q
        } else if e < 0.0 {
            1.0 - q
        } else {
            0.0
        },
    )
}

/// PyTorch's `poisson_nll_loss` of a logarithm of a rate, without Stirling's term.
#[inline(always)]
fn poisson(o: f32, t: f32) -> (f32, f32) {
    let rate = exp(o);
    (rate - t * o, rate - t)
}

/// PyTorch's `binary_cross_entropy_with_logits`.
#[inline(always)]
fn binary(o: f32, t: f32) -> (f32, f32) {
    let largest = if o < 0.0 { 0.0 } else { o };
    (largest - o * t + exp(-o.abs()).ln_1p(), sigmoid(o) - t)
}

#[inline(always)]
fn sign(e: f32) -> f32 {
    if e == 0.0 { 0.0 } else { 1f32.copysign(e) }
}

/// Returns the sum over rows `i` and values `j` of `wᵢ loss(oᵢⱼ, tᵢⱼ)`, and in `gradient` its gradient times `scale`.
///
/// `outputs`, `target` and `gradient` hold as many values a row as there are `weights`' shares of them.
pub(super) fn learn(
    loss: Loss,
    outputs: &[f32],
    target: &[f32],
    weights: &[f32],
    scale: f32,
    gradient: &mut [f32],
) -> f64 {
    let given = (outputs, target, weights, scale);
    match loss {
        // Classes have a separate kernel.
        Loss::CrossEntropy => 0.0,
        Loss::SquaredError => each(given, gradient, squared),
        Loss::AbsoluteError => each(given, gradient, absolute),
        Loss::Huber { delta } => each(given, gradient, |o, t| huber(o, t, delta as f32)),
        Loss::Quantile { quantile } => each(given, gradient, |o, t| pinball(o, t, quantile as f32)),
        Loss::Poisson => each(given, gradient, poisson),
        Loss::BinaryCrossEntropy => each(given, gradient, binary),
    }
}

#[inline(always)]
fn each(
    (outputs, target, weights, scale): (&[f32], &[f32], &[f32], f32),
    gradient: &mut [f32],
    one: impl Fn(f32, f32) -> (f32, f32),
) -> f64 {
    let width = (outputs.len() / weights.len().max(1)).max(1);
    let rows = outputs.chunks_exact(width).zip(target.chunks_exact(width)).zip(gradient.chunks_exact_mut(width));
    wide(|| {
        let mut sum = 0.0;
        for (((outputs, target), gradient), &weight) in rows.zip(weights) {
            let mut row = 0.0;
            for ((&o, &t), g) in outputs.iter().zip(target).zip(gradient) {
                let (loss, slope) = one(o, t);
                row += loss;
                *g = scale * weight * slope;
            }
            sum += f64::from(weight) * f64::from(row);
        }
        sum
    })
}

/// Returns the same sum by candle's operations, a scalar. Outputs are `(rows, width)`.
pub(super) fn sum(loss: Loss, outputs: &Tensor, target: &[f32], weights: &[f32]) -> candle_core::Result<Tensor> {
    let target = Tensor::from_slice(target, outputs.shape(), outputs.device())?;
    let weights = Tensor::from_slice(weights, (weights.len(), 1), outputs.device())?;
    let error = (outputs - &target)?;
    let each = match loss {
        Loss::CrossEntropy => error.zeros_like()?,
        Loss::SquaredError => error.sqr()?,
        Loss::AbsoluteError => error.abs()?,
        Loss::Huber { delta } => {
            // Up to `delta` the square, and what is beyond it as a line: the two parts of the size.
            let size = error.abs()?;
            let near = size.clamp(0.0, delta)?;
            let far = (&size - &near)?;
            ((near.sqr()? * 0.5)? + (far * delta)?)?
        }
        Loss::Quantile { quantile } => {
            let over = error.relu()?;
            let under = error.neg()?.relu()?;
            ((over * (1.0 - quantile))? + (under * quantile)?)?
        }
        Loss::Poisson => (outputs.exp()? - (&target * outputs)?)?,
        Loss::BinaryCrossEntropy => {
            let log = ((outputs.abs()?.neg()?.exp()? + 1.0)?).log()?;
            ((outputs.relu()? - (outputs * &target)?)? + log)?
        }
    };
    each.broadcast_mul(&weights)?.sum_all()
}
