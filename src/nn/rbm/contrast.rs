//! Settings of a machine's training.

use serde::{Deserialize, Serialize};

use super::sample::HALF_STEPS;
use crate::{Error, Result};

/// Contrastive divergence (Hinton, "Training products of experts by minimizing contrastive divergence", 2002), or its
/// persistent form (Tieleman, "Training restricted Boltzmann machines using approximations to the likelihood gradient",
/// 2008).
///
/// | Name | Default | Purpose | Range |
/// |---|---|---|---|
/// | `steps` | 1 | Gibbs steps of a chain before it is read, the k of CD-k | 1 to 1000 |
/// | `persistent` | no | chains continue from minibatch to minibatch in place of starting at the rows | |
/// | `sample_visible` | no | visible units are sampled in place of having their means; persistent chains always are | |
/// | `momentum` | 0.9 | share of the last update that is added to the next | `[0, 1)` |
/// | `initial_momentum` | 0.5 | the same in the first epochs | `[0, 1)` |
/// | `initial_epochs` | 5 | how many epochs are the first | |
/// | `weight_decay` | 0.0002 | shrinks weights, not biases, by learning rate × this a step | at least 0 |
/// | `sparsity` | | pushes hidden units towards being on for a given share of the rows | |
///
/// The defaults are those of the practical guide.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContrastiveDivergence {
    /// Gibbs steps of a chain, the k of CD-k.
    pub steps: usize,
    /// True if chains continue from minibatch to minibatch.
    pub persistent: bool,
    /// True if visible units are sampled in chains that start at the rows.
    pub sample_visible: bool,
    /// The share of the last update that is added to the next.
    pub momentum: f64,
    /// The same in the first epochs.
    pub initial_momentum: f64,
    /// Number of initial epochs.
    pub initial_epochs: usize,
    /// Decay of the weights.
    pub weight_decay: f64,
    /// Target activity of the hidden units.
    pub sparsity: Option<Sparsity>,
}

impl Default for ContrastiveDivergence {
    fn default() -> Self {
        Self {
            steps: 1,
            persistent: false,
            sample_visible: false,
            momentum: 0.9,
            initial_momentum: 0.5,
            initial_epochs: 5,
            weight_decay: 2e-4,
            sparsity: None,
        }
    }
}

/// A push of each hidden unit's mean probability towards a target (section 11 of the practical guide: the cross-entropy
/// of the two, the mean being that of recent minibatches).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sparsity {
    /// The share of rows for which a unit is to be on, in `(0, 1)`; 0.01 to 0.1 is usual.
    pub target: f64,
    /// Strength of the push, at least 0.
    pub cost: f64,
    /// Share of the mean that each minibatch leaves, in `[0, 1)`; 0.95 unless set.
    #[serde(default = "decay")]
    pub decay: f64,
}

fn decay() -> f64 {
    0.95
}

impl Sparsity {
    /// Creates a push towards `target` of strength `cost`.
    pub fn new(target: f64, cost: f64) -> Self {
        Self { target, cost, decay: decay() }
    }
}

impl ContrastiveDivergence {
    /// Creates the usual settings with `k` Gibbs steps.
    pub fn steps(k: usize) -> Self {
        Self { steps: k, ..Self::default() }
    }

    /// Creates the usual settings with chains that persist, `k` Gibbs steps a minibatch.
    pub fn persistent(k: usize) -> Self {
        Self { persistent: true, ..Self::steps(k) }
    }

    /// Returns the momentum of an epoch, counted from 0.
    pub fn momentum_at(&self, epoch: usize) -> f64 {
        if epoch < self.initial_epochs { self.initial_momentum } else { self.momentum }
    }

    /// Checks every value.
    ///
    /// # Errors
    /// [`Error::Param`] with the name, the value and what is legal.
    pub fn check(&self) -> Result<()> {
        // Each step draws for both layers, and all of a chain's draws have different indices.
        if !(1..=1000).contains(&self.steps) {
            return Err(Error::param("steps", self.steps, "1 to 1000"));
        }
        const { assert!(2 * 1000 < HALF_STEPS) };
        let share = |name, value: f64| match (0.0..1.0).contains(&value) {
            true => Ok(()),
            false => Err(Error::param(name, value, "in [0, 1)")),
        };
        let size = |name, value: f64| match value >= 0.0 && value.is_finite() {
            true => Ok(()),
            false => Err(Error::param(name, value, "a finite number of at least 0")),
        };
        share("momentum", self.momentum)?;
        share("initial_momentum", self.initial_momentum)?;
        size("weight_decay", self.weight_decay)?;
        let Some(Sparsity { target, cost, decay }) = self.sparsity else { return Ok(()) };
        if !(target > 0.0 && target < 1.0) {
            return Err(Error::param("sparsity.target", target, "in (0, 1)"));
        }
        size("sparsity.cost", cost)?;
        share("sparsity.decay", decay)
    }
}
