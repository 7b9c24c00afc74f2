//! Metrics of predictions, each evaluator by one aggregate on the cluster.
//!
//! An evaluator reads columns that a model wrote, as `org.apache.spark.ml.evaluation` does, and its metrics are
//! Spark's. The aggregate's result is kept whole ([`MulticlassMetrics`], [`BinaryMetrics`], [`RegressionMetrics`],
//! [`MultilabelMetrics`]), so that every metric of a table costs one pass.

mod binary;
mod multiclass;
mod multilabel;
mod regression;
mod rows;

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::Float64Type,
};
use spark_connect::{
    column::Column,
    lit_double,
    types::{DataType, StructField},
};

pub use self::{
    binary::{BinaryClassificationEvaluator, BinaryMetric, BinaryMetrics, CurvePoint},
    multiclass::{ClassMetrics, MulticlassClassificationEvaluator, MulticlassMetric, MulticlassMetrics},
    multilabel::{MultilabelClassificationEvaluator, MultilabelMetric, MultilabelMetrics},
    regression::{RegressionEvaluator, RegressionMetric, RegressionMetrics},
};
use super::feature;
use crate::{
    DataProblem, Error, Result,
    dataframe::{DataFrame, Schema, column},
};

/// Gives one metric for a frame of predictions.
pub trait Evaluator: std::fmt::Debug + Send + Sync {
    /// Returns the metric.
    ///
    /// # Errors
    /// [`Error::Schema`] for a column that is missing or of the wrong type; [`Error::Param`] for params that cannot
    /// work; [`Error::Data`] for values that cannot be evaluated, or no row; [`Error::Server`]; [`Error::Unreachable`].
    fn evaluate<'a>(&'a self, frame: &'a DataFrame) -> futures::future::BoxFuture<'a, Result<f64>>;

    /// Returns the metric of local rows, with their predictions: the same as of a frame of these rows.
    ///
    /// # Errors
    /// As [`evaluate`](Self::evaluate); [`Error::Param`] when the evaluator needs the cluster.
    fn evaluate_rows(&self, rows: &[RecordBatch]) -> Result<f64> {
        let found = format!("{self:?} and {} batches of rows", rows.len());
        Err(Error::param("evaluator", found, "one of classes, numbers or scores to evaluate local rows"))
    }

    /// Returns whether a larger value is better.
    fn is_larger_better(&self) -> bool;
}

/// Returns a column of single numbers.
fn number<'a>(schema: &'a Schema, name: &str) -> Result<&'a StructField> {
    feature::number(schema, name, "numbers")
}

fn double(name: &str) -> Column {
    column(name).cast(DataType::Double)
}

/// Returns the row weights: a column, or 1.
fn weight(schema: &Schema, name: Option<&str>) -> Result<Column> {
    match name {
        None => Ok(lit_double(1.0)),
        Some(name) => number(schema, name).map(|_| double(name)),
    }
}

/// Column `index` of an aggregate's answer, doubles; null is NaN.
fn doubles(batch: &RecordBatch, index: usize) -> Vec<f64> {
    let values = batch.column(index).as_primitive::<Float64Type>();
    (0..values.len()).map(|row| if values.is_null(row) { f64::NAN } else { values.value(row) }).collect()
}

fn no_rows(column: &str) -> Error {
    Error::data(column, DataProblem::NoRows)
}

/// Refuses rows that hold nothing to compare.
fn whole(column: &str, nulls: f64) -> Result<()> {
    if nulls > 0.0 {
        return Err(Error::values(column, "numbers", format!("null or NaN in {nulls} rows")));
    }
    Ok(())
}
