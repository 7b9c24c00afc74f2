//! Rows scored locally, as a frame of the cluster again.

use std::collections::HashSet;

use arrow::datatypes::{DataType as Arrow, SchemaRef};
use spark_connect::types::{DataType, StructField};

use super::on_cluster::vector;

use crate::{
    Result,
    dataframe::{self, DataFrame, Schema, Scratch, Uploaded, column, is_vector, with_metadata},
    stream::RecordStream,
};

/// Uploads rows block by block. `before` is the schema of `frame`, where they came from; `after` has the columns that
/// were appended too, of which vectors are arrays in `rows` and are put together on the cluster. A Connect server
/// without Spark ML's vectors keeps the arrays, with the same metadata. Many rows are staged in `scratch`, or in the
/// current database.
pub(crate) async fn upload(
    frame: &DataFrame,
    rows: RecordStream,
    before: &Schema,
    after: &Schema,
    scratch: Option<&Scratch>,
) -> Result<Uploaded> {
    let known: HashSet<&str> = before.names().collect();
    let appended = |field: &StructField| is_vector(&field.data_type) && !known.contains(field.name.as_str());
    let has_vectors = after.fields().iter().any(appended) && frame.has_vectors().await?;
    // Metadata is put on again afterwards: a schema without it is one that every Connect server reads.
    let sent = Schema::new(after.fields().iter().map(|field| {
        let data_type = match appended(field) {
            true => array(rows.schema(), &field.name),
            false => field.data_type.clone(),
        };
        StructField { data_type, metadata: Default::default(), ..field.clone() }
    }));
    let uploaded = dataframe::upload(frame.context(), rows, Some(&sent), scratch).await?;
    let columns = after.fields().iter().map(|field| {
        let value = if appended(field) && has_vectors { vector(column(&field.name)) } else { column(&field.name) };
        match field.metadata.is_empty() {
            true => value.alias(&field.name),
            false => with_metadata(value, &field.name, &field.metadata.clone().into_iter().collect()),
        }
    });
    Ok(uploaded.map(|frame| frame.select(columns)))
}

/// Returns the array type that a column of the stream travels as.
fn array(schema: &SchemaRef, name: &str) -> DataType {
    let single = schema.field_with_name(name).is_ok_and(|field| match field.data_type() {
        Arrow::List(item) => *item.data_type() == Arrow::Float32,
        _ => false,
    });
    let element_type = if single { DataType::Float } else { DataType::Double };
    DataType::Array { element_type: Box::new(element_type), contains_null: true }
}
