//! Inputs made worse on purpose, so that a network learns to restore them.

use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    nn::random::{Philox, Purpose},
};

/// Corruption of a minibatch's input in training; the target is left alone, so that a network that restores
/// its input becomes a denoising auto-encoder (Vincent et al., "Extracting and composing robust features", ICML 2008).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "job", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Corruption {
    /// Sets each value to 0 with this probability, in `[0, 1)`; the others are unchanged.
    Mask(f64),
    /// Normal noise of this standard deviation, at least 0, is added to each value.
    Noise(f64),
}

impl Corruption {
    pub(in crate::train) fn check(self) -> Result<()> {
        let (name, value, legal, words) = match self {
            Corruption::Mask(p) => ("corruption.mask", p, (0.0..1.0).contains(&p), "in [0, 1)"),
            Corruption::Noise(std) => {
                ("corruption.noise", std, std >= 0.0 && std.is_finite(), "a finite number of at least 0")
            }
        };
        if legal { Ok(()) } else { Err(Error::param(name, value, words)) }
    }

    /// Changes the values of the `index`-th minibatch of an epoch, always in the same way.
    pub(super) fn apply(self, values: &mut [f32], seed: u64, epoch: usize, index: u64) {
        let mut random = Philox::new(seed, Purpose::Corruption, epoch as u32 & 0x00FF_FFFF, index);
        match self {
            Corruption::Mask(p) => {
                for value in values.iter_mut().filter(|_| f64::from(random.next_f32()) < p) {
                    *value = 0.0;
                }
            }
            Corruption::Noise(std) => {
                for pair in values.chunks_mut(2) {
                    // Box and Muller's transform; 1 - u is never 0.
                    let size = std as f32 * (-2.0 * (1.0 - random.next_f32()).ln()).sqrt();
                    let (sine, cosine) = (std::f32::consts::TAU * random.next_f32()).sin_cos();
                    pair.iter_mut().zip([cosine, sine]).for_each(|(value, turn)| *value += size * turn);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_clears_its_share_and_noise_has_its_deviation() {
        let mut values = vec![1.0f32; 10_001];
        Corruption::Mask(0.3).apply(&mut values, 7, 0, 0);
        let cleared = values.iter().filter(|v| **v == 0.0).count();
        assert!((2800..3200).contains(&cleared), "{cleared}");
        assert!(values.iter().all(|v| *v == 0.0 || *v == 1.0));

        let mut values = vec![1.0f32; 10_001];
        Corruption::Noise(0.5).apply(&mut values, 7, 0, 0);
        let n = values.len() as f32;
        let mean = values.iter().sum::<f32>() / n;
        let deviation = (values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / n).sqrt();
        assert!((mean - 1.0).abs() < 0.02 && (deviation - 0.5).abs() < 0.02, "{mean} {deviation}");
        assert!(values.iter().all(|v| v.is_finite()));
    }

    #[test]
    fn seed_epoch_and_minibatch_decide_it() {
        let corrupted = |seed, epoch, index| {
            let mut values = vec![1.0f32; 64];
            Corruption::Mask(0.5).apply(&mut values, seed, epoch, index);
            values
        };
        assert_eq!(corrupted(7, 1, 2), corrupted(7, 1, 2));
        for other in [corrupted(8, 1, 2), corrupted(7, 2, 2), corrupted(7, 1, 3)] {
            assert_ne!(corrupted(7, 1, 2), other);
        }
    }
}
