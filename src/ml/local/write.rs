//! Values as Arrow's columns, in the form in which they stream from Spark.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, BooleanArray, Decimal128Array, Float32Array, Float64Array, Int8Array, Int16Array, Int32Array,
        Int64Array, ListArray, StringArray, StructArray, new_null_array,
    },
    buffer::{NullBuffer, OffsetBuffer},
    datatypes::{DataType as Arrow, Field, Fields},
};
use spark_connect::types::{DataType, StructField};

use super::{
    columnar::Lanes,
    value::{Value, unknown},
};
use crate::{DataProblem, Error, Result, dataframe::is_vector};

fn vector_fields() -> Fields {
    let list = |item| Arrow::List(Arc::new(Field::new("element", item, false)));
    Fields::from(vec![
        Field::new("type", Arrow::Int8, false),
        Field::new("size", Arrow::Int32, true),
        Field::new("indices", list(Arrow::Int32), true),
        Field::new("values", list(Arrow::Float64), true),
    ])
}

/// Returns the Arrow type of an output.
///
/// # Errors
/// [`Error::Schema`] for a type that no stage gives.
pub(super) fn arrow_type(field: &StructField) -> Result<Arrow> {
    Ok(match &field.data_type {
        DataType::Boolean => Arrow::Boolean,
        DataType::Byte => Arrow::Int8,
        DataType::Short => Arrow::Int16,
        DataType::Integer => Arrow::Int32,
        DataType::Long => Arrow::Int64,
        DataType::Float => Arrow::Float32,
        DataType::Double => Arrow::Float64,
        DataType::String { .. } => Arrow::Utf8,
        DataType::Decimal { precision, scale } => match (u8::try_from(*precision), i8::try_from(*scale)) {
            (Ok(precision), Ok(scale)) => Arrow::Decimal128(precision, scale),
            _ => return Err(unwritten(field)),
        },
        vector if is_vector(vector) => Arrow::Struct(vector_fields()),
        _ => return Err(unwritten(field)),
    })
}

fn unwritten(field: &StructField) -> Error {
    Error::schema(&field.name, "an output that can be made without the cluster", field.data_type.simple_string())
}

/// Returns the column of an output.
///
/// # Errors
/// [`Error::Data`] for a number whose text depends on the cluster's Java; [`Error::Param`] for values of another type.
pub(super) fn array(field: &StructField, values: &[Value]) -> Result<ArrayRef> {
    macro_rules! cells {
        ($array:ty, $($pattern:pat => $cell:expr),+) => {
            Arc::new(values.iter().map(|value| match value {
                Value::Null => Ok(None),
                $($pattern => Ok(Some($cell)),)+
                other => Err(mistyped(field, other)),
            }).collect::<Result<$array>>()?)
        };
    }
    macro_rules! whole {
        ($array:ty, $width:ty) => {
            cells!($array, Value::Whole(v) => <$width>::try_from(*v).map_err(|_| mistyped(field, &Value::Whole(*v)))?)
        };
    }
    Ok(match &field.data_type {
        DataType::Boolean => cells!(BooleanArray, Value::Bool(v) => *v),
        DataType::Byte => whole!(Int8Array, i8),
        DataType::Short => whole!(Int16Array, i16),
        DataType::Integer => whole!(Int32Array, i32),
        DataType::Long => whole!(Int64Array, i64),
        DataType::Float => cells!(Float32Array, Value::Float(v) => *v),
        DataType::Double => cells!(Float64Array, Value::Double(v) => *v),
        DataType::String { .. } => cells!(StringArray, Value::Text(v) => v.to_string()),
        DataType::Decimal { precision, scale } => {
            let digits: Arc<Decimal128Array> = cells!(Decimal128Array, Value::Decimal { digits, .. } => *digits);
            let (precision, scale) = (u8::try_from(*precision), i8::try_from(*scale));
            let (Ok(precision), Ok(scale)) = (precision, scale) else { return Err(unwritten(field)) };
            let typed = Arc::unwrap_or_clone(digits).with_precision_and_scale(precision, scale);
            Arc::new(typed.map_err(|e| Error::arrow(format!("writing column `{}`", field.name), e))?)
        }
        vector if is_vector(vector) => vectors(field, values)?,
        _ => return Err(unwritten(field)),
    })
}

fn mistyped(field: &StructField, value: &Value) -> Error {
    match value {
        Value::Spelled(_) => super::expression::unsure("an output", value),
        other => unknown(&format!("an output of {}", field.data_type.simple_string()), [other]),
    }
}

/// Returns the column of an output that was computed for all rows at once; none where it is not of the output's type.
///
/// # Errors
/// [`Error::Data`] for more numbers than a batch can hold.
pub(super) fn lanes(field: &StructField, lanes: Lanes) -> Result<Option<ArrayRef>> {
    Ok(match (&field.data_type, lanes) {
        (DataType::Double, Lanes::Double(values)) => Some(Arc::new(Float64Array::from(values))),
        (vector, Lanes::Vectors(offsets, numbers)) if is_vector(vector) => {
            let lengths = offsets.windows(2).map(|ends| ends[1] - ends[0]).collect();
            Some(dense(field, numbers, lengths, None)?)
        }
        _ => None,
    })
}

/// Vectors as values.
fn vectors(field: &StructField, values: &[Value]) -> Result<ArrayRef> {
    let (mut numbers, mut lengths) = (Vec::new(), Vec::with_capacity(values.len()));
    for value in values {
        match value {
            Value::Null => lengths.push(0),
            Value::Vector(vector) => {
                numbers.extend_from_slice(vector);
                lengths.push(vector.len());
            }
            other => return Err(mistyped(field, other)),
        }
    }
    let nulls: NullBuffer = values.iter().map(|value| !value.is_null()).collect();
    dense(field, numbers, lengths, (nulls.null_count() > 0).then_some(nulls))
}

/// Dense vectors: kind 1 and their numbers.
fn dense(field: &StructField, numbers: Vec<f64>, lengths: Vec<usize>, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
    let (rows, fields) = (lengths.len(), vector_fields());
    let fail = |e| Error::arrow(format!("writing column `{}`", field.name), e);
    if i32::try_from(numbers.len()).is_err() {
        return Err(Error::data(&field.name, DataProblem::too_many_numbers(numbers.len())));
    }
    let item = Arc::new(Field::new("element", Arrow::Float64, false));
    let numbers = Arc::new(Float64Array::from(numbers));
    let numbers =
        ListArray::try_new(item, OffsetBuffer::from_lengths(lengths), numbers, nulls.clone()).map_err(fail)?;
    let parts: Vec<ArrayRef> = vec![
        Arc::new(Int8Array::from(vec![1; rows])),
        new_null_array(fields[1].data_type(), rows),
        new_null_array(fields[2].data_type(), rows),
        Arc::new(numbers),
    ];
    Ok(Arc::new(StructArray::try_new(fields, parts, nulls).map_err(fail)?))
}
