//! Train candle neural networks from Rust on data that lives in Apache Spark.

pub mod connect;
mod error;
pub mod stream;

pub use error::{Error, QueryContext, Result, ServerError};
