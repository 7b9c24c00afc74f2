//! A neural regressor as a stage of a pipeline.

use super::{params::network_params, shared::shared_methods, supervised::Supervised};
use crate::{model::Outputs, nn::Network, train::Loss};

/// Learns numbers with a network: one target or several, in the words of Spark ML's regressors.
///
/// | Parameter | Method | Default |
/// |---|---|---|
/// | `featuresCol` | [`features_col`](Self::features_col) | `features` |
/// | `labelCol` | [`label_col`](Self::label_col), [`label_cols`](Self::label_cols) | `label` |
/// | `weightCol` | [`weight_col`](Self::weight_col) | |
/// | `validationIndicatorCol` | [`validation_indicator_col`](Self::validation_indicator_col) | |
/// | `predictionCol` | [`prediction_col`](Self::prediction_col) | `prediction` |
/// | `loss` | [`loss`](Self::loss) | squared error |
/// | `scaleTargets` | [`scale_targets`](Self::scale_targets) | true |
/// | `handleInvalid` | [`handle_invalid`](Self::handle_invalid) | `error` |
///
/// and those of training, as [`NeuralClassifier`](super::NeuralClassifier) has them.
///
/// The prediction is a double, or a vector where there are several targets. The cluster's statistics bring targets to
/// mean 0 and deviation 1 for training; predictions, and the errors that training tells of, are in the targets' own
/// units.
#[derive(Debug, Clone)]
pub struct NeuralRegressor {
    shared: Supervised,
}

shared_methods!(NeuralRegressor);

network_params!(NeuralRegressor, "column of targets, numbers, or a list of such columns", "output column of the predicted number", {
    "loss": shared.training.loss = crate::train::Loss::SquaredError, "loss to minimise";
    "scaleTargets": shared.scale = true, "whether targets are brought to mean 0 and deviation 1";
});

impl NeuralRegressor {
    pub(super) fn supervised(&self) -> &Supervised {
        &self.shared
    }

    /// Creates a regressor with this network; how many features and targets there are comes from the data.
    pub fn new(network: Network) -> Self {
        let mut shared = Supervised::new(network, Loss::SquaredError);
        shared.scale = true;
        shared.prediction.outputs = Outputs::values();
        Self { shared }
    }

    /// Names the column of targets: a number, or an array of numbers or vector of as many as there are targets.
    pub fn label_col(mut self, name: impl Into<String>) -> Self {
        self.shared.label_cols(vec![name.into()]);
        self
    }

    /// Names several columns of numbers, one per target.
    pub fn label_cols(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.shared.label_cols(names.into_iter().map(Into::into).collect());
        self
    }

    /// Names the output column of the predicted number, or vector of numbers.
    pub fn prediction_col(mut self, name: impl Into<String>) -> Self {
        self.shared.prediction.outputs.prediction = name.into();
        self
    }

    /// Sets the loss: any [`Loss`] over values.
    pub fn loss(mut self, loss: Loss) -> Self {
        self.shared.training.loss = loss;
        self
    }

    /// Sets whether targets are scaled to mean 0 and deviation 1 for training. Those of [`Loss::Poisson`] never are.
    pub fn scale_targets(mut self, scale: bool) -> Self {
        self.shared.scale = scale;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_explained_with_default_and_value() {
        use crate::ml::{ParamMap, Params};
        let regressor = NeuralRegressor::new(Network::mlp([4])).label_cols(["a", "b"]).loss(Loss::Poisson);
        let text = regressor.explain_params();
        for line in [
            r#"labelCol: column of targets, numbers, or a list of such columns (default: label, current: ["a","b"])"#,
            "loss: loss to minimise (default: squared_error, current: poisson)",
            "scaleTargets: whether targets are brought to mean 0 and deviation 1 (default: true)",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n---\n{text}");
        }
        assert!(!text.contains("probabilityCol"));
        let one = regressor.copy(&ParamMap::new().with("labelCol", "c").with("featuresCol", vec!["p", "q"])).unwrap();
        assert_eq!(
            (one.shared.label_names(), one.shared.columns.features),
            (vec!["c".into()], vec!["p".into(), "q".into()])
        );
    }
}
