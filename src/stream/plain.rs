//! One Arrow form for each kind of value, whatever the sender chose.

use std::sync::Arc;

use arrow::{
    array::{RecordBatch, RecordBatchOptions},
    compute::{CastOptions, cast_with_options},
    datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef},
};

use crate::{Error, Result};

/// Returns the schema with text as `Utf8`, binary data as `Binary`, lists as `List`, and dictionaries and runs as their
/// values, nested fields included; the same schema if it is of that form already.
///
/// A server sends 64-bit offsets under `spark.sql.execution.arrow.useLargeVarTypes`; other senders have views and
/// dictionaries. Readers of batches know one form.
pub(crate) fn plain_schema(schema: &SchemaRef) -> SchemaRef {
    let fields: Fields = schema.fields().iter().map(plain_field).collect();
    if fields == *schema.fields() {
        return schema.clone();
    }
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

fn plain_field(field: &FieldRef) -> FieldRef {
    let plain = plain_type(field.data_type());
    if plain == *field.data_type() { field.clone() } else { Arc::new(Field::clone(field).with_data_type(plain)) }
}

fn plain_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        DataType::List(item) | DataType::LargeList(item) | DataType::ListView(item) | DataType::LargeListView(item) => {
            DataType::List(plain_field(item))
        }
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(plain_field(item), *size),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(plain_field).collect()),
        DataType::Map(entries, sorted) => DataType::Map(plain_field(entries), *sorted),
        DataType::Dictionary(_, values) => plain_type(values),
        DataType::RunEndEncoded(_, values) => plain_type(values.data_type()),
        same => same.clone(),
    }
}

/// Returns a batch that came without a stream in the same form.
///
/// # Errors
/// [`Error::Arrow`] for a column of more than 2 GiB.
pub(crate) fn plain_batch(batch: &RecordBatch) -> Result<RecordBatch> {
    let schema = plain_schema(&batch.schema());
    if schema == batch.schema() { Ok(batch.clone()) } else { to_plain(batch, &schema) }
}

/// Returns the batch in the types of a plain schema. Offsets are copied, values are not.
///
/// # Errors
/// [`Error::Arrow`] for a column of more than 2 GiB in one batch, and for a batch that is not of the stream's schema.
pub(super) fn to_plain(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let options = CastOptions { safe: false, ..Default::default() };
    let columns = batch.columns().iter().zip(schema.fields()).map(|(column, field)| {
        cast_with_options(column, field.data_type(), &options)
            .map_err(|e| Error::arrow(format!("reading column `{}` as {}", field.name(), field.data_type()), e))
    });
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns.collect::<Result<_>>()?, &rows)
        .map_err(|e| Error::arrow("reading a batch in the stream's schema", e))
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{
            Array, ArrayRef, AsArray, DictionaryArray, LargeBinaryArray, LargeListArray, LargeStringArray, StringArray,
            StringViewArray, StructArray,
        },
        datatypes::Int32Type,
    };

    use super::*;
    use crate::stream::RecordStream;

    #[tokio::test]
    async fn every_form_of_text_binary_and_lists_arrives_in_one() {
        let large: ArrayRef = Arc::new(LargeStringArray::from(vec![Some("a"), None]));
        let lists = LargeListArray::from_iter_primitive::<Int32Type, _, _>([Some([Some(1), None]), None]);
        let words: DictionaryArray<Int32Type> = [Some("x"), None].into_iter().collect();
        let inner = Arc::new(Field::new("text", DataType::LargeUtf8, true));
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("view", Arc::new(StringViewArray::from(vec![Some("a"), None]))),
            ("binary", Arc::new(LargeBinaryArray::from_iter([Some(b"a"), None]))),
            ("list", Arc::new(lists)),
            ("words", Arc::new(words)),
            ("nested", Arc::new(StructArray::from(vec![(inner, large.clone())]))),
            ("large", large),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let stream = RecordStream::from_batches(batch.schema(), vec![batch]);
        let schema = stream.schema().clone();
        let batches = stream.collect().await.unwrap();
        assert_eq!(batches[0].schema(), schema);
        let column = |name: &str| batches[0].column_by_name(name).unwrap();
        for name in ["view", "large"] {
            assert_eq!(column(name).as_string::<i32>(), &StringArray::from(vec![Some("a"), None]), "{name}");
        }
        assert_eq!(column("words").as_string::<i32>(), &StringArray::from(vec![Some("x"), None]));
        assert_eq!(column("nested").as_struct().column(0).as_string::<i32>().value(0), "a");
        assert!(column("binary").as_binary::<i32>().is_null(1));
        assert_eq!(column("list").as_list::<i32>().value(0).as_primitive::<Int32Type>().null_count(), 1);
    }

    #[tokio::test]
    async fn stream_in_slices_gives_the_same_rows_a_few_at_a_time() {
        let text: ArrayRef = Arc::new(StringArray::from_iter_values((0..25).map(|i| i.to_string())));
        let batch = RecordBatch::try_from_iter([("text", text)]).unwrap();
        let batches = vec![batch.slice(0, 0), batch.slice(0, 21), batch.slice(21, 4)];
        let sliced = RecordStream::from_batches(batch.schema(), batches).in_slices(10).collect().await.unwrap();
        assert_eq!(sliced.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [0, 10, 10, 1, 4]);
        assert_eq!(arrow::compute::concat_batches(&batch.schema(), &sliced).unwrap(), batch);
    }

    #[tokio::test]
    async fn a_stream_of_plain_batches_hands_on_the_same_arrays() {
        let text: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
        let batch = RecordBatch::try_from_iter([("text", text.clone())]).unwrap();
        let stream = RecordStream::from_batches(batch.schema(), vec![batch.clone()]);
        assert!(Arc::ptr_eq(stream.schema(), &batch.schema()));
        assert!(Arc::ptr_eq(stream.collect().await.unwrap()[0].column(0), &text));
    }
}
