//! Rows of canonical batches, found by their number.

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    buffer::{OffsetBuffer, ScalarBuffer},
    datatypes::{ArrowPrimitiveType, DataType, Float32Type, Float64Type, UInt8Type, UInt32Type},
};

use super::{
    Element, SparseRows, TensorField, Values,
    field::{HELD_OUT, LABEL, WEIGHT},
    minibatch::{Input, Minibatch, Targets},
    sparse::SparseColumn,
};
use crate::{Error, Result};

/// Rows of canonical batches, numbered in order. They are copied nowhere: the batches' own memory is read, be it a mapped
/// file's.
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
    F32(Lanes<f32>),
    F64(Lanes<f64>),
    U8(Lanes<u8>),
    U32(Lanes<u32>),
    Sparse(SparseColumn),
}

#[derive(Debug, Clone)]
struct Lanes<T: arrow::datatypes::ArrowNativeType> {
    values: ScalarBuffer<T>,
    bounds: Bounds,
}

#[derive(Debug, Clone)]
enum Bounds {
    Every(usize),
    Offsets(OffsetBuffer<i32>),
}

impl<T: arrow::datatypes::ArrowNativeType> Lanes<T> {
    fn row(&self, row: usize) -> &[T] {
        match &self.bounds {
            Bounds::Every(count) => &self.values[row * count..(row + 1) * count],
            Bounds::Offsets(offsets) => &self.values[offsets[row] as usize..offsets[row + 1] as usize],
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
                (list.values(), Bounds::Offsets(list.offsets().clone()))
            }
            DataType::FixedSizeList(..) => (array.as_fixed_size_list().values(), Bounds::Every(field.count())),
            _ => (array, Bounds::Every(1)),
        };
        if array.null_count() > 0 || values.null_count() > 0 {
            return Err(Error::data(&field.name, "holds nulls where a canonical batch has none"));
        }
        if let Bounds::Offsets(offsets) = &bounds {
            let step = field.count();
            if let Some(pair) = offsets.windows(2).find(|pair| !((pair[1] - pair[0]) as usize).is_multiple_of(step)) {
                let reason = format!("has a row of {} values, where a step has {step}", pair[1] - pair[0]);
                return Err(Error::data(&field.name, reason));
            }
        }
        fn typed<T: ArrowPrimitiveType>(values: &ArrayRef, bounds: Bounds) -> Lanes<T::Native> {
            Lanes { values: values.as_primitive::<T>().values().clone(), bounds }
        }
        Ok(match field.element {
            Element::F32 => Chunk::F32(typed::<Float32Type>(values, bounds)),
            Element::F64 => Chunk::F64(typed::<Float64Type>(values, bounds)),
            Element::U8 => Chunk::U8(typed::<UInt8Type>(values, bounds)),
            Element::U32 => Chunk::U32(typed::<UInt32Type>(values, bounds)),
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
            starts.push(end.ok_or_else(|| Error::data(&fields[0].name, "more than 2³² - 1 rows; train on a sample"))?);
            for ((field, column), array) in fields.iter().zip(&mut columns).zip(batch.columns()) {
                column.push(Chunk::new(field, array)?);
            }
        }
        Ok(Self { fields, columns, starts })
    }

    /// The columns.
    pub fn fields(&self) -> &[TensorField] {
        &self.fields
    }

    /// Returns the number of rows.
    pub fn count(&self) -> u32 {
        self.starts[self.starts.len() - 1] - self.starts[0]
    }

    /// Copies the rows of those numbers, in that order, into one minibatch. Sequences are padded with zeros to the longest
    /// among them.
    ///
    /// # Panics
    /// When there is no row of such a number.
    pub fn gather(&self, rows: &[u32]) -> Minibatch {
        let places: Vec<(usize, usize)> = rows.iter().map(|&row| self.locate(row)).collect();
        let mut minibatch =
            Minibatch { weights: vec![1.0; rows.len()], numbers: rows.to_vec(), ..Minibatch::default() };
        for (field, chunks) in self.fields.iter().zip(&self.columns) {
            let Input { values, shape, lengths, .. } = gather(field, chunks, &places);
            match (field.name.as_str(), values) {
                (WEIGHT, Values::F32(weights)) => minibatch.weights = weights,
                (LABEL, Values::U32(classes)) => minibatch.targets = Targets::Classes(classes),
                (LABEL, Values::F64(values)) => minibatch.targets = Targets::Numbers { values, width: field.count() },
                (LABEL, Values::F32(values)) => {
                    let values = values.into_iter().map(f64::from).collect();
                    minibatch.targets = Targets::Numbers { values, width: field.count() };
                }
                (HELD_OUT, _) => {}
                (_, values) => minibatch.inputs.push(Input { name: field.name.clone(), values, shape, lengths }),
            }
        }
        minibatch
    }

    /// The marks of the first batch's rows; none without such a column.
    pub(crate) fn marks(&self) -> Option<&[u8]> {
        match self.first_chunk(HELD_OUT)? {
            Chunk::U8(lanes) => Some(&lanes.values),
            _ => None,
        }
    }

    /// The classes of the first batch's rows; none when labels are no classes.
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
            let class = scalar && field.element == Element::U32;
            let numbers = matches!(field.element, Element::F32 | Element::F64) && !field.shape.ragged;
            (class || numbers, "32-bit classes, or floating-point numbers of one shape")
        }
        WEIGHT => (scalar && field.element == Element::F32, "one number in single precision"),
        HELD_OUT => (scalar && field.element == Element::U8, "one byte, 0 or 1"),
        _ => return Ok(()),
    };
    if fits { Ok(()) } else { Err(Error::schema(&field.name, expected, field.to_arrow().data_type().to_string())) }
}

/// Copies one column of the rows at those places (batch, row within it).
fn gather(field: &TensorField, chunks: &[Chunk], places: &[(usize, usize)]) -> Input {
    if field.sparse {
        let mut rows = SparseRows::new(field.count());
        for &(batch, row) in places {
            if let Chunk::Sparse(column) = &chunks[batch] {
                column.copy(row, &mut rows);
            }
        }
        let (shape, values) = (field.shape.dims.clone(), Values::Sparse(rows));
        return Input { name: String::new(), values, shape, lengths: None };
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
        Element::F32 => copied!(F32),
        Element::F64 => copied!(F64),
        Element::U8 => copied!(U8),
        Element::U32 => copied!(U32),
    };
    Input { name: String::new(), values, shape, lengths }
}

#[cfg(test)]
mod tests;
