//! Losses of a network's outputs against their targets.

mod classes;
mod corruption;
mod objective;
mod values;

use serde::{Deserialize, Serialize};

pub use self::classes::{ClassWeights, CrossEntropy};
pub use self::corruption::Corruption;
pub(super) use self::objective::{Objective, Target};
use crate::{
    Error, Result,
    model::{Link, Metric},
    tensor::LabelKind,
};

/// Distance of a network's outputs from their targets.
///
/// | Loss | Learns | PyTorch's name | Measured by |
/// |---|---|---|---|
/// | `cross_entropy` | one class a row | `cross_entropy` | accuracy |
/// | `squared_error` | means | `mse_loss` | root of the mean squared error |
/// | `absolute_error` | medians | `l1_loss` | mean absolute error |
/// | `huber` | means, far-off targets pulling less | `huber_loss` | root of the mean squared error |
/// | `quantile` | a quantile | | mean absolute error |
/// | `poisson` | rates of counts; the network gives their logarithm | `poisson_nll_loss` | root of the mean squared error |
/// | `binary_cross_entropy` | labels that a row has or has not, from logits | `binary_cross_entropy_with_logits` | share of labels told right |
///
/// All but cross-entropy are means over rows and outputs, each row counting as its weight says: `Σᵢ wᵢ Σⱼ loss(oᵢⱼ,
/// tᵢⱼ) / (outputs · Σᵢ wᵢ)`. They learn one number or several from the label column, or the input itself when the
/// columns name no label.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "job", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// Softmax cross-entropy, see [`CrossEntropy`].
    #[default]
    CrossEntropy,
    /// The square of the error.
    SquaredError,
    /// The size of the error.
    AbsoluteError,
    /// Half the square of the error up to `delta`, a line beyond.
    Huber {
        /// Above 0, in units of the target as the network sees it (scaled, where targets are).
        delta: f64,
    },
    /// The pinball loss.
    Quantile {
        /// Which quantile, in (0, 1).
        quantile: f64,
    },
    /// The negative log-likelihood of counts.
    Poisson,
    /// The negative log-likelihood of labels that are 0 or 1, or probabilities between.
    BinaryCrossEntropy,
}

impl Loss {
    pub(super) fn check(self) -> Result<()> {
        match self {
            Loss::Huber { delta } if !(delta > 0.0 && delta.is_finite()) => {
                Err(Error::param("loss.delta", delta, "a finite number above 0"))
            }
            Loss::Quantile { quantile } if !(quantile > 0.0 && quantile < 1.0) => {
                Err(Error::param("loss.quantile", quantile, "in (0, 1)"))
            }
            _ => Ok(()),
        }
    }

    /// Returns the function from an output to a value.
    pub fn link(self) -> Link {
        match self {
            Loss::Poisson => Link::Exp,
            Loss::BinaryCrossEntropy => Link::Sigmoid,
            _ => Link::Identity,
        }
    }

    /// Returns the kind of labels it needs.
    pub fn label_kind(self) -> LabelKind {
        match self {
            Loss::CrossEntropy => LabelKind::Class,
            Loss::Poisson => LabelKind::Counts,
            Loss::BinaryCrossEntropy => LabelKind::Probabilities,
            _ => LabelKind::Numbers,
        }
    }

    /// Returns the metric of epochs; `of_input` for reconstructions.
    pub(super) fn metric(self, of_input: bool) -> Metric {
        match self {
            Loss::CrossEntropy => Metric::Accuracy,
            Loss::BinaryCrossEntropy if !of_input => Metric::LabelAccuracy,
            Loss::AbsoluteError | Loss::Quantile { .. } => Metric::Mae,
            _ => Metric::Rmse,
        }
    }
}

#[cfg(test)]
mod tests;
