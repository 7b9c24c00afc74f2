//! A neural classifier as a stage of a pipeline.

mod params;

use std::{any::Any, fmt, path::PathBuf, sync::Arc};

use futures::future::BoxFuture;

use super::{NeuralClassificationModel, decoded::DecodedSource, features, neural_model::output_schema, readers};
use crate::{
    Result,
    dataframe::{DataFrame, Schema},
    ml::{Estimator, Model, Preflight, PreflightReport, attribute::Attribute, feature::HandleInvalid},
    model::{Lineage, PredictOptions},
    nn::{Devices, Network},
    stream::RecordSource,
    tensor::{
        Columns, OnInvalid,
        reader::{Reader, Readers},
    },
    train::{Checkpoints, ClassWeights, Observer, Progress, Stop, TrainParams, Trainer},
};

/// Learns to tell classes apart with a network, in the words of Spark ML's classifiers.
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
/// | `shuffleBuffer` | [`shuffle_buffer`](Self::shuffle_buffer) | 256 MiB |
/// | `cacheMemory` | [`cache_memory`](Self::cache_memory) | 1 GiB |
/// | `cacheFolder` | [`cache_folder`](Self::cache_folder) | the system's |
///
/// An empty name of an output column switches that output off.
#[derive(Clone)]
pub struct NeuralClassifier {
    network: Network,
    columns: Columns,
    training: TrainParams,
    prediction: PredictOptions,
    observers: Vec<Arc<dyn Observer>>,
    checkpoints: Option<Checkpoints>,
    stop: Stop,
}

impl NeuralClassifier {
    /// A classifier with this network; how many features and classes there are comes from the data.
    pub fn new(network: Network) -> Self {
        Self {
            network,
            columns: Columns::new("features", "label"),
            training: TrainParams::default(),
            prediction: PredictOptions::default(),
            observers: Vec::new(),
            checkpoints: None,
            stop: Stop::default(),
        }
    }

    /// Names the column of features: a Spark ML vector, an array of numbers, or a number.
    pub fn features_col(mut self, name: impl Into<String>) -> Self {
        self.columns.features = vec![name.into()];
        self
    }

    /// Reads an input by a reader: images, text, categories, raw bytes. Several lie side by side. What a reader is not
    /// given (words, categories, a size) is fitted on the cluster; the model keeps it. Replaces the column of features.
    pub fn input(self, reader: impl Into<Reader>) -> Self {
        self.read(|readers| readers.input(reader))
    }

    /// Reads the label by a reader, such as the class that a file's folder names.
    pub fn label(self, reader: impl Into<Reader>) -> Self {
        self.read(|readers| readers.label(reader))
    }

    /// Names a column that says where a row comes from, for errors about cells that cannot be read.
    pub fn origin_col(self, name: impl Into<String>) -> Self {
        self.read(|readers| readers.origin(name))
    }

    fn read(mut self, change: impl FnOnce(Readers) -> Readers) -> Self {
        let readers = self.columns.readers.take().unwrap_or_default();
        self.columns = self.columns.read_by(change(readers));
        self
    }

    /// Names the column of labels: whole numbers from 0. Metadata that names the classes (`ml_attr`) is used.
    pub fn label_col(mut self, name: impl Into<String>) -> Self {
        self.columns.label = name.into();
        self
    }

    /// Names the column that says how much each row counts.
    pub fn weight_col(mut self, name: impl Into<String>) -> Self {
        self.columns.weight = some(name);
        self
    }

    /// Names the boolean column that is true for rows to hold out.
    pub fn validation_indicator_col(mut self, name: impl Into<String>) -> Self {
        self.columns.validation = some(name);
        self
    }

    /// Names the output column of the predicted class as a double.
    pub fn prediction_col(mut self, name: impl Into<String>) -> Self {
        self.prediction.outputs.prediction = name.into();
        self
    }

    /// Names the output column of the classes' chances.
    pub fn probability_col(mut self, name: impl Into<String>) -> Self {
        self.prediction.outputs.probability = name.into();
        self
    }

    /// Names the output column of the scores before softmax.
    pub fn raw_prediction_col(mut self, name: impl Into<String>) -> Self {
        self.prediction.outputs.raw_prediction = name.into();
        self
    }

    /// Names the output column of the predicted class's name.
    pub fn predicted_label_col(mut self, name: impl Into<String>) -> Self {
        self.prediction.outputs.predicted_label = name.into();
        self
    }

    /// Predicts the class with the largest `probability / threshold`, one threshold per class.
    pub fn thresholds(mut self, thresholds: impl Into<Vec<f64>>) -> Self {
        self.prediction.thresholds = Some(thresholds.into());
        self
    }

    /// Says what to do with rows that cannot be used. [`HandleInvalid::Keep`] keeps them when predicting, with null
    /// predictions, and leaves them out of training.
    pub fn handle_invalid(mut self, policy: HandleInvalid) -> Self {
        (self.training.on_invalid, self.prediction.on_invalid) = match policy {
            HandleInvalid::Error => (OnInvalid::Error, OnInvalid::Error),
            HandleInvalid::Skip => (OnInvalid::Skip, OnInvalid::Skip),
            HandleInvalid::Keep => (OnInvalid::Skip, OnInvalid::Keep),
        };
        self
    }

    /// Passes over the rows, Spark's `maxIter`.
    pub fn epochs(mut self, epochs: usize) -> Self {
        self.training.epochs = epochs;
        self
    }

    /// The optimizer's step size, Spark's `stepSize`.
    pub fn learning_rate(mut self, rate: f64) -> Self {
        self.training.learning_rate = rate;
        self
    }

    /// Rows per step.
    pub fn batch_size(mut self, rows: usize) -> Self {
        self.training.batch_size = rows;
        self
    }

    /// Stops when an epoch changes the loss by less than this share of it.
    pub fn tol(mut self, tol: f64) -> Self {
        self.training.tol = tol;
        self
    }

    /// Decides everything random.
    pub fn seed(mut self, seed: u64) -> Self {
        self.training.seed = seed;
        self
    }

    /// The share of rows to hold out.
    pub fn validation_fraction(mut self, fraction: f64) -> Self {
        self.training.validation_fraction = fraction;
        self
    }

    /// The optimizer's decoupled weight decay.
    pub fn weight_decay(mut self, decay: f64) -> Self {
        self.training.weight_decay = decay;
        self
    }

    /// The chance given to all classes evenly in place of the right one.
    pub fn label_smoothing(mut self, smoothing: f64) -> Self {
        self.training.label_smoothing = smoothing;
        self
    }

    /// How much each class counts.
    pub fn class_weights(mut self, weights: ClassWeights) -> Self {
        self.training.class_weights = weights;
        self
    }

    /// One replica of the network on each device.
    pub fn devices(mut self, devices: Devices) -> Self {
        self.training.devices = devices;
        self
    }

    /// How many bytes of rows the first epoch shuffles together; it trains while they arrive.
    pub fn shuffle_buffer(mut self, bytes: u64) -> Self {
        self.training.shuffle_buffer = bytes;
        self
    }

    /// How many bytes of rows are kept in memory for later epochs; the others go to disk.
    pub fn cache_memory(mut self, bytes: u64) -> Self {
        self.training.cache_memory = bytes;
        self
    }

    /// Where on disk, an existing folder.
    pub fn cache_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.training.cache_folder = Some(folder.into());
        self
    }

    /// Sets what has no method of its own.
    pub fn train_params(mut self, change: impl FnOnce(&mut TrainParams)) -> Self {
        change(&mut self.training);
        self
    }

    /// Adds someone to tell how training goes.
    pub fn observe(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observers.push(observer);
        self
    }

    /// Writes checkpoints while training, and goes on from the last one of the same run if there is one.
    pub fn checkpoints(mut self, checkpoints: Checkpoints) -> Self {
        self.checkpoints = Some(checkpoints);
        self
    }

    /// Ends training early when `stop` is asked to.
    pub fn stop(mut self, stop: Stop) -> Self {
        self.stop = stop;
        self
    }

    /// Shows [`Progress`] on standard error.
    pub fn progress(self) -> Self {
        self.observe(Arc::new(Progress::new()))
    }

    /// Learns from the rows of a frame.
    ///
    /// The columns are checked, the cluster counts what is in them, and then exactly those columns are streamed here, cast
    /// to single precision on the cluster. Dropping the future stops all of it.
    ///
    /// # Errors
    /// As [`Trainer::fit`]; also [`Error::Server`](crate::Error::Server) and [`Error::Unreachable`](crate::Error::Unreachable).
    pub async fn fit_frame(&self, frame: &DataFrame) -> Result<NeuralClassificationModel> {
        let schema = frame.schema().await?;
        self.check(&schema)?;
        let mut columns = self.columns.clone();
        if let Some(given) = &columns.readers {
            columns.readers = Some(readers::fit(frame, &schema, given).await?);
        }
        let classes = classes(&schema, &columns)?;
        let report = self.preflight(frame).await?;
        let selected = features::select(frame, &schema, &columns)?;
        let model = match &columns.readers {
            None => self.trainer(columns, classes, &report).fit(&selected).await?,
            Some(fitted) => {
                let policy = self.training.on_invalid;
                let source = DecodedSource::new(selected, columns.clone(), fitted.clone(), policy);
                self.trainer(source.columns(), classes, &report).fit(&source).await?.with_columns(columns)
            }
        };
        let rows = model.history().rows;
        let rows = rows.trained + rows.held_out + rows.skipped;
        let lineage = Lineage { source: frame.describe(), rows, plan_hash: None };
        NeuralClassificationModel::new(model, self.training.clone(), self.prediction.clone(), lineage)
    }

    fn trainer(&self, columns: Columns, classes: Option<Vec<String>>, report: &PreflightReport) -> Trainer {
        let mut trainer = Trainer::new(self.network.clone(), columns, self.training.clone())
            .expected_rows(report.rows)
            .stop(self.stop.clone());
        if self.counts_classes() {
            trainer = trainer.class_counts(report.class_counts());
        }
        if let Some(checkpoints) = &self.checkpoints {
            trainer = trainer.checkpoints(checkpoints.clone());
        }
        if let Some(classes) = classes {
            trainer = trainer.classes(classes);
        }
        self.observers.iter().fold(trainer, |trainer, observer| trainer.observe(observer.clone()))
    }

    /// Whether the cluster can count the classes: not those that a reader makes here.
    fn counts_classes(&self) -> bool {
        self.columns.readers.as_ref().is_none_or(|readers| readers.label.is_none())
    }

    /// The frame whose rows are streamed here: exactly the columns that training uses, cast on the cluster.
    ///
    /// # Errors
    /// As [`fit_frame`](Self::fit_frame), as far as a schema tells.
    pub async fn training_frame(&self, frame: &DataFrame) -> Result<DataFrame> {
        let schema = frame.schema().await?;
        features::check(&schema, &self.columns)?;
        features::select(frame, &schema, &self.columns)
    }

    /// Has the cluster count what is in the columns, and refuses what cannot be learnt from.
    async fn preflight(&self, frame: &DataFrame) -> Result<PreflightReport> {
        let read = self.columns.readers.as_ref();
        let features = if read.is_some() { &[] } else { self.columns.features.as_slice() };
        let mut preflight = Preflight::new(features.iter().chain(&self.columns.weight).cloned());
        if self.counts_classes() {
            preflight = preflight.class_label(&self.columns.label);
        }
        let report = preflight.run(frame).await?;
        if self.training.on_invalid == OnInvalid::Error || report.rows == 0 {
            report.check()?;
        }
        Ok(report)
    }

    /// Checks the parameters, the columns it uses and those it will write.
    fn check(&self, schema: &Schema) -> Result<()> {
        self.training.check()?;
        features::check(schema, &self.columns)?;
        self.prediction.outputs.check(schema.names())
    }
}

/// The classes' names, when the label's reader or the label column's metadata has them.
fn classes(schema: &Schema, columns: &Columns) -> Result<Option<Vec<String>>> {
    if let Some(label) = columns.readers.as_ref().and_then(|readers| readers.label.as_ref()) {
        return Ok(match label {
            Reader::PathLabel(label) if !label.names().is_empty() => Some(label.names().to_vec()),
            _ => None,
        });
    }
    let label = schema.require(&columns.label)?;
    let attribute = Attribute::from_metadata(&label.metadata);
    Ok(attribute.and_then(|attribute| attribute.classes().map(<[String]>::to_vec)))
}

impl Estimator for NeuralClassifier {
    fn fit<'a>(&'a self, frame: &'a DataFrame) -> BoxFuture<'a, Result<Box<dyn Model>>> {
        Box::pin(async { Ok(Box::new(self.fit_frame(frame).await?) as Box<dyn Model>) })
    }

    fn transform_schema(&self, schema: &Schema) -> Result<Schema> {
        self.check(schema)?;
        let classes = classes(schema, &self.columns)?.unwrap_or_default();
        output_schema(schema, &self.prediction.outputs, &classes)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl fmt::Debug for NeuralClassifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { network, columns, training, prediction, observers, checkpoints, stop } = self;
        f.debug_struct("NeuralClassifier")
            .field("network", network)
            .field("columns", columns)
            .field("training", training)
            .field("prediction", prediction)
            .field("observers", &observers.len())
            .field("checkpoints", checkpoints)
            .field("stop", stop)
            .finish()
    }
}

/// The column's name; none when it is empty.
fn some(name: impl Into<String>) -> Option<String> {
    Some(name.into()).filter(|name| !name.is_empty())
}
