//! Where the time and the rows of a query went, node by node.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use arrow::array::RecordBatch;
use spark_connect_proto::execute_plan_response::metrics::MetricObject;

use super::DataFrame;
use crate::{Result, connect::Event};

/// Metrics of one node of a query's physical plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanMetrics {
    /// The node, such as `Filter` or `Scan parquet`.
    pub node: String,
    /// Its number within the plan.
    pub id: i64,
    /// The number of the node that takes its rows; that of the root is one that no node has.
    pub parent: i64,
    /// Metrics by name, such as `numOutputRows`.
    pub metrics: BTreeMap<String, PlanMetric>,
}

/// One metric of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanMetric {
    /// The metric, for people.
    pub name: String,
    /// The value, in the unit of its kind.
    pub value: i64,
    /// `sum`, `size` (bytes), `timing` (milliseconds), `nsTiming` (nanoseconds) or `average`.
    pub kind: String,
}

impl DataFrame {
    /// Returns all rows, in this process's memory, and the metrics of the nodes that made them. Spark's
    /// `executionInfo`.
    ///
    /// # Errors
    /// As [`stream`](Self::stream).
    pub async fn collect_with_metrics(&self) -> Result<(Vec<RecordBatch>, Vec<PlanMetrics>)> {
        let nodes = Arc::new(Mutex::new(Vec::new()));
        let noted = nodes.clone();
        let note = move |event: &Event| {
            if let Event::Metrics(metrics) = event {
                *noted.lock().unwrap_or_else(PoisonError::into_inner) = metrics.iter().map(from_proto).collect();
            }
        };
        let batches = self.stream_noting(note).await?.collect().await?;
        let nodes = std::mem::take(&mut *nodes.lock().unwrap_or_else(PoisonError::into_inner));
        Ok((batches, nodes))
    }
}

fn from_proto(node: &MetricObject) -> PlanMetrics {
    let metrics = node.execution_metrics.iter().map(|(key, metric)| {
        let kind = metric.metric_type.clone();
        (key.clone(), PlanMetric { name: metric.name.clone(), value: metric.value, kind })
    });
    PlanMetrics { node: node.name.clone(), id: node.plan_id, parent: node.parent, metrics: metrics.collect() }
}
