//! Arrow bytes of a row, as an expression: exact for numbers, strings, binary and arrays of numbers, close
//! for the rest.

use spark_connect::{column::Column, functions, lit, lit_string, types::DataType};

use crate::dataframe::{
    Schema, column, function, is_vector, vector_to_array,
    vectors::{WIDE, declared_size, vector_text},
};

/// Bytes of the offset that a value of varying length has.
const OFFSET: i64 = 4;

/// Bytes of one row: what all rows have alike, and an expression of the rest where there is one.
pub(super) struct RowSize {
    pub(super) fixed: u64,
    pub(super) varying: Option<Column>,
}

/// Of the rows of a schema.
pub(super) fn row_size(schema: &Schema) -> RowSize {
    let mut size = RowSize { fixed: 0, varying: None };
    for field in schema.fields() {
        match width(&field.data_type) {
            Some(width) => size.fixed += width,
            None => {
                let wide = declared_size(field).is_some_and(|size| size >= WIDE);
                let bytes = match wide {
                    true => wide_vector(column(&field.name)),
                    false => bytes(column(&field.name), &field.data_type),
                };
                size.varying = Some(match size.varying.take() {
                    Some(sum) => sum + bytes,
                    None => bytes,
                });
            }
        }
    }
    size
}

/// Bytes of a value of a type whose values all have the same.
fn width(data_type: &DataType) -> Option<u64> {
    use DataType as T;
    Some(match data_type {
        T::Null | T::Boolean | T::Byte => 1,
        T::Short => 2,
        T::Integer | T::Float | T::Date | T::YearMonthInterval { .. } => 4,
        T::Long | T::Double | T::Timestamp | T::TimestampNtz | T::Time { .. } | T::DayTimeInterval { .. } => 8,
        T::Decimal { .. } | T::CalendarInterval => 16,
        T::Struct { fields } => fields.iter().map(|field| width(&field.data_type)).sum::<Option<u64>>()?,
        _ => return None,
    })
}

/// Bytes of a vector of mostly zeros: 12 a value that is none, which its text comes close to.
fn wide_vector(vector: Column) -> Column {
    let text = function("octet_length", [vector_text(vector)]);
    functions::coalesce([text.cast(DataType::Long), lit(0).cast(DataType::Long)])
}

/// Bytes of a value, 0 for null.
fn bytes(value: Column, data_type: &DataType) -> Column {
    use DataType as T;
    let long = |size: Column| functions::coalesce([size.cast(T::Long), lit(0).cast(T::Long)]);
    let elements = |array: Column| function("size", [array]);
    let text = |value: Column| function("octet_length", [value]) + lit(OFFSET);
    match data_type {
        T::String { .. } | T::Char { .. } | T::Varchar { .. } | T::Binary => long(text(value)),
        T::Array { element_type, .. } => match element_type.as_ref() {
            element if width(element).is_some() => {
                long(elements(value) * lit(width(element).unwrap_or_default() as i64) + lit(OFFSET))
            }
            T::String { .. } => {
                let joined = function("array_join", [value.clone(), lit_string("")]);
                long(function("octet_length", [joined]) + elements(value) * lit(OFFSET) + lit(OFFSET))
            }
            T::Array { element_type, .. } if width(element_type).is_some() => {
                let width = width(element_type).unwrap_or_default() as i64;
                let values = elements(function("flatten", [value.clone()])) * lit(width);
                long(values + elements(value) * lit(OFFSET) + lit(OFFSET))
            }
            _ => long(text(function("to_json", [value]))),
        },
        vector if is_vector(vector) => long(elements(vector_to_array(value, "float64")) * lit(8) + lit(32)),
        T::Struct { fields } => {
            let fields = fields.iter().map(|field| match width(&field.data_type) {
                Some(width) => lit(width as i64).cast(T::Long),
                None => bytes(value.clone().get_field(&field.name), &field.data_type),
            });
            fields.reduce(|sum, field| sum + field).unwrap_or_else(|| lit(0).cast(T::Long))
        }
        T::Map { .. } | T::Variant => long(text(function("to_json", [value]))),
        _ => lit(64).cast(T::Long),
    }
}
