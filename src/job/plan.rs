//! The stages of a job: columns, label and network as a pipeline.

use super::{ColumnSettings, Job, Missing, NetworkSection, SplitKind, TaskKind, TuneSection};
use crate::{
    Result,
    dataframe::{DataFrame, Schema, column},
    estimator::{NeuralClassifier, NeuralMultilabelClassifier, NeuralRegressor},
    ml::{
        Estimator, ParamMap, Params, Pipeline, Transformer,
        attribute::Attribute,
        evaluation::{
            MulticlassClassificationEvaluator, MulticlassMetric, MultilabelClassificationEvaluator, MultilabelMetric,
            RegressionEvaluator, RegressionMetric,
        },
        feature::{HandleInvalid, Imputer, ImputerStrategy, StandardScaler, StringIndexer, VectorAssembler},
        rows::{Split, TimeSplit},
    },
    nn::{Activation, Branch, Conv, Embedding, Network, NetworkLayer, Pool, Recurrent},
    session::Session,
    tensor::reader::{ImageReader, Reader, TensorReader, TextReader},
    train::{Checkpoints, Loss, Observer, Stop, TrainParams},
    tuning::{CrossValidator, TuningResults},
};

/// Name of the column that says whether a row is of the validation set.
const VALIDATION: &str = "__validation";

/// Rows of a job, by their use.
#[derive(Debug, Clone)]
pub(super) struct JobRows {
    /// All rows that the filter leaves.
    pub(super) all: DataFrame,
    /// Rows to train on, with a column for those of the validation set if there are any.
    pub(super) training: DataFrame,
    /// Rows to test on, if there are any.
    pub(super) test: Option<DataFrame>,
}

/// A network as the last stage of a pipeline.
#[derive(Debug, Clone)]
pub(super) enum JobNetwork {
    Classifier(NeuralClassifier),
    Regressor(NeuralRegressor),
    Multilabel(NeuralMultilabelClassifier),
}

/// Makes the same settings on each kind of network.
macro_rules! each {
    ($stage:expr, $network:ident => $change:expr) => {
        match $stage {
            JobNetwork::Classifier($network) => JobNetwork::Classifier($change),
            JobNetwork::Regressor($network) => JobNetwork::Regressor($change),
            JobNetwork::Multilabel($network) => JobNetwork::Multilabel($change),
        }
    };
}

impl JobNetwork {
    /// Returns the stage with what watches and stops it.
    pub(super) fn run_by(
        self,
        observers: impl IntoIterator<Item = std::sync::Arc<dyn Observer>>,
        stop: &Stop,
        checkpoints: Option<Checkpoints>,
    ) -> Self {
        let mut stage = each!(self, network => network.stop(stop.clone()));
        if let Some(checkpoints) = checkpoints {
            stage = each!(stage, network => network.checkpoints(checkpoints));
        }
        observers.into_iter().fold(stage, |stage, observer| each!(stage, network => network.observe(observer)))
    }

    /// Returns a pipeline that ends with the network.
    pub(super) fn after(self, pipeline: Pipeline) -> Pipeline {
        match self {
            JobNetwork::Classifier(network) => pipeline.stage(network),
            JobNetwork::Regressor(network) => pipeline.stage(network),
            JobNetwork::Multilabel(network) => pipeline.stage(network),
        }
    }
}

/// Facts about a network before it is trained.
pub(super) struct NetworkLook {
    /// Its summary, or why there is none yet.
    pub(super) network: String,
    pub(super) warnings: Vec<String>,
}

impl JobNetwork {
    /// Looks at the rows that the network would be trained on.
    pub(super) async fn look(&self, frame: &DataFrame) -> Result<NetworkLook> {
        let look = match self {
            JobNetwork::Classifier(network) => network.look(frame).await?,
            JobNetwork::Regressor(network) => network.look(frame).await?,
            JobNetwork::Multilabel(network) => network.look(frame).await?,
        };
        let (spec, report) = look;
        let network = spec.map_or_else(|| "known once the first rows are decoded".to_owned(), |spec| spec.summary());
        Ok(NetworkLook { network, warnings: report.warnings() })
    }

    /// Tries candidates by cross-validation.
    pub(super) async fn search(
        self,
        frame: &DataFrame,
        candidates: Vec<ParamMap>,
        tune: &TuneSection,
    ) -> Result<TuningResults> {
        let (folds, seed) = (tune.folds, tune.seed as i64);
        let tuned = match self {
            JobNetwork::Classifier(network) => {
                let evaluator = MulticlassClassificationEvaluator::new(MulticlassMetric::Accuracy);
                let evaluator = evaluator.label_col(label_of(&network));
                CrossValidator::new(network, candidates, evaluator).num_folds(folds).seed(seed).fit_frame(frame).await?
            }
            JobNetwork::Regressor(network) => {
                let evaluator = RegressionEvaluator::new(RegressionMetric::Rmse).label_col(label_of(&network));
                CrossValidator::new(network, candidates, evaluator).num_folds(folds).seed(seed).fit_frame(frame).await?
            }
            JobNetwork::Multilabel(network) => {
                let evaluator = MultilabelClassificationEvaluator::new(MultilabelMetric::Accuracy);
                let evaluator = evaluator.label_col(label_of(&network));
                CrossValidator::new(network, candidates, evaluator).num_folds(folds).seed(seed).fit_frame(frame).await?
            }
        };
        Ok(tuned.results)
    }
}

/// Returns the name of an estimator's label column.
fn label_of(network: &impl Params) -> String {
    let params = network.params();
    let label = params.iter().find(|param| param.name == "labelCol").and_then(|param| param.value.as_str());
    label.unwrap_or("label").to_owned()
}

/// The stages before the network, and the network.
#[derive(Debug)]
pub(super) struct Stages {
    pub(super) before: Pipeline,
    pub(super) network: JobNetwork,
}

impl Job {
    /// Returns the frame of the data section.
    pub(super) async fn frame(&self, spark: &Session) -> Result<DataFrame> {
        let data = &self.data;
        let frame = match (&data.table, &data.sql, &data.path) {
            (Some(table), ..) => spark.table(table),
            (_, Some(sql), _) => spark.sql(sql).await?,
            (_, _, path) => {
                let format = data.format.as_deref().unwrap_or("parquet");
                spark.read().format(format).options(data.options.clone()).load(path.clone())
            }
        };
        Ok(match &data.filter {
            Some(condition) => frame.filter_expr(condition),
            None => frame,
        })
    }

    /// Splits the rows.
    pub(super) async fn split(&self, frame: &DataFrame, schema: &Schema) -> Result<JobRows> {
        let all = frame.clone();
        let split = &self.split;
        let rest = 1.0 - split.test - split.validation;
        let parts = [("train", rest), ("validation", split.validation), ("test", split.test)];
        let parts: Vec<_> = parts.into_iter().filter(|(_, share)| *share > 0.0).collect();
        if parts.len() == 1 {
            return Ok(JobRows { training: frame.clone(), test: None, all });
        }
        const PART: &str = "__part";
        let key = split.column.clone().unwrap_or_default();
        let divided = match split.by {
            // Row by row, so that nothing is shuffled and large tables are still read file by file.
            SplitKind::Random => Split::by_key(schema.names(), PART, parts).seed(split.seed).transform(frame).await?,
            SplitKind::Stratified => {
                Split::stratified(&self.data.label, PART, parts).seed(split.seed).transform(frame).await?
            }
            SplitKind::Key => Split::by_key([key], PART, parts).seed(split.seed).transform(frame).await?,
            SplitKind::Time => TimeSplit::new(key, PART, parts).fit(frame).await?.transform(frame).await?,
        };
        let is = |part: &str| column(PART).eq(spark_connect::lit_string(part));
        let mut training = divided.filter(is("test").not());
        if split.validation > 0.0 {
            training = training.with_column(VALIDATION, is("validation"));
        }
        let test = (split.test > 0.0).then(|| divided.filter(is("test")).drop([PART]));
        Ok(JobRows { training: training.drop([PART]), test, all })
    }

    /// Returns the stages for a table.
    pub(super) fn stages(&self, schema: &Schema) -> Result<Stages> {
        let mut before = Pipeline::new();
        let task = self.task(schema);
        let label = self.label(schema, task, &mut before);
        let invalid = match self.data.missing {
            Missing::Error => HandleInvalid::Error,
            // Filled numbers are never missing; unknown categories have an index of their own.
            Missing::Impute => HandleInvalid::Keep,
            Missing::Skip => HandleInvalid::Skip,
        };
        // In the order of the table, whatever the order in the file.
        let used = schema.names().filter_map(|name| Some((name.to_owned(), self.used(name)?))).collect::<Vec<_>>();
        let reader = used.iter().find(|(_, settings)| settings.is_alone());
        let (inputs, network) = match reader {
            Some((name, settings)) => {
                let (reader, network) = self.read(name, settings);
                (Inputs::Reader(Box::new(reader)), network)
            }
            None => {
                let (names, categories) = tabular(&used, self.data.missing, invalid, &mut before);
                let network = self.network.tabular(&categories);
                (Inputs::Columns(names), network)
            }
        };
        let change = |params: &mut TrainParams| {
            let loss = params.loss;
            *params = self.training.clone();
            // The task's own loss, unless the job sets another one.
            if params.loss == Loss::default() {
                params.loss = loss;
            }
        };
        let stage = match task {
            TaskKind::Classes => JobNetwork::Classifier(NeuralClassifier::new(network).label_col(label)),
            TaskKind::Numbers => JobNetwork::Regressor(NeuralRegressor::new(network).label_col(label)),
            TaskKind::Labels => JobNetwork::Multilabel(NeuralMultilabelClassifier::new(network).label_col(label)),
        };
        let mut stage = each!(stage, network => network.train_params(change));
        if self.data.missing == Missing::Skip {
            // Left out of training; scored rows keep their place, with a null prediction.
            stage = each!(stage, network => network.handle_invalid(HandleInvalid::Keep));
        }
        stage = match inputs {
            Inputs::Columns(names) => each!(stage, network => network.features_cols(names)),
            Inputs::Reader(reader) => each!(stage, network => network.input(*reader)),
        };
        if let Some(weight) = &self.data.weight {
            stage = each!(stage, network => network.weight_col(weight));
        }
        if self.split.validation > 0.0 {
            stage = each!(stage, network => network.validation_indicator_col(VALIDATION));
        }
        Ok(Stages { before, network: stage })
    }

    /// Returns what a column of a table becomes, letter case aside where no name is exactly so.
    fn used(&self, name: &str) -> Option<ColumnSettings> {
        let exact = self.columns.get(name);
        let used = exact
            .or_else(|| self.columns.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, used)| used));
        used.map(super::ColumnUse::settings)
    }

    /// Adds the stage of the label, and returns the column that the network reads.
    fn label(&self, schema: &Schema, task: TaskKind, before: &mut Pipeline) -> String {
        let label = &self.data.label;
        let indexed = schema.get(label).and_then(|field| Attribute::from_metadata(&field.metadata));
        if task != TaskKind::Classes || indexed.is_some_and(|found| found.classes().is_some()) {
            return label.clone();
        }
        let index = format!("{label}__index");
        *before = std::mem::take(before).stage(StringIndexer::new(label, &index));
        index
    }

    /// Returns the reader of a network's only input, and the network behind it.
    fn read(&self, name: &str, settings: &ColumnSettings) -> (Reader, Network) {
        let network = &self.network;
        match settings {
            ColumnSettings::Text { length, words } => {
                let reader = TextReader::new(name, *length).most_words(*words).ragged();
                let embedding = Embedding::new(words + 2, network.embedding.unwrap_or(32));
                (reader.into(), network.over(Network::new().embedding(embedding), network.units.or(Some(64))))
            }
            ColumnSettings::Image { height, width, grey } => {
                let reader = ImageReader::new(name, *height, *width);
                let reader = if *grey { reader.grey() } else { reader };
                (reader.into(), network.over(Network::new(), network.units))
            }
            ColumnSettings::Sequence { step } => {
                let reader = TensorReader::sequence(name, step.iter().copied());
                (reader.into(), network.over(Network::new(), network.units.or(Some(64))))
            }
            _ => (TensorReader::new(name).into(), network.over(Network::new(), network.units)),
        }
    }
}

/// Inputs of a network.
enum Inputs {
    Columns(Vec<String>),
    Reader(Box<Reader>),
}

/// Adds the stages of numbers, categories and vectors; returns the columns that the network reads, and the categories
/// among them.
fn tabular(
    used: &[(String, ColumnSettings)],
    missing: Missing,
    invalid: HandleInvalid,
    before: &mut Pipeline,
) -> (Vec<String>, Vec<String>) {
    let names = |fits: &dyn Fn(&ColumnSettings) -> bool| -> Vec<String> {
        used.iter().filter(|(_, settings)| fits(settings)).map(|(name, _)| name.clone()).collect()
    };
    let categories = names(&|settings| matches!(settings, ColumnSettings::Category {}));
    let mut pipeline = std::mem::take(before);
    let indices: Vec<String> = categories.iter().map(|name| format!("{name}__index")).collect();
    if !categories.is_empty() {
        let indexer = StringIndexer::multi(categories, indices.clone()).handle_invalid(invalid);
        pipeline = pipeline.stage(indexer);
    }
    let mut inputs = indices.clone();
    for (scale, place) in [(true, "__scaled"), (false, "__numbers")] {
        let mut numbers =
            names(&|settings| matches!(settings, ColumnSettings::Number { scale: scaled } if *scaled == scale));
        if numbers.is_empty() {
            continue;
        }
        if missing == Missing::Impute {
            let filled: Vec<String> = numbers.iter().map(|name| format!("{name}__filled")).collect();
            pipeline = pipeline.stage(Imputer::new(numbers, filled.clone()).strategy(ImputerStrategy::Median));
            numbers = filled;
        }
        let assembled = if scale { "__unscaled" } else { place };
        let handling = if missing == Missing::Skip { HandleInvalid::Skip } else { HandleInvalid::Error };
        pipeline = pipeline.stage(VectorAssembler::new(numbers, assembled).handle_invalid(handling));
        if scale {
            pipeline = pipeline.stage(StandardScaler::new(assembled, place).with_mean(true));
        }
        inputs.push(place.to_owned());
    }
    for (name, settings) in used {
        match settings {
            ColumnSettings::Vector { scale: true } => {
                let scaled = format!("{name}__scaled");
                pipeline = pipeline.stage(StandardScaler::new(name, &scaled).with_mean(true));
                inputs.push(scaled);
            }
            ColumnSettings::Vector { scale: false } => inputs.push(name.clone()),
            _ => {}
        }
    }
    *before = pipeline;
    (inputs, indices)
}

impl NetworkSection {
    /// Returns the network over categories and numbers.
    fn tabular(&self, categories: &[String]) -> Network {
        if !self.layers.is_empty() {
            return self.whole();
        }
        let first = match categories {
            [] => Network::new(),
            some => Network::new().join([Branch::categories(some.iter().cloned()), Branch::rest()]),
        };
        self.over(first, None)
    }

    fn whole(&self) -> Network {
        Network { layers: self.layers.clone(), ..Network::new() }
    }

    /// Returns the network behind its first layers: convolutions, a recurrent layer, fully connected layers.
    fn over(&self, first: Network, units: Option<usize>) -> Network {
        if !self.layers.is_empty() {
            return self.whole();
        }
        let mut network = self.channels.iter().fold(first, |network, channels| {
            let network = network.conv2d(Conv { padding: 1, ..Conv::new(*channels, 3) }).batch_norm();
            network.activation(Activation::Relu).max_pool2d(Pool::new(2))
        });
        if !self.channels.is_empty() {
            network = network.flatten();
        }
        if let Some(units) = units {
            network = network.lstm_layer(Recurrent::new(units));
        }
        for outputs in &self.hidden {
            network = network.linear(*outputs).activation(self.activation);
            if self.dropout > 0.0 {
                network = network.layer(NetworkLayer::Dropout { p: self.dropout });
            }
        }
        network
    }
}
