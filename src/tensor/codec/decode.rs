//! From a column's physical form to numbers side by side.

use std::ops::Range;

use arrow::{
    array::{Array, ArrayRef, AsArray, LargeBinaryArray, PrimitiveArray},
    buffer::{NullBuffer, OffsetBuffer},
    compute::cast,
    datatypes::{ArrowPrimitiveType, DataType, Field, Float64Type, Int8Type, Int32Type},
};
use half::f16;

use super::{
    super::{
        ElementType, RowShape, TensorField,
        cells::{Cells, Gather, NetworkNumber},
    },
    Dtype, TensorType,
    form::{ColumnForm, form, tensor_type},
};
use crate::{Error, Result};

/// Reads one tensor column, whatever its form.
#[derive(Debug, Clone)]
pub struct TensorCodec {
    field: TensorField,
    form: ColumnForm,
    dtype: Dtype,
    fill: Option<f64>,
}

/// Appends the numbers of one row, or says what is wrong with it.
type ReadRow<'a, T> = dyn Fn(usize, &mut Vec<T>) -> Result<(), String> + 'a;

impl TensorCodec {
    /// Finds out how to read a column: what it holds is `declared`, or else what its metadata or its type says.
    ///
    /// # Errors
    /// [`Error::Schema`] for a column that holds no tensors, whose shape nothing tells, or whose type contradicts what
    /// is declared.
    pub fn bind(column: &Field, declared: Option<&TensorType>) -> Result<Self> {
        let form = form(column)?;
        let name = column.name();
        let found = match declared {
            Some(declared) => Some(declared.clone()),
            None => tensor_type(column, form)?,
        };
        let Some(tensor) = found else {
            let expected = match form {
                ColumnForm::Bytes => "a declared dtype and shape, or metadata that has them",
                _ => "a declared shape, or metadata that has one",
            };
            return Err(Error::schema(name, expected, format!("{} without either", column.data_type())));
        };
        let shape = tensor.row_shape(name)?;
        let dimensions = tensor.shape.len();
        let fits = match form {
            ColumnForm::Number => dimensions == 0,
            ColumnForm::Lists(depth) => depth == 1 && dimensions > 0 || depth == dimensions,
            ColumnForm::Steps => shape.ragged && shape.dims == [steps_width(column.data_type())],
            ColumnForm::Vector => dimensions > 0,
            ColumnForm::Bytes | ColumnForm::Shaped => true,
        };
        if !fits {
            let expected = format!("tensors of shape {}", show(&tensor.shape));
            return Err(Error::schema(name, expected, column.data_type().to_string()));
        }
        let field = TensorField::new(name, tensor.dtype.element(), shape);
        Ok(Self { field, form, dtype: tensor.dtype, fill: None })
    }

    /// Takes the numbers as another type than their dtype suggests.
    pub fn element(mut self, element: ElementType) -> Self {
        self.field.element = element;
        self
    }

    /// Puts this number where a cell, or a number in it, is null; otherwise such rows are faults.
    pub fn fill_nulls(mut self, value: Option<f64>) -> Self {
        self.fill = value;
        self
    }

    /// Returns the tensor that comes of the column; named like it.
    pub fn field(&self) -> &TensorField {
        &self.field
    }

    /// Reads all rows of a column of the type that was bound. NaN and infinities are numbers like any other.
    ///
    /// # Errors
    /// [`Error::Arrow`] when the numbers cannot be cast, [`Error::Schema`] for another type than was bound.
    pub fn decode(&self, column: &ArrayRef) -> Result<Cells> {
        match self.field.element {
            ElementType::F32 => self.decode_as::<f32>(column),
            ElementType::F64 => self.decode_as::<f64>(column),
            ElementType::U8 => self.decode_as::<u8>(column),
            ElementType::U32 => self.decode_as::<u32>(column),
        }
    }

    fn decode_as<T: NetworkNumber>(&self, column: &ArrayRef) -> Result<Cells> {
        if form(&Field::new(&self.field.name, column.data_type().clone(), true))? != self.form {
            let expected = format!("the form it was bound with, {:?}", self.form);
            return Err(Error::schema(&self.field.name, expected, column.data_type().to_string()));
        }
        let mut gather = Gather::<T>::new(&self.field, column.len());
        let fill = match self.fill {
            Some(value) => Some(T::from_double(value).ok_or_else(|| {
                Error::param("fill", value, format!("a number that {:?} can hold", self.field.element))
            })?),
            None => None,
        };
        let nulls = column.nulls().filter(|nulls| nulls.null_count() > 0);
        let shape = &self.field.shape;
        let count = self.field.count();
        let mut each = |read: &ReadRow<'_, T>| {
            for row in 0..column.len() {
                gather.row(|out| match (nulls.is_some_and(|nulls| nulls.is_null(row)), fill) {
                    (false, _) => read(row, out),
                    (true, None) => Err("is null".into()),
                    (true, Some(value)) => {
                        out.extend(std::iter::repeat_n(value, if shape.ragged { 0 } else { count }));
                        Ok(())
                    }
                });
            }
        };
        match self.form {
            ColumnForm::Number => {
                let numbers = CastNumbers::<T>::new(column, fill)?;
                each(&|row, out| numbers.push(row..row + 1, out));
            }
            ColumnForm::Lists(_) => {
                let lists = ListCells::<T>::new(column, shape, fill)?;
                each(&|row, out| lists.push(row, out));
            }
            ColumnForm::Steps => {
                let steps = Steps::<T>::new(column, fill)?;
                each(&|row, out| steps.push(row, out));
            }
            ColumnForm::Vector => {
                let vectors = VectorCells::<T>::new(column, fill)?;
                each(&|row, out| vectors.push(row, count, out));
            }
            ColumnForm::Bytes => {
                let fail = |e| Error::arrow(format!("reading the bytes of column `{}`", self.field.name), e);
                let bytes = cast(column, &DataType::LargeBinary).map_err(fail)?;
                let bytes: &LargeBinaryArray = bytes.as_binary();
                each(&|row, out| push_bytes(bytes.value(row), self.dtype, out));
            }
            ColumnForm::Shaped => {
                let (shapes, values) = (column.as_struct().column(0), column.as_struct().column(1));
                let shapes = ListCells::<u32>::new(shapes, &RowShape { dims: vec![1], ragged: true }, None)?;
                let values = ListCells::<T>::new(values, &RowShape { dims: vec![1], ragged: true }, fill)?;
                each(&|row, out| {
                    check_shape(&shapes, row, shape)?;
                    values.push(row, out)
                });
            }
        }
        Ok(gather.finish())
    }
}

fn show(shape: &[Option<usize>]) -> String {
    let dims: Vec<String> = shape.iter().map(|d| d.map_or("-1".into(), |d| d.to_string())).collect();
    format!("[{}]", dims.join(", "))
}

fn steps_width(data_type: &DataType) -> usize {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => match item.data_type() {
            DataType::Struct(fields) => fields.len(),
            _ => 0,
        },
        _ => 0,
    }
}

/// Returns a row's own statement of its shape must be the column's.
fn check_shape(shapes: &ListCells<u32>, row: usize, shape: &RowShape) -> Result<(), String> {
    let mut stated = Vec::new();
    shapes.push(row, &mut stated).map_err(|reason| format!("has a shape that {reason}"))?;
    let fixed = stated.get(usize::from(shape.ragged)..);
    let same = fixed.is_some_and(|dims| dims.iter().map(|d| *d as usize).eq(shape.dims.iter().copied()));
    if same {
        Ok(())
    } else {
        Err(format!("has shape {stated:?}, which is not {}{:?}", if shape.ragged { "any × " } else { "" }, shape.dims))
    }
}

/// Numbers cast to `T`, with what was null before and what the cast could not hold.
struct CastNumbers<T: NetworkNumber> {
    values: PrimitiveArray<T::Arrow>,
    /// Unusable values, nulls and misfits alike; `None` when all can be used.
    bad: Option<NullBuffer>,
    was_null: Option<NullBuffer>,
    fill: Option<T>,
}

impl<T: NetworkNumber> CastNumbers<T> {
    fn new(array: &ArrayRef, fill: Option<T>) -> Result<Self> {
        let fail = |e| Error::arrow(format!("converting {} to {}", array.data_type(), T::Arrow::DATA_TYPE), e);
        let whole = array.data_type().is_integer() || *array.data_type() == DataType::Boolean;
        // The cast gives null for a number that the type cannot hold, but cuts fractions off.
        let values: PrimitiveArray<T::Arrow> = if whole || matches!(T::ELEMENT, ElementType::F32 | ElementType::F64) {
            cast(array, &T::Arrow::DATA_TYPE).map_err(fail)?.as_primitive::<T::Arrow>().clone()
        } else {
            let doubles = cast(array, &DataType::Float64).map_err(fail)?;
            doubles.as_primitive::<Float64Type>().iter().map(|v| v.and_then(T::from_double)).collect()
        };
        let bad = values.nulls().filter(|nulls| nulls.null_count() > 0).cloned();
        Ok(Self { values, bad, was_null: array.nulls().cloned(), fill })
    }

    fn push(&self, range: Range<usize>, out: &mut Vec<T>) -> Result<(), String> {
        let begin = out.len();
        out.extend_from_slice(&self.values.values()[range.clone()]);
        let Some(bad) = &self.bad else { return Ok(()) };
        for i in range.clone().filter(|&i| bad.is_null(i)) {
            let was_null = self.was_null.as_ref().is_some_and(|nulls| nulls.is_null(i));
            match self.fill {
                Some(fill) if was_null => out[begin + i - range.start] = fill,
                _ if was_null => return Err("holds a null element".into()),
                _ => return Err(format!("holds a number that {:?} cannot", T::ELEMENT)),
            }
        }
        Ok(())
    }
}

/// Where each list begins and ends.
enum ListBounds {
    Small(OffsetBuffer<i32>),
    Large(OffsetBuffer<i64>),
    Fixed(usize),
}

impl ListBounds {
    fn range(&self, row: usize) -> Range<usize> {
        match self {
            ListBounds::Small(offsets) => offsets[row] as usize..offsets[row + 1] as usize,
            ListBounds::Large(offsets) => offsets[row] as usize..offsets[row + 1] as usize,
            ListBounds::Fixed(width) => row * width..(row + 1) * width,
        }
    }
}

/// One nesting of lists.
struct Level {
    bounds: ListBounds,
    nulls: Option<NullBuffer>,
    /// Number of items that each must have, where that is fixed.
    size: Option<usize>,
}

/// Takes one nesting off.
fn unnest(array: &ArrayRef) -> Option<(ListBounds, ArrayRef)> {
    Some(match array.data_type() {
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            (ListBounds::Small(list.offsets().clone()), list.values().clone())
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            (ListBounds::Large(list.offsets().clone()), list.values().clone())
        }
        DataType::FixedSizeList(_, width) => {
            (ListBounds::Fixed(*width as usize), array.as_fixed_size_list().values().clone())
        }
        _ => return None,
    })
}

/// Lists of numbers, nested or not.
struct ListCells<T: NetworkNumber> {
    levels: Vec<Level>,
    numbers: CastNumbers<T>,
}

impl<T: NetworkNumber> ListCells<T> {
    fn new(array: &ArrayRef, shape: &RowShape, fill: Option<T>) -> Result<Self> {
        let (mut levels, mut array) = (Vec::new(), array.clone());
        while let Some((bounds, values)) = unnest(&array) {
            levels.push(Level { bounds, nulls: array.nulls().cloned(), size: None });
            array = values;
        }
        if levels.len() > 1 {
            let first = shape.ragged.then_some(None);
            let sizes = first.into_iter().chain(shape.dims.iter().copied().map(Some));
            levels.iter_mut().zip(sizes).for_each(|(level, size)| level.size = size);
        }
        Ok(Self { levels, numbers: CastNumbers::new(&array, fill)? })
    }

    fn push(&self, row: usize, out: &mut Vec<T>) -> Result<(), String> {
        let mut range = row..row + 1;
        for (depth, level) in self.levels.iter().enumerate() {
            if depth > 0 && level.nulls.as_ref().is_some_and(|nulls| range.clone().any(|i| nulls.is_null(i))) {
                return Err("holds a null array".into());
            }
            if let Some(size) = level.size {
                let odd = range.clone().map(|i| level.bounds.range(i).len()).find(|found| *found != size);
                if let Some(found) = odd {
                    return Err(format!("has {found} items in dimension {depth}, not {size}"));
                }
            }
            range = match range.is_empty() {
                true => 0..0,
                false => level.bounds.range(range.start).start..level.bounds.range(range.end - 1).end,
            };
        }
        self.numbers.push(range, out)
    }
}

/// Lists of structs of numbers: a step is the numbers of one struct.
struct Steps<T: NetworkNumber> {
    bounds: ListBounds,
    nulls: Option<NullBuffer>,
    columns: Vec<CastNumbers<T>>,
}

impl<T: NetworkNumber> Steps<T> {
    fn new(array: &ArrayRef, fill: Option<T>) -> Result<Self> {
        let Some((bounds, values)) = unnest(array) else {
            return Err(Error::schema("(steps)", "a list", array.data_type().to_string()));
        };
        let columns = values.as_struct().columns().iter().map(|column| CastNumbers::new(column, fill));
        Ok(Self { bounds, nulls: values.nulls().cloned(), columns: columns.collect::<Result<_>>()? })
    }

    fn push(&self, row: usize, out: &mut Vec<T>) -> Result<(), String> {
        for step in self.bounds.range(row) {
            if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(step)) {
                return Err("holds a step that is null".into());
            }
            self.columns.iter().try_for_each(|numbers| numbers.push(step..step + 1, out))?;
        }
        Ok(())
    }
}

/// Spark ML vectors: dense ones are lists of values, sparse ones list the positions of theirs.
struct VectorCells<T: NetworkNumber> {
    kinds: PrimitiveArray<Int8Type>,
    sizes: PrimitiveArray<Int32Type>,
    positions: ArrayRef,
    bounds: ListBounds,
    values: ListCells<T>,
}

const SPARSE: i8 = 0;

impl<T: NetworkNumber> VectorCells<T> {
    fn new(array: &ArrayRef, fill: Option<T>) -> Result<Self> {
        let array = array.as_struct();
        let (indices, values) = (array.column(2).as_list::<i32>(), array.column(3));
        Ok(Self {
            kinds: array.column(0).as_primitive::<Int8Type>().clone(),
            sizes: array.column(1).as_primitive::<Int32Type>().clone(),
            positions: indices.values().clone(),
            bounds: ListBounds::Small(indices.offsets().clone()),
            values: ListCells::new(values, &RowShape { dims: vec![1], ragged: true }, fill)?,
        })
    }

    fn push(&self, row: usize, count: usize, out: &mut Vec<T>) -> Result<(), String> {
        if self.kinds.value(row) != SPARSE {
            return self.values.push(row, out);
        }
        // A size that is wrong must not decide how much memory is taken.
        let size = usize::try_from(self.sizes.value(row)).unwrap_or(0);
        if !size.is_multiple_of(count) || (size > count && size > (1 << 24)) {
            return Err(format!("has {size} values, not {count}"));
        }
        let mut values = Vec::new();
        self.values.push(row, &mut values)?;
        let begin = out.len();
        out.resize(begin + size, T::default());
        let positions = &self.positions.as_primitive::<Int32Type>().values()[self.bounds.range(row)];
        let bad = || "is a sparse vector whose indices do not fit its size".to_owned();
        if positions.len() != values.len() {
            return Err(bad());
        }
        for (&position, value) in positions.iter().zip(values) {
            let place = usize::try_from(position).ok().and_then(|i| out[begin..].get_mut(i));
            *place.ok_or_else(bad)? = value;
        }
        Ok(())
    }
}

/// Appends little-endian numbers.
fn push_bytes<T: NetworkNumber>(bytes: &[u8], dtype: Dtype, out: &mut Vec<T>) -> Result<(), String> {
    fn all<const N: usize, T: NetworkNumber>(
        bytes: &[u8],
        out: &mut Vec<T>,
        read: fn([u8; N]) -> f64,
    ) -> Result<(), String> {
        let (numbers, rest) = bytes.as_chunks::<N>();
        if !rest.is_empty() {
            return Err(format!("has {} bytes, which are no numbers of {N}", bytes.len()));
        }
        out.reserve(numbers.len());
        for number in numbers {
            let value = T::from_double(read(*number));
            out.push(value.ok_or_else(|| format!("holds a number that {:?} cannot", T::ELEMENT))?);
        }
        Ok(())
    }
    match dtype {
        Dtype::Uint8 => all::<1, T>(bytes, out, |b| f64::from(b[0])),
        Dtype::Int8 => all::<1, T>(bytes, out, |b| f64::from(b[0] as i8)),
        Dtype::Int16 => all::<2, T>(bytes, out, |b| f64::from(i16::from_le_bytes(b))),
        Dtype::Float16 => all::<2, T>(bytes, out, |b| f16::from_le_bytes(b).to_f64()),
        Dtype::Int32 => all::<4, T>(bytes, out, |b| f64::from(i32::from_le_bytes(b))),
        Dtype::Uint32 => all::<4, T>(bytes, out, |b| f64::from(u32::from_le_bytes(b))),
        Dtype::Float32 => all::<4, T>(bytes, out, |b| f64::from(f32::from_le_bytes(b))),
        Dtype::Int64 => all::<8, T>(bytes, out, |b| i64::from_le_bytes(b) as f64),
        Dtype::Float64 => all::<8, T>(bytes, out, f64::from_le_bytes),
    }
}
