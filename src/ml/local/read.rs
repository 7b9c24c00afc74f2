//! Arrow's columns as values.

use arrow::{
    array::{Array, ArrayRef, AsArray, StructArray},
    datatypes::{
        DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
        TimeUnit, TimestampMicrosecondType,
    },
};

use super::value::Value;
use crate::{DataProblem, Error, Result};

/// Returns the cells of a column, of the types that Spark would see.
///
/// # Errors
/// [`Error::Schema`] for a type that no stage reads; [`Error::Data`] for a vector that is none.
pub(super) fn cells(array: &ArrayRef, column: &str) -> Result<Vec<Value>> {
    macro_rules! primitive {
        ($arrow:ty, $value:expr) => {
            array.as_primitive::<$arrow>().iter().map(|cell| cell.map_or(Value::Null, $value)).collect()
        };
    }
    Ok(match array.data_type() {
        DataType::Null => vec![Value::Null; array.len()],
        DataType::Boolean => array.as_boolean().iter().map(Value::from).collect(),
        DataType::Int8 => primitive!(Int8Type, |v| Value::Whole(v.into())),
        DataType::Int16 => primitive!(Int16Type, |v| Value::Whole(v.into())),
        DataType::Int32 => primitive!(Int32Type, |v| Value::Whole(v.into())),
        DataType::Int64 => primitive!(Int64Type, Value::Whole),
        DataType::Float32 => primitive!(Float32Type, Value::Float),
        DataType::Float64 => primitive!(Float64Type, Value::Double),
        DataType::Date32 => primitive!(Date32Type, Value::Date),
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => primitive!(TimestampMicrosecondType, Value::Micros),
        DataType::Decimal128(_, scale) => primitive!(Decimal128Type, |digits| Value::Decimal { digits, scale: *scale }),
        DataType::Utf8 => array.as_string::<i32>().iter().map(text).collect(),
        DataType::LargeUtf8 => array.as_string::<i64>().iter().map(text).collect(),
        DataType::List(_) => {
            let lists = array.as_list::<i32>();
            let offsets = lists.value_offsets();
            let (first, last) = (offsets[0] as usize, offsets[offsets.len() - 1] as usize);
            let elements = cells(&lists.values().slice(first, last - first), column)?;
            let list = |row: usize| {
                let range = offsets[row] as usize - first..offsets[row + 1] as usize - first;
                if lists.is_null(row) { Value::Null } else { Value::Array(elements[range].into()) }
            };
            (0..lists.len()).map(list).collect()
        }
        DataType::Struct(_) => {
            let vectors = array.as_struct();
            (0..vectors.len()).map(|row| vector(vectors, row, column)).collect::<Result<_>>()?
        }
        other => {
            let expected = "numbers, text, times, arrays or vectors, which stages can read locally";
            return Err(Error::schema(column, expected, format!("Arrow {other}")));
        }
    })
}

fn text(cell: Option<&str>) -> Value {
    cell.map_or(Value::Null, |text| Value::Text(text.into()))
}

/// Returns a vector of Spark ML's, dense or sparse, in the form that Spark stores it in.
fn vector(vectors: &StructArray, row: usize, column: &str) -> Result<Value> {
    if vectors.is_null(row) {
        return Ok(Value::Null);
    }
    let odd = || {
        let found = vectors.data_type().to_string();
        Error::schema(column, "a vector, in the struct form in which vectors stream from Spark", found)
    };
    let part = |name| vectors.column_by_name(name).ok_or_else(odd);
    let list = |name| Ok::<_, Error>(part(name)?.as_list_opt::<i32>().ok_or_else(odd)?.value(row));
    let damaged = |what: &str| {
        Error::cell(column, row as u64, DataProblem::Malformed { reason: format!("expected a vector, {what}") })
    };
    let values = list("values")?;
    let values = values.as_primitive_opt::<Float64Type>().ok_or_else(odd)?;
    if part("type")?.as_primitive_opt::<Int8Type>().ok_or_else(odd)?.value(row) == 1 {
        return Ok(Value::Vector(values.values().as_ref().into()));
    }
    let size = part("size")?.as_primitive_opt::<Int32Type>().ok_or_else(odd)?.value(row);
    let indices = list("indices")?;
    let indices = indices.as_primitive_opt::<Int32Type>().ok_or_else(odd)?;
    if indices.len() != values.len() {
        return Err(damaged("found other numbers of indices and values"));
    }
    // A vector longer than any batch can hold is refused before its memory is taken.
    const LONGEST: usize = 1 << 28;
    let size =
        usize::try_from(size).ok().filter(|size| *size <= LONGEST).ok_or_else(|| damaged("found an illegal size"))?;
    let mut dense = vec![0.0; size];
    for (index, value) in indices.values().iter().zip(values.values()) {
        let place = usize::try_from(*index).ok().and_then(|index| dense.get_mut(index));
        *place.ok_or_else(|| damaged("found an index outside"))? = *value;
    }
    Ok(Value::Vector(dense.into()))
}
