//! From tensors to columns, in the forms that Spark's tables have.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, BinaryArray, Int8Array, Int32Array, ListArray, StructArray, new_empty_array},
    buffer::{NullBuffer, OffsetBuffer},
    compute::cast,
    datatypes::{DataType, Field, Fields},
};
use candle_core::{DType, Tensor};

use super::{Dtype, SPARK_METADATA, TensorType};
use crate::{Error, Result};

/// Layout of tensors in a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TensorForm {
    /// A number; for rows of shape `[]` only.
    Number,
    /// Nested arrays, one nesting a dimension. Unsigned bytes become `smallint`, as Spark has none.
    Array,
    /// Spark ML's dense vector; for rows of one dimension only.
    Vector,
    /// Little-endian, row-major bytes.
    Bytes,
    /// `struct<shape: array<int>, values: array<T>>`.
    Shaped,
}

/// Lays a batch of tensors `(rows, …)` out as a column, with its metadata.
///
/// # Errors
/// [`Error::Param`] for a tensor without rows' dimension, of a type that no column has, or of a shape that the form
/// cannot have; [`Error::Tensor`] when it cannot be read from its device.
pub fn encode(name: &str, form: TensorForm, batch: &Tensor) -> Result<(Field, ArrayRef)> {
    let Some((&rows, shape)) = batch.dims().split_first() else {
        return Err(Error::param("batch", "a tensor of shape []", "a tensor whose first dimension is the rows"));
    };
    let tensor = TensorType::new(dtype(batch.dtype())?, shape.iter().copied());
    let lengths = vec![shape.iter().product(); rows];
    lay_out(name, form, tensor, values(batch)?, &lengths, None)
}

/// Lays sequences `(steps, …)` out as a column, one tensor a row; a row without one is null.
///
/// # Errors
/// As [`encode`]; [`Error::Param`] too when rows differ in type or in the shape of their steps, or there is none to
/// tell.
pub fn encode_ragged(name: &str, form: TensorForm, rows: &[Option<Tensor>]) -> Result<(Field, ArrayRef)> {
    let Some(first) = rows.iter().flatten().next().filter(|tensor| tensor.rank() > 0) else {
        return Err(Error::param("rows", "no sequence", "at least one tensor, whose first dimension is the steps"));
    };
    let (step, kind) = (&first.dims()[1..], first.dtype());
    let (mut parts, mut lengths) = (Vec::new(), Vec::new());
    for (row, tensor) in rows.iter().enumerate() {
        let Some(tensor) = tensor else {
            lengths.push(0);
            continue;
        };
        if tensor.dtype() != kind || tensor.rank() == 0 || tensor.dims()[1..] != *step {
            let found = format!("{:?} of shape {:?} in row {row}", tensor.dtype(), tensor.dims());
            return Err(Error::param("rows", found, format!("{kind:?} of shape [any, {step:?}], as those before")));
        }
        lengths.push(tensor.elem_count());
        parts.push(values(tensor)?);
    }
    let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
    let values = arrow::compute::concat(&parts).map_err(|e| Error::arrow("joining sequences", e))?;
    let nulls = NullBuffer::from_iter(rows.iter().map(Option::is_some));
    let tensor = TensorType::ragged(dtype(kind)?, step.iter().copied());
    lay_out(name, form, tensor, values, &lengths, Some(nulls).filter(|nulls| nulls.null_count() > 0))
}

fn dtype(found: DType) -> Result<Dtype> {
    Ok(match found {
        DType::U8 => Dtype::Uint8,
        DType::U32 => Dtype::Uint32,
        DType::I16 => Dtype::Int16,
        DType::I32 => Dtype::Int32,
        DType::I64 => Dtype::Int64,
        DType::F16 => Dtype::Float16,
        DType::F32 => Dtype::Float32,
        DType::F64 => Dtype::Float64,
        other => {
            let legal = "a tensor of u8, u32, i16, i32, i64, f16, f32 or f64; convert it first";
            return Err(Error::param("dtype", other.as_str(), legal));
        }
    })
}

/// Returns a tensor's numbers, row-major.
fn values(tensor: &Tensor) -> Result<ArrayRef> {
    use arrow::array::{Float16Array, Float32Array, Float64Array, Int16Array, Int64Array, UInt8Array, UInt32Array};
    let read = || -> candle_core::Result<ArrayRef> {
        let flat = tensor.flatten_all()?;
        Ok(match tensor.dtype() {
            DType::U8 => Arc::new(UInt8Array::from(flat.to_vec1::<u8>()?)),
            DType::U32 => Arc::new(UInt32Array::from(flat.to_vec1::<u32>()?)),
            DType::I16 => Arc::new(Int16Array::from(flat.to_vec1::<i16>()?)),
            DType::I32 => Arc::new(Int32Array::from(flat.to_vec1::<i32>()?)),
            DType::I64 => Arc::new(Int64Array::from(flat.to_vec1::<i64>()?)),
            DType::F16 => Arc::new(Float16Array::from(flat.to_vec1::<half::f16>()?)),
            DType::F64 => Arc::new(Float64Array::from(flat.to_vec1::<f64>()?)),
            _ => Arc::new(Float32Array::from(flat.to_dtype(DType::F32)?.to_vec1::<f32>()?)),
        })
    };
    read().map_err(|e| Error::tensor("reading a tensor from its device", e))
}

fn lay_out(
    name: &str,
    form: TensorForm,
    tensor: TensorType,
    values: ArrayRef,
    lengths: &[usize],
    nulls: Option<NullBuffer>,
) -> Result<(Field, ArrayRef)> {
    let fail = |e| Error::arrow(format!("laying out column `{name}`"), e);
    if i32::try_from(values.len().saturating_mul(tensor.dtype.size())).is_err() {
        let legal = "at most 2³¹ bytes; write smaller batches";
        return Err(Error::param("batch", format!("{} values", values.len()), legal));
    }
    let unfit = |legal: &str| Err(Error::param("form", format!("{form:?} for shape {:?}", tensor.shape), legal));
    // Types that Spark has.
    let plain = |values: &ArrayRef| match tensor.dtype {
        Dtype::Uint8 => cast(values, &DataType::Int16),
        Dtype::Uint32 => cast(values, &DataType::Int64),
        Dtype::Float16 => cast(values, &DataType::Float32),
        _ => Ok(values.clone()),
    };
    let array: ArrayRef = match form {
        TensorForm::Number => match tensor.shape.is_empty() {
            true => plain(&values).map_err(fail)?,
            false => return unfit("Number only for rows of shape []"),
        },
        TensorForm::Array => match tensor.shape.as_slice() {
            [] => return unfit("Array only for rows of at least one dimension"),
            [_, inner @ ..] => nest(plain(&values).map_err(fail)?, inner, lengths, nulls).map_err(fail)?,
        },
        TensorForm::Vector => match tensor.shape.as_slice() {
            [_] => vectors(&values, lengths, nulls).map_err(fail)?,
            _ => return unfit("Vector only for rows of one dimension"),
        },
        TensorForm::Bytes => {
            let offsets = OffsetBuffer::from_lengths(lengths.iter().map(|n| n * tensor.dtype.size()));
            // Arrow's buffers are little-endian on this machine, like the bytes.
            let data = values.to_data();
            let bytes = data.buffers()[0]
                .slice_with_length(data.offset() * tensor.dtype.size(), values.len() * tensor.dtype.size());
            Arc::new(BinaryArray::try_new(offsets, bytes, nulls).map_err(fail)?)
        }
        TensorForm::Shaped => shaped(plain(&values).map_err(fail)?, &tensor, lengths, nulls).map_err(fail)?,
    };
    let json = serde_json::Value::Object(tensor.to_metadata()).to_string();
    let metadata = [(SPARK_METADATA.to_owned(), json)].into();
    Ok((Field::new(name, array.data_type().clone(), true).with_metadata(metadata), array))
}

type Arrowed = Result<ArrayRef, arrow::error::ArrowError>;

fn list(values: ArrayRef, lengths: impl IntoIterator<Item = usize>, nulls: Option<NullBuffer>) -> Arrowed {
    let field = Arc::new(Field::new_list_field(values.data_type().clone(), false));
    Ok(Arc::new(ListArray::try_new(field, OffsetBuffer::from_lengths(lengths), values, nulls)?))
}

/// Nested lists: `inner` sizes within, rows of `lengths` values outside.
fn nest(values: ArrayRef, inner: &[Option<usize>], lengths: &[usize], nulls: Option<NullBuffer>) -> Arrowed {
    let step: usize = inner.iter().flatten().product();
    let mut nested = values;
    for size in inner.iter().rev().flatten() {
        let count = nested.len().checked_div(*size).unwrap_or(0);
        nested = list(nested, std::iter::repeat_n(*size, count), None)?;
    }
    list(nested, lengths.iter().map(|n| n.checked_div(step).unwrap_or(0)), nulls)
}

/// Dense vectors.
fn vectors(values: &ArrayRef, lengths: &[usize], nulls: Option<NullBuffer>) -> Arrowed {
    let rows = lengths.len();
    let indices =
        list(new_empty_array(&DataType::Int32), std::iter::repeat_n(0, rows), Some(NullBuffer::new_null(rows)))?;
    let values = list(cast(values, &DataType::Float64)?, lengths.iter().copied(), None)?;
    let fields = Fields::from(vec![
        Field::new("type", DataType::Int8, false),
        Field::new("size", DataType::Int32, true),
        Field::new("indices", indices.data_type().clone(), true),
        Field::new("values", values.data_type().clone(), true),
    ]);
    let kinds = Arc::new(Int8Array::from(vec![1; rows]));
    let sizes = Arc::new(Int32Array::new_null(rows));
    Ok(Arc::new(StructArray::try_new(fields, vec![kinds, sizes, indices, values], nulls)?))
}

fn shaped(values: ArrayRef, tensor: &TensorType, lengths: &[usize], nulls: Option<NullBuffer>) -> Arrowed {
    let step: usize = tensor.shape.iter().flatten().product();
    let dims = lengths
        .iter()
        .flat_map(|n| tensor.shape.iter().map(move |d| d.unwrap_or(n.checked_div(step).unwrap_or(0)) as i32));
    let dims: ArrayRef = Arc::new(Int32Array::from_iter_values(dims));
    let shapes = list(dims, std::iter::repeat_n(tensor.shape.len(), lengths.len()), None)?;
    let values = list(values, lengths.iter().copied(), None)?;
    let fields = Fields::from(vec![
        Field::new("shape", shapes.data_type().clone(), true),
        Field::new("values", values.data_type().clone(), true),
    ]);
    Ok(Arc::new(StructArray::try_new(fields, vec![shapes, values], nulls)?))
}
