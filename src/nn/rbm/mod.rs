//! Restricted Boltzmann machines: one layer of visible and one of hidden units, each unit linked to all of the other
//! layer.
//!
//! Smolensky, "Information processing in dynamical systems", 1986; trained as in Hinton, "A practical guide to training
//! restricted Boltzmann machines", 2010. Everything runs on the processor, by its kernels, and every random number
//! comes from the seed, so that the same rows give the same machine whatever the threads do.

mod contrast;
mod learner;
mod partition;
mod sample;
mod stack;

pub use contrast::{ContrastiveDivergence, Sparsity};
pub use learner::{RbmLearner, RbmStep};
pub use partition::{Annealing, LogPartition};
pub use stack::RbmStack;

use serde::{Deserialize, Serialize};

use super::{
    op::{
        gemm::{Matrix, Threads, gemm},
        over_rows, wide,
    },
    random::{Philox, Purpose},
};
use crate::{
    DataProblem, Error, Result,
    nn::{Activation, op::activate},
};

/// Meaning of the visible units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VisibleUnits {
    /// Probabilities, or values in `[0, 1]` used like them: grey values, flags.
    #[default]
    Bernoulli,
    /// Real numbers, each with variance 1 around its mean: features that were standardised.
    Gaussian,
}

/// The size of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RbmSpec {
    /// Values a row has.
    pub visible: usize,
    /// Features a row gets.
    pub hidden: usize,
    /// Meaning of the visible units. Hidden units are always on or off.
    #[serde(default)]
    pub units: VisibleUnits,
}

impl RbmSpec {
    fn check(&self) -> Result<()> {
        for (name, value) in [("visible", self.visible), ("hidden", self.hidden)] {
            if value == 0 || value > 1 << 24 {
                return Err(Error::param(name, value, "1 to 16,777,216 units"));
            }
        }
        Ok(())
    }
}

/// A restricted Boltzmann machine with its weights.
///
/// Of binary visible units `v` and hidden units `h`, the energy is `−bᵀv − cᵀh − hᵀWv`; of Gaussian ones the first term
/// is `½‖v − b‖²`.
#[derive(Debug, Clone, PartialEq)]
pub struct Rbm {
    spec: RbmSpec,
    /// `W`, `(hidden, visible)`, row-major.
    weight: Vec<f32>,
    /// `b`.
    visible_bias: Vec<f32>,
    /// `c`.
    hidden_bias: Vec<f32>,
}

impl Rbm {
    /// Makes a machine whose weights are drawn from a normal distribution of deviation 0.01 and whose biases are 0.
    ///
    /// # Errors
    /// [`Error::Param`] for a layer without units or of more than 2²⁴.
    pub fn init(spec: RbmSpec, seed: u64) -> Result<Self> {
        Self::init_layer(spec, seed, 0)
    }

    /// Creates the same for one machine of a stack: those of two layers differ.
    pub(crate) fn init_layer(spec: RbmSpec, seed: u64, layer: u32) -> Result<Self> {
        spec.check()?;
        let mut random = Philox::new(seed, Purpose::Weights, layer, 0);
        let mut weight = vec![0.0; spec.hidden * spec.visible];
        sample::add_normal(&mut random, &mut weight);
        weight.iter_mut().for_each(|w| *w *= 0.01);
        Ok(Self { spec, weight, visible_bias: vec![0.0; spec.visible], hidden_bias: vec![0.0; spec.hidden] })
    }

    /// Puts a machine together: `weight` is `(hidden, visible)`, row-major.
    ///
    /// # Errors
    /// [`Error::Network`] when a length does not fit the specification, [`Error::Param`] as [`Rbm::init`].
    pub fn new(spec: RbmSpec, weight: Vec<f32>, visible_bias: Vec<f32>, hidden_bias: Vec<f32>) -> Result<Self> {
        spec.check()?;
        for (name, found, wanted) in [
            ("weight", weight.len(), spec.hidden * spec.visible),
            ("visible bias", visible_bias.len(), spec.visible),
            ("hidden bias", hidden_bias.len(), spec.hidden),
        ] {
            if found != wanted {
                return Err(misfit(format!("{found} values of `{name}`"), format!("it takes {wanted}")));
            }
        }
        Ok(Self { spec, weight, visible_bias, hidden_bias })
    }

    /// Returns its size.
    pub fn spec(&self) -> RbmSpec {
        self.spec
    }

    /// Returns the weights, `(hidden, visible)`, row-major.
    pub fn weight(&self) -> &[f32] {
        &self.weight
    }

    /// Returns the biases of the visible units.
    pub fn visible_bias(&self) -> &[f32] {
        &self.visible_bias
    }

    /// Returns the biases of the hidden units.
    pub fn hidden_bias(&self) -> &[f32] {
        &self.hidden_bias
    }

    /// Returns the probabilities that hidden units are on, `(rows, hidden)`, for `(rows, visible)` values.
    ///
    /// # Errors
    /// [`Error::Network`] for values that are not whole rows.
    pub fn hidden(&self, visible: &[f32]) -> Result<Vec<f32>> {
        let rows = self.rows(visible)?;
        let mut hidden = vec![0.0; rows * self.spec.hidden];
        self.up(visible, rows, &mut hidden);
        Ok(hidden)
    }

    /// Returns the means of the visible units, `(rows, visible)`, for `(rows, hidden)` states or probabilities.
    ///
    /// # Errors
    /// [`Error::Network`] for values that are not whole rows.
    pub fn visible(&self, hidden: &[f32]) -> Result<Vec<f32>> {
        let rows = hidden.len() / self.spec.hidden;
        if rows * self.spec.hidden != hidden.len() {
            let fits = format!("a row of hidden units has {}", self.spec.hidden);
            return Err(misfit(format!("{} values", hidden.len()), fits));
        }
        let mut visible = vec![0.0; rows * self.spec.visible];
        self.down(hidden, rows, &mut visible);
        Ok(visible)
    }

    /// Returns the mean squared difference of each row from its reconstruction by way of the hidden units'
    /// probabilities.
    ///
    /// # Errors
    /// [`Error::Network`] for values that are not whole rows.
    pub fn reconstruction_error(&self, visible: &[f32]) -> Result<Vec<f64>> {
        let made = self.visible(&self.hidden(visible)?)?;
        let width = self.spec.visible;
        let rows = visible.chunks_exact(width).zip(made.chunks_exact(width));
        Ok(rows.map(|(x, y)| squared_distance(x, y) / width as f64).collect())
    }

    /// Returns the free energy of each row: `−log Σₕ exp(−E(v, h))`, low where the machine finds a row likely.
    ///
    /// # Errors
    /// [`Error::Network`] for values that are not whole rows.
    pub fn free_energy(&self, visible: &[f32]) -> Result<Vec<f64>> {
        let rows = self.rows(visible)?;
        let mut inputs = vec![0.0; rows * self.spec.hidden];
        self.project_up(visible, rows, &mut inputs);
        let each = visible.chunks_exact(self.spec.visible).zip(inputs.chunks_exact(self.spec.hidden));
        Ok(each
            .map(|(v, inputs)| self.visible_energy(v) - inputs.iter().map(|&x| softplus(x.into())).sum::<f64>())
            .collect())
    }

    /// Returns the mean log-likelihood of the rows, in nats, given the logarithm of the partition function.
    ///
    /// # Errors
    /// [`Error::Network`] for values that are not whole rows; [`Error::Data`] without any row.
    pub fn log_likelihood(&self, visible: &[f32], log_partition: f64) -> Result<f64> {
        let energies = self.free_energy(visible)?;
        if energies.is_empty() {
            return Err(Error::rows(DataProblem::NoRows));
        }
        Ok(-energies.iter().sum::<f64>() / energies.len() as f64 - log_partition)
    }

    /// Returns the part of the energy that the visible units have by themselves.
    fn visible_energy(&self, v: &[f32]) -> f64 {
        match self.spec.units {
            VisibleUnits::Bernoulli => {
                -v.iter().zip(&self.visible_bias).map(|(&v, &b)| f64::from(v) * f64::from(b)).sum::<f64>()
            }
            VisibleUnits::Gaussian => 0.5 * squared_distance(v, &self.visible_bias),
        }
    }

    fn rows(&self, visible: &[f32]) -> Result<usize> {
        let rows = visible.len() / self.spec.visible;
        if rows * self.spec.visible == visible.len() {
            return Ok(rows);
        }
        Err(misfit(format!("{} values", visible.len()), format!("a row has {}", self.spec.visible)))
    }

    /// `v Wᵀ + c`.
    fn project_up(&self, visible: &[f32], rows: usize, out: &mut [f32]) {
        let RbmSpec { visible: inputs, hidden, .. } = self.spec;
        let (x, weight) = (Matrix::rows(visible, inputs), Matrix::rows(&self.weight, inputs));
        gemm([rows, hidden, inputs], x, weight.t(), (out, hidden), false, Threads::All);
        add_to_rows(out, &self.hidden_bias);
    }

    /// `h W`, without the bias.
    fn project_down(&self, hidden: &[f32], rows: usize, out: &mut [f32]) {
        let RbmSpec { visible, hidden: inputs, .. } = self.spec;
        let (h, weight) = (Matrix::rows(hidden, inputs), Matrix::rows(&self.weight, visible));
        gemm([rows, visible, inputs], h, weight, (out, visible), false, Threads::All);
    }

    fn up(&self, visible: &[f32], rows: usize, out: &mut [f32]) {
        self.project_up(visible, rows, out);
        sigmoid(out, self.spec.hidden);
    }

    fn down(&self, hidden: &[f32], rows: usize, out: &mut [f32]) {
        self.project_down(hidden, rows, out);
        self.means(out);
    }

    /// The visible units' means from `h W`.
    fn means(&self, out: &mut [f32]) {
        add_to_rows(out, &self.visible_bias);
        if self.spec.units == VisibleUnits::Bernoulli {
            sigmoid(out, self.spec.visible);
        }
    }
}

fn misfit(got: String, fits: String) -> Error {
    Error::Network { layer: "restricted Boltzmann machine".into(), got, fits }
}

fn add_to_rows(out: &mut [f32], bias: &[f32]) {
    over_rows(out, bias.len(), |_, rows| {
        wide(|| {
            for row in rows.chunks_exact_mut(bias.len()) {
                row.iter_mut().zip(bias).for_each(|(v, b)| *v += b);
            }
        });
    });
}

fn sigmoid(values: &mut [f32], width: usize) {
    over_rows(values, width, |_, values| activate(Activation::Sigmoid, values));
}

fn squared_distance(x: &[f32], y: &[f32]) -> f64 {
    x.iter().zip(y).map(|(&x, &y)| (f64::from(x) - f64::from(y)).powi(2)).sum()
}

/// `log(1 + exp(x))`, exact where the exponential would overflow or vanish.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests;
