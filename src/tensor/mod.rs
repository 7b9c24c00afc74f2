//! From Arrow columns to the numbers a network takes.
//!
//! [`Columns`] says which columns are used; checked against a schema it becomes a [`FeatureReader`] (prediction) or an
//! [`ExampleDecoder`] (training; [`InputDecoder`] without labels). A [`Decoder`] turns the batches of a stream into
//! canonical ones, whose columns are [`TensorField`]s; [`Rows`] finds their rows by number and copies them together
//! into a [`Minibatch`]. Columns that hold more than rows of numbers (images, text, sequences, raw bytes) are read by
//! [`reader`]s; [`codec`] knows every form of a tensor column, and writes them too.

pub(crate) mod cells;
pub mod codec;
pub(crate) mod columns;
mod convert;
pub(crate) mod decode;
pub(crate) mod example_decoder;
pub(crate) mod features;
pub(crate) mod field;
pub(crate) mod input_decoder;
pub(crate) mod minibatch;
pub mod reader;
pub(crate) mod rows;
pub(crate) mod sparse;

pub(crate) use cells::{Cells, Values};
pub(crate) use columns::LabelKind;
pub use columns::{Columns, OnInvalid};
pub(crate) use decode::{Decoded, Decoder};
pub(crate) use decode::{fixed_bytes, rows_at_once};
pub(crate) use example_decoder::ExampleDecoder;
pub(crate) use features::FeatureReader;
pub(crate) use features::SparseBlock;
pub(crate) use field::{ElementType, RowShape, TensorField};
pub(crate) use input_decoder::InputDecoder;
pub(crate) use minibatch::{Minibatch, MinibatchInput, Targets};
pub(crate) use rows::Rows;
pub(crate) use sparse::SparseRows;
