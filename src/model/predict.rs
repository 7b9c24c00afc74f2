//! Prediction columns, appended batch by batch.

mod columns;
mod scorer;

use arrow::{
    array::RecordBatch,
    datatypes::{Schema, SchemaRef},
};
use serde::{Deserialize, Serialize};

use self::scorer::Scorer;
use super::{Task, TrainedNetwork, append};
use crate::{
    Error, Result,
    nn::DeviceName,
    stream::{RecordStream, plain_schema},
    tensor::OnInvalid,
};

/// Names of the prediction columns; an empty name switches one off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Outputs {
    /// The scores before softmax or sigmoid, `array<double>`, one per class or label; of classifiers alone.
    pub raw_prediction: String,
    /// Probability of each class or label, `array<double>`; of classifiers alone.
    pub probability: String,
    /// The predicted class as a double from 0, or the value; `array<double>` of several values, or of labels that are 0
    /// or 1.
    pub prediction: String,
    /// The predicted class's name, or the names of the labels that a row has; of classifiers alone.
    pub predicted_label: String,
    /// Why a row that is [kept](OnInvalid::Keep) could not be used, such as "column `x` is null"; off unless named.
    pub invalid_reason: String,
}

impl Default for Outputs {
    fn default() -> Self {
        Self {
            raw_prediction: "rawPrediction".into(),
            probability: "probability".into(),
            prediction: "prediction".into(),
            predicted_label: "predictedLabel".into(),
            invalid_reason: String::new(),
        }
    }
}

impl Outputs {
    /// Creates the prediction alone, as of networks that learn values.
    pub fn values() -> Self {
        let off = String::new;
        Self { raw_prediction: off(), probability: off(), predicted_label: off(), ..Self::default() }
    }

    /// Refuses names that are given twice or exist already.
    ///
    /// # Errors
    /// [`Error::Schema`] with the column.
    pub fn check<'a>(&'a self, existing: impl IntoIterator<Item = &'a str>) -> Result<()> {
        let Self { raw_prediction, probability, prediction, predicted_label, invalid_reason } = self;
        let names = [raw_prediction, probability, prediction, predicted_label, invalid_reason];
        let names = names.into_iter().map(String::as_str).filter(|name| !name.is_empty());
        append::check_names(existing, names, "predictions go")
    }
}

/// Prediction options. The defaults name the columns as Spark ML does, compute on the processor, and refuse rows that
/// cannot be used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PredictOptions {
    /// Names of the columns.
    pub outputs: Outputs,
    /// One threshold per class: the class with the largest `probability / threshold` is predicted, as in Spark ML. Or
    /// one per label, in [0, 1]: labels of a larger probability are predicted, 0.5 without.
    pub thresholds: Option<Vec<f64>>,
    /// Policy for rows whose features cannot be used.
    pub on_invalid: OnInvalid,
    /// Where to compute. A model that was saved computes on the processor unless told otherwise.
    #[serde(skip)]
    pub device: DeviceName,
}

impl Default for PredictOptions {
    fn default() -> Self {
        Self {
            outputs: Outputs::default(),
            thresholds: None,
            on_invalid: OnInvalid::default(),
            device: DeviceName::Cpu,
        }
    }
}

impl PredictOptions {
    /// Checks the thresholds against the classes (none negative or NaN, at most one 0, and a sum above 0) or the labels
    /// (each in [0, 1]).
    ///
    /// # Errors
    /// [`Error::Param`] with the value and what is legal.
    pub fn check(&self, task: &Task) -> Result<()> {
        let Some(thresholds) = &self.thresholds else { return Ok(()) };
        let refused = |words: String| Err(Error::param("thresholds", format!("{thresholds:?}"), words));
        let classes = match task {
            Task::Classes { names } => names.len(),
            Task::Labels { names } => {
                let legal = thresholds.len() == names.len() && thresholds.iter().all(|t| (0.0..=1.0).contains(t));
                return if legal { Ok(()) } else { refused(format!("{} numbers in [0, 1]", names.len())) };
            }
            Task::Values { .. } | Task::Input { .. } => return refused("none: nothing is chosen".into()),
        };
        let legal = thresholds.len() == classes
            && thresholds.iter().all(|t| *t >= 0.0 && t.is_finite())
            && thresholds.iter().filter(|t| **t == 0.0).count() <= 1
            && thresholds.iter().sum::<f64>() > 0.0;
        if legal {
            return Ok(());
        }
        refused(format!("{classes} finite numbers of at least 0, at most one of them 0, with a sum above 0"))
    }
}

impl TrainedNetwork {
    /// Appends prediction columns to every batch; all other columns pass through as they are.
    ///
    /// Batches are scored one at a time on a blocking thread of the Tokio runtime, in order, so memory stays bounded by
    /// one batch. Dropping the stream stops the work and the stream behind it.
    ///
    /// # Errors
    /// [`Error::Schema`] when the feature columns are missing or mistyped or an output exists already, [`Error::Param`]
    /// for bad thresholds or a missing device. The stream then fails with [`Error::Data`] on the first batch
    /// that holds a row that cannot be used, unless such rows are skipped or kept.
    pub fn predict(&self, input: RecordStream, options: &PredictOptions) -> Result<RecordStream> {
        let (schema, scorer) = self.scorer(input.schema(), options)?;
        let input = input.in_slices(scorer.rows_at_once());
        Ok(append::batch_by_batch(schema, input, scorer, Scorer::score))
    }

    /// Appends prediction columns to one batch, on this thread. The network is put on its device for this batch alone:
    /// many small batches are better [streamed](Self::predict), or scored by a [`RowScorer`](crate::ml::RowScorer).
    ///
    /// # Errors
    /// As [`predict`](Self::predict) and its stream.
    pub fn predict_batch(&self, batch: &RecordBatch, options: &PredictOptions) -> Result<RecordBatch> {
        self.batch_predictor(batch.schema_ref(), options)?(batch)
    }

    /// Appends prediction columns to batches of a schema, with the network on its device once for all of them.
    pub(crate) fn batch_predictor(
        &self,
        input: &SchemaRef,
        options: &PredictOptions,
    ) -> Result<impl FnMut(&RecordBatch) -> Result<RecordBatch> + Send + 'static> {
        let plain = plain_schema(input);
        let (schema, scorer) = self.scorer(&plain, options)?;
        let rows = scorer.rows_at_once();
        Ok(append::batches(plain != *input, schema, rows, scorer, Scorer::score))
    }

    /// Returns the scorer of batches of a schema, and the schema of the scored ones.
    fn scorer(&self, input: &Schema, options: &PredictOptions) -> Result<(SchemaRef, Scorer)> {
        options.check(&self.task)?;
        options.outputs.check(input.fields().iter().map(|field| field.name().as_str()))?;
        let columns = options.outputs.columns(&self.task);
        let schema = append::appended(input, columns, options.on_invalid == OnInvalid::Keep);
        let scorer = Scorer::new(self, options, input, schema.clone())?;
        Ok((schema, scorer))
    }
}

#[cfg(test)]
mod tests;
