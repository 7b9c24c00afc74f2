//! Columns by their exact names, with metadata, and of functions by name.

use serde_json::{Map, Value};
use spark_connect::{
    Expression,
    column::Column,
    expression::{Alias, UnresolvedFunction},
    types::DataType,
};

/// Returns the column that a path leads to, in which a dot leads into a struct; all columns for `*`, all fields of a
/// struct, or columns of a frame with an [alias](super::DataFrame::alias), for `a.*`.
pub fn col(path: &str) -> Column {
    match path {
        "*" => Column::new(Expression::UnresolvedStar(None)),
        path if path.ends_with(".*") => Column::new(Expression::UnresolvedStar(Some(path.to_owned()))),
        path => spark_connect::col(path),
    }
}

/// Returns the column of exactly this name, whatever characters are in it.
///
/// [`col`] takes a path, in which a dot leads into a struct.
pub fn column(name: &str) -> Column {
    spark_connect::col(&quote(name))
}

/// Returns a name as one SQL identifier: in back-quotes, those within doubled.
pub fn quote(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// Returns a call of a function of Spark's by its name, also of those that SQL text cannot reach (`array_to_vector` …).
pub fn function(name: &str, arguments: impl IntoIterator<Item = Column>) -> Column {
    let arguments = arguments.into_iter().map(|c| c.expression().clone()).collect();
    Column::new(Expression::UnresolvedFunction(UnresolvedFunction::new(name, arguments)))
}

/// Returns the numbers of a Spark ML vector as an array of `float64` or `float32`; null for null, which Spark's own
/// function does not take.
pub fn vector_to_array(vector: Column, numbers: &str) -> Column {
    let array = function("vector_to_array", [vector.clone(), spark_connect::lit_string(numbers)]);
    spark_connect::functions::when(vector.is_not_null(), array)
}

/// Returns the column under a name and with metadata, such as Spark ML's `{"ml_attr": …}`.
pub fn with_metadata(column: Column, name: &str, metadata: &Map<String, Value>) -> Column {
    let json = Value::Object(metadata.clone()).to_string();
    let alias = Alias::new(column.expression().clone(), name).with_metadata(json);
    Column::new(Expression::Alias(Box::new(alias)))
}

/// Returns a constant array. Spark's optimizer makes one value of it; an array literal of the protocol would need its
/// type beside it, which the Apache client's literal does not send.
pub(crate) fn literal_array(element_type: DataType, elements: impl IntoIterator<Item = Column>) -> Column {
    let mut elements = elements.into_iter().peekable();
    if elements.peek().is_some() {
        return function("array", elements);
    }
    let empty = DataType::Array { element_type: Box::new(element_type), contains_null: false };
    function("array", []).cast(empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_quoted_as_one_identifier() {
        assert_eq!(quote("a.b"), "`a.b`");
        assert_eq!(quote("`x`"), "```x```");
        assert_eq!(quote(""), "``");
        assert_eq!(quote("größe 身長"), "`größe 身長`");
    }

    #[test]
    fn metadata_travels_as_nested_json() {
        let metadata = serde_json::json!({"ml_attr": {"type": "nominal", "vals": ["a", "b"]}});
        let column = with_metadata(column("x"), "y", metadata.as_object().unwrap());
        let Some(spark_connect_proto::expression::ExprType::Alias(alias)) = column.to_proto().expr_type else {
            panic!("no alias")
        };
        assert_eq!(alias.name, ["y"]);
        assert_eq!(serde_json::from_str::<Value>(alias.metadata()).unwrap(), metadata);
    }
}
