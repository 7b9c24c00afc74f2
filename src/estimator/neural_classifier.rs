//! A neural classifier as a stage of a pipeline.

use super::{params::network_params, shared::shared_methods, supervised::Supervised};
use crate::{
    nn::Network,
    tensor::Columns,
    train::{ClassWeights, Loss, TrainParams},
};

/// Classifies rows with a network, with the params of Spark ML's classifiers.
///
/// | Parameter | Method | Default |
/// |---|---|---|
/// | `featuresCol` | [`features_col`](Self::features_col) | `features` |
/// | `labelCol` | [`label_col`](Self::label_col) | `label` |
/// | `weightCol` | [`weight_col`](Self::weight_col) | |
/// | `validationIndicatorCol` | [`validation_indicator_col`](Self::validation_indicator_col) | |
/// | `predictionCol` | [`prediction_col`](Self::prediction_col) | `prediction` |
/// | `probabilityCol` | [`probability_col`](Self::probability_col) | `probability` |
/// | `rawPredictionCol` | [`raw_prediction_col`](Self::raw_prediction_col) | `rawPrediction` |
/// | `predictedLabelCol` | [`predicted_label_col`](Self::predicted_label_col) | `predictedLabel` |
/// | `thresholds` | [`thresholds`](Self::thresholds) | |
/// | `handleInvalid` | [`handle_invalid`](Self::handle_invalid) | `error` |
/// | `maxIter` | [`epochs`](Self::epochs) | 50 |
/// | `stepSize` | [`learning_rate`](Self::learning_rate) | 0.003 |
/// | `batchSize` | [`batch_size`](Self::batch_size) | 32 |
/// | `tol` | [`tol`](Self::tol) | 1e-6 |
/// | `seed` | [`seed`](Self::seed) | 42 |
/// | `validationFraction` | [`validation_fraction`](Self::validation_fraction) | 0 |
/// | `weightDecay` | [`weight_decay`](Self::weight_decay) | 0.01 |
/// | `labelSmoothing` | [`label_smoothing`](Self::label_smoothing) | 0 |
/// | `classWeights` | [`class_weights`](Self::class_weights) | none |
/// | `devices` | [`devices`](Self::devices) | `cpu` |
/// | `shuffleBuffer` | [`shuffle_buffer`](Self::shuffle_buffer) | 64 MiB |
/// | `cacheMemory` | [`cache_memory`](Self::cache_memory) | 1 GiB |
/// | `cacheFolder` | [`cache_folder`](Self::cache_folder) | the system's |
///
/// An empty name of an output column switches that output off.
#[derive(Debug, Clone)]
pub struct NeuralClassifier {
    shared: Supervised,
}

shared_methods!(NeuralClassifier);

network_params!(NeuralClassifier, "column of labels, whole numbers from 0", "output column of the predicted class", {
    "probabilityCol": shared.prediction.outputs.probability = "probability", "output column of the classes' probabilities";
    "rawPredictionCol": shared.prediction.outputs.raw_prediction = "rawPrediction", "output column of the scores before softmax";
    "predictedLabelCol": shared.prediction.outputs.predicted_label = "predictedLabel", "output column of the predicted class's name";
    "thresholds": shared.prediction.thresholds = None::<()>, "one threshold per class";
    "labelSmoothing": shared.training.label_smoothing = 0.0, "probability spread evenly over all classes in place of the right one";
    "classWeights": shared.training.class_weights = TrainParams::default().class_weights, "how much each class counts";
});

impl NeuralClassifier {
    pub(super) fn supervised(&self) -> &Supervised {
        &self.shared
    }

    /// Creates a classifier with this network; how many features and classes there are comes from the data.
    pub fn new(network: Network) -> Self {
        Self { shared: Supervised::new(network, Loss::CrossEntropy) }
    }

    /// Trains on the features that another model was trained on.
    pub(super) fn inputs_of(mut self, columns: &Columns) -> Self {
        self.shared.inputs_of(columns);
        self
    }

    /// Names the column of labels: whole numbers from 0. Metadata that names the classes (`ml_attr`) is used.
    pub fn label_col(mut self, name: impl Into<String>) -> Self {
        self.shared.label_cols(vec![name.into()]);
        self
    }

    /// Names the output column of the predicted class as a double.
    pub fn prediction_col(mut self, name: impl Into<String>) -> Self {
        self.shared.prediction.outputs.prediction = name.into();
        self
    }

    /// Names the output column of the classes' probabilities.
    pub fn probability_col(mut self, name: impl Into<String>) -> Self {
        self.shared.prediction.outputs.probability = name.into();
        self
    }

    /// Names the output column of the scores before softmax.
    pub fn raw_prediction_col(mut self, name: impl Into<String>) -> Self {
        self.shared.prediction.outputs.raw_prediction = name.into();
        self
    }

    /// Names the output column of the predicted class's name.
    pub fn predicted_label_col(mut self, name: impl Into<String>) -> Self {
        self.shared.prediction.outputs.predicted_label = name.into();
        self
    }

    /// Predicts the class with the largest `probability / threshold`, one threshold per class.
    pub fn thresholds(mut self, thresholds: impl Into<Vec<f64>>) -> Self {
        self.shared.prediction.thresholds = Some(thresholds.into());
        self
    }

    /// Sets the probability that is spread evenly over all classes in place of the right one.
    pub fn label_smoothing(mut self, smoothing: f64) -> Self {
        self.shared.training.label_smoothing = smoothing;
        self
    }

    /// Sets the weight of each class in the loss.
    pub fn class_weights(mut self, weights: ClassWeights) -> Self {
        self.shared.training.class_weights = weights;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_set_by_name_and_checked() {
        use crate::ml::{ParamMap, Params};
        let classifier = NeuralClassifier::new(Network::mlp([4])).epochs(60);
        let extra = ParamMap::new().with("stepSize", 0.5).with("devices", "cpu,cpu").with("thresholds", vec![0.5, 0.5]);
        let copy = classifier.copy(&extra).unwrap();
        assert_eq!((copy.shared.training.learning_rate, copy.shared.training.epochs), (0.5, 60));
        assert_eq!(copy.param_map().get("maxIter"), Some(&60.into()));
        assert_eq!(copy.shared.prediction.thresholds, Some(vec![0.5, 0.5]));
        let network = serde_json::to_value(Network::mlp([7])).unwrap();
        let other = classifier.copy(&ParamMap::new().with("network", network)).unwrap();
        assert_eq!(other.shared.network, Network::mlp([7]));
        let other = classifier.copy(&ParamMap::new().with("labelCol", "y").with("handleInvalid", "keep")).unwrap();
        assert_eq!((other.shared.columns.label.as_str(), &other.shared.labels[..]), ("y", &["y".to_owned()][..]));
        let policies = (other.shared.training.on_invalid, other.shared.prediction.on_invalid);
        assert_eq!(policies, (crate::tensor::OnInvalid::Skip, crate::tensor::OnInvalid::Keep));
        assert!(classifier.copy(&ParamMap::new().with("labelCol", vec!["a", "b"])).is_err(), "one class a row");
        for (name, value) in [("stepSize", -1.0), ("maxIter", 0.0), ("maxIter", 1.5), ("nothing", 1.0)] {
            assert!(classifier.copy(&ParamMap::new().with(name, value)).is_err(), "{name} = {value}");
        }
    }

    #[test]
    fn parameters_are_explained_with_default_and_value() {
        use crate::ml::Params;
        let text =
            NeuralClassifier::new(Network::mlp([4])).epochs(60).probability_col("").weight_col("w").explain_params();
        for line in [
            "maxIter: passes over the rows (epochs) (default: 50, current: 60)",
            "probabilityCol: output column of the classes' probabilities (default: probability, current: )",
            "weightCol: column that says how much each row counts (current: w)",
            "thresholds: one threshold per class (undefined)",
            "tol: stops when an epoch changes the loss by less than this share of it (default: 1e-6)",
            "handleInvalid: what to do with rows that cannot be used: error, skip or keep (default: error)",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n---\n{text}");
        }
        assert!(text.lines().is_sorted());
    }
}
