//! Objective of a run: a loss, its targets, and the metric.

use candle_core::Tensor;

use super::{Corruption, CrossEntropy, Loss, values};
use crate::{
    DataProblem, Error, Result,
    model::{Metric, Scaling, Task},
    tensor::{Minibatch, Targets, field::LABEL},
};

/// Targets of a minibatch's outputs.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::train) struct Target {
    /// Of each row the weight of each class, or the numbers to come close to.
    pub(in crate::train) values: Vec<f32>,
    /// The rows' weights, where they are not within the values already.
    pub(in crate::train) weights: Vec<f32>,
    /// The rows' classes, where there are any.
    pub(in crate::train) labels: Vec<u32>,
    /// Divisor of the sum of the loss.
    pub(in crate::train) weight: f64,
}

impl Target {
    /// Returns the rows from `begin` to `end` of `rows`.
    pub(in crate::train) fn part(&self, begin: usize, end: usize, rows: usize) -> Target {
        let width = self.values.len() / rows.max(1);
        let rows = |all: &[f32]| if all.is_empty() { Vec::new() } else { all[begin..end].to_vec() };
        Target {
            values: self.values[begin * width..end * width].to_vec(),
            weights: rows(&self.weights),
            labels: if self.labels.is_empty() { Vec::new() } else { self.labels[begin..end].to_vec() },
            weight: self.weight,
        }
    }
}

/// Objective of a run.
#[derive(Debug, Clone)]
pub(in crate::train) struct Objective {
    loss: Loss,
    /// Set for classes.
    classes: Option<CrossEntropy>,
    scaling: Option<Scaling>,
    of_input: bool,
    corruption: Option<(Corruption, u64)>,
    outputs: usize,
}

impl Objective {
    /// Learns classes.
    pub(in crate::train) fn classes(loss: CrossEntropy) -> Self {
        let outputs = loss.classes();
        let (scaling, of_input, corruption) = (None, false, None);
        Self { loss: Loss::CrossEntropy, classes: Some(loss), scaling, of_input, corruption, outputs }
    }

    /// Learns numbers.
    pub(in crate::train) fn values(loss: Loss, task: &Task, outputs: usize) -> Self {
        let scaling = match task {
            Task::Values { scaling, .. } => scaling.clone(),
            _ => None,
        };
        let of_input = matches!(task, Task::Input { .. });
        Self { loss, classes: None, scaling, of_input, corruption: None, outputs }
    }

    /// Corrupts inputs before they are trained on.
    pub(in crate::train) fn corrupted(self, corruption: Option<Corruption>, seed: u64) -> Self {
        Self { corruption: corruption.map(|corruption| (corruption, seed)), ..self }
    }

    pub(in crate::train) fn outputs(&self) -> usize {
        self.outputs
    }

    /// Returns whether rows are of one class each, so that there is a confusion matrix.
    pub(in crate::train) fn tells_classes(&self) -> bool {
        self.classes.is_some()
    }

    /// Returns whether sparse rows may stay sparse: their zeros are neither targets nor corrupted.
    pub(in crate::train) fn takes_sparse(&self) -> bool {
        !self.of_input && self.corruption.is_none()
    }

    pub(in crate::train) fn metric(&self) -> Metric {
        self.loss.metric(self.of_input)
    }

    /// Lays out what a minibatch's outputs are compared with; `features` are its input as it came.
    ///
    /// # Errors
    /// [`Error::Data`] for a target that single precision cannot hold.
    pub(in crate::train) fn target(&self, minibatch: &Minibatch, features: &[f32]) -> Result<Target> {
        if let Some(classes) = &self.classes {
            return Ok(classes.target(minibatch));
        }
        let values = match &minibatch.targets {
            _ if self.of_input => features.to_vec(),
            Targets::Numbers { values, width } => {
                let single = match &self.scaling {
                    Some(scaling) => scaling.apply(values),
                    None => values.iter().map(|value| *value as f32).collect(),
                };
                if let Some(at) = single.iter().position(|value: &f32| !value.is_finite()) {
                    let row = minibatch.numbers.get(at / width.max(&1)).copied().unwrap_or_default();
                    let expected = "targets within single precision, scaled if need be (scaleTargets)".to_owned();
                    let problem = DataProblem::Values { expected, found: format!("{:e}", values[at]), example: None };
                    return Err(Error::cell(LABEL, row.into(), problem));
                }
                single
            }
            Targets::None | Targets::Classes(_) => Vec::new(),
        };
        let weight = minibatch.weights.iter().map(|w| f64::from(*w)).sum::<f64>() * self.outputs as f64;
        Ok(Target { values, weights: minibatch.weights.clone(), labels: Vec::new(), weight })
    }

    /// Corrupts the input of the `index`-th minibatch of an epoch, if that is set.
    pub(in crate::train) fn corrupt(&self, features: &mut [f32], epoch: usize, index: u64) {
        if let Some((corruption, seed)) = self.corruption {
            corruption.apply(features, seed, epoch, index);
        }
    }

    /// Returns the sum of the loss on the processor; fills in the gradient of the mean, `weight` being what the sum is
    /// divided by.
    pub(in crate::train) fn learn(&self, outputs: &[f32], target: &Target, gradient: &mut [f32]) -> f64 {
        let Target { values, weights, weight, .. } = target;
        match &self.classes {
            Some(classes) => classes.learn(outputs, values, *weight, gradient),
            None => values::learn(self.loss, outputs, values, weights, (1.0 / weight) as f32, gradient),
        }
    }

    /// Returns the sum of the loss by tensor operations, a scalar. Outputs are `(rows, outputs)`.
    pub(in crate::train) fn sum(&self, outputs: &Tensor, target: &Target) -> candle_core::Result<Tensor> {
        match &self.classes {
            Some(classes) => classes.sum(outputs, &target.values),
            None => values::sum(self.loss, outputs, &target.values, &target.weights),
        }
    }

    /// Returns the metric's sum over these rows, and the number of values.
    pub(in crate::train) fn measure(&self, outputs: &[f32], target: &Target) -> (f64, f64) {
        let metric = self.metric();
        let each = outputs.iter().zip(&target.values);
        let sum = match metric {
            Metric::Accuracy => {
                let right =
                    self.predicted(outputs).zip(&target.labels).filter(|(class, label)| class == *label).count();
                return (right as f64, target.labels.len() as f64);
            }
            Metric::LabelAccuracy => each.filter(|(o, t)| (**o > 0.0) == (**t > 0.5)).count() as f64,
            Metric::Rmse | Metric::Mae => {
                let link = self.loss.link();
                let error = |(i, (o, t)): (usize, (&f32, &f32))| {
                    let scale = self.scaling.as_ref().map_or(1.0, |scaling| scaling.std[i % self.outputs]);
                    let error = scale * (link.value(f64::from(*o)) - f64::from(*t));
                    if metric == Metric::Mae { error.abs() } else { error * error }
                };
                each.enumerate().map(error).sum()
            }
        };
        (sum, outputs.len() as f64)
    }

    /// Returns the likeliest class of every row, the first of equals.
    pub(in crate::train) fn predicted<'a>(&'a self, outputs: &'a [f32]) -> impl Iterator<Item = u32> + 'a {
        let likeliest =
            |row: &[f32]| (1..row.len()).fold(0, |best, class| if row[class] > row[best] { class } else { best });
        outputs.chunks_exact(self.outputs.max(1)).map(move |row| likeliest(row) as u32)
    }
}
