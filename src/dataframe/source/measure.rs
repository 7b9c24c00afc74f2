//! One aggregate: how many rows there are, and of what size.

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    datatypes::Int64Type,
};
use spark_connect::{column::Column, functions, lit, types::DataType};

use super::size::row_size;
use crate::{
    Error, Result,
    dataframe::{DataFrame, Schema, column, function},
};

/// Rows and their bytes in Arrow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tally {
    pub(super) rows: u64,
    pub(super) bytes: u64,
    /// Bytes of the largest row.
    pub(super) largest: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: Tally) {
        self.rows += other.rows;
        self.bytes += other.bytes;
        self.largest = self.largest.max(other.largest);
    }

    pub(super) fn average(&self) -> u64 {
        self.bytes.div_ceil(self.rows.max(1)).max(1)
    }
}

const KEY: &str = "key";
const SIZE: &str = "size";

/// Of all rows.
pub(super) async fn all(frame: &DataFrame, schema: &Schema) -> Result<Tally> {
    let sized = sized(frame, schema, None);
    let mut tallies = read(&sized.0.agg(aggregates()), sized.1).await?.into_iter();
    Ok(tallies.next().map(|(_, _, tally)| tally).unwrap_or_default())
}

/// Of a few rows, for a first idea: no row but those is read.
pub(super) async fn few(frame: &DataFrame, schema: &Schema, rows: i32) -> Result<Tally> {
    let sized = sized(frame, schema, None);
    let mut tallies = read(&sized.0.limit(rows).agg(aggregates()), sized.1).await?.into_iter();
    Ok(tallies.next().map(|(_, _, tally)| tally).unwrap_or_default())
}

/// Of the rows of each value of `key`, in order of the values, null first: a value is a row of an array.
pub(super) async fn by(frame: &DataFrame, schema: &Schema, key: Column) -> Result<Vec<(ArrayRef, usize, Tally)>> {
    let (frame, fixed) = sized(frame, schema, Some(key));
    read(&frame.group_by([column(KEY)]).agg(aggregates()).order_by([column(KEY)]), fixed).await
}

/// The one whole number of a result.
pub(super) async fn number(frame: &DataFrame) -> Result<u64> {
    let batches = frame.collect().await?;
    let mut cells = batches.iter().filter(|batch| batch.num_rows() > 0);
    let number = cells.find_map(|batch| Some(batch.column(0).as_primitive_opt::<Int64Type>()?.value(0)));
    Ok(number.unwrap_or_default().max(0) as u64)
}

/// The rows' sizes, with their keys; and what every row has besides.
fn sized(frame: &DataFrame, schema: &Schema, key: Option<Column>) -> (DataFrame, u64) {
    let size = row_size(schema);
    let varying = size.varying.unwrap_or_else(|| lit(0).cast(DataType::Long));
    let key = key.map(|key| key.alias(KEY));
    (frame.select(key.into_iter().chain([varying.alias(SIZE)])), size.fixed)
}

fn aggregates() -> [Column; 3] {
    [functions::count(lit(1)).alias("rows"), function("sum", [column(SIZE)]), function("max", [column(SIZE)])]
}

async fn read(frame: &DataFrame, fixed: u64) -> Result<Vec<(ArrayRef, usize, Tally)>> {
    let mut tallies = Vec::new();
    for batch in frame.collect().await? {
        for row in 0..batch.num_rows() {
            tallies.push((batch.column(0).clone(), row, tally(&batch, row, fixed)?));
        }
    }
    Ok(tallies)
}

/// From the last three columns.
fn tally(batch: &RecordBatch, row: usize, fixed: u64) -> Result<Tally> {
    let number = |from_end: usize| {
        let numbers = batch.columns().iter().nth_back(from_end)?.as_primitive_opt::<Int64Type>()?;
        Some(if numbers.is_null(row) { 0 } else { numbers.value(row).max(0) as u64 })
    };
    let (Some(rows), Some(sum), Some(max)) = (number(2), number(1), number(0)) else {
        let reason = format!("the measurement gave {:?}", batch.schema());
        return Err(Error::Incomplete { operation: "measuring rows".into(), reason });
    };
    Ok(Tally { rows, bytes: sum + rows * fixed, largest: max + fixed })
}
