//! Which columns a network uses.

use arrow::datatypes::{DataType, Field, Schema};
use serde::{Deserialize, Serialize};

use super::reader::Readers;
use crate::{Error, Result, stream::nested_field};

/// The columns that a network is trained on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Columns {
    /// Numbers, booleans, arrays of them or Spark ML vectors; side by side they form one row of features.
    pub features: Vec<String>,
    /// Label of a row: its class, an integer from 0 of any numeric type; or a number or an array of several.
    /// Empty when training without labels.
    pub label: String,
    /// Weight of each row, at least 0; 1 when there is no such column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<String>,
    /// A boolean column that is true for the rows to hold out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<String>,
    /// Readers of the features, and perhaps of the label, when they are more than numbers; the features are then named
    /// after its inputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readers: Option<Readers>,
    /// True if rows are sparse, so that only values other than zero are kept. Not for readers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sparse: bool,
}

impl Columns {
    /// Learns `label` from one column of features.
    pub fn new(features: impl Into<String>, label: impl Into<String>) -> Self {
        Self::side_by_side([features], label)
    }

    /// Learns `label` from several columns of features, side by side in this order.
    pub fn side_by_side(features: impl IntoIterator<Item = impl Into<String>>, label: impl Into<String>) -> Self {
        let features = features.into_iter().map(Into::into).collect();
        Self { features, label: label.into(), weight: None, validation: None, readers: None, sparse: false }
    }

    /// Keeps only the values of the features that are not zero: for wide rows of mostly zeros, such as Spark ML's
    /// encoders and hashed words. A network whose first layer is linear then trains and predicts on those alone.
    pub fn sparse(mut self) -> Self {
        self.sparse = true;
        self
    }

    /// Trains on one column of features alone.
    pub fn unlabelled(features: impl Into<String>) -> Self {
        Self::new(features, "")
    }

    /// Reads the features, and perhaps the label, by readers.
    pub fn read_by(mut self, readers: Readers) -> Self {
        self.features = readers.inputs.iter().map(|input| input.name.clone()).collect();
        self.readers = Some(readers);
        self
    }

    /// Names the column of row weights.
    pub fn weight(mut self, column: impl Into<String>) -> Self {
        self.weight = Some(column.into());
        self
    }

    /// Names the boolean column that is true for the rows to hold out.
    pub fn validation(mut self, column: impl Into<String>) -> Self {
        self.validation = Some(column.into());
        self
    }
}

/// Kind of labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelKind {
    /// There is none.
    None,
    /// The class of a row, a whole number from 0.
    Class,
    /// Numbers that single precision holds.
    Numbers,
    /// Any finite numbers: they are scaled, in double precision, before they become single.
    Scaled,
    /// Numbers of at least 0.
    Counts,
    /// Numbers from 0 to 1.
    Probabilities,
}

impl LabelKind {
    /// Returns the problem of a number, if it is none of these.
    pub(super) fn refuses(self, value: f64) -> Option<&'static str> {
        match self {
            LabelKind::Numbers | LabelKind::Counts if value.abs() > f64::from(f32::MAX) => {
                Some("it is too large for single precision; scale the targets (scaleTargets)")
            }
            LabelKind::Counts if value < 0.0 => Some("a count is at least 0"),
            LabelKind::Probabilities if !(0.0..=1.0).contains(&value) => {
                Some("a label is 0 or 1, or a probability between")
            }
            _ => None,
        }
    }
}

/// Policy for a row that holds a null, a NaN or an infinity, or an array of another length than the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "job", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OnInvalid {
    /// Refuse the data, saying which column and row.
    #[default]
    Error,
    /// Leave the row out, and count it.
    Skip,
    /// Keep the row; its prediction is null. Only for prediction: training cannot use such a row.
    Keep,
}

/// Finds a column by its name: the one written exactly so, else the one that differs only in case, as Spark resolves
/// it.
pub(super) fn position(schema: &Schema, name: &str) -> Result<usize> {
    let lower = name.to_lowercase();
    let matching = |fits: &dyn Fn(&str) -> bool| -> Vec<usize> {
        schema.fields().iter().enumerate().filter(|(_, f)| fits(f.name())).map(|(i, _)| i).collect()
    };
    let exact = matching(&|found| found == name);
    let found = if exact.is_empty() { matching(&|found| found.to_lowercase() == lower) } else { exact };
    match found[..] {
        [only] => Ok(only),
        [] => {
            let names: Vec<&str> = schema.fields().iter().take(20).map(|f| f.name().as_str()).collect();
            let more = if schema.fields().len() > names.len() { ", …" } else { "" };
            Err(Error::schema(name, "a column of this name", format!("the columns {}{more}", names.join(", "))))
        }
        _ => Err(Error::schema(name, "one column of this name", "several; rename or drop the others")),
    }
}

/// Finds a column and checks its type.
pub(super) fn typed(schema: &Schema, name: &str, expected: &str, fits: fn(&DataType) -> bool) -> Result<usize> {
    let i = position(schema, name)?;
    let field: &Field = schema.field(i);
    if fits(field.data_type()) { Ok(i) } else { Err(Error::schema(name, expected, field.data_type().to_string())) }
}

/// Finds a column, or a field within a struct, and checks its type.
pub(super) fn typed_field(
    schema: &Schema,
    name: &str,
    expected: &str,
    fits: fn(&DataType) -> bool,
) -> Result<Vec<usize>> {
    match nested_field(schema, name) {
        Some((places, field)) if places.len() > 1 => match fits(field.data_type()) {
            true => Ok(places),
            false => Err(Error::schema(name, expected, field.data_type().to_string())),
        },
        _ => Ok(vec![typed(schema, name, expected, fits)?]),
    }
}
