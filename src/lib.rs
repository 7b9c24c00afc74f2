#![doc = include_str!("../README.md")]
#![deny(missing_docs)]
#![warn(missing_debug_implementations, unreachable_pub)]

pub mod connect;
pub mod dataframe;
mod error;
pub mod estimator;
pub mod ml;
pub mod model;
pub mod nn;
mod number;
pub mod prelude;
pub mod score;
pub mod session;
pub mod stream;
pub mod table;
pub mod tensor;
pub mod train;
pub mod tuning;

pub use error::{Error, QueryContext, Result, ServerError};
