//! Rows to learn from, held in memory.

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, RecordBatch},
    compute::cast,
    datatypes::{DataType, Float64Type, Schema},
};

use super::{
    Columns, FeatureReader, OnInvalid,
    columns::typed,
    convert::{Fault, is_number},
    features::{Faults, FirstFault, compact},
};
use crate::{Error, Result};

/// Labels count classes; more than this are surely no classes.
const MAX_CLASSES: f64 = (1 << 20) as f64;

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
    features: FeatureReader,
    label: Scalar,
    weight: Option<Scalar>,
    held_out: Option<Scalar>,
    on_invalid: OnInvalid,
    examples: Examples,
    rows_read: u64,
    faults: Option<(FirstFault, u64)>,
    bad_label: Option<Bad>,
    bad_weight: Option<Bad>,
}

#[derive(Debug, Clone)]
struct Scalar {
    name: String,
    index: usize,
}

/// Values that are numbers but not legal ones.
#[derive(Debug)]
struct Bad {
    value: f64,
    row: u64,
    count: u64,
}

impl Bad {
    fn note(bad: &mut Option<Bad>, value: f64, row: u64) {
        bad.get_or_insert(Bad { value, row, count: 0 }).count += 1;
    }

    fn error(&self, column: &str, rows: u64, legal: &str) -> Error {
        let Bad { value, row, count } = self;
        Error::data(column, format!("{count} of {rows} rows hold {value} or the like, the first is row {row}; {legal}"))
    }
}

impl ExampleReader {
    /// Finds the columns and checks their types.
    ///
    /// # Errors
    /// [`Error::Schema`] with the column, what would fit and what is there; [`Error::Param`] when no feature is named or
    /// `on_invalid` would keep rows that nothing can be learnt from.
    pub fn bind(schema: &Schema, columns: &Columns, on_invalid: OnInvalid) -> Result<Self> {
        if on_invalid == OnInvalid::Keep {
            return Err(Error::param("handleInvalid", "keep", "`error` or `skip` while training"));
        }
        let scalar = |name: &String, expected, fits| {
            Ok::<_, Error>(Scalar { name: name.clone(), index: typed(schema, name, expected, fits)? })
        };
        let is_boolean: fn(&DataType) -> bool = |data_type| *data_type == DataType::Boolean;
        Ok(Self {
            features: FeatureReader::bind(schema, &columns.features)?,
            label: scalar(&columns.label, "a number (the class, counted from 0)", is_number)?,
            weight: columns.weight.as_ref().map(|name| scalar(name, "a number", is_number)).transpose()?,
            held_out: columns.validation.as_ref().map(|name| scalar(name, "a boolean", is_boolean)).transpose()?,
            on_invalid,
            examples: Examples::default(),
            rows_read: 0,
            faults: None,
            bad_label: None,
            bad_weight: None,
        })
    }

    /// Takes in the next batch.
    ///
    /// # Errors
    /// [`Error::Arrow`] when a column cannot be converted, [`Error::Data`] when the rows do not fit in memory. Rows that
    /// cannot be used are counted; [`ExampleReader::finish`] speaks of them.
    pub fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        let (rows, start) = (batch.num_rows(), self.rows_read);
        self.rows_read += rows as u64;
        let begin = self.examples.features.len();
        let mut faults = self.features.append(batch, &mut self.examples.features)?;
        let labels = doubles(batch.column(self.label.index))?;
        let weights = self.weight.as_ref().map(|w| doubles(batch.column(w.index))).transpose()?;
        let held_out = self.held_out.as_ref().map(|h| batch.column(h.index).as_boolean());

        let mut required: Vec<(&str, &dyn Array)> = vec![(&self.label.name, &labels)];
        required.extend(self.weight.as_ref().zip(weights.as_ref()).map(|(c, a)| (c.name.as_str(), a as &dyn Array)));
        required.extend(self.held_out.as_ref().zip(held_out).map(|(c, a)| (c.name.as_str(), a as &dyn Array)));
        for (name, array) in required.into_iter().filter(|(_, array)| array.null_count() > 0) {
            for row in (0..rows).filter(|&row| array.is_null(row)) {
                Faults::mark(&mut faults, rows, row, start, name, Fault::Null);
            }
        }
        let bad = faults.as_ref().map(|faults| faults.bad.as_slice());
        let good = (0..rows).filter(|&row| bad.is_none_or(|bad| !bad[row]));
        for row in good {
            let label = labels.value(row);
            if !((0.0..MAX_CLASSES).contains(&label) && label.fract() == 0.0) {
                Bad::note(&mut self.bad_label, label, start + row as u64);
            }
            self.examples.labels.push(label as u32);
            if let Some(weights) = &weights {
                let weight = weights.value(row);
                if !(weight >= 0.0 && weight.is_finite()) {
                    Bad::note(&mut self.bad_weight, weight, start + row as u64);
                }
                self.examples.weights.push(weight as f32);
            }
            if let Some(held_out) = held_out {
                self.examples.held_out.push(held_out.value(row));
            }
        }
        if let Some(faults) = faults {
            self.drop_rows(begin, &faults);
        }
        if u32::try_from(self.examples.rows()).is_err() {
            return Err(Error::data(&self.label.name, "more than 2³² - 1 rows; train on a sample"));
        }
        Ok(())
    }

    /// Moves the usable rows of the last batch together, and counts the others.
    fn drop_rows(&mut self, begin: usize, faults: &Faults) {
        let count = faults.count();
        let (_, total) = self.faults.get_or_insert_with(|| (faults.first().clone(), 0));
        *total += count;
        compact(&mut self.examples.features, begin, self.features.width().unwrap_or(0), &faults.bad);
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// [`Error::Data`] when rows could not be used and are not to be skipped, a label is no class number, a weight is
    /// negative or not finite, or no row is left.
    pub fn finish(mut self) -> Result<Examples> {
        let rows = self.rows_read;
        if let Some((first, count)) = &self.faults {
            if self.on_invalid == OnInvalid::Error {
                return Err(first.error(*count, rows));
            }
            self.examples.skipped = *count;
        }
        if let Some(bad) = &self.bad_label {
            let legal = "a class is a whole number from 0; index the labels first";
            return Err(bad.error(&self.label.name, rows, legal));
        }
        if let (Some(bad), Some(weight)) = (&self.bad_weight, &self.weight) {
            return Err(bad.error(&weight.name, rows, "a weight is a finite number of at least 0"));
        }
        if self.examples.rows() == 0 {
            let reason = match self.examples.skipped {
                0 => "there is no row to learn from".to_owned(),
                skipped => format!("all {skipped} rows were skipped as unusable: there is none left to learn from"),
            };
            return Err(Error::data(&self.label.name, reason));
        }
        self.examples.width = self.features.width().unwrap_or(0);
        if self.examples.width == 0 {
            return Err(Error::data(
                &self.features.names(),
                "every row has zero values: there is nothing to learn from",
            ));
        }
        Ok(self.examples)
    }
}

/// A column of numbers or booleans as doubles.
fn doubles(array: &ArrayRef) -> Result<Float64Array> {
    if let Some(booleans) = array.as_any().downcast_ref::<BooleanArray>() {
        return Ok(booleans.iter().map(|b| b.map(f64::from)).collect());
    }
    let doubles = cast(array, &DataType::Float64)
        .map_err(|e| Error::arrow(format!("converting {} to double", array.data_type()), e))?;
    Ok(doubles.as_primitive::<Float64Type>().clone())
}

#[cfg(test)]
mod tests;
