//! Models as rows of a table, and checkpoints.
//!
//! `docs/model-table.md` describes the written, versioned format; [`encode()`] turns a model into rows and [`decode()`]
//! turns rows back, trusting nothing in them. Loading a model never executes code.

mod checkpoints;
pub(crate) mod decode;
pub(crate) mod encode;
pub(crate) mod encoders;
mod files;
pub(crate) mod layout;
mod manage;
mod pipeline;
mod store;

pub use checkpoints::CheckpointTable;
pub(crate) use decode::{decode, manifest};
pub(crate) use encode::encode;
pub(crate) use encoders::EncoderEntry;
pub use layout::{Manifest, Withdrawn};
pub use store::{ModelEntry, ModelTable, VersionEntry};
