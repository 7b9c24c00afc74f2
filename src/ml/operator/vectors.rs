//! Arrays where Spark ML's operators want vectors.

use spark_connect::{column::Column, types::DataType};

use super::{MlValue, Operator};
use crate::{
    dataframe::{DataFrame, Schema, column, function, vector_to_array},
    ml::feature::{NumberLayout, as_array, numbers},
};

/// Returns the columns that an operator may take as vectors, by its params.
pub(super) fn inputs(operator: &Operator) -> Vec<String> {
    let text = |name: &str| operator.params.get(name).and_then(MlValue::as_text).map(str::to_owned);
    match (text("featuresCol"), text("inputCol")) {
        (None, None) => vec!["features".into()],
        (features, input) => features.into_iter().chain(input).collect(),
    }
}

/// Returns the columns among these that are arrays of numbers, with their types.
fn arrays<'a>(inputs: &'a [String], schema: &'a Schema) -> impl Iterator<Item = (&'a str, &'a DataType)> {
    let found = inputs.iter().filter_map(|name| schema.get(name));
    found
        .filter(|field| numbers(&field.data_type) == Some(NumberLayout::Array))
        .map(|field| (field.name.as_str(), &field.data_type))
}

/// Returns the frame with vectors in place of arrays of numbers.
pub(super) fn as_vectors(frame: &DataFrame, inputs: &[String], schema: &Schema) -> DataFrame {
    let vector = |(name, _): (&str, &DataType)| {
        let vector = function("array_to_vector", [as_array(column(name), NumberLayout::Array)]);
        (name.to_owned(), vector)
    };
    let vectors: Vec<(String, Column)> = arrays(inputs, schema).map(vector).collect();
    if vectors.is_empty() { frame.clone() } else { frame.with_columns(vectors) }
}

/// Returns the frame with the arrays that it had before [`as_vectors`].
pub(super) fn as_before(frame: DataFrame, inputs: &[String], schema: &Schema) -> DataFrame {
    let array = |(name, data_type): (&str, &DataType)| {
        let array = vector_to_array(column(name), "float64");
        (name.to_owned(), array.cast(data_type.clone()))
    };
    let arrays: Vec<(String, Column)> = arrays(inputs, schema).map(array).collect();
    if arrays.is_empty() { frame } else { frame.with_columns(arrays) }
}
