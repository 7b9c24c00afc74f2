//! From Arrow columns to the numbers a network takes.
//!
//! [`Columns`] says which columns are used; checked against a schema it becomes a [`FeatureReader`] (prediction) or an
//! [`ExampleDecoder`] (training). A [`Decoder`] turns the batches of a stream into canonical ones, whose columns are
//! [`TensorField`]s; [`Rows`] finds their rows by number and copies them together into a [`Minibatch`].

mod columns;
mod convert;
mod decode;
mod example_decoder;
mod features;
pub mod field;
mod minibatch;
mod rows;

pub use columns::{Columns, OnInvalid};
pub use decode::{Decoded, Decoder};
pub use example_decoder::{ExampleDecoder, FEATURES};
pub use features::{FeatureBlock, FeatureReader};
pub use field::{Element, RowShape, TensorField};
pub use minibatch::{Input, Minibatch, Targets, Values};
pub use rows::Rows;
