//! Plans cut into tasks whose results are small.
//!
//! A task's result is held several times over: by the executor that makes it, by the block manager, by the driver that
//! takes it apart. One of 50 MB can end a server of 1 GiB.

use spark_connect::{lit, types::DataType};

use super::{deal::partition_keys, measure::RowTally};
use crate::dataframe::{DataFrame, column, function};

/// The column of a row's place, while rows are cut.
const PLACE: &str = "__tinderbox_place";

/// The column of a row's piece, while rows are cut.
const PIECE: &str = "__tinderbox_piece";

/// More pieces cost more than they are worth.
const MOST_PIECES: u64 = 2048;

/// `monotonically_increasing_id` counts the rows of each partition from the partition's number times this.
const ROWS_A_PARTITION: i64 = 1 << 33;

/// Returns the frame's rows in their order, by tasks that give about `bytes` each. The frame itself when its tasks give
/// no more.
pub(super) fn cut(frame: &DataFrame, tally: &RowTally, bytes: u64) -> DataFrame {
    let rows = (bytes / tally.average()).max(1);
    let pieces = tally.task_rows.div_ceil(rows).min(MOST_PIECES);
    if tally.task <= bytes || pieces < 2 {
        return frame.clone();
    }
    let rows = tally.task_rows.div_ceil(pieces);
    let partitions = (tally.tasks.max(1) * pieces).min(MOST_PIECES) as usize;
    let place = || column(PLACE);
    let of_partition = function(
        "least",
        [function("div", [place() % lit(ROWS_A_PARTITION), lit(rows as i64)]), lit(pieces as i64 - 1)],
    );
    let number = function("div", [place(), lit(ROWS_A_PARTITION)]) * lit(pieces as i64) + of_partition;
    let keys = partition_keys(partitions).into_iter().map(|key| lit(i64::from(key)).cast(DataType::Integer));
    let at = (function("pmod", [number, lit(partitions as i64)]) + lit(1)).cast(DataType::Integer);
    frame
        .with_column(PLACE, function("monotonically_increasing_id", []))
        .with_column(PIECE, function("element_at", [function("array", keys), at]))
        .repartition_by(Some(partitions as i32), [column(PIECE)])
        .sort_within_partitions([place()])
        .drop([PLACE, PIECE])
}
