//! The layers' settings, one file each, and how any device computes them.

mod activation;
pub(super) mod attention;
mod block;
pub(super) mod lookup;
pub(super) mod portable;
pub(super) mod recurrent;
mod window;

pub use activation::Activation;
pub use attention::Attention;
pub(super) use attention::AttentionBlock;
pub(super) use block::{LayerRun, NormStats};
pub use lookup::Embedding;
pub use recurrent::{Recurrent, SequenceOutput};
pub(super) use window::channels;
pub use window::{Conv, ConvTranspose, Pool};

/// Mode of a network: training or evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Training: dropout drops, batch normalisation looks at the minibatch.
    Train {
        /// The run's seed.
        seed: u64,
        /// The step over all epochs, from 0.
        step: u64,
        /// Where in the global minibatch these rows begin, so that masks do not depend on how it is split over
        /// replicas.
        first_row: usize,
    },
    /// Prediction: nothing is random.
    Eval,
}
