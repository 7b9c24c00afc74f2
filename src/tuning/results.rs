//! Results of every candidate.

use std::{collections::BTreeSet, fmt, sync::Arc};

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};

use crate::{DataProblem, Error, Result, ml::ParamMap};

/// One candidate and its results.
#[derive(Debug, Clone, PartialEq)]
pub struct CandidateResult {
    /// The params that it had besides the estimator's own.
    pub params: ParamMap,
    /// The metric of each fold that was held out.
    pub metrics: Vec<f64>,
    /// Seconds of training, over all folds.
    pub seconds: f64,
}

impl CandidateResult {
    /// Returns the mean over the folds.
    pub fn mean(&self) -> f64 {
        self.metrics.iter().sum::<f64>() / self.metrics.len() as f64
    }

    /// Returns the sample standard deviation over the folds, 0 of one fold.
    pub fn std(&self) -> f64 {
        let (mean, n) = (self.mean(), self.metrics.len());
        if n < 2 {
            return 0.0;
        }
        let squares: f64 = self.metrics.iter().map(|metric| (metric - mean).powi(2)).sum();
        (squares / (n - 1) as f64).sqrt()
    }
}

/// Results of all candidates, as a table too.
#[derive(Debug, Clone, PartialEq)]
pub struct TuningResults {
    /// The candidates, in the order they were given.
    pub tried: Vec<CandidateResult>,
    /// Which is the best.
    pub best: usize,
    /// True if a larger metric is better.
    pub larger_is_better: bool,
}

impl TuningResults {
    /// Finds the best: that of the best mean, the first of several; metrics that are no numbers are the worst.
    ///
    /// # Errors
    /// [`Error::Data`] when no candidate has a metric.
    pub(super) fn new(tried: Vec<CandidateResult>, larger_is_better: bool) -> Result<Self> {
        let score = |tried: &CandidateResult| if larger_is_better { tried.mean() } else { -tried.mean() };
        let places = tried.iter().enumerate().filter(|(_, tried)| !tried.mean().is_nan());
        let best = places.reduce(|best, next| if score(next.1) > score(best.1) { next } else { best });
        let Some((best, _)) = best else {
            return Err(Error::rows(DataProblem::NoMetric { candidates: tried.len() }));
        };
        Ok(Self { tried, best, larger_is_better })
    }

    /// Returns the best candidate.
    pub fn best(&self) -> &CandidateResult {
        &self.tried[self.best]
    }

    /// Returns the names of all params that were tried.
    fn params(&self) -> BTreeSet<&str> {
        self.tried.iter().flat_map(|tried| tried.params.iter().map(|(name, _)| name)).collect()
    }

    fn folds(&self) -> usize {
        self.tried.first().map_or(0, |tried| tried.metrics.len())
    }

    /// Returns the names of the columns, and a row of texts for each candidate.
    fn cells(&self) -> (Vec<String>, Vec<Vec<String>>) {
        let params = self.params();
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let folds: Vec<String> = (0..self.folds()).map(|fold| format!("fold_{fold}")).collect();
        let names = [
            params.iter().map(|name| (*name).to_owned()).collect(),
            own(&["mean", "std"]),
            folds,
            own(&["seconds", "best"]),
        ];
        let row = |(place, tried): (usize, &CandidateResult)| {
            let mut row: Vec<String> = params.iter().map(|name| text(tried, name).unwrap_or_default()).collect();
            row.extend([tried.mean(), tried.std()].iter().chain(&tried.metrics).map(|x| x.to_string()));
            row.extend([format!("{:.3}", tried.seconds), (place == self.best).to_string()]);
            row
        };
        (names.concat(), self.tried.iter().enumerate().map(row).collect())
    }

    /// Returns a row for each candidate: its number, every param as text (null where it was the estimator's own),
    /// `mean`, `std`, `fold_0` … of the metric, `seconds`, and whether it is the `best`.
    ///
    /// # Errors
    /// [`Error::Arrow`] when the rows cannot be put together.
    pub fn to_record_batch(&self) -> Result<RecordBatch> {
        let doubles = |of: &dyn Fn(&CandidateResult) -> f64| -> ArrayRef {
            Arc::new(Float64Array::from_iter_values(self.tried.iter().map(of)))
        };
        let mut columns: Vec<(String, ArrayRef, bool)> = Vec::new();
        let numbers = Int64Array::from_iter_values(0..self.tried.len() as i64);
        columns.push(("candidate".into(), Arc::new(numbers), false));
        for name in self.params() {
            let values = StringArray::from_iter(self.tried.iter().map(|tried| text(tried, name)));
            columns.push((name.to_owned(), Arc::new(values), true));
        }
        columns.push(("mean".into(), doubles(&CandidateResult::mean), false));
        columns.push(("std".into(), doubles(&CandidateResult::std), false));
        for fold in 0..self.folds() {
            columns.push((format!("fold_{fold}"), doubles(&|tried| tried.metrics[fold]), false));
        }
        columns.push(("seconds".into(), doubles(&|tried| tried.seconds), false));
        let best = BooleanArray::from_iter((0..self.tried.len()).map(|place| Some(place == self.best)));
        columns.push(("best".into(), Arc::new(best), false));
        let fail = |e| Error::arrow("the results as rows", e);
        RecordBatch::try_from_iter_with_nullable(columns).map_err(fail)
    }

    /// Returns the rows as text: a line of names, then one for each candidate. Cells with commas or quotes are quoted.
    pub fn to_csv(&self) -> String {
        let quoted = |cell: &String| match cell.contains([',', '"', '\n']) {
            true => format!("\"{}\"", cell.replace('"', "\"\"")),
            false => cell.clone(),
        };
        let line = |cells: &Vec<String>| cells.iter().map(quoted).collect::<Vec<_>>().join(",") + "\n";
        let (names, rows) = self.cells();
        line(&names) + &rows.iter().map(line).collect::<String>()
    }
}

/// Returns a param's value in a cell.
fn text(tried: &CandidateResult, name: &str) -> Option<String> {
    let value = tried.params.get(name)?;
    Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

/// A table; the best candidate has a star.
impl fmt::Display for TuningResults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let params = self.params();
        let mut lines: Vec<Vec<String>> = vec![params.iter().map(|name| (*name).to_owned()).collect()];
        lines[0].extend(["mean", "std", "seconds", ""].map(str::to_owned));
        for (place, tried) in self.tried.iter().enumerate() {
            let mut line: Vec<String> = params.iter().map(|name| text(tried, name).unwrap_or_default()).collect();
            line.extend([
                format!("{:.5}", tried.mean()),
                format!("{:.5}", tried.std()),
                format!("{:.2}", tried.seconds),
            ]);
            line.push(if place == self.best { "*".into() } else { String::new() });
            lines.push(line);
        }
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
        let row = |line: &Vec<String>| {
            let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:>width$}")).collect();
            cells.join("  ").trim_end().to_owned()
        };
        f.write_str(&lines.iter().map(row).collect::<Vec<_>>().join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(larger_is_better: bool) -> TuningResults {
        let tried =
            |params: ParamMap, metrics: [f64; 2]| CandidateResult { params, metrics: metrics.into(), seconds: 1.25 };
        let all = vec![
            tried(ParamMap::new().with("stepSize", 0.1), [f64::NAN, 1.0]),
            tried(ParamMap::new().with("stepSize", 0.01).with("kind", "a,b"), [0.5, 0.7]),
            tried(ParamMap::new().with("stepSize", 0.001), [0.75, 0.25]),
        ];
        TuningResults::new(all, larger_is_better).unwrap()
    }

    #[test]
    fn the_best_mean_wins_and_what_is_no_number_loses() {
        assert_eq!((results(true).best, results(false).best), (1, 2));
        let nothing = CandidateResult { params: ParamMap::new(), metrics: vec![f64::NAN], seconds: 0.0 };
        assert!(TuningResults::new(vec![nothing], true).is_err());
    }

    #[test]
    fn results_are_a_table() {
        let results = results(true);
        let batch = results.to_record_batch().unwrap();
        let names: Vec<String> = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
        assert_eq!(names, ["candidate", "kind", "stepSize", "mean", "std", "fold_0", "fold_1", "seconds", "best"]);
        assert_eq!((batch.num_rows(), batch.column(1).null_count()), (3, 2));
        let csv = results.to_csv();
        let third = csv.lines().nth(2).unwrap();
        assert!(third.starts_with("\"a,b\",0.01,0.6,0.1414") && third.ends_with(",0.5,0.7,1.250,true"), "{third}");
        let expected = "\
kind  stepSize     mean      std  seconds
           0.1      NaN      NaN     1.25
 a,b      0.01  0.60000  0.14142     1.25  *
         0.001  0.50000  0.35355     1.25";
        assert_eq!(results.to_string(), expected);
    }
}
