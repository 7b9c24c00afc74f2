//! The update of one parameter by tensor operations, where it is not in the processor's memory.

use candle_core::{Result, Tensor, bail};

use super::rule::{Rule, StepSize};
use crate::nn::Parameter;

/// Moves a parameter against its gradient.
pub(super) fn update(
    rule: &Rule,
    size: StepSize,
    parameter: &Parameter,
    gradient: &Tensor,
    slots: &mut [Tensor],
) -> Result<()> {
    let theta = parameter.var.as_detached_tensor();
    let gradient = size.clipping.apply_to(gradient)?;
    let StepSize { learning_rate: rate, weight_decay: decay, .. } = size;
    let decaying = |g: &Tensor| if decay == 0.0 { Ok(g.clone()) } else { g + (&theta * decay)? };
    let moved = match (*rule, slots) {
        (Rule::Adam { betas, eps, decoupled }, [mean, square]) => {
            let g = if decoupled { gradient } else { decaying(&gradient)? };
            let step = (direction(betas, eps, &size, &g, mean, square)? * rate)?;
            let keep = if decoupled { 1.0 - rate * decay } else { 1.0 };
            ((&theta * keep)? - step)?
        }
        (Rule::Lamb { betas, eps }, [mean, square]) => {
            let way = decaying(&direction(betas, eps, &size, &gradient, mean, square)?)?;
            let squares = |t: &Tensor| t.sqr()?.sum_all()?.to_scalar::<f32>().map(f64::from);
            let (own, its) = (squares(&theta)?, squares(&way)?);
            let trust = if own > 0.0 && its > 0.0 { (own / its).sqrt() } else { 1.0 };
            (&theta - (way * (rate * trust))?)?
        }
        (Rule::Sgd { .. }, []) => (&theta - (decaying(&gradient)? * rate)?)?,
        (Rule::Sgd { momentum, nesterov }, [velocity]) => {
            let g = decaying(&gradient)?;
            *velocity = ((&*velocity * momentum)? + &g)?;
            let way = if nesterov { (g + (&*velocity * momentum)?)? } else { velocity.clone() };
            (&theta - (way * rate)?)?
        }
        (Rule::Adagrad { eps }, [square]) => {
            let g = decaying(&gradient)?;
            *square = (&*square + g.sqr()?)?;
            (&theta - ((g / (square.sqrt()? + eps)?)? * rate)?)?
        }
        (Rule::Rmsprop { alpha, momentum, eps }, [square, velocity @ ..]) => {
            let g = decaying(&gradient)?;
            *square = mixed(square, alpha, &g.sqr()?)?;
            let mut way = (g / (square.sqrt()? + eps)?)?;
            if let [velocity] = velocity {
                *velocity = ((&*velocity * momentum)? + way)?;
                way = velocity.clone();
            }
            (&theta - (way * rate)?)?
        }
        (rule, slots) => bail!("{rule:?} cannot use {} values for each to learn", slots.len()),
    };
    parameter.var.set(&moved)
}

/// Adam's direction: the corrected mean of the gradient over the root of its corrected mean square.
fn direction(
    betas: (f64, f64),
    eps: f64,
    size: &StepSize,
    gradient: &Tensor,
    mean: &mut Tensor,
    square: &mut Tensor,
) -> Result<Tensor> {
    *mean = mixed(mean, betas.0, gradient)?;
    *square = mixed(square, betas.1, &gradient.sqr()?)?;
    let corrections = size.corrections(betas);
    let root = ((square.sqrt()? / corrections.1.sqrt())? + eps)?;
    (&*mean / corrections.0)? / root
}

/// Returns a running mean with one more value.
fn mixed(mean: &Tensor, beta: f64, value: &Tensor) -> Result<Tensor> {
    (mean * beta)? + (value * (1.0 - beta))?
}
