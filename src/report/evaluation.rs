//! A model on rows whose labels are known.

use std::collections::BTreeMap;

use arrow::{
    array::{Array, AsArray, RecordBatch},
    compute::cast,
    datatypes::{DataType, Float64Type},
};
use futures::TryStreamExt;

use super::curves::ClassCurves;
use crate::{
    Error, Result,
    dataframe::DataFrame,
    ml::{
        PipelineModel,
        evaluation::{ClassMetrics, MulticlassMetric, MulticlassMetrics},
    },
    model::Task,
};

/// Rows whose probabilities are kept for curves; all rows are counted.
const MOST_SCORES: usize = 1_000_000;

/// Classes up to which each has its own curve.
const MOST_CURVES: usize = 12;

/// Bins of the calibration.
const BINS: usize = 10;

/// Rows that the model is least sure of, or most wrong about, that are kept.
const EXAMPLES: usize = 20;

/// A model measured on rows that it was not trained on.
///
/// ```no_run
/// # async fn run(spark: tinderbox::session::Session, model: tinderbox::prelude::PipelineModel) -> tinderbox::Result<()> {
/// let evaluation = tinderbox::report::ModelEvaluation::of(&model, &spark.table("held_out")).await?;
/// println!("{:.1} % of {} rows", 100.0 * evaluation.metrics["accuracy"], evaluation.rows);
/// # Ok(()) }
/// ```
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq)]
pub struct ModelEvaluation {
    /// Rows that were scored.
    pub rows: u64,
    /// Rows without a label or a prediction; not counted in anything else.
    pub unusable: u64,
    /// Metrics by name. Classes: `accuracy`, `f1`, `precision`, `recall`, `log_loss`, and for two classes `auc_roc` and
    /// `auc_pr`. Numbers: `rmse`, `mae`, `r2`. Labels: `label_accuracy`.
    pub metrics: BTreeMap<String, f64>,
    /// Details, by kind of task.
    pub details: EvaluationDetails,
    /// Rows worth a look: the most mistaken first.
    pub examples: Vec<ScoredExample>,
}

/// Details of an evaluation.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq)]
pub enum EvaluationDetails {
    /// Of classes.
    Classes {
        /// The classes' names.
        names: Vec<String>,
        /// Rows by true class, then by predicted class.
        confusion: Vec<Vec<u64>>,
        /// Precision and recall of each class that occurs.
        classes: Vec<ClassMetrics>,
        /// Curves by class; none for more than 12 classes.
        curves: Vec<ClassCurves>,
        /// Share of right predictions, by their probability.
        calibration: Vec<CalibrationBin>,
    },
    /// Of numbers: pairs of true and predicted values, of at most 2,000 rows evenly chosen.
    Numbers {
        /// True value and prediction.
        points: Vec<(f64, f64)>,
    },
    /// Of labels.
    Labels {
        /// Each label's name, rows that have it, rows that are predicted to have it, rows with both.
        labels: Vec<(String, u64, u64, u64)>,
    },
}

/// Rows whose prediction has a probability in one range.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct CalibrationBin {
    /// Number of rows.
    pub rows: u64,
    /// Their mean probability.
    pub confidence: f64,
    /// The share of them that is right.
    pub accuracy: f64,
}

/// A row and its prediction.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredExample {
    /// The true label.
    pub truth: String,
    /// The prediction.
    pub prediction: String,
    /// Probability of the prediction for classes, error for numbers.
    pub score: f64,
    /// Columns and their values as text.
    pub values: Vec<(String, String)>,
}

impl ModelEvaluation {
    /// Scores a frame locally and compares with its label column. The frame needs the columns that the model was
    /// trained on, the label's among them.
    ///
    /// Rows stream; memory is bounded but for 4 bytes per row and class of the first million rows.
    ///
    /// # Errors
    /// [`Error::Param`] for a pipeline without a network that has labels; [`Error::Schema`] for columns that are
    /// missing; otherwise as [`PipelineModel::predict`].
    pub async fn of(model: &PipelineModel, frame: &DataFrame) -> Result<Self> {
        let network = model.network()?;
        let outputs = &network.prediction().outputs;
        let label = network.model().columns().label.clone();
        if outputs.prediction.is_empty() {
            return Err(Error::param("predictionCol", "an empty name", "named: it is compared with the label"));
        }
        let mut tally = Tally::new(network.model().task());
        let mut rows = model.predict(frame).await?;
        while let Some(batch) = rows.try_next().await? {
            tally.add(&batch, &label, &outputs.prediction, &outputs.probability)?;
        }
        Ok(tally.finish())
    }
}

/// Counts so far.
struct Tally<'a> {
    task: &'a Task,
    rows: u64,
    unusable: u64,
    confusion: Vec<Vec<u64>>,
    /// Class of each row that is kept, and probabilities of all classes.
    truths: Vec<u32>,
    scores: Vec<f32>,
    log_loss: f64,
    bins: [(u64, f64, u64); BINS],
    points: Points,
    /// Sums over targets: squares and sizes of errors, values, squares of values.
    sums: [f64; 4],
    labels: Vec<(u64, u64, u64)>,
    right_labels: u64,
    examples: Vec<(f64, ScoredExample)>,
}

/// An even choice of points: every n-th, n doubling when there are too many.
struct Points {
    kept: Vec<(f64, f64)>,
    every: usize,
    seen: usize,
}

impl Points {
    const MOST: usize = 2_000;

    fn add(&mut self, point: (f64, f64)) {
        if self.seen.is_multiple_of(self.every) {
            self.kept.push(point);
        }
        self.seen += 1;
        if self.kept.len() > Self::MOST {
            let mut place = 0;
            self.kept.retain(|_| {
                place += 1;
                place % 2 == 1
            });
            self.every *= 2;
        }
    }
}

impl<'a> Tally<'a> {
    fn new(task: &'a Task) -> Self {
        let classes = task.names().len();
        Self {
            task,
            rows: 0,
            unusable: 0,
            confusion: vec![vec![0; classes]; classes],
            truths: Vec::new(),
            scores: Vec::new(),
            log_loss: 0.0,
            bins: [(0, 0.0, 0); BINS],
            points: Points { kept: Vec::new(), every: 1, seen: 0 },
            sums: [0.0; 4],
            labels: vec![(0, 0, 0); classes],
            right_labels: 0,
            examples: Vec::new(),
        }
    }

    fn add(&mut self, batch: &RecordBatch, label: &str, prediction: &str, probability: &str) -> Result<()> {
        self.rows += batch.num_rows() as u64;
        match self.task {
            Task::Classes { .. } => self.classes(batch, label, prediction, probability),
            Task::Values { names, .. } if names.len() == 1 => self.values(batch, label, prediction),
            Task::Values { .. } | Task::Input { .. } => Ok(()),
            Task::Labels { .. } => self.labels(batch, label, prediction),
        }
    }

    fn classes(&mut self, batch: &RecordBatch, label: &str, prediction: &str, probability: &str) -> Result<()> {
        let truth = doubles(batch, label)?;
        let predicted = doubles(batch, prediction)?;
        let (truth, predicted) = (truth.as_primitive::<Float64Type>(), predicted.as_primitive::<Float64Type>());
        let names = self.task.names();
        let classes = names.len();
        let lists = batch.column_by_name(probability).and_then(|column| column.as_list_opt::<i32>().cloned());
        for row in 0..batch.num_rows() {
            let class = |value: f64| (value >= 0.0 && value < classes as f64).then_some(value as usize);
            let both = truth.is_valid(row) && predicted.is_valid(row);
            let pair = both.then(|| Some((class(truth.value(row))?, class(predicted.value(row))?))).flatten();
            let Some((true_class, given)) = pair else {
                self.unusable += 1;
                continue;
            };
            self.confusion[true_class][given] += 1;
            let Some(lists) = lists.as_ref().filter(|lists| lists.is_valid(row)) else { continue };
            let list = lists.value(row);
            let Some(list) = list.as_primitive_opt::<Float64Type>().filter(|list| list.len() == classes) else {
                continue;
            };
            let probabilities = list.values();
            self.log_loss -= probabilities[true_class].max(1e-15).ln();
            let confidence = probabilities[given];
            let bin = ((confidence * BINS as f64) as usize).min(BINS - 1);
            let (rows, sum, right) = &mut self.bins[bin];
            *rows += 1;
            *sum += confidence;
            *right += u64::from(true_class == given);
            if self.truths.len() < MOST_SCORES && classes <= MOST_CURVES {
                self.truths.push(true_class as u32);
                self.scores.extend(probabilities.iter().map(|value| *value as f32));
            }
            // Wrong and sure of it comes first, right and unsure after it, right and sure never.
            let merit = if true_class == given { 1.0 - confidence } else { 1.0 + confidence };
            self.example(merit, || ScoredExample {
                truth: names[true_class].clone(),
                prediction: names[given].clone(),
                score: confidence,
                values: values(batch, row),
            });
        }
        Ok(())
    }

    fn values(&mut self, batch: &RecordBatch, label: &str, prediction: &str) -> Result<()> {
        let (truth, predicted) = (doubles(batch, label)?, doubles(batch, prediction)?);
        let (truth, predicted) = (truth.as_primitive::<Float64Type>(), predicted.as_primitive::<Float64Type>());
        for row in 0..batch.num_rows() {
            let (true_value, given) = (truth.value(row), predicted.value(row));
            if truth.is_null(row) || predicted.is_null(row) || !true_value.is_finite() || !given.is_finite() {
                self.unusable += 1;
                continue;
            }
            let error = given - true_value;
            for (sum, value) in
                self.sums.iter_mut().zip([error * error, error.abs(), true_value, true_value * true_value])
            {
                *sum += value;
            }
            self.points.add((true_value, given));
            self.example(error.abs(), || ScoredExample {
                truth: format!("{true_value}"),
                prediction: format!("{given:.6}"),
                score: error,
                values: values(batch, row),
            });
        }
        Ok(())
    }

    fn labels(&mut self, batch: &RecordBatch, label: &str, prediction: &str) -> Result<()> {
        let list = |name: &str| -> Result<_> {
            let column = require(batch, name)?;
            let wanted = DataType::new_list(DataType::Float64, true);
            let column = cast(column, &wanted).map_err(|e| Error::arrow(format!("column `{name}` as numbers"), e))?;
            Ok(column.as_list::<i32>().clone())
        };
        let (truth, predicted) = (list(label)?, list(prediction)?);
        for row in 0..batch.num_rows() {
            if truth.is_null(row) || predicted.is_null(row) {
                self.unusable += 1;
                continue;
            }
            let (truth, predicted) = (truth.value(row), predicted.value(row));
            let pairs = truth.as_primitive::<Float64Type>().iter().zip(predicted.as_primitive::<Float64Type>().iter());
            for ((has, given, both), (truth, predicted)) in self.labels.iter_mut().zip(pairs) {
                let (truth, predicted) = (truth.unwrap_or(0.0) > 0.5, predicted.unwrap_or(0.0) > 0.5);
                *has += u64::from(truth);
                *given += u64::from(predicted);
                *both += u64::from(truth && predicted);
                self.right_labels += u64::from(truth == predicted);
            }
        }
        Ok(())
    }

    /// Keeps a row if it is among those most worth a look.
    fn example(&mut self, merit: f64, example: impl FnOnce() -> ScoredExample) {
        if self.examples.len() == EXAMPLES && self.examples.last().is_some_and(|(least, _)| *least >= merit) {
            return;
        }
        let place = self.examples.partition_point(|(known, _)| *known >= merit);
        self.examples.insert(place, (merit, example()));
        self.examples.truncate(EXAMPLES);
    }

    fn finish(self) -> ModelEvaluation {
        let mut metrics = BTreeMap::new();
        let mut set = |name: &str, value: f64| _ = metrics.insert(name.to_owned(), value);
        let used = (self.rows - self.unusable).max(1) as f64;
        let details = match self.task {
            Task::Classes { names } => {
                let curves = self.curves(names);
                let metrics = MulticlassMetrics::of_counts(&self.confusion, self.log_loss);
                for (name, metric) in [
                    ("accuracy", MulticlassMetric::Accuracy),
                    ("precision", MulticlassMetric::WeightedPrecision),
                    ("recall", MulticlassMetric::WeightedRecall),
                    ("f1", MulticlassMetric::F1),
                    ("log_loss", MulticlassMetric::LogLoss),
                ] {
                    set(name, metrics.get(metric));
                }
                if let ([_, positive], 2) = (curves.as_slice(), names.len()) {
                    set("auc_roc", positive.auc);
                    set("auc_pr", positive.average_precision);
                }
                let calibration = self.bins.iter().map(|(rows, sum, right)| CalibrationBin {
                    rows: *rows,
                    confidence: sum / (*rows).max(1) as f64,
                    accuracy: *right as f64 / (*rows).max(1) as f64,
                });
                EvaluationDetails::Classes {
                    names: names.clone(),
                    calibration: calibration.collect(),
                    curves,
                    classes: metrics.classes().to_vec(),
                    confusion: self.confusion,
                }
            }
            Task::Labels { names } => {
                set("label_accuracy", self.right_labels as f64 / (used * names.len().max(1) as f64));
                let counts = names.iter().zip(&self.labels);
                let labels = counts.map(|(name, (has, given, both))| (name.clone(), *has, *given, *both)).collect();
                EvaluationDetails::Labels { labels }
            }
            _ => {
                let [squares, sizes, sum, square_sum] = self.sums;
                set("rmse", (squares / used).sqrt());
                set("mae", sizes / used);
                let spread = square_sum - sum * sum / used;
                set("r2", if spread > 0.0 { 1.0 - squares / spread } else { f64::NAN });
                EvaluationDetails::Numbers { points: self.points.kept }
            }
        };
        let examples = self.examples.into_iter().map(|(_, example)| example).collect();
        ModelEvaluation { rows: self.rows, unusable: self.unusable, metrics, details, examples }
    }

    fn curves(&self, names: &[String]) -> Vec<ClassCurves> {
        let classes = names.len();
        if self.truths.is_empty() || classes > MOST_CURVES {
            return Vec::new();
        }
        let curve = |class: usize| {
            let scores: Vec<f32> = self.scores.chunks_exact(classes).map(|row| row[class]).collect();
            let positive: Vec<bool> = self.truths.iter().map(|truth| *truth as usize == class).collect();
            ClassCurves::of(names[class].clone(), &scores, &positive)
        };
        (0..classes).map(curve).collect()
    }
}

fn require<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a arrow::array::ArrayRef> {
    batch.column_by_name(name).ok_or_else(|| {
        let schema = batch.schema();
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        Error::schema(name, "a column of this name", format!("columns {}", names.join(", ")))
    })
}

fn doubles(batch: &RecordBatch, name: &str) -> Result<arrow::array::ArrayRef> {
    let column = require(batch, name)?;
    cast(column, &DataType::Float64).map_err(|e| Error::arrow(format!("column `{name}` as numbers"), e))
}

/// Returns the columns of a row that people read: text, numbers, times; none that stages made.
fn values(batch: &RecordBatch, row: usize) -> Vec<(String, String)> {
    const LONGEST: usize = 60;
    let schema = batch.schema();
    let shown = schema.fields().iter().zip(batch.columns()).filter(|(field, _)| {
        let data_type = field.data_type();
        let plain = data_type.is_primitive() || matches!(data_type, DataType::Utf8 | DataType::Boolean);
        let made = ["prediction", "predictedLabel", "rawPrediction", "probability"].contains(&field.name().as_str());
        plain && !made && !field.name().contains("__")
    });
    let text = |(field, column): (&arrow::datatypes::FieldRef, &arrow::array::ArrayRef)| {
        let value = arrow::util::display::array_value_to_string(column, row).unwrap_or_default();
        let mut short: String = value.chars().take(LONGEST).collect();
        if value.chars().nth(LONGEST).is_some() {
            short.push('…');
        }
        (field.name().clone(), short)
    };
    shown.map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_an_even_choice() {
        let mut points = Points { kept: Vec::new(), every: 1, seen: 0 };
        (0..10_000).for_each(|place| points.add((f64::from(place), 0.0)));
        assert!(points.kept.len() <= Points::MOST && points.kept.len() > Points::MOST / 3);
        let steps: Vec<f64> = points.kept.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
        assert!(steps.windows(2).all(|pair| pair[0] == pair[1]), "{steps:?}");
    }
}
