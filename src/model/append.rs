//! Batches with columns behind those they have, one batch at a time.

use std::{collections::HashSet, sync::Arc};

use arrow::{
    array::RecordBatch,
    compute::concat_batches,
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use futures::{StreamExt, stream};

use crate::{
    Error, Result,
    stream::{RecordStream, plain_batch},
};

/// Refuses columns that are named twice or exist already; `what` names their purpose in errors.
pub(super) fn check_names<'a>(
    existing: impl IntoIterator<Item = &'a str>,
    added: impl IntoIterator<Item = &'a str>,
    what: &str,
) -> Result<()> {
    let mut taken: HashSet<&str> = existing.into_iter().collect();
    match added.into_iter().find(|name| !taken.insert(name)) {
        Some(name) => {
            let expected = format!("no column of this name: {what} in its place");
            Err(Error::schema(name, expected, "one; drop it or name the output otherwise"))
        }
        None => Ok(()),
    }
}

/// Returns the schema with these columns behind its own.
pub(super) fn appended(before: &Schema, columns: Vec<(&str, DataType)>, nullable: bool) -> SchemaRef {
    let mut fields = before.fields().to_vec();
    fields.extend(columns.into_iter().map(|(name, data_type)| Arc::new(Field::new(name, data_type, nullable))));
    Arc::new(Schema::new_with_metadata(fields, before.metadata().clone()))
}

/// Applies `make` to each batch, a limited number of rows at a time; to batches of types other than a stream's if
/// `converts`.
pub(super) fn batches<W: Send + 'static>(
    converts: bool,
    schema: SchemaRef,
    rows: usize,
    mut worker: W,
    make: fn(&mut W, &RecordBatch) -> Result<RecordBatch>,
) -> impl FnMut(&RecordBatch) -> Result<RecordBatch> + Send + 'static {
    move |batch| {
        let batch = if converts { plain_batch(batch)? } else { batch.clone() };
        in_slices(&schema, &batch, rows, |slice| make(&mut worker, slice))
    }
}

/// Applies `make` to a batch, a limited number of rows at a time.
fn in_slices(
    schema: &SchemaRef,
    batch: &RecordBatch,
    rows: usize,
    mut make: impl FnMut(&RecordBatch) -> Result<RecordBatch>,
) -> Result<RecordBatch> {
    if batch.num_rows() <= rows {
        return make(batch);
    }
    let starts = (0..batch.num_rows()).step_by(rows);
    let made = starts.map(|start| make(&batch.slice(start, rows.min(batch.num_rows() - start))));
    concat_batches(schema, &made.collect::<Result<Vec<_>>>()?).map_err(|e| Error::arrow("joining slices of a batch", e))
}

/// Applies `make` to each batch, in order, one at a time on a blocking thread of the Tokio runtime.
pub(crate) fn batch_by_batch<W: Send + 'static>(
    schema: SchemaRef,
    input: RecordStream,
    worker: W,
    make: fn(&mut W, &RecordBatch) -> Result<RecordBatch>,
) -> RecordStream {
    let batches = stream::try_unfold((input, worker), move |(mut input, mut worker)| async move {
        let Some(batch) = input.next().await.transpose()? else { return Ok(None) };
        let done = tokio::task::spawn_blocking(move || (make(&mut worker, &batch), worker)).await;
        let (made, worker) = done.map_err(|e| Error::tensor("appending columns to a batch", e))?;
        Ok(Some((made?, (input, worker))))
    });
    RecordStream::new(schema, batches)
}
