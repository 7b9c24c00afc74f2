#![doc = include_str!("../README.md")]
// Without networks some of the parts that they share with the client have no user.
#![cfg_attr(not(feature = "train"), allow(dead_code, unused_imports))]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(missing_docs)]
#![warn(missing_debug_implementations, unreachable_pub)]

pub mod advanced;
#[cfg(any(feature = "blocking", test))]
pub mod blocking;
pub mod connect;
pub mod dataframe;
mod error;
#[cfg(feature = "train")]
pub mod estimator;
#[cfg(feature = "files")]
pub mod files;
#[cfg(feature = "job")]
pub mod job;
pub mod ml;
#[cfg(feature = "train")]
pub mod model;
#[cfg(feature = "train")]
pub mod nn;
mod number;
pub mod prelude;
#[cfg(feature = "job")]
pub mod report;
#[cfg(feature = "train")]
mod score;
pub mod session;
pub mod stream;
pub mod streaming;
#[cfg(feature = "train")]
pub mod table;
#[cfg(feature = "train")]
pub mod tensor;
#[cfg(feature = "train")]
pub mod train;
#[cfg(feature = "train")]
pub mod tuning;

/// Arrow, in the version of this crate's batches.
pub use arrow;
/// candle, in the version of this crate's tensors.
#[cfg(feature = "train")]
pub use candle_core as candle;
pub use error::{DataProblem, Error, ErrorKind, JobProblem, JobProblems, QueryContext, Result, ServerError};
#[cfg(feature = "train")]
pub use score::{ScoreOptions, Scored, Scoring};
/// Columns and functions of Spark SQL, from the Apache project's crate.
pub use spark_connect;
