//! Tensors in columns: every physical form they have in Spark's tables, from and to numbers side by side.
//!
//! | form | Arrow type | shape |
//! |---|---|---|
//! | number | any number, boolean, decimal | `[]` |
//! | array | lists of numbers, nested or flat (row-major) | declared, or that of fixed-size lists |
//! | steps | list of a struct of numbers | `[-1, fields]` |
//! | vector | Spark ML's vector, dense or sparse | `[n]`, of `ml_attr` when not declared |
//! | bytes | binary, little-endian, row-major | declared, with a dtype |
//! | shaped | `struct<shape: array<int>, values: array<T>>` | declared; each row states its own |
//! | tensor | Arrow's fixed-shape tensor | of the extension's metadata |
//!
//! A column says what it holds in its metadata, under the key [`TENSOR`]: `{"tensor": {"dtype": "float32", "shape": [1,
//! 28, 28]}}`; a first dimension of `-1` varies from row to row. Spark keeps it through views, selects and saved
//! tables, and hands it to PySpark as `schema["c"].metadata`.

mod decode;
mod encode;
mod form;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use decode::TensorCodec;
pub use encode::{TensorForm, encode, encode_ragged};

use super::{ElementType, RowShape};
use crate::{Error, Result};

/// The key of a tensor column's metadata.
pub const TENSOR: &str = "tensor";

/// The key of Spark's column metadata, JSON text, among the metadata of an Arrow field.
const SPARK_METADATA: &str = "SPARK::metadata::json";

/// The type of a tensor's numbers, as PyTorch and numpy name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// Unsigned, 1 byte.
    Uint8,
    /// Signed, 1 byte.
    Int8,
    /// Signed, 2 bytes.
    Int16,
    /// Signed, 4 bytes.
    Int32,
    /// Unsigned, 4 bytes.
    Uint32,
    /// Signed, 8 bytes.
    Int64,
    /// Half precision.
    Float16,
    /// Single precision.
    Float32,
    /// Double precision.
    Float64,
}

impl Dtype {
    /// Bytes a number.
    pub fn size(self) -> usize {
        match self {
            Dtype::Uint8 | Dtype::Int8 => 1,
            Dtype::Int16 | Dtype::Float16 => 2,
            Dtype::Int32 | Dtype::Uint32 | Dtype::Float32 => 4,
            Dtype::Int64 | Dtype::Float64 => 8,
        }
    }

    /// Returns the type of such numbers in a network: bytes and unsigned numbers unchanged, all others in single
    /// precision.
    pub fn element(self) -> ElementType {
        match self {
            Dtype::Uint8 => ElementType::U8,
            Dtype::Uint32 => ElementType::U32,
            _ => ElementType::F32,
        }
    }
}

/// Type of the cells of a tensor column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorType {
    /// The type of the numbers.
    pub dtype: Dtype,
    /// The size of each dimension; `None`, allowed for the first, where it varies from row to row. Written as −1:
    /// Spark's metadata knows no list with null in it.
    #[serde(with = "dimensions")]
    pub shape: Vec<Option<usize>>,
}

impl TensorType {
    /// Tensors that all have one shape; `[]` for single numbers.
    pub fn new(dtype: Dtype, shape: impl IntoIterator<Item = usize>) -> Self {
        Self { dtype, shape: shape.into_iter().map(Some).collect() }
    }

    /// Sequences: as many steps as a row has, each of this shape.
    pub fn ragged(dtype: Dtype, step: impl IntoIterator<Item = usize>) -> Self {
        Self { dtype, shape: [None].into_iter().chain(step.into_iter().map(Some)).collect() }
    }

    /// Checks the shape, and gives it as a network sees it.
    ///
    /// # Errors
    /// [`Error::Schema`] with the column for a dimension other than the first that varies, one that is 0, or more
    /// values than fit in memory.
    pub fn row_shape(&self, column: &str) -> Result<RowShape> {
        let ragged = self.shape.first() == Some(&None);
        let dims: Option<Vec<usize>> = self.shape.iter().skip(usize::from(ragged)).copied().collect();
        let count = dims.as_ref().and_then(|dims| dims.iter().try_fold(1usize, |n, d| n.checked_mul(*d)));
        match (dims, count) {
            (Some(dims), Some(count)) if (1..=i32::MAX as usize).contains(&count) => Ok(RowShape { dims, ragged }),
            _ => {
                let expected = "dimensions of at least 1, of which the first alone may vary, with at most 2³¹ values";
                Err(Error::schema(column, expected, format!("shape {:?}", self.shape)))
            }
        }
    }

    /// Reads a column's metadata; `None` when it says nothing of tensors.
    ///
    /// # Errors
    /// [`Error::Schema`] when it does so in words that cannot be understood.
    pub fn from_metadata(column: &str, metadata: &Map<String, Value>) -> Result<Option<Self>> {
        let Some(tensor) = metadata.get(TENSOR) else { return Ok(None) };
        serde_json::from_value(tensor.clone()).map(Some).map_err(|e| {
            let expected = r#"metadata such as {"tensor": {"dtype": "float32", "shape": [1, 28, 28]}}"#;
            Error::schema(column, expected, format!("{tensor} ({e})"))
        })
    }

    /// Returns the metadata of a column of this type.
    pub fn to_metadata(&self) -> Map<String, Value> {
        Map::from_iter([(TENSOR.to_owned(), serde_json::to_value(self).unwrap_or_default())])
    }
}

/// Shapes as lists of whole numbers, −1 for the dimension that varies.
mod dimensions {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(shape: &[Option<usize>], serializer: S) -> Result<S::Ok, S::Error> {
        let numbers: Vec<i64> = shape.iter().map(|d| d.map_or(-1, |d| i64::try_from(d).unwrap_or(i64::MAX))).collect();
        numbers.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Option<usize>>, D::Error> {
        let number = |d: i64| match d {
            -1 => Ok(None),
            d => usize::try_from(d).map(Some).map_err(|_| D::Error::custom(format!("a dimension of {d}"))),
        };
        Vec::<i64>::deserialize(deserializer)?.into_iter().map(number).collect()
    }
}

#[cfg(test)]
mod tests;
