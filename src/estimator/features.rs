//! The columns a network trains on, in the form that travels best.

use spark_connect::{
    Column,
    types::{DataType, StructField},
};

use super::readers;
use crate::{
    DataProblem, Error, Result,
    dataframe::{DataFrame, Schema, column, is_vector, vector_to_array},
    ml::PreflightReport,
    tensor::{Columns, reader::Readers},
    train::TrainParams,
};

pub(super) fn is_number(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Boolean
            | DataType::Byte
            | DataType::Short
            | DataType::Integer
            | DataType::Long
            | DataType::Float
            | DataType::Double
            | DataType::Decimal { .. }
    )
}

pub(super) fn typed<'a>(
    schema: &'a Schema,
    name: &str,
    expected: &str,
    fits: fn(&DataType) -> bool,
) -> Result<&'a StructField> {
    let field = schema.require(name)?;
    let fits = fits(&field.data_type);
    if fits { Ok(field) } else { Err(Error::schema(name, expected, field.data_type.simple_string())) }
}

/// Returns a feature column as `array<float>` (a number as `float`): vectors travel at half the size, and as nothing
/// but values.
pub(super) fn single(schema: &Schema, name: &str) -> Result<Column> {
    let expected = "a Spark ML vector, an array of numbers or a number";
    let fits: fn(&DataType) -> bool = |data_type| match data_type {
        DataType::Array { element_type, .. } => is_number(element_type),
        other => is_number(other) || is_vector(other),
    };
    let found = typed(schema, name, expected, fits)?;
    let value = column(name);
    let single = match &found.data_type {
        DataType::Array { .. } => value.cast_str("array<float>"),
        other if is_vector(other) => vector_to_array(value, "float32"),
        _ => value.cast_str("float"),
    };
    Ok(single.alias(name))
}

/// Checks the columns that prediction uses, before anything runs.
pub(super) fn check_features(schema: &Schema, columns: &Columns) -> Result<()> {
    if let Some(read) = &columns.readers {
        return readers::check(schema, &read.input_columns());
    }
    columns.features.iter().try_for_each(|name| single(schema, name).map(drop))
}

/// Checks the columns that training uses besides the label, before anything runs.
pub(super) fn check(schema: &Schema, columns: &Columns) -> Result<()> {
    check_features(schema, columns)?;
    let read = columns.readers.as_ref();
    readers::check(schema, &read.map(Readers::columns).unwrap_or_default())?;
    if let Some(weight) = &columns.weight {
        typed(schema, weight, "a number", is_number)?;
    }
    if let Some(validation) = &columns.validation {
        typed(schema, validation, "a boolean", |data_type| *data_type == DataType::Boolean)?;
    }
    Ok(())
}

/// Bytes of a minibatch up to which networks may train on the zeros of sparse rows.
const DENSE_MINIBATCH: usize = 64 << 20;

/// Returns whether the rows of a report travel without their zeros: they have few other values, and the network trains
/// on sparse rows.
///
/// # Errors
/// [`Error::Data`] when they have, the network does not, and a minibatch would take much memory.
pub(super) fn keep_sparse(
    columns: &Columns,
    report: &PreflightReport,
    params: &TrainParams,
    takes: bool,
) -> Result<bool> {
    let features = || report.columns.iter().filter(|counts| columns.features.contains(&counts.name));
    let Some(sparse) = features().find(|counts| counts.is_sparse(report.rows)) else { return Ok(false) };
    let width = features().map(|counts| counts.lengths.map_or(1, |(_, longest)| longest)).sum::<usize>();
    let bytes = params.batch_size.saturating_mul(width).saturating_mul(4);
    let takes = takes && params.takes_sparse();
    if takes || bytes <= DENSE_MINIBATCH {
        return Ok(takes);
    }
    let stored = sparse.stored.unwrap_or_default();
    let what = format!(
        "bytes of a minibatch ({} rows of {width} values, zeros included, where {} rows have {stored} other values)",
        params.batch_size, report.rows,
    );
    let remedy = "begin the network with a linear layer and train on the processor in single precision, so that rows stay \
                  sparse, or hash to fewer values";
    Err(Error::data(
        &sparse.name,
        DataProblem::TooLarge { what, size: bytes as u64, limit: DENSE_MINIBATCH as u64, remedy },
    ))
}

/// Selects exactly the columns that training uses, cast on the cluster, and one more.
pub(super) fn select(
    df: &DataFrame,
    schema: &Schema,
    columns: &Columns,
    label: Option<Column>,
    also: Option<Column>,
) -> Result<DataFrame> {
    if let Some(read) = &columns.readers {
        return readers::select(df, schema, columns, read, label.into_iter().chain(also));
    }
    let mut selected = Vec::new();
    for name in &columns.features {
        let raw = columns.sparse && is_vector(&schema.require(name)?.data_type);
        selected.push(if raw { column(name).alias(name) } else { single(schema, name)? });
    }
    selected.extend(label);
    selected.extend(columns.weight.iter().map(|name| column(name).cast_str("double").alias(name)));
    selected.extend(columns.validation.iter().map(|name| column(name).alias(name)));
    selected.extend(also);
    Ok(df.select(selected))
}
