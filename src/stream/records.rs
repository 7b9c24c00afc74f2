//! A schema and the record batches that follow it.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use futures::{Stream, StreamExt, TryStreamExt, stream::BoxStream};

use super::plain::{plain_schema, to_plain};
use crate::Result;

/// Record batches of one schema, as they arrive.
///
/// Text is `Utf8`, binary data `Binary` and a list `List`, whatever form the batches behind the stream have: 64-bit
/// offsets, views, dictionaries and runs are rewritten. Values are not copied for offsets.
///
/// Dropping the stream stops the work behind it. A batch may be empty; a stream without batches is an empty result.
pub struct RecordStream {
    schema: SchemaRef,
    batches: BoxStream<'static, Result<RecordBatch>>,
}

impl RecordStream {
    /// Pairs a schema with the batches that follow it; each batch must have that schema.
    pub fn new(schema: SchemaRef, batches: impl Stream<Item = Result<RecordBatch>> + Send + 'static) -> Self {
        let plain = plain_schema(&schema);
        if plain == schema {
            return Self { schema, batches: batches.boxed() };
        }
        let to = plain.clone();
        Self { schema: plain, batches: batches.map(move |batch| to_plain(&batch?, &to)).boxed() }
    }

    /// Creates a stream over batches already in memory.
    pub fn from_batches(schema: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        Self::new(schema, futures::stream::iter(batches.into_iter().map(Ok)))
    }

    /// Cuts batches of more than `rows` rows, so that work of a batch at a time takes no more memory than so many rows
    /// do.
    pub(crate) fn in_slices(self, rows: usize) -> Self {
        let rows = rows.max(1);
        let cut = move |batch: RecordBatch| {
            let starts = (0..batch.num_rows().max(1)).step_by(rows);
            futures::stream::iter(starts.map(move |start| Ok(batch.slice(start, rows.min(batch.num_rows() - start)))))
        };
        Self { schema: self.schema, batches: self.batches.map_ok(cut).try_flatten().boxed() }
    }

    /// Returns the schema of every batch, field metadata included.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Gathers all batches in memory.
    ///
    /// # Errors
    /// The first error of the stream; what had arrived is dropped.
    pub async fn collect(self) -> Result<Vec<RecordBatch>> {
        self.batches.try_collect().await
    }
}

impl Stream for RecordStream {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.batches.poll_next_unpin(cx)
    }
}

impl fmt::Debug for RecordStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordStream").field("schema", &self.schema).finish_non_exhaustive()
    }
}
