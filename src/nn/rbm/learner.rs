//! Training steps of a machine.

use rayon::prelude::*;

use super::{
    ContrastiveDivergence, Rbm, RbmSpec, VisibleUnits,
    sample::{ChainDraw, HALF_STEPS},
    squared_distance,
};
use crate::{
    Result,
    nn::{
        op::{
            add_columns,
            gemm::{Matrix, Threads, gemm},
            room, wide,
        },
        random::Purpose,
    },
};

/// Measurements of one step.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RbmStep {
    /// Rows in the minibatch.
    pub rows: usize,
    /// The mean squared difference of a value from its reconstruction, before the step.
    pub reconstruction_error: f64,
}

/// Trains a machine by contrastive divergence.
///
/// It holds the last update (for momentum), the chains where they persist, and buffers as large as the largest
/// minibatch so far. It is made for one machine and used with that one.
#[derive(Debug)]
pub struct RbmLearner {
    settings: ContrastiveDivergence,
    seed: u64,
    layer: u32,
    step: u64,
    update: Gradient,
    gradient: Gradient,
    /// Visible states of persistent chains.
    chains: Vec<f32>,
    /// Recent mean probabilities of the hidden units.
    activity: Vec<f32>,
    positive: Vec<f32>,
    negative: Vec<f32>,
    visible: Vec<f32>,
}

/// Of the mean log-likelihood, with respect to the parameters.
#[derive(Debug, Clone, Default)]
pub(super) struct Gradient {
    pub(super) weight: Vec<f32>,
    pub(super) visible_bias: Vec<f32>,
    pub(super) hidden_bias: Vec<f32>,
}

impl Gradient {
    fn zeros(spec: RbmSpec) -> Self {
        Self {
            weight: vec![0.0; spec.hidden * spec.visible],
            visible_bias: vec![0.0; spec.visible],
            hidden_bias: vec![0.0; spec.hidden],
        }
    }
}

impl RbmLearner {
    /// Prepares to train a machine of this size; `seed` decides every state that is drawn.
    ///
    /// # Errors
    /// [`Error::Param`](crate::Error::Param) for settings that are out of range.
    pub fn new(spec: RbmSpec, settings: ContrastiveDivergence, seed: u64) -> Result<Self> {
        Self::for_layer(spec, settings, seed, 0)
    }

    /// Creates the same for one machine of a stack, whose draws are its own. There are 4,096 layers.
    pub(crate) fn for_layer(spec: RbmSpec, settings: ContrastiveDivergence, seed: u64, layer: u32) -> Result<Self> {
        spec.check()?;
        settings.check()?;
        Ok(Self {
            settings,
            seed,
            layer: layer % ((1 << 24) / HALF_STEPS),
            step: 0,
            update: Gradient::zeros(spec),
            gradient: Gradient::zeros(spec),
            chains: Vec::new(),
            activity: Vec::new(),
            positive: Vec::new(),
            negative: Vec::new(),
            visible: Vec::new(),
        })
    }

    /// Trains on a minibatch of `(rows, visible)` values: adds `momentum` times the last update and `learning_rate`
    /// times the gradient. Without rows it changes nothing.
    ///
    /// # Errors
    /// [`Error::Network`](crate::Error::Network) for values that are not whole rows, or for a machine of another size.
    pub fn step(&mut self, rbm: &mut Rbm, visible: &[f32], learning_rate: f64, momentum: f64) -> Result<RbmStep> {
        let rows = rbm.rows(visible)?;
        let RbmSpec { visible: width, hidden, .. } = rbm.spec;
        if (width, hidden) != (self.gradient.visible_bias.len(), self.gradient.hidden_bias.len()) {
            let (v, h) = (self.gradient.visible_bias.len(), self.gradient.hidden_bias.len());
            return Err(super::misfit(format!("{width}-{hidden} units"), format!("the learner was made for {v}-{h}")));
        }
        if rows == 0 {
            return Ok(RbmStep::default());
        }
        let reconstruction_error = self.estimate(rbm, visible, rows);
        self.push_towards_sparsity(visible, rows);
        let [rate, momentum, decay] = [learning_rate, momentum, self.settings.weight_decay].map(|v| v as f32);
        let (update, gradient) = (&mut self.update, &self.gradient);
        follow(&mut rbm.weight, &mut update.weight, &gradient.weight, [rate, momentum, decay]);
        follow(&mut rbm.visible_bias, &mut update.visible_bias, &gradient.visible_bias, [rate, momentum, 0.0]);
        follow(&mut rbm.hidden_bias, &mut update.hidden_bias, &gradient.hidden_bias, [rate, momentum, 0.0]);
        self.step += 1;
        Ok(RbmStep { rows, reconstruction_error })
    }

    /// Fills in the gradient, and gives the reconstruction error.
    fn estimate(&mut self, rbm: &Rbm, rows_of: &[f32], rows: usize) -> f64 {
        let RbmSpec { visible: width, hidden, units } = rbm.spec;
        let settings = self.settings;
        let draw = ChainDraw { seed: self.seed, purpose: Purpose::Gibbs, layer: self.layer, step: self.step };
        let positive = room(&mut self.positive, rows * hidden);
        rbm.up(rows_of, rows, positive);

        // A chain starts at a row, or where it was left.
        if settings.persistent && self.chains.is_empty() {
            self.chains = rows_of.to_vec();
            draw.binarise(units, width, &mut self.chains);
        }
        let chains = if settings.persistent { self.chains.len() / width } else { rows };
        let visible = room(&mut self.visible, width * chains.max(rows));
        let negative = room(&mut self.negative, hidden * chains.max(rows));
        let error = {
            let made = &mut visible[..rows * width];
            rbm.down(positive, rows, made);
            squared_distance(rows_of, made) / (rows * width) as f64
        };
        let visible = &mut visible[..chains * width];
        let negative = &mut negative[..chains * hidden];
        match settings.persistent {
            true => rbm.up(&self.chains, chains, negative),
            false => negative.copy_from_slice(positive),
        }
        let sampled = settings.persistent || settings.sample_visible;
        for k in 0..settings.steps as u32 {
            draw.binary(2 * k, hidden, negative);
            rbm.down(negative, chains, visible);
            if sampled {
                draw.visible(units, 2 * k + 1, width, visible);
            }
            rbm.up(visible, chains, negative);
        }
        if settings.persistent {
            self.chains.copy_from_slice(visible);
        }

        let gradient = &mut self.gradient;
        let (data, chain) = (1.0 / rows as f32, -1.0 / chains as f32);
        // The products' shares go into the smaller factor.
        positive.iter_mut().for_each(|v| *v *= data);
        negative.iter_mut().for_each(|v| *v *= chain);
        for (h, v, n, accumulate) in [(&*positive, rows_of, rows, false), (&*negative, &*visible, chains, true)] {
            let (h, v) = (Matrix::rows(h, hidden), Matrix::rows(v, width));
            gemm([hidden, width, n], h.t(), v, (&mut gradient.weight, width), accumulate, Threads::All);
        }
        gradient.hidden_bias.fill(0.0);
        add_columns(&mut gradient.hidden_bias, positive);
        // Kept for sparsity, which counts the data only.
        let means = room(&mut self.positive, hidden);
        means.copy_from_slice(&gradient.hidden_bias);
        add_columns(&mut gradient.hidden_bias, negative);
        let bias = &mut gradient.visible_bias;
        bias.fill(0.0);
        add_columns(bias, visible);
        bias.iter_mut().for_each(|b| *b *= chain / data);
        add_columns(bias, rows_of);
        bias.iter_mut().for_each(|b| *b *= data);
        error
    }

    /// Adds the push towards the target, where there is one; the means of the hidden units lie in `positive`.
    fn push_towards_sparsity(&mut self, visible: &[f32], rows: usize) {
        let Some(sparsity) = self.settings.sparsity else { return };
        let Gradient { weight, visible_bias, hidden_bias } = &mut self.gradient;
        let means = &self.positive[..hidden_bias.len()];
        if self.activity.is_empty() {
            self.activity = means.to_vec();
        }
        let [target, cost, decay] = [sparsity.target, sparsity.cost, sparsity.decay].map(|v| v as f32);
        let inputs = room(&mut self.visible, visible_bias.len());
        inputs.fill(0.0);
        add_columns(inputs, visible);
        inputs.iter_mut().for_each(|v| *v /= rows as f32);
        let units = self.activity.iter_mut().zip(means).zip(hidden_bias).zip(weight.chunks_exact_mut(inputs.len()));
        for (((activity, mean), bias), weights) in units {
            *activity = decay * *activity + (1.0 - decay) * mean;
            let push = cost * (target - *activity);
            *bias += push;
            weights.iter_mut().zip(&*inputs).for_each(|(w, v)| *w += push * v);
        }
    }

    /// Returns the last step's gradient.
    #[cfg(test)]
    pub(super) fn gradient(&self) -> &Gradient {
        &self.gradient
    }
}

impl ChainDraw {
    /// Turns grey values into states before a chain that persists starts at them.
    fn binarise(self, units: VisibleUnits, width: usize, values: &mut [f32]) {
        if units == VisibleUnits::Bernoulli {
            self.binary(HALF_STEPS - 1, width, values);
        }
    }
}

/// `update ← momentum × update + rate × (gradient − decay × value)`, then `value ← value + update`.
fn follow(values: &mut [f32], update: &mut [f32], gradient: &[f32], [rate, momentum, decay]: [f32; 3]) {
    const SHARE: usize = 1 << 14;
    let shares = values.par_chunks_mut(SHARE).zip(update.par_chunks_mut(SHARE)).zip(gradient.par_chunks(SHARE));
    shares.for_each(|((values, update), gradient)| {
        wide(|| {
            for ((value, update), gradient) in values.iter_mut().zip(update).zip(gradient) {
                *update = momentum * *update + rate * (gradient - decay * *value);
                *value += *update;
            }
        });
    });
}
