//! Reads the feature columns of a batch into one row-major block.

use std::collections::BTreeMap;

use arrow::{
    array::{ArrayRef, RecordBatch},
    datatypes::Schema,
};

use super::{
    Columns, SparseRows,
    columns::typed_field,
    convert::{Column, Fault, Real, is_feature},
    reader::RecordReader,
};
use crate::{DataProblem, Error, Result, stream::nested_column};

/// Reads feature columns, side by side, as single-precision rows.
///
/// A number or a boolean is one value; an array, or a Spark ML vector (dense or sparse), is as many as it has. How many
/// that is comes from the first row that has any, and every later row must agree.
#[derive(Debug, Clone)]
pub struct FeatureReader {
    columns: Vec<FeatureColumn>,
    /// Reads the rows in place of the columns, where there is one.
    records: Option<RecordReader>,
    rows_read: u64,
}

#[derive(Debug, Clone)]
struct FeatureColumn {
    name: String,
    /// Which column it is, or which field of which struct.
    places: Vec<usize>,
    width: Option<usize>,
}

/// Problems of some rows of a batch.
#[derive(Debug, Clone)]
pub(super) struct Faults {
    /// One flag a row.
    pub(super) bad: Vec<bool>,
    /// The first fault of each such row.
    each: BTreeMap<usize, FeatureFault>,
}

#[derive(Debug, Clone)]
struct FeatureFault {
    column: String,
    /// The row of the stream.
    row: u64,
    fault: Fault,
}

impl Faults {
    pub(super) fn count(&self) -> u64 {
        self.each.len() as u64
    }

    /// Returns the refusal of so many rows, with the first of those that cannot be used.
    pub(super) fn error(&self, rows: u64) -> Error {
        let Some(FeatureFault { column, row, fault }) = self.each.values().next() else {
            return Error::rows(DataProblem::AllSkipped { rows });
        };
        let problem = DataProblem::Unusable { rows: self.count(), of: Some(rows), reason: fault.describe() };
        Error::cell(column, *row, problem)
    }

    /// Why each row cannot be used, if it cannot.
    fn reasons(&self) -> Vec<Option<String>> {
        let reason =
            |FeatureFault { column, fault, .. }: &FeatureFault| format!("column `{column}` {}", fault.describe());
        (0..self.bad.len()).map(|row| self.each.get(&row).map(reason)).collect()
    }

    /// Takes in the faults of other columns of the same rows.
    pub(super) fn merge(&mut self, other: Faults) {
        self.bad.iter_mut().zip(other.bad).for_each(|(bad, also)| *bad |= also);
        for (row, fault) in other.each {
            self.each.entry(row).or_insert(fault);
        }
    }

    /// Marks a row, remembering its first fault.
    pub(super) fn mark(faults: &mut Option<Faults>, rows: usize, row: usize, start: u64, column: &str, fault: Fault) {
        let faults = faults.get_or_insert_with(|| Faults { bad: vec![false; rows], each: BTreeMap::new() });
        faults.bad[row] = true;
        let new = || FeatureFault { column: column.to_owned(), row: start + row as u64, fault };
        faults.each.entry(row).or_insert_with(new);
    }
}

/// The features of one batch.
#[derive(Debug, Clone)]
pub struct FeatureBlock {
    /// Rows in the batch.
    pub rows: usize,
    /// Values per row.
    pub width: usize,
    /// `rows × width` values, row-major; a row that cannot be used is all zeros.
    pub values: Vec<f32>,
    faults: Option<Faults>,
}

impl FeatureBlock {
    /// Returns whether the row can be used.
    pub fn is_valid(&self, row: usize) -> bool {
        self.faults.as_ref().is_none_or(|faults| !faults.bad[row])
    }

    /// Refuses the block when a row cannot be used.
    ///
    /// # Errors
    /// [`Error::Data`] with the column, how many rows and the first of them.
    pub fn require_valid(&self) -> Result<()> {
        self.faults.as_ref().map_or(Ok(()), |faults| Err(faults.error(self.rows as u64)))
    }

    /// Why each row cannot be used, such as "column `x` is null", if it cannot; nothing when all can.
    pub fn reasons(&self) -> Vec<Option<String>> {
        self.faults.as_ref().map_or_else(Vec::new, Faults::reasons)
    }

    /// Moves the usable rows together and drops the others; gives back which rows those were, none when all are usable.
    pub fn drop_invalid(&mut self) -> Option<Vec<bool>> {
        let faults = self.faults.take()?;
        compact(&mut self.values, 0, self.width, &faults.bad);
        self.rows -= faults.count() as usize;
        Some(faults.bad.into_iter().map(|bad| !bad).collect())
    }
}

impl FeatureReader {
    /// Finds the columns and checks their types.
    ///
    /// # Errors
    /// [`Error::Schema`] with the column, expected and found type; [`Error::Param`] when no column is named.
    pub fn bind(schema: &Schema, columns: &[String]) -> Result<Self> {
        if columns.is_empty() {
            return Err(Error::param("featuresCol", "[]", "at least one column"));
        }
        let expected = "a number, a boolean, an array of numbers or a Spark ML vector";
        let columns = columns.iter().map(|name| {
            let places = typed_field(schema, name, expected, is_feature)?;
            Ok(FeatureColumn { name: name.clone(), places, width: None })
        });
        Ok(Self { columns: columns.collect::<Result<_>>()?, records: None, rows_read: 0 })
    }

    /// Finds the feature columns of a network, by its readers if it has any; what these make is laid side by side.
    ///
    /// # Errors
    /// As [`bind`](Self::bind); [`Error::Schema`] too for a reader that makes sequences.
    pub fn of(schema: &Schema, columns: &Columns) -> Result<Self> {
        let Some(readers) = &columns.readers else { return Self::bind(schema, &columns.features) };
        let records = RecordReader::inputs(schema, readers)?;
        records.require_fixed()?;
        Ok(Self { columns: Vec::new(), records: Some(records), rows_read: 0 })
    }

    /// Demands a width in advance, as a trained network does.
    ///
    /// # Errors
    /// [`Error::Schema`] when more columns are bound than `width` has room for.
    pub fn with_width(mut self, width: usize) -> Result<Self> {
        if let Some(records) = &self.records {
            let found = records.width();
            let names = || records.fields().iter().map(|field| field.name.as_str()).collect::<Vec<_>>().join(", ");
            return match found == width {
                true => Ok(self),
                false => Err(Error::schema(names(), format!("{width} values a row"), format!("{found}"))),
            };
        }
        if let [only] = self.columns.as_mut_slice() {
            only.width = Some(width);
        } else if self.columns.len() > width {
            let found = format!("{} columns", self.columns.len());
            return Err(Error::schema(&self.columns[width].name, format!("{width} values a row in all"), found));
        }
        Ok(self)
    }

    /// Values per row, once a row has shown how many.
    pub fn width(&self) -> Option<usize> {
        if let Some(records) = &self.records {
            return Some(records.width());
        }
        self.columns.iter().map(|column| column.width).sum()
    }

    /// Returns the dimensions of a row, when a single reader makes it.
    pub(super) fn dims(&self) -> Option<Vec<usize>> {
        match self.records.as_ref()?.fields() {
            [only] => Some(only.shape.dims.clone()),
            _ => None,
        }
    }

    /// Returns the columns, as errors name them.
    pub(crate) fn names(&self) -> String {
        let read = self.records.iter().flat_map(|records| records.fields()).map(|field| field.name.as_str());
        let names: Vec<&str> = self.columns.iter().map(|c| c.name.as_str()).chain(read).collect();
        names.join(", ")
    }

    /// Reads the next batch of the stream.
    ///
    /// # Errors
    /// [`Error::Arrow`] when a column cannot be converted, [`Error::Data`] when its rows do not fit in memory. Rows
    /// that cannot be used are not an error yet, see [`FeatureBlock::require_valid`].
    pub fn read(&mut self, batch: &RecordBatch) -> Result<FeatureBlock> {
        let mut values = Vec::new();
        let faults = self.append(batch, &mut values)?;
        Ok(FeatureBlock { rows: batch.num_rows(), width: self.width().unwrap_or(0), values, faults })
    }

    /// Appends the next batch's rows to `out`; those that cannot be used as zeros.
    pub(super) fn append<T: Real>(&mut self, batch: &RecordBatch, out: &mut Vec<T>) -> Result<Option<Faults>> {
        let rows = batch.num_rows();
        let start = self.rows_read;
        self.rows_read += rows as u64;
        if let Some(records) = &mut self.records {
            return append_records(records, batch, start, out);
        }
        let arrays = self.arrays(batch)?;
        let read = self.measure(&arrays, rows)?;
        let mut faults = None;
        let Some(width) = read.iter().map(|(_, width, _)| *width).sum::<Option<usize>>() else {
            return Ok(nulls(&read, rows, start));
        };
        let begin = out.len();
        let room = rows
            .checked_mul(width)
            .filter(|&n| out.try_reserve(n).is_ok())
            .ok_or_else(|| Error::data(read[0].0, DataProblem::too_many_numbers(rows.saturating_mul(width))))?;
        out.resize(begin + room, T::default());
        let block = &mut out[begin..];
        if let [(_, _, only)] = read.as_slice()
            && only.copy_whole(rows, width, block)
        {
            return Ok(None);
        }
        for (row, line) in block.chunks_exact_mut(width.max(1)).enumerate() {
            let mut rest = &mut *line;
            let mut valid = true;
            for (name, width, values) in &read {
                let (part, after) = rest.split_at_mut(width.unwrap_or(0));
                if let Err(fault) = values.copy(row, part) {
                    Faults::mark(&mut faults, rows, row, start, name, fault);
                    valid = false;
                }
                rest = after;
            }
            if !valid {
                line.fill(T::default());
            }
        }
        Ok(faults)
    }
}

impl FeatureReader {
    /// Finds the columns in a batch.
    fn arrays(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        self.columns.iter().map(|column| nested_column(batch.columns(), &column.places)).collect()
    }

    /// Wraps those columns, each with its name and, as far as one of the rows has shown it, its width.
    fn measure<'a>(
        &'a mut self,
        arrays: &'a [ArrayRef],
        rows: usize,
    ) -> Result<Vec<(&'a str, Option<usize>, Column<'a>)>> {
        let mut read = Vec::with_capacity(self.columns.len());
        for (column, array) in self.columns.iter_mut().zip(arrays) {
            let values = Column::new(array)?;
            if column.width.is_none() {
                column.width = (0..rows).find(|&row| !values.is_null(row)).map(|row| values.len(row));
            }
            read.push((column.name.as_str(), column.width, values));
        }
        Ok(read)
    }

    /// Reads the next batch's rows, keeping only the values that are not zero; rows that cannot be used as rows of
    /// zeros.
    pub(crate) fn read_sparse(&mut self, batch: &RecordBatch) -> Result<SparseBlock> {
        let count = batch.num_rows();
        let start = self.rows_read;
        self.rows_read += count as u64;
        let arrays = self.arrays(batch)?;
        let read = self.measure(&arrays, count)?;
        let Some(width) = read.iter().map(|(_, width, _)| *width).sum::<Option<usize>>() else {
            let rows = SparseRows { offsets: vec![0; count + 1], ..SparseRows::new(0) };
            return Ok(SparseBlock { rows, faults: nulls(&read, count, start) });
        };
        let (mut rows, mut faults) = (SparseRows::new(width), None);
        for row in 0..count {
            let (mut begin, mut valid) = (0, true);
            for (name, width, values) in &read {
                let width = width.unwrap_or(0);
                if let Err(fault) = values.copy_sparse(row, width, begin, &mut rows) {
                    Faults::mark(&mut faults, count, row, start, name, fault);
                    valid = false;
                }
                begin += width;
            }
            if !valid {
                rows.discard_row();
            }
            if i32::try_from(rows.values.len()).is_err() {
                return Err(Error::data(read[0].0, DataProblem::too_many_numbers(rows.values.len())));
            }
            rows.end_row();
        }
        Ok(SparseBlock { rows, faults })
    }
}

/// The sparse features of one batch.
pub(crate) struct SparseBlock {
    pub(crate) rows: SparseRows,
    pub(super) faults: Option<Faults>,
}

impl SparseBlock {
    /// Refuses the block when a row cannot be used.
    pub(crate) fn require_valid(&self) -> Result<()> {
        self.faults.as_ref().map_or(Ok(()), |faults| Err(faults.error(self.rows.rows() as u64)))
    }

    /// Returns a flag a row, set for those that can be used; none when all can.
    pub(crate) fn reasons(&self) -> Vec<Option<String>> {
        self.faults.as_ref().map_or_else(Vec::new, Faults::reasons)
    }

    /// Which rows can be used; none when all can.
    pub(crate) fn valid(&self) -> Option<Vec<bool>> {
        self.faults.as_ref().map(|faults| faults.bad.iter().map(|bad| !bad).collect())
    }
}

/// Marks the nulls of columns some of which have shown nothing else so far, so that no row can be laid out.
fn nulls(read: &[(&str, Option<usize>, Column<'_>)], rows: usize, start: u64) -> Option<Faults> {
    let mut faults = None;
    for row in 0..rows {
        for (name, _, _) in read.iter().filter(|(_, _, values)| values.is_null(row)) {
            Faults::mark(&mut faults, rows, row, start, name, Fault::Null);
        }
    }
    faults
}

/// Appends a batch's rows as readers make them, side by side.
fn append_records<T: Real>(
    records: &mut RecordReader,
    batch: &RecordBatch,
    start: u64,
    out: &mut Vec<T>,
) -> Result<Option<Faults>> {
    let read = records.read(batch)?;
    let mut faults = None;
    for fault in &read.faults {
        Faults::mark(&mut faults, read.rows, fault.row, start, &fault.column, Fault::Cell(fault.describe()));
    }
    let room = read.rows.checked_mul(records.width()).filter(|&n| out.try_reserve(n).is_ok());
    if room.is_none() {
        let values = read.rows.saturating_mul(records.width());
        return Err(Error::data(&records.fields()[0].name, DataProblem::too_many_numbers(values)));
    }
    for row in 0..read.rows {
        let bad = faults.as_ref().is_some_and(|faults| faults.bad[row]);
        for (cells, field) in read.cells.iter().zip(records.fields()) {
            match bad {
                true => out.extend(std::iter::repeat_n(T::default(), field.count())),
                false => cells.values.extend_real(row * field.count()..(row + 1) * field.count(), out),
            }
        }
    }
    Ok(faults)
}

/// Moves the rows from `begin` on that are not bad together, and cuts the rest off.
pub(super) fn compact<T: Copy>(values: &mut Vec<T>, begin: usize, width: usize, bad: &[bool]) {
    let mut to = begin;
    // Rows of a column that has shown no width yet left nothing behind.
    if values.len() > begin {
        for (row, _) in bad.iter().enumerate().filter(|(_, bad)| !**bad) {
            let from = begin + row * width;
            values.copy_within(from..from + width, to);
            to += width;
        }
    }
    values.truncate(to);
}

#[cfg(test)]
mod tests;
