//! Predicted numbers against true ones.

use arrow::array::RecordBatch;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use spark_connect::{column::Column, functions, lit_double};

use super::{Evaluator, double, doubles, no_rows, number, rows, weight, whole};
use crate::{
    Result,
    dataframe::{DataFrame, column, function},
};

/// One metric of a [`RegressionMetrics`], by Spark's `metricName`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RegressionMetric {
    /// The root of the mean squared error.
    #[default]
    Rmse,
    /// The mean squared error.
    Mse,
    /// The coefficient of determination.
    R2,
    /// The mean absolute error.
    Mae,
    /// The variance that the predictions explain.
    Var,
}

/// Evaluates predicted numbers (`org.apache.spark.ml.evaluation.RegressionEvaluator`).
///
/// | param | default | purpose |
/// |---|---|---|
/// | `labelCol`, `predictionCol` | `label`, `prediction` | true and predicted number |
/// | `weightCol` | none | how much each row counts |
/// | `throughOrigin` | false | whether R² compares with 0 in place of the mean |
/// | `metricName` | `rmse` | the metric that [`evaluate`](Evaluator::evaluate) gives |
#[derive(Debug, Clone)]
pub struct RegressionEvaluator {
    label: String,
    prediction: String,
    weight: Option<String>,
    through_origin: bool,
    metric: RegressionMetric,
}

impl Default for RegressionEvaluator {
    fn default() -> Self {
        Self::new(RegressionMetric::default())
    }
}

impl RegressionEvaluator {
    /// Gives this metric.
    pub fn new(metric: RegressionMetric) -> Self {
        let (label, prediction) = ("label".into(), "prediction".into());
        Self { label, prediction, weight: None, through_origin: false, metric }
    }

    /// Sets the column of true numbers.
    pub fn label_col(mut self, name: impl Into<String>) -> Self {
        self.label = name.into();
        self
    }

    /// Sets the column of predicted numbers.
    pub fn prediction_col(mut self, name: impl Into<String>) -> Self {
        self.prediction = name.into();
        self
    }

    /// Sets the column of row weights.
    pub fn weight_col(mut self, name: impl Into<String>) -> Self {
        self.weight = Some(name.into());
        self
    }

    /// Sets whether R² compares with 0 in place of the mean.
    pub fn through_origin(mut self, through_origin: bool) -> Self {
        self.through_origin = through_origin;
        self
    }

    /// Returns all metrics, from one aggregate; from two when rows are weighted, since the weighted mean must be known
    /// before the squares around it are summed.
    ///
    /// # Errors
    /// As [`Evaluator::evaluate`].
    pub async fn metrics(&self, frame: &DataFrame) -> Result<RegressionMetrics> {
        let schema = frame.schema().await?;
        number(&schema, &self.label)?;
        number(&schema, &self.prediction)?;
        let weight = weight(&schema, self.weight.as_deref())?;
        let scored =
            frame.select([double(&self.label).alias("y"), double(&self.prediction).alias("p"), weight.alias("w")]);
        let (y, p, w) = (|| column("y"), || column("p"), || column("w"));
        let sum = |value: Column| functions::sum(w().mul(value));
        let squared = |value: Column| value.clone().mul(value);
        let missing =
            |value: Column| function("count_if", [value.clone().is_null().or(value.is_nan())]).cast_str("double");
        let [
            count,
            weight,
            weight_squares,
            y_sum,
            y_variance,
            p_mean,
            p_variance,
            error,
            absolute,
            origin,
            y_gone,
            p_gone,
        ] = self
            .ask(
                &scored,
                [
                    functions::count(w()).cast_str("double"),
                    functions::sum(w()),
                    functions::sum(squared(w())),
                    sum(y()),
                    function("var_pop", [y()]),
                    functions::avg(p()),
                    function("var_pop", [p()]),
                    sum(squared(y().sub(p()))),
                    sum(functions::abs(y().sub(p()))),
                    sum(squared(y())),
                    missing(y()),
                    missing(p()),
                ],
            )
            .await?;
        whole(&self.label, y_gone)?;
        whole(&self.prediction, p_gone)?;
        if count == 0.0 {
            return Err(no_rows(&self.label));
        }
        let mean = y_sum / weight;
        let (total, explained) = if self.weight.is_none() {
            (y_variance * count, (p_variance + (p_mean - mean).powi(2)) * count)
        } else {
            let around = |value: Column| sum(squared(value.sub(lit_double(mean))));
            let [y_squares, p_squares] = self.ask(&scored, [around(y()), around(p())]).await?;
            // Spark takes the unbiased variance of weighted rows, times the weight less one.
            (y_squares / (weight - weight_squares / weight) * (weight - 1.0), p_squares)
        };
        let compared = if self.through_origin { origin } else { total };
        Ok(RegressionMetrics {
            mse: error / weight,
            mae: absolute / weight,
            r2: 1.0 - error / compared,
            var: explained / weight,
        })
    }

    /// Returns all metrics of local rows; those of a frame of these rows, but for rounding.
    ///
    /// # Errors
    /// As [`Evaluator::evaluate`].
    pub fn metrics_of_rows(&self, batches: &[RecordBatch]) -> Result<RegressionMetrics> {
        let mut scored = Vec::new();
        for batch in batches {
            let [labels, predictions] = [&self.label, &self.prediction].map(|name| rows::numbers(batch, name));
            let weights = rows::weights(batch, self.weight.as_deref())?;
            scored.extend(labels?.into_iter().zip(predictions?).zip(weights).map(|((y, p), w)| [y, p, w]));
        }
        let missing = |of: fn(&[f64; 3]) -> f64| scored.iter().filter(|row| of(row).is_nan()).count() as f64;
        whole(&self.label, missing(|[y, ..]| *y))?;
        whole(&self.prediction, missing(|[_, p, _]| *p))?;
        if scored.is_empty() {
            return Err(no_rows(&self.label));
        }
        let sum = |of: &dyn Fn(&[f64; 3]) -> f64| -> f64 { scored.iter().map(of).sum() };
        let weight = sum(&|[_, _, w]| *w);
        let mean = sum(&|[y, _, w]| w * y) / weight;
        let y_squares = sum(&|[y, _, w]| w * (y - mean).powi(2));
        let (total, explained) = match &self.weight {
            None => (y_squares, sum(&|[_, p, _]| (p - mean).powi(2))),
            Some(_) => {
                let weight_squares = sum(&|[_, _, w]| w * w);
                let total = y_squares / (weight - weight_squares / weight) * (weight - 1.0);
                (total, sum(&|[_, p, w]| w * (p - mean).powi(2)))
            }
        };
        let error = sum(&|[y, p, w]| w * (y - p).powi(2));
        let compared = if self.through_origin { sum(&|[y, _, w]| w * y * y) } else { total };
        Ok(RegressionMetrics {
            mse: error / weight,
            mae: sum(&|[y, p, w]| w * (y - p).abs()) / weight,
            r2: 1.0 - error / compared,
            var: explained / weight,
        })
    }

    async fn ask<const N: usize>(&self, scored: &DataFrame, metrics: [Column; N]) -> Result<[f64; N]> {
        let named = metrics.into_iter().enumerate().map(|(i, metric)| metric.alias(&format!("f{i}")));
        let answer = scored.agg(named).collect().await?;
        let row = answer.iter().find(|batch| batch.num_rows() > 0).ok_or_else(|| no_rows(&self.label))?;
        Ok(std::array::from_fn(|i| doubles(row, i)[0]))
    }
}

impl Evaluator for RegressionEvaluator {
    fn evaluate<'a>(&'a self, frame: &'a DataFrame) -> BoxFuture<'a, Result<f64>> {
        Box::pin(async move { Ok(self.metrics(frame).await?.get(self.metric)) })
    }

    fn evaluate_rows(&self, rows: &[RecordBatch]) -> Result<f64> {
        Ok(self.metrics_of_rows(rows)?.get(self.metric))
    }

    fn is_larger_better(&self) -> bool {
        matches!(self.metric, RegressionMetric::R2 | RegressionMetric::Var)
    }
}

/// All there is to say of predicted numbers (`org.apache.spark.mllib.evaluation.RegressionMetrics`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RegressionMetrics {
    /// The mean squared error.
    pub mse: f64,
    /// The mean absolute error.
    pub mae: f64,
    /// The coefficient of determination; not finite when all true numbers are equal.
    pub r2: f64,
    /// The variance that the predictions explain.
    pub var: f64,
}

impl RegressionMetrics {
    /// Returns the root of the mean squared error.
    pub fn rmse(&self) -> f64 {
        self.mse.sqrt()
    }

    /// Returns a metric.
    pub fn get(&self, metric: RegressionMetric) -> f64 {
        match metric {
            RegressionMetric::Rmse => self.rmse(),
            RegressionMetric::Mse => self.mse,
            RegressionMetric::R2 => self.r2,
            RegressionMetric::Mae => self.mae,
            RegressionMetric::Var => self.var,
        }
    }
}
