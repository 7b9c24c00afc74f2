//! From Arrow columns to the numbers a network takes.
//!
//! [`Columns`] says which columns are used; checked against a schema it becomes a [`FeatureReader`] (prediction) or an
//! [`ExampleDecoder`] (training; [`InputDecoder`] without labels). A [`Decoder`] turns the batches of a stream into canonical ones, whose columns are
//! [`TensorField`]s; [`Rows`] finds their rows by number and copies them together into a [`Minibatch`]. Columns that hold more
//! than rows of numbers (images, text, sequences, raw bytes) are read by [`reader`]s; [`codec`] knows every form of a tensor
//! column, and writes them too.

mod cells;
pub mod codec;
mod columns;
mod convert;
mod decode;
mod example_decoder;
mod features;
pub mod field;
mod input_decoder;
mod minibatch;
pub mod reader;
mod rows;
mod sparse;

pub use cells::{CellFault, Cells, Values};
pub use columns::{Columns, LabelKind, OnInvalid};
pub use decode::{Decoded, Decoder};
pub(crate) use decode::{fixed_bytes, rows_at_once};
pub use example_decoder::{ExampleDecoder, FEATURES};
pub(crate) use features::SparseBlock;
pub use features::{FeatureBlock, FeatureReader};
pub use field::{Element, RowShape, TensorField};
pub use input_decoder::InputDecoder;
pub use minibatch::{Input, Minibatch, Targets};
pub use rows::Rows;
pub use sparse::SparseRows;
