//! Numbers, arrays, vectors, raw bytes and sequences, through the tensor codec.

use arrow::{array::RecordBatch, datatypes::Schema};
use serde::{Deserialize, Serialize};

use super::{
    super::{
        ElementType, TensorField,
        cells::{CellFault, Cells, Values},
        codec::{Dtype, TensorCodec, TensorType},
        columns::position,
        convert::Real,
    },
    ColumnReader,
};
use crate::{Result, number};

/// Reads a tensor column of any [form](crate::tensor::codec).
///
/// A row that is null, of another shape, or holds a NaN or an infinity is a fault.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TensorReader {
    column: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tensor: Option<TensorType>,
    #[serde(default, with = "number::optional", skip_serializing_if = "Option::is_none")]
    fill: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    element: Option<ElementType>,
}

impl TensorReader {
    /// Reads a column whose type or metadata says what it holds.
    pub fn new(column: impl Into<String>) -> Self {
        Self { column: column.into(), tensor: None, fill: None, element: None }
    }

    /// Reads numbers of any type; booleans are 0 and 1.
    pub fn number(column: impl Into<String>) -> Self {
        Self::new(column).of(TensorType::new(Dtype::Float32, []))
    }

    /// Reads little-endian, row-major bytes.
    pub fn bytes(column: impl Into<String>, dtype: Dtype, shape: impl IntoIterator<Item = usize>) -> Self {
        Self::new(column).of(TensorType::new(dtype, shape))
    }

    /// Reads sequences of any length, whose steps have this shape: arrays of arrays, arrays of structs of numbers, flat
    /// arrays, bytes, or structs of `shape` and `values`.
    pub fn sequence(column: impl Into<String>, step: impl IntoIterator<Item = usize>) -> Self {
        Self::new(column).of(TensorType::ragged(Dtype::Float32, step))
    }

    /// Says what the column holds, whatever its metadata says.
    pub fn of(mut self, tensor: TensorType) -> Self {
        self.tensor = Some(tensor);
        self
    }

    /// Puts this number where a cell, or a number in it, is null.
    pub fn fill_nulls(mut self, value: f64) -> Self {
        self.fill = Some(value);
        self
    }

    /// Gives the numbers as another type than their dtype suggests, such as `U32` for ids.
    pub fn element(mut self, element: ElementType) -> Self {
        self.element = Some(element);
        self
    }

    /// Returns the declared tensor type; `None` until fitted.
    pub fn declared(&self) -> Option<&TensorType> {
        self.tensor.as_ref()
    }

    /// Returns the column it reads.
    pub(crate) fn column(&self) -> &str {
        &self.column
    }

    /// Returns whether a column of numbers, or of arrays of them, is read unchanged.
    pub(crate) fn is_plain(&self) -> bool {
        self.fill.is_none() && self.gives_single()
    }

    /// Returns whether the numbers are taken in single precision.
    pub fn gives_single(&self) -> bool {
        let element = self.element.or(self.tensor.as_ref().map(|tensor| tensor.dtype.element()));
        element.is_none_or(|element| element == ElementType::F32)
    }

    fn codec(&self, schema: &Schema) -> Result<TensorCodec> {
        let field = schema.field(position(schema, &self.column)?);
        let codec = TensorCodec::bind(field, self.tensor.as_ref())?.fill_nulls(self.fill);
        Ok(match self.element {
            Some(element) => codec.element(element),
            None => codec,
        })
    }
}

impl ColumnReader for TensorReader {
    fn columns(&self) -> Vec<&str> {
        vec![&self.column]
    }

    fn bind(&self, name: &str, schema: &Schema) -> Result<TensorField> {
        Ok(TensorField { name: name.to_owned(), ..self.codec(schema)?.field().clone() })
    }

    fn read(&self, batch: &RecordBatch) -> Result<Cells> {
        let codec = self.codec(batch.schema_ref())?;
        let mut cells = codec.decode(batch.column(position(batch.schema_ref(), &self.column)?))?;
        refuse_infinite(&mut cells, codec.field().count(), batch.num_rows());
        Ok(cells)
    }
}

/// Makes faults of rows with a NaN or an infinity among their numbers.
fn refuse_infinite(cells: &mut Cells, count: usize, rows: usize) {
    let offsets = cells.offsets.as_deref();
    let odd = match &cells.values {
        Values::F32(values) => not_finite(values, offsets, count, rows),
        Values::F64(values) => not_finite(values, offsets, count, rows),
        Values::U8(_) | Values::U32(_) | Values::Sparse(_) => return,
    };
    if odd.is_empty() {
        return;
    }
    let reason = "holds a NaN or an infinity (or a number too large for single precision)";
    cells.faults.extend(odd.into_iter().map(|row| CellFault { row, reason: reason.into() }));
    cells.faults.sort_by_key(|fault| fault.row);
}

/// Returns the rows that hold a number that is not finite.
fn not_finite<T: Real>(values: &[T], offsets: Option<&[i32]>, count: usize, rows: usize) -> Vec<usize> {
    // Without an early exit, so that it runs as wide as the processor can.
    let finite = |values: &[T]| values.iter().fold(true, |all, value| all & value.is_finite());
    if finite(values) {
        return Vec::new();
    }
    let row = |row: usize| match offsets {
        Some(offsets) => &values[offsets[row] as usize..offsets[row + 1] as usize],
        None => &values[row * count..(row + 1) * count],
    };
    (0..rows).filter(|&at| !finite(row(at))).collect()
}
