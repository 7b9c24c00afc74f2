//! Pooling: the largest or the mean value under a kernel, or of a whole plane.

use super::{Gradients, Kernel, Pass, SavedState, Window, over_rows, room};
use rayon::prelude::*;

/// Reduction of the values under the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reduce {
    Max,
    /// Padding counts as 0 and is counted, as in PyTorch.
    Mean,
}

/// Input `(channels, height, width)`, output `(channels, output height, output width)`.
#[derive(Debug)]
pub(crate) struct Pooling {
    pub(crate) channels: usize,
    pub(crate) reduce: Reduce,
    pub(crate) window: Window,
}

impl Pooling {
    /// The input's places under the kernel at one output.
    fn under(&self, out: [usize; 2]) -> impl Iterator<Item = usize> + '_ {
        let w = &self.window;
        let rows = (0..w.kernel[0]).filter_map(move |k| w.at(0, out[0], k));
        rows.flat_map(move |row| {
            (0..w.kernel[1]).filter_map(move |k| w.at(1, out[1], k)).map(move |column| row * w.input[1] + column)
        })
    }

    fn outs(&self) -> impl Iterator<Item = [usize; 2]> + use<> {
        let [height, width] = self.window.output;
        (0..height).flat_map(move |h| (0..width).map(move |w| [h, w]))
    }

    /// The largest values of a plane and their places; NaN is larger than any number, the first of equals wins.
    fn largest(&self, x: &[f32], y: &mut [f32], places: &mut [u32]) {
        let w = &self.window;
        if w.kernel == [2, 2] && w.stride == [2, 2] && w.padding == [0, 0] {
            return halve(w, x, y, places);
        }
        for ((out, y), place) in self.outs().zip(y).zip(places) {
            let (mut best, mut at) = (f32::NEG_INFINITY, usize::MAX);
            for i in self.under(out) {
                if x[i] > best || x[i].is_nan() || at == usize::MAX {
                    (best, at) = (x[i], i);
                }
            }
            (*y, *place) = (best, at as u32);
        }
    }
}

/// The common case: kernels of two by two side by side.
fn halve(w: &Window, x: &[f32], y: &mut [f32], places: &mut [u32]) {
    let (wide, width) = (w.input[1], w.output[1]);
    for (row, (y, places)) in y.chunks_exact_mut(width).zip(places.chunks_exact_mut(width)).enumerate() {
        let at = 2 * row * wide;
        let (top, bottom) = (&x[at..at + 2 * width], &x[at + wide..at + wide + 2 * width]);
        let pairs = top.chunks_exact(2).zip(bottom.chunks_exact(2));
        for (i, ((y, place), (t, b))) in y.iter_mut().zip(places).zip(pairs).enumerate() {
            let mut best = (t[0], 0);
            for (v, step) in [(t[1], 1), (b[0], wide), (b[1], wide + 1)] {
                best = if v > best.0 || v.is_nan() { (v, step) } else { best };
            }
            (*y, *place) = (best.0, (at + 2 * i + best.1) as u32);
        }
    }
}

impl Kernel for Pooling {
    fn name(&self) -> &'static str {
        "pooling"
    }

    fn inputs(&self) -> usize {
        self.channels * self.window.input_plane()
    }

    fn outputs(&self) -> usize {
        self.channels * self.window.output_plane()
    }

    fn forward(&self, pass: Pass<'_>, y: &mut [f32], saved: &mut SavedState) {
        let (ins, outs) = (self.window.input_plane(), self.window.output_plane());
        match self.reduce {
            Reduce::Max => {
                let places = room(&mut saved.places, y.len());
                let rows = y.par_chunks_mut(self.outputs()).zip(places.par_chunks_mut(self.outputs()));
                rows.zip(pass.x.par_chunks(self.inputs())).for_each(|((y, places), x)| {
                    let planes = y.chunks_exact_mut(outs).zip(places.chunks_exact_mut(outs)).zip(x.chunks_exact(ins));
                    planes.for_each(|((y, places), x)| self.largest(x, y, places));
                });
            }
            Reduce::Mean => {
                let scale = 1.0 / self.window.kernel_plane() as f32;
                over_rows(y, outs, |plane, y| {
                    for (y, x) in y.chunks_exact_mut(outs).zip(pass.x[plane * ins..].chunks_exact(ins)) {
                        for (out, y) in self.outs().zip(y) {
                            *y = scale * self.under(out).map(|i| x[i]).sum::<f32>();
                        }
                    }
                });
            }
        }
    }

    fn backward(&self, _: Pass<'_>, _: &[f32], dy: &mut [f32], saved: &mut SavedState, gradients: Gradients<'_, '_>) {
        let Some(dx) = gradients.x else { return };
        let (ins, outs) = (self.window.input_plane(), self.window.output_plane());
        let (dy, places, scale) = (&*dy, &saved.places, 1.0 / self.window.kernel_plane() as f32);
        over_rows(dx, ins, |plane, dx| {
            dx.fill(0.0);
            for (i, dx) in dx.chunks_exact_mut(ins).enumerate() {
                let run = (plane + i) * outs..(plane + i + 1) * outs;
                match self.reduce {
                    Reduce::Max => {
                        dy[run.clone()].iter().zip(&places[run]).for_each(|(d, place)| dx[*place as usize] += d);
                    }
                    Reduce::Mean => {
                        for (out, d) in self.outs().zip(&dy[run]) {
                            self.under(out).for_each(|place| dx[place] += scale * d);
                        }
                    }
                }
            }
        });
    }
}
