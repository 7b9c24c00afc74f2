//! Splits rows by time: earlier rows for training, later ones for testing.

use serde::{Deserialize, Serialize};
use spark_connect::{
    column::Column,
    functions, lit, lit_double,
    types::{DataType, StructField},
};

use super::parts::NamedParts;
use crate::{
    DataProblem, Error, Result,
    dataframe::{Schema, column, function},
    ml::{
        feature::{NumberLayout, numbers, quantiles, raise, text},
        learning::{AggregateFit, AggregateResults, doubles},
        stage::{Estimator, Model, Transformer, fit_by_aggregates, plain_data},
        step::{Step, transform_by_steps},
    },
    number,
};

/// Learns the moments at which a split by time is to be cut: the earliest rows are in the first part.
///
/// The shares are exact to a thousandth of the rows; rows of one moment are in one part. The time is a date, a
/// timestamp, with or without a time zone, or a number. A row without a time fails the action that meets it.
#[derive(Debug, Clone)]
pub struct TimeSplit {
    time_col: String,
    parts: NamedParts,
}

impl TimeSplit {
    /// Splits by a column of times; parts are names with weights, the earliest first.
    pub fn new<N: Into<String>>(
        time_col: impl Into<String>,
        output_col: impl Into<String>,
        parts: impl IntoIterator<Item = (N, f64)>,
    ) -> Self {
        Self { time_col: time_col.into(), parts: NamedParts::new(output_col, parts) }
    }

    /// Makes the output boolean: true for the rows of this part. What `validationIndicatorCol` takes.
    pub fn indicator_of(mut self, part: impl Into<String>) -> Self {
        self.parts.indicate(part);
        self
    }

    fn aggregates(&self, schema: &Schema) -> Result<AggregateFit> {
        let (params, ends) = (self.clone(), self.parts.ends());
        let time = moment(schema.require(&self.time_col)?)?;
        let learn = move |answers: AggregateResults| {
            let cuts = answers.statistics.first().map(|statistic| doubles(statistic)).transpose()?.unwrap_or_default();
            if cuts.len() != params.parts.ends().len() || cuts.iter().any(|cut| cut.is_nan()) {
                return Err(Error::data(&params.time_col, DataProblem::NoValues { what: "time" }));
            }
            let TimeSplit { time_col, parts } = params;
            Ok(Box::new(TimeSplitModel { time_col, parts, cuts }) as Box<dyn Model>)
        };
        Ok(AggregateFit::new(learn).statistics(time, [quantiles(&ends)]))
    }
}

/// Returns a time as a number: days of a date, microseconds of a timestamp.
fn moment(field: &StructField) -> Result<Column> {
    let time = column(&field.name);
    let number = match &field.data_type {
        DataType::Date => function("unix_date", [time]),
        DataType::Timestamp => function("unix_micros", [time]),
        DataType::TimestampNtz => wall_clock_micros(time),
        other if matches!(numbers(other), Some(NumberLayout::Whole | NumberLayout::Real)) => time,
        other => {
            let expected = "a date, a timestamp or a number";
            return Err(Error::schema(&field.name, expected, other.simple_string()));
        }
    };
    Ok(number.cast(DataType::Double))
}

/// Microseconds of a timestamp without a time zone, as if it were of UTC. Spark's own conversions take the session's
/// zone, in which an hour of spring is missing and one of autumn comes twice.
fn wall_clock_micros(time: Column) -> Column {
    let long = |value: Column| value.cast(DataType::Long);
    let days = long(function("unix_date", [time.clone().cast(DataType::Date)]));
    let hours = days * lit(24i64) + long(function("hour", [time.clone()]));
    let minutes = hours * lit(60i64) + long(function("minute", [time.clone()]));
    let seconds = function("date_part", [text("SECOND"), time]);
    minutes * lit(60_000_000i64) + long(seconds * lit(1_000_000i64))
}

impl Estimator for TimeSplit {
    fit_by_aggregates!();

    fn transform_schema(&self, schema: &Schema) -> Result<Schema> {
        moment(schema.require(&self.time_col)?)?;
        self.parts.schema(schema)
    }

    fn reads(&self) -> Option<Vec<String>> {
        Some(vec![self.time_col.clone()])
    }
}

/// The fitted model of a [`TimeSplit`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimeSplitModel {
    time_col: String,
    parts: NamedParts,
    #[serde(with = "number::exact")]
    cuts: Vec<f64>,
}

impl TimeSplitModel {
    /// Returns the last moment of each part but the last: days since 1970 for dates, microseconds for timestamps.
    pub fn cuts(&self) -> &[f64] {
        &self.cuts
    }
}

impl Transformer for TimeSplitModel {
    transform_by_steps!();

    fn steps(&self, schema: &Schema) -> Result<Option<Vec<Step>>> {
        let time = moment(schema.require(&self.time_col)?)?;
        let part = self.parts.column(self.cuts.iter().map(|cut| time.clone().le(lit_double(*cut))));
        let message = format!("Column `{}` is null, which is in no part of a split by time.", self.time_col);
        let part = functions::when(time.is_not_null(), part).otherwise(raise([text(&message)]));
        Ok(Some(vec![Step::with_column(self.parts.output_col(), part)]))
    }

    fn transform_schema(&self, schema: &Schema) -> Result<Schema> {
        moment(schema.require(&self.time_col)?)?;
        self.parts.schema(schema)
    }

    fn reads(&self) -> Option<Vec<String>> {
        Some(vec![self.time_col.clone()])
    }

    plain_data!(TimeSplitModel);
}

impl Model for TimeSplitModel {
    fn into_transformer(self: Box<Self>) -> Box<dyn Transformer> {
        self
    }
}
