//! Search for the best params: candidates of a grid or drawn at random, each evaluated on rows that it was not trained
//! on.
//!
//! Rows are hashed on the cluster and divided locally into folds of equal size. They are read once, into the local
//! cache that [`TrainParams`](crate::train::TrainParams) sets, and all candidates train from there, as many at a time
//! as the estimator has devices. The best one is trained again on all rows.
//!
//! A [`CrossValidator`] is an estimator too. As the last stage of a pipeline it tunes the network behind stages that
//! are fitted once to all rows:
//!
//! ```no_run
//! # async fn example(spark: tinderbox::session::Session) -> tinderbox::Result<()> {
//! use tinderbox::{ml::evaluation::MulticlassClassificationEvaluator, prelude::*, tuning::{CrossValidator, ParamGrid}};
//!
//! let network = NeuralClassifier::new(Network::mlp([16])).epochs(30);
//! let grid = ParamGrid::new().add("stepSize", [0.001, 0.01]).add("batchSize", [16, 64]);
//! let tuned = CrossValidator::new(network, grid, MulticlassClassificationEvaluator::default()).num_folds(3);
//! let model = tuned.fit_frame(&spark.table("iris_prepared")).await?;
//! println!("{}", model.results);
//! # Ok(()) }
//! ```

mod cross_validator;
mod folds;
mod grid;
mod results;
mod search;

pub use self::{
    cross_validator::{CrossValidator, TrainValidationSplit, Tuned},
    grid::{ParamGrid, RandomSearch},
    results::{CandidateResult, TuningResults},
};
