//! A checksum of all rows in their order, by which a resumed run knows whether it reads the same ones.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use crc32fast::Hasher;
use serde::{Deserialize, Serialize};

/// Number and checksum of the rows that a run reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RowSum {
    /// Rows that were usable.
    pub(super) rows: u64,
    /// CRC-32 of every column's values, in order; the same however the rows are divided into batches.
    pub(super) checksum: u32,
}

/// Sums up canonical batches as they arrive.
#[derive(Debug, Default)]
pub(super) struct RowSummer {
    rows: u64,
    columns: Vec<ColumnHasher>,
}

/// Lengths of lists apart from their values, so that it is no matter where a batch ends.
#[derive(Debug, Clone, Default)]
struct ColumnHasher {
    lengths: Hasher,
    values: Hasher,
    /// Of the fields of a struct.
    fields: Vec<ColumnHasher>,
}

impl RowSummer {
    pub(super) fn add(&mut self, batch: &RecordBatch) {
        self.rows += batch.num_rows() as u64;
        self.columns.resize_with(batch.num_columns(), ColumnHasher::default);
        for (column, hasher) in batch.columns().iter().zip(&mut self.columns) {
            hasher.add(column);
        }
    }

    pub(super) fn sum(&self) -> RowSum {
        let mut all = Hasher::new();
        for column in &self.columns {
            column.clone().finish(&mut all);
        }
        RowSum { rows: self.rows, checksum: all.finalize() }
    }
}

impl ColumnHasher {
    fn finish(self, all: &mut Hasher) {
        all.update(&self.lengths.finalize().to_le_bytes());
        all.update(&self.values.finalize().to_le_bytes());
        self.fields.into_iter().for_each(|field| field.finish(all));
    }

    /// Adds a canonical column: numbers, fixed-size lists or lists of them or of structs of them, without nulls.
    fn add(&mut self, column: &ArrayRef) {
        match column.data_type() {
            DataType::List(_) => {
                let list = column.as_list::<i32>();
                list.offsets().lengths().for_each(|length| self.lengths.update(&(length as u64).to_le_bytes()));
                let offsets = list.value_offsets();
                let (begin, end) = (offsets[0] as usize, offsets[offsets.len() - 1] as usize);
                self.add(&list.values().slice(begin, end - begin));
            }
            DataType::Struct(fields) => {
                self.fields.resize_with(fields.len(), ColumnHasher::default);
                let columns = column.as_struct().columns().iter();
                columns.zip(&mut self.fields).for_each(|(column, hasher)| hasher.add(column));
            }
            DataType::FixedSizeList(..) => self.add(column.as_fixed_size_list().values()),
            _ => {
                let data = column.to_data();
                let width = column.data_type().primitive_width().unwrap_or(1);
                if let Some(values) = data.buffers().first() {
                    let bytes = data.offset() * width..(data.offset() + data.len()) * width;
                    self.values.update(&values.as_slice()[bytes]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{FixedSizeListArray, Float64Array, ListArray},
        datatypes::{Float32Type, UInt32Type},
    };

    use super::*;

    fn batch(shift: f32) -> RecordBatch {
        let features = (0..9).map(|i| Some([Some(i as f32), Some(shift)]));
        let features = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(features, 2);
        let words = (0..9u32).map(|i| Some((0..i % 4).map(Some)));
        let words = ListArray::from_iter_primitive::<UInt32Type, _, _>(words);
        let label = Float64Array::from_iter_values((0..9).map(f64::from));
        let columns: [(&str, ArrayRef); 3] =
            [("features", Arc::new(features)), ("words", Arc::new(words)), ("label", Arc::new(label))];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    fn sum(batches: &[RecordBatch]) -> RowSum {
        let mut summer = RowSummer::default();
        batches.iter().for_each(|batch| summer.add(batch));
        summer.sum()
    }

    #[test]
    fn sum_follows_from_the_rows_and_their_order_alone() {
        let whole = batch(0.0);
        let parts = |cuts: &[usize]| {
            let ends = cuts.iter().skip(1).chain([&9]);
            cuts.iter().zip(ends).map(|(begin, end)| whole.slice(*begin, end - begin)).collect::<Vec<_>>()
        };
        let expected = sum(std::slice::from_ref(&whole));
        assert_eq!(expected.rows, 9);
        for cuts in [&[0, 4][..], &[0, 1, 1, 8], &[0, 3, 6]] {
            assert_eq!(sum(&parts(cuts)), expected, "{cuts:?}");
        }
        assert_ne!(sum(&[whole.slice(4, 5), whole.slice(0, 4)]).checksum, expected.checksum, "another order");
        assert_ne!(sum(&[batch(1e-6)]).checksum, expected.checksum, "another value");
        assert_ne!(sum(&[whole.slice(0, 8)]), expected, "a row less");
    }
}
