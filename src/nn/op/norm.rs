//! Batch and layer normalisation.

use rayon::prelude::*;

use super::{Gradients, Kernel, Moments, Pass, SavedState, math::wide, over_rows, room};
use crate::nn::Mode;

/// Normalises each channel over the minibatch while training, by running statistics afterwards; PyTorch's `BatchNorm1d`
/// and `BatchNorm2d`.
///
/// Input and output `(channels, plane)`; parameters weight and bias, statistics mean and variance, `(channels)` each.
/// The running statistics themselves are moved by the caller.
#[derive(Debug)]
pub(crate) struct BatchNormalization {
    pub(crate) channels: usize,
    pub(crate) plane: usize,
    pub(crate) eps: f64,
    /// The share of each minibatch that running statistics take over.
    pub(crate) momentum: f64,
}

/// The mean and the (biased) variance of each channel over all rows, one behind the other.
fn batch_statistics(x: &[f32], channels: usize, plane: usize, into: &mut [f32]) {
    let (means, variances) = into.split_at_mut(channels);
    // Some channels together, so that a line of memory is read once where planes are small.
    let block = 64usize.div_ceil(plane.max(1));
    means.par_chunks_mut(block).zip(variances.par_chunks_mut(block)).enumerate().for_each(|(i, (means, variances))| {
        let n = (x.len() / channels.max(1)) as f64;
        let sums = |f: &dyn Fn(usize, f32) -> f64| {
            let mut sums = vec![0.0f64; means.len()];
            for row in x.chunks_exact(channels * plane) {
                let own = row[i * block * plane..].chunks_exact(plane).enumerate();
                sums.iter_mut()
                    .zip(own)
                    .for_each(|(sum, (c, values))| *sum += values.iter().map(|v| f(c, *v)).sum::<f64>());
            }
            sums
        };
        let found: Vec<f64> = sums(&|_, v| f64::from(v)).into_iter().map(|s| s / n).collect();
        let spread = sums(&|c, v| (f64::from(v) - found[c]).powi(2));
        means.iter_mut().zip(&found).for_each(|(m, f)| *m = *f as f32);
        variances.iter_mut().zip(&spread).for_each(|(v, s)| *v = (s / n) as f32);
    });
}

impl BatchNormalization {
    /// Mean and `1 / √(variance + ε)` of each channel.
    fn scales<'a>(&self, pass: &Pass<'a>, saved: &'a [f32]) -> (&'a [f32], Vec<f32>) {
        let (mean, variance) = match pass.mode {
            Mode::Train { .. } => saved[..2 * self.channels].split_at(self.channels),
            Mode::Eval => (pass.params[2], pass.params[3]),
        };
        (mean, variance.iter().map(|v| (1.0 / (f64::from(*v) + self.eps).sqrt()) as f32).collect())
    }
}

impl Kernel for BatchNormalization {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn inputs(&self) -> usize {
        self.channels * self.plane
    }

    fn outputs(&self) -> usize {
        self.inputs()
    }

    fn found<'a>(&self, saved: &'a SavedState, rows: usize) -> Vec<Moments<'a>> {
        let values = &saved.values[..2 * self.channels];
        vec![Moments { place: 0, values, count: rows * self.plane, momentum: self.momentum }]
    }

    fn forward(&self, pass: Pass<'_>, y: &mut [f32], saved: &mut SavedState) {
        if matches!(pass.mode, Mode::Train { .. }) {
            batch_statistics(pass.x, self.channels, self.plane, room(&mut saved.values, 2 * self.channels));
        }
        let (mean, scale) = self.scales(&pass, &saved.values);
        let (weight, bias, width) = (pass.params[0], pass.params[1], self.inputs());
        over_rows(y, width, |row, y| {
            let x = pass.x[row * width..].chunks_exact(self.plane);
            wide(|| {
                for (i, (y, x)) in y.chunks_exact_mut(self.plane).zip(x).enumerate() {
                    let c = i % self.channels;
                    let (m, s, b) = (mean[c], scale[c] * weight[c], bias[c]);
                    y.iter_mut().zip(x).for_each(|(y, x)| *y = (x - m) * s + b);
                }
            });
        });
    }

    fn backward(
        &self,
        pass: Pass<'_>,
        _: &[f32],
        dy: &mut [f32],
        saved: &mut SavedState,
        gradients: Gradients<'_, '_>,
    ) {
        let [dweight, dbias] = gradients.params else { return };
        let (mean, scale) = self.scales(&pass, &saved.values);
        let (dy, weight, width, plane) = (&*dy, pass.params[0], self.inputs(), self.plane);
        let block = 64usize.div_ceil(plane.max(1));
        dweight.par_chunks_mut(block).zip(dbias.par_chunks_mut(block)).enumerate().for_each(|(i, (dweight, dbias))| {
            let mut sums = vec![(0.0f64, 0.0f64); dweight.len()];
            for (x, dy) in pass.x.chunks_exact(width).zip(dy.chunks_exact(width)) {
                let planes =
                    x[i * block * plane..].chunks_exact(plane).zip(dy[i * block * plane..].chunks_exact(plane));
                for (j, (sum, (x, dy))) in sums.iter_mut().zip(planes).enumerate() {
                    let c = i * block + j;
                    for (x, d) in x.iter().zip(dy) {
                        sum.0 += f64::from(d * ((x - mean[c]) * scale[c]));
                        sum.1 += f64::from(*d);
                    }
                }
            }
            dweight.iter_mut().zip(dbias).zip(sums).for_each(|((w, b), s)| (*w, *b) = (s.0 as f32, s.1 as f32));
        });
        let Some(dx) = gradients.x else { return };
        let (dweight, dbias) = (&**dweight, &**dbias);
        // The minibatch's own statistics move with its values; running ones do not.
        let share = if pass.mode == Mode::Eval { 0.0 } else { 1.0 / (pass.rows * plane) as f32 };
        over_rows(dx, width, |row, dx| {
            let run = row * width..row * width + dx.len();
            let planes = pass.x[run.clone()].chunks_exact(plane).zip(dy[run].chunks_exact(plane));
            wide(|| {
                for (i, (dx, (x, dy))) in dx.chunks_exact_mut(plane).zip(planes).enumerate() {
                    let c = i % self.channels;
                    let (m, s, slope) = (mean[c], scale[c], scale[c] * weight[c]);
                    let (base, tilt) = (dbias[c] * share, dweight[c] * share);
                    let each = dx.iter_mut().zip(x).zip(dy);
                    each.for_each(|((dx, x), d)| *dx = slope * (d - base - (x - m) * s * tilt));
                }
            });
        });
    }
}

/// Normalises each row over all its values; PyTorch's `LayerNorm` over every dimension but the first.
///
/// Parameters weight and bias, one number a value.
#[derive(Debug)]
pub(crate) struct LayerNormalization {
    pub(crate) width: usize,
    pub(crate) eps: f64,
}

impl LayerNormalization {
    /// Mean and `1 / √(variance + ε)` of a row.
    fn scales(&self, x: &[f32]) -> (f32, f32) {
        let n = x.len() as f64;
        let mean = x.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
        let variance = x.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n;
        (mean as f32, (1.0 / (variance + self.eps).sqrt()) as f32)
    }
}

impl Kernel for LayerNormalization {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn inputs(&self) -> usize {
        self.width
    }

    fn outputs(&self) -> usize {
        self.width
    }

    fn forward(&self, pass: Pass<'_>, y: &mut [f32], _: &mut SavedState) {
        let (weight, bias) = (pass.params[0], pass.params[1]);
        over_rows(y, self.width, |row, y| {
            let x = pass.x[row * self.width..].chunks_exact(self.width);
            for (y, x) in y.chunks_exact_mut(self.width).zip(x) {
                let (m, s) = self.scales(x);
                let each = y.iter_mut().zip(x).zip(weight.iter().zip(bias));
                each.for_each(|((y, x), (w, b))| *y = (x - m) * s * w + b);
            }
        });
    }

    fn backward(
        &self,
        pass: Pass<'_>,
        _: &[f32],
        dy: &mut [f32],
        saved: &mut SavedState,
        gradients: Gradients<'_, '_>,
    ) {
        let [dweight, dbias] = gradients.params else { return };
        let (weight, width, dy) = (pass.params[0], self.width, &*dy);
        let scales = room(&mut saved.values, 2 * pass.rows);
        scales.par_chunks_exact_mut(2).zip(pass.x.par_chunks_exact(width)).for_each(|(scales, x)| {
            (scales[0], scales[1]) = self.scales(x);
        });
        let scales = &*scales;
        dweight.fill(0.0);
        dbias.fill(0.0);
        let rows = pass.x.chunks_exact(width).zip(dy.chunks_exact(width)).zip(scales.chunks_exact(2));
        wide(|| {
            for ((x, dy), scale) in rows {
                let each = dweight.iter_mut().zip(dbias.iter_mut()).zip(x.iter().zip(dy));
                each.for_each(|((w, b), (x, d))| {
                    *w += d * (x - scale[0]) * scale[1];
                    *b += d;
                });
            }
        });
        let Some(dx) = gradients.x else { return };
        over_rows(dx, width, |row, dx| {
            for (i, dx) in dx.chunks_exact_mut(width).enumerate() {
                let row = row + i;
                let (x, dy) = (&pass.x[row * width..][..width], &dy[row * width..][..width]);
                let (m, s) = (scales[2 * row], scales[2 * row + 1]);
                let (mut sum, mut along) = (0.0f64, 0.0f64);
                for ((x, d), w) in x.iter().zip(dy).zip(weight) {
                    sum += f64::from(d * w);
                    along += f64::from(d * w * ((x - m) * s));
                }
                let (sum, along) = ((sum / width as f64) as f32, (along / width as f64) as f32);
                let each = dx.iter_mut().zip(x).zip(dy.iter().zip(weight));
                each.for_each(|((dx, x), (d, w))| *dx = s * (d * w - sum - (x - m) * s * along));
            }
        });
    }
}
