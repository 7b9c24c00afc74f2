//! Training: parameters, the loop, and those who watch it.
//!
//! Reading order is the order of execution: [`TrainParams`] say how, [`Trainer::fit`] reads the rows, holds some out,
//! shuffles, and steps; each step takes a minibatch through the loss, its gradients, and [`AdamW`]; [`Observer`]s are told.

mod loss;
mod observer;
mod optimizer;
mod params;
mod progress;
mod replica;
mod split;
mod trainer;

pub use loss::{ClassWeights, CrossEntropy};
pub use observer::{Observer, Run, StepRecord};
pub use optimizer::{AdamW, AdamWState, Moments};
pub use params::TrainParams;
pub use progress::Progress;
pub use trainer::Trainer;
