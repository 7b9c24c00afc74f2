//! Random states of units. What a unit becomes depends on the seed, the step, its layer, the half-step of the chain and
//! its place in the minibatch, never on threads.

use std::f32::consts::TAU;

use super::VisibleUnits;
use crate::nn::{
    op::over_rows,
    random::{Philox, Purpose},
};

/// Half-steps of one chain with separate random numbers.
pub(super) const HALF_STEPS: u32 = 1 << 12;

/// Which numbers a half-step of a chain draws.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChainDraw {
    pub(super) seed: u64,
    pub(super) purpose: Purpose,
    pub(super) layer: u32,
    pub(super) step: u64,
}

impl ChainDraw {
    /// Returns the numbers of a half-step, from the given row on.
    fn at(self, half: u32) -> Philox {
        Philox::new(self.seed, self.purpose, self.layer * HALF_STEPS + half % HALF_STEPS, self.step)
    }

    /// Samples 0 and 1 by probabilities.
    pub(super) fn binary(self, half: u32, width: usize, probabilities: &mut [f32]) {
        over_rows(probabilities, width, |first, rows| {
            let mut random = self.at(half);
            for (row, probabilities) in rows.chunks_exact_mut(width).enumerate() {
                random.seek(((first + row) * width.div_ceil(4)) as u32);
                probabilities.iter_mut().for_each(|p| *p = if random.next_f32() < *p { 1.0 } else { 0.0 });
            }
        });
    }

    /// Turns means of visible units into states.
    pub(super) fn visible(self, units: VisibleUnits, half: u32, width: usize, means: &mut [f32]) {
        match units {
            VisibleUnits::Bernoulli => self.binary(half, width, means),
            VisibleUnits::Gaussian => over_rows(means, width, |first, rows| {
                let mut random = self.at(half);
                for (row, means) in rows.chunks_exact_mut(width).enumerate() {
                    random.seek(((first + row) * width.div_ceil(4)) as u32);
                    add_normal(&mut random, means);
                }
            }),
        }
    }
}

/// Adds a standard normal number to each value (Box and Muller, 1958).
pub(super) fn add_normal(random: &mut Philox, values: &mut [f32]) {
    for pair in values.chunks_mut(2) {
        // In (0, 1], whose logarithm is finite.
        let radius = (-2.0 * (1.0 - random.next_f32()).ln()).sqrt();
        let (sin, cos) = (TAU * random.next_f32()).sin_cos();
        pair.iter_mut().zip([cos, sin]).for_each(|(v, part)| *v += radius * part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAW: ChainDraw = ChainDraw { seed: 5, purpose: Purpose::Gibbs, layer: 1, step: 9 };

    #[test]
    fn states_have_the_means_and_variances_asked_for() {
        let width = 7;
        let mut binary = vec![0.3; width * 20_000];
        DRAW.binary(0, width, &mut binary);
        assert!(binary.iter().all(|v| *v == 0.0 || *v == 1.0));
        let mean = |values: &[f32]| values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len() as f64;
        assert!((mean(&binary) - 0.3).abs() < 0.005, "{}", mean(&binary));
        let mut normal = vec![2.0; width * 20_000];
        DRAW.visible(VisibleUnits::Gaussian, 1, width, &mut normal);
        let centre = mean(&normal);
        let squares: Vec<f32> = normal.iter().map(|v| (v - 2.0).powi(2)).collect();
        assert!((centre - 2.0).abs() < 0.01 && (mean(&squares) - 1.0).abs() < 0.02, "{centre} {}", mean(&squares));
    }

    #[test]
    fn a_rows_states_depend_on_its_place_alone() {
        // Enough rows to be shared among threads, and too few to be.
        let (many, few) = (20_000, 30);
        let draw = |rows: usize| {
            let mut values = vec![0.5; rows * 5];
            DRAW.binary(3, 5, &mut values);
            values
        };
        assert_eq!(draw(many)[..few * 5], draw(few));
        let mut other = vec![0.5; few * 5];
        DRAW.binary(4, 5, &mut other);
        assert_ne!(other, draw(few));
    }
}
