//! One layer to pre-train.

use serde::{Deserialize, Serialize};

use crate::{Error, Result, nn::ContrastiveDivergence};

/// More layers than this are surely not meant.
pub(super) const MOST_LAYERS: usize = 64;

/// Settings of one restricted Boltzmann machine of a stack.
///
/// | Name | Default | Purpose | Range |
/// |---|---|---|---|
/// | `hidden` | | features that it makes | at least 1 |
/// | `epochs` | 10 | passes over the rows | at least 1 |
/// | `learning_rate` | 0.05 | the step size; Gaussian visible units want a tenth of it or less | above 0 |
/// | `divergence` | CD-1 | how chains are run, momentum, decay, sparsity | see [`ContrastiveDivergence`] |
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RbmLayer {
    /// Hidden units: the features that it makes.
    pub hidden: usize,
    /// Passes over the rows.
    #[serde(default = "epochs")]
    pub epochs: usize,
    /// The step size.
    #[serde(default = "learning_rate")]
    pub learning_rate: f64,
    /// Sampling of its chains.
    #[serde(default)]
    pub divergence: ContrastiveDivergence,
}

fn epochs() -> usize {
    10
}

fn learning_rate() -> f64 {
    0.05
}

impl RbmLayer {
    /// Creates a machine of this many hidden units, the other settings as the table has them.
    pub fn new(hidden: usize) -> Self {
        let divergence = ContrastiveDivergence::default();
        Self { hidden, epochs: epochs(), learning_rate: learning_rate(), divergence }
    }

    pub(super) fn check(&self, position: usize) -> Result<()> {
        let name = |field: &str| format!("layers[{position}].{field}");
        if self.hidden == 0 || self.hidden > 1 << 24 {
            return Err(Error::param(name("hidden"), self.hidden, "1 to 16,777,216 units"));
        }
        if self.epochs == 0 {
            return Err(Error::param(name("epochs"), 0, "at least 1"));
        }
        if !(self.learning_rate > 0.0 && self.learning_rate.is_finite()) {
            return Err(Error::param(name("learning_rate"), self.learning_rate, "a finite number above 0"));
        }
        self.divergence.check().map_err(|error| match error {
            Error::Param { name: field, value, legal } => {
                Error::Param { name: name(&format!("divergence.{field}")), value, legal }
            }
            other => other,
        })
    }
}
