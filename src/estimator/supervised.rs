//! Common parts of the estimators with labels: their settings, and the path from a frame to a model.

use std::{fmt, sync::Arc};

use spark_connect::{Column, types::StructField};

use super::{
    NeuralModel,
    decoded::DecodedSource,
    features, inputs,
    labels::{self, Labels},
    neural_model::output_schema,
    readers,
};
use crate::{
    Error, Result,
    dataframe::{DataFrame, NestedFields, Schema, SourceOptions},
    ml::{Preflight, PreflightReport},
    model::{Lineage, PredictOptions, Scaling, Task},
    nn::{InputColumn, Network, NetworkSpec, Weights},
    stream::RecordSource,
    tensor::{
        Columns, LabelKind, OnInvalid,
        reader::{Reader, Readers},
    },
    train::{Checkpoints, Loss, Observer, Stop, TrainParams, Trainer},
};

/// Facts known before rows travel.
#[derive(Debug, Clone)]
pub struct PreparedTraining {
    /// Exactly the columns that training uses.
    pub(crate) frame: DataFrame,
    /// Description of the frame's origin.
    source: String,
    pub(crate) columns: Columns,
    names: Option<Vec<String>>,
    pub(crate) report: PreflightReport,
    scaling: Option<Scaling>,
    /// Which of a row's values are which column's, where readers do not make them.
    inputs: Vec<InputColumn>,
    /// Reads labels where readers do the inputs.
    label: Option<Reader>,
}

/// The settings of an estimator, and how it fits.
#[derive(Clone)]
pub(super) struct Supervised {
    pub(super) network: Network,
    pub(super) columns: Columns,
    /// Columns of numbers that make up the label side by side; the one of `columns` when there is none.
    pub(super) labels: Vec<String>,
    /// True if targets are scaled to mean 0 and deviation 1 before training.
    pub(super) scale: bool,
    pub(super) training: TrainParams,
    /// Strategy and size of reads.
    pub(super) source: SourceOptions,
    pub(super) prediction: PredictOptions,
    /// Initial weights, tensor by tensor; the others are random.
    pub(super) initial: Option<Weights>,
    pub(super) observers: Vec<Arc<dyn Observer>>,
    pub(super) checkpoints: Option<Checkpoints>,
    pub(super) stop: Stop,
}

impl Supervised {
    pub(super) fn new(network: Network, loss: Loss) -> Self {
        Self {
            network,
            columns: Columns::new("features", "label"),
            labels: Vec::new(),
            scale: false,
            training: TrainParams { loss, ..TrainParams::default() },
            source: SourceOptions::default(),
            prediction: PredictOptions::default(),
            initial: None,
            observers: Vec::new(),
            checkpoints: None,
            stop: Stop::default(),
        }
    }

    /// Changes the readers, which may not exist yet.
    pub(super) fn read(mut self, change: impl FnOnce(Readers) -> Readers) -> Self {
        let readers = self.columns.readers.take().unwrap_or_default();
        self.columns = self.columns.read_by(change(readers));
        self
    }

    /// Trains on the features that another model was trained on.
    pub(super) fn inputs_of(&mut self, columns: &Columns) {
        let Columns { features, readers, .. } = columns.clone();
        (self.columns.features, self.columns.readers) = (features, readers);
    }

    pub(super) fn label_cols(&mut self, names: Vec<String>) {
        self.columns.label = names.join(", ");
        self.labels = names;
    }

    /// Returns the columns that make up the label.
    pub(super) fn label_names(&self) -> Vec<String> {
        if self.labels.is_empty() { vec![self.columns.label.clone()] } else { self.labels.clone() }
    }

    /// As [`label_cols`](Self::label_cols), refusing several where a label is one class.
    pub(super) fn set_label_cols(&mut self, names: Vec<String>) -> Result<()> {
        let several = self.kind() != LabelKind::Class;
        if names.is_empty() || (names.len() > 1 && !several) {
            let legal = if several { "the name of a column, or a list of names" } else { "the name of one column" };
            return Err(Error::param("labelCol", format!("{names:?}"), legal));
        }
        self.label_cols(names);
        Ok(())
    }

    /// Returns whether targets are scaled to mean 0 and deviation 1, for which the cluster computes both.
    pub(super) fn scales(&self) -> bool {
        self.scale && self.kind() == LabelKind::Numbers
    }

    fn kind(&self) -> LabelKind {
        self.training.loss.label_kind()
    }

    /// Trains on the rows of a frame.
    pub(super) async fn fit(&self, frame: &DataFrame) -> Result<NeuralModel> {
        let prepared = self.prepare(frame, |_, _| Ok(None)).await?;
        let selected = prepared.frame.source_with(self.source.clone());
        let model = self.learn(&prepared, &selected, prepared.report.rows).await?;
        selected.close().await?;
        Ok(model)
    }

    /// Checks everything that can be known before rows travel, and selects the columns. `also` may add one, given the
    /// schema and which of its columns are used.
    pub(super) async fn prepare(
        &self,
        frame: &DataFrame,
        also: impl FnOnce(&Schema, &[&StructField]) -> Result<Option<Column>> + Send,
    ) -> Result<PreparedTraining> {
        let schema = frame.schema().await?;
        let (frame, schema) = NestedFields::of(&schema).open(frame, &schema);
        let frame = &frame;
        self.check(&schema)?;
        let mut columns = self.columns.clone();
        if let Some(given) = &columns.readers {
            columns.readers = Some(readers::fit(frame, &schema, given).await?);
        }
        let labels = self.labels(&schema)?;
        let report = self.preflight(frame).await?;
        let takes = self.network.takes_sparse();
        columns.sparse = columns.readers.is_none() && features::keep_sparse(&columns, &report, &self.training, takes)?;
        let scaling = match &labels {
            Some(labels) if self.scales() => Some(labels.scaling(frame).await?),
            _ => None,
        };
        let names = self.names(&schema, &columns)?;
        let label = labels.as_ref().map(Labels::column);
        let also = also(&schema, &self.used(&schema, &columns)?)?;
        let rows = features::select(frame, &schema, &columns, label, also)?;
        let label = labels.map(|labels| labels.reader());
        let read = if columns.readers.is_some() { &[] } else { columns.features.as_slice() };
        let inputs = inputs::columns(&schema, read, &report)?;
        Ok(PreparedTraining { frame: rows, source: frame.origin(), columns, names, report, scaling, inputs, label })
    }

    /// Returns the columns that inputs and labels come from.
    fn used<'a>(&self, schema: &'a Schema, columns: &Columns) -> Result<Vec<&'a StructField>> {
        let mut names: Vec<&str> = match &columns.readers {
            Some(readers) => readers.columns(),
            None => columns.features.iter().map(String::as_str).collect(),
        };
        if self.reads_labels_as_numbers() {
            let one = std::slice::from_ref(&self.columns.label);
            let labels = if self.labels.is_empty() { one } else { &self.labels };
            names.extend(labels.iter().map(String::as_str));
        }
        names.into_iter().map(|name| schema.require(name)).collect()
    }

    /// Trains on rows of the prepared columns, `expected` of them.
    pub(super) async fn learn<S>(&self, prepared: &PreparedTraining, rows: &S, expected: u64) -> Result<NeuralModel>
    where
        S: RecordSource + Clone,
    {
        let columns = prepared.columns.clone();
        let model = match &columns.readers {
            None => self.trainer(columns, prepared, expected).fit(rows).await?,
            // Rows of several lengths are decoded on the way into training.
            Some(fitted) if fitted.has_sequences() => {
                self.trainer(columns.clone(), prepared, expected).fit(rows).await?
            }
            Some(fitted) => {
                let (policy, label) = (self.training.on_invalid, prepared.label.clone());
                let source = DecodedSource::new(rows.clone(), columns.clone(), fitted.clone(), label, policy);
                let trainer = self.trainer(source.columns(), prepared, expected);
                trainer.fit(&source).await?.with_columns(columns)
            }
        };
        let rows = model.history().rows;
        let rows = rows.trained + rows.held_out + rows.skipped;
        let lineage = Lineage { source: prepared.source.clone(), rows, plan_hash: None };
        NeuralModel::new(model, self.training.clone(), self.prediction.clone(), lineage)
    }

    /// Returns the network as the rows of a frame would give it, and what they hold.
    pub(super) async fn look(&self, frame: &DataFrame) -> Result<(Option<NetworkSpec>, PreflightReport)> {
        let prepared = self.prepare(frame, |_, _| Ok(None)).await?;
        let PreparedTraining { columns, inputs, names, report, .. } = prepared;
        if columns.readers.is_some() {
            return Ok((None, report));
        }
        let read = inputs.iter().filter(|input| columns.features.contains(&input.name));
        let width: usize = read.map(InputColumn::count).sum();
        let outputs = names.map_or_else(|| report.num_classes().max(1), |names| names.len());
        Ok((Some(self.network.resolve_columns(&inputs, width, outputs)?), report))
    }

    fn trainer(&self, columns: Columns, prepared: &PreparedTraining, expected: u64) -> Trainer {
        let PreparedTraining { names, report, scaling, inputs, .. } = prepared.clone();
        let mut trainer = Trainer::new(self.network.clone(), columns, self.training.clone())
            .expected_rows(expected)
            .input_columns(inputs)
            .stop(self.stop.clone());
        if self.counts_classes() {
            trainer = trainer.class_counts(report.class_counts());
        }
        if let Some(scaling) = scaling.filter(|_| self.scales()) {
            trainer = trainer.scaling(scaling);
        }
        if let Some(weights) = &self.initial {
            trainer = trainer.initial_weights(weights.clone());
        }
        if let Some(checkpoints) = &self.checkpoints {
            trainer = trainer.checkpoints(checkpoints.clone());
        }
        if let Some(names) = names {
            trainer = trainer.classes(names);
        }
        self.observers.iter().fold(trainer, |trainer, observer| trainer.observe(observer.clone()))
    }

    /// Returns whether the cluster can count the classes: not those that a local reader makes.
    fn counts_classes(&self) -> bool {
        self.kind() == LabelKind::Class && self.reads_labels_as_numbers()
    }

    fn reads_labels_as_numbers(&self) -> bool {
        self.columns.readers.as_ref().is_none_or(|readers| readers.label.is_none())
    }

    /// Returns the labels' columns; none when a reader makes the labels.
    fn labels(&self, schema: &Schema) -> Result<Option<Labels>> {
        if !self.reads_labels_as_numbers() {
            return Ok(None);
        }
        let names = if self.labels.is_empty() { std::slice::from_ref(&self.columns.label) } else { &self.labels };
        labels::find(schema, &self.columns.label, names, self.kind()).map(Some)
    }

    /// Returns the frame whose rows are streamed: exactly the columns that training uses, cast on the cluster.
    pub(super) async fn training_frame(&self, frame: &DataFrame) -> Result<DataFrame> {
        let schema = frame.schema().await?;
        let (frame, schema) = &NestedFields::of(&schema).open(frame, &schema);
        features::check(schema, &self.columns)?;
        let label: Option<Column> = self.labels(schema)?.as_ref().map(Labels::column);
        features::select(frame, schema, &self.columns, label, None)
    }

    /// Has the cluster count the columns' values, and refuses unusable ones.
    async fn preflight(&self, frame: &DataFrame) -> Result<PreflightReport> {
        let read = self.columns.readers.as_ref();
        let features = if read.is_some() { &[] } else { self.columns.features.as_slice() };
        let one = std::slice::from_ref(&self.columns.label);
        let numbers = match self.kind() {
            LabelKind::Class => &[],
            _ if !self.reads_labels_as_numbers() => &[],
            _ if self.labels.is_empty() => one,
            _ => self.labels.as_slice(),
        };
        let mut preflight = Preflight::new(features.iter().cloned()).targets(numbers.iter().cloned());
        if let Some(weight) = &self.columns.weight {
            preflight = preflight.weight(weight);
        }
        if self.counts_classes() {
            preflight = preflight.class_label(&self.columns.label);
        }
        let report = preflight.run(frame).await?;
        if self.training.on_invalid == OnInvalid::Error || report.rows == 0 {
            report.check_rows(frame).await?;
        }
        report.warnings().iter().for_each(|warning| tracing::warn!("{warning}"));
        Ok(report)
    }

    /// Checks the parameters, the columns it uses and those it will write.
    pub(super) fn check(&self, schema: &Schema) -> Result<()> {
        self.training.check()?;
        self.source.check()?;
        features::check(schema, &self.columns)?;
        if self.kind() == LabelKind::Class && self.labels.len() > 1 {
            return Err(Error::param("labelCol", format!("{:?}", self.labels), "one column: a row is of one class"));
        }
        self.labels(schema)?;
        self.prediction.outputs.check(schema.names())
    }

    /// Returns the names of the classes, labels or targets, as far as columns, readers or metadata tell.
    fn names(&self, schema: &Schema, columns: &Columns) -> Result<Option<Vec<String>>> {
        if let Some(label) = columns.readers.as_ref().and_then(|readers| readers.label.as_ref()) {
            return Ok(match label {
                Reader::PathLabel(label) if !label.names().is_empty() => Some(label.names().to_vec()),
                _ => None,
            });
        }
        Ok(self.labels(schema)?.and_then(|labels| labels.names(schema)))
    }

    /// Returns the schema with the output columns behind it.
    pub(super) fn transform_schema(&self, schema: &Schema) -> Result<Schema> {
        self.check(schema)?;
        let names = self.names(schema, &self.columns)?;
        let several = match self.labels(schema)? {
            Some(labels) => labels.several(),
            None => false,
        };
        // How many there are of unnamed targets in an array shows with the first row; for the schema any number will do.
        let names = names.unwrap_or_else(|| vec![String::new(); if several { 2 } else { 1 }]);
        let task = match self.kind() {
            LabelKind::Class => Task::Classes { names: names.into_iter().filter(|name| !name.is_empty()).collect() },
            LabelKind::Probabilities => Task::Labels { names },
            _ => Task::Values { names, scaling: None, link: self.training.loss.link() },
        };
        output_schema(schema, &self.prediction.outputs, &task)
    }
}

impl fmt::Debug for Supervised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            network,
            columns,
            labels,
            scale,
            training,
            source,
            prediction,
            initial,
            observers,
            checkpoints,
            stop,
        } = self;
        f.debug_struct("Supervised")
            .field("network", network)
            .field("columns", columns)
            .field("labels", labels)
            .field("scale", scale)
            .field("training", training)
            .field("source", source)
            .field("prediction", prediction)
            .field("initial", &initial.as_ref().map(Weights::count))
            .field("observers", &observers.len())
            .field("checkpoints", checkpoints)
            .field("stop", stop)
            .finish()
    }
}
