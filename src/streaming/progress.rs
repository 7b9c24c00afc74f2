//! Reports of a query.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// A report on one micro-batch. Spark's `StreamingQueryProgress`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StreamingQueryProgress {
    /// The query, through all its runs.
    pub id: String,
    /// This run of it.
    pub run_id: String,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Start of the micro-batch, in ISO 8601 and UTC.
    pub timestamp: String,
    /// Number of the micro-batch, from 0.
    pub batch_id: i64,
    /// Time for the micro-batch, in milliseconds.
    pub batch_duration: i64,
    /// Rows read.
    pub num_input_rows: i64,
    /// Rows that came in a second.
    pub input_rows_per_second: f64,
    /// Rows processed in a second.
    pub processed_rows_per_second: f64,
    /// Milliseconds by phase, such as `addBatch`.
    pub duration_ms: BTreeMap<String, i64>,
    /// `watermark`, and least, mean and greatest event time, if there is one.
    pub event_time: BTreeMap<String, String>,
    /// State that the query keeps.
    pub state_operators: Vec<StateOperatorProgress>,
    /// Where rows come from.
    pub sources: Vec<SourceProgress>,
    /// Where rows go to.
    pub sink: SinkProgress,
    /// Aggregates that the query [observes](crate::dataframe::DataFrame::observe), by the observation's name.
    #[serde(deserialize_with = "observed")]
    pub observed_metrics: BTreeMap<String, Map<String, Value>>,
}

/// Reads observed aggregates: by name, or as a row's values beside their schema.
fn observed<'de, D: Deserializer<'de>>(reader: D) -> Result<BTreeMap<String, Map<String, Value>>, D::Error> {
    let named = |row: Value| -> Option<Map<String, Value>> {
        let Value::Object(row) = row else { return None };
        let Some((values, fields)) = row.get("values").zip(row.get("schema").and_then(|schema| schema.get("fields")))
        else {
            return Some(row);
        };
        let names = fields.as_array()?.iter().filter_map(|field| field.get("name")?.as_str().map(str::to_owned));
        Some(names.zip(values.as_array()?.iter().cloned()).collect())
    };
    let rows = BTreeMap::<String, Value>::deserialize(reader)?;
    Ok(rows.into_iter().filter_map(|(name, row)| Some((name, named(row)?))).collect())
}

/// State of one operator of a query.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StateOperatorProgress {
    /// The operator.
    pub operator_name: String,
    /// Rows of state.
    pub num_rows_total: i64,
    /// Rows of state that changed.
    pub num_rows_updated: i64,
    /// Rows of state that were let go.
    pub num_rows_removed: i64,
    /// Rows that came too late for the watermark.
    pub num_rows_dropped_by_watermark: i64,
    /// Bytes of state in memory.
    pub memory_used_bytes: i64,
}

/// A source of a query. Offsets are in the source's own form.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SourceProgress {
    /// The source.
    pub description: String,
    /// Where the micro-batch began.
    pub start_offset: Value,
    /// Where it ended.
    pub end_offset: Value,
    /// End of the source now.
    pub latest_offset: Value,
    /// Rows read.
    pub num_input_rows: i64,
    /// Rows that came in a second.
    pub input_rows_per_second: f64,
    /// Rows processed in a second.
    pub processed_rows_per_second: f64,
}

/// The sink of a query.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SinkProgress {
    /// The sink.
    pub description: String,
    /// Rows written; -1 where the sink does not say.
    pub num_output_rows: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_is_read_with_what_it_lacks_at_its_default() {
        let text = r#"{"id":"a","runId":"b","name":null,"timestamp":"2026-01-01T00:00:00.000Z","batchId":3,
            "batchDuration":12,"numInputRows":5,"durationMs":{"addBatch":7},"stateOperators":[],
            "sources":[{"description":"rate","startOffset":1,"endOffset":{"x":2},"numInputRows":5}],
            "sink":{"description":"noop","numOutputRows":-1},"observedMetrics":{"seen":{"n":5},
            "row":{"values":[7],"schema":{"type":"struct","fields":[{"name":"m","type":"long"}]}}},"new":1}"#;
        let report: StreamingQueryProgress = serde_json::from_str(text).unwrap();
        assert_eq!((report.batch_id, report.num_input_rows, report.duration_ms["addBatch"]), (3, 5, 7));
        assert_eq!(report.sources[0].end_offset, serde_json::json!({"x": 2}));
        assert_eq!(
            (&report.observed_metrics["seen"]["n"], &report.observed_metrics["row"]["m"]),
            (&5.into(), &7.into())
        );
        assert_eq!((report.input_rows_per_second, report.sink.num_output_rows), (0.0, -1));
    }
}
