//! Spark ML's vectors without their zeros.
//!
//! Spark's own functions reach a vector through an array of all its values. A row of 2¹⁸ mostly zeros would be 2 MB; as
//! JSON it is as long as the values that it has, and JSON is read back as a vector, by the vector's own type.

use serde_json::json;
use spark_connect::{
    column::Column,
    functions, lit_string,
    types::{DataType, StructField},
};

use super::{column::function, is_vector, vector_type};

/// Vectors of at least so many values are taken for sparse by stages, which cannot look at them.
pub(crate) const WIDE: usize = 4096;

/// Returns the number of values of a column of vectors, where its metadata says.
pub(crate) fn declared_size(field: &StructField) -> Option<usize> {
    let size = field.metadata.get("ml_attr")?.get("num_attrs")?.as_u64()?;
    is_vector(&field.data_type).then_some(usize::try_from(size).ok()?)
}

/// Returns a vector as JSON, `{"v":{"type":0,"size":…,"indices":[…],"values":[…]}}`, or of type 1 with its values
/// alone.
pub(crate) fn vector_text(vector: Column) -> Column {
    function("to_json", [function("struct", [vector.alias("v")])])
}

/// Returns a vector as `struct<size: int, indices: array<int>, values: array<double>>`; a dense one has values alone,
/// null has none.
pub(crate) fn vector_parts(vector: Column) -> Column {
    let parts = lit_string("v struct<size: int, indices: array<int>, values: array<double>>");
    function("from_json", [vector_text(vector), parts]).get_field("v")
}

/// Returns the vector of `size` values that has these values (`array<double>`) at these indices (`array<int>`,
/// increasing).
pub(crate) fn sparse_vector(size: usize, indices: Column, values: Column) -> Column {
    let json = |array| function("to_json", [array]);
    let begin = format!(r#"{{"v":{{"type":0,"size":{size},"indices":"#);
    let parts = [lit_string(&begin), json(indices), lit_string(r#","values":"#), json(values), lit_string("}}")];
    let field = json!({"name": "v", "type": vector_type().json_value(), "nullable": true, "metadata": {}});
    let schema = json!({"type": "struct", "fields": [field]}).to_string();
    function("from_json", [function("concat", parts), lit_string(&schema)]).get_field("v")
}

/// Returns the indices of all values of an array, from `begin` on.
pub(crate) fn indices(values: Column, begin: usize) -> Column {
    let begin = spark_connect::lit(begin as i64).cast(DataType::Integer);
    functions::transform_idx(values, move |x| x[1].clone() + begin)
}
