//! The params that estimators of networks have in common.

use serde::{Deserialize, Serialize};

use crate::{
    ml::feature::HandleInvalid,
    tensor::{Columns, OnInvalid},
};

/// One value, or one for each of several things.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    pub(super) fn into_vec(self) -> Vec<T> {
        match self {
            OneOrMany::One(value) => vec![value],
            OneOrMany::Many(values) => values,
        }
    }
}

/// Returns the names of columns that lie side by side.
pub(super) fn names(names: &[String]) -> OneOrMany<String> {
    match names {
        [name] => OneOrMany::One(name.clone()),
        names => OneOrMany::Many(names.to_vec()),
    }
}

/// Returns the columns of features.
pub(super) fn features(columns: &Columns) -> OneOrMany<String> {
    names(&columns.features)
}

/// Returns the policies for rows that cannot be used: in training, and where a model is applied.
pub(super) fn policies(policy: HandleInvalid) -> (OnInvalid, OnInvalid) {
    match policy {
        HandleInvalid::Error => (OnInvalid::Error, OnInvalid::Error),
        HandleInvalid::Skip => (OnInvalid::Skip, OnInvalid::Skip),
        HandleInvalid::Keep => (OnInvalid::Skip, OnInvalid::Keep),
    }
}

/// Returns the policy whose second part this is.
pub(super) fn policy(applied: OnInvalid) -> HandleInvalid {
    match applied {
        OnInvalid::Error => HandleInvalid::Error,
        OnInvalid::Skip => HandleInvalid::Skip,
        OnInvalid::Keep => HandleInvalid::Keep,
    }
}

/// Implements [`Params`](crate::ml::Params) for an estimator with labels, whose settings are in its field
/// `shared`: the params that all have, and the estimator's own; `labelCol` and `predictionCol` by their content.
macro_rules! network_params {
    ($estimator:ident, $label:literal, $prediction:literal, { $($more:tt)* }) => {
        $crate::ml::param::stage_params!($estimator, |stage| stage.shared.training.check(), {
            "weightCol": shared.columns.weight = None::<()>, "column that says how much each row counts";
            "validationIndicatorCol": shared.columns.validation = None::<()>, "boolean column that is true for rows to hold out";
            "predictionCol": shared.prediction.outputs.prediction = "prediction", $prediction;
            "network": shared.network = None::<()>, "the network, as its JSON describes it";
            "maxIter": shared.training.epochs = $crate::train::TrainParams::default().epochs, "passes over the rows (epochs)";
            "batchSize": shared.training.batch_size = $crate::train::TrainParams::default().batch_size, "rows per step";
            "stepSize": shared.training.learning_rate = $crate::train::TrainParams::default().learning_rate, "the optimizer's step size (learning rate)";
            "optimizer": shared.training.optimizer = $crate::train::TrainParams::default().optimizer, "how gradients become steps";
            "schedule": shared.training.schedule = $crate::train::TrainParams::default().schedule, "how the learning rate changes";
            "clip": shared.training.clip = $crate::train::TrainParams::default().clip, "limit on the gradients";
            "weightDecay": shared.training.weight_decay = $crate::train::TrainParams::default().weight_decay, "the optimizer's decoupled weight decay";
            "tol": shared.training.tol = $crate::train::TrainParams::default().tol, "stops when an epoch changes the loss by less than this share of it";
            "seed": shared.training.seed = $crate::train::TrainParams::default().seed, "decides everything random";
            "validationFraction": shared.training.validation_fraction = $crate::train::TrainParams::default().validation_fraction, "share of rows to hold out";
            "devices": shared.training.devices = $crate::train::TrainParams::default().devices, "where to train, one replica on each";
            "shuffleBuffer": shared.training.shuffle_buffer = $crate::train::TrainParams::default().shuffle_buffer, "bytes of rows that the first epoch shuffles together";
            "cacheMemory": shared.training.cache_memory = $crate::train::TrainParams::default().cache_memory, "bytes of rows kept in memory for later epochs";
            "cacheFolder": shared.training.cache_folder = None::<()>, "folder of cached rows that exceed cacheMemory";
            $($more)*
        } also {
            "featuresCol": "features", "column of features, or a list of columns that lie side by side",
                |stage| $crate::estimator::params::features(&stage.shared.columns),
                |stage, names: $crate::estimator::params::OneOrMany<String>| {
                    stage.shared.columns.features = names.into_vec();
                    Ok(())
                };
            "labelCol": "label", $label,
                |stage| $crate::estimator::params::names(&stage.shared.label_names()),
                |stage, names: $crate::estimator::params::OneOrMany<String>| stage.shared.set_label_cols(names.into_vec());
            "handleInvalid": $crate::ml::feature::HandleInvalid::default(), "what to do with rows that cannot be used: error, skip or keep",
                |stage| $crate::estimator::params::policy(stage.shared.prediction.on_invalid),
                |stage, policy: $crate::ml::feature::HandleInvalid| {
                    let (trained, applied) = $crate::estimator::params::policies(policy);
                    (stage.shared.training.on_invalid, stage.shared.prediction.on_invalid) = (trained, applied);
                    Ok(())
                };
        });
    };
}
pub(super) use network_params;

/// Implements [`Params`](crate::ml::Params) for an estimator without labels, whose settings are in its field `base`:
/// the params that all have, and the estimator's own; those that are not fields come after `also`.
macro_rules! encoder_params {
    ($estimator:ident, $check:expr, { $($more:tt)* } also { $($also:tt)* }) => {
        $crate::ml::param::stage_params!($estimator, $check, {
            "validationIndicatorCol": base.columns.validation = None::<()>, "boolean column that is true for rows to hold out";
            "outputCol": base.options.outputs.code = $crate::model::EncodeOptions::default().outputs.code, "output column of codes";
            "reconstructionCol": base.options.outputs.reconstruction = "", "output column of reconstructions";
            "reconstructionErrorCol": base.options.outputs.error = $crate::model::EncodeOptions::default().outputs.error, "output column of the mean squared difference of a value from its reconstruction";
            "batchSize": base.training.batch_size = $crate::train::TrainParams::default().batch_size, "rows per step";
            "seed": base.training.seed = $crate::train::TrainParams::default().seed, "decides everything random";
            "validationFraction": base.training.validation_fraction = $crate::train::TrainParams::default().validation_fraction, "share of rows to hold out";
            "shuffleBuffer": base.training.shuffle_buffer = $crate::train::TrainParams::default().shuffle_buffer, "bytes of rows that the first epoch shuffles together";
            "cacheMemory": base.training.cache_memory = $crate::train::TrainParams::default().cache_memory, "bytes of rows kept in memory for later epochs";
            $($more)*
        } also {
            "featuresCol": "features", "column of features, or a list of columns that lie side by side",
                |stage| $crate::estimator::params::features(&stage.base.columns),
                |stage, names: $crate::estimator::params::OneOrMany<String>| {
                    stage.base.columns.features = names.into_vec();
                    Ok(())
                };
            "handleInvalid": $crate::ml::feature::HandleInvalid::default(), "what to do with rows that cannot be used: error, skip or keep",
                |stage| $crate::estimator::params::policy(stage.base.options.on_invalid),
                |stage, policy: $crate::ml::feature::HandleInvalid| {
                    stage.base.handle_invalid(policy);
                    Ok(())
                };
            $($also)*
        });
    };
}
pub(super) use encoder_params;
