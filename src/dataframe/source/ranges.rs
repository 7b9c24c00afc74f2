//! Groups of a column of very many values: ranges whose bounds come from a sample of the values.

use arrow::{
    array::{Array, ArrayRef, AsArray},
    datatypes::Int64Type,
};
use spark_connect::{
    column::Column,
    functions, lit,
    types::{DataType, StructField},
};

use super::{
    groups::{Group, group, literal, pack},
    measure::{self, RowTally},
};
use crate::{
    DataProblem, Error, Result,
    dataframe::{DataFrame, Schema, column, function},
};

/// Values that bounds are chosen from, about.
const SAMPLED: u64 = 20_000;

/// Ranges for each group that the bytes would fill, as values do not have all as many rows.
const RANGES_A_GROUP: u64 = 4;

/// More ranges make a condition that the cluster is slow to compile.
const MOST_RANGES: u64 = 2048;

/// Groups of neighbouring values of a column that has about `distinct` of them. Every value that there is or could be
/// lies in one.
pub(super) async fn of_many_values(
    frame: &DataFrame,
    schema: &Schema,
    field: &StructField,
    distinct: u64,
    all: &RowTally,
    cap: u64,
) -> Result<Vec<Group>> {
    let key = || column(&field.name);
    let bounds = bounds(frame, field, distinct, (RANGES_A_GROUP * all.bytes.div_ceil(cap)).min(MOST_RANGES)).await?;
    let bounds: Vec<Column> = bounds.iter().map(|(values, row)| literal(values, *row, field)).collect::<Result<_>>()?;
    let range = functions::when(key().is_not_null(), range_of(&key(), &bounds, 0));
    let (mut groups, mut found) = (Vec::new(), Vec::new());
    for (numbers, row, tally) in measure::by(frame, schema, range).await? {
        match numbers.as_primitive_opt::<Int64Type>() {
            _ if numbers.is_null(row) => groups.push(group(frame.filter(key().is_null()), &[tally])),
            Some(numbers) => found.push((numbers.value(row) as usize, tally)),
            None => {
                let reason = format!("a range's number is of type {}", numbers.data_type());
                return Err(Error::Incomplete { operation: "measuring ranges".into(), reason });
            }
        }
    }
    let tallies: Vec<RowTally> = found.iter().map(|(_, tally)| *tally).collect();
    let runs = pack(&tallies, cap);
    for (at, run) in runs.iter().enumerate() {
        // From where the run begins to where the next one does, so that nothing lies between.
        let lower = bounds.get(found[run.start].0.wrapping_sub(1)).filter(|_| at > 0);
        let upper = runs.get(at + 1).and_then(|next| bounds.get(found[next.start].0.wrapping_sub(1)));
        let within = match (lower, upper) {
            (Some(lower), Some(upper)) => key().ge(lower.clone()).and(key().lt(upper.clone())),
            (Some(lower), None) => key().ge(lower.clone()),
            (None, Some(upper)) => key().lt(upper.clone()),
            (None, None) => key().is_not_null(),
        };
        groups.push(group(frame.filter(within), &tallies[run.clone()]));
    }
    match groups.iter().find(|group| group.tally.bytes > cap && group.rows != Some(1)) {
        Some(large) => Err(Error::data(
            &field.name,
            DataProblem::TooLarge {
                what: "bytes of rows with values in a narrow range".into(),
                size: large.tally.bytes,
                limit: cap,
                remedy: "name a column whose rows are spread more evenly, or choose another strategy",
            },
        )),
        None => Ok(groups),
    }
}

/// Values at even distances among a sample, in order; each divides what is below it from itself and what is above.
async fn bounds(frame: &DataFrame, field: &StructField, distinct: u64, ranges: u64) -> Result<Vec<(ArrayRef, usize)>> {
    let hash = function("xxhash64", [column(&field.name)]);
    let share = function("pmod", [hash, lit((distinct / SAMPLED).max(1) as i64)]);
    // By its hash, a value is in the sample or not however often the sample is taken.
    let sample = frame.select([column(&field.name)]).filter(share.eq(lit(0i64)));
    let sample = sample.filter(column(&field.name).is_not_null()).distinct().order_by([column(&field.name)]);
    let values: Vec<(ArrayRef, usize)> = (sample.collect().await?.iter())
        .flat_map(|batch| (0..batch.num_rows()).map(|row| (batch.column(0).clone(), row)).collect::<Vec<_>>())
        .collect();
    let ranges = (ranges as usize).min(values.len());
    Ok((1..ranges).map(|range| values[range * values.len() / ranges].clone()).collect())
}

/// Returns the number of a value's range: `first`, and one more for each bound that it is not below.
fn range_of(key: &Column, bounds: &[Column], first: usize) -> Column {
    if bounds.is_empty() {
        return lit(first as i64).cast(DataType::Long);
    }
    let middle = bounds.len() / 2;
    let below = range_of(key, &bounds[..middle], first);
    let above = range_of(key, &bounds[middle + 1..], first + middle + 1);
    functions::when(key.clone().lt(bounds[middle].clone()), below).otherwise(above)
}
