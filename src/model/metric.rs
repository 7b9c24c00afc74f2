//! metric: how often a classifier is right, what it takes for what, how far values are off.

use serde::{Deserialize, Serialize};

/// A metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// The share of rows whose likeliest class is the right one.
    #[default]
    Accuracy,
    /// The share of labels told right, over all rows and all labels (1 - the Hamming loss).
    LabelAccuracy,
    /// The root of the mean squared error, in the targets' own units.
    Rmse,
    /// The mean absolute error, in the targets' own units.
    Mae,
}

impl Metric {
    /// Returns its name in tables and plots.
    pub fn name(self) -> &'static str {
        match self {
            Metric::Accuracy => "accuracy",
            Metric::LabelAccuracy => "label_accuracy",
            Metric::Rmse => "rmse",
            Metric::Mae => "mae",
        }
    }

    /// Returns the best value there is.
    pub fn best(self) -> f64 {
        if self.is_share() { 1.0 } else { 0.0 }
    }

    /// Returns whether it is a share of 1, and the higher the better.
    pub fn is_share(self) -> bool {
        matches!(self, Metric::Accuracy | Metric::LabelAccuracy)
    }

    /// Returns a value for people: shares in percent.
    pub fn show(self, value: f64) -> String {
        if self.is_share() { format!("{:.1} %", 100.0 * value) } else { format!("{value:.4}") }
    }

    /// Returns the metric from its sum over `count` values.
    pub(crate) fn of(self, sum: f64, count: f64) -> f64 {
        let mean = sum / count.max(1.0);
        if self == Metric::Rmse { mean.sqrt() } else { mean }
    }
}

/// Counts of rows by true class (first index) and predicted class (second index).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConfusionMatrix(Vec<Vec<u64>>);

impl ConfusionMatrix {
    /// Creates a matrix of so many classes, without rows.
    pub fn new(classes: usize) -> Self {
        Self(vec![vec![0; classes]; classes])
    }

    /// Counts one row.
    ///
    /// # Panics
    /// When a class is out of range.
    pub fn count(&mut self, truth: usize, predicted: usize) {
        self.0[truth][predicted] += 1;
    }

    /// Returns one line per true class.
    pub fn counts(&self) -> &[Vec<u64>] {
        &self.0
    }

    /// Returns the number of counted rows.
    pub fn rows(&self) -> u64 {
        self.0.iter().flatten().sum()
    }

    /// Returns the share of rows on the diagonal; NaN without rows.
    pub fn accuracy(&self) -> f64 {
        let right: u64 = self.0.iter().enumerate().map(|(class, line)| line[class]).sum();
        right as f64 / self.rows() as f64
    }

    /// Lays the matrix out as text, a line per true class, with the classes' names.
    pub fn table(&self, names: &[String]) -> String {
        let name = |class: usize| names.get(class).cloned().unwrap_or_else(|| class.to_string());
        let corner = "true \\ predicted";
        let label = (0..self.0.len()).map(|c| name(c).chars().count()).max().unwrap_or(0).max(corner.len());
        let mut text = format!("{corner:<label$}");
        let widths: Vec<usize> = (0..self.0.len())
            .map(|c| {
                self.0.iter().map(|line| line[c].to_string().len()).max().unwrap_or(0).max(name(c).chars().count())
            })
            .collect();
        for (class, width) in widths.iter().enumerate() {
            text += &format!("  {:>width$}", name(class));
        }
        for (class, line) in self.0.iter().enumerate() {
            text += &format!("\n{:<label$}", name(class));
            for (count, width) in line.iter().zip(&widths) {
                text += &format!("  {count:>width$}");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accuracy_is_the_share_on_the_diagonal() {
        let mut matrix = ConfusionMatrix::new(2);
        assert!(matrix.accuracy().is_nan());
        for (truth, predicted) in [(0, 0), (0, 1), (1, 1), (1, 1)] {
            matrix.count(truth, predicted);
        }
        assert_eq!((matrix.rows(), matrix.accuracy()), (4, 0.75));
        assert_eq!(
            matrix.table(&["cat".into(), "wolverine".into()]),
            "true \\ predicted  cat  wolverine\ncat                 1          1\nwolverine           0          2"
        );
    }
}
