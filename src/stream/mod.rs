//! Arrow record batches on the move, without a word of gRPC.
//!
//! [`RecordStream`] is a schema and the batches that follow; [`RecordSource`] opens a fresh one for every epoch. The
//! cluster's side of the crate produces them, the learning side consumes them, and neither knows the other.

pub(crate) mod cache;
pub(crate) mod ipc;
mod nested;
mod plain;
mod records;
mod source;

pub(crate) use cache::{Cache, CacheOptions, CachedBatches};
pub(crate) use nested::{nested_column, nested_field};
pub(crate) use plain::{plain_batch, plain_schema};
pub use records::RecordStream;
pub use source::{MemorySource, RecordSource};
