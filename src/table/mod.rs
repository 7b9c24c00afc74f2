//! Models as rows of a table, and checkpoints.
//!
//! [`layout`] is the written, versioned format; [`encode()`] turns a model into rows and [`decode()`] turns rows back,
//! trusting nothing in them. Loading a model never executes code.

mod checkpoints;
mod decode;
mod encode;
mod encoders;
mod files;
pub mod layout;
mod manage;
mod pipeline;
mod store;

pub use checkpoints::CheckpointTable;
pub use decode::{decode, manifest};
pub use encode::encode;
pub use encoders::EncoderEntry;
pub use layout::{Manifest, TensorEntry, Withdrawn};
pub use store::{ModelEntry, ModelTable, VersionEntry};
