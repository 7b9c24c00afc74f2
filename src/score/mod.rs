//! Fitted pipelines put to use on the rows of the cluster.
//!
//! [`PipelineModel::transform`](crate::ml::PipelineModel::transform) gives a lazy frame, which the cluster's Python
//! workers compute where they have numpy and pyarrow; [`PipelineModel::predict`](crate::ml::PipelineModel::predict)
//! streams rows to this process and scores them;
//! [`PipelineModel::predict_into`](crate::ml::PipelineModel::predict_into) writes a table, by either way.

mod options;
mod predict;
mod predict_into;

pub use options::{ScoreOptions, Scored, Scoring};
