//! Scores against two classes.

use arrow::array::RecordBatch;
use futures::{TryStreamExt, future::BoxFuture};
use serde::{Deserialize, Serialize};
use spark_connect::{column::Column, functions, lit, lit_double};

use super::{Evaluator, double, doubles, no_rows, number, rows, weight, whole};
use crate::{
    DataProblem, Error, Result,
    dataframe::{DataFrame, Schema, column, function},
    ml::feature::{NumberLayout, as_array, numbers},
};

/// Points that a kept curve has at most, about; the areas come from all points.
const CURVE_POINTS: usize = 1000;

/// One metric of a [`BinaryMetrics`], by Spark's `metricName`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum BinaryMetric {
    /// The area under the curve of true- over false-positive rate.
    #[default]
    #[serde(rename = "areaUnderROC")]
    AreaUnderRoc,
    /// The area under the curve of precision over recall.
    #[serde(rename = "areaUnderPR")]
    AreaUnderPr,
}

/// Evaluates scores of two classes (`org.apache.spark.ml.evaluation.BinaryClassificationEvaluator`).
///
/// | param | default | purpose |
/// |---|---|---|
/// | `labelCol` | `label` | more than 0.5 is the positive class |
/// | `rawPredictionCol` | `rawPrediction` | a vector or array, of which the second element is the score; or the score |
/// | `weightCol` | none | how much each row counts |
/// | `metricName` | `areaUnderROC` | the metric that [`evaluate`](Evaluator::evaluate) gives |
///
/// The areas are exact: each distinct score is a point, as with Spark's `numBins` at 0.
#[derive(Debug, Clone)]
pub struct BinaryClassificationEvaluator {
    label: String,
    score: String,
    weight: Option<String>,
    metric: BinaryMetric,
}

impl Default for BinaryClassificationEvaluator {
    fn default() -> Self {
        Self::new(BinaryMetric::default())
    }
}

impl BinaryClassificationEvaluator {
    /// Gives this metric.
    pub fn new(metric: BinaryMetric) -> Self {
        Self { label: "label".into(), score: "rawPrediction".into(), weight: None, metric }
    }

    /// Sets the column of true classes.
    pub fn label_col(mut self, name: impl Into<String>) -> Self {
        self.label = name.into();
        self
    }

    /// Sets the column of scores, or of vectors of both classes' scores.
    pub fn raw_prediction_col(mut self, name: impl Into<String>) -> Self {
        self.score = name.into();
        self
    }

    /// Sets the column of row weights.
    pub fn weight_col(mut self, name: impl Into<String>) -> Self {
        self.weight = Some(name.into());
        self
    }

    /// Returns both areas and curves, from one aggregate: rows grouped by score. The groups stream in the order of
    /// their scores; memory does not grow with their number.
    ///
    /// # Errors
    /// As [`Evaluator::evaluate`].
    pub async fn metrics(&self, frame: &DataFrame) -> Result<BinaryMetrics> {
        let schema = frame.schema().await?;
        number(&schema, &self.label)?;
        let weight = weight(&schema, self.weight.as_deref())?;
        let positive = functions::when(double(&self.label).gt(lit_double(0.5)), lit_double(1.0));
        let positive = positive.otherwise(lit_double(0.0));
        let unlabelled = function("isnull", [double(&self.label)]).or(double(&self.label).is_nan());
        let scored = frame.select([
            self.score(&schema)?.alias("score"),
            positive.alias("positive"),
            weight.alias("w"),
            unlabelled.cast_str("double").alias("unlabelled"),
        ]);
        let groups = scored.group_by(["score"]).agg([
            functions::sum(column("w").mul(column("positive"))).alias("positives"),
            functions::sum(column("w").mul(lit_double(1.0).sub(column("positive")))).alias("negatives"),
            functions::sum(column("unlabelled")).alias("unlabelled"),
            functions::count(lit(1)).cast_str("double").alias("rows"),
        ]);
        let mut groups = groups.order_by([column("score").desc()]).stream().await?;
        let mut counts = Vec::new();
        while let Some(batch) = groups.try_next().await? {
            let [scores, positives, negatives, unlabelled, rows] = [0, 1, 2, 3, 4].map(|i| doubles(&batch, i));
            for (i, &score) in scores.iter().enumerate() {
                whole(&self.score, if score.is_nan() { rows[i] } else { 0.0 })?;
                whole(&self.label, unlabelled[i])?;
                counts.push(Count { score, positives: positives[i], negatives: negatives[i] });
            }
        }
        self.metrics_of(&counts)
    }

    /// Returns all metrics of local rows; the same as those of a frame of these rows.
    ///
    /// # Errors
    /// As [`Evaluator::evaluate`].
    pub fn metrics_of_rows(&self, batches: &[RecordBatch]) -> Result<BinaryMetrics> {
        let mut scored = Vec::new();
        for batch in batches {
            let labels = rows::numbers(batch, &self.label)?;
            let weights = rows::weights(batch, self.weight.as_deref())?;
            let scores = match rows::is_list(batch, &self.score)? {
                true => rows::picked(batch, &self.score, |_| 1)?,
                false => rows::numbers(batch, &self.score)?,
            };
            for ((label, score), weight) in labels.into_iter().zip(scores).zip(weights) {
                whole(&self.score, f64::from(u8::from(score.is_nan())))?;
                whole(&self.label, f64::from(u8::from(label.is_nan())))?;
                let positive = if label > 0.5 { weight } else { 0.0 };
                scored.push(Count { score, positives: positive, negatives: weight - positive });
            }
        }
        scored.sort_by(|a, b| b.score.total_cmp(&a.score));
        let mut counts: Vec<Count> = Vec::new();
        for count in scored {
            match counts.last_mut() {
                Some(last) if last.score == count.score => {
                    last.positives += count.positives;
                    last.negatives += count.negatives;
                }
                _ => counts.push(count),
            }
        }
        self.metrics_of(&counts)
    }

    /// Returns the metrics of counts by falling score.
    fn metrics_of(&self, counts: &[Count]) -> Result<BinaryMetrics> {
        match BinaryMetrics::new(counts) {
            Some(metrics) => Ok(metrics),
            None if counts.is_empty() => Err(no_rows(&self.label)),
            None => Err(Error::data(&self.label, DataProblem::OneClass { class: None })),
        }
    }

    fn metric(&self, metrics: &BinaryMetrics) -> f64 {
        match self.metric {
            BinaryMetric::AreaUnderRoc => metrics.area_under_roc,
            BinaryMetric::AreaUnderPr => metrics.area_under_pr,
        }
    }

    fn score(&self, schema: &Schema) -> Result<Column> {
        let field = schema.require(&self.score)?;
        match numbers(&field.data_type) {
            Some(NumberLayout::Whole | NumberLayout::Real) => Ok(double(&self.score)),
            Some(kind) => Ok(function("get", [as_array(column(&self.score), kind), lit(1)])),
            None => {
                Err(Error::schema(&self.score, "scores: numbers, or vectors of two", field.data_type.simple_string()))
            }
        }
    }
}

impl Evaluator for BinaryClassificationEvaluator {
    fn evaluate<'a>(&'a self, frame: &'a DataFrame) -> BoxFuture<'a, Result<f64>> {
        Box::pin(async move { Ok(self.metric(&self.metrics(frame).await?)) })
    }

    fn evaluate_rows(&self, rows: &[RecordBatch]) -> Result<f64> {
        Ok(self.metric(&self.metrics_of_rows(rows)?))
    }

    fn is_larger_better(&self) -> bool {
        true
    }
}

/// Rows of one score.
#[derive(Debug, Clone, Copy)]
struct Count {
    score: f64,
    positives: f64,
    negatives: f64,
}

impl Count {
    /// Returns the share of positive rows; none when no row counts.
    fn precision(&self) -> Option<f64> {
        let all = self.positives + self.negatives;
        (all > 0.0).then(|| self.positives / all)
    }
}

/// A point of both curves: the rates for one threshold on the score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CurvePoint {
    /// Rows with this score or more count as positive.
    pub threshold: f64,
    /// The share of the negative rows that count as positive.
    pub false_positive_rate: f64,
    /// The share of the positive rows that count as positive: the recall.
    pub true_positive_rate: f64,
    /// The share of positive rows among those that count as such.
    pub precision: f64,
}

/// All there is to say of scores (`org.apache.spark.mllib.evaluation.BinaryClassificationMetrics`).
#[derive(Debug, Clone, PartialEq)]
pub struct BinaryMetrics {
    /// The area under the curve of true- over false-positive rate, by trapezia.
    pub area_under_roc: f64,
    /// The area under the curve of precision over recall, by trapezia, from recall 0 at the first point's precision as
    /// Spark has it.
    pub area_under_pr: f64,
    /// Both curves, thresholds falling; thinned to about 1,000 points when there are more.
    pub curve: Vec<CurvePoint>,
}

impl BinaryMetrics {
    /// Scores must fall. None without rows of both classes.
    fn new(counts: &[Count]) -> Option<Self> {
        let (positives, negatives) =
            counts.iter().fold((0.0, 0.0), |(p, n), count| (p + count.positives, n + count.negatives));
        if positives == 0.0 || negatives == 0.0 {
            return None;
        }
        let (mut above, mut area_under_roc, mut area_under_pr) = ((0.0, 0.0), 0.0, 0.0);
        let mut before = CurvePoint {
            threshold: f64::INFINITY,
            false_positive_rate: 0.0,
            true_positive_rate: 0.0,
            precision: counts.iter().find_map(Count::precision).unwrap_or(1.0),
        };
        let every = counts.len().div_ceil(CURVE_POINTS);
        let mut curve = Vec::with_capacity(counts.len().div_ceil(every));
        for (i, count) in counts.iter().enumerate() {
            above = (above.0 + count.positives, above.1 + count.negatives);
            let point = CurvePoint {
                threshold: count.score,
                false_positive_rate: above.1 / negatives,
                true_positive_rate: above.0 / positives,
                precision: if above.0 + above.1 == 0.0 { 1.0 } else { above.0 / (above.0 + above.1) },
            };
            let recalled = point.true_positive_rate - before.true_positive_rate;
            let taken = point.false_positive_rate - before.false_positive_rate;
            area_under_roc += taken * (point.true_positive_rate + before.true_positive_rate) / 2.0;
            area_under_pr += recalled * (point.precision + before.precision) / 2.0;
            if (i + 1) % every == 0 || i + 1 == counts.len() {
                curve.push(point);
            }
            before = point;
        }
        Some(Self { area_under_roc, area_under_pr, curve })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(rows: &[(f64, f64, f64)]) -> Vec<Count> {
        rows.iter().map(|&(score, positives, negatives)| Count { score, positives, negatives }).collect()
    }

    #[test]
    fn a_perfect_order_has_area_1_and_a_reversed_one_0() {
        let perfect = BinaryMetrics::new(&counts(&[(0.9, 2.0, 0.0), (0.1, 0.0, 3.0)])).unwrap();
        assert_eq!((perfect.area_under_roc, perfect.area_under_pr), (1.0, 1.0));
        let reversed = BinaryMetrics::new(&counts(&[(0.9, 0.0, 3.0), (0.1, 2.0, 0.0)])).unwrap();
        assert_eq!(reversed.area_under_roc, 0.0);
        let tied = BinaryMetrics::new(&counts(&[(0.5, 2.0, 3.0)])).unwrap();
        assert_eq!((tied.area_under_roc, tied.curve.len()), (0.5, 1));
        assert!(BinaryMetrics::new(&counts(&[(0.5, 2.0, 0.0)])).is_none());
    }

    #[test]
    fn a_long_curve_is_thinned_and_its_area_is_not() {
        let rows: Vec<_> =
            (0..5_000).map(|i| (f64::from(5_000 - i), f64::from(i % 2), f64::from((i + 1) % 2))).collect();
        let metrics = BinaryMetrics::new(&counts(&rows)).unwrap();
        assert_eq!(metrics.curve.len(), 1000);
        assert_eq!(metrics.curve.last().unwrap().true_positive_rate, 1.0);
        assert!((metrics.area_under_roc - 0.5).abs() < 1e-3, "{}", metrics.area_under_roc);
    }
}
