//! When training ends before its last epoch.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use serde::{Deserialize, Serialize};

use crate::{Error, Result, model::EpochRecord, number};

/// Asks a training run to end: the step under way is finished, a checkpoint is written if there is a place for it, and
/// the model as it then is is given back. Clones ask the same run.
///
/// ```no_run
/// # async fn example(trainer: tinderbox::train::Trainer) {
/// let stop = tinderbox::train::Stop::default();
/// let trainer = trainer.stop(stop.clone());
/// tokio::spawn(async move {
///     let _ = tokio::signal::ctrl_c().await;
///     stop.request();
/// });
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks the run to end.
    pub fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Returns whether a stop was requested.
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Ends training when the loss on the validation rows, or else on the training rows, no longer falls.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "job", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct EarlyStopping {
    /// Epochs without a new lowest loss after which training ends, at least 1.
    pub patience: usize,
    /// Least difference to the lowest loss so far that counts, finite and at least 0.
    #[serde(default)]
    pub min_delta: f64,
    /// True if the model gets the weights of the epoch with the lowest loss.
    #[serde(default)]
    pub restore_best: bool,
}

impl EarlyStopping {
    pub(super) fn check(&self) -> Result<()> {
        if self.patience == 0 {
            return Err(Error::param("early_stopping.patience", 0, "at least 1"));
        }
        if !(self.min_delta.is_finite() && self.min_delta >= 0.0) {
            return Err(Error::param("early_stopping.min_delta", self.min_delta, "a finite number of at least 0"));
        }
        Ok(())
    }
}

/// The lowest loss of a run so far.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct LowestLoss {
    #[serde(with = "number::optional")]
    loss: Option<f64>,
    pub(super) epoch: usize,
    since: usize,
}

impl LowestLoss {
    /// Takes note of an epoch; says whether its loss is the lowest so far.
    pub(super) fn note(&mut self, record: &EpochRecord, min_delta: f64) -> bool {
        let loss = record.held_out.unwrap_or(record.training).loss;
        let lower = self.loss.is_none_or(|lowest| loss < lowest - min_delta);
        if lower {
            *self = Self { loss: Some(loss), epoch: record.epoch, since: 0 };
        } else {
            self.since += 1;
        }
        lower
    }

    pub(super) fn out_of(&self, patience: usize) -> bool {
        self.since >= patience
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Evaluation;

    #[test]
    fn patience_ends_so_many_epochs_after_the_lowest_loss() {
        let mut lowest = LowestLoss::default();
        let losses = [1.0, 0.8, 0.79, 0.78, 0.6, 0.7, 0.61, 0.59];
        let ended = losses.iter().enumerate().position(|(epoch, &loss)| {
            let training = Evaluation { loss: 0.0, metric: 0.0 };
            let held_out = Some(Evaluation { loss, metric: 0.0 });
            lowest.note(&EpochRecord { epoch, training, held_out, ..EpochRecord::default() }, 0.05);
            lowest.out_of(3)
        });
        assert_eq!((ended, lowest.epoch), (Some(7), 4));
    }

    #[test]
    fn bad_settings_are_named() {
        let stopping = EarlyStopping { patience: 1, min_delta: 0.0, restore_best: true };
        stopping.check().unwrap();
        for (stopping, words) in [
            (EarlyStopping { patience: 0, ..stopping }, "early_stopping.patience"),
            (EarlyStopping { min_delta: f64::NAN, ..stopping }, "early_stopping.min_delta"),
        ] {
            assert!(stopping.check().unwrap_err().to_string().contains(words));
        }
    }
}
