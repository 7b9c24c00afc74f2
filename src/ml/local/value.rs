//! Value of a cell, or of a part of an expression.

use std::{cmp::Ordering, sync::Arc};

use crate::{Error, Result};

/// A value of Spark's. Whole numbers of all widths are one: what stages compute of them stays far from any width's end.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Whole(i64),
    Float(f32),
    Double(f64),
    Decimal {
        digits: i128,
        scale: i8,
    },
    Text(Arc<str>),
    /// A number as text that other versions of Java write otherwise: fit for messages, not for decisions.
    Spelled(Arc<str>),
    Binary(Arc<[u8]>),
    Date(i32),
    /// A timestamp, in microseconds since 1970.
    Micros(i64),
    Array(Arc<[Value]>),
    Vector(Arc<[f64]>),
}

impl Value {
    pub(super) fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Whole(_) => "a whole number",
            Value::Float(_) => "a float",
            Value::Double(_) => "a double",
            Value::Decimal { .. } => "a decimal",
            Value::Text(_) => "text",
            Value::Spelled(_) => "a number's text, which depends on the version of the cluster's Java",
            Value::Binary(_) => "bytes",
            Value::Date(_) => "a date",
            Value::Micros(_) => "a timestamp",
            Value::Array(_) => "an array",
            Value::Vector(_) => "a vector",
        }
    }

    /// As a condition; `None` for null.
    pub(super) fn truth(&self, of: &str) -> Result<Option<bool>> {
        match self {
            Value::Null => Ok(None),
            Value::Bool(value) => Ok(Some(*value)),
            other => Err(unknown(of, [other])),
        }
    }
}

impl From<Option<bool>> for Value {
    fn from(truth: Option<bool>) -> Self {
        truth.map_or(Value::Null, Value::Bool)
    }
}

/// Returns the refusal of values that a function is not known to take.
pub(super) fn unknown<'v>(function: &str, values: impl IntoIterator<Item = &'v Value>) -> Error {
    let kinds: Vec<_> = values.into_iter().map(Value::kind).collect();
    let legal = "an expression that can be evaluated without the cluster";
    Error::param("expression", format!("`{function}` of {}", kinds.join(", ")), legal)
}

/// Compares two values that are not null: NaN equals itself and is above all numbers, -0 equals 0, text
/// goes by its bytes.
pub(super) fn compare(a: &Value, b: &Value, of: &str) -> Result<Ordering> {
    Ok(match (a, b) {
        (Value::Whole(a), Value::Whole(b)) => a.cmp(b),
        (Value::Double(a), Value::Double(b)) => compare_doubles(*a, *b),
        (Value::Double(a), Value::Whole(b)) => compare_doubles(*a, *b as f64),
        (Value::Whole(a), Value::Double(b)) => compare_doubles(*a as f64, *b),
        (Value::Text(a), Value::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        _ => return Err(unknown(of, [a, b])),
    })
}

fn compare_doubles(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}
