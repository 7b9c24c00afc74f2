//! Record of a training run.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use serde::{Deserialize, Serialize};

use super::{ConfusionMatrix, Metric};
use crate::{Error, Result, number};

/// The course of a training run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct History {
    /// One record per epoch that was completed.
    pub epochs: Vec<EpochRecord>,
    /// Metric of the epochs.
    #[serde(default)]
    pub metric: Metric,
    /// Where every row that was read went.
    pub rows: RowCounts,
    /// A finished classifier on the rows held out; none when no row was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out: Option<ConfusionMatrix>,
}

/// Where the rows went: `trained + held_out + skipped` is how many were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RowCounts {
    /// Training rows.
    pub trained: u64,
    /// Rows held out.
    pub held_out: u64,
    /// Rows left out because they could not be used.
    pub skipped: u64,
}

/// One epoch.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct EpochRecord {
    /// The epoch, from 0.
    pub epoch: usize,
    /// On the training rows, averaged while training (dropout on, weights moving).
    pub training: Evaluation,
    /// On the rows held out, after the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out: Option<Evaluation>,
    /// Duration in seconds.
    pub seconds: f64,
    /// Seconds of those that the training thread waited for minibatches.
    #[serde(default)]
    pub waiting: f64,
    /// The learning rate of its last step; 0 when it was not recorded.
    #[serde(default)]
    pub learning_rate: f64,
}

/// Loss and metric of a network on some rows.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Evaluation {
    /// The weighted mean loss.
    #[serde(with = "number::one")]
    pub loss: f64,
    /// The metric that [`History::metric`] names.
    #[serde(alias = "accuracy", with = "number::one")]
    pub metric: f64,
}

impl History {
    /// Returns the last epoch's record; none when no epoch was completed.
    pub fn last(&self) -> Option<&EpochRecord> {
        self.epochs.last()
    }

    /// Returns a finished classifier's accuracy on the rows held out.
    pub fn held_out_accuracy(&self) -> Option<f64> {
        self.held_out.as_ref().map(ConfusionMatrix::accuracy)
    }

    /// Lays the epochs out as rows: `epoch` (bigint, from 0), then doubles: `loss`, the metric's name such as
    /// `accuracy`, `held_out_loss`, `held_out_accuracy` (null without rows held out), `learning_rate`, `seconds`,
    /// `waiting`.
    ///
    /// # Errors
    /// [`Error::Arrow`] when the rows cannot be put together.
    pub fn to_record_batch(&self) -> Result<RecordBatch> {
        let doubles = |value: fn(&EpochRecord) -> Option<f64>| -> ArrayRef {
            Arc::new(Float64Array::from_iter(self.epochs.iter().map(value)))
        };
        let metric = self.metric.name();
        let held_out_metric = format!("held_out_{metric}");
        let columns: [(&str, ArrayRef, bool); 8] = [
            ("epoch", Arc::new(Int64Array::from_iter_values(self.epochs.iter().map(|e| e.epoch as i64))), false),
            ("loss", doubles(|e| Some(e.training.loss)), false),
            (metric, doubles(|e| Some(e.training.metric)), false),
            ("held_out_loss", doubles(|e| e.held_out.map(|h| h.loss)), true),
            (&held_out_metric, doubles(|e| e.held_out.map(|h| h.metric)), true),
            ("learning_rate", doubles(|e| Some(e.learning_rate)), false),
            ("seconds", doubles(|e| Some(e.seconds)), false),
            ("waiting", doubles(|e| Some(e.waiting)), false),
        ];
        RecordBatch::try_from_iter_with_nullable(columns).map_err(|e| Error::arrow("the history as rows", e))
    }

    /// Lays the epochs out as text: a line of names, then one per epoch, the columns of [`History::to_record_batch`].
    /// Nothing stands where there is no value.
    pub fn to_csv(&self) -> String {
        let metric = self.metric.name();
        let mut text = format!("epoch,loss,{metric},held_out_loss,held_out_{metric},learning_rate,seconds,waiting\n");
        for e in &self.epochs {
            let held_out = e.held_out.map_or(",".into(), |h| format!("{},{}", h.loss, h.metric));
            let (training, rate) = (e.training, e.learning_rate);
            text += &format!("{},{},{},{held_out},{rate},", e.epoch, training.loss, training.metric);
            text += &format!("{},{}\n", e.seconds, e.waiting);
        }
        text
    }
}

/// Where a model's training rows came from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Lineage {
    /// The source in a few words.
    pub source: String,
    /// Rows read.
    pub rows: u64,
    /// SHA-256 of the plan that gave the rows, when it was a plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_hash: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history() -> History {
        let training = Evaluation { loss: 0.5, metric: 0.75 };
        let held_out = Some(Evaluation { loss: 0.25, metric: 1.0 });
        let first = EpochRecord { training, held_out, seconds: 1.5, waiting: 0.5, learning_rate: 0.01, epoch: 0 };
        History { epochs: vec![first.clone(), EpochRecord { epoch: 1, held_out: None, ..first }], ..History::default() }
    }

    #[test]
    fn epochs_become_rows_and_lines() {
        let text = history().to_csv();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1..], ["0,0.5,0.75,0.25,1,0.01,1.5,0.5", "1,0.5,0.75,,,0.01,1.5,0.5"]);
        let batch = history().to_record_batch().unwrap();
        let names: Vec<&str> = batch.schema_ref().fields().iter().map(|f| f.name().as_str()).collect();
        assert_eq!(names.join(","), lines[0]);
        assert_eq!((batch.num_rows(), batch.column(3).null_count(), batch.column(1).null_count()), (2, 1, 0));
        assert_eq!(History::default().to_record_batch().unwrap().num_rows(), 0);
    }

    #[test]
    fn records_from_before_rates_were_kept_are_read() {
        let json = r#"{"epoch": 0, "training": {"loss": 0.5, "accuracy": 0.5}, "seconds": 1.0}"#;
        let record: EpochRecord = serde_json::from_str(json).unwrap();
        assert_eq!((record.learning_rate, record.waiting, record.seconds), (0.0, 0.0, 1.0));
        assert_eq!(record.training.metric, 0.5);
    }
}
