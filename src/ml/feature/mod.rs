//! Stages that make features and labels.

mod bucketizer;
mod imputer;
mod index_to_string;
mod max_abs_scaler;
mod min_max_scaler;
mod normalizer;
mod one_hot_encoder;
mod quantile_discretizer;
mod robust_scaler;
mod scaling;
mod sql_transformer;
mod standard_scaler;
mod string_indexer;
mod vector_assembler;

use serde::{Deserialize, Serialize};
use spark_connect::{
    column::Column,
    types::{DataType, StructField},
};

pub use self::{
    bucketizer::Bucketizer,
    imputer::{Imputer, ImputerModel, ImputerStrategy},
    index_to_string::IndexToString,
    max_abs_scaler::{MaxAbsScaler, MaxAbsScalerModel},
    min_max_scaler::{MinMaxScaler, MinMaxScalerModel},
    normalizer::Normalizer,
    one_hot_encoder::{OneHotEncoder, OneHotEncoderModel},
    quantile_discretizer::QuantileDiscretizer,
    robust_scaler::{RobustScaler, RobustScalerModel},
    sql_transformer::SqlTransformer,
    standard_scaler::{StandardScaler, StandardScalerModel},
    string_indexer::{StringIndexer, StringIndexerModel, StringOrderType},
    vector_assembler::VectorAssembler,
};
use crate::{
    Error, Result,
    dataframe::{Schema, function, is_vector, literal_array, vector_to_array},
    ml::learning::Aggregate,
};

/// Reaction of a stage to a row that it cannot use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HandleInvalid {
    /// The action that meets it fails, naming column and value.
    #[default]
    Error,
    /// It is left out.
    Skip,
    /// It is kept, with a value that stands for it.
    Keep,
}

/// Layout of a column's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ml) enum NumberLayout {
    /// One that cannot be NaN.
    Whole,
    /// One.
    Real,
    /// Elements of a Spark ML vector.
    Vector,
    /// Elements of an array.
    Array,
}

/// Returns how a column of this type holds numbers, if it does.
pub(in crate::ml) fn numbers(data_type: &DataType) -> Option<NumberLayout> {
    match data_type {
        DataType::Boolean
        | DataType::Byte
        | DataType::Short
        | DataType::Integer
        | DataType::Long
        | DataType::Decimal { .. } => Some(NumberLayout::Whole),
        DataType::Float | DataType::Double => Some(NumberLayout::Real),
        DataType::Array { element_type, .. } => {
            matches!(numbers(element_type), Some(NumberLayout::Whole | NumberLayout::Real))
                .then_some(NumberLayout::Array)
        }
        other => is_vector(other).then_some(NumberLayout::Vector),
    }
}

/// Returns a column that holds one number a row; `expected` says in errors what of.
pub(in crate::ml) fn number<'a>(schema: &'a Schema, name: &str, expected: &str) -> Result<&'a StructField> {
    let field = schema.require(name)?;
    match numbers(&field.data_type) {
        Some(NumberLayout::Whole | NumberLayout::Real) => Ok(field),
        _ => Err(Error::schema(name, expected, field.data_type.simple_string())),
    }
}

/// Checks that every input column has an output column, and that there is one.
fn check_pairs(input_cols: &[String], output_cols: &[String]) -> Result<()> {
    if input_cols.is_empty() || input_cols.len() != output_cols.len() {
        let legal = format!("as many as inputCols ({}), at least one", input_cols.len());
        return Err(Error::param("outputCols", format!("{} columns", output_cols.len()), legal));
    }
    Ok(())
}

/// Returns a vector or array column as `array<double>`.
pub(in crate::ml) fn as_array(column: Column, kind: NumberLayout) -> Column {
    match kind {
        NumberLayout::Vector => vector_to_array(column, "float64"),
        _ => column.cast(DataType::Array { element_type: Box::new(DataType::Double), contains_null: true }),
    }
}

pub(in crate::ml) fn text(value: &str) -> Column {
    spark_connect::lit_string(value)
}

fn double_literals(values: impl IntoIterator<Item = f64>) -> Column {
    literal_array(DataType::Double, values.into_iter().map(spark_connect::lit_double))
}

/// Returns a constant array of texts. Many are one literal, which Spark reads at once where as many literals take its
/// analysis seconds.
fn text_literals<'a>(values: impl IntoIterator<Item = &'a str>) -> Column {
    const FEW: usize = 1000;
    let values: Vec<&str> = values.into_iter().collect();
    if values.len() > FEW {
        return function("from_json", [text(&serde_json::Value::from(values).to_string()), text("array<string>")]);
    }
    literal_array(DataType::String { collation: "UTF8_BINARY".into() }, values.into_iter().map(text))
}

/// Returns a failure of the row at hand, with a message put together from columns.
pub(in crate::ml) fn raise(message: impl IntoIterator<Item = Column>) -> Column {
    function("raise_error", [function("concat", message)])
}

/// Asks for quantiles, exact to a thousandth of the rows' ranks, as Spark ML's `relativeError` is by default.
pub(in crate::ml) fn quantiles(at: &[f64]) -> Aggregate {
    let at = at.to_vec();
    Box::new(move |value| {
        let at = double_literals(at.iter().copied());
        function("percentile_approx", [value, at, spark_connect::lit(1000)])
    })
}
