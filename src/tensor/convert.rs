//! The physical forms of a column of numbers, copied to single or double precision in one pass.

use std::ops::Range;

use arrow::{
    array::{Array, ArrayRef, AsArray, Float64Array, StructArray},
    buffer::NullBuffer,
    compute::cast,
    datatypes::{DataType, Fields, Float32Type, Float64Type, Int8Type, Int32Type},
};

use super::SparseRows;
use crate::{Error, Result};

/// Why one value of a feature column cannot be used.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Fault {
    Null,
    NullElement,
    NotFinite,
    Length {
        found: usize,
        expected: usize,
    },
    BadVector,
    /// A reader's problem with its cell.
    Cell(String),
}

impl Fault {
    /// Returns the fault in words that follow "the first … ".
    pub(super) fn describe(&self) -> String {
        match self {
            Fault::Null => "is null".into(),
            Fault::NullElement => "holds a null element".into(),
            Fault::NotFinite => "holds a NaN or an infinity (or a number too large for single precision)".into(),
            Fault::Length { found, expected } => format!("has {found} values, not {expected}"),
            Fault::Cell(reason) => reason.clone(),
            Fault::BadVector => "is a sparse vector whose indices do not fit its size".into(),
        }
    }
}

/// Returns a type whose values become one single-precision number each.
pub(super) fn is_number(data_type: &DataType) -> bool {
    data_type.is_numeric() || *data_type == DataType::Boolean
}

/// Returns a type that [`Column::new`] reads.
pub(super) fn is_feature(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            is_number(item.data_type())
        }
        DataType::Struct(fields) => is_vector(fields),
        other => is_number(other),
    }
}

/// Spark ML's vector as it travels: `struct<type: tinyint, size: int, indices: array<int>, values: array<double>>`.
fn is_vector(fields: &Fields) -> bool {
    let list_of =
        |data_type: &DataType, item: &DataType| matches!(data_type, DataType::List(field) if field.data_type() == item);
    fields.len() == 4
        && fields[0].data_type() == &DataType::Int8
        && fields[1].data_type() == &DataType::Int32
        && list_of(fields[2].data_type(), &DataType::Int32)
        && list_of(fields[3].data_type(), &DataType::Float64)
}

/// A floating-point number that cells are copied to: features are single precision, targets double.
pub(crate) trait Real: Copy + Default {
    fn from_double(value: f64) -> Self;
    fn from_single(value: f32) -> Self;
    fn is_finite(self) -> bool;
}

impl Real for f32 {
    fn from_double(value: f64) -> Self {
        value as f32
    }

    fn from_single(value: f32) -> Self {
        value
    }

    fn is_finite(self) -> bool {
        f32::is_finite(self)
    }
}

impl Real for f64 {
    fn from_double(value: f64) -> Self {
        value
    }

    fn from_single(value: f32) -> Self {
        f64::from(value)
    }

    fn is_finite(self) -> bool {
        f64::is_finite(self)
    }
}

/// Numbers without their nulls: borrowed where they are single or double precision already, cast otherwise.
enum Numbers<'a> {
    Single(&'a [f32]),
    Double(&'a [f64]),
    Cast(Float64Array),
}

impl<'a> Numbers<'a> {
    fn new(array: &'a ArrayRef) -> Result<Self> {
        Ok(match array.data_type() {
            DataType::Float32 => Numbers::Single(array.as_primitive::<Float32Type>().values()),
            DataType::Float64 => Numbers::Double(array.as_primitive::<Float64Type>().values()),
            other => {
                let double = cast(array, &DataType::Float64)
                    .map_err(|e| Error::arrow(format!("converting {other} to double precision"), e))?;
                Numbers::Cast(double.as_primitive::<Float64Type>().clone())
            }
        })
    }

    fn copy<T: Real>(&self, range: Range<usize>, out: &mut [T]) {
        match self {
            Numbers::Single(values) => out.iter_mut().zip(&values[range]).for_each(|(o, v)| *o = T::from_single(*v)),
            Numbers::Double(values) => out.iter_mut().zip(&values[range]).for_each(|(o, v)| *o = T::from_double(*v)),
            Numbers::Cast(values) => {
                out.iter_mut().zip(&values.values()[range]).for_each(|(o, v)| *o = T::from_double(*v));
            }
        }
    }
}

/// Where each row's values begin and end.
enum Bounds<'a> {
    Small(&'a [i32]),
    Large(&'a [i64]),
    Fixed(usize),
}

impl Bounds<'_> {
    fn range(&self, row: usize) -> Range<usize> {
        match self {
            Bounds::Small(offsets) => offsets[row] as usize..offsets[row + 1] as usize,
            Bounds::Large(offsets) => offsets[row] as usize..offsets[row + 1] as usize,
            Bounds::Fixed(width) => row * width..(row + 1) * width,
        }
    }
}

/// Lists of numbers, one a row.
struct Lists<'a> {
    bounds: Bounds<'a>,
    values: Numbers<'a>,
    /// Nulls among the numbers.
    nulls: Option<&'a NullBuffer>,
}

impl<'a> Lists<'a> {
    fn new(bounds: Bounds<'a>, values: &'a ArrayRef) -> Result<Self> {
        let nulls = values.nulls().filter(|nulls| nulls.null_count() > 0);
        Ok(Self { bounds, values: Numbers::new(values)?, nulls })
    }

    fn copy<T: Real>(&self, row: usize, out: &mut [T]) -> Result<(), Fault> {
        let range = self.bounds.range(row);
        if range.len() != out.len() {
            return Err(Fault::Length { found: range.len(), expected: out.len() });
        }
        if self.nulls.is_some_and(|nulls| range.clone().any(|i| nulls.is_null(i))) {
            return Err(Fault::NullElement);
        }
        self.values.copy(range, out);
        Ok(())
    }
}

/// Spark ML vectors: dense ones are lists of values, sparse ones list the positions of theirs.
struct Vectors<'a> {
    kinds: &'a [i8],
    sizes: &'a [i32],
    positions: (&'a [i32], &'a [i32]),
    values: Lists<'a>,
}

const SPARSE: i8 = 0;

impl<'a> Vectors<'a> {
    fn new(array: &'a StructArray) -> Result<Self> {
        let positions = array.column(2).as_list::<i32>();
        let values = array.column(3).as_list::<i32>();
        Ok(Self {
            kinds: array.column(0).as_primitive::<Int8Type>().values(),
            sizes: array.column(1).as_primitive::<Int32Type>().values(),
            positions: (positions.value_offsets(), positions.values().as_primitive::<Int32Type>().values()),
            values: Lists::new(Bounds::Small(values.value_offsets()), values.values())?,
        })
    }

    fn len(&self, row: usize) -> usize {
        if self.kinds[row] == SPARSE { self.sizes[row].max(0) as usize } else { self.values.bounds.range(row).len() }
    }

    fn copy<T: Real>(&self, row: usize, out: &mut [T]) -> Result<(), Fault> {
        if self.kinds[row] != SPARSE {
            return self.values.copy(row, out);
        }
        let found = self.len(row);
        if found != out.len() {
            return Err(Fault::Length { found, expected: out.len() });
        }
        let (offsets, positions) = self.positions;
        let positions = &positions[offsets[row] as usize..offsets[row + 1] as usize];
        let mut values = vec![T::default(); positions.len()];
        self.values.copy(row, &mut values).map_err(|_| Fault::BadVector)?;
        for (&position, value) in positions.iter().zip(values) {
            *usize::try_from(position).ok().and_then(|i| out.get_mut(i)).ok_or(Fault::BadVector)? = value;
        }
        Ok(())
    }
}

impl Vectors<'_> {
    fn copy_sparse(&self, row: usize, width: usize, begin: usize, out: &mut SparseRows) -> Result<(), Fault> {
        let found = self.len(row);
        if found != width {
            return Err(Fault::Length { found, expected: width });
        }
        let (offsets, positions) = self.positions;
        let positions = &positions[offsets[row] as usize..offsets[row + 1] as usize];
        let increasing = positions.windows(2).all(|pair| pair[0] < pair[1]);
        let within = |position: &i32| usize::try_from(*position).is_ok_and(|position| position < width);
        if !increasing || !positions.iter().all(within) {
            return Err(Fault::BadVector);
        }
        let from = out.values.len();
        out.values.resize(from + positions.len(), 0.0);
        self.values.copy(row, &mut out.values[from..]).map_err(|_| Fault::BadVector)?;
        out.indices.extend(positions.iter().map(|position| (begin + *position as usize) as u32));
        Ok(())
    }
}

/// One feature column of one batch: each row is a number, a list of numbers or a vector.
pub(super) struct Column<'a> {
    rows: RowCells<'a>,
    nulls: Option<&'a NullBuffer>,
}

enum RowCells<'a> {
    Numbers(Numbers<'a>),
    Lists(Lists<'a>),
    Vectors(Vectors<'a>),
}

impl<'a> Column<'a> {
    /// Wraps an array of a type that [`is_feature`].
    pub(super) fn new(array: &'a ArrayRef) -> Result<Self> {
        let rows = match array.data_type() {
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                RowCells::Lists(Lists::new(Bounds::Small(list.value_offsets()), list.values())?)
            }
            DataType::LargeList(_) => {
                let list = array.as_list::<i64>();
                RowCells::Lists(Lists::new(Bounds::Large(list.value_offsets()), list.values())?)
            }
            DataType::FixedSizeList(_, width) => {
                RowCells::Lists(Lists::new(Bounds::Fixed(*width as usize), array.as_fixed_size_list().values())?)
            }
            DataType::Struct(_) => RowCells::Vectors(Vectors::new(array.as_struct())?),
            _ => RowCells::Numbers(Numbers::new(array)?),
        };
        Ok(Self { rows, nulls: array.nulls().filter(|nulls| nulls.null_count() > 0) })
    }

    pub(super) fn is_null(&self, row: usize) -> bool {
        self.nulls.is_some_and(|nulls| nulls.is_null(row))
    }

    /// Returns the number of values of a row that is not null.
    pub(super) fn len(&self, row: usize) -> usize {
        match &self.rows {
            RowCells::Numbers(_) => 1,
            RowCells::Lists(lists) => lists.bounds.range(row).len(),
            RowCells::Vectors(vectors) => vectors.len(row),
        }
    }

    /// Copies one row into `out`, which holds zeros. The row must have exactly as many values, all of them finite.
    pub(super) fn copy<T: Real>(&self, row: usize, out: &mut [T]) -> Result<(), Fault> {
        if self.is_null(row) {
            return Err(Fault::Null);
        }
        match &self.rows {
            RowCells::Numbers(numbers) => {
                if out.len() != 1 {
                    return Err(Fault::Length { found: 1, expected: out.len() });
                }
                numbers.copy(row..row + 1, out);
            }
            RowCells::Lists(lists) => lists.copy(row, out)?,
            RowCells::Vectors(vectors) => vectors.copy(row, out)?,
        }
        if all_finite(out) { Ok(()) } else { Err(Fault::NotFinite) }
    }

    /// Appends the values of a row that are not zero, at their positions from `begin` on; `width` are the row's. What
    /// was appended of a row that cannot be used is left behind.
    pub(super) fn copy_sparse(
        &self,
        row: usize,
        width: usize,
        begin: usize,
        out: &mut SparseRows,
    ) -> Result<(), Fault> {
        if self.is_null(row) {
            return Err(Fault::Null);
        }
        let from = out.values.len();
        match &self.rows {
            RowCells::Vectors(vectors) if vectors.kinds[row] == SPARSE => {
                vectors.copy_sparse(row, width, begin, out)?
            }
            _ => {
                let mut dense: Vec<f32> = vec![0.0; width];
                self.copy(row, &mut dense)?;
                for (i, value) in dense.into_iter().enumerate().filter(|(_, value)| *value != 0.0) {
                    out.indices.push((begin + i) as u32);
                    out.values.push(value);
                }
            }
        }
        if all_finite(&out.values[from..]) { Ok(()) } else { Err(Fault::NotFinite) }
    }

    /// Copies every row at once when they lie side by side in memory without nulls, `out.len()` values in all.
    pub(super) fn copy_whole<T: Real>(&self, rows: usize, width: usize, out: &mut [T]) -> bool {
        let (values, range) = match &self.rows {
            RowCells::Numbers(numbers) if width == 1 => (numbers, 0..rows),
            RowCells::Lists(lists) if lists.nulls.is_none() && rows > 0 => {
                if (0..rows).any(|row| lists.bounds.range(row).len() != width) {
                    return false;
                }
                (&lists.values, lists.bounds.range(0).start..lists.bounds.range(rows - 1).end)
            }
            _ => return false,
        };
        if self.nulls.is_some() {
            return false;
        }
        values.copy(range, out);
        all_finite(out)
    }
}

/// Returns whether no value is a NaN or an infinity; without an early exit, so that it runs as wide as the processor
/// can.
fn all_finite<T: Real>(values: &[T]) -> bool {
    values.iter().fold(true, |all, value| all & value.is_finite())
}
