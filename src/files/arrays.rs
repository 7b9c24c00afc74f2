//! Arrays of NumPy and of MNIST, side by side.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, Float32Array, Float64Array, Int16Array, Int32Array, Int64Array, ListArray, RecordBatch},
    buffer::OffsetBuffer,
    datatypes::{DataType, Field, Schema, SchemaRef},
};

use super::FileFormat;
use crate::{Error, Result};

/// Bytes of a batch.
const BATCH: usize = 4 << 20;

/// Largest header of a NumPy file.
const HEADER: usize = 1 << 20;

/// A type of numbers in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NumberKind {
    U8,
    I8,
    I16,
    I32,
    I64,
    F32,
    F64,
}

/// An array of a file: rows of its first dimension.
struct ArrayFile {
    path: PathBuf,
    name: String,
    file: BufReader<File>,
    number: NumberKind,
    big_endian: bool,
    rows: usize,
    /// Numbers of a row; 1 for an array of one dimension.
    width: usize,
    is_list: bool,
}

/// Returns the columns and rows of arrays that have the same number of rows.
pub(super) fn read(
    paths: &[PathBuf],
    formats: &[FileFormat],
) -> Result<(SchemaRef, impl Iterator<Item = Result<RecordBatch>> + Send + use<>)> {
    let open = |(path, format): (&PathBuf, &FileFormat)| match format {
        FileFormat::Npy => npy(path),
        _ => idx(path),
    };
    let mut arrays = paths.iter().zip(formats).map(open).collect::<Result<Vec<_>>>()?;
    let rows = arrays.first().map_or(0, |array| array.rows);
    if let Some(other) = arrays.iter().find(|array| array.rows != rows) {
        let legal = format!("{rows}, the number of rows of {}", arrays[0].path.display());
        return Err(Error::param("rows", format!("{} of {}", other.rows, other.path.display()), legal));
    }
    for place in 1..arrays.len() {
        if arrays[..place].iter().any(|array| array.name == arrays[place].name) {
            arrays[place].name = format!("{}_{place}", arrays[place].name);
        }
    }
    let schema = Arc::new(Schema::new(
        arrays.iter().map(|array| Field::new(&array.name, array.data_type(), false)).collect::<Vec<_>>(),
    ));
    let bytes: usize = arrays.iter().map(|array| array.width.saturating_mul(array.number.bytes())).sum();
    let at_once = (BATCH / bytes.max(1)).clamp(1, 65_536);
    let (columns, mut left) = (schema.clone(), rows);
    let batches = std::iter::from_fn(move || {
        if left == 0 {
            return None;
        }
        let rows = left.min(at_once);
        left -= rows;
        let read = arrays.iter_mut().map(|array| array.take(rows)).collect::<Result<Vec<_>>>();
        if read.is_err() {
            left = 0;
        }
        Some(read.and_then(|arrays| {
            RecordBatch::try_new(columns.clone(), arrays).map_err(|error| Error::arrow("arrays as rows", error))
        }))
    });
    Ok((schema, batches))
}

impl NumberKind {
    fn bytes(self) -> usize {
        match self {
            NumberKind::U8 | NumberKind::I8 => 1,
            NumberKind::I16 => 2,
            NumberKind::I32 | NumberKind::F32 => 4,
            NumberKind::I64 | NumberKind::F64 => 8,
        }
    }

    /// Returns the type in Arrow; Spark has no unsigned bytes.
    fn data_type(self) -> DataType {
        match self {
            NumberKind::U8 | NumberKind::I8 | NumberKind::I16 => DataType::Int16,
            NumberKind::I32 => DataType::Int32,
            NumberKind::I64 => DataType::Int64,
            NumberKind::F32 => DataType::Float32,
            NumberKind::F64 => DataType::Float64,
        }
    }
}

impl ArrayFile {
    fn data_type(&self) -> DataType {
        let item = self.number.data_type();
        if self.is_list { DataType::new_list(item, false) } else { item }
    }

    /// Reads the next rows.
    fn take(&mut self, rows: usize) -> Result<ArrayRef> {
        let bytes = self.number.bytes();
        let mut raw = vec![0; rows * self.width * bytes];
        self.file.read_exact(&mut raw).map_err(|error| Error::io(&self.path, error))?;
        if self.big_endian && bytes > 1 {
            raw.chunks_exact_mut(bytes).for_each(<[u8]>::reverse);
        }
        macro_rules! values {
            ($array:ident, $number:ty) => {
                Arc::new($array::from_iter_values(
                    raw.chunks_exact(bytes).map(|value| <$number>::from_le_bytes(std::array::from_fn(|i| value[i]))),
                ))
            };
        }
        let values: ArrayRef = match self.number {
            NumberKind::U8 => Arc::new(Int16Array::from_iter_values(raw.iter().map(|value| i16::from(*value)))),
            NumberKind::I8 => Arc::new(Int16Array::from_iter_values(raw.iter().map(|value| i16::from(*value as i8)))),
            NumberKind::I16 => values!(Int16Array, i16),
            NumberKind::I32 => values!(Int32Array, i32),
            NumberKind::I64 => values!(Int64Array, i64),
            NumberKind::F32 => values!(Float32Array, f32),
            NumberKind::F64 => values!(Float64Array, f64),
        };
        if !self.is_list {
            return Ok(values);
        }
        let offsets = OffsetBuffer::from_repeated_length(self.width, rows);
        let field = Arc::new(Field::new_list_field(values.data_type().clone(), false));
        let list = ListArray::try_new(field, offsets, values, None);
        Ok(Arc::new(list.map_err(|error| Error::arrow("an array's rows", error))?))
    }

    /// Checks that dimensions and file agree, before anything is allocated.
    fn checked(self, dims: &[usize], header: u64) -> Result<Self> {
        let wrong = |text: String| Error::io(&self.path, io::Error::new(io::ErrorKind::InvalidData, text));
        let count = dims.iter().try_fold(self.number.bytes(), |product, dim| product.checked_mul(*dim));
        let length = self.file.get_ref().metadata().map_err(|error| Error::io(&self.path, error))?.len();
        let found = length.saturating_sub(header);
        match count {
            Some(expected) if expected as u64 == found => Ok(self),
            _ => Err(wrong(format!("its header says {dims:?} numbers, and {found} bytes follow it"))),
        }
    }
}

/// Returns a column's name for a file: letters, digits and underscores of its name.
fn column_name(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name: String = stem.chars().map(|c| if c.is_alphanumeric() { c } else { '_' }).collect();
    match name.as_str() {
        "" => "values".into(),
        // MNIST's own names: train-images-idx3-ubyte and train-labels-idx1-ubyte.
        name if name.contains("images_idx") => "pixels".into(),
        name if name.contains("labels_idx") => "label".into(),
        _ => name,
    }
}

/// Opens an array of NumPy's format, versions 1 to 3.
fn npy(path: &Path) -> Result<ArrayFile> {
    let io = |error| Error::io(path, error);
    let wrong = |text: String| Error::io(path, io::Error::new(io::ErrorKind::InvalidData, text));
    let mut file = BufReader::new(File::open(path).map_err(io)?);
    let mut magic = [0; 8];
    file.read_exact(&mut magic).map_err(io)?;
    if &magic[..6] != b"\x93NUMPY" {
        return Err(wrong("it is no NumPy array".into()));
    }
    let mut length = vec![0; if magic[6] == 1 { 2 } else { 4 }];
    file.read_exact(&mut length).map_err(io)?;
    let length_bytes = length.len();
    let length = length.iter().rev().fold(0usize, |sum, byte| sum << 8 | usize::from(*byte));
    if length > HEADER {
        return Err(wrong(format!("its header has {length} bytes, more than {HEADER}")));
    }
    let mut header = vec![0; length];
    file.read_exact(&mut header).map_err(io)?;
    let header = String::from_utf8_lossy(&header).into_owned();
    let after = |key: &str| header.split_once(&format!("'{key}':")).map(|(_, rest)| rest.trim_start());
    let descr = after("descr").and_then(|rest| rest.strip_prefix('\'')).and_then(|rest| rest.split('\'').next());
    let (order, kind) = descr.map_or(("", ""), |descr| descr.split_at_checked(1).unwrap_or(("", "")));
    let number = match kind {
        "u1" | "b1" => NumberKind::U8,
        "i1" => NumberKind::I8,
        "i2" => NumberKind::I16,
        "i4" => NumberKind::I32,
        "i8" => NumberKind::I64,
        "f4" => NumberKind::F32,
        "f8" => NumberKind::F64,
        _ => {
            return Err(wrong(format!(
                "its numbers are `{}`; int8 to int64, uint8, float32 and float64 are read",
                descr.unwrap_or("")
            )));
        }
    };
    if after("fortran_order").is_some_and(|rest| rest.starts_with("True")) {
        return Err(wrong("its numbers lie in Fortran's order; save `numpy.ascontiguousarray(a)`".into()));
    }
    let shape = after("shape").and_then(|rest| rest.strip_prefix('(')?.split(')').next());
    let dim = |text: &str| text.parse().ok();
    let dims: Option<Vec<usize>> =
        shape.and_then(|shape| shape.split(',').map(str::trim).filter(|text| !text.is_empty()).map(dim).collect());
    let dims = dims
        .filter(|dims| !dims.is_empty())
        .ok_or_else(|| wrong("it has no rows: a single number, or an unreadable header".into()))?;
    let rows = ArrayFile {
        path: path.to_owned(),
        name: column_name(path),
        file,
        number,
        big_endian: order == ">",
        rows: dims[0],
        width: dims[1..].iter().product(),
        is_list: dims.len() > 1,
    };
    rows.checked(&dims, (8 + length_bytes + length) as u64)
}

/// Opens an array of MNIST's format: two zeros, type, number of dimensions, dimensions, numbers, all big-endian.
fn idx(path: &Path) -> Result<ArrayFile> {
    let io = |error| Error::io(path, error);
    let wrong = |text: String| Error::io(path, io::Error::new(io::ErrorKind::InvalidData, text));
    let mut file = BufReader::new(File::open(path).map_err(io)?);
    let mut magic = [0; 4];
    file.read_exact(&mut magic).map_err(io)?;
    let number = match magic {
        [0, 0, 0x08, _] => NumberKind::U8,
        [0, 0, 0x09, _] => NumberKind::I8,
        [0, 0, 0x0b, _] => NumberKind::I16,
        [0, 0, 0x0c, _] => NumberKind::I32,
        [0, 0, 0x0d, _] => NumberKind::F32,
        [0, 0, 0x0e, _] => NumberKind::F64,
        [0x1f, 0x8b, ..] => return Err(wrong("it is compressed; unpack it with gunzip first".into())),
        _ => return Err(wrong("it is no IDX array".into())),
    };
    let mut dims = Vec::new();
    for _ in 0..magic[3] {
        let mut dim = [0; 4];
        file.read_exact(&mut dim).map_err(io)?;
        dims.push(u32::from_be_bytes(dim) as usize);
    }
    if dims.is_empty() {
        return Err(wrong("it has no dimension".into()));
    }
    let rows = ArrayFile {
        path: path.to_owned(),
        name: column_name(path),
        file,
        number,
        big_endian: true,
        rows: dims[0],
        width: dims[1..].iter().product(),
        is_list: dims.len() > 1,
    };
    rows.checked(&dims, 4 + 4 * dims.len() as u64)
}
