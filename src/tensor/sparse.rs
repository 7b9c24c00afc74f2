//! Rows of mostly zeros, of which only the other values are kept.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, Float32Array, ListArray, StructArray, UInt32Array},
    buffer::{OffsetBuffer, ScalarBuffer},
    datatypes::{DataType, Field, Fields, Float32Type, UInt32Type},
};

use super::TensorField;
use crate::{DataProblem, Error, Result};

/// Rows in compressed form (CSR, as `scipy.sparse.csr_matrix`): values with their positions, row after row.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SparseRows {
    /// Number of values of a row, zeros included.
    pub width: usize,
    /// Position in `indices` and `values` at which each row begins, and behind them the end of the last one.
    pub offsets: Vec<u32>,
    /// Position of each value in its row, below `width`, in increasing order within a row.
    pub indices: Vec<u32>,
    /// The values.
    pub values: Vec<f32>,
}

impl SparseRows {
    /// Creates rows of `width` values, of which there is none yet.
    pub fn new(width: usize) -> Self {
        Self { width, offsets: vec![0], indices: Vec::new(), values: Vec::new() }
    }

    /// Returns the number of rows.
    pub fn rows(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Ends a row: the values appended since the last one ended are its own.
    pub(super) fn end_row(&mut self) {
        self.offsets.push(self.values.len() as u32);
    }

    /// Removes what was appended since the last row ended.
    pub(super) fn discard_row(&mut self) {
        let begin = self.offsets.last().copied().unwrap_or(0) as usize;
        self.indices.truncate(begin);
        self.values.truncate(begin);
    }

    /// Appends one row.
    pub(super) fn append(&mut self, indices: &[u32], values: &[f32]) {
        self.indices.extend_from_slice(indices);
        self.values.extend_from_slice(values);
        self.end_row();
    }

    /// Returns the rows from `begin` to `end`.
    pub fn slice(&self, begin: usize, end: usize) -> Self {
        let (first, last) = (self.offsets[begin], self.offsets[end]);
        let values = first as usize..last as usize;
        Self {
            width: self.width,
            offsets: self.offsets[begin..=end].iter().map(|offset| offset - first).collect(),
            indices: self.indices[values.clone()].to_vec(),
            values: self.values[values].to_vec(),
        }
    }

    /// Keeps the rows whose flag is set.
    pub(super) fn retain(&mut self, keep: impl Fn(usize) -> bool) {
        let mut kept = Self::new(self.width);
        for row in (0..self.rows()).filter(|&row| keep(row)) {
            let values = self.offsets[row] as usize..self.offsets[row + 1] as usize;
            kept.append(&self.indices[values.clone()], &self.values[values]);
        }
        *self = kept;
    }

    /// Returns all values, zeros included, row-major.
    pub fn to_dense(&self) -> Vec<f32> {
        let mut dense = vec![0.0; self.rows() * self.width];
        for row in 0..self.rows() {
            for value in self.offsets[row] as usize..self.offsets[row + 1] as usize {
                dense[row * self.width + self.indices[value] as usize] = self.values[value];
            }
        }
        dense
    }

    /// Returns the rows as the canonical column of a sparse [`TensorField`].
    pub(super) fn into_array(self, field: &TensorField) -> Result<ArrayRef> {
        let fail = |e| Error::arrow(format!("laying out column `{}`", field.name), e);
        let offsets = OffsetBuffer::new(self.offsets.iter().map(|&offset| offset as i32).collect());
        let columns: Vec<ArrayRef> =
            vec![Arc::new(UInt32Array::from(self.indices)), Arc::new(Float32Array::from(self.values))];
        let entries = StructArray::try_new(entry_fields(), columns, None).map_err(fail)?;
        Ok(Arc::new(ListArray::try_new(entry(), offsets, Arc::new(entries), None).map_err(fail)?))
    }
}

/// A column of sparse rows in a canonical batch.
#[derive(Debug, Clone)]
pub(super) struct SparseColumn {
    offsets: OffsetBuffer<i32>,
    indices: ScalarBuffer<u32>,
    values: ScalarBuffer<f32>,
}

impl SparseColumn {
    /// Wraps a column of rows of `width` values.
    pub(super) fn new(name: &str, width: usize, array: &ArrayRef) -> Result<Self> {
        let list = array.as_list::<i32>();
        let entries = list.values().as_struct();
        let indices = entries.column(0).as_primitive::<UInt32Type>().values().clone();
        let values = entries.column(1).as_primitive::<Float32Type>().values().clone();
        if list.null_count() + entries.null_count() > 0 {
            return Err(Error::data(name, DataProblem::Malformed { reason: "expected no null, found some".into() }));
        }
        if let Some(index) = indices.iter().find(|&&index| index as usize >= width) {
            let reason = format!("expected positions below {width}, found {index}");
            return Err(Error::data(name, DataProblem::Malformed { reason }));
        }
        Ok(Self { offsets: list.offsets().clone(), indices, values })
    }

    /// Number of values of a row that are kept.
    pub(super) fn len(&self, row: usize) -> usize {
        (self.offsets[row + 1] - self.offsets[row]) as usize
    }

    /// Appends one row to others.
    pub(super) fn copy(&self, row: usize, out: &mut SparseRows) {
        let values = self.offsets[row] as usize..self.offsets[row + 1] as usize;
        out.append(&self.indices[values.clone()], &self.values[values]);
    }
}

/// Returns the Arrow type of a sparse row: `List<Struct<index: UInt32, value: Float32>>`.
pub(super) fn sparse_type() -> DataType {
    DataType::List(entry())
}

fn entry() -> Arc<Field> {
    Arc::new(Field::new_list_field(DataType::Struct(entry_fields()), false))
}

fn entry_fields() -> Fields {
    let index = Field::new("index", DataType::UInt32, false);
    Fields::from(vec![index, Field::new("value", DataType::Float32, false)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> SparseRows {
        let mut rows = SparseRows::new(5);
        rows.append(&[1, 4], &[2.0, -1.0]);
        rows.append(&[], &[]);
        rows.append(&[0], &[7.0]);
        rows
    }

    #[test]
    fn rows_survive_a_canonical_column() {
        let field = TensorField::sparse("x", 5);
        let array = rows().into_array(&field).unwrap();
        assert_eq!(*array.data_type(), sparse_type());
        let column = SparseColumn::new("x", 5, &array).unwrap();
        let mut back = SparseRows::new(5);
        (0..3).for_each(|row| column.copy(row, &mut back));
        assert_eq!((column.len(0), back), (2, rows()));
        let refused = SparseColumn::new("x", 4, &array).unwrap_err();
        assert!(refused.to_string().contains("positions below 4, found 4"), "{refused}");
    }

    #[test]
    fn parts_and_dense_values_are_those_of_the_rows() {
        assert_eq!(rows().slice(1, 3).to_dense(), [0.0, 0.0, 0.0, 0.0, 0.0, 7.0, 0.0, 0.0, 0.0, 0.0]);
        let mut kept = rows();
        kept.retain(|row| row != 1);
        assert_eq!(kept.to_dense(), [0.0, 2.0, 0.0, 0.0, -1.0, 7.0, 0.0, 0.0, 0.0, 0.0]);
    }
}
