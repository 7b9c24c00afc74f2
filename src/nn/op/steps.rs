//! Kernels over the steps of rows: their positions, and their reduction.

use std::borrow::Cow;

use super::{Gradients, Kernel, Pass, SavedState, over_rows, room};
use crate::nn::SequenceOutput;

/// Returns the sines and cosines that mark positions, `(steps, width)` (Vaswani et al., "Attention is all you need",
/// 2017): values `2i` and `2i + 1` are the sine and the cosine of `step / 10000^(2i / width)`.
pub(crate) fn positions(steps: std::ops::Range<usize>, width: usize, to: &mut Vec<f32>) {
    for step in steps {
        to.extend((0..width).map(|i| {
            let angle = step as f64 / 10_000f64.powf((i - i % 2) as f64 / width as f64);
            (if i % 2 == 0 { angle.sin() } else { angle.cos() }) as f32
        }));
    }
}

/// Adds [`positions`] to every row's steps.
#[derive(Debug)]
pub(crate) struct Positions {
    pub(crate) width: usize,
    /// Steps of a row; 1 where the lengths of sequences tell, so that inputs and outputs are those of a step.
    pub(crate) time: usize,
}

impl Kernel for Positions {
    fn name(&self) -> &'static str {
        "positions"
    }

    fn inputs(&self) -> usize {
        self.time * self.width
    }

    fn outputs(&self) -> usize {
        self.time * self.width
    }

    fn forward(&self, pass: Pass<'_>, y: &mut [f32], saved: &mut SavedState) {
        let time = if pass.lengths.is_some() { pass.time(self.width) } else { self.time };
        let known = saved.values.len() / self.width;
        if known < time {
            positions(known..time, self.width, &mut saved.values);
        }
        let table = &saved.values[..time * self.width];
        over_rows(y, table.len(), |row, y| {
            let x = pass.x[row * table.len()..].chunks_exact(table.len());
            for (y, x) in y.chunks_exact_mut(table.len()).zip(x) {
                y.iter_mut().zip(x.iter().zip(table)).for_each(|(y, (x, p))| *y = x + p);
            }
        });
    }

    fn backward(&self, _: Pass<'_>, _: &[f32], dy: &mut [f32], _: &mut SavedState, gradients: Gradients<'_, '_>) {
        gradients.x.into_iter().for_each(|dx| dx.copy_from_slice(dy));
    }
}

/// A row of every sequence: its last step, or the mean or the largest of all.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) width: usize,
    /// Steps of a row; 1 where the lengths of sequences tell, so that inputs are those of a step.
    pub(crate) time: usize,
    pub(crate) readout: SequenceOutput,
}

impl Reading {
    /// Returns the rows' lengths, and the values of one with its padding.
    fn lengths<'a>(&self, pass: &Pass<'a>) -> (Cow<'a, [u32]>, usize) {
        match pass.lengths {
            Some(lengths) => (lengths.into(), pass.time(self.width) * self.width),
            None => (vec![self.time as u32; pass.rows].into(), self.time * self.width),
        }
    }
}

impl Kernel for Reading {
    fn name(&self) -> &'static str {
        "readout"
    }

    fn inputs(&self) -> usize {
        self.time * self.width
    }

    fn outputs(&self) -> usize {
        self.width * if self.readout == SequenceOutput::All { self.time } else { 1 }
    }

    fn forward(&self, pass: Pass<'_>, y: &mut [f32], saved: &mut SavedState) {
        let ((lengths, wide), width) = (self.lengths(&pass), self.width);
        let places = room(&mut saved.places, if self.readout == SequenceOutput::Max { y.len() } else { 0 });
        for (row, (x, length)) in pass.x.chunks_exact(wide).zip(&*lengths).enumerate() {
            let (mut steps, mut own) = (x.chunks_exact(width).take(*length as usize), row * width..(row + 1) * width);
            match self.readout {
                SequenceOutput::All => y[row * wide..][..wide].copy_from_slice(x),
                SequenceOutput::Last => {
                    steps.next_back().into_iter().for_each(|step| y[own.clone()].copy_from_slice(step))
                }
                SequenceOutput::Mean => {
                    let (to, share) = (&mut y[own], 1.0 / *length as f32);
                    to.fill(0.0);
                    steps.for_each(|step| to.iter_mut().zip(step).for_each(|(y, x)| *y += x));
                    to.iter_mut().for_each(|y| *y *= share);
                }
                SequenceOutput::Max => own.by_ref().enumerate().for_each(|(i, at)| {
                    (y[at], places[at]) = (x[i], 0);
                    for (step, values) in steps.clone().enumerate().skip(1) {
                        if values[i] > y[at] || values[i].is_nan() {
                            (y[at], places[at]) = (values[i], step as u32);
                        }
                    }
                }),
            }
        }
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
        let ((lengths, wide), width) = (self.lengths(&pass), self.width);
        if self.readout == SequenceOutput::All {
            dx.copy_from_slice(dy);
            return;
        }
        dx.fill(0.0);
        for (row, ((dx, dy), length)) in
            dx.chunks_exact_mut(wide).zip(dy.chunks_exact(width)).zip(&*lengths).enumerate()
        {
            let length = *length as usize;
            match self.readout {
                SequenceOutput::Mean => {
                    let steps = dx.chunks_exact_mut(width).take(length);
                    steps.for_each(|dx| dx.iter_mut().zip(dy).for_each(|(dx, d)| *dx = d / length as f32));
                }
                SequenceOutput::Max => {
                    let places = &saved.places[row * width..][..width];
                    places.iter().zip(dy).enumerate().for_each(|(i, (step, d))| dx[*step as usize * width + i] = *d);
                }
                SequenceOutput::Last | SequenceOutput::All => dx[(length - 1) * width..][..width].copy_from_slice(dy),
            }
        }
    }
}
