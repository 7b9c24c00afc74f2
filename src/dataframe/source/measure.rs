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
pub(super) struct RowTally {
    pub(super) rows: u64,
    pub(super) bytes: u64,
    /// Bytes of the largest row.
    pub(super) largest: u64,
    /// Bytes and rows of the largest partition, which one task computes.
    pub(super) task: u64,
    pub(super) task_rows: u64,
    /// Number of partitions.
    pub(super) tasks: u64,
}

impl RowTally {
    pub(super) fn add(&mut self, other: RowTally) {
        self.rows += other.rows;
        self.bytes += other.bytes;
        self.largest = self.largest.max(other.largest);
        self.task = self.task.max(other.task);
        self.task_rows = self.task_rows.max(other.task_rows);
        self.tasks += other.tasks;
    }

    pub(super) fn average(&self) -> u64 {
        self.bytes.div_ceil(self.rows.max(1)).max(1)
    }
}

/// Of rows measured in parts.
pub(super) fn sum(tallies: impl Iterator<Item = RowTally>) -> RowTally {
    tallies.fold(RowTally::default(), |mut sum, tally| {
        sum.add(tally);
        sum
    })
}

const KEY: &str = "key";
const SIZE: &str = "size";
const PARTITION: &str = "partition";

/// Of all rows.
pub(super) async fn all(frame: &DataFrame, schema: &Schema) -> Result<RowTally> {
    total(sized(frame, schema, None)).await
}

/// Of a few rows, for a first idea: no row but those is read.
pub(super) async fn few(frame: &DataFrame, schema: &Schema, rows: i32) -> Result<RowTally> {
    let (sizes, fixed) = sized(frame, schema, None);
    total((sizes.limit(rows), fixed)).await
}

/// Of the rows of each value of `key`, in order of the values, null first: a value is a row of an array.
pub(super) async fn by(frame: &DataFrame, schema: &Schema, key: Column) -> Result<Vec<(ArrayRef, usize, RowTally)>> {
    let (sizes, fixed) = sized(frame, schema, Some(key));
    let partitions = sizes.group_by([column(KEY), column(PARTITION)]).agg(of_partition());
    let tallies = partitions.group_by([column(KEY)]).agg(of_partitions(fixed, functions::count(lit(1))));
    read(&tallies.order_by([column(KEY)]), fixed).await
}

async fn total((sizes, fixed): (DataFrame, u64)) -> Result<RowTally> {
    let partitions = sizes.group_by([column(PARTITION)]).agg(of_partition());
    let last = functions::max(column(PARTITION)).cast(DataType::Long) + lit(1);
    let mut tallies = read(&partitions.agg(of_partitions(fixed, last)), fixed).await?.into_iter();
    Ok(tallies.next().map(|(_, _, tally)| tally).unwrap_or_default())
}

/// Returns the one whole number of a result.
pub(super) async fn number(frame: &DataFrame) -> Result<u64> {
    let batches = frame.collect().await?;
    let mut cells = batches.iter().filter(|batch| batch.num_rows() > 0);
    let number = cells.find_map(|batch| Some(batch.column(0).as_primitive_opt::<Int64Type>()?.value(0)));
    Ok(number.unwrap_or_default().max(0) as u64)
}

/// Returns the rows' sizes, with their keys and partitions; and what every row has besides.
fn sized(frame: &DataFrame, schema: &Schema, key: Option<Column>) -> (DataFrame, u64) {
    let size = row_size(schema);
    let varying = size.varying.unwrap_or_else(|| lit(0).cast(DataType::Long));
    let key = key.map(|key| key.alias(KEY));
    let partition = function("spark_partition_id", []).alias(PARTITION);
    (frame.select(key.into_iter().chain([varying.alias(SIZE), partition])), size.fixed)
}

/// Rows of a partition, the sum of their sizes and the largest.
fn of_partition() -> [Column; 3] {
    let [sum, max] = ["sum", "max"].map(|name| function(name, [column(SIZE)]).alias(name));
    [functions::count(lit(1)).alias("rows"), sum, max]
}

/// Returns the fields of a [`RowTally`], over partitions; sizes are still without what every row has besides.
fn of_partitions(fixed: u64, count: Column) -> [Column; 6] {
    let bytes = column("sum") + column("rows") * lit(fixed as i64);
    [
        function("sum", [column("rows")]),
        function("sum", [column("sum")]),
        functions::max(column("max")),
        functions::max(bytes),
        functions::max(column("rows")),
        count,
    ]
}

async fn read(frame: &DataFrame, fixed: u64) -> Result<Vec<(ArrayRef, usize, RowTally)>> {
    let mut tallies = Vec::new();
    for batch in frame.collect().await? {
        for row in 0..batch.num_rows() {
            tallies.push((batch.column(0).clone(), row, tally(&batch, row, fixed)?));
        }
    }
    Ok(tallies)
}

/// From the last six columns.
fn tally(batch: &RecordBatch, row: usize, fixed: u64) -> Result<RowTally> {
    let number = |from_end: usize| {
        let numbers = batch.columns().iter().nth_back(from_end)?.as_primitive_opt::<Int64Type>()?;
        Some(if numbers.is_null(row) { 0 } else { numbers.value(row).max(0) as u64 })
    };
    let numbers = [5, 4, 3, 2, 1, 0].map(number);
    let [Some(rows), Some(sum), Some(max), Some(task), Some(task_rows), Some(tasks)] = numbers else {
        let reason = format!("the measurement gave {:?}", batch.schema());
        return Err(Error::Incomplete { operation: "measuring rows".into(), reason });
    };
    Ok(RowTally { rows, bytes: sum + rows * fixed, largest: max + fixed, task, task_rows, tasks })
}
