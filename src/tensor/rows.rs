//! Rows of canonical batches, found by their number.

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    buffer::{OffsetBuffer, ScalarBuffer},
    datatypes::{ArrowPrimitiveType, DataType, Float32Type, Float64Type, UInt8Type, UInt32Type},
};

use super::{
    ElementType, SparseRows, TensorField, Values,
    field::{HELD_OUT, LABEL, WEIGHT},
    minibatch::{Minibatch, MinibatchInput, Targets},
    sparse::SparseColumn,
};
use crate::{DataProblem, Error, Result};

/// Rows of canonical batches, numbered in order. They are copied nowhere: the batches' own memory is read, be it a
/// mapped file's.
#[derive(Debug, Clone)]
pub struct Rows {
    fields: Vec<TensorField>,
    /// Per field, per batch.
    columns: Vec<Vec<Chunk>>,
    /// The number of each batch's first row, and the number after the last row.
    starts: Vec<u32>,
}

/// One column of one batch.
#[derive(Debug, Clone)]
enum Chunk {
    F32(ChunkValues<f32>),
    F64(ChunkValues<f64>),
    U8(ChunkValues<u8>),
    U32(ChunkValues<u32>),
    Sparse(SparseColumn),
}

#[derive(Debug, Clone)]
struct ChunkValues<T: arrow::datatypes::ArrowNativeType> {
    values: ScalarBuffer<T>,
    bounds: RowBounds,
}

#[derive(Debug, Clone)]
enum RowBounds {
    Every(usize),
    Offsets(OffsetBuffer<i32>),
}

impl<T: arrow::datatypes::ArrowNativeType> ChunkValues<T> {
    fn row(&self, row: usize) -> &[T] {
        match &self.bounds {
            RowBounds::Every(count) => &self.values[row * count..(row + 1) * count],
            RowBounds::Offsets(offsets) => &self.values[offsets[row] as usize..offsets[row + 1] as usize],
        }
    }
}

impl Chunk {
    fn new(field: &TensorField, array: &ArrayRef) -> Result<Self> {
        if field.sparse {
            return Ok(Chunk::Sparse(SparseColumn::new(&field.name, field.count(), array)?));
        }
        let (values, bounds) = match array.data_type() {
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                (list.values(), RowBounds::Offsets(list.offsets().clone()))
            }
            DataType::FixedSizeList(..) => (array.as_fixed_size_list().values(), RowBounds::Every(field.count())),
            _ => (array, RowBounds::Every(1)),
        };
        if array.null_count() > 0 || values.null_count() > 0 {
            return Err(Error::data(
                &field.name,
                DataProblem::Malformed { reason: "expected no null, found some".into() },
            ));
        }
        if let RowBounds::Offsets(offsets) = &bounds {
            let step = field.count();
            if let Some(pair) = offsets.windows(2).find(|pair| !((pair[1] - pair[0]) as usize).is_multiple_of(step)) {
                let reason = format!("expected steps of {step} values, found a row of {}", pair[1] - pair[0]);
                return Err(Error::data(&field.name, DataProblem::Malformed { reason }));
            }
        }
        fn typed<T: ArrowPrimitiveType>(values: &ArrayRef, bounds: RowBounds) -> ChunkValues<T::Native> {
            ChunkValues { values: values.as_primitive::<T>().values().clone(), bounds }
        }
        Ok(match field.element {
            ElementType::F32 => Chunk::F32(typed::<Float32Type>(values, bounds)),
            ElementType::F64 => Chunk::F64(typed::<Float64Type>(values, bounds)),
            ElementType::U8 => Chunk::U8(typed::<UInt8Type>(values, bounds)),
            ElementType::U32 => Chunk::U32(typed::<UInt32Type>(values, bounds)),
        })
    }

    fn len(&self, row: usize) -> usize {
        match self {
            Chunk::F32(lanes) => lanes.row(row).len(),
            Chunk::F64(lanes) => lanes.row(row).len(),
            Chunk::U8(lanes) => lanes.row(row).len(),
            Chunk::U32(lanes) => lanes.row(row).len(),
            // An index and a value each.
            Chunk::Sparse(column) => 2 * column.len(row),
        }
    }
}

impl Rows {
    /// Takes the batches' rows, the first of which gets number `first`.
    ///
    /// # Errors
    /// [`Error::Schema`] when a column is not canonical or a role's column is of another form than its role asks for;
    /// [`Error::Data`] for nulls, for a ragged row that ends within a step and for more than 2³² - 1 rows.
    pub fn new(batches: &[RecordBatch], first: u32) -> Result<Self> {
        let Some(batch) = batches.first() else {
            return Ok(Self { fields: Vec::new(), columns: Vec::new(), starts: vec![first] });
        };
        let schema = batch.schema();
        let fields: Vec<_> = schema.fields().iter().map(|f| TensorField::from_arrow(f)).collect::<Result<_>>()?;
        fields.iter().try_for_each(check_role)?;
        let mut starts = vec![first];
        let mut columns = vec![Vec::with_capacity(batches.len()); fields.len()];
        for batch in batches {
            if batch.schema() != schema {
                return Err(Error::schema("(all)", schema.to_string(), batch.schema().to_string()));
            }
            let end = starts[starts.len() - 1].checked_add(u32::try_from(batch.num_rows()).unwrap_or(u32::MAX));
            let too_many = || {
                let size = u64::from(starts[starts.len() - 1]) + batch.num_rows() as u64;
                let (what, limit) = ("rows".into(), u32::MAX.into());
                Error::rows(DataProblem::TooLarge { what, size, limit, remedy: "train on a sample" })
            };
            starts.push(end.ok_or_else(too_many)?);
            for ((field, column), array) in fields.iter().zip(&mut columns).zip(batch.columns()) {
                column.push(Chunk::new(field, array)?);
            }
        }
        Ok(Self { fields, columns, starts })
    }

    /// Returns the columns.
    pub fn fields(&self) -> &[TensorField] {
        &self.fields
    }

    /// Returns the number of rows.
    pub fn count(&self) -> u32 {
        self.starts[self.starts.len() - 1] - self.starts[0]
    }

    /// Copies the rows of those numbers, in that order, into one minibatch. Sequences are padded with zeros to the
    /// longest among them.
    ///
    /// # Panics
    /// When there is no row of such a number.
    pub fn gather(&self, rows: &[u32]) -> Minibatch {
        let places: Vec<(usize, usize)> = rows.iter().map(|&row| self.locate(row)).collect();
        let mut minibatch =
            Minibatch { weights: vec![1.0; rows.len()], numbers: rows.to_vec(), ..Minibatch::default() };
        for (field, chunks) in self.fields.iter().zip(&self.columns) {
            let MinibatchInput { values, shape, lengths, .. } = gather(field, chunks, &places);
            match (field.name.as_str(), values) {
                (WEIGHT, Values::F32(weights)) => minibatch.weights = weights,
                (LABEL, Values::U32(classes)) => minibatch.targets = Targets::Classes(classes),
                (LABEL, Values::F64(values)) => minibatch.targets = Targets::Numbers { values, width: field.count() },
                (LABEL, Values::F32(values)) => {
                    let values = values.into_iter().map(f64::from).collect();
                    minibatch.targets = Targets::Numbers { values, width: field.count() };
                }
                (HELD_OUT, _) => {}
                (_, values) => {
                    minibatch.inputs.push(MinibatchInput { name: field.name.clone(), values, shape, lengths })
                }
            }
        }
        minibatch
    }

    /// Returns the marks of the first batch's rows; none without such a column.
    pub(crate) fn marks(&self) -> Option<&[u8]> {
        match self.first_chunk(HELD_OUT)? {
            Chunk::U8(lanes) => Some(&lanes.values),
            _ => None,
        }
    }

    /// Returns the classes of the first batch's rows; none when labels are no classes.
    pub(crate) fn classes(&self) -> Option<&[u32]> {
        match self.first_chunk(LABEL)? {
            Chunk::U32(lanes) => Some(&lanes.values),
            _ => None,
        }
    }

    /// Bytes of one row of the first batch.
    pub(crate) fn bytes(&self, row: usize) -> u64 {
        let columns = self.fields.iter().zip(&self.columns);
        columns.map(|(field, chunks)| (chunks[0].len(row) * field.element.bytes()) as u64).sum()
    }

    fn first_chunk(&self, name: &str) -> Option<&Chunk> {
        self.columns[self.fields.iter().position(|field| field.name == name)?].first()
    }

    fn locate(&self, row: u32) -> (usize, usize) {
        let batch = self.starts.partition_point(|&start| start <= row) - 1;
        (batch, (row - self.starts[batch]) as usize)
    }
}

/// Refuses a role's column of a form that does not suit the role.
fn check_role(field: &TensorField) -> Result<()> {
    let scalar = field.shape.dims.is_empty() && !field.shape.ragged;
    let (fits, expected) = match field.name.as_str() {
        LABEL => {
            let class = scalar && field.element == ElementType::U32;
            let numbers = matches!(field.element, ElementType::F32 | ElementType::F64) && !field.shape.ragged;
            (class || numbers, "32-bit classes, or floating-point numbers of one shape")
        }
        WEIGHT => (scalar && field.element == ElementType::F32, "one number in single precision"),
        HELD_OUT => (scalar && field.element == ElementType::U8, "one byte, 0 or 1"),
        _ => return Ok(()),
    };
    if fits { Ok(()) } else { Err(Error::schema(&field.name, expected, field.to_arrow().data_type().to_string())) }
}

/// Copies one column of the rows at those places (batch, row within it).
fn gather(field: &TensorField, chunks: &[Chunk], places: &[(usize, usize)]) -> MinibatchInput {
    if field.sparse {
        let mut rows = SparseRows::new(field.count());
        for &(batch, row) in places {
            if let Chunk::Sparse(column) = &chunks[batch] {
                column.copy(row, &mut rows);
            }
        }
        let (shape, values) = (field.shape.dims.clone(), Values::Sparse(rows));
        return MinibatchInput { name: String::new(), values, shape, lengths: None };
    }
    let step = field.count();
    let (mut shape, mut width, mut lengths) = (field.shape.dims.clone(), step, None);
    if field.shape.ragged {
        let steps: Vec<u32> = places.iter().map(|&(batch, row)| (chunks[batch].len(row) / step) as u32).collect();
        let longest = steps.iter().copied().max().unwrap_or(0) as usize;
        shape.insert(0, longest);
        width = longest * step;
        lengths = Some(steps);
    }
    let room = places.len() * width;
    macro_rules! copied {
        ($kind:ident) => {{
            let mut values = Vec::with_capacity(room);
            for (i, &(batch, row)) in places.iter().enumerate() {
                if let Chunk::$kind(lanes) = &chunks[batch] {
                    values.extend_from_slice(lanes.row(row));
                }
                values.resize((i + 1) * width, Default::default());
            }
            Values::$kind(values)
        }};
    }
    let values = match field.element {
        ElementType::F32 => copied!(F32),
        ElementType::F64 => copied!(F64),
        ElementType::U8 => copied!(U8),
        ElementType::U32 => copied!(U32),
    };
    MinibatchInput { name: String::new(), values, shape, lengths }
}

#[cfg(test)]
mod tests;
