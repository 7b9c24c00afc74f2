//! Jobs: training runs as TOML files, from a table to a saved model.
//!
//! ```toml
//! [data]
//! table = "iris"
//! label = "species"
//!
//! [columns]
//! sepal_length = "number"
//! petal_length = "number"
//!
//! [split]
//! test = 0.2
//!
//! [network]
//! hidden = [16, 16]
//!
//! [training]
//! epochs = 60
//!
//! [output]
//! model = "iris"
//! ```
//!
//! A [`JobFile`] is a job with its text, so that problems name line and column; all problems of a file are found at
//! once. [`propose`](propose::propose) writes a job for a table. [`JobFile::run`] fits, tests, saves and scores. The keys
//! are described by [`json_schema`], from which `docs/job.md` is made.

mod check;
mod file;
mod plan;
mod propose;
mod run;
mod schema;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    file::JobFile,
    propose::{Proposal, propose},
    run::{JobOptions, JobOutcome, JobPlan},
    schema::{json_schema, manual},
};
use crate::{
    nn::{Activation, NetworkLayer},
    train::TrainParams,
};

/// A training run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// Rows, and what is to be predicted.
    pub data: DataSection,
    /// Use of each column; columns that are not listed are left out.
    pub columns: BTreeMap<String, ColumnUse>,
    /// Rows that are held back from training.
    #[serde(default)]
    pub split: SplitSection,
    /// The network between the columns and the prediction.
    #[serde(default)]
    pub network: NetworkSection,
    /// Training settings.
    #[serde(default)]
    pub training: TrainParams,
    /// Checkpoints, from which an interrupted run resumes; none without this section.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoints: Option<CheckpointSection>,
    /// Outputs, written at the end.
    #[serde(default)]
    pub output: OutputSection,
    /// Search for settings by cross-validation, for `tinderbox tune`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tune: Option<TuneSection>,
}

/// Rows, and what is to be predicted. One of `table`, `sql` and `path` is set.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataSection {
    /// A table or view, as SQL writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// A query that gives the rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql: Option<String>,
    /// Files that the cluster can read, such as `s3a://bucket/rows/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Format of `path`: parquet unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// Options of the format, such as `header`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
    /// Condition in SQL; other rows are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// The column to predict.
    pub label: String,
    /// Kind of prediction. Unless set: numbers for a label with a fraction, labels for an array, else classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskKind>,
    /// A column of weights: how much each row counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<String>,
    /// Missing numbers and categories: filled in, their rows left out, or an error.
    #[serde(default)]
    pub missing: Missing,
}

/// Kind of prediction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaskKind {
    /// One of several classes.
    Classes,
    /// A number.
    Numbers,
    /// Several labels, each of which a row has or has not: an array of zeros and ones.
    Labels,
}

/// Treatment of missing numbers and categories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// Numbers become the median of their column, categories one of their own.
    #[default]
    Impute,
    /// Rows are left out of training, and counted. Such rows are scored with a null prediction.
    Skip,
    /// Training is refused.
    Error,
}

/// Use of a column: `"number"`, or a table with settings, such as `{ kind = "image", height = 32, width = 32 }`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ColumnUse {
    /// A kind, with its defaults.
    Kind(ColumnKind),
    /// A kind with settings.
    Settings(ColumnSettings),
}

/// Kind of input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ColumnKind {
    /// A number or a boolean, standardised.
    Number,
    /// One of several values: an embedding.
    Category,
    /// A Spark ML vector or an array of numbers of one length, standardised.
    Vector,
    /// Words.
    Text,
    /// An encoded image (PNG, JPEG, BMP) or Spark's image struct; the only input.
    Image,
    /// An array of any length whose elements are numbers or arrays of numbers; the only input.
    Sequence,
    /// A tensor in any form; the only input.
    Tensor,
}

/// Kind of input with settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ColumnSettings {
    /// A number or a boolean.
    Number {
        /// False leaves it unscaled.
        #[serde(default = "yes")]
        scale: bool,
    },
    /// One of several values: an embedding.
    Category {},
    /// A Spark ML vector or an array of numbers of one length.
    Vector {
        /// False leaves it unscaled.
        #[serde(default = "yes")]
        scale: bool,
    },
    /// Words; the only input.
    Text {
        /// Most words of a row that are read.
        #[serde(default = "text_length")]
        length: usize,
        /// Most words of the vocabulary.
        #[serde(default = "text_words")]
        words: usize,
    },
    /// An encoded image (PNG, JPEG, BMP) or Spark's image struct; the only input.
    Image {
        /// Height that it is scaled to, in pixels.
        #[serde(default = "image_side")]
        height: u32,
        /// Width that it is scaled to, in pixels.
        #[serde(default = "image_side")]
        width: u32,
        /// True for shades of grey.
        #[serde(default)]
        grey: bool,
    },
    /// An array of any length whose elements are numbers or arrays of numbers; the only input.
    Sequence {
        /// Shape of an element; `[]` for numbers.
        #[serde(default)]
        step: Vec<usize>,
    },
    /// A tensor in any form; the only input.
    Tensor {},
}

fn yes() -> bool {
    true
}

fn text_length() -> usize {
    64
}

fn text_words() -> usize {
    20_000
}

fn image_side() -> u32 {
    32
}

impl ColumnUse {
    /// Returns the kind with all its settings.
    pub fn settings(&self) -> ColumnSettings {
        match self {
            ColumnUse::Settings(settings) => settings.clone(),
            ColumnUse::Kind(kind) => match kind {
                ColumnKind::Number => ColumnSettings::Number { scale: true },
                ColumnKind::Category => ColumnSettings::Category {},
                ColumnKind::Vector => ColumnSettings::Vector { scale: true },
                ColumnKind::Text => ColumnSettings::Text { length: text_length(), words: text_words() },
                ColumnKind::Image => ColumnSettings::Image { height: image_side(), width: image_side(), grey: false },
                ColumnKind::Sequence => ColumnSettings::Sequence { step: Vec::new() },
                ColumnKind::Tensor => ColumnSettings::Tensor {},
            },
        }
    }
}

/// Rows that are held back from training. A row's part follows from its values, never from its place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SplitSection {
    /// Share of the rows that the finished model is tested on.
    pub test: f64,
    /// Share of the rows that the model is measured on after each epoch.
    pub validation: f64,
    /// Rule by which rows are chosen.
    pub by: SplitKind,
    /// The column of keys or times, for `key` and `time`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// Another seed gives another split.
    pub seed: i64,
}

impl Default for SplitSection {
    fn default() -> Self {
        Self { test: 0.2, validation: 0.1, by: SplitKind::Random, column: None, seed: 42 }
    }
}

/// Rule by which rows are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SplitKind {
    /// By a hash of all values; rows that are equal stay together.
    #[default]
    Random,
    /// The same shares of every class.
    Stratified,
    /// Rows of one key stay together.
    Key,
    /// The latest rows are for the test.
    Time,
}

/// The network between the columns and the prediction. The last layer is added to it.
///
/// `hidden` alone is a multilayer perceptron. `channels` are convolutions before it, for images. `units` is a recurrent
/// layer, for sequences and text. `layers` says everything by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkSection {
    /// Sizes of fully connected layers.
    pub hidden: Vec<usize>,
    /// Channels of convolutions of 3 × 3, each normalised and pooled by 2.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<usize>,
    /// Units of a long short-term memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub units: Option<usize>,
    /// Numbers that stand for a word, for text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedding: Option<usize>,
    /// Function after each hidden layer.
    pub activation: Activation,
    /// Probability that a hidden value is dropped while training, in [0, 1).
    pub dropout: f64,
    /// All layers, first to last, in place of the keys above.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<NetworkLayer>,
}

impl Default for NetworkSection {
    fn default() -> Self {
        Self {
            hidden: vec![64, 32],
            channels: Vec::new(),
            units: None,
            embedding: None,
            activation: Activation::default(),
            dropout: 0.0,
            layers: Vec::new(),
        }
    }
}

/// Checkpoints, from which an interrupted run resumes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckpointSection {
    /// A folder of this machine; relative to the job's file.
    pub folder: PathBuf,
    /// Epochs between two checkpoints.
    #[serde(default = "one")]
    pub every_epochs: usize,
    /// Steps between two checkpoints, in addition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every_steps: Option<usize>,
    /// Number of checkpoints that are kept.
    #[serde(default = "two")]
    pub keep: usize,
}

fn one() -> usize {
    1
}

fn two() -> usize {
    2
}

/// Outputs, written at the end.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OutputSection {
    /// Name of the model; a new version of it is saved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The model table; `models`, or that of the profile, unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub models: Option<String>,
    /// A table for all rows with their predictions; replaced if it exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scored: Option<String>,
    /// A file for the report, as HTML; relative to the job's file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<PathBuf>,
    /// A folder for the model as safetensors and a manifest; relative to the job's file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<PathBuf>,
    /// A file for the network as ONNX; relative to the job's file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub onnx: Option<PathBuf>,
}

/// Search for settings by cross-validation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TuneSection {
    /// Parts of the rows; each is held out once.
    #[serde(default = "three")]
    pub folds: usize,
    /// Number of candidates that are drawn; all combinations unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub random: Option<usize>,
    /// Decides folds and draws.
    #[serde(default)]
    pub seed: u64,
    /// Values by param, such as `stepSize = [0.001, 0.01]`; names are Spark ML's.
    pub params: BTreeMap<String, Vec<serde_json::Value>>,
}

fn three() -> usize {
    3
}
