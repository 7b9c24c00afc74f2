//! From Arrow columns to the numbers a network takes.
//!
//! [`Columns`] says which columns are used; checked against a schema it becomes a [`FeatureReader`] (prediction) or an
//! [`ExampleDecoder`] (training). A [`Decoder`] turns the batches of a stream into canonical ones, whose columns are
//! [`TensorField`]s. [`Examples`] holds what was read and hands out minibatches in any order.

mod columns;
mod convert;
mod decode;
mod example_decoder;
mod examples;
mod features;
pub mod field;
mod minibatch;

pub use columns::{Columns, OnInvalid};
pub use decode::{Decoded, Decoder};
pub use example_decoder::{ExampleDecoder, FEATURES};
pub use examples::{ExampleReader, Examples};
pub use features::{FeatureBlock, FeatureReader};
pub use field::{Element, RowShape, TensorField};
pub use minibatch::{Minibatch, Minibatches, Remainder};
