//! The classifier's parameters in words.

use std::path::PathBuf;

use super::NeuralClassifier;
use crate::{
    estimator::explain::{Param, explain},
    model::PredictOptions,
    tensor::OnInvalid,
    train::TrainParams,
};

impl NeuralClassifier {
    /// Every parameter in a line: what it is for, its default and its value.
    pub fn explain_params(&self) -> String {
        let Self { columns, training, prediction, .. } = self;
        let (t, p) = (TrainParams::default(), PredictOptions::default());
        let text = |name: &Option<String>| name.clone().unwrap_or_default();
        let numbers = |values: &Option<Vec<f64>>| values.as_ref().map_or(String::new(), |v| format!("{v:?}"));
        let folder = |path: &Option<PathBuf>| path.as_ref().map_or(String::new(), |path| path.display().to_string());
        let invalid = |policy: OnInvalid| format!("{policy:?}").to_lowercase();
        let param = |name, purpose, default: String, current: String| Param { name, purpose, default, current };
        explain(vec![
            param("featuresCol", "column of features", "features".into(), columns.features.join(", ")),
            param("labelCol", "column of labels, whole numbers from 0", "label".into(), columns.label.clone()),
            param("weightCol", "column that says how much each row counts", String::new(), text(&columns.weight)),
            param(
                "validationIndicatorCol",
                "boolean column that is true for rows to hold out",
                String::new(),
                text(&columns.validation),
            ),
            param(
                "predictionCol",
                "output column of the predicted class",
                p.outputs.prediction,
                prediction.outputs.prediction.clone(),
            ),
            param(
                "probabilityCol",
                "output column of the classes' chances",
                p.outputs.probability,
                prediction.outputs.probability.clone(),
            ),
            param(
                "rawPredictionCol",
                "output column of the scores before softmax",
                p.outputs.raw_prediction,
                prediction.outputs.raw_prediction.clone(),
            ),
            param(
                "predictedLabelCol",
                "output column of the predicted class's name",
                p.outputs.predicted_label,
                prediction.outputs.predicted_label.clone(),
            ),
            param("thresholds", "one threshold per class", numbers(&p.thresholds), numbers(&prediction.thresholds)),
            param(
                "handleInvalid",
                "what to do with rows that cannot be used: error, skip or keep",
                invalid(p.on_invalid),
                invalid(prediction.on_invalid),
            ),
            param("maxIter", "passes over the rows (epochs)", t.epochs.to_string(), training.epochs.to_string()),
            param("batchSize", "rows per step", t.batch_size.to_string(), training.batch_size.to_string()),
            param(
                "stepSize",
                "the optimizer's step size (learning rate)",
                t.learning_rate.to_string(),
                training.learning_rate.to_string(),
            ),
            param(
                "weightDecay",
                "the optimizer's decoupled weight decay",
                t.weight_decay.to_string(),
                training.weight_decay.to_string(),
            ),
            param(
                "tol",
                "stops when an epoch changes the loss by less than this share of it",
                format!("{:?}", t.tol),
                format!("{:?}", training.tol),
            ),
            param("seed", "decides everything random", t.seed.to_string(), training.seed.to_string()),
            param(
                "validationFraction",
                "share of rows to hold out",
                t.validation_fraction.to_string(),
                training.validation_fraction.to_string(),
            ),
            param(
                "labelSmoothing",
                "chance given to all classes evenly in place of the right one",
                t.label_smoothing.to_string(),
                training.label_smoothing.to_string(),
            ),
            param(
                "classWeights",
                "how much each class counts",
                format!("{:?}", t.class_weights).to_lowercase(),
                format!("{:?}", training.class_weights).to_lowercase(),
            ),
            param(
                "devices",
                "where to train, one replica on each",
                t.devices.to_string(),
                training.devices.to_string(),
            ),
            param(
                "shuffleBuffer",
                "bytes of rows that the first epoch shuffles together",
                t.shuffle_buffer.to_string(),
                training.shuffle_buffer.to_string(),
            ),
            param(
                "cacheMemory",
                "bytes of rows kept in memory for later epochs",
                t.cache_memory.to_string(),
                training.cache_memory.to_string(),
            ),
            param(
                "cacheFolder",
                "where rows are kept that do not fit in there",
                folder(&t.cache_folder),
                folder(&training.cache_folder),
            ),
        ])
    }
}

#[cfg(test)]
mod tests {
    use crate::{estimator::NeuralClassifier, nn::Network};

    #[test]
    fn parameters_are_explained_with_default_and_value() {
        let text =
            NeuralClassifier::new(Network::mlp([4])).epochs(60).probability_col("").weight_col("w").explain_params();
        for line in [
            "maxIter: passes over the rows (epochs) (default: 50, current: 60)",
            "probabilityCol: output column of the classes' chances (default: probability, current: )",
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
