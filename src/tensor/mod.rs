//! From Arrow columns to the numbers a network takes.
//!
//! [`Columns`] says which columns are used; checked against a schema it becomes a [`FeatureReader`] (prediction) or an
//! [`ExampleReader`] (training), which turn batches into row-major single precision. [`Examples`] holds what was read and
//! hands out minibatches in any order.

mod columns;
mod convert;
mod examples;
mod features;
mod minibatch;

pub use columns::{Columns, OnInvalid};
pub use examples::{ExampleReader, Examples};
pub use features::{FeatureBlock, FeatureReader};
pub use minibatch::{Minibatch, Minibatches, Remainder};
