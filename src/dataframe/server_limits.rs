//! Memory and result size of a server, as far as it tells them.

use spark_connect_proto::{config_request as ask, config_request::operation::OpType};

use crate::{Result, connect::Client};

/// Limits of a server in bytes, with Spark's defaults for those that it does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ServerLimits {
    /// Heap of the driver: `spark.driver.memory`, 1 GiB by default.
    pub(super) driver_memory: u64,
    /// Heap of the driver, or of an executor where that is known and smaller.
    pub(super) memory: u64,
    /// Results of one query: `spark.driver.maxResultSize`, 1 GiB by default and for "no limit".
    pub(super) result_size: u64,
}

const DEFAULT: u64 = 1 << 30;

impl ServerLimits {
    /// Asks the server.
    ///
    /// # Errors
    /// [`Error::Unreachable`](crate::Error::Unreachable).
    pub(super) async fn of(client: &Client) -> Result<Self> {
        let keys =
            ["spark.driver.memory", "spark.executor.memory", "spark.driver.maxResultSize"].map(str::to_owned).to_vec();
        let answer = match client.config(OpType::GetOption(ask::GetOption { keys })).await {
            Err(error) if error.is_refusal() => {
                tracing::debug!(%error, "the server does not tell its limits; assuming Spark's defaults");
                Default::default()
            }
            answer => answer?,
        };
        let set = |key| {
            let value = answer.pairs.iter().find(|pair| pair.key == key).and_then(|pair| pair.value.as_deref());
            value.and_then(bytes).filter(|limit| *limit > 0)
        };
        let driver_memory = set("spark.driver.memory").unwrap_or(DEFAULT);
        Ok(Self {
            driver_memory,
            memory: set("spark.executor.memory").unwrap_or(driver_memory).min(driver_memory),
            result_size: set("spark.driver.maxResultSize").unwrap_or(DEFAULT),
        })
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_spark_writes_them() {
        assert_eq!(
            ["1g", "512m", "2gb", "100", "7 k", "0"].map(bytes),
            [Some(1 << 30), Some(512 << 20), Some(2 << 30), Some(100), Some(7 << 10), Some(0)]
        );
        assert_eq!(["", "m", "-1", "1x", "99999999999999999999", "9999999999999t"].map(bytes), [None; 6]);
    }
}
