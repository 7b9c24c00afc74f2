//! The layers, one file each.

mod activation;
mod dropout;
mod linear;

pub use activation::Activation;
pub(super) use dropout::Dropout;
pub(super) use linear::Linear;

/// Whether a network is learning or being used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Training: dropout drops.
    Train {
        /// The run's seed.
        seed: u64,
        /// The step over all epochs, from 0.
        step: u64,
        /// Where in the global minibatch these rows begin, so that masks do not depend on how it is split over replicas.
        first_row: usize,
    },
    /// Prediction: nothing is random.
    Eval,
}
