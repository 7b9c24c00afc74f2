//! How a model came to be.

use serde::{Deserialize, Serialize};

use super::ConfusionMatrix;

/// The course of a training run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct History {
    /// One record per epoch that was completed.
    pub epochs: Vec<EpochRecord>,
    /// Where every row that was read went.
    pub rows: RowCounts,
    /// The finished model on the rows held out; none when no row was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out: Option<ConfusionMatrix>,
}

/// Where the rows went: `trained + held_out + skipped` is how many were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RowCounts {
    /// Rows learnt from.
    pub trained: u64,
    /// Rows held out.
    pub held_out: u64,
    /// Rows left out because they could not be used.
    pub skipped: u64,
}

/// One epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// The epoch, from 0.
    pub epoch: usize,
    /// On the rows learnt from, averaged while learning (dropout on, weights moving).
    pub training: Evaluation,
    /// On the rows held out, after the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out: Option<Evaluation>,
    /// How long it took.
    pub seconds: f64,
}

/// A network's loss and accuracy on some rows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The weighted mean loss.
    pub loss: f64,
    /// The share of rows whose likeliest class is the right one.
    pub accuracy: f64,
}

impl History {
    /// The last epoch's record; none when no epoch was completed.
    pub fn last(&self) -> Option<&EpochRecord> {
        self.epochs.last()
    }

    /// The finished model's accuracy on the rows held out.
    pub fn held_out_accuracy(&self) -> Option<f64> {
        self.held_out.as_ref().map(ConfusionMatrix::accuracy)
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
