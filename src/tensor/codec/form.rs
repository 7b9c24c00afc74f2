//! Which physical form a column has, and which shape its type or metadata gives it.

use arrow::datatypes::{DataType, Field, Fields};
use serde_json::{Map, Value};

use super::{Dtype, SPARK_METADATA, TensorType};
use crate::{Error, Result};

const EXTENSION: &str = "ARROW:extension:name";
const EXTENSION_METADATA: &str = "ARROW:extension:metadata";
const FIXED_SHAPE: &str = "arrow.fixed_shape_tensor";

/// A column's physical form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ColumnForm {
    Number,
    /// Lists of numbers, nested so deep.
    Lists(usize),
    /// Lists of structs of numbers.
    Steps,
    Vector,
    Bytes,
    Shaped,
}

fn is_number(data_type: &DataType) -> bool {
    data_type.is_numeric() || *data_type == DataType::Boolean
}

fn item(data_type: &DataType) -> Option<&Field> {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => Some(item),
        _ => None,
    }
}

/// Returns the type of a list's numbers, however deep they lie, and how deep that is.
fn leaf(data_type: &DataType) -> (&DataType, usize) {
    match item(data_type) {
        Some(item) => {
            let (leaf, depth) = leaf(item.data_type());
            (leaf, depth + 1)
        }
        None => (data_type, 0),
    }
}

/// Spark ML's vector as it travels: `struct<type: tinyint, size: int, indices: array<int>, values: array<double>>`.
fn is_vector(fields: &Fields) -> bool {
    let is = |i: usize, name: &str, fits: fn(&DataType) -> bool| {
        fields.get(i).is_some_and(|field| field.name() == name && fits(field.data_type()))
    };
    let list_of = |i: usize, name: &str, of: DataType| {
        fields.get(i).is_some_and(|field| {
            field.name() == name && matches!(field.data_type(), DataType::List(item) if *item.data_type() == of)
        })
    };
    fields.len() == 4
        && is(0, "type", |t| *t == DataType::Int8)
        && is(1, "size", |t| *t == DataType::Int32)
        && list_of(2, "indices", DataType::Int32)
        && list_of(3, "values", DataType::Float64)
}

/// `struct<shape: array<int>, values: array<T>>`.
fn is_shaped(fields: &Fields) -> bool {
    let numbers = |i: usize, name: &str| {
        let list = |t: &DataType| matches!(t, DataType::List(item) if is_number(item.data_type()));
        fields.get(i).is_some_and(|field| field.name() == name && list(field.data_type()))
    };
    fields.len() == 2 && numbers(0, "shape") && numbers(1, "values")
}

/// Returns the form of a type.
pub(super) fn form(field: &Field) -> Result<ColumnForm> {
    Ok(match field.data_type() {
        number if is_number(number) => ColumnForm::Number,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            ColumnForm::Bytes
        }
        DataType::Struct(fields) if is_vector(fields) => ColumnForm::Vector,
        DataType::Struct(fields) if is_shaped(fields) => ColumnForm::Shaped,
        other => match leaf(other) {
            (number, depth) if depth > 0 && is_number(number) => ColumnForm::Lists(depth),
            (DataType::Struct(fields), 1) if !fields.is_empty() && fields.iter().all(|f| is_number(f.data_type())) => {
                ColumnForm::Steps
            }
            _ => {
                let expected = "numbers, arrays of them (nested or not), arrays of structs of them, a Spark ML vector, \
                                bytes, or a struct of `shape` and `values`";
                return Err(Error::schema(field.name(), expected, other.to_string()));
            }
        },
    })
}

/// Returns the tensor type of the column, as far as its metadata or its type declares it.
pub(super) fn tensor_type(field: &Field, form: ColumnForm) -> Result<Option<TensorType>> {
    let name = field.name();
    let metadata: Map<String, Value> =
        field.metadata().get(SPARK_METADATA).and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
    if let Some(declared) = TensorType::from_metadata(name, &metadata)? {
        return Ok(Some(declared));
    }
    if let Some(shape) = extension(field)? {
        return Ok(Some(TensorType::new(dtype(field.data_type()), shape)));
    }
    Ok(match form {
        ColumnForm::Number => Some(TensorType::new(dtype(field.data_type()), [])),
        ColumnForm::Vector => {
            let size = metadata.get("ml_attr").and_then(|attr| attr.get("num_attrs")).and_then(Value::as_u64);
            size.map(|size| TensorType::new(Dtype::Float64, [size as usize]))
        }
        ColumnForm::Steps => match item(field.data_type()).map(Field::data_type) {
            Some(DataType::Struct(fields)) => Some(TensorType::ragged(Dtype::Float32, [fields.len()])),
            _ => None,
        },
        ColumnForm::Lists(_) => fixed(field.data_type()).map(|shape| TensorType::new(dtype(field.data_type()), shape)),
        ColumnForm::Bytes | ColumnForm::Shaped => None,
    })
}

/// Returns the sizes of lists that are fixed all the way down.
fn fixed(data_type: &DataType) -> Option<Vec<usize>> {
    match data_type {
        DataType::FixedSizeList(item, size) => {
            let mut shape = vec![usize::try_from(*size).ok()?];
            shape.extend(fixed(item.data_type())?);
            Some(shape)
        }
        number => is_number(number).then(Vec::new),
    }
}

/// Returns the shape that Arrow's fixed-shape tensor extension gives.
fn extension(field: &Field) -> Result<Option<Vec<usize>>> {
    if field.metadata().get(EXTENSION).map(String::as_str) != Some(FIXED_SHAPE) {
        return Ok(None);
    }
    let text = field.metadata().get(EXTENSION_METADATA).map_or("", String::as_str);
    let json: Value = serde_json::from_str(text).unwrap_or_default();
    let numbers = |key: &str| -> Option<Vec<usize>> {
        json.get(key)?.as_array()?.iter().map(|n| usize::try_from(n.as_u64()?).ok()).collect()
    };
    let in_order = numbers("permutation").is_none_or(|order| order.iter().copied().eq(0..order.len()));
    match numbers("shape") {
        Some(shape) if in_order => Ok(Some(shape)),
        _ => Err(Error::schema(
            field.name(),
            "a fixed-shape tensor with a shape, in row-major order",
            format!("`{text}`"),
        )),
    }
}

/// Returns the dtype nearest to a type's numbers.
pub(super) fn dtype(data_type: &DataType) -> Dtype {
    match leaf(data_type).0 {
        DataType::UInt8 => Dtype::Uint8,
        DataType::Int8 => Dtype::Int8,
        DataType::Int16 => Dtype::Int16,
        DataType::Int32 => Dtype::Int32,
        DataType::UInt32 => Dtype::Uint32,
        DataType::Int64 => Dtype::Int64,
        DataType::Float16 => Dtype::Float16,
        DataType::Float64 => Dtype::Float64,
        _ => Dtype::Float32,
    }
}
