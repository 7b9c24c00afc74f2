//! The whole update of one parameter in one pass over the processor's memory.

use std::cell::RefCell;

use candle_core::{CpuStorage, InplaceOp1, InplaceOp2, Layout, Result, Tensor, bail};
use rayon::prelude::*;

use super::rule::{Rule, StepSize};
use crate::nn::{Parameter, wide};

/// Values that one thread takes at a time: three or four such runs fit into a core's second-level cache.
const RUN: usize = 1 << 15;

/// Moves a parameter against its gradient.
pub(super) fn update(
    rule: &Rule,
    size: StepSize,
    parameter: &Parameter,
    gradient: &Tensor,
    slots: &mut [Vec<f32>],
) -> Result<()> {
    let pass = OnePass { rule, size, slots: RefCell::new(slots) };
    parameter.var.inplace_op2(&gradient.contiguous()?, &pass)
}

struct OnePass<'a> {
    rule: &'a Rule,
    size: StepSize,
    slots: RefCell<&'a mut [Vec<f32>]>,
}

impl InplaceOp2 for OnePass<'_> {
    fn name(&self) -> &'static str {
        "optimizer"
    }

    fn cpu_fwd(
        &self,
        parameter: &mut CpuStorage,
        parameter_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> Result<()> {
        let (CpuStorage::F32(theta), CpuStorage::F32(gradient)) = (parameter, gradient) else {
            bail!("parameters and gradients are single precision")
        };
        let (Some((start, end)), Some((from, to))) =
            (parameter_layout.contiguous_offsets(), gradient_layout.contiguous_offsets())
        else {
            bail!("parameters and gradients are contiguous")
        };
        let (theta, gradient) = (&mut theta[start..end], &gradient[from..to]);
        if gradient.len() != theta.len() {
            bail!("a gradient of {} values for a parameter of {}", gradient.len(), theta.len())
        }
        step(self.rule, &self.size, theta, gradient, &mut self.slots.borrow_mut())
    }
}

/// Calls `f` with the values of a parameter on the processor.
pub(super) fn with_values(parameter: &Parameter, f: impl FnOnce(&mut [f32]) -> Result<()>) -> Result<()> {
    struct Once<F>(RefCell<Option<F>>);
    impl<F: FnOnce(&mut [f32]) -> Result<()>> InplaceOp1 for Once<F> {
        fn name(&self) -> &'static str {
            "optimizer"
        }

        fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
            match (storage, layout.contiguous_offsets(), self.0.take()) {
                (CpuStorage::F32(values), Some((start, end)), Some(f)) => f(&mut values[start..end]),
                _ => bail!("parameters are contiguous and single precision"),
            }
        }
    }
    parameter.var.inplace_op1(&Once(RefCell::new(Some(f))))
}

pub(super) fn step(
    rule: &Rule,
    size: &StepSize,
    theta: &mut [f32],
    gradient: &[f32],
    slots: &mut [Vec<f32>],
) -> Result<()> {
    let clipping = size.clipping;
    let (rate, decay) = (size.learning_rate as f32, size.weight_decay as f32);
    match (*rule, slots) {
        (Rule::Adam { betas, eps, decoupled }, [mean, square]) => {
            let means = Means::new(betas, eps, size);
            let step_size = (size.learning_rate / size.corrections(betas).0) as f32;
            let keep = if decoupled { (1.0 - size.learning_rate * size.weight_decay) as f32 } else { 1.0 };
            let added = if decoupled { 0.0 } else { decay };
            two(theta, gradient, mean, square, |theta, g, m, v| {
                let g = clipping.apply(g) + added * *theta;
                *theta = keep * *theta - step_size * means.ratio(g, m, v);
            });
        }
        (Rule::Lamb { betas, eps }, [mean, square]) => {
            let means = Means::new(betas, eps, size);
            let correction = (1.0 / size.corrections(betas).0) as f32;
            let direction = |theta: f32, m: f32, v: f32| correction * m / means.root(v) + decay * theta;
            // The length of the direction must be known before the first value moves, so this one takes two passes.
            let squares = lengths(theta, gradient, mean, square, |theta, g, m, v| {
                means.ratio(clipping.apply(g), m, v);
                direction(theta, *m, *v)
            });
            let trust = if squares.0 > 0.0 && squares.1 > 0.0 { (squares.0 / squares.1).sqrt() } else { 1.0 };
            let step_size = (size.learning_rate * trust) as f32;
            two(theta, gradient, mean, square, |theta, _, m, v| *theta -= step_size * direction(*theta, *m, *v));
        }
        (Rule::Sgd { .. }, []) => {
            let run = |(theta, gradient): (&mut [f32], &[f32])| {
                theta.iter_mut().zip(gradient).for_each(|(theta, &g)| {
                    *theta -= rate * (clipping.apply(g) + decay * *theta);
                });
            };
            theta.par_chunks_mut(RUN).zip(gradient.par_chunks(RUN)).for_each(run);
        }
        (Rule::Sgd { momentum, nesterov }, [velocity]) => {
            let momentum = momentum as f32;
            one(theta, gradient, velocity, |theta, g, velocity| {
                let g = clipping.apply(g) + decay * *theta;
                *velocity = momentum * *velocity + g;
                *theta -= rate * if nesterov { g + momentum * *velocity } else { *velocity };
            });
        }
        (Rule::Adagrad { eps }, [square]) => {
            let eps = eps as f32;
            one(theta, gradient, square, |theta, g, square| {
                let g = clipping.apply(g) + decay * *theta;
                *square += g * g;
                *theta -= rate * g / (square.sqrt() + eps);
            });
        }
        (Rule::Rmsprop { alpha, eps, .. }, [square]) => {
            let (alpha, rest, eps) = (alpha as f32, (1.0 - alpha) as f32, eps as f32);
            one(theta, gradient, square, |theta, g, square| {
                let g = clipping.apply(g) + decay * *theta;
                *square = alpha * *square + rest * g * g;
                *theta -= rate * g / (square.sqrt() + eps);
            });
        }
        (Rule::Rmsprop { alpha, momentum, eps }, [square, velocity]) => {
            let (alpha, rest, eps, momentum) = (alpha as f32, (1.0 - alpha) as f32, eps as f32, momentum as f32);
            two(theta, gradient, square, velocity, |theta, g, square, velocity| {
                let g = clipping.apply(g) + decay * *theta;
                *square = alpha * *square + rest * g * g;
                *velocity = momentum * *velocity + g / (square.sqrt() + eps);
                *theta -= rate * *velocity;
            });
        }
        (rule, slots) => bail!("{rule:?} cannot use {} values for each to learn", slots.len()),
    }
    Ok(())
}

/// Adam's running means and what is made of them.
#[derive(Clone, Copy)]
struct Means {
    betas: (f32, f32),
    rests: (f32, f32),
    scale: f32,
    eps: f32,
}

impl Means {
    fn new(betas: (f64, f64), eps: f64, size: &StepSize) -> Self {
        Self {
            betas: (betas.0 as f32, betas.1 as f32),
            rests: ((1.0 - betas.0) as f32, (1.0 - betas.1) as f32),
            scale: (1.0 / size.corrections(betas).1.sqrt()) as f32,
            eps: eps as f32,
        }
    }

    /// Takes in a gradient and gives its mean over the root of its mean square, the mean uncorrected.
    #[inline(always)]
    fn ratio(&self, g: f32, m: &mut f32, v: &mut f32) -> f32 {
        *m = self.betas.0 * *m + self.rests.0 * g;
        *v = self.betas.1 * *v + self.rests.1 * g * g;
        *m / self.root(*v)
    }

    #[inline(always)]
    fn root(&self, v: f32) -> f32 {
        v.sqrt() * self.scale + self.eps
    }
}

/// Visits every value with its gradient and one value of state.
fn one(theta: &mut [f32], gradient: &[f32], a: &mut [f32], each: impl Fn(&mut f32, f32, &mut f32) + Sync) {
    if theta.len() <= RUN {
        return wide(|| theta.iter_mut().zip(gradient).zip(a).for_each(|((theta, &g), a)| each(theta, g, a)));
    }
    theta.par_chunks_mut(RUN).zip(gradient.par_chunks(RUN)).zip(a.par_chunks_mut(RUN)).for_each(
        |((theta, gradient), a)| {
            wide(|| theta.iter_mut().zip(gradient).zip(a).for_each(|((theta, &g), a)| each(theta, g, a)));
        },
    );
}

/// Visits every value with its gradient and two values of state.
fn two(
    theta: &mut [f32],
    gradient: &[f32],
    a: &mut [f32],
    b: &mut [f32],
    each: impl Fn(&mut f32, f32, &mut f32, &mut f32) + Sync,
) {
    if theta.len() <= RUN {
        let values = theta.iter_mut().zip(gradient).zip(a).zip(b);
        return wide(|| values.for_each(|(((theta, &g), a), b)| each(theta, g, a, b)));
    }
    let runs = theta.par_chunks_mut(RUN).zip(gradient.par_chunks(RUN));
    runs.zip(a.par_chunks_mut(RUN)).zip(b.par_chunks_mut(RUN)).for_each(|(((theta, gradient), a), b)| {
        wide(|| theta.iter_mut().zip(gradient).zip(a).zip(b).for_each(|(((theta, &g), a), b)| each(theta, g, a, b)));
    });
}

/// Visits every value likewise, and gives the summed squares of the values and of what `each` makes of them. Runs are
/// added up in their order, so that the sums do not depend on the threads.
fn lengths(
    theta: &[f32],
    gradient: &[f32],
    a: &mut [f32],
    b: &mut [f32],
    each: impl Fn(f32, f32, &mut f32, &mut f32) -> f32 + Sync,
) -> (f64, f64) {
    let runs = theta.par_chunks(RUN).zip(gradient.par_chunks(RUN));
    let sums: Vec<(f64, f64)> = runs
        .zip(a.par_chunks_mut(RUN))
        .zip(b.par_chunks_mut(RUN))
        .map(|(((theta, gradient), a), b)| {
            let mut sums = (0.0, 0.0);
            for (((&theta, &g), a), b) in theta.iter().zip(gradient).zip(a).zip(b) {
                let made = f64::from(each(theta, g, a, b));
                sums.0 += f64::from(theta) * f64::from(theta);
                sums.1 += made * made;
            }
            sums
        })
        .collect();
    sums.iter().fold((0.0, 0.0), |all, run| (all.0 + run.0, all.1 + run.1))
}
