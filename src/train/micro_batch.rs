//! Gradient accumulation.

use serde::{Deserialize, Serialize};

/// Largest number of rows of a step that each replica computes at once: gradient accumulation.
///
/// A step's gradients are added up over its parts before the one step that they give, so that its rows need not fit on
/// the device together. The weights end the same to rounding, but for batch normalisation, whose statistics are those
/// of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "job", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum MicroBatch {
    /// All that fall to it.
    #[default]
    Whole,
    /// At most so many, at least 1.
    Rows(usize),
    /// All at first; half as many from then on, with a warning, whenever a device's memory is full. The last bits of
    /// the weights then depend on the memory that was free.
    Fitting,
}
