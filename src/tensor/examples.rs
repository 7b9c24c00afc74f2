//! Rows to learn from, held in memory.

use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::{Float32Type, Schema, UInt8Type, UInt32Type},
};

use super::{
    Columns, Decoded, Decoder, ExampleDecoder, OnInvalid,
    field::{HELD_OUT, LABEL, WEIGHT},
};
use crate::{Error, Result};

/// Rows to learn from: features row-major, and a label and a weight each. At most 2³² - 1 rows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Examples {
    /// Features per row.
    pub width: usize,
    /// `rows × width` values.
    pub features: Vec<f32>,
    /// The class of each row.
    pub labels: Vec<u32>,
    /// The weight of each row; empty when every row weighs 1.
    pub weights: Vec<f32>,
    /// Whether the data holds this row out; empty when the data does not say.
    pub held_out: Vec<bool>,
    /// Rows left out because they could not be used.
    pub skipped: u64,
}

impl Examples {
    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.labels.len()
    }

    /// The features of one row.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.features[row * self.width..(row + 1) * self.width]
    }

    /// The weight of one row.
    pub fn weight(&self, row: usize) -> f32 {
        self.weights.get(row).copied().unwrap_or(1.0)
    }
}

/// Gathers [`Examples`] from the batches of a stream.
#[derive(Debug)]
pub struct ExampleReader {
    decoder: ExampleDecoder,
    examples: Examples,
}

impl ExampleReader {
    /// Finds the columns and checks their types.
    ///
    /// # Errors
    /// Those of [`ExampleDecoder::bind`].
    pub fn bind(schema: &Schema, columns: &Columns, on_invalid: OnInvalid) -> Result<Self> {
        Ok(Self { decoder: ExampleDecoder::bind(schema, columns, on_invalid)?, examples: Examples::default() })
    }

    /// Takes in the next batch.
    ///
    /// # Errors
    /// Those of [`Decoder::decode`]; [`Error::Data`] for more than 2³² - 1 rows.
    pub fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        let Decoded { batch, skipped } = self.decoder.decode(batch)?;
        self.examples.skipped += skipped;
        for (field, column) in self.decoder.fields().iter().zip(batch.columns()) {
            match field.name.as_str() {
                LABEL => self.examples.labels.extend(column.as_primitive::<UInt32Type>().values()),
                WEIGHT => self.examples.weights.extend(column.as_primitive::<Float32Type>().values()),
                HELD_OUT => {
                    self.examples.held_out.extend(column.as_primitive::<UInt8Type>().values().iter().map(|h| *h == 1))
                }
                _ => {
                    self.examples.width = field.count();
                    let values = column.as_fixed_size_list().values();
                    self.examples.features.extend(values.as_primitive::<Float32Type>().values());
                }
            }
        }
        match u32::try_from(self.examples.rows()) {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::data(LABEL, "more than 2³² - 1 rows; train on a sample")),
        }
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// Those of [`Decoder::finish`].
    pub fn finish(mut self) -> Result<Examples> {
        self.decoder.finish()?;
        Ok(self.examples)
    }
}

#[cfg(test)]
mod tests;
