//! Text to ids of words.

use std::{collections::HashMap, sync::LazyLock};

use arrow::{
    array::{Array, AsArray, LargeStringArray, RecordBatch},
    compute::cast,
    datatypes::{DataType, Schema},
};
use regex::Regex;
use serde::{Deserialize, Serialize};

use super::{
    super::{
        ElementType, RowShape, TensorField,
        cells::{Cells, Gather},
        columns::{position, typed},
    },
    ColumnReader,
};
use crate::{Error, Result};

/// A word: letters, digits and underscores, with the marks that belong to them, of any script. Spark finds the
/// same words with `(?U)\w+`.
pub const WORD_PATTERN: &str = r"\w+";

static WORD: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(WORD_PATTERN).expect("the pattern is a constant, and compiles"));

/// Reads text as ids of its words, in lower case: 0 fills up, 1 is a word that the vocabulary lacks, 2 its first word.
///
/// The vocabulary is given, or fitted on the cluster: the most frequent words first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextReader {
    column: String,
    length: usize,
    #[serde(default)]
    ragged: bool,
    #[serde(default = "most_words")]
    most_words: usize,
    #[serde(default)]
    vocabulary: Vec<String>,
}

fn most_words() -> usize {
    20_000
}

impl TextReader {
    /// The id that fills short texts up.
    pub const PADDING: u32 = 0;
    /// The id of words that the vocabulary lacks.
    pub const UNKNOWN: u32 = 1;

    /// Reads a column's first `length` words; shorter texts are filled up.
    pub fn new(column: impl Into<String>, length: usize) -> Self {
        Self { column: column.into(), length, ragged: false, most_words: most_words(), vocabulary: Vec::new() }
    }

    /// Gives as many ids as there are words, `length` at most.
    pub fn ragged(mut self) -> Self {
        self.ragged = true;
        self
    }

    /// Returns whether it gives as many ids as the text has words.
    pub fn is_ragged(&self) -> bool {
        self.ragged
    }

    /// Sets the largest number of words in a fitted vocabulary; 20,000 by default.
    pub fn most_words(mut self, words: usize) -> Self {
        self.most_words = words;
        self
    }

    /// Gives the vocabulary, in order of the ids from 2.
    pub fn vocabulary(mut self, words: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.vocabulary = words.into_iter().map(Into::into).collect();
        self
    }

    /// Returns the words that have ids, in order of the ids from 2; empty until fitted.
    pub fn words(&self) -> &[String] {
        &self.vocabulary
    }

    /// Returns the largest number of words in a fitted vocabulary.
    pub fn limit(&self) -> usize {
        self.most_words
    }

    /// Returns the number of ids, with those for padding and for unknown words.
    pub fn ids(&self) -> usize {
        self.vocabulary.len() + 2
    }
}

impl ColumnReader for TextReader {
    fn columns(&self) -> Vec<&str> {
        vec![&self.column]
    }

    fn bind(&self, name: &str, schema: &Schema) -> Result<TensorField> {
        if self.length == 0 || self.length > 1 << 24 {
            return Err(Error::param("length", self.length, "from 1 to 2²⁴ words"));
        }
        if self.vocabulary.is_empty() {
            return Err(Error::param("vocabulary", "[]", "words; give them or have them fitted"));
        }
        typed(schema, &self.column, "text", is_text)?;
        let dims = if self.ragged { vec![] } else { vec![self.length] };
        let shape = RowShape { dims, ragged: self.ragged };
        Ok(TensorField::new(name, ElementType::U32, shape))
    }

    fn read(&self, batch: &RecordBatch) -> Result<Cells> {
        let ids: HashMap<&str, u32> = self.vocabulary.iter().map(String::as_str).zip(2..).collect();
        let field = self.bind("", batch.schema_ref())?;
        let texts = texts(batch, &self.column)?;
        let mut gather = Gather::<u32>::new(&field, texts.len());
        for row in 0..texts.len() {
            gather.row(|out| {
                if texts.is_null(row) {
                    return Err("is null".into());
                }
                let lower = texts.value(row).to_lowercase();
                let begin = out.len();
                let words = WORD.find_iter(&lower).take(self.length);
                out.extend(words.map(|word| ids.get(word.as_str()).copied().unwrap_or(Self::UNKNOWN)));
                if !self.ragged {
                    out.resize(begin + self.length, Self::PADDING);
                }
                Ok(())
            });
        }
        Ok(gather.finish())
    }
}

pub(super) fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// Returns a column as text, whatever its type.
pub(super) fn texts(batch: &RecordBatch, column: &str) -> Result<LargeStringArray> {
    let array = batch.column(position(batch.schema_ref(), column)?);
    let texts = cast(array, &DataType::LargeUtf8);
    let texts = texts.map_err(|e| Error::arrow(format!("reading column `{column}` as text"), e))?;
    Ok(texts.as_string::<i64>().clone())
}
