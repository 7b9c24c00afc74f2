//! Rows copied together for one step.

use super::Values;

/// Some rows, copied together.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Minibatch {
    /// Inputs of the network.
    pub inputs: Vec<MinibatchInput>,
    /// Targets of its outputs.
    pub targets: Targets,
    /// The weight of each row.
    pub weights: Vec<f32>,
    /// Where each row is among those that were gathered from, for errors.
    pub numbers: Vec<u32>,
}

/// One input of a minibatch.
#[derive(Debug, Clone, PartialEq)]
pub struct MinibatchInput {
    /// The column's name.
    pub name: String,
    /// `rows × shape` values, row-major.
    pub values: Values,
    /// The dimensions of each row. Of sequences the first is the longest's length; shorter ones are padded with zeros.
    pub shape: Vec<usize>,
    /// The steps of each sequence; none when all rows are of one shape anyway.
    pub lengths: Option<Vec<u32>>,
}

/// Targets of a network's outputs.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Targets {
    /// Nothing that a column holds: it may be the input itself.
    #[default]
    None,
    /// The class of each row.
    Classes(Vec<u32>),
    /// Numbers to come close to.
    Numbers {
        /// `rows × width` values, row-major, before their offset is removed.
        values: Vec<f64>,
        /// Values per row.
        width: usize,
    },
}

impl Minibatch {
    /// Returns the number of rows.
    pub fn rows(&self) -> usize {
        self.weights.len()
    }

    /// Returns the class of each row; none when the targets are no classes.
    pub fn classes(&self) -> &[u32] {
        match &self.targets {
            Targets::Classes(classes) => classes,
            Targets::None | Targets::Numbers { .. } => &[],
        }
    }
}
