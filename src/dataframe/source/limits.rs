//! What the server can stand: its memory, its limit on results, and settings for rows of a size.

use spark_connect_proto::{config_request as ask, config_request::operation::OpType};

use super::measure::Tally;
use crate::{Error, Result, connect::Client};

/// Bytes of a group, unless something is in the way.
const CAP: u64 = 128 << 20;

/// What all rows together are divided into at least, and bytes of a group below which that is not worth a query. Rows are
/// handed on group by group: whoever waits for the first or works on the last waits for one of them.
const GROUPS: u64 = 16;
const WORTH: u64 = 16 << 20;

/// A group's share of the driver's memory: two are under way, each in up to three forms (task result, message, buffer of
/// the network), and there must be room for the rest.
const OF_MEMORY: u64 = 12;

/// A group's share of the limit on one query's results, which counts them with overhead.
const OF_RESULT: u64 = 3;

/// Bytes of rows that one batch of a reader may have.
const BATCH: u64 = 8 << 20;

/// Settings that say how many rows a batch has, with Spark's defaults.
const ROWS_A_BATCH: [(&str, u64); 4] = [
    ("spark.sql.parquet.columnarReaderBatchSize", 4096),
    ("spark.sql.orc.columnarReaderBatchSize", 4096),
    ("spark.sql.inMemoryColumnarStorage.batchSize", 10_000),
    ("spark.sql.execution.arrow.maxRecordsPerBatch", 10_000),
];

/// Bytes that a group may have on this server.
pub(super) async fn cap(client: &Client) -> Result<u64> {
    let keys = ["spark.driver.memory", "spark.driver.maxResultSize"].map(str::to_owned).to_vec();
    let answer = match client.config(OpType::GetOption(ask::GetOption { keys })).await {
        Err(error) if error.is_refusal() => {
            tracing::debug!(%error, "the server does not tell its limits; taking Spark's defaults");
            Default::default()
        }
        answer => answer?,
    };
    let set = |key| {
        let value = answer.pairs.iter().find(|pair| pair.key == key).and_then(|pair| pair.value.as_deref());
        value.and_then(bytes)
    };
    let memory = set("spark.driver.memory").unwrap_or(1 << 30) / OF_MEMORY;
    let result = set("spark.driver.maxResultSize").filter(|limit| *limit > 0).unwrap_or(1 << 30) / OF_RESULT;
    Ok(CAP.min(memory).min(result).max(1 << 20))
}

/// Bytes that a group should have where rows can be divided at will.
pub(super) fn aim(bytes: u64, cap: u64) -> u64 {
    (bytes / GROUPS).max(WORTH).min(cap)
}

/// "512m", "2g", "1024" (bytes) as Spark writes them.
fn bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let text = text.strip_suffix('b').filter(|rest| rest.ends_with(char::is_alphabetic)).unwrap_or(&text);
    let digits = text.trim_end_matches(char::is_alphabetic);
    let unit = match &text[digits.len()..] {
        "" | "b" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return None,
    };
    digits.trim().parse::<u64>().ok()?.checked_mul(1 << unit)
}

/// Has the readers of this session hold but a few rows at a time, where rows are large.
pub(super) async fn suit(client: &Client, rows: &Tally) -> Result<()> {
    let fit = (BATCH / rows.average()).min(4 * BATCH / rows.largest.max(1)).max(1);
    let pairs = ROWS_A_BATCH
        .iter()
        .filter(|(_, default)| fit < *default)
        .map(|(key, _)| spark_connect_proto::KeyValue { key: (*key).to_owned(), value: Some(fit.to_string()) });
    let pairs: Vec<_> = pairs.collect();
    if pairs.is_empty() {
        return Ok(());
    }
    tracing::debug!(
        rows = fit,
        average = rows.average(),
        largest = rows.largest,
        "rows a batch of the cluster's readers"
    );
    let set = client.config(OpType::Set(ask::Set { pairs, ..Default::default() })).await;
    Error::pass_over(set.map(drop), "settings for large rows")
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

    #[test]
    fn sizes_are_read_as_spark_writes_them() {
        assert_eq!(
            ["1g", "512m", "2gb", "100", "7 k", "0"].map(bytes),
            [Some(1 << 30), Some(512 << 20), Some(2 << 30), Some(100), Some(7 << 10), Some(0)]
        );
        assert_eq!(["", "m", "-1", "1x", "99999999999999999999", "9999999999999t"].map(bytes), [None; 6]);
    }
}
