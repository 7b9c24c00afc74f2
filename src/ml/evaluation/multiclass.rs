//! Predicted classes against true ones.

use std::collections::HashMap;

use arrow::array::RecordBatch;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use spark_connect::{column::Column, functions, lit, lit_double};

use super::{Evaluator, double, doubles, no_rows, number, rows, weight, whole};
use crate::{
    Error, Result,
    dataframe::{DataFrame, Schema, column, function},
    ml::feature::{NumberLayout, as_array, numbers},
};

/// Probabilities are kept this far from 0 and 1 in the log-loss, Spark's default.
const EPS: f64 = 1e-15;

/// One metric of a [`MulticlassMetrics`], by Spark's `metricName`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MulticlassMetric {
    /// The F1 of every class, averaged by how often the class occurs.
    #[default]
    F1,
    /// The share of rows that are right.
    Accuracy,
    /// Precision averaged by how often the class occurs.
    WeightedPrecision,
    /// Recall averaged by how often the class occurs; equal to the accuracy.
    WeightedRecall,
    /// The false-positive rate averaged by how often the class occurs.
    WeightedFalsePositiveRate,
    /// The mean of `-ln p` of the true class; needs `probabilityCol`.
    LogLoss,
    /// The share of rows that are wrong.
    HammingLoss,
}

/// Evaluates predicted classes (`org.apache.spark.ml.evaluation.MulticlassClassificationEvaluator`).
///
/// | param | default | purpose |
/// |---|---|---|
/// | `labelCol`, `predictionCol` | `label`, `prediction` | true and predicted class, numbers |
/// | `probabilityCol` | none | a vector or array of every class's probability, for the log-loss |
/// | `weightCol` | none | weight of each row |
/// | `metricName` | `f1` | the metric that [`evaluate`](Evaluator::evaluate) gives |
#[derive(Debug, Clone)]
pub struct MulticlassClassificationEvaluator {
    label: String,
    prediction: String,
    probability: Option<String>,
    weight: Option<String>,
    metric: MulticlassMetric,
}

impl Default for MulticlassClassificationEvaluator {
    fn default() -> Self {
        let (label, prediction) = ("label".into(), "prediction".into());
        Self { label, prediction, probability: None, weight: None, metric: MulticlassMetric::default() }
    }
}

impl MulticlassClassificationEvaluator {
    /// Gives this metric.
    pub fn new(metric: MulticlassMetric) -> Self {
        let probability = (metric == MulticlassMetric::LogLoss).then(|| "probability".into());
        Self { metric, probability, ..Self::default() }
    }

    /// Sets the column of true classes.
    pub fn label_col(mut self, name: impl Into<String>) -> Self {
        self.label = name.into();
        self
    }

    /// Sets the column of predicted classes.
    pub fn prediction_col(mut self, name: impl Into<String>) -> Self {
        self.prediction = name.into();
        self
    }

    /// Names the column of every class's probability.
    pub fn probability_col(mut self, name: impl Into<String>) -> Self {
        self.probability = Some(name.into());
        self
    }

    /// Sets the column of row weights.
    pub fn weight_col(mut self, name: impl Into<String>) -> Self {
        self.weight = Some(name.into());
        self
    }

    /// Returns all metrics, from one aggregate: rows grouped by true and predicted class.
    ///
    /// # Errors
    /// As [`Evaluator::evaluate`].
    pub async fn metrics(&self, frame: &DataFrame) -> Result<MulticlassMetrics> {
        let schema = frame.schema().await?;
        number(&schema, &self.label)?;
        number(&schema, &self.prediction)?;
        let weight = weight(&schema, self.weight.as_deref())?;
        let loss = self.loss(&schema)?;
        let scored = frame.select([
            double(&self.label).alias("l"),
            double(&self.prediction).alias("p"),
            weight.alias("w"),
            loss,
        ]);
        let cells = scored.group_by(["l", "p"]).agg([
            functions::sum(column("w")).alias("weight"),
            functions::sum(column("w").mul(column("loss"))).alias("loss"),
            functions::count(lit(1)).cast_str("double").alias("rows"),
        ]);
        let mut found = Vec::new();
        for batch in cells.collect().await? {
            let [labels, predictions, weights, losses, rows] = [0, 1, 2, 3, 4].map(|i| doubles(&batch, i));
            for (i, weight) in weights.into_iter().enumerate() {
                whole(&self.label, if labels[i].is_nan() { rows[i] } else { 0.0 })?;
                whole(&self.prediction, if predictions[i].is_nan() { rows[i] } else { 0.0 })?;
                found.push(Cell { label: labels[i], prediction: predictions[i], weight, loss: losses[i] });
            }
        }
        if found.is_empty() {
            return Err(no_rows(&self.label));
        }
        Ok(MulticlassMetrics::new(found))
    }

    /// Returns all metrics of local rows; the same as those of a frame of these rows.
    ///
    /// # Errors
    /// As [`Evaluator::evaluate`].
    pub fn metrics_of_rows(&self, batches: &[RecordBatch]) -> Result<MulticlassMetrics> {
        let mut cells: HashMap<[u64; 2], Cell> = HashMap::new();
        for batch in batches {
            let [labels, predictions] = [&self.label, &self.prediction].map(|name| rows::numbers(batch, name));
            let (labels, predictions) = (labels?, predictions?);
            let weights = rows::weights(batch, self.weight.as_deref())?;
            let probabilities = match &self.probability {
                Some(name) => rows::picked(batch, name, |row| labels[row] as usize)?,
                None => vec![1.0; labels.len()],
            };
            for (row, (&label, &prediction)) in labels.iter().zip(&predictions).enumerate() {
                whole(&self.label, f64::from(u8::from(label.is_nan())))?;
                whole(&self.prediction, f64::from(u8::from(prediction.is_nan())))?;
                let cell = cells.entry([label, prediction].map(f64::to_bits));
                let cell = cell.or_insert(Cell { label, prediction, weight: 0.0, loss: 0.0 });
                cell.weight += weights[row];
                if self.probability.is_some() {
                    cell.loss -= weights[row] * probabilities[row].clamp(EPS, 1.0 - EPS).ln();
                }
            }
        }
        if cells.is_empty() {
            return Err(no_rows(&self.label));
        }
        Ok(MulticlassMetrics::new(cells.into_values().collect()))
    }

    /// Refuses the log-loss without probabilities.
    fn check(&self) -> Result<()> {
        if self.metric == MulticlassMetric::LogLoss && self.probability.is_none() {
            return Err(Error::param("probabilityCol", "none", "a column of probabilities, for the log-loss"));
        }
        Ok(())
    }

    /// `-ln p` of the true class.
    fn loss(&self, schema: &Schema) -> Result<Column> {
        let Some(name) = &self.probability else { return Ok(lit_double(0.0).alias("loss")) };
        let field = schema.require(name)?;
        let kind = match numbers(&field.data_type) {
            Some(kind @ (NumberLayout::Vector | NumberLayout::Array)) => kind,
            _ => {
                return Err(Error::schema(name, "a vector or array of probabilities", field.data_type.simple_string()));
            }
        };
        let probability = function("get", [as_array(column(name), kind), double(&self.label).cast_str("int")]);
        // Spark's `least` ignores a missing probability.
        let missing = probability.clone().is_null().or(probability.clone().is_nan());
        let kept = function("greatest", [function("least", [probability, lit_double(1.0 - EPS)]), lit_double(EPS)]);
        let kept = functions::when(missing, lit_double(f64::NAN)).otherwise(kept);
        Ok(function("negative", [functions::ln(kept)]).alias("loss"))
    }
}

impl Evaluator for MulticlassClassificationEvaluator {
    fn evaluate<'a>(&'a self, frame: &'a DataFrame) -> BoxFuture<'a, Result<f64>> {
        Box::pin(async move {
            self.check()?;
            Ok(self.metrics(frame).await?.get(self.metric))
        })
    }

    fn evaluate_rows(&self, rows: &[RecordBatch]) -> Result<f64> {
        self.check()?;
        Ok(self.metrics_of_rows(rows)?.get(self.metric))
    }

    fn is_larger_better(&self) -> bool {
        use MulticlassMetric::{HammingLoss, LogLoss, WeightedFalsePositiveRate};
        !matches!(self.metric, WeightedFalsePositiveRate | LogLoss | HammingLoss)
    }
}

/// Rows of one true class that were given one predicted class.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Cell {
    label: f64,
    prediction: f64,
    weight: f64,
    loss: f64,
}

/// All there is to say of predicted classes (`org.apache.spark.mllib.evaluation.MulticlassMetrics`).
#[derive(Debug, Clone, PartialEq)]
pub struct MulticlassMetrics {
    classes: Vec<ClassMetrics>,
    cells: Vec<Cell>,
    total: f64,
}

/// One true class.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClassMetrics {
    /// The class.
    pub label: f64,
    /// The weight of its rows.
    pub support: f64,
    /// The share of the rows given this class that have it; 0 when there is none.
    pub precision: f64,
    /// The share of its rows that were given it.
    pub recall: f64,
    /// The share of the other rows that were given it; NaN when there is no other row.
    pub false_positive_rate: f64,
}

impl ClassMetrics {
    /// Returns the harmonic mean of precision and recall; 0 when both are.
    pub fn f1(&self) -> f64 {
        let sum = self.precision + self.recall;
        if sum == 0.0 { 0.0 } else { 2.0 * self.precision * self.recall / sum }
    }
}

impl MulticlassMetrics {
    /// Returns the metrics of rows counted by true class, then by predicted class; `loss` is the sum of their log-losses.
    #[cfg(feature = "job")]
    pub(crate) fn of_counts(counts: &[Vec<u64>], loss: f64) -> Self {
        let cell = |(label, prediction, rows): (usize, usize, u64)| Cell {
            label: label as f64,
            prediction: prediction as f64,
            weight: rows as f64,
            loss: 0.0,
        };
        let rows = counts.iter().enumerate();
        let cells =
            rows.flat_map(|(label, row)| row.iter().enumerate().map(move |(given, rows)| (label, given, *rows)));
        let mut cells: Vec<Cell> = cells.filter(|(.., rows)| *rows > 0).map(cell).collect();
        // The mean is over all rows, whichever cell has the sum.
        if let Some(first) = cells.first_mut() {
            first.loss = loss;
        }
        Self::new(cells)
    }

    fn new(mut cells: Vec<Cell>) -> Self {
        cells.sort_by(|a, b| a.label.total_cmp(&b.label).then(a.prediction.total_cmp(&b.prediction)));
        let total: f64 = cells.iter().map(|cell| cell.weight).sum();
        let mut labels: Vec<f64> = cells.iter().map(|cell| cell.label).collect();
        labels.dedup();
        let sum = |fits: &dyn Fn(&Cell) -> bool| -> f64 { cells.iter().filter(|c| fits(c)).map(|c| c.weight).sum() };
        let class = |&label: &f64| {
            let support = sum(&|c| c.label == label);
            let given = sum(&|c| c.prediction == label);
            let right = sum(&|c| c.label == label && c.prediction == label);
            ClassMetrics {
                label,
                support,
                precision: if given == 0.0 { 0.0 } else { right / given },
                recall: right / support,
                false_positive_rate: (given - right) / (total - support),
            }
        };
        let classes = labels.iter().map(class).collect();
        Self { classes, cells, total }
    }

    /// Returns the true classes that occur, ascending.
    pub fn classes(&self) -> &[ClassMetrics] {
        &self.classes
    }

    /// Returns the weight of the rows of a true class that were given a predicted class.
    pub fn confusion(&self, label: f64, prediction: f64) -> f64 {
        self.cells.iter().filter(|c| c.label == label && c.prediction == prediction).map(|c| c.weight).sum()
    }

    /// Returns a metric. The log-loss is 0 when the evaluator had no `probabilityCol`, and NaN when a row has no
    /// probability for its class.
    pub fn get(&self, metric: MulticlassMetric) -> f64 {
        let averaged = |metric: &dyn Fn(&ClassMetrics) -> f64| -> f64 {
            self.classes.iter().map(|class| metric(class) * class.support / self.total).sum()
        };
        let accuracy = || averaged(&|class| class.recall);
        match metric {
            MulticlassMetric::F1 => averaged(&ClassMetrics::f1),
            MulticlassMetric::Accuracy | MulticlassMetric::WeightedRecall => accuracy(),
            MulticlassMetric::WeightedPrecision => averaged(&|class| class.precision),
            MulticlassMetric::WeightedFalsePositiveRate => averaged(&|class| class.false_positive_rate),
            MulticlassMetric::LogLoss => self.cells.iter().map(|cell| cell.loss).sum::<f64>() / self.total,
            MulticlassMetric::HammingLoss => 1.0 - accuracy(),
        }
    }

    /// Returns a table of every class's metrics, with the classes' names where there are any.
    pub fn report(&self, names: &[String]) -> String {
        let name = |label: f64| names.get(label as usize).cloned().unwrap_or_else(|| label.to_string());
        let width = self.classes.iter().map(|class| name(class.label).chars().count()).max().unwrap_or(0).max(8);
        let mut text = format!("{:<width$}  precision  recall     f1   support", "class");
        let line = |name: &str, precision: f64, recall: f64, f1: f64, support: f64| {
            format!("\n{name:<width$}  {precision:>9.3}  {recall:>6.3}  {f1:>5.3}  {support:>8}")
        };
        for class in &self.classes {
            text += &line(&name(class.label), class.precision, class.recall, class.f1(), class.support);
        }
        let [precision, recall, f1] =
            [MulticlassMetric::WeightedPrecision, MulticlassMetric::WeightedRecall, MulticlassMetric::F1]
                .map(|metric| self.get(metric));
        text + &line("weighted", precision, recall, f1, self.total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(label: f64, prediction: f64, weight: f64) -> Cell {
        Cell { label, prediction, weight, loss: 0.0 }
    }

    #[test]
    fn a_class_that_is_never_predicted_has_precision_0() {
        let metrics = MulticlassMetrics::new(vec![cell(1.0, 0.0, 2.0), cell(0.0, 0.0, 2.0)]);
        let [zero, one] = metrics.classes() else { panic!("two classes") };
        assert_eq!((zero.precision, zero.recall, zero.false_positive_rate), (0.5, 1.0, 1.0));
        assert_eq!((one.precision, one.recall, one.f1()), (0.0, 0.0, 0.0));
        assert_eq!(metrics.get(MulticlassMetric::Accuracy), 0.5);
        assert_eq!(metrics.confusion(1.0, 0.0), 2.0);
    }

    #[cfg(feature = "job")]
    #[test]
    fn metrics_of_counts_are_means_over_rows() {
        let metrics = MulticlassMetrics::of_counts(&[vec![3, 0, 0], vec![1, 1, 0], vec![0; 3]], 2.5);
        assert_eq!((metrics.get(MulticlassMetric::Accuracy), metrics.get(MulticlassMetric::LogLoss)), (0.8, 0.5));
        assert!((metrics.get(MulticlassMetric::WeightedPrecision) - (0.6 * 0.75 + 0.4)).abs() < 1e-12);
        assert_eq!(metrics.classes().len(), 2);
    }

    #[test]
    fn the_report_is_a_table_with_names() {
        let metrics = MulticlassMetrics::new(vec![cell(0.0, 0.0, 3.0), cell(1.0, 1.0, 1.0), cell(1.0, 0.0, 1.0)]);
        let expected = "\
class     precision  recall     f1   support
größe         0.750   1.000  0.857         3
1             1.000   0.500  0.667         2
weighted      0.850   0.800  0.781         5";
        assert_eq!(metrics.report(&["größe".into()]), expected);
    }
}
