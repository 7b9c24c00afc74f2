//! Sets of predicted classes against sets of true ones.

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use spark_connect::{column::Column, functions, lit, lit_double};

use super::{Evaluator, doubles, no_rows, whole};
use crate::{
    Error, Result,
    dataframe::{DataFrame, Schema, column, function},
    ml::feature::{NumberLayout, as_array, numbers},
};

/// One metric of a [`MultilabelMetrics`], by Spark's `metricName`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MultilabelMetric {
    /// F1 by row, averaged over rows.
    #[default]
    F1Measure,
    /// The share of rows whose sets are equal.
    SubsetAccuracy,
    /// Classes in both sets over classes in either, averaged over rows.
    Accuracy,
    /// Classes in one set only, by row and class.
    HammingLoss,
    /// The share of the predicted classes that are right, averaged over rows.
    Precision,
    /// The share of the true classes that are predicted, averaged over rows.
    Recall,
    /// The share of all predicted classes that are right.
    MicroPrecision,
    /// The share of all true classes that are predicted.
    MicroRecall,
    /// The harmonic mean of those two.
    MicroF1Measure,
}

/// Evaluates sets of classes (`org.apache.spark.ml.evaluation.MultilabelClassificationEvaluator`).
///
/// | param | default | purpose |
/// |---|---|---|
/// | `labelCol`, `predictionCol` | `label`, `prediction` | arrays of class numbers, each class at most once |
/// | `metricName` | `f1Measure` | the metric that [`evaluate`](Evaluator::evaluate) gives |
#[derive(Debug, Clone)]
pub struct MultilabelClassificationEvaluator {
    label: String,
    prediction: String,
    metric: MultilabelMetric,
}

impl Default for MultilabelClassificationEvaluator {
    fn default() -> Self {
        Self::new(MultilabelMetric::default())
    }
}

impl MultilabelClassificationEvaluator {
    /// Gives this metric.
    pub fn new(metric: MultilabelMetric) -> Self {
        Self { label: "label".into(), prediction: "prediction".into(), metric }
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

    /// Returns all metrics, from one aggregate.
    ///
    /// # Errors
    /// As [`Evaluator::evaluate`].
    pub async fn metrics(&self, frame: &DataFrame) -> Result<MultilabelMetrics> {
        let schema = frame.schema().await?;
        let [label, prediction] = [&self.label, &self.prediction].map(|name| set(&schema, name));
        let size = |of: Column| function("size", [of]).cast_str("double");
        let both = function("array_intersect", [column("l"), column("p")]);
        let sets = frame.select([label?.alias("l"), prediction?.alias("p")]);
        let counted = sets.select([
            column("l"),
            column("l").is_null().cast_str("double").alias("no_l"),
            column("p").is_null().cast_str("double").alias("no_p"),
            size(column("l")).alias("nl"),
            size(column("p")).alias("np"),
            size(both).alias("nb"),
            column("l").eq(column("p")).cast_str("double").alias("equal"),
        ]);
        let [nl, np, nb] = [|| column("nl"), || column("np"), || column("nb")];
        let share = |part: Column, of: Column| {
            functions::when(of.clone().eq(lit_double(0.0)), lit_double(0.0)).otherwise(part.div(of))
        };
        let classes = function("array_distinct", [function("flatten", [function("collect_set", [column("l")])])]);
        let metrics = counted.agg([
            functions::count(lit(1)).cast_str("double").alias("rows"),
            size(classes).alias("classes"),
            functions::sum(column("no_l")).alias("no_l"),
            functions::sum(column("no_p")).alias("no_p"),
            functions::sum(column("equal")).alias("equal"),
            functions::sum(share(nb(), nl().add(np()).sub(nb()))).alias("accuracy"),
            functions::sum(share(nb(), np())).alias("precision"),
            functions::sum(share(nb(), nl())).alias("recall"),
            functions::sum(share(lit_double(2.0).mul(nb()), nl().add(np()))).alias("f1"),
            functions::sum(nl()).alias("labels"),
            functions::sum(np()).alias("predictions"),
            functions::sum(nb()).alias("right"),
        ]);
        let answer = metrics.collect().await?;
        let row = answer.iter().find(|batch| batch.num_rows() > 0).ok_or_else(|| no_rows(&self.label))?;
        let [rows, classes, no_l, no_p, equal, accuracy, precision, recall, f1, labels, predictions, right] =
            std::array::from_fn(|i| doubles(row, i)[0]);
        if rows == 0.0 {
            return Err(no_rows(&self.label));
        }
        whole(&self.label, no_l)?;
        whole(&self.prediction, no_p)?;
        Ok(MultilabelMetrics {
            subset_accuracy: equal / rows,
            accuracy: accuracy / rows,
            hamming_loss: (labels + predictions - 2.0 * right) / rows / classes,
            precision: precision / rows,
            recall: recall / rows,
            f1: f1 / rows,
            micro_precision: right / predictions,
            micro_recall: right / labels,
        })
    }
}

fn set(schema: &Schema, name: &str) -> Result<Column> {
    let field = schema.require(name)?;
    match numbers(&field.data_type) {
        Some(kind @ NumberLayout::Array) => Ok(as_array(column(name), kind)),
        _ => Err(Error::schema(name, "an array of class numbers", field.data_type.simple_string())),
    }
}

impl Evaluator for MultilabelClassificationEvaluator {
    fn evaluate<'a>(&'a self, frame: &'a DataFrame) -> BoxFuture<'a, Result<f64>> {
        Box::pin(async move { Ok(self.metrics(frame).await?.get(self.metric)) })
    }

    fn is_larger_better(&self) -> bool {
        self.metric != MultilabelMetric::HammingLoss
    }
}

/// All there is to say of sets of classes (`org.apache.spark.mllib.evaluation.MultilabelMetrics`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MultilabelMetrics {
    /// The share of rows whose sets are equal, in the same order.
    pub subset_accuracy: f64,
    /// Classes in both sets over classes in either, averaged over rows; 0 for a row without any.
    pub accuracy: f64,
    /// Classes in one set only, by row and class that occurs.
    pub hamming_loss: f64,
    /// The share of the predicted classes that are right, averaged over rows; 0 for a row that predicts none.
    pub precision: f64,
    /// The share of the true classes that are predicted, averaged over rows; 0 for a row that has none, for which
    /// Spark has NaN.
    pub recall: f64,
    /// F1 by row, averaged over rows.
    pub f1: f64,
    /// The share of all predicted classes that are right.
    pub micro_precision: f64,
    /// The share of all true classes that are predicted.
    pub micro_recall: f64,
}

impl MultilabelMetrics {
    /// Returns a metric.
    pub fn get(&self, metric: MultilabelMetric) -> f64 {
        let (precision, recall) = (self.micro_precision, self.micro_recall);
        match metric {
            MultilabelMetric::F1Measure => self.f1,
            MultilabelMetric::SubsetAccuracy => self.subset_accuracy,
            MultilabelMetric::Accuracy => self.accuracy,
            MultilabelMetric::HammingLoss => self.hamming_loss,
            MultilabelMetric::Precision => self.precision,
            MultilabelMetric::Recall => self.recall,
            MultilabelMetric::MicroPrecision => precision,
            MultilabelMetric::MicroRecall => recall,
            MultilabelMetric::MicroF1Measure => 2.0 * precision * recall / (precision + recall),
        }
    }
}
