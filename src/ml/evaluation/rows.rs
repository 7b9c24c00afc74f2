//! Columns of local rows, for evaluation without the cluster.

use arrow::{
    array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch},
    compute::cast,
    datatypes::{DataType, Float64Type},
};

use crate::{Error, Result};

fn found<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    let missing = || {
        let names: Vec<String> = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
        Error::schema(name, "a column of the rows to evaluate", names.join(", "))
    };
    batch.column_by_name(name).ok_or_else(missing)
}

fn doubles(name: &str, array: &dyn Array) -> Result<Float64Array> {
    let cast =
        cast(array, &DataType::Float64).map_err(|_| Error::schema(name, "numbers", array.data_type().to_string()))?;
    Ok(cast.as_primitive::<Float64Type>().clone())
}

/// Returns a column of single numbers; NaN for null.
pub(super) fn numbers(batch: &RecordBatch, name: &str) -> Result<Vec<f64>> {
    let values = doubles(name, found(batch, name)?)?;
    Ok(values.iter().map(|value| value.unwrap_or(f64::NAN)).collect())
}

/// Returns the weights of the rows: a column, or 1.
pub(super) fn weights(batch: &RecordBatch, name: Option<&str>) -> Result<Vec<f64>> {
    match name {
        Some(name) => numbers(batch, name),
        None => Ok(vec![1.0; batch.num_rows()]),
    }
}

/// For each row one number of its list; NaN where there is none.
pub(super) fn picked(batch: &RecordBatch, name: &str, which: impl Fn(usize) -> usize) -> Result<Vec<f64>> {
    let lists = found(batch, name)?;
    let Some(lists) = lists.as_list_opt::<i32>() else {
        return Err(Error::schema(name, "lists of numbers", lists.data_type().to_string()));
    };
    let values = doubles(name, lists.values())?;
    let pick = |row: usize| {
        let (start, end) = (lists.offsets()[row] as usize, lists.offsets()[row + 1] as usize);
        let place = start.saturating_add(which(row));
        let there = lists.is_valid(row) && place < end && values.is_valid(place);
        if there { values.value(place) } else { f64::NAN }
    };
    Ok((0..lists.len()).map(pick).collect())
}

/// Returns whether a column holds lists.
pub(super) fn is_list(batch: &RecordBatch, name: &str) -> Result<bool> {
    Ok(matches!(found(batch, name)?.data_type(), DataType::List(_)))
}
