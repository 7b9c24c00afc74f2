//! A neural classifier of several labels a row as a stage of a pipeline.

use super::{params::network_params, shared::shared_methods, supervised::Supervised};
use crate::{nn::Network, train::Loss};

/// Learns which of several labels a row has, each by itself: any number of them may be true.
///
/// Labels are numbers that are 0 or 1 (or probabilities between): one column per label, or one of arrays or vectors.
/// The parameters are those of [`NeuralClassifier`](super::NeuralClassifier), with these differences:
///
/// | Parameter | Method | Default |
/// |---|---|---|
/// | `labelCol` | [`label_col`](Self::label_col), [`label_cols`](Self::label_cols) | `label` |
/// | `thresholds` | [`thresholds`](Self::thresholds) | 0.5 for each label |
///
/// The outputs are vectors with a value per label: `rawPrediction` (logits), `probability`, `prediction` (0 or 1); and
/// `predictedLabel`, an array of the names of the labels that a row has.
#[derive(Debug, Clone)]
pub struct NeuralMultilabelClassifier {
    shared: Supervised,
}

shared_methods!(NeuralMultilabelClassifier);

network_params!(NeuralMultilabelClassifier, "column of labels, each 0 or 1", "output column of the labels, 0 or 1 each", {
    "probabilityCol": shared.prediction.outputs.probability = "probability", "output column of the labels' probabilities";
    "rawPredictionCol": shared.prediction.outputs.raw_prediction = "rawPrediction", "output column of the scores before the sigmoid";
    "predictedLabelCol": shared.prediction.outputs.predicted_label = "predictedLabel", "output column of the names of the labels that a row has";
    "thresholds": shared.prediction.thresholds = None::<()>, "one threshold per label";
});

impl NeuralMultilabelClassifier {
    pub(super) fn supervised(&self) -> &Supervised {
        &self.shared
    }

    /// Creates a classifier with this network; how many features and labels there are comes from the data.
    pub fn new(network: Network) -> Self {
        Self { shared: Supervised::new(network, Loss::BinaryCrossEntropy) }
    }

    /// Names the column of labels: an array of numbers or a vector, one number per label.
    pub fn label_col(mut self, name: impl Into<String>) -> Self {
        self.shared.label_cols(vec![name.into()]);
        self
    }

    /// Names several columns of numbers or booleans, one per label; the labels are called like them.
    pub fn label_cols(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.shared.label_cols(names.into_iter().map(Into::into).collect());
        self
    }

    /// Names the output column of the labels, 0 or 1 each.
    pub fn prediction_col(mut self, name: impl Into<String>) -> Self {
        self.shared.prediction.outputs.prediction = name.into();
        self
    }

    /// Names the output column of the labels' probabilities.
    pub fn probability_col(mut self, name: impl Into<String>) -> Self {
        self.shared.prediction.outputs.probability = name.into();
        self
    }

    /// Names the output column of the scores before the sigmoid.
    pub fn raw_prediction_col(mut self, name: impl Into<String>) -> Self {
        self.shared.prediction.outputs.raw_prediction = name.into();
        self
    }

    /// Names the output column of the names of the labels that a row has.
    pub fn predicted_label_col(mut self, name: impl Into<String>) -> Self {
        self.shared.prediction.outputs.predicted_label = name.into();
        self
    }

    /// Sets the thresholds, one in [0, 1] per label: labels with a greater probability are predicted.
    pub fn thresholds(mut self, thresholds: impl Into<Vec<f64>>) -> Self {
        self.shared.prediction.thresholds = Some(thresholds.into());
        self
    }
}
