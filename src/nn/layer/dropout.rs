//! Dropout with masks that a seed decides.

use candle_core::{Result, Tensor};

use super::Mode;
use crate::nn::random::{Philox, Purpose};

/// Zeroes values with chance `p` while training and scales the rest by `1 / (1 - p)`, PyTorch's `nn.Dropout`.
///
/// The mask of a row depends on the seed, the step, the layer and the row's place in the global minibatch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dropout {
    pub(crate) p: f64,
    /// The layer's position in the network, which keeps the masks of two dropout layers apart.
    pub(crate) layer: u32,
}

impl Dropout {
    /// Input and output `(rows, width)`.
    pub(crate) fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let Mode::Train { seed, step, first_row } = mode else { return Ok(x.clone()) };
        if self.p == 0.0 {
            return Ok(x.clone());
        }
        let (rows, width) = x.dims2()?;
        let keep = (1.0 / (1.0 - self.p)) as f32;
        let mut random = Philox::new(seed, Purpose::Dropout, self.layer, step);
        let mut mask = Vec::with_capacity(rows * width);
        for row in first_row..first_row + rows {
            random.seek((row * width.div_ceil(4)) as u32);
            mask.extend((0..width).map(|_| if f64::from(random.next_f32()) < self.p { 0.0 } else { keep }));
        }
        x.mul(&Tensor::from_vec(mask, (rows, width), x.device())?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    fn masks(dropout: Dropout, rows: usize, first_row: usize, step: u64) -> Vec<Vec<f32>> {
        let ones = Tensor::ones((rows, 50), DType::F32, &Device::Cpu).unwrap();
        dropout.forward(&ones, Mode::Train { seed: 3, step, first_row }).unwrap().to_vec2().unwrap()
    }

    #[test]
    fn values_are_dropped_at_the_asked_rate_and_the_rest_scaled() {
        let all = masks(Dropout { p: 0.2, layer: 1 }, 400, 0, 0).concat();
        assert!(all.iter().all(|&v| v == 0.0 || v == 1.25));
        let dropped = all.iter().filter(|&&v| v == 0.0).count() as f64 / all.len() as f64;
        assert!((dropped - 0.2).abs() < 0.01, "{dropped}");
    }

    #[test]
    fn a_row_keeps_its_mask_however_the_minibatch_is_split() {
        let dropout = Dropout { p: 0.5, layer: 1 };
        let whole = masks(dropout, 8, 0, 4);
        assert_eq!(whole[5..], masks(dropout, 3, 5, 4));
        assert_ne!(whole, masks(dropout, 8, 0, 5));
        assert_ne!(whole, masks(Dropout { p: 0.5, layer: 2 }, 8, 0, 4));
    }

    #[test]
    fn prediction_drops_nothing() {
        let ones = Tensor::ones((2, 50), DType::F32, &Device::Cpu).unwrap();
        let out = Dropout { p: 0.9, layer: 0 }.forward(&ones, Mode::Eval).unwrap();
        assert_eq!(out.to_vec2::<f32>().unwrap(), ones.to_vec2::<f32>().unwrap());
    }
}
