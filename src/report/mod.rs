//! Reports: one web page of a trained model, and the numbers behind it.
//!
//! A [`Report`] is self-contained: no script, no other file. It is read light or dark as the reader's system asks, on
//! narrow screens, and on paper.

mod chart;
mod curves;
mod evaluation;
mod html;
mod page;

use std::{fs, path::Path};

pub use self::{
    curves::ClassCurves,
    evaluation::{CalibrationBin, EvaluationDetails, ModelEvaluation, ScoredExample},
};
use crate::{
    Error, Result,
    estimator::NeuralModel,
    ml::TableProfile,
    model::{History, Lineage, Task},
    nn::{NetworkSpec, replace_file},
    train::TrainParams,
};

/// Report of a trained model.
///
/// ```no_run
/// # fn run(model: &tinderbox::prelude::NeuralModel) -> tinderbox::Result<()> {
/// tinderbox::report::Report::new(model).write("report.html")?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Report {
    title: String,
    /// Model table, name and version.
    saved: Option<(String, String, i64)>,
    network: NetworkSpec,
    features: Vec<String>,
    label: String,
    task: Task,
    training: TrainParams,
    history: History,
    lineage: Lineage,
    profile: Option<TableProfile>,
    evaluation: Option<ModelEvaluation>,
}

impl Report {
    /// Reports on a fitted network: its data, its course, its settings.
    pub fn new(model: &NeuralModel) -> Self {
        let network = model.model();
        let columns = network.columns();
        Self {
            title: format!("Prediction of {}", columns.label),
            saved: None,
            network: network.spec().clone(),
            features: columns.features.clone(),
            label: columns.label.clone(),
            task: network.task().clone(),
            training: model.training().clone(),
            history: network.history().clone(),
            lineage: model.lineage().clone(),
            profile: None,
            evaluation: None,
        }
    }

    /// Sets the heading; `Prediction of` the label unless set.
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    /// Names the columns that the pipeline begins with, in place of those that its stages made for the network.
    pub fn columns<N: Into<String>>(mut self, label: impl Into<String>, features: impl IntoIterator<Item = N>) -> Self {
        self.label = label.into();
        self.title = format!("Prediction of {}", self.label);
        self.features = features.into_iter().map(Into::into).collect();
        self
    }

    /// Names the version that was saved, so that the page says how to load it.
    pub fn saved_as(mut self, table: impl Into<String>, name: impl Into<String>, version: i64) -> Self {
        let (table, name) = (table.into(), name.into());
        self.title = format!("{name}, version {version}");
        self.saved = Some((table, name, version));
        self
    }

    /// Adds counts of the table that the rows came from.
    pub fn profile(mut self, profile: TableProfile) -> Self {
        self.profile = Some(profile);
        self
    }

    /// Adds the model's results on rows that it was not trained on.
    pub fn evaluation(mut self, evaluation: ModelEvaluation) -> Self {
        self.evaluation = Some(evaluation);
        self
    }

    /// Returns the page.
    pub fn html(&self) -> String {
        page::page(self)
    }

    /// Writes the page. A file that is there is replaced at once, by the whole page or not at all.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(|error| Error::io(folder, error))?;
        }
        replace_file(path, |part| fs::write(part, self.html()))
    }
}
