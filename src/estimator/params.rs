//! The parameters that all estimators of networks have, in words.

pub(super) use super::explain::Param;
use super::{explain::explain, supervised::Supervised};
use crate::{
    model::PredictOptions,
    tensor::{Columns, OnInvalid},
    train::TrainParams,
};

/// One parameter in words.
pub(super) fn param(name: &'static str, purpose: &str, default: impl ToString, current: impl ToString) -> Param {
    Param { name, purpose: purpose.to_owned(), default: default.to_string(), current: current.to_string() }
}

/// Numbers in words; nothing where there are none.
pub(super) fn numbers(values: &Option<Vec<f64>>) -> String {
    values.as_ref().map_or(String::new(), |values| format!("{values:?}"))
}

/// Which rows an estimator learns from, how they come, and what becomes of those that cannot be used: by default, and now.
pub(super) fn of_rows(columns: &Columns, invalid: [OnInvalid; 2], training: &TrainParams) -> [Param; 7] {
    let t = TrainParams::default();
    let [usual, now] = invalid.map(|policy| format!("{policy:?}").to_lowercase());
    let validation = columns.validation.clone().unwrap_or_default();
    [
        param("validationIndicatorCol", "boolean column that is true for rows to hold out", "", validation),
        param("handleInvalid", "what to do with rows that cannot be used: error, skip or keep", usual, now),
        param("batchSize", "rows per step", t.batch_size, training.batch_size),
        param("seed", "decides everything random", t.seed, training.seed),
        param("validationFraction", "share of rows to hold out", t.validation_fraction, training.validation_fraction),
        param(
            "shuffleBuffer",
            "bytes of rows that the first epoch shuffles together",
            t.shuffle_buffer,
            training.shuffle_buffer,
        ),
        param("cacheMemory", "bytes of rows kept in memory for later epochs", t.cache_memory, training.cache_memory),
    ]
}

/// How an estimator that descends along gradients goes about it.
pub(super) fn of_steps(training: &TrainParams) -> [Param; 5] {
    let t = TrainParams::default();
    [
        param("maxIter", "passes over the rows (epochs)", t.epochs, training.epochs),
        param("stepSize", "the optimizer's step size (learning rate)", t.learning_rate, training.learning_rate),
        param("weightDecay", "the optimizer's decoupled weight decay", t.weight_decay, training.weight_decay),
        param(
            "tol",
            "stops when an epoch changes the loss by less than this share of it",
            format!("{:?}", t.tol),
            format!("{:?}", training.tol),
        ),
        param("devices", "where to train, one replica on each", &t.devices, &training.devices),
    ]
}

/// Implements [`Params`](crate::ml::Params) for an estimator whose settings are in its field `shared`: the params that all
/// have, and more of its own.
macro_rules! network_params {
    ($estimator:ident, { $($more:tt)* }) => {
        $crate::ml::param::stage_params!($estimator, |stage| stage.shared.training.check(), {
            "featuresCol": shared.columns.features = ["features"], "columns of features";
            "weightCol": shared.columns.weight = None::<()>, "column that says how much each row counts";
            "validationIndicatorCol": shared.columns.validation = None::<()>, "boolean column that is true for rows to hold out";
            "predictionCol": shared.prediction.outputs.prediction = "prediction", "output column of predictions";
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
            "cacheFolder": shared.training.cache_folder = None::<()>, "where rows are kept that do not fit in there";
            $($more)*
        });
    };
}
pub(super) use network_params;

impl Supervised {
    /// A line per parameter; `label` and `prediction` say what those columns hold.
    pub(super) fn explain(&self, label: &str, prediction: &str, mut more: Vec<Param>) -> String {
        let Self { columns, training, prediction: predicting, .. } = self;
        let p = PredictOptions::default();
        let text = |name: &Option<String>| name.clone().unwrap_or_default();
        let folder = training.cache_folder.as_ref().map_or(String::new(), |path| path.display().to_string());
        more.extend([
            param("featuresCol", "column of features", "features", columns.features.join(", ")),
            param("labelCol", &format!("column of {label}"), "label", &columns.label),
            param("weightCol", "column that says how much each row counts", "", text(&columns.weight)),
            param(
                "predictionCol",
                &format!("output column of {prediction}"),
                &p.outputs.prediction,
                &predicting.outputs.prediction,
            ),
            param("cacheFolder", "where rows are kept that do not fit in there", "", folder),
        ]);
        more.extend(of_rows(columns, [p.on_invalid, predicting.on_invalid], training));
        more.extend(of_steps(training));
        explain(more)
    }
}
