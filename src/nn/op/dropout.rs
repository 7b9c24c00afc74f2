//! Dropout by the counter-based generator.

use super::{Gradients, Kernel, Pass, SavedState, over_rows, room};
use crate::nn::{
    Mode,
    random::{Philox, Purpose},
};

/// Zeroes values with probability `p` while training and scales the rest by `1 / (1 - p)`.
#[derive(Debug)]
pub(crate) struct DropoutKernel {
    pub(crate) p: f64,
    /// The layer's position in the network, which keeps the masks of two layers apart.
    pub(crate) layer: u32,
    pub(crate) width: usize,
}

/// Fills rows of the mask, the first of which is row `first` of the global minibatch: 0 or `1 / (1 - p)`. A row's mask
/// depends on the seed, the step, the layer and the row alone.
pub(crate) fn mask(p: f64, layer: u32, width: usize, (seed, step): (u64, u64), first: usize, mask: &mut [f32]) {
    let keep = (1.0 / (1.0 - p)) as f32;
    let mut random = Philox::new(seed, Purpose::Dropout, layer, step);
    for (row, mask) in mask.chunks_exact_mut(width.max(1)).enumerate() {
        random.seek(((first + row) * width.div_ceil(4)) as u32);
        mask.iter_mut().for_each(|m| *m = if f64::from(random.next_f32()) < p { 0.0 } else { keep });
    }
}

impl Kernel for DropoutKernel {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn inputs(&self) -> usize {
        self.width
    }

    fn outputs(&self) -> usize {
        self.width
    }

    fn forward(&self, pass: Pass<'_>, y: &mut [f32], saved: &mut SavedState) {
        y.copy_from_slice(pass.x);
        let Mode::Train { seed, step, first_row } = pass.mode else { return };
        let kept = room(&mut saved.values, y.len());
        over_rows(kept, self.width, |row, kept| {
            mask(self.p, self.layer, self.width, (seed, step), first_row + row, kept);
        });
        y.iter_mut().zip(&*kept).for_each(|(y, m)| *y *= m);
    }

    fn backward(
        &self,
        pass: Pass<'_>,
        _: &[f32],
        dy: &mut [f32],
        saved: &mut SavedState,
        gradients: Gradients<'_, '_>,
    ) {
        let Some(dx) = gradients.x else { return };
        dx.copy_from_slice(dy);
        if pass.mode != Mode::Eval {
            dx.iter_mut().zip(&saved.values).for_each(|(d, m)| *d *= m);
        }
    }
}
