//! The way from candidates to the best of them.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use arrow::array::RecordBatch;
use futures::{StreamExt, TryStreamExt, future::BoxFuture, stream};

use super::{
    CandidateResult, TuningResults,
    folds::{FoldedRows, Folding},
};
use crate::{
    DataProblem, Error, Result,
    dataframe::DataFrame,
    estimator::{NeuralModel, PreparedTraining, Tunable},
    ml::{ParamMap, evaluation::Evaluator},
    nn::Devices,
    stream::{Cache, RecordSource},
};

/// The candidate, the fold that was held out, the metric for it, and the seconds that it took.
type Attempt = (usize, i32, f64, f64);

/// A search: the estimator, its candidates, and their evaluator.
#[derive(Debug, Clone)]
pub(super) struct ParamSearch<E> {
    pub(super) estimator: E,
    pub(super) candidates: Vec<ParamMap>,
    pub(super) evaluator: Arc<dyn Evaluator>,
    pub(super) folding: Folding,
}

/// Params that say which columns are read: they are the same for all candidates.
const SHARED: [&str; 4] = ["featuresCol", "weightCol", "validationIndicatorCol", "devices"];

impl<E: Tunable> ParamSearch<E> {
    pub(super) fn new(
        estimator: E,
        candidates: impl IntoIterator<Item = ParamMap>,
        evaluator: impl Evaluator + 'static,
        folding: Folding,
    ) -> Self {
        Self { estimator, candidates: candidates.into_iter().collect(), evaluator: Arc::new(evaluator), folding }
    }

    /// Checks all candidates before any work.
    pub(super) fn check(&self) -> Result<Vec<E>> {
        self.folding.check()?;
        if self.candidates.is_empty() {
            return Err(Error::param("candidates", "none", "at least one"));
        }
        let candidate = |params: &ParamMap| {
            if let Some((name, value)) = params.iter().find(|(name, _)| SHARED.contains(name)) {
                return Err(Error::param(name, value, "the estimator's own: rows are read once for all candidates"));
            }
            self.estimator.copy(params)
        };
        self.candidates.iter().map(candidate).collect()
    }

    /// Reads the rows, evaluates all candidates, and trains the best on all rows.
    pub(super) async fn run(&self, frame: &DataFrame) -> Result<(NeuralModel, TuningResults)> {
        let candidates = self.check()?;
        let folding = self.folding.clone();
        let fold = Box::new(move |schema: &_, used: &[&_]| folding.column(schema, used).map(Some));
        // Candidates read the same columns; one that scales its targets asks for more than one that does not.
        let asking = candidates.iter().find(|candidate| candidate.scales()).unwrap_or(&self.estimator);
        let prepared = asking.prepare(frame, fold).await?;
        let rows = self.read(&prepared).await?;
        let devices = self.estimator.devices().each()?;
        let at_once = devices.len().max(1);
        let free = Mutex::new(devices);
        let mut jobs: Vec<BoxFuture<'_, Result<Attempt>>> = Vec::new();
        for (candidate, estimator) in candidates.iter().enumerate() {
            for fold in self.folding.held_out() {
                let (prepared, rows, free) = (&prepared, &rows, &free);
                jobs.push(Box::pin(async move {
                    let lock = || free.lock().unwrap_or_else(PoisonError::into_inner);
                    let device = lock().pop().unwrap_or_default();
                    let found = self.attempt(estimator, prepared, rows, fold, &device).await;
                    lock().push(device);
                    found.map(|(metric, seconds)| (candidate, fold, metric, seconds))
                }));
            }
        }
        let mut found: Vec<Attempt> = stream::iter(jobs).buffer_unordered(at_once).try_collect().await?;
        found.sort_by_key(|(i, fold, ..)| (*i, *fold));
        let of = |(i, params): (usize, &ParamMap)| {
            let own = || found.iter().filter(move |(candidate, ..)| *candidate == i);
            let metrics = own().map(|(_, _, metric, _)| *metric).collect();
            CandidateResult { params: params.clone(), metrics, seconds: own().map(|(.., seconds)| seconds).sum() }
        };
        let tried = self.candidates.iter().enumerate().map(of).collect();
        let results = TuningResults::new(tried, self.evaluator.is_larger_better())?;
        let (all, count) = rows.all();
        let model = candidates[results.best].learn(&prepared, &all, count).await?;
        Ok((model, results))
    }

    /// Returns the one read of the rows.
    async fn read(&self, prepared: &PreparedTraining) -> Result<FoldedRows> {
        let (options, cache) = self.estimator.reading();
        let source = prepared.frame.source_with(options);
        let mut rows = source.open(0).await?;
        let mut cache = Cache::new(cache);
        while let Some(batch) = rows.next().await.transpose()? {
            if batch.num_rows() == 0 {
                continue;
            }
            // It may write to the disk.
            let pushed = tokio::task::spawn_blocking(move || cache.push(batch).map(|()| cache)).await;
            cache = pushed.map_err(|e| Error::tensor("keeping rows", e))??;
        }
        drop(rows);
        source.close().await?;
        let rows = cache.finish()?;
        if rows.rows() != prepared.report.rows {
            let (expected, found) = (prepared.report.rows, rows.rows());
            return Err(Error::RowsLost { step: "reading the folds".into(), expected, found });
        }
        if rows.rows() == 0 {
            return Err(Error::rows(DataProblem::NoRows));
        }
        FoldedRows::new(rows, &self.folding)
    }

    /// Trains without a fold and evaluates the predictions for it; returns the seconds too.
    async fn attempt(
        &self,
        candidate: &E,
        prepared: &PreparedTraining,
        rows: &FoldedRows,
        fold: i32,
        device: &Devices,
    ) -> Result<(f64, f64)> {
        let start = Instant::now();
        let candidate = candidate.copy(&ParamMap::new().with("devices", device.to_string()))?;
        let (rest, count) = rows.without(fold);
        let model = candidate.learn(prepared, &rest, count).await?;
        let held_out = rows.only(fold).open(0).await?;
        let mut predicted = model.model().predict(held_out, model.prediction())?;
        let mut judged = Vec::new();
        while let Some(batch) = predicted.next().await.transpose()? {
            judged.push(without(&batch, &prepared.columns.features)?);
        }
        Ok((self.evaluator.evaluate_rows(&judged)?, start.elapsed().as_secs_f64()))
    }
}

/// Features are large, and evaluators do not read them.
fn without(batch: &RecordBatch, features: &[String]) -> Result<RecordBatch> {
    let schema = batch.schema();
    let others = schema.fields().iter().enumerate().filter(|(_, field)| !features.contains(field.name()));
    let others: Vec<usize> = others.map(|(place, _)| place).collect();
    batch.project(&others).map_err(|e| Error::arrow("leaving out the features", e))
}
