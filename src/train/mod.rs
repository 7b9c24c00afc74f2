//! Training: parameters, the loop, and those who watch it.
//!
//! Reading order is the order of execution: [`TrainParams`] say how, [`Trainer::fit`] reads the rows, holds some out,
//! shuffles, and steps while more arrive; each step takes a minibatch through the loss, its gradients, and the [`Optimizer`];
//! [`Observer`]s follow the run.

mod checkpoint;
mod clip;
mod feed;
mod loss;
mod loss_scale;
mod micro_batch;
mod observer;
mod optimizer;
mod params;
mod plot;
mod pretrain;
mod reading;
mod replica;
mod replicas;
mod row_sum;
mod schedule;
mod sparse;
mod split;
mod stop;
mod trainer;

pub use checkpoint::{CheckpointPlace, Checkpoints, Saved};
pub use clip::Clip;
pub use loss::{ClassWeights, Corruption, CrossEntropy, Loss};
pub use micro_batch::MicroBatch;
pub use observer::{Observer, Progress, Run, StepParts, StepRecord, TensorBoard};
pub use optimizer::{Decayed, Optimizer, OptimizerState, Updater};
pub use params::TrainParams;
pub use plot::Plot;
pub use pretrain::{Pretrained, Pretrainer, RbmLayer};
pub use schedule::{Plateau, Position, Schedule};
pub use stop::{EarlyStopping, Stop};
pub use trainer::Trainer;
