//! Limits of the server: its memory, its limit on results, and settings for rows of a size.

use spark_connect_proto::{config_request as ask, config_request::operation::OpType};

use super::measure::RowTally;
use crate::{
    Result,
    connect::Client,
    dataframe::{preference::prefer, server_limits::ServerLimits},
};

/// Bytes of a group, unless something is in the way.
const CAP: u64 = 128 << 20;

/// Least number of groups of all rows, and bytes of a group below which that is not worth a query. Rows are
/// handed on group by group: whoever waits for the first or works on the last waits for one of them.
const GROUPS: u64 = 16;
const WORTH: u64 = 16 << 20;

/// A group's share of the driver's memory: two are under way, each in up to three forms (task result, message, buffer
/// of the network), and the rest needs room as well.
const OF_MEMORY: u64 = 12;

/// A group's share of the limit on one query's results, which counts them with overhead.
const OF_RESULT: u64 = 3;

/// A task's share of the memory, and the bounds of its result: it is held several times over, by several tasks at once.
const TASK_OF_MEMORY: u64 = 128;
const SMALLEST_TASK: u64 = 1 << 20;
const LARGEST_TASK: u64 = 32 << 20;

/// The share of the memory that kept rows may take. Spark gives 60 % of the heap to what is kept and what is computed,
/// and guarantees half of that to what is kept.
const KEPT_OF_MEMORY: f64 = 0.3;

/// Bytes of rows that one batch of a reader may have.
const BATCH: u64 = 8 << 20;

/// Settings that say how many rows a batch has, with Spark's defaults.
const ROWS_A_BATCH: [(&str, u64); 4] = [
    ("spark.sql.parquet.columnarReaderBatchSize", 4096),
    ("spark.sql.orc.columnarReaderBatchSize", 4096),
    ("spark.sql.inMemoryColumnarStorage.batchSize", 10_000),
    ("spark.sql.execution.arrow.maxRecordsPerBatch", 10_000),
];

/// Bytes that rows on their way may have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Of a group.
    pub(super) cap: u64,
    /// Of the rows that one task gives.
    pub(super) task: u64,
    /// Of all rows, where the cluster keeps them in memory.
    pub(super) kept: u64,
}

impl Limits {
    /// Asks the server; `cap` is the user's choice.
    pub(super) async fn of(client: &Client, cap: Option<u64>) -> Result<Self> {
        let server = ServerLimits::of(client).await?;
        let own = CAP.min(server.driver_memory / OF_MEMORY).min(server.result_size / OF_RESULT).max(1 << 20);
        Ok(Self {
            cap: cap.unwrap_or(own),
            task: (server.memory / TASK_OF_MEMORY).clamp(SMALLEST_TASK, LARGEST_TASK),
            kept: (server.memory as f64 * KEPT_OF_MEMORY) as u64,
        })
    }
}

/// Bytes that a group should have where rows can be divided at will.
pub(super) fn aim(bytes: u64, cap: u64) -> u64 {
    (bytes / GROUPS).max(WORTH).min(cap)
}

/// Rows that a batch of each reader has, as the session was set before.
#[derive(Debug, Clone)]
pub(super) struct BatchSizes(Vec<(&'static str, u64)>);

impl BatchSizes {
    /// Asks the session.
    pub(super) async fn of(client: &Client) -> Result<Self> {
        let keys = ROWS_A_BATCH.iter().map(|(key, _)| (*key).to_owned()).collect();
        let answer = match client.config(OpType::GetOption(ask::GetOption { keys })).await {
            Err(error) if error.is_refusal() => Default::default(),
            answer => answer?,
        };
        let set = |key: &str| answer.pairs.iter().find(|pair| pair.key == key)?.value.as_deref()?.parse().ok();
        Ok(Self(ROWS_A_BATCH.iter().map(|(key, default)| (*key, set(key).unwrap_or(*default))).collect()))
    }

    /// Has the readers of the session hold no more rows at a time than their size allows.
    pub(super) async fn suit(&self, client: &Client, rows: &RowTally) -> Result<()> {
        let fit = (BATCH / rows.average()).min(4 * BATCH / rows.largest.max(1)).max(1);
        let pair = |(key, before): &(&'static str, u64)| {
            // Not positive means no limit.
            let rows = if *before == 0 { fit } else { fit.min(*before) };
            (*key, rows.to_string())
        };
        tracing::debug!(fit, average = rows.average(), largest = rows.largest, "rows a batch of the cluster's readers");
        prefer(client, "settings for large rows", self.0.iter().map(pair).collect()).await
    }
}

/// Gives each file tasks of its own, so that a task's rows are the measured ones.
pub(super) async fn one_file_a_task(client: &Client) -> Result<()> {
    prefer(client, "a task for each file", vec![("spark.sql.files.openCostInBytes", (1u64 << 40).to_string())]).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_data_is_divided_too() {
        let mib = |n: u64| n << 20;
        assert_eq!(aim(mib(5000), mib(128)), mib(128));
        assert_eq!(aim(mib(960), mib(128)), mib(60));
        assert_eq!(aim(mib(130), mib(128)), mib(16));
        assert_eq!(aim(mib(130), mib(1)), mib(1));
    }
}
