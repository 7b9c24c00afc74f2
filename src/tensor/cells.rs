//! The cells of one column, read: numbers side by side, and what is wrong with some rows.

use std::{ops::Range, sync::Arc};

use arrow::{
    array::{ArrayRef, ArrowPrimitiveType, FixedSizeListArray, ListArray, PrimitiveArray},
    buffer::{OffsetBuffer, ScalarBuffer},
    datatypes::{ArrowNativeType, DataType, Float32Type, Float64Type, UInt8Type, UInt32Type},
};

use super::{ElementType, SparseRows, TensorField, convert::Real};
use crate::{Error, Result};

/// Values of a column's cells, row after row.
///
/// A row that cannot be read has zeros in its place (none where rows vary in length) and a [`CellFault`].
#[derive(Debug, Clone, PartialEq)]
pub struct Cells {
    /// All values, row-major.
    pub values: Values,
    /// Where each row begins, in values, and where the last one ends; only where rows vary in length.
    pub offsets: Option<Vec<i32>>,
    /// The rows that cannot be used, in order, each at most once.
    pub faults: Vec<CellFault>,
}

/// Numbers of one of the types that networks take.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// Single precision.
    F32(Vec<f32>),
    /// Double precision.
    F64(Vec<f64>),
    /// Bytes.
    U8(Vec<u8>),
    /// Ids and classes.
    U32(Vec<u32>),
    /// Single precision, rows of mostly zeros.
    Sparse(SparseRows),
}

/// A row that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellFault {
    /// Its place in the batch, from 0.
    pub row: usize,
    /// Problem of its cell, in words that follow "row 7 …".
    pub reason: String,
}

impl Values {
    /// Returns the number of rows.
    pub fn len(&self) -> usize {
        match self {
            Values::F32(values) => values.len(),
            Values::F64(values) => values.len(),
            Values::U8(values) => values.len(),
            Values::U32(values) => values.len(),
            Values::Sparse(rows) => rows.rows() * rows.width,
        }
    }

    /// Appends some of them as floating-point numbers.
    pub(crate) fn extend_real<T: Real>(&self, range: Range<usize>, out: &mut Vec<T>) {
        match self {
            Values::F32(values) => out.extend(values[range].iter().map(|v| T::from_single(*v))),
            Values::F64(values) => out.extend(values[range].iter().map(|v| T::from_double(*v))),
            Values::U8(values) => out.extend(values[range].iter().map(|v| T::from_single(f32::from(*v)))),
            Values::U32(values) => out.extend(values[range].iter().map(|v| T::from_double(f64::from(*v)))),
            Values::Sparse(rows) => out.extend(rows.to_dense()[range].iter().map(|v| T::from_single(*v))),
        }
    }

    /// Returns all of them in single precision; bytes are 0 to 255.
    pub fn into_single(self) -> Vec<f32> {
        match self {
            Values::F32(values) => values,
            Values::F64(values) => values.into_iter().map(|v| v as f32).collect(),
            Values::U8(values) => values.into_iter().map(f32::from).collect(),
            Values::U32(values) => values.into_iter().map(|v| v as f32).collect(),
            Values::Sparse(rows) => rows.to_dense(),
        }
    }

    /// Returns whether it has no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A number that networks take.
pub(crate) trait NetworkNumber: ArrowNativeType {
    const ELEMENT: ElementType;
    type Arrow: ArrowPrimitiveType<Native = Self>;

    fn wrap(values: Vec<Self>) -> Values;

    /// Returns a double as a number of the type: rounded to single precision, whole or nothing otherwise.
    fn from_double(value: f64) -> Option<Self>;
}

macro_rules! value {
    ($type:ty, $element:ident, $arrow:ty, $from:expr) => {
        impl NetworkNumber for $type {
            const ELEMENT: ElementType = ElementType::$element;
            type Arrow = $arrow;

            fn wrap(values: Vec<Self>) -> Values {
                Values::$element(values)
            }

            fn from_double(value: f64) -> Option<Self> {
                let from: fn(f64) -> Option<Self> = $from;
                from(value)
            }
        }
    };
}

value!(f32, F32, Float32Type, |v| Some(v as f32));
value!(f64, F64, Float64Type, Some);
value!(u8, U8, UInt8Type, |v| (v.fract() == 0.0 && (0.0..256.0).contains(&v)).then_some(v as u8));
value!(u32, U32, UInt32Type, |v| (v.fract() == 0.0 && (0.0..4_294_967_296.0).contains(&v)).then_some(v as u32));

/// Gathers the cells of one column, row by row.
pub(crate) struct Gather<T> {
    values: Vec<T>,
    offsets: Option<Vec<i32>>,
    faults: Vec<CellFault>,
    count: usize,
    rows: usize,
}

impl<T: NetworkNumber> Gather<T> {
    /// For `rows` rows of `field`, whose element is `T`.
    pub(crate) fn new(field: &TensorField, rows: usize) -> Self {
        let (count, ragged) = (field.count(), field.shape.ragged);
        let room = if ragged { 0 } else { rows.saturating_mul(count).min(1 << 28) };
        let offsets = ragged.then(|| vec![0]);
        Self { values: Vec::with_capacity(room), offsets, faults: Vec::new(), count, rows: 0 }
    }

    /// Takes in the next row, which `read` appends; nothing of it is kept when that fails.
    pub(crate) fn row(&mut self, read: impl FnOnce(&mut Vec<T>) -> Result<(), String>) {
        let begin = self.values.len();
        let read = read(&mut self.values).and_then(|()| self.check(begin));
        if let Err(reason) = read {
            self.values.truncate(begin);
            self.faults.push(CellFault { row: self.rows, reason });
            if self.offsets.is_none() {
                self.values.resize(begin + self.count, T::default());
            }
        }
        if let Some(offsets) = &mut self.offsets {
            offsets.push(self.values.len() as i32);
        }
        self.rows += 1;
    }

    fn check(&self, begin: usize) -> Result<(), String> {
        let (found, count) = (self.values.len() - begin, self.count);
        match &self.offsets {
            None if found != count => Err(format!("has {found} values, not {count}")),
            Some(_) if count == 0 || found % count != 0 => {
                Err(format!("has {found} values, which are no steps of {count}"))
            }
            Some(_) if i32::try_from(self.values.len()).is_err() => {
                Err("makes the batch larger than 2³¹ values; read smaller batches".into())
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn finish(self) -> Cells {
        Cells { values: T::wrap(self.values), offsets: self.offsets, faults: self.faults }
    }
}

impl Cells {
    /// Returns the cells as the Arrow column that `field` describes, without nulls.
    ///
    /// # Errors
    /// [`Error::Arrow`] when they are not what the field says.
    pub fn into_array(self, field: &TensorField) -> Result<ArrayRef> {
        match self.values {
            Values::F32(values) => array::<f32>(values, self.offsets, field),
            Values::F64(values) => array::<f64>(values, self.offsets, field),
            Values::U8(values) => array::<u8>(values, self.offsets, field),
            Values::U32(values) => array::<u32>(values, self.offsets, field),
            Values::Sparse(rows) => rows.into_array(field),
        }
    }
}

fn array<T: NetworkNumber>(values: Vec<T>, offsets: Option<Vec<i32>>, field: &TensorField) -> Result<ArrayRef> {
    let fail = |e| Error::arrow(format!("laying out column `{}`", field.name), e);
    let values = Arc::new(PrimitiveArray::<T::Arrow>::new(ScalarBuffer::from(values), None));
    let arrow = field.to_arrow();
    Ok(match (arrow.data_type(), offsets) {
        (DataType::FixedSizeList(item, size), None) => {
            Arc::new(FixedSizeListArray::try_new(item.clone(), *size, values, None).map_err(fail)?)
        }
        (DataType::List(item), Some(offsets)) => {
            let offsets = OffsetBuffer::new(offsets.into());
            Arc::new(ListArray::try_new(item.clone(), offsets, values, None).map_err(fail)?)
        }
        (scalar, None) if *scalar == T::Arrow::DATA_TYPE => values,
        (other, _) => {
            return Err(Error::schema(&field.name, other.to_string(), T::Arrow::DATA_TYPE.to_string()));
        }
    })
}
