//! Rows of the cluster as tensors, decoded locally while more arrive.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, BooleanArray, RecordBatch},
    compute::{cast, nullif},
    datatypes::{DataType, Schema, SchemaRef},
};
use futures::{StreamExt, future::BoxFuture};

use crate::{
    Error, Result,
    stream::{RecordSource, RecordStream},
    tensor::{
        Columns, OnInvalid, TensorField,
        field::{HELD_OUT, LABEL, WEIGHT},
        reader::{Reader, Readers, RecordReader},
    },
};

/// A source whose rows readers decode, on the blocking threads of the Tokio runtime, one batch ahead.
///
/// A row that cannot be read fails the stream or has a null label, so that whoever trains counts it among the skipped.
pub(super) struct DecodedSource<S> {
    source: S,
    columns: Columns,
    readers: Readers,
    /// Reads labels, unless the readers do.
    label: Option<Reader>,
    on_invalid: OnInvalid,
}

impl<S: RecordSource> DecodedSource<S> {
    pub(super) fn new(
        source: S,
        columns: Columns,
        readers: Readers,
        label: Option<Reader>,
        on_invalid: OnInvalid,
    ) -> Self {
        Self { source, columns, readers, label, on_invalid }
    }

    /// Returns the columns of the decoded rows.
    pub(super) fn columns(&self) -> Columns {
        let names = self.readers.inputs.iter().map(|input| &input.name);
        let mut columns = Columns::side_by_side(names, LABEL);
        columns.weight = self.columns.weight.as_ref().map(|_| WEIGHT.to_owned());
        columns.validation = self.columns.validation.as_ref().map(|_| HELD_OUT.to_owned());
        columns
    }

    async fn decoded(&self, epoch: usize) -> Result<RecordStream> {
        let input = self.source.open(epoch).await?;
        let Columns { weight, validation, .. } = &self.columns;
        let label = self.readers.label.clone().or(self.label.clone());
        let (weight, validation) = (weight.as_deref(), validation.as_deref());
        let reader = RecordReader::examples(input.schema(), &self.readers, label, weight, validation)?;
        reader.require_fixed()?;
        let schema = Arc::new(Schema::new(reader.fields().iter().map(field).collect::<Vec<_>>()));
        let (decoded, on_invalid) = (schema.clone(), self.on_invalid);
        let mut rows = 0;
        let input = input.in_slices(reader.rows_at_once());
        let batches = input.map(move |batch| {
            let work = batch.map(|batch| {
                let (mut reader, schema) = (reader.clone().starting_at(rows), decoded.clone());
                rows += batch.num_rows() as u64;
                tokio::task::spawn_blocking(move || decode(&mut reader, &batch, schema, on_invalid))
            });
            async move { work?.await.map_err(|e| Error::tensor("decoding a batch", e))? }
        });
        Ok(RecordStream::new(schema, batches.buffered(2)))
    }
}

impl<S: RecordSource> RecordSource for DecodedSource<S> {
    fn open(&self, epoch: usize) -> BoxFuture<'_, Result<RecordStream>> {
        Box::pin(self.decoded(epoch))
    }

    fn origin(&self) -> String {
        self.source.origin()
    }
}

/// Returns a decoded column; only labels may be null.
fn field(tensor: &TensorField) -> arrow::datatypes::Field {
    let field = tensor.to_arrow();
    match tensor.name.as_str() {
        LABEL => field.with_nullable(true),
        HELD_OUT => field.with_data_type(DataType::Boolean),
        _ => field,
    }
}

fn decode(reader: &mut RecordReader, batch: &RecordBatch, schema: SchemaRef, policy: OnInvalid) -> Result<RecordBatch> {
    let rows = reader.read(batch)?;
    rows.check(policy)?;
    let mut bad = vec![false; rows.rows];
    rows.faults.iter().for_each(|fault| bad[fault.row] = true);
    let bad = BooleanArray::from(bad);
    let fail = |e| Error::arrow("putting decoded columns together", e);
    let columns = rows.cells.into_iter().zip(reader.fields()).map(|(cells, field)| -> Result<ArrayRef> {
        let array = cells.into_array(field)?;
        match field.name.as_str() {
            LABEL => nullif(&array, &bad).map_err(fail),
            HELD_OUT => cast(&array, &DataType::Boolean).map_err(fail),
            _ => Ok(array),
        }
    });
    RecordBatch::try_new(schema, columns.collect::<Result<_>>()?).map_err(fail)
}
