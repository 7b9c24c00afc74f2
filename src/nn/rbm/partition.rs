//! The logarithm of the partition function, by enumeration and by annealed importance sampling.

use super::{
    Rbm, VisibleUnits,
    sample::{ChainDraw, HALF_STEPS},
    softplus,
};
use crate::{Error, Result, nn::random::Purpose};

/// Enumeration looks at 2²⁵ states at most.
const MOST_UNITS: usize = 25;
/// States looked at together.
const STATES_AT_ONCE: usize = 1 << 10;

/// Settings of [`Rbm::anneal`].
///
/// | Name | Default | Purpose | Range |
/// |---|---|---|---|
/// | `chains` | 100 | independent runs, whose weights are averaged | at least 1 |
/// | `temperatures` | 1000 | distributions on the way from independent units to the machine | at least 1 |
/// | `seed` | 42 | decides every state that is drawn | |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Annealing {
    /// Independent runs.
    pub chains: usize,
    /// Distributions on the way, evenly spaced.
    pub temperatures: usize,
    /// Decides every state that is drawn.
    pub seed: u64,
}

impl Default for Annealing {
    fn default() -> Self {
        Self { chains: 100, temperatures: 1000, seed: 42 }
    }
}

/// An estimate of the logarithm of the partition function.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogPartition {
    /// The estimate, in nats.
    pub value: f64,
    /// Its standard error: that of the mean weight, over the mean weight. 0 with a single chain says nothing.
    pub standard_error: f64,
}

impl Rbm {
    /// Sums over all states of the smaller layer (of the hidden one, when visible units are Gaussian).
    ///
    /// # Errors
    /// [`Error::Param`] when that layer has more than 25 units; use [`Rbm::anneal`] for those.
    pub fn log_partition(&self) -> Result<f64> {
        let hidden_side = self.spec.units == VisibleUnits::Gaussian || self.spec.hidden <= self.spec.visible;
        let (name, units) = if hidden_side { ("hidden", self.spec.hidden) } else { ("visible", self.spec.visible) };
        if units > MOST_UNITS {
            let legal = format!("at most {MOST_UNITS} units to enumerate; anneal a larger machine");
            return Err(Error::param(name, units, legal));
        }
        let mut sum = LogSum::default();
        let mut states = Vec::new();
        let mut inputs = Vec::new();
        for first in (0..1usize << units).step_by(STATES_AT_ONCE) {
            let rows = STATES_AT_ONCE.min((1 << units) - first);
            states.clear();
            states.extend((first..first + rows).flat_map(|s| (0..units).map(move |i| (s >> i & 1) as f32)));
            if !hidden_side {
                self.free_energy(&states)?.into_iter().for_each(|energy| sum.add(-energy));
                continue;
            }
            inputs.resize(rows * self.spec.visible, 0.0);
            self.project_down(&states, rows, &mut inputs);
            for (h, u) in states.chunks_exact(units).zip(inputs.chunks_exact(self.spec.visible)) {
                sum.add(dot(h, &self.hidden_bias) + self.visible_sum(u));
            }
        }
        Ok(sum.value())
    }

    /// Returns the logarithm of the sum (or integral) over visible states, given `u = hW`.
    fn visible_sum(&self, u: &[f32]) -> f64 {
        let each = u.iter().zip(&self.visible_bias).map(|(&u, &b)| (f64::from(u), f64::from(b)));
        match self.spec.units {
            VisibleUnits::Bernoulli => each.map(|(u, b)| softplus(u + b)).sum(),
            VisibleUnits::Gaussian => each.map(|(u, b)| u * b + 0.5 * u * u + HALF_LOG_TAU).sum(),
        }
    }

    /// Estimates the logarithm of the partition function by annealed importance sampling (Neal 2001; Salakhutdinov and
    /// Murray, "On the quantitative analysis of deep belief networks", 2008), from the machine without links, whose
    /// partition function is known, to the machine itself.
    ///
    /// # Errors
    /// [`Error::Param`] for no chains or no temperatures.
    pub fn anneal(&self, settings: Annealing) -> Result<LogPartition> {
        let Annealing { chains, temperatures, seed } = settings;
        for (name, value) in [("chains", chains), ("temperatures", temperatures)] {
            if value == 0 {
                return Err(Error::param(name, value, "at least 1"));
            }
        }
        let (width, hidden, units) = (self.spec.visible, self.spec.hidden, self.spec.units);
        let draw = |step: usize| ChainDraw { seed, purpose: Purpose::Annealing, layer: 0, step: step as u64 };
        let nothing = vec![0.0; width];
        let known = self.visible_sum(&nothing) + hidden as f64 * std::f64::consts::LN_2;
        let mut visible = vec![0.0; chains * width];
        self.means(&mut visible);
        draw(0).visible(units, HALF_STEPS - 1, width, &mut visible);
        let mut inputs = vec![0.0; chains * hidden];
        let mut weights = vec![0.0f64; chains];
        for t in 1..=temperatures {
            let [before, now] = [t - 1, t].map(|t| t as f64 / temperatures as f64);
            self.project_up(&visible, chains, &mut inputs);
            for (weight, inputs) in weights.iter_mut().zip(inputs.chunks_exact(hidden)) {
                let step = |&x: &f32| softplus(now * f64::from(x)) - softplus(before * f64::from(x));
                *weight += inputs.iter().map(step).sum::<f64>();
            }
            if t == temperatures {
                break;
            }
            let cool = now as f32;
            inputs.iter_mut().for_each(|x| *x *= cool);
            super::sigmoid(&mut inputs, hidden);
            draw(t).binary(0, hidden, &mut inputs);
            self.project_down(&inputs, chains, &mut visible);
            visible.iter_mut().for_each(|x| *x *= cool);
            self.means(&mut visible);
            draw(t).visible(units, 1, width, &mut visible);
        }
        let mut sum = LogSum::default();
        weights.iter().for_each(|&weight| sum.add(weight));
        let mean = sum.value() - (chains as f64).ln();
        let variance = weights.iter().map(|w| ((w - mean).exp() - 1.0).powi(2)).sum::<f64>() / chains as f64;
        Ok(LogPartition { value: known + mean, standard_error: (variance / chains as f64).sqrt() })
    }
}

/// `½ log 2π`.
const HALF_LOG_TAU: f64 = 0.918_938_533_204_672_8;

fn dot(x: &[f32], y: &[f32]) -> f64 {
    x.iter().zip(y).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum()
}

/// The logarithm of a sum of exponentials, term by term.
#[derive(Debug)]
struct LogSum {
    most: f64,
    sum: f64,
}

impl Default for LogSum {
    fn default() -> Self {
        Self { most: f64::NEG_INFINITY, sum: 0.0 }
    }
}

impl LogSum {
    fn add(&mut self, x: f64) {
        if x <= self.most {
            self.sum += (x - self.most).exp();
        } else {
            self.sum = self.sum * (self.most - x).exp() + 1.0;
            self.most = x;
        }
    }

    fn value(&self) -> f64 {
        self.most + self.sum.ln()
    }
}
