//! Which optimizer, and the numbers of one of its steps.

use serde::{Deserialize, Serialize};

use crate::{Error, Result, train::clip::Clipping};

/// Rule from gradients to steps. `learning_rate`, `weight_decay`, `betas` and `eps` are those of
/// [`TrainParams`](crate::train::TrainParams).
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "job", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Optimizer {
    /// Adam with decoupled weight decay (Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019), as
    /// PyTorch's `AdamW`.
    #[default]
    Adamw,
    /// Adam (Kingma and Ba, ICLR 2015) as PyTorch's `Adam`: weight decay is added to the gradient.
    Adam,
    /// Stochastic gradient descent as PyTorch's `SGD`: weight decay is added to the gradient.
    Sgd {
        /// Share of the last step's direction that is kept, in [0, 1); 0 keeps none.
        #[serde(default)]
        momentum: f64,
        /// True to look ahead along the momentum (Sutskever et al., ICML 2013), which must then be above 0.
        #[serde(default)]
        nesterov: bool,
    },
    /// Adagrad (Duchi, Hazan and Singer, JMLR 2011) as PyTorch's `Adagrad`: weight decay is added to the gradient.
    Adagrad {
        /// Initial sums of squares, finite and at least 0.
        #[serde(default)]
        initial: f64,
    },
    /// RMSprop (Hinton, lecture 6e) as PyTorch's `RMSprop`: weight decay is added to the gradient.
    Rmsprop {
        /// The memory of the gradients' squares, in [0, 1); PyTorch's default is 0.99.
        alpha: f64,
        /// Share of the last step's direction that is kept, in [0, 1); 0 keeps none.
        #[serde(default)]
        momentum: f64,
    },
    /// LAMB (You et al., "Large batch optimization for deep learning", ICLR 2020, algorithm 2, with the identity for
    /// φ): AdamW's direction, as long as the parameter itself times the learning rate. A parameter or a direction of
    /// length 0 is not scaled.
    Lamb,
}

/// Which parameters decay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "job", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum DecayScope {
    /// Parameters of two dimensions or more: not biases, nor the scales and shifts of normalisation.
    #[default]
    Weights,
    /// All, as PyTorch does unless told otherwise.
    All,
}

impl DecayScope {
    pub(super) fn includes(self, rank: usize) -> bool {
        self == DecayScope::All || rank > 1
    }
}

impl Optimizer {
    /// Returns the names of the values it keeps for every number to learn, in the order of
    /// [`OptimizerState`](crate::train::OptimizerState).
    pub fn slots(&self) -> &'static [&'static str] {
        match *self {
            Optimizer::Adamw | Optimizer::Adam | Optimizer::Lamb => &["mean", "square"],
            Optimizer::Sgd { momentum: 0.0, .. } => &[],
            Optimizer::Sgd { .. } => &["momentum"],
            Optimizer::Adagrad { .. } => &["square"],
            Optimizer::Rmsprop { momentum: 0.0, .. } => &["square"],
            Optimizer::Rmsprop { .. } => &["square", "momentum"],
        }
    }

    /// Returns the initial value of every slot.
    pub(super) fn initial(&self) -> f32 {
        if let Optimizer::Adagrad { initial } = *self { initial as f32 } else { 0.0 }
    }

    pub(in crate::train) fn check(&self) -> Result<()> {
        let unit = |name: &str, value: f64| match (0.0..1.0).contains(&value) {
            true => Ok(()),
            false => Err(Error::param(name, value, "in [0, 1)")),
        };
        match *self {
            Optimizer::Adamw | Optimizer::Adam | Optimizer::Lamb => Ok(()),
            Optimizer::Sgd { momentum, nesterov } => {
                unit("optimizer.momentum", momentum)?;
                match nesterov && momentum == 0.0 {
                    true => Err(Error::param("optimizer.momentum", momentum, "above 0 with `nesterov`")),
                    false => Ok(()),
                }
            }
            Optimizer::Adagrad { initial } if initial.is_finite() && initial >= 0.0 => Ok(()),
            Optimizer::Adagrad { initial } => {
                Err(Error::param("optimizer.initial", initial, "a finite number of at least 0"))
            }
            Optimizer::Rmsprop { alpha, momentum } => {
                unit("optimizer.alpha", alpha)?;
                unit("optimizer.momentum", momentum)
            }
        }
    }

    pub(super) fn rule(&self, betas: (f64, f64), eps: f64) -> Rule {
        match *self {
            Optimizer::Adamw => Rule::Adam { betas, eps, decoupled: true },
            Optimizer::Adam => Rule::Adam { betas, eps, decoupled: false },
            Optimizer::Lamb => Rule::Lamb { betas, eps },
            Optimizer::Sgd { momentum, nesterov } => Rule::Sgd { momentum, nesterov },
            Optimizer::Adagrad { .. } => Rule::Adagrad { eps },
            Optimizer::Rmsprop { alpha, momentum } => Rule::Rmsprop { alpha, momentum, eps },
        }
    }
}

/// An optimizer with all its settings.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rule {
    Adam { betas: (f64, f64), eps: f64, decoupled: bool },
    Lamb { betas: (f64, f64), eps: f64 },
    Sgd { momentum: f64, nesterov: bool },
    Adagrad { eps: f64 },
    Rmsprop { alpha: f64, momentum: f64, eps: f64 },
}

impl Rule {
    /// Returns whether a value's step follows from its own gradient and state alone.
    pub(super) fn is_elementwise(&self) -> bool {
        !matches!(self, Rule::Lamb { .. })
    }

    /// Returns the effect of steps without a gradient on a value, where most of them need not be taken one by one;
    /// `decay` is the weight decay of the steps.
    pub(super) fn idling(&self, decay: f64) -> Option<Idling> {
        let steps =
            |share: f64| if share > 0.0 { (f64::from(NEGLIGIBLE).ln() / share.ln()).ceil() as usize } else { 1 };
        let (remembered, shrink) = match *self {
            Rule::Adam { betas, decoupled, .. } if decoupled || decay == 0.0 => {
                let share = betas.0 / betas.1.sqrt();
                (if share < 1.0 { steps(share) } else { return None }, vec![betas.0, betas.1])
            }
            _ if decay != 0.0 => return None,
            Rule::Sgd { momentum: 0.0, .. } => (0, vec![]),
            Rule::Sgd { momentum, .. } => (steps(momentum), vec![momentum]),
            Rule::Adagrad { .. } => (0, vec![1.0]),
            Rule::Rmsprop { alpha, momentum: 0.0, .. } => (0, vec![alpha]),
            Rule::Rmsprop { alpha, momentum, .. } => (steps(momentum), vec![alpha, momentum]),
            Rule::Adam { .. } | Rule::Lamb { .. } => return None,
        };
        Some(Idling { remembered, shrink })
    }

    /// Returns the share of a value that is left by a step's decoupled weight decay.
    pub(super) fn kept(&self, size: &StepSize) -> f64 {
        match self {
            Rule::Adam { decoupled: true, .. } => 1.0 - size.learning_rate * size.weight_decay,
            _ => 1.0,
        }
    }
}

/// Share of a running mean below which it no longer moves a value of single precision.
const NEGLIGIBLE: f32 = f32::EPSILON / 2.0;

/// Steps of a value that has no gradient.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Idling {
    /// Steps after which the running means no longer move the value.
    pub(super) remembered: usize,
    /// Share of each slot that a step leaves.
    pub(super) shrink: Vec<f64>,
}

/// The numbers of one step of one parameter.
#[derive(Debug, Clone, Copy)]
pub(super) struct StepSize {
    /// From 1.
    pub(super) step: u64,
    pub(super) learning_rate: f64,
    pub(super) weight_decay: f64,
    pub(super) clipping: Clipping,
}

impl StepSize {
    /// Returns the weight that the means of `betas` still lack: `1 - βᵗ` each.
    pub(super) fn corrections(&self, betas: (f64, f64)) -> (f64, f64) {
        let now = i32::try_from(self.step).unwrap_or(i32::MAX);
        (1.0 - betas.0.powi(now), 1.0 - betas.1.powi(now))
    }
}
