//! Column-level record readers: each declares the source columns it needs and the tensor it makes of them.
//!
//! Only the columns that readers declare are requested from the cluster, and only those are decoded. A reader is plain
//! data, saved with the model, so that predictions decode as training did.
//!
//! | reader | from | to |
//! |---|---|---|
//! | `ImageReader` (feature `images`) | PNG, JPEG or BMP bytes; Spark's `image` struct | `[channels, height, width]` |
//! | [`TensorReader`] | any form of a tensor column: numbers, arrays, vectors, raw bytes, sequences | as declared |
//! | [`TextReader`] | a string | ids of words, `[length]` or varying |
//! | [`OneHotReader`] | a string or a number | `[categories]` |
//! | [`PathLabel`] | a path | the class's number |

#[cfg(feature = "images")]
mod image;
mod one_hot;
mod path_label;
pub(crate) mod records;
#[cfg(feature = "images")]
mod resize;
#[cfg(feature = "images")]
mod spark_image;
mod tensor;
mod text;

use std::fmt::Debug;

use arrow::{array::RecordBatch, datatypes::Schema};
use serde::{Deserialize, Serialize};

#[cfg(feature = "images")]
pub use self::image::{ImageColor, ImageFit, ImageLayout, ImageReader};
pub(crate) use self::records::{ReadRows, RecordDecoder, RecordReader};
pub use self::{
    one_hot::OneHotReader,
    path_label::PathLabel,
    records::{Input, Readers},
    tensor::TensorReader,
    text::{TextReader, WORD_PATTERN},
};
use super::{Cells, TensorField};
use crate::Result;

/// Reads one tensor a row from columns of a batch.
pub trait ColumnReader: Debug + Send + Sync {
    /// Returns the source columns it needs.
    fn columns(&self) -> Vec<&str>;

    /// Checks its parameters and its columns' types; the tensor it makes, under `name`.
    ///
    /// # Errors
    /// [`Error::Schema`](crate::Error::Schema) for a column that is missing or mistyped,
    /// [`Error::Param`](crate::Error::Param) for parameters that cannot work.
    fn bind(&self, name: &str, schema: &Schema) -> Result<TensorField>;

    /// Reads all rows of a batch of a schema that was bound; rows that cannot be read are faults of the result.
    ///
    /// # Errors
    /// [`Error::Arrow`](crate::Error::Arrow) when a column cannot be converted, [`Error::Data`](crate::Error::Data)
    /// when the batch is too large for one Arrow column.
    fn read(&self, batch: &RecordBatch) -> Result<Cells>;
}

/// A reader as data: `{"reader": "image", "column": "content", …}` in JSON.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reader", rename_all = "snake_case")]
pub enum Reader {
    /// Images; with the feature `images`.
    #[cfg(feature = "images")]
    Image(ImageReader),
    /// Any form of a tensor column.
    Tensor(TensorReader),
    /// Words to ids.
    Text(TextReader),
    /// A category as a vector with a single 1.
    OneHot(OneHotReader),
    /// The class that a path names.
    PathLabel(PathLabel),
}

impl Reader {
    fn inner(&self) -> &dyn ColumnReader {
        match self {
            #[cfg(feature = "images")]
            Reader::Image(reader) => reader,
            Reader::Tensor(reader) => reader,
            Reader::Text(reader) => reader,
            Reader::OneHot(reader) => reader,
            Reader::PathLabel(reader) => reader,
        }
    }
}

impl ColumnReader for Reader {
    fn columns(&self) -> Vec<&str> {
        self.inner().columns()
    }

    fn bind(&self, name: &str, schema: &Schema) -> Result<TensorField> {
        self.inner().bind(name, schema)
    }

    fn read(&self, batch: &RecordBatch) -> Result<Cells> {
        self.inner().read(batch)
    }
}

macro_rules! from {
    ($($reader:ident => $variant:ident),*) => {
        $(impl From<$reader> for Reader {
            fn from(reader: $reader) -> Self {
                Reader::$variant(reader)
            }
        })*
    };
}

#[cfg(feature = "images")]
from!(ImageReader => Image);
from!(TensorReader => Tensor, TextReader => Text, OneHotReader => OneHot, PathLabel => PathLabel);

#[cfg(test)]
mod tests;
