//! Estimators that find the best params of another.

use std::{any::Any, sync::Arc};

use futures::future::BoxFuture;

use super::{TuningResults, folds::Folding, search::ParamSearch};
use crate::{
    Result,
    dataframe::{DataFrame, Schema},
    estimator::{NeuralModel, Tunable},
    ml::{Estimator, Model, ParamMap, evaluation::Evaluator},
};

/// The best model, trained on all rows, and the results of every candidate.
#[derive(Debug, Clone, PartialEq)]
pub struct Tuned {
    /// The model.
    pub model: NeuralModel,
    /// All candidates' metrics.
    pub results: TuningResults,
}

/// Told the results when a tuner is a stage of a pipeline.
type ReportFn = Arc<dyn Fn(&TuningResults) + Send + Sync>;

/// Evaluates every candidate on each of several folds that it was not trained on
/// (`org.apache.spark.ml.tuning.CrossValidator`).
///
/// | param | default | purpose |
/// |---|---|---|
/// | `numFolds` | 3 | how many folds |
/// | `seed` | 42 | decides which row is in which fold; equal rows part, and the same rows in another order give the same folds |
/// | `foldCol` | none | a column of whole numbers from 0 that says it instead |
///
/// The pre-flight counts the rows once, before; then they are read once. Candidates may differ in any param but the
/// columns that are read and the devices.
#[derive(Clone)]
pub struct CrossValidator<E> {
    search: ParamSearch<E>,
    report: Option<ReportFn>,
}

/// Evaluates every candidate on one part of the rows that it was not trained on
/// (`org.apache.spark.ml.tuning.TrainValidationSplit`).
///
/// | param | default | purpose |
/// |---|---|---|
/// | `trainRatio` | 0.75 | share of the rows to train on |
/// | `seed` | 42 | decides which rows, as for the CrossValidator |
#[derive(Clone)]
pub struct TrainValidationSplit<E> {
    search: ParamSearch<E>,
    report: Option<ReportFn>,
}

impl<E: Tunable> CrossValidator<E> {
    /// Tries candidates, which may be a [`ParamGrid`](super::ParamGrid) or a [`RandomSearch`](super::RandomSearch).
    pub fn new(
        estimator: E,
        candidates: impl IntoIterator<Item = ParamMap>,
        evaluator: impl Evaluator + 'static,
    ) -> Self {
        let folding = Folding::Folds { count: 3, by: None, seed: 42 };
        Self { search: ParamSearch::new(estimator, candidates, evaluator, folding), report: None }
    }

    /// Sets the number of folds, from 2 to 1000.
    pub fn num_folds(mut self, folds: usize) -> Self {
        if let Folding::Folds { count, .. } = &mut self.search.folding {
            *count = folds;
        }
        self
    }

    /// Decides which row is in which fold.
    pub fn seed(mut self, value: i64) -> Self {
        if let Folding::Folds { seed, .. } = &mut self.search.folding {
            *seed = value;
        }
        self
    }

    /// Names a column of whole numbers from 0 to below the number of folds.
    pub fn fold_col(mut self, name: impl Into<String>) -> Self {
        if let Folding::Folds { by, .. } = &mut self.search.folding {
            *by = Some(name.into());
        }
        self
    }
}

impl<E: Tunable> TrainValidationSplit<E> {
    /// Tries candidates, which may be a [`ParamGrid`](super::ParamGrid) or a [`RandomSearch`](super::RandomSearch).
    pub fn new(
        estimator: E,
        candidates: impl IntoIterator<Item = ParamMap>,
        evaluator: impl Evaluator + 'static,
    ) -> Self {
        let folding = Folding::Share { train: 0.75, seed: 42 };
        Self { search: ParamSearch::new(estimator, candidates, evaluator, folding), report: None }
    }

    /// Sets the share of the rows to train on, above 0 and below 1.
    pub fn train_ratio(mut self, ratio: f64) -> Self {
        if let Folding::Share { train, .. } = &mut self.search.folding {
            *train = ratio;
        }
        self
    }

    /// Decides which rows.
    pub fn seed(mut self, value: i64) -> Self {
        if let Folding::Share { seed, .. } = &mut self.search.folding {
            *seed = value;
        }
        self
    }
}

/// Common methods of both.
macro_rules! tuner {
    ($tuner:ident) => {
        impl<E: Tunable> $tuner<E> {
            /// Tells the results to this when it is a stage of a pipeline, whose fitted stage is the best model alone.
            pub fn report(mut self, report: impl Fn(&TuningResults) + Send + Sync + 'static) -> Self {
                self.report = Some(Arc::new(report));
                self
            }

            /// Tries all candidates on the rows of a frame.
            ///
            /// Dropping the future stops all of it, and frees what was kept of the rows.
            ///
            /// # Errors
            /// [`Error::Param`](crate::Error::Param) for a candidate or a param that cannot work, before any work;
            /// [`Error::Data`](crate::Error::Data) for a fold without rows; as the estimator's own fit, and as
            /// [`Evaluator::evaluate_rows`], of the first candidate that fails.
            pub async fn fit_frame(&self, frame: &DataFrame) -> Result<Tuned> {
                let (model, results) = self.search.run(frame).await?;
                if let Some(report) = &self.report {
                    report(&results);
                }
                Ok(Tuned { model, results })
            }
        }

        impl<E: Tunable> Estimator for $tuner<E> {
            fn fit<'a>(&'a self, frame: &'a DataFrame) -> BoxFuture<'a, Result<Box<dyn Model>>> {
                Box::pin(async { Ok(Box::new(self.fit_frame(frame).await?.model) as Box<dyn Model>) })
            }

            fn transform_schema(&self, schema: &Schema) -> Result<Schema> {
                self.search.check()?;
                self.search.estimator.transform_schema(schema)
            }

            fn as_any(&self) -> &dyn Any {
                self
            }
        }

        impl<E: std::fmt::Debug> std::fmt::Debug for $tuner<E> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($tuner)).field("search", &self.search).finish_non_exhaustive()
            }
        }
    };
}

tuner!(CrossValidator);
tuner!(TrainValidationSplit);
