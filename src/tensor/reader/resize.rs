//! Bilinear resampling, to the bit as Pillow's `Image.resize(size, BILINEAR, box)` does it.
//!
//! The triangle filter grows with the reduction, so that every source pixel counts; weights have 22 bits and both
//! passes round to 8.

use std::ops::Range;

/// Bits of a weight after the point.
const PRECISION: u32 = 32 - 8 - 2;
const HALF: i32 = 1 << (PRECISION - 1);

/// A picture of interleaved 8-bit channels.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Picture {
    pub(super) width: usize,
    pub(super) height: usize,
    /// 1 or 3.
    pub(super) channels: usize,
    /// `height × width × channels` values.
    pub(super) pixels: Vec<u8>,
}

/// A part of a picture, in pixels: left, top, right, bottom.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct PixelRect(pub(super) f64, pub(super) f64, pub(super) f64, pub(super) f64);

/// Which input positions each output position is made of.
struct ResampleWeights {
    taps: usize,
    spans: Vec<Range<usize>>,
    values: Vec<i32>,
}

impl ResampleWeights {
    /// From `from..to` of `input` positions to `output`.
    fn new(input: usize, from: f64, to: f64, output: usize) -> Self {
        let scale = (to - from) / output as f64;
        let reach = scale.max(1.0);
        let taps = reach.ceil() as usize * 2 + 1;
        let (mut spans, mut values) = (Vec::with_capacity(output), vec![0; output * taps]);
        let mut exact = vec![0.0; taps];
        for at in 0..output {
            let center = from + (at as f64 + 0.5) * scale;
            let first = ((center - reach + 0.5) as i64).max(0) as usize;
            let last = ((center + reach + 0.5) as i64).clamp(0, input as i64) as usize;
            let span = first..last.max(first);
            let mut sum = 0.0;
            for (i, weight) in exact.iter_mut().enumerate().take(span.len()) {
                let distance = (((i + first) as f64 - center + 0.5) * (1.0 / reach)).abs();
                *weight = if distance < 1.0 { 1.0 - distance } else { 0.0 };
                sum += *weight;
            }
            for (value, weight) in values[at * taps..].iter_mut().zip(&exact[..span.len()]) {
                let weight = if sum == 0.0 { *weight } else { weight / sum };
                *value = (0.5 + weight * f64::from(1 << PRECISION)) as i32;
            }
            spans.push(span);
        }
        Self { taps, spans, values }
    }

    fn at(&self, output: usize) -> (Range<usize>, &[i32]) {
        let span = self.spans[output].clone();
        let values = &self.values[output * self.taps..][..span.len()];
        (span, values)
    }
}

fn round(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

impl Picture {
    /// Returns the part of the picture, at another size; neither may be empty.
    pub(super) fn resized(&self, part: PixelRect, width: usize, height: usize) -> Picture {
        let PixelRect(left, top, right, bottom) = part;
        let across = width != self.width || left != 0.0 || right != width as f64;
        let down = height != self.height || top != 0.0 || bottom != height as f64;
        let rows = ResampleWeights::new(self.height, top, bottom, height);
        // Rows that no output row is made of are not resampled.
        let used = match (rows.spans.first(), rows.spans.last()) {
            (Some(first), Some(last)) if down => first.start..last.end,
            _ => 0..self.height,
        };
        let narrowed = match across {
            true => {
                let weights = ResampleWeights::new(self.width, left, right, width);
                match self.channels {
                    1 => self.narrow::<1>(&weights, used.clone()),
                    _ => self.narrow::<3>(&weights, used.clone()),
                }
            }
            false => {
                self.pixels[used.start * self.width * self.channels..used.end * self.width * self.channels].to_vec()
            }
        };
        let pixels = if down { shorten(&narrowed, width * self.channels, &rows, used.start) } else { narrowed };
        Picture { width, height, channels: self.channels, pixels }
    }

    /// Resamples the rows `used`, each across.
    fn narrow<const C: usize>(&self, weights: &ResampleWeights, used: Range<usize>) -> Vec<u8> {
        let mut pixels = Vec::with_capacity(used.len() * weights.spans.len() * C);
        for row in self.pixels.chunks_exact(self.width * C).take(used.end).skip(used.start) {
            let (row, _) = row.as_chunks::<C>();
            for at in 0..weights.spans.len() {
                let (span, values) = weights.at(at);
                let mut sums = [HALF; C];
                for (pixel, weight) in row[span].iter().zip(values) {
                    for c in 0..C {
                        sums[c] += i32::from(pixel[c]) * weight;
                    }
                }
                pixels.extend(sums.map(round));
            }
        }
        pixels
    }
}

/// Resamples down; `rows` lie from row `skipped` on, `stride` values each.
fn shorten(pixels: &[u8], stride: usize, weights: &ResampleWeights, skipped: usize) -> Vec<u8> {
    let mut shortened = Vec::with_capacity(weights.spans.len() * stride);
    let mut sums = vec![0; stride];
    for at in 0..weights.spans.len() {
        let (span, values) = weights.at(at);
        sums.fill(HALF);
        for (row, weight) in span.zip(values) {
            let row = &pixels[(row - skipped) * stride..][..stride];
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += i32::from(*value) * weight);
        }
        shortened.extend(sums.iter().map(|sum| round(*sum)));
    }
    shortened
}
