//! Rows that were scored here, as a frame of the cluster again.

use std::collections::HashSet;

use arrow::datatypes::{DataType as Arrow, SchemaRef};
use spark_connect::{
    Column, functions,
    types::{DataType, StructField},
};

use crate::{
    Result,
    dataframe::{DataFrame, Schema, column, function, is_vector, with_metadata},
    session::Session,
    stream::RecordStream,
};

/// Uploads rows block by block. `before` is the schema of `frame`, where they came from; `after` has the columns that were
/// appended too, of which vectors are arrays in `rows` and are put together over there.
pub(crate) async fn upload(
    frame: &DataFrame,
    rows: RecordStream,
    before: &Schema,
    after: &Schema,
) -> Result<DataFrame> {
    let known: HashSet<&str> = before.names().collect();
    let appended = |field: &StructField| is_vector(&field.data_type) && !known.contains(field.name.as_str());
    let sent = Schema::new(after.fields().iter().map(|field| match appended(field) {
        true => {
            StructField { data_type: array(rows.schema(), &field.name), metadata: Default::default(), ..field.clone() }
        }
        false => field.clone(),
    }));
    let uploaded = Session::new(frame.client().clone()).create_dataframe_from_stream(rows, Some(&sent)).await?;
    Ok(uploaded.select(after.fields().iter().map(|field| match appended(field) {
        true => vector(field),
        false => column(&field.name),
    })))
}

/// The array type that a column of the stream travels as.
fn array(schema: &SchemaRef, name: &str) -> DataType {
    let single = schema.field_with_name(name).is_ok_and(|field| match field.data_type() {
        Arrow::List(item) => *item.data_type() == Arrow::Float32,
        _ => false,
    });
    let element_type = if single { DataType::Float } else { DataType::Double };
    DataType::Array { element_type: Box::new(element_type), contains_null: false }
}

/// An array as a vector with its metadata.
fn vector(field: &StructField) -> Column {
    let array = column(&field.name);
    // Spark's function fails on null, which is what a row that was kept without being usable has.
    let vector = function("array_to_vector", [array.clone().cast_str("array<double>")]);
    let vector = functions::when(array.is_not_null(), vector);
    let metadata = field.metadata.clone().into_iter().collect();
    with_metadata(vector, &field.name, &metadata)
}
