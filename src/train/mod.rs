//! Training: parameters, the loop, and those who watch it.
//!
//! Reading order is the order of execution: [`TrainParams`] say how, [`Trainer::fit`] reads the rows, holds some out,
//! shuffles, and steps while more arrive; each step takes a minibatch through the loss, its gradients, and the
//! [`Optimizer`]; [`Observer`]s follow the run.

pub(crate) mod checkpoint;
mod clip;
mod feed;
pub(crate) mod loss;
mod loss_scale;
mod micro_batch;
mod observer;
pub(crate) mod optimizer;
mod params;
#[cfg(feature = "plots")]
mod plot;
pub(crate) mod pretrain;
mod reading;
mod replica;
mod replicas;
mod row_sum;
pub(crate) mod schedule;
mod sparse;
mod split;
mod stop;
mod trainer;

pub use checkpoint::{CheckpointPlace, Checkpoints};
pub use clip::Clip;
pub(crate) use loss::CrossEntropy;
pub use loss::{ClassWeights, Corruption, Loss};
pub use micro_batch::MicroBatch;
#[cfg(feature = "progress")]
pub use observer::ProgressObserver;
pub use observer::{Observer, Run, StepParts, StepRecord, TensorBoard};
pub use optimizer::{DecayScope, Optimizer};
pub(crate) use optimizer::{OptimizerState, Updater};
pub use params::TrainParams;
#[cfg(feature = "plots")]
pub use plot::Plot;
pub(crate) use pretrain::{Pretrained, Pretrainer, RbmLayer};
pub use schedule::Schedule;
pub(crate) use schedule::{Plateau, Position};
pub use stop::{EarlyStopping, Stop};
pub use trainer::Trainer;
