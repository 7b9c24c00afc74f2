//! Cross-entropy from logits.

use candle_core::{D, Tensor};
use serde::{Deserialize, Serialize};

use super::Target;
use crate::{Error, Result, nn::cross_entropy, tensor::Minibatch};

/// Weight of each class in the loss.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "job", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ClassWeights {
    /// All classes alike.
    #[default]
    None,
    /// Inverse to each class's frequency, as counted before or else among the training rows: `rows / (classes ×
    /// count)`.
    Balanced,
    /// One weight per class, each finite and at least 0.
    Given(Vec<f64>),
}

impl ClassWeights {
    pub(in crate::train) fn check(&self) -> Result<()> {
        match self {
            ClassWeights::Given(weights) => match weights.iter().find(|w| !(w.is_finite() && **w >= 0.0)) {
                Some(bad) => Err(Error::param("class_weights", bad, "finite numbers of at least 0")),
                None => Ok(()),
            },
            ClassWeights::None | ClassWeights::Balanced => Ok(()),
        }
    }

    /// Returns one weight per class, from how often each occurs.
    pub(in crate::train) fn resolve(&self, counts: &[u64]) -> Result<Vec<f32>> {
        let rows: u64 = counts.iter().sum();
        match self {
            ClassWeights::None => Ok(vec![1.0; counts.len()]),
            ClassWeights::Balanced => {
                let share =
                    |count: u64| if count == 0 { 0.0 } else { rows as f64 / (counts.len() as f64 * count as f64) };
                Ok(counts.iter().map(|&count| share(count) as f32).collect())
            }
            ClassWeights::Given(weights) if weights.len() == counts.len() => {
                Ok(weights.iter().map(|w| *w as f32).collect())
            }
            ClassWeights::Given(weights) => Err(Error::param(
                "class_weights",
                format!("{weights:?}"),
                format!("{} numbers, one per class", counts.len()),
            )),
        }
    }
}

/// Softmax cross-entropy from logits with class weights, row weights and label smoothing.
///
/// For rows `i` with label `y`, row weight `w` and class weights `c`, the mean over a minibatch is `Σ wᵢ [(1 - ε) c_yᵢ
/// nll(i, yᵢ) + ε/K Σₖ cₖ nll(i, k)] / Σ wᵢ c_yᵢ`, as PyTorch's `cross_entropy` has it.
#[derive(Debug, Clone)]
pub struct CrossEntropy {
    class_weights: Vec<f32>,
    smoothing: f32,
}

impl CrossEntropy {
    /// Creates one weight per class; `smoothing` is in `[0, 1)`.
    pub fn new(class_weights: Vec<f32>, smoothing: f64) -> Self {
        Self { class_weights, smoothing: smoothing as f32 }
    }

    pub(super) fn classes(&self) -> usize {
        self.class_weights.len()
    }

    /// Lays out a minibatch's target: the weight of each row's negative log-likelihood in each class, and `Σ wᵢ c_yᵢ`
    /// as the divisor of the loss. Labels must be below the number of classes.
    pub(super) fn target(&self, minibatch: &Minibatch) -> Target {
        let classes = self.class_weights.len();
        let mut values = vec![0.0; minibatch.rows() * classes];
        let mut weight = 0.0;
        let rows = minibatch.classes().iter().zip(&minibatch.weights).zip(values.chunks_exact_mut(classes));
        for ((&label, &row_weight), line) in rows {
            let label = label as usize;
            if self.smoothing > 0.0 {
                let share = row_weight * self.smoothing / classes as f32;
                line.iter_mut().zip(&self.class_weights).for_each(|(v, c)| *v = share * c);
            }
            line[label] += row_weight * (1.0 - self.smoothing) * self.class_weights[label];
            weight += f64::from(row_weight * self.class_weights[label]);
        }
        Target { values, weights: Vec::new(), labels: minibatch.classes().to_vec(), weight }
    }

    /// Returns the sum of the loss over a minibatch on the processor; fills in the gradient of the mean, `weight` being
    /// what the sum is divided by. Logits, target and gradient are `rows × classes`.
    pub(super) fn learn(&self, logits: &[f32], target: &[f32], weight: f64, gradient: &mut [f32]) -> f64 {
        cross_entropy(logits, target, self.classes(), (1.0 / weight) as f32, gradient)
    }

    /// Returns the sum of the loss over a minibatch, a scalar. Logits are `(rows, classes)`.
    pub(super) fn sum(&self, logits: &Tensor, target: &[f32]) -> candle_core::Result<Tensor> {
        // The largest logit only guards the exponentials: it cancels, so no gradient runs through it.
        let shifted = logits.broadcast_sub(&logits.detach().max_keepdim(D::Minus1)?)?;
        let log_sum = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
        let log_likelihood = shifted.broadcast_sub(&log_sum)?;
        let target = Tensor::from_slice(target, logits.shape(), logits.device())?;
        (log_likelihood * target)?.sum_all()?.neg()
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;
    use crate::tensor::Targets;

    /// Written by `reference/loss.py`.
    #[derive(Deserialize)]
    struct Case {
        logits: Vec<Vec<f32>>,
        labels: Vec<u32>,
        class_weights: Option<Vec<f32>>,
        smoothing: f64,
        loss: f32,
        gradient: Vec<Vec<f32>>,
    }

    fn mean(logits: &Var, loss: &CrossEntropy, minibatch: &Minibatch) -> Tensor {
        let target = loss.target(minibatch);
        (loss.sum(logits, &target.values).unwrap() / target.weight).unwrap()
    }

    fn minibatch(labels: Vec<u32>, weights: Vec<f32>) -> Minibatch {
        Minibatch { targets: Targets::Classes(labels), weights, ..Minibatch::default() }
    }

    #[test]
    fn the_loss_and_its_gradient_are_those_of_pytorch() {
        let cases: Vec<Case> = serde_json::from_str(include_str!("../reference/loss.json")).unwrap();
        assert_eq!(cases.len(), 4);
        for case in cases {
            let logits = Var::new(case.logits, &Device::Cpu).unwrap();
            let loss = CrossEntropy::new(case.class_weights.unwrap_or(vec![1.0; 4]), case.smoothing);
            let minibatch = minibatch(case.labels, vec![1.0; 6]);
            let target = loss.target(&minibatch);
            let mean = mean(&logits, &loss, &minibatch);
            let value = mean.to_scalar::<f32>().unwrap();
            assert!((value - case.loss).abs() < 1e-5 * case.loss, "{value} {}", case.loss);
            let gradient =
                mean.backward().unwrap().get(&logits).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let expected = case.gradient.concat();
            let worst = |found: &[f32]| found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst(&gradient) < 1e-6, "{}", worst(&gradient));

            let logits = logits.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let mut gradient = vec![0.0; logits.len()];
            let sum = loss.learn(&logits, &target.values, target.weight, &mut gradient);
            assert!((sum / target.weight - f64::from(case.loss)).abs() < 1e-5 * f64::from(case.loss), "{sum}");
            assert!(worst(&gradient) < 1e-6, "{}", worst(&gradient));
        }
    }

    #[test]
    fn a_row_of_weight_two_counts_like_two_rows_and_one_of_weight_zero_not_at_all() {
        let row = [0.3f32, -1.0, 2.0];
        let other = [1.0f32, 0.5, -0.5];
        let loss = CrossEntropy::new(vec![1.0, 2.0, 0.5], 0.1);
        let weighted = mean(
            &Var::new(&[row, other, other], &Device::Cpu).unwrap(),
            &loss,
            &minibatch(vec![1, 0, 2], vec![2.0, 1.0, 0.0]),
        );
        let repeated =
            mean(&Var::new(&[row, row, other], &Device::Cpu).unwrap(), &loss, &minibatch(vec![1, 1, 0], vec![1.0; 3]));
        let (weighted, repeated) = (weighted.to_scalar::<f32>().unwrap(), repeated.to_scalar::<f32>().unwrap());
        assert!((weighted - repeated).abs() < 1e-6, "{weighted} {repeated}");
    }

    #[test]
    fn huge_logits_neither_overflow_nor_vanish() {
        let logits = Var::new(&[[1e4f32, 0.0], [-1e4, 0.0]], &Device::Cpu).unwrap();
        let mean = mean(&logits, &CrossEntropy::new(vec![1.0; 2], 0.0), &minibatch(vec![1, 1], vec![1.0; 2]));
        assert_eq!(mean.to_scalar::<f32>().unwrap(), 5e3);
    }

    #[test]
    fn balanced_weights_are_inverse_to_how_often_a_class_occurs() {
        assert_eq!(ClassWeights::Balanced.resolve(&[30, 10, 0]).unwrap(), [40.0 / 90.0, 40.0 / 30.0, 0.0]);
        let message = ClassWeights::Given(vec![1.0]).resolve(&[1, 1]).unwrap_err().to_string();
        assert!(message.contains("2 numbers"), "{message}");
    }
}
