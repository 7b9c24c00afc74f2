//! Categories as vectors with a single 1.

use std::collections::HashMap;

use arrow::{
    array::{Array, RecordBatch},
    datatypes::{DataType, Schema},
};
use serde::{Deserialize, Serialize};

use super::{
    super::{
        ElementType, RowShape, TensorField,
        cells::{Cells, Gather},
        columns::typed,
    },
    ColumnReader,
    text::{is_text, texts},
};
use crate::{Error, Result};

/// Reads a category as a vector that is 1 at its place and 0 elsewhere.
///
/// The categories are given, or fitted on the cluster: all there are, sorted. One that is not among them is a fault,
/// unless it is to be all zeros.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OneHotReader {
    column: String,
    #[serde(default)]
    categories: Vec<String>,
    #[serde(default)]
    zeros_for_unknown: bool,
}

impl OneHotReader {
    /// Reads a column of text or whole numbers.
    pub fn new(column: impl Into<String>) -> Self {
        Self { column: column.into(), categories: Vec::new(), zeros_for_unknown: false }
    }

    /// Gives the categories, in order of their places; numbers as they are written, such as `7`.
    pub fn categories(mut self, categories: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.categories = categories.into_iter().map(Into::into).collect();
        self
    }

    /// Reads a category that is not among them, and null, as all zeros.
    pub fn zeros_for_unknown(mut self) -> Self {
        self.zeros_for_unknown = true;
        self
    }

    /// Returns the categories, in order of their places; empty until fitted.
    pub fn names(&self) -> &[String] {
        &self.categories
    }
}

impl ColumnReader for OneHotReader {
    fn columns(&self) -> Vec<&str> {
        vec![&self.column]
    }

    fn bind(&self, name: &str, schema: &Schema) -> Result<TensorField> {
        if self.categories.is_empty() {
            return Err(Error::param("categories", "[]", "at least one; give them or have them fitted"));
        }
        typed(schema, &self.column, "text, a whole number or a boolean", |found| {
            is_text(found) || found.is_integer() || *found == DataType::Boolean
        })?;
        let shape = RowShape { dims: vec![self.categories.len()], ragged: false };
        Ok(TensorField::new(name, ElementType::F32, shape))
    }

    fn read(&self, batch: &RecordBatch) -> Result<Cells> {
        let places: HashMap<&str, usize> = self.categories.iter().map(String::as_str).zip(0..).collect();
        let field = self.bind("", batch.schema_ref())?;
        let texts = texts(batch, &self.column)?;
        let mut gather = Gather::<f32>::new(&field, texts.len());
        for row in 0..texts.len() {
            gather.row(|out| {
                let found = (!texts.is_null(row)).then(|| texts.value(row));
                let place = found.and_then(|found| places.get(found).copied());
                let begin = out.len();
                out.resize(begin + self.categories.len(), 0.0);
                match (place, found) {
                    (Some(place), _) => out[begin + place] = 1.0,
                    _ if self.zeros_for_unknown => {}
                    (None, None) => return Err("is null".into()),
                    (None, Some(found)) => return Err(format!("is `{found}`, which is none of the categories")),
                }
                Ok(())
            });
        }
        Ok(gather.finish())
    }
}
