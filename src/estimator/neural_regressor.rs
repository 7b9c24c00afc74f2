//! A neural regressor as a stage of a pipeline.

use super::{
    params::{Param, param},
    shared::shared_methods,
    supervised::Supervised,
};
use crate::{
    ml::param::stage_params,
    model::Outputs,
    nn::Network,
    train::{Loss, TrainParams},
};

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
/// The prediction is a double, or a vector where there are several targets. The cluster's figures bring targets to mean 0
/// and deviation 1 for training; predictions, and the errors that training tells of, are in the targets' own units.
#[derive(Debug, Clone)]
pub struct NeuralRegressor {
    shared: Supervised,
}

shared_methods!(NeuralRegressor);

stage_params!(NeuralRegressor, |stage| stage.shared.training.check(), {
    "featuresCol": shared.columns.features = ["features"], "columns of features";
    "weightCol": shared.columns.weight = None::<()>, "column that says how much each row counts";
    "validationIndicatorCol": shared.columns.validation = None::<()>, "boolean column that is true for rows to hold out";
    "predictionCol": shared.prediction.outputs.prediction = "prediction", "output column of predictions";
    "network": shared.network = None::<()>, "the network, as its JSON describes it";
    "maxIter": shared.training.epochs = TrainParams::default().epochs, "passes over the rows (epochs)";
    "batchSize": shared.training.batch_size = TrainParams::default().batch_size, "rows per step";
    "stepSize": shared.training.learning_rate = TrainParams::default().learning_rate, "the optimizer's step size (learning rate)";
    "optimizer": shared.training.optimizer = TrainParams::default().optimizer, "how gradients become steps";
    "schedule": shared.training.schedule = TrainParams::default().schedule, "how the learning rate changes";
    "clip": shared.training.clip = TrainParams::default().clip, "limit on the gradients";
    "weightDecay": shared.training.weight_decay = TrainParams::default().weight_decay, "the optimizer's decoupled weight decay";
    "tol": shared.training.tol = TrainParams::default().tol, "stops when an epoch changes the loss by less than this share of it";
    "seed": shared.training.seed = TrainParams::default().seed, "decides everything random";
    "validationFraction": shared.training.validation_fraction = TrainParams::default().validation_fraction, "share of rows to hold out";
    "devices": shared.training.devices = TrainParams::default().devices, "where to train, one replica on each";
    "shuffleBuffer": shared.training.shuffle_buffer = TrainParams::default().shuffle_buffer, "bytes of rows that the first epoch shuffles together";
    "cacheMemory": shared.training.cache_memory = TrainParams::default().cache_memory, "bytes of rows kept in memory for later epochs";
    "cacheFolder": shared.training.cache_folder = None::<()>, "where rows are kept that do not fit in there";
    "loss": shared.training.loss = crate::train::Loss::SquaredError, "what is learnt";
    "scaleTargets": shared.scale = true, "whether targets are brought to mean 0 and deviation 1";
});

impl NeuralRegressor {
    pub(super) fn supervised(&self) -> &Supervised {
        &self.shared
    }

    /// A regressor with this network; how many features and targets there are comes from the data.
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

    /// What is learnt: any [`Loss`] over values.
    pub fn loss(mut self, loss: Loss) -> Self {
        self.shared.training.loss = loss;
        self
    }

    /// Whether targets are brought to mean 0 and deviation 1 for training. Never those of [`Loss::Poisson`].
    pub fn scale_targets(mut self, scale: bool) -> Self {
        self.shared.scale = scale;
        self
    }

    /// Every parameter in a line: what it is for, its default and its value.
    pub fn explain_params(&self) -> String {
        let Supervised { training, scale, .. } = &self.shared;
        let words = |loss: Loss| format!("{loss:?}");
        let more: Vec<Param> = vec![
            param("loss", "what is learnt", words(Loss::SquaredError), words(training.loss)),
            param("scaleTargets", "whether targets are brought to mean 0 and deviation 1", true, scale),
        ];
        self.shared.explain("targets, numbers", "the predicted number", more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_explained_with_default_and_value() {
        let regressor = NeuralRegressor::new(Network::mlp([4])).label_cols(["a", "b"]).loss(Loss::Poisson);
        let text = regressor.explain_params();
        for line in [
            "labelCol: column of targets, numbers (default: label, current: a, b)",
            "loss: what is learnt (default: SquaredError, current: Poisson)",
            "scaleTargets: whether targets are brought to mean 0 and deviation 1 (default: true)",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n---\n{text}");
        }
        assert!(!text.contains("probabilityCol"));
    }
}
