//! Where record streams come from: one fresh stream per epoch.

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use futures::future::BoxFuture;

use super::RecordStream;
use crate::Result;

/// Opens a fresh [`RecordStream`] for every epoch.
///
/// Every stream of one source has the same schema and the same rows; their order may differ between epochs.
pub trait RecordSource: Send + Sync {
    /// Opens the stream of one epoch, counted from 0.
    fn open(&self, epoch: usize) -> BoxFuture<'_, Result<RecordStream>>;

    /// Says in a few words where the rows come from, for logs, errors and a model's lineage.
    fn origin(&self) -> String;
}

/// Batches held in memory, served as they are.
#[derive(Debug, Clone)]
pub struct MemorySource {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

impl MemorySource {
    /// Holds `batches`, each of which must have `schema`.
    pub fn new(schema: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        Self { schema, batches }
    }
}

impl RecordSource for MemorySource {
    fn open(&self, _epoch: usize) -> BoxFuture<'_, Result<RecordStream>> {
        let stream = RecordStream::from_batches(self.schema.clone(), self.batches.clone());
        Box::pin(std::future::ready(Ok(stream)))
    }

    fn origin(&self) -> String {
        format!("{} rows in memory", self.batches.iter().map(RecordBatch::num_rows).sum::<usize>())
    }
}
