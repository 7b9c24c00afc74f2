//! The parameters that all estimators of networks have, in words.

pub(super) use super::explain::Param;
use super::{explain::explain, supervised::Supervised};
use crate::{model::PredictOptions, tensor::OnInvalid, train::TrainParams};

/// One parameter in words.
pub(super) fn param(name: &'static str, purpose: &str, default: impl ToString, current: impl ToString) -> Param {
    Param { name, purpose: purpose.to_owned(), default: default.to_string(), current: current.to_string() }
}

/// Numbers in words; nothing where there are none.
pub(super) fn numbers(values: &Option<Vec<f64>>) -> String {
    values.as_ref().map_or(String::new(), |values| format!("{values:?}"))
}

impl Supervised {
    /// A line per parameter; `label` and `prediction` say what those columns hold.
    pub(super) fn explain(&self, label: &str, prediction: &str, mut more: Vec<Param>) -> String {
        let Self { columns, training, prediction: predicting, .. } = self;
        let (t, p) = (TrainParams::default(), PredictOptions::default());
        let text = |name: &Option<String>| name.clone().unwrap_or_default();
        let invalid = |policy: OnInvalid| format!("{policy:?}").to_lowercase();
        let folder = training.cache_folder.as_ref().map_or(String::new(), |path| path.display().to_string());
        more.extend([
            param("featuresCol", "column of features", "features", columns.features.join(", ")),
            param("labelCol", &format!("column of {label}"), "label", &columns.label),
            param("weightCol", "column that says how much each row counts", "", text(&columns.weight)),
            param(
                "validationIndicatorCol",
                "boolean column that is true for rows to hold out",
                "",
                text(&columns.validation),
            ),
            param(
                "predictionCol",
                &format!("output column of {prediction}"),
                &p.outputs.prediction,
                &predicting.outputs.prediction,
            ),
            param(
                "handleInvalid",
                "what to do with rows that cannot be used: error, skip or keep",
                invalid(p.on_invalid),
                invalid(predicting.on_invalid),
            ),
            param("maxIter", "passes over the rows (epochs)", t.epochs, training.epochs),
            param("batchSize", "rows per step", t.batch_size, training.batch_size),
            param("stepSize", "the optimizer's step size (learning rate)", t.learning_rate, training.learning_rate),
            param("weightDecay", "the optimizer's decoupled weight decay", t.weight_decay, training.weight_decay),
            param(
                "tol",
                "stops when an epoch changes the loss by less than this share of it",
                format!("{:?}", t.tol),
                format!("{:?}", training.tol),
            ),
            param("seed", "decides everything random", t.seed, training.seed),
            param(
                "validationFraction",
                "share of rows to hold out",
                t.validation_fraction,
                training.validation_fraction,
            ),
            param("devices", "where to train, one replica on each", &t.devices, &training.devices),
            param(
                "shuffleBuffer",
                "bytes of rows that the first epoch shuffles together",
                t.shuffle_buffer,
                training.shuffle_buffer,
            ),
            param(
                "cacheMemory",
                "bytes of rows kept in memory for later epochs",
                t.cache_memory,
                training.cache_memory,
            ),
            param("cacheFolder", "where rows are kept that do not fit in there", "", folder),
        ]);
        explain(more)
    }
}
