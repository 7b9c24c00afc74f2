//! A kernel that slides over a plane, and the copies that make products of convolutions.

/// The geometry of a convolution or of pooling over one plane; one-dimensional ones are of height 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    /// Height and width of what goes in.
    pub(crate) input: [usize; 2],
    /// Height and width of what comes out.
    pub(crate) output: [usize; 2],
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: [usize; 2],
    pub(crate) padding: [usize; 2],
    pub(crate) dilation: [usize; 2],
}

impl Window {
    pub(crate) fn input_plane(&self) -> usize {
        self.input[0] * self.input[1]
    }

    pub(crate) fn output_plane(&self) -> usize {
        self.output[0] * self.output[1]
    }

    pub(crate) fn kernel_plane(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Returns whether the columns of a band are the input itself.
    pub(crate) fn is_identity(&self) -> bool {
        self.kernel == [1, 1] && self.stride == [1, 1] && self.padding == [0, 0]
    }

    /// Returns the input's coordinate along an axis, or none in the padding.
    pub(crate) fn at(&self, axis: usize, out: usize, k: usize) -> Option<usize> {
        let place = out * self.stride[axis] + k * self.dilation[axis];
        place.checked_sub(self.padding[axis]).filter(|&p| p < self.input[axis])
    }

    /// Returns the outputs along the width whose value under column `k` of the kernel lies inside the input.
    fn inside(&self, k: usize) -> std::ops::Range<usize> {
        let (shift, stride) = (k * self.dilation[1], self.stride[1]);
        let begin = self.padding[1].saturating_sub(shift).div_ceil(stride);
        let end = (self.input[1] + self.padding[1]).saturating_sub(shift).div_ceil(stride).min(self.output[1]);
        begin.min(end)..end
    }

    /// Copies what lies under the kernel at each place of output rows `band`: `columns` is `(channels × kernel, band ×
    /// output width)`, row-major.
    pub(crate) fn gather(&self, x: &[f32], band: std::ops::Range<usize>, columns: &mut [f32]) {
        let (width, wide) = (self.output[1], band.len() * self.output[1]);
        let mut lines = columns.chunks_exact_mut(wide);
        for plane in x.chunks_exact(self.input_plane()) {
            for kh in 0..self.kernel[0] {
                for kw in 0..self.kernel[1] {
                    let inside = self.inside(kw);
                    let Some(line) = lines.next() else { return };
                    for (out, line) in band.clone().zip(line.chunks_exact_mut(width)) {
                        let Some(row) = self.at(0, out, kh).filter(|_| !inside.is_empty()) else {
                            line.fill(0.0);
                            continue;
                        };
                        line[..inside.start].fill(0.0);
                        line[inside.end..].fill(0.0);
                        let first = inside.start * self.stride[1] + kw * self.dilation[1] - self.padding[1];
                        let from = &plane[row * self.input[1] + first..(row + 1) * self.input[1]];
                        let line = &mut line[inside.clone()];
                        if self.stride[1] == 1 {
                            line.copy_from_slice(&from[..line.len()]);
                        } else {
                            line.iter_mut().zip(from.iter().step_by(self.stride[1])).for_each(|(v, x)| *v = *x);
                        }
                    }
                }
            }
        }
    }

    /// Adds columns back to where [`gather`](Self::gather) took them from.
    pub(crate) fn scatter(&self, columns: &[f32], band: std::ops::Range<usize>, x: &mut [f32]) {
        let (width, wide) = (self.output[1], band.len() * self.output[1]);
        let mut lines = columns.chunks_exact(wide);
        for plane in x.chunks_exact_mut(self.input_plane()) {
            for kh in 0..self.kernel[0] {
                for kw in 0..self.kernel[1] {
                    let inside = self.inside(kw);
                    let Some(line) = lines.next() else { return };
                    for (out, line) in band.clone().zip(line.chunks_exact(width)) {
                        let Some(row) = self.at(0, out, kh).filter(|_| !inside.is_empty()) else { continue };
                        let first = inside.start * self.stride[1] + kw * self.dilation[1] - self.padding[1];
                        let to = &mut plane[row * self.input[1] + first..(row + 1) * self.input[1]];
                        let line = &line[inside.clone()];
                        if self.stride[1] == 1 {
                            to.iter_mut().zip(line).for_each(|(x, v)| *x += v);
                        } else {
                            to.iter_mut().step_by(self.stride[1]).zip(line).for_each(|(x, v)| *x += v);
                        }
                    }
                }
            }
        }
    }
}
