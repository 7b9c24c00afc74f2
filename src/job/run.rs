//! Runs of a job: rows, fit, test, and what is written.

use std::{path::PathBuf, sync::Arc};

use super::{Job, JobFile, file::join};
use crate::{
    Error, Result,
    dataframe::{DataFrame, SaveMode, Schema},
    ml::{ParamMap, PipelineModel, TableProfile},
    report::{ModelEvaluation, Report},
    score::ScoreOptions,
    session::Session,
    train::{Checkpoints, Observer, Stop},
    tuning::{ParamGrid, RandomSearch, TuningResults},
};

/// Circumstances of a run.
#[derive(Clone)]
pub struct JobOptions {
    /// The model table where the job names none; `models`.
    pub models: String,
    /// Ends training early at its request.
    pub stop: Stop,
    /// Watch training.
    pub observers: Vec<Arc<dyn Observer>>,
    /// Hears what is done, in a few words each.
    pub progress: Arc<dyn Fn(&str) + Send + Sync>,
}

impl Default for JobOptions {
    fn default() -> Self {
        Self { models: "models".into(), stop: Stop::default(), observers: Vec::new(), progress: Arc::new(|_| ()) }
    }
}

impl std::fmt::Debug for JobOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JobOptions").field("models", &self.models).finish_non_exhaustive()
    }
}

/// Results of a run.
#[non_exhaustive]
#[derive(Debug)]
pub struct JobOutcome {
    /// The fitted pipeline.
    pub model: PipelineModel,
    /// The model on the test rows, if there are any.
    pub test: Option<ModelEvaluation>,
    /// Name, version and model table, if the model was saved.
    pub saved: Option<(String, i64, String)>,
    /// Table and number of rows, if rows were scored.
    pub scored: Option<(String, u64)>,
    /// Files that were written.
    pub files: Vec<PathBuf>,
}

/// Outline of a run.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq)]
pub struct JobPlan {
    /// Rows that the filter leaves.
    pub rows: u64,
    /// Rows to train on, those of the validation set included.
    pub training: u64,
    /// Rows to test on.
    pub test: u64,
    /// The stages before the network, by name.
    pub stages: Vec<String>,
    /// Summary of the network.
    pub network: String,
    /// Warnings of the counts before training.
    pub warnings: Vec<String>,
}

impl JobFile {
    /// Checks the job against its data, without a look at a row.
    ///
    /// # Errors
    /// [`Error::Job`] with all columns that are missing or do not fit; [`Error::Server`], [`Error::Unreachable`].
    pub async fn check(&self, spark: &Session) -> Result<()> {
        self.open(spark).await.map(drop)
    }

    async fn open(&self, spark: &Session) -> Result<(DataFrame, Schema)> {
        let frame = self.job().frame(spark).await?;
        let schema = frame.schema().await?;
        self.refuse(self.job().schema_problems(&schema))?;
        Ok((frame, schema))
    }

    /// Runs the job: splits the rows, fits the pipeline, tests it, and writes what the job asks for.
    ///
    /// Nothing is written before the model is fitted. Dropping the future interrupts the work on the cluster. A request
    /// of `options.stop` ends training after a step, and nothing is written but a checkpoint, from which the next run
    /// resumes. Checkpoints of a run that came to its end are removed.
    ///
    /// # Errors
    /// [`Error::Job`] as [`check`](Self::check); [`Error::Cancelled`] after a stop; errors of training, saving and
    /// scoring unchanged.
    pub async fn run(&self, spark: &Session, options: &JobOptions) -> Result<JobOutcome> {
        let job = self.job();
        let (frame, schema) = self.open(spark).await?;
        let say = &options.progress;
        say("splitting the rows");
        let rows = job.split(&frame, &schema).await?;
        let stages = job.stages(&schema)?;
        let checkpoints = self.checkpoints();
        let stage = stages.network.run_by(options.observers.clone(), &options.stop, checkpoints.clone());
        say("fitting the stages and checking the rows");
        let model = stage.after(stages.before).fit(&rows.training).await?;
        if options.stop.requested() {
            let epochs = model.network()?.model().history().epochs.len();
            let kept = match &job.checkpoints {
                Some(section) => format!("its checkpoint is in {}", self.resolve(&section.folder).display()),
                None => "it had no checkpoints".into(),
            };
            return Err(Error::Cancelled {
                what: format!("training after {epochs} epochs; nothing is written, {kept}"),
            });
        }
        let test = match &rows.test {
            Some(test) => {
                say("testing");
                Some(ModelEvaluation::of(&model, test).await?)
            }
            None => None,
        };
        let mut outcome = JobOutcome { model, test, saved: None, scored: None, files: Vec::new() };
        self.write(spark, &rows.all, options, &mut outcome).await?;
        if let Some(checkpoints) = checkpoints {
            checkpoints.clear()?;
        }
        Ok(outcome)
    }

    /// Writes what the job asks for.
    async fn write(
        &self,
        spark: &Session,
        rows: &DataFrame,
        options: &JobOptions,
        outcome: &mut JobOutcome,
    ) -> Result<()> {
        let (output, say) = (&self.job().output, &options.progress);
        if let Some(name) = &output.model {
            say("saving the model");
            let table = output.models.clone().unwrap_or_else(|| options.models.clone());
            let version = outcome.model.save(spark, &table, name).await?;
            outcome.saved = Some((name.clone(), version, table));
        }
        if let Some(table) = &output.scored {
            say("scoring all rows");
            let scored =
                outcome.model.predict_into_with(rows, table, ScoreOptions::new().mode(SaveMode::Overwrite)).await?;
            outcome.scored = Some((table.clone(), scored.rows));
        }
        if let Some(folder) = &output.files {
            let folder = self.resolve(folder);
            outcome.model.write_files(&folder)?;
            outcome.files.push(folder);
        }
        if let Some(path) = &output.onnx {
            let path = self.resolve(path);
            outcome.model.network()?.write_onnx(&path)?;
            outcome.files.push(path);
        }
        if let Some(path) = &output.report {
            let path = self.resolve(path);
            let job = self.job();
            let report = Report::new(outcome.model.network()?);
            let mut report = report.columns(&job.data.label, job.columns.keys()).profile(TableProfile::of(rows).await?);
            if let Some((name, version, table)) = &outcome.saved {
                report = report.saved_as(table, name, *version);
            }
            if let Some(test) = &outcome.test {
                report = report.evaluation(test.clone());
            }
            report.write(&path)?;
            outcome.files.push(path);
        }
        Ok(())
    }

    fn checkpoints(&self) -> Option<Checkpoints> {
        let section = self.job().checkpoints.as_ref()?;
        let mut checkpoints = Checkpoints::new(self.resolve(&section.folder));
        checkpoints = checkpoints.every_epochs(section.every_epochs).keep(section.keep);
        if let Some(steps) = section.every_steps {
            checkpoints = checkpoints.every_steps(steps);
        }
        Some(checkpoints)
    }

    /// Returns what a run would do: rows are counted and stages fitted, but no network is trained and nothing written.
    ///
    /// # Errors
    /// As [`run`](Self::run) before training.
    pub async fn plan(&self, spark: &Session) -> Result<JobPlan> {
        let job = self.job();
        let (frame, schema) = self.open(spark).await?;
        let rows = job.split(&frame, &schema).await?;
        let stages = job.stages(&schema)?;
        let names = stages.before.stages().iter().map(|stage| stage.name().to_owned()).collect();
        let prepared = stages.before.fit(&rows.training).await?.transform(&rows.training).await?;
        let look = stages.network.look(&prepared).await?;
        Ok(JobPlan {
            rows: frame.count().await?,
            training: rows.training.count().await?,
            test: match &rows.test {
                Some(test) => test.count().await?,
                None => 0,
            },
            stages: names,
            network: look.network,
            warnings: look.warnings,
        })
    }

    /// Searches the settings of the job's tune section by cross-validation, on the rows that are not for the test.
    ///
    /// # Errors
    /// [`Error::Job`] without a tune section, or for params that the network lacks; otherwise as [`run`](Self::run).
    pub async fn tune(&self, spark: &Session, options: &JobOptions) -> Result<TuningResults> {
        // Folds hold rows out by themselves.
        let job =
            Job { split: super::SplitSection { validation: 0.0, ..self.job().split.clone() }, ..self.job().clone() };
        let Some(tune) = &job.tune else {
            self.refuse(vec![(
                "tune".into(),
                "the job has no such section; it needs `params` with their values".into(),
            )])?;
            return Err(Error::param("tune", "none", "a section of the job"));
        };
        let (frame, schema) = self.open(spark).await?;
        let rows = job.split(&frame, &schema).await?;
        let stages = job.stages(&schema)?;
        (options.progress)("fitting the stages before the network");
        let prepared = stages.before.fit(&rows.training).await?.transform(&rows.training).await?;
        let candidates: Vec<ParamMap> = match tune.random {
            Some(count) => {
                let search = RandomSearch::new(count, tune.seed);
                tune.params
                    .iter()
                    .fold(search, |search, (name, values)| search.any(name, values.clone()))
                    .into_iter()
                    .collect()
            }
            None => {
                let grid = ParamGrid::new();
                tune.params
                    .iter()
                    .fold(grid, |grid, (name, values)| grid.add(name, values.clone()))
                    .into_iter()
                    .collect()
            }
        };
        (options.progress)(&format!("{} candidates by {} folds", candidates.len(), tune.folds));
        stages.network.search(&prepared, candidates, tune).await.map_err(|error| match error {
            Error::Param { name, value, legal } if tune.params.contains_key(&name) => {
                let problem = format!("expected {legal}, found {value}");
                match self.refuse(vec![(join("tune.params", &name), problem)]) {
                    Err(error) => error,
                    Ok(()) => Error::Param { name, value, legal },
                }
            }
            other => other,
        })
    }
}
