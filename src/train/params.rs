//! Training parameters.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{ClassWeights, Clip, Corruption, DecayScope, EarlyStopping, Loss, MicroBatch, Optimizer, Schedule};
use crate::{
    Error, Result,
    nn::{Devices, Precision},
    stream::CacheOptions,
    tensor::{Columns, OnInvalid},
};

/// Parameters of training.
///
/// | Name | Default | Purpose | Range |
/// |---|---|---|---|
/// | `epochs` | 50 | passes over the rows | ≥ 1 |
/// | `batch_size` | 32 | rows per step, over all devices | ≥ 1 |
/// | `micro_batch` | whole | rows of a step that a replica computes at once | see [`MicroBatch`] |
/// | `optimizer` | AdamW | how gradients become steps | see [`Optimizer`] |
/// | `learning_rate` | 0.003 | the step size | > 0 |
/// | `schedule` | constant | how the learning rate changes | see [`Schedule`] |
/// | `weight_decay` | 0.01 | the pull towards zero | ≥ 0 |
/// | `decayed` | weights | what it pulls at; biases and normalisation are left out | see [`DecayScope`] |
/// | `layer_rates` | none | shares of the learning rate by the beginning of parameters' names (`0.` is the first layer), the longest that fits; 0 freezes them | ≥ 0 |
/// | `clip` | none | limit on the gradients | see [`Clip`] |
/// | `betas` | 0.9, 0.999 | Adam's, AdamW's and LAMB's memory of gradients and of their squares | [0, 1) |
/// | `eps` | 1e-8 | the guard against division by zero of all optimizers but SGD | > 0 |
/// | `tol` | 1e-6 | stops when an epoch changes the loss by less than this share of it; 0 never stops | ≥ 0 |
/// | `early_stopping` | none | ends training when the loss no longer falls | see [`EarlyStopping`] |
/// | `max_steps` | none | ends training after so many steps, though epochs are left | ≥ 1 |
/// | `max_seconds` | none | ends training after the step that passes so much time, earlier runs' counted | > 0 |
/// | `loss` | cross-entropy | what the network learns | see [`Loss`] |
/// | `corruption` | none | corruption of training inputs | see [`Corruption`] |
/// | `label_smoothing` | 0 | probability spread evenly over all classes in place of the right one | [0, 1) |
/// | `class_weights` | none | weight of each class | see [`ClassWeights`] |
/// | `validation_fraction` | 0 | share of rows to hold out, chosen by the seed; not with a validation column | [0, 1) |
/// | `shuffle` | true | new order of rows every epoch | |
/// | `seed` | 42 | decides weights, order, dropout and the rows held out | |
/// | `on_invalid` | error | what to do with rows that cannot be used | error, skip |
/// | `devices` | `cpu` | one replica of the network on each | see [`Devices`] |
/// | `precision` | f32 | what the network computes in while it learns | see [`Precision`] |
/// | `shuffle_buffer` | 64 MiB | bytes of rows that the first epoch, which trains as they arrive, shuffles together | |
/// | `cache_memory` | 1 GiB | bytes of rows kept in memory for later epochs; the others go to disk | |
/// | `cache_folder` | the system's, for temporary files | where on disk | an existing folder |
///
/// The same parameters, rows in the same order and the same build give the same model, bit for bit, however much of the
/// rows is cached where. Rows in another order give another model: sort them, or read a table written once, when that
/// matters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "job", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct TrainParams {
    /// Passes over the rows.
    pub epochs: usize,
    /// Rows per step, over all devices.
    pub batch_size: usize,
    /// Rows of a step in one pass of a replica; gradients are accumulated over them.
    pub micro_batch: MicroBatch,
    /// Rule from gradients to steps.
    pub optimizer: Optimizer,
    /// The step size.
    pub learning_rate: f64,
    /// Schedule of the learning rate.
    pub schedule: Schedule,
    /// The pull of the weights towards zero, decoupled from the gradient or added to it as the optimizer has it.
    pub weight_decay: f64,
    /// Which parameters decay.
    pub decayed: DecayScope,
    /// Which share of the learning rate the parameters have whose names begin so, the longest beginning deciding; those
    /// of share 0 stay as they are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layer_rates: Vec<(String, f64)>,
    /// The limit on the gradients.
    pub clip: Clip,
    /// Adam's, AdamW's and LAMB's memory of gradients and of their squares.
    pub betas: (f64, f64),
    /// The guard against division by zero.
    pub eps: f64,
    /// Training stops when an epoch changes the loss (on the rows held out, if any) by less than this share of it.
    pub tol: f64,
    /// Ends training when the loss no longer falls.
    pub early_stopping: Option<EarlyStopping>,
    /// Ends training after so many steps, though epochs are left.
    pub max_steps: Option<usize>,
    /// Ends training after the step that passes so many seconds, those before an interruption counted.
    pub max_seconds: Option<f64>,
    /// Loss to minimise.
    pub loss: Loss,
    /// Corruption of training inputs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub corruption: Option<Corruption>,
    /// Probability spread evenly over all classes in place of the right one; cross-entropy alone.
    pub label_smoothing: f64,
    /// Weight of each class; cross-entropy alone.
    pub class_weights: ClassWeights,
    /// The share of rows to hold out.
    pub validation_fraction: f64,
    /// True if every epoch has a new order of rows.
    pub shuffle: bool,
    /// Decides everything random.
    pub seed: u64,
    /// Policy for rows that cannot be used.
    pub on_invalid: OnInvalid,
    /// One replica of the network on each.
    #[cfg_attr(feature = "job", schemars(with = "String"))]
    pub devices: Devices,
    /// Precision of the network while training; weights and optimizer are in single precision always.
    pub precision: Precision,
    /// Bytes of rows that the first epoch shuffles together.
    pub shuffle_buffer: u64,
    /// Bytes of rows kept in memory for later epochs.
    pub cache_memory: u64,
    /// Folder of the rows that exceed it; the system's folder for temporary files unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_folder: Option<PathBuf>,
}

impl Default for TrainParams {
    fn default() -> Self {
        Self {
            epochs: 50,
            batch_size: 32,
            micro_batch: MicroBatch::default(),
            optimizer: Optimizer::default(),
            learning_rate: 3e-3,
            schedule: Schedule::default(),
            weight_decay: 1e-2,
            decayed: DecayScope::default(),
            layer_rates: Vec::new(),
            clip: Clip::default(),
            betas: (0.9, 0.999),
            eps: 1e-8,
            tol: 1e-6,
            early_stopping: None,
            max_steps: None,
            max_seconds: None,
            loss: Loss::default(),
            corruption: None,
            label_smoothing: 0.0,
            class_weights: ClassWeights::None,
            validation_fraction: 0.0,
            shuffle: true,
            seed: 42,
            on_invalid: OnInvalid::Error,
            devices: Devices::cpu(),
            precision: Precision::default(),
            shuffle_buffer: 64 << 20,
            cache_memory: 1 << 30,
            cache_folder: None,
        }
    }
}

impl TrainParams {
    /// Checks every parameter.
    ///
    /// # Errors
    /// [`Error::Param`] with the first bad one, its value and what is legal.
    pub fn check(&self) -> Result<()> {
        at_least_one("epochs", self.epochs)?;
        at_least_one("batch_size", self.batch_size)?;
        if let MicroBatch::Rows(rows) = self.micro_batch {
            at_least_one("micro_batch.rows", rows)?;
        }
        within("learning_rate", self.learning_rate, self.learning_rate > 0.0, "a finite number above 0")?;
        within("weight_decay", self.weight_decay, self.weight_decay >= 0.0, "a finite number of at least 0")?;
        for beta in [self.betas.0, self.betas.1] {
            within("betas", beta, (0.0..1.0).contains(&beta), "in [0, 1)")?;
        }
        for (name, share) in &self.layer_rates {
            within(&format!("layer_rates of `{name}`"), *share, *share >= 0.0, "a finite number of at least 0")?;
        }
        within("eps", self.eps, self.eps > 0.0, "a finite number above 0")?;
        within("tol", self.tol, self.tol >= 0.0, "a finite number of at least 0")?;
        let unit = |name, value: f64| within(name, value, (0.0..1.0).contains(&value), "in [0, 1)");
        unit("label_smoothing", self.label_smoothing)?;
        unit("validation_fraction", self.validation_fraction)?;
        if self.on_invalid == OnInvalid::Keep {
            return Err(Error::param("handleInvalid", "keep", "`error` or `skip` while training"));
        }
        if let Some(stopping) = &self.early_stopping {
            stopping.check()?;
        }
        at_least_one("max_steps", self.max_steps.unwrap_or(1))?;
        let seconds = self.max_seconds.unwrap_or(1.0);
        within("max_seconds", seconds, seconds > 0.0, "a finite number above 0")?;
        self.loss.check()?;
        self.corruption.map_or(Ok(()), Corruption::check)?;
        if self.loss != Loss::CrossEntropy && (self.label_smoothing > 0.0 || self.class_weights != ClassWeights::None) {
            let value = format!("{} and {:?}", self.label_smoothing, self.class_weights);
            return Err(Error::param("label_smoothing and class_weights", value, "0 and none: there are no classes"));
        }
        self.precision.check(&self.devices)?;
        self.optimizer.check()?;
        self.schedule.check()?;
        self.clip.check()?;
        self.class_weights.check()
    }

    /// Returns whether sparse rows may stay sparse: on the processor, in single precision, and uncorrupted.
    pub(crate) fn takes_sparse(&self) -> bool {
        self.devices.are_processor() && self.precision == Precision::F32 && self.corruption.is_none()
    }

    /// Keeps the parameters whose names begin so as they are.
    pub(crate) fn freeze(&mut self, names: impl IntoIterator<Item = impl Into<String>>) {
        self.layer_rates.extend(names.into_iter().map(|name| (name.into(), 0.0)));
    }

    /// Returns the share of the learning rate that a parameter has.
    pub(super) fn layer_rate(&self, parameter: &str) -> f64 {
        let fitting = self.layer_rates.iter().filter(|(name, _)| parameter.starts_with(name.as_str()));
        fitting.max_by_key(|(name, _)| name.len()).map_or(1.0, |(_, share)| *share)
    }

    /// Where rows are kept for later epochs.
    pub(crate) fn cache_options(&self) -> CacheOptions {
        let defaults = CacheOptions::default();
        let folder = self.cache_folder.clone().unwrap_or(defaults.folder);
        CacheOptions { memory: self.cache_memory, folder, ..defaults }
    }

    /// Checks that rows are held out in one way only.
    pub(super) fn check_split(&self, columns: &Columns) -> Result<()> {
        match &columns.validation {
            Some(column) if self.validation_fraction > 0.0 => {
                let legal = format!("0 when column `{column}` says which rows to hold out");
                Err(Error::param("validation_fraction", self.validation_fraction, legal))
            }
            _ => Ok(()),
        }
    }
}

fn at_least_one(name: &str, value: usize) -> Result<()> {
    if value >= 1 { Ok(()) } else { Err(Error::param(name, value, "at least 1")) }
}

fn within(name: &str, value: f64, legal: bool, words: &str) -> Result<()> {
    if legal && value.is_finite() { Ok(()) } else { Err(Error::param(name, value, words)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_legal_and_read_back() {
        let params = TrainParams::default();
        params.check().unwrap();
        let json = serde_json::to_string(&params).unwrap();
        assert_eq!(serde_json::from_str::<TrainParams>(&json).unwrap(), params);
        assert_eq!(serde_json::from_str::<TrainParams>("{}").unwrap(), params);
    }

    #[test]
    fn bad_values_are_named_with_what_is_legal() {
        let base = TrainParams::default;
        let nan = f64::NAN;
        for (params, words) in [
            (TrainParams { epochs: 0, ..base() }, ["epochs", "= 0", "at least 1"]),
            (TrainParams { batch_size: 0, ..base() }, ["batch_size", "= 0", "at least 1"]),
            (TrainParams { precision: Precision::Bf16, ..base() }, ["precision", "bf16", "has the processor"]),
            (TrainParams { micro_batch: MicroBatch::Rows(0), ..base() }, ["micro_batch.rows", "= 0", "at least 1"]),
            (TrainParams { learning_rate: 0.0, ..base() }, ["learning_rate", "= 0", "above 0"]),
            (TrainParams { learning_rate: nan, ..base() }, ["learning_rate", "NaN", "above 0"]),
            (TrainParams { learning_rate: f64::INFINITY, ..base() }, ["learning_rate", "inf", "finite"]),
            (TrainParams { weight_decay: -0.1, ..base() }, ["weight_decay", "-0.1", "at least 0"]),
            (TrainParams { betas: (0.9, 1.0), ..base() }, ["betas", "= 1", "[0, 1)"]),
            (TrainParams { betas: (nan, 0.9), ..base() }, ["betas", "NaN", "[0, 1)"]),
            (TrainParams { max_steps: Some(0), ..base() }, ["max_steps", "= 0", "at least 1"]),
            (TrainParams { max_seconds: Some(nan), ..base() }, ["max_seconds", "NaN", "above 0"]),
            (TrainParams { clip: Clip::Norm(0.0), ..base() }, ["clip", "= 0", "above 0"]),
            (TrainParams { clip: Clip::Value(nan), ..base() }, ["clip", "NaN", "above 0"]),
            (
                TrainParams { schedule: Schedule::Cosine { end_factor: 2.0 }, ..base() },
                ["schedule.end_factor", "= 2", "[0, 1]"],
            ),
            (
                TrainParams { optimizer: Optimizer::Adagrad { initial: -1.0 }, ..base() },
                ["optimizer.initial", "-1", "at least 0"],
            ),
            (
                TrainParams { layer_rates: vec![("0.".into(), -1.0)], ..base() },
                ["layer_rates of `0.`", "-1", "at least 0"],
            ),
            (TrainParams { eps: 0.0, ..base() }, ["eps", "= 0", "above 0"]),
            (TrainParams { tol: nan, ..base() }, ["tol", "NaN", "at least 0"]),
            (TrainParams { label_smoothing: 1.0, ..base() }, ["label_smoothing", "= 1", "[0, 1)"]),
            (TrainParams { loss: Loss::Huber { delta: 0.0 }, ..base() }, ["loss.delta", "= 0", "above 0"]),
            (TrainParams { loss: Loss::Quantile { quantile: 1.0 }, ..base() }, ["loss.quantile", "= 1", "(0, 1)"]),
            (TrainParams { corruption: Some(Corruption::Mask(1.0)), ..base() }, ["mask", "= 1", "[0, 1)"]),
            (TrainParams { corruption: Some(Corruption::Noise(nan)), ..base() }, ["noise", "NaN", "at least 0"]),
            (
                TrainParams { loss: Loss::SquaredError, label_smoothing: 0.1, ..base() },
                ["label_smoothing", "0.1", "no classes"],
            ),
            (TrainParams { validation_fraction: -0.5, ..base() }, ["validation_fraction", "-0.5", "[0, 1)"]),
            (TrainParams { on_invalid: OnInvalid::Keep, ..base() }, ["handleInvalid", "keep", "skip"]),
            (
                TrainParams { class_weights: ClassWeights::Given(vec![1.0, -1.0]), ..base() },
                ["class_weights", "-1", "at least 0"],
            ),
        ] {
            let message = params.check().unwrap_err().to_string();
            assert!(words.iter().all(|w| message.contains(w)), "{message}");
        }
    }
}
