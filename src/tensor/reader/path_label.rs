//! Classes from paths.

use std::collections::HashMap;

use arrow::{
    array::{Array, RecordBatch},
    datatypes::Schema,
};
use regex::Regex;
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

/// The name of a file's folder.
const PARENT: &str = "([^/]+)/[^/]+$";

/// Reads the class of a row from a path: the file's folder, or what a regular expression finds.
///
/// The classes are given, or fitted on the cluster: all names there are, sorted. A path without a name, or with one
/// that is no class, is a fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathLabel {
    column: String,
    pattern: String,
    #[serde(default)]
    classes: Vec<String>,
}

impl PathLabel {
    /// Creates a reader whose class is the name of the file's folder, as in `…/cats/7.png`.
    pub fn parent(column: impl Into<String>) -> Self {
        Self::pattern(column, PARENT)
    }

    /// Creates a reader whose class is the match of the only group of a regular expression, in the syntax that Java and
    /// Rust share.
    pub fn pattern(column: impl Into<String>, pattern: impl Into<String>) -> Self {
        Self { column: column.into(), pattern: pattern.into(), classes: Vec::new() }
    }

    /// Gives the classes' names, in order of their numbers.
    pub fn classes(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.classes = names.into_iter().map(Into::into).collect();
        self
    }

    /// Returns the classes' names, in order of their numbers; empty until fitted.
    pub fn names(&self) -> &[String] {
        &self.classes
    }

    /// Returns the regular expression.
    pub fn expression(&self) -> &str {
        &self.pattern
    }

    /// Checks the regular expression.
    ///
    /// # Errors
    /// [`Error::Param`] when it is none, or has another number of groups than one.
    pub fn regex(&self) -> Result<Regex> {
        let regex = Regex::new(&self.pattern).ok().filter(|regex| regex.captures_len() == 2);
        regex.ok_or_else(|| {
            Error::param("pattern", format!("`{}`", self.pattern), "a regular expression with one group")
        })
    }
}

impl ColumnReader for PathLabel {
    fn columns(&self) -> Vec<&str> {
        vec![&self.column]
    }

    fn bind(&self, name: &str, schema: &Schema) -> Result<TensorField> {
        self.regex()?;
        if self.classes.is_empty() {
            return Err(Error::param("classes", "[]", "names of classes; give them or have them fitted"));
        }
        typed(schema, &self.column, "text: a path", is_text)?;
        let shape = RowShape { dims: vec![], ragged: false };
        Ok(TensorField::new(name, ElementType::U32, shape))
    }

    fn read(&self, batch: &RecordBatch) -> Result<Cells> {
        let regex = self.regex()?;
        let classes: HashMap<&str, u32> = self.classes.iter().map(String::as_str).zip(0..).collect();
        let field = self.bind("", batch.schema_ref())?;
        let paths = texts(batch, &self.column)?;
        let mut gather = Gather::<u32>::new(&field, paths.len());
        for row in 0..paths.len() {
            gather.row(|out| {
                if paths.is_null(row) {
                    return Err("is null".into());
                }
                let path = paths.value(row);
                let found = regex.captures(path).and_then(|captures| captures.get(1));
                let name = found.ok_or_else(|| format!("is `{path}`, in which `{}` finds no class", self.pattern))?;
                let class = classes.get(name.as_str());
                out.push(
                    *class
                        .ok_or_else(|| format!("names the class `{}`, which is none of those known", name.as_str()))?,
                );
                Ok(())
            });
        }
        Ok(gather.finish())
    }
}
