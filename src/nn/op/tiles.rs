//! Matrix products in registers of sixteen numbers, for processors with AVX-512.
//!
//! A product is cut into panels of up to 64 columns. What a panel needs of `b` is copied into a buffer that stays in
//! the second-level cache, transposed where `b` is a transpose; `a` is read in place, one number at a time, each
//! multiplied with a whole row of the panel. Nothing else is copied, which is why small products, and those of a
//! minibatch with weights that change at every step, cost little more than their multiplications.
//!
//! Every value is one chain of fused multiply-adds in the order of `k`, however the product is cut up.

use std::{
    arch::x86_64::{
        __m512, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_set1_ps,
        _mm512_setzero_ps, _mm512_storeu_ps,
    },
    cell::RefCell,
    ops::Range,
};

use rayon::prelude::*;

use super::{
    gemm::{Matrix, Start, Threads},
    room,
    turn::turn,
};

/// Numbers of a register, and of a panel's row.
const LANES: usize = 16;
const PANEL: usize = 4 * LANES;
/// Rows of a panel that are multiplied before the next ones are copied: 256 KiB.
const DEEP: usize = 1024;
/// Fewer multiplications than this are not worth a second thread.
const WORTH_SHARING: usize = 1 << 20;
/// Rows of `a` at a time: with four registers a row, 24 sums are under way.
const TILE: usize = 6;

thread_local! {
    static COPIED: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// A matrix anywhere: its first value, the way to the next row and to the next column.
#[derive(Debug, Clone, Copy)]
struct Strided<P> {
    at: P,
    row: usize,
    column: usize,
}

impl<P> Strided<P> {
    fn t(self) -> Self {
        Self { at: self.at, row: self.column, column: self.row }
    }
}

/// Returns whether this processor has AVX-512.
pub(super) fn available() -> bool {
    std::is_x86_feature_detected!("avx512f")
}

/// `c = start + a b`, on the calling thread or on all.
///
/// # Safety
/// The processor has AVX-512; every value that sizes and strides reach is inside its slice; nothing else uses `c`
/// meanwhile.
pub(super) unsafe fn multiply(
    sizes: [usize; 3],
    a: Matrix<'_>,
    b: Matrix<'_>,
    c: (*mut f32, usize),
    start: Start<'_>,
    threads: Threads,
) {
    let strided = |m: Matrix<'_>| Strided { at: m.values.as_ptr(), row: m.row, column: m.column };
    let c = Strided { at: c.0, row: c.1, column: 1 };
    let product = Product { sizes, a: strided(a), b: strided(b), panels: None, c, start };
    let product = if product.t().cost() < product.cost() { product.t() } else { product };
    // SAFETY: by the caller's word.
    unsafe { product.run(threads) };
}

/// `c = start + a b`, with the panels of `b` from [`panels`].
///
/// # Safety
/// As [`multiply`].
pub(super) unsafe fn multiply_panels(
    sizes: [usize; 3],
    a: Matrix<'_>,
    panels: &[f32],
    c: (*mut f32, usize),
    start: Start<'_>,
    threads: Threads,
) {
    let [_, n, k] = sizes;
    assert!(panels.len() >= k * n.next_multiple_of(LANES), "panels of another matrix");
    let a = Strided { at: a.values.as_ptr(), row: a.row, column: a.column };
    let (c, b) = (Strided { at: c.0, row: c.1, column: 1 }, Strided { at: panels.as_ptr(), row: PANEL, column: 1 });
    // SAFETY: by the caller's word.
    unsafe { Product { sizes, a, b, panels: Some(panels.as_ptr()), c, start }.run(threads) };
}

/// Returns the panels of a `(k, n)` matrix that products copy, all behind each other.
///
/// # Safety
/// As [`multiply`].
pub(super) unsafe fn panels((k, n): (usize, usize), b: Matrix<'_>) -> Vec<f32> {
    let mut panels = vec![0.0; k * n.next_multiple_of(LANES)];
    for (to, first) in panels.chunks_mut((k * PANEL).max(1)).zip((0..n).step_by(PANEL)) {
        let at = b.values.as_ptr().wrapping_add(first * b.column);
        // SAFETY: by the caller's word.
        unsafe { copy(Strided { at, row: b.row, column: b.column }, (k, PANEL.min(n - first)), to) };
    }
    panels
}

/// `c = start + a b`; sizes are `(m, n, k)`.
#[derive(Debug, Clone, Copy)]
struct Product<'a> {
    sizes: [usize; 3],
    a: Strided<*const f32>,
    b: Strided<*const f32>,
    /// `b` as [`panels`] lays it out, if it is.
    panels: Option<*const f32>,
    c: Strided<*mut f32>,
    start: Start<'a>,
}

// SAFETY: the pointers are to slices borrowed for as long as the product is at work; its parts that are computed at the
// same time write to different values.
unsafe impl Send for Product<'_> {}
unsafe impl Sync for Product<'_> {}

impl Product<'_> {
    /// Returns the same product of the transposes: `cᵀ = startᵀ + bᵀ aᵀ`.
    fn t(self) -> Self {
        let [m, n, k] = self.sizes;
        let start = match self.start {
            Start::ThreadColumns(bias) => Start::Rows(bias),
            Start::Rows(bias) => Start::ThreadColumns(bias),
            other => other,
        };
        Self { sizes: [n, m, k], a: self.b.t(), b: self.a.t(), panels: None, c: self.c.t(), start }
    }

    /// About how many cycles it takes: multiplications, copying `b`, storing `c`.
    fn cost(&self) -> usize {
        let [m, n, k] = self.sizes;
        let copying = match (self.b.row, self.b.column) {
            (_, 1) => n * k / 8,
            (1, _) => n * k / 3,
            _ => 2 * n * k,
        };
        m * n.div_ceil(LANES) * k + copying + if self.c.column == 1 { m * n / 8 } else { 3 * m * n / 2 }
    }

    /// Computes all of it, on the calling thread or on all.
    ///
    /// # Safety
    /// As [`multiply`].
    unsafe fn run(self, threads: Threads) {
        let ([m, n, k], panels) = (self.sizes, self.sizes[1].div_ceil(PANEL));
        let at_work = super::threads();
        if threads == Threads::One || at_work == 1 || m * n * k < WORTH_SHARING {
            // SAFETY: by the caller's word.
            (0..panels).for_each(|panel| unsafe { self.panel(panel, 0..m) });
            return;
        }
        // Each part of a panel copies it anew, so there are no more than it takes to keep all threads at work.
        let even = |parts: &usize| (panels * parts).is_multiple_of(at_work) || panels * parts >= 4 * at_work;
        let parts = (1..=4).find(even).unwrap_or(4);
        let rows = m.div_ceil(parts).next_multiple_of(TILE);
        (0..panels * parts).into_par_iter().for_each(|i| {
            let begin = (i % parts * rows).min(m);
            // SAFETY: by the caller's contract; each part writes to separate values.
            unsafe { self.panel(i / parts, begin..(begin + rows).min(m)) };
        });
    }

    /// Computes rows `rows` of one panel.
    ///
    /// # Safety
    /// As [`multiply`].
    #[target_feature(enable = "avx512f")]
    unsafe fn panel(&self, panel: usize, rows: Range<usize>) {
        let [_, n, k] = self.sizes;
        let first = panel * PANEL;
        let width = PANEL.min(n - first);
        COPIED.with_borrow_mut(|copied| {
            let mut depth = 0;
            // Also once for no depth at all, which leaves the start.
            while depth < k || depth == 0 {
                let deep = DEEP.min(k - depth);
                let vectors = width.div_ceil(LANES);
                let copied = match self.panels {
                    Some(panels) => panels.wrapping_add(k * first + depth * vectors * LANES),
                    None => {
                        let b = self.b.at.wrapping_add(depth * self.b.row + first * self.b.column);
                        let copied = room(copied, deep * vectors * LANES);
                        // SAFETY: the part of `b` is inside it by the caller's word.
                        unsafe { copy(Strided { at: b, ..self.b }, (deep, width), copied) };
                        copied.as_ptr()
                    }
                };
                let start = if depth > 0 { Start::Held } else { self.start };
                let part = PanelPart { product: self, start, first, width, depth, deep, copied };
                // SAFETY: as above.
                unsafe {
                    match vectors {
                        1 => part.rows::<1>(rows.clone()),
                        2 => part.rows::<2>(rows.clone()),
                        3 => part.rows::<3>(rows.clone()),
                        _ => part.rows::<4>(rows.clone()),
                    }
                }
                depth += deep.max(1);
            }
        });
    }
}

/// Copies `deep` rows of `width` values behind each other, filled up with zeros to whole registers.
#[target_feature(enable = "avx512f")]
unsafe fn copy(b: Strided<*const f32>, (deep, width): (usize, usize), to: &mut [f32]) {
    let wide = width.next_multiple_of(LANES);
    if b.row == 1 && b.column != 1 {
        for lanes in (0..width).step_by(LANES) {
            let count = LANES.min(width - lanes);
            // SAFETY: by the caller's contract, `count` rows of `deep` values exist, and room for their columns.
            unsafe { turn(b.at.add(lanes * b.column), b.column, (count, deep), to.as_mut_ptr().add(lanes), wide) };
        }
        return;
    }
    for (k, to) in to.chunks_exact_mut(wide).enumerate() {
        let from = b.at.wrapping_add(k * b.row);
        for lanes in (0..width).step_by(LANES) {
            let mask = mask(width - lanes);
            // SAFETY: only values inside `b` are read, and `to` has a whole register's room.
            unsafe {
                let values = if b.column == 1 {
                    _mm512_maskz_loadu_ps(mask, from.add(lanes))
                } else {
                    let mut values = [0.0; LANES];
                    for (lane, value) in values.iter_mut().enumerate().take(width - lanes) {
                        *value = *from.add((lanes + lane) * b.column);
                    }
                    _mm512_loadu_ps(values.as_ptr())
                };
                _mm512_storeu_ps(to.as_mut_ptr().add(lanes), values);
            }
        }
    }
}

/// Returns the first `count` lanes.
fn mask(count: usize) -> u16 {
    if count >= LANES { u16::MAX } else { (1 << count) - 1 }
}

/// A panel's part of one depth.
struct PanelPart<'a> {
    product: &'a Product<'a>,
    start: Start<'a>,
    first: usize,
    width: usize,
    depth: usize,
    deep: usize,
    copied: *const f32,
}

impl PanelPart<'_> {
    #[target_feature(enable = "avx512f")]
    unsafe fn rows<const V: usize>(&self, rows: Range<usize>) {
        let mut row = rows.start;
        while row < rows.end {
            let count = TILE.min(rows.end - row);
            // SAFETY: by the caller's word.
            unsafe {
                match count {
                    1 => self.tile::<1, V>(row),
                    2 => self.tile::<2, V>(row),
                    3 => self.tile::<3, V>(row),
                    4 => self.tile::<4, V>(row),
                    5 => self.tile::<5, V>(row),
                    _ => self.tile::<TILE, V>(row),
                }
            }
            row += count;
        }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn tile<const R: usize, const V: usize>(&self, row: usize) {
        let Product { a, c, .. } = self.product;
        let c = Strided { at: c.at.wrapping_add(row * c.row + self.first * c.column), ..*c };
        // SAFETY: by the caller's word; the copied rows have whole registers.
        unsafe {
            let mut sums = self.begin::<R, V>(row, c);
            let mut a_at = a.at.wrapping_add(row * a.row + self.depth * a.column);
            let mut b_at = self.copied;
            for _ in 0..self.deep {
                let b: [__m512; V] = std::array::from_fn(|v| _mm512_loadu_ps(b_at.wrapping_add(v * LANES)));
                for (r, sums) in sums.iter_mut().enumerate() {
                    let a = _mm512_set1_ps(*a_at.wrapping_add(r * a.row));
                    for (sum, b) in sums.iter_mut().zip(b) {
                        *sum = _mm512_fmadd_ps(a, b, *sum);
                    }
                }
                a_at = a_at.wrapping_add(a.column);
                b_at = b_at.wrapping_add(V * LANES);
            }
            self.end(sums, c);
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn begin<const R: usize, const V: usize>(&self, row: usize, c: Strided<*mut f32>) -> [[__m512; V]; R] {
        let lanes = |v: usize| mask(self.width - v * LANES);
        let mut sums = [[_mm512_setzero_ps(); V]; R];
        // SAFETY: by the caller's word, only lanes inside `c` or the bias are read.
        unsafe {
            for (r, sums) in sums.iter_mut().enumerate() {
                for (v, sum) in sums.iter_mut().enumerate() {
                    *sum = match self.start {
                        Start::Zero => continue,
                        Start::Rows(bias) => _mm512_set1_ps(*bias.as_ptr().add(row + r)),
                        Start::ThreadColumns(bias) => {
                            _mm512_maskz_loadu_ps(lanes(v), bias.as_ptr().add(self.first + v * LANES))
                        }
                        Start::Held if c.column == 1 => {
                            _mm512_maskz_loadu_ps(lanes(v), c.at.add(r * c.row + v * LANES))
                        }
                        Start::Held => {
                            let mut held = [0.0; LANES];
                            for (lane, held) in held.iter_mut().enumerate().take(self.width - v * LANES) {
                                *held = *c.at.add(r * c.row + (v * LANES + lane) * c.column);
                            }
                            _mm512_loadu_ps(held.as_ptr())
                        }
                    };
                }
            }
        }
        sums
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn end<const R: usize, const V: usize>(&self, sums: [[__m512; V]; R], c: Strided<*mut f32>) {
        // SAFETY: by the caller's word, only lanes inside `c` are written.
        unsafe {
            if c.column == 1 {
                for (r, sums) in sums.iter().enumerate() {
                    for (v, sum) in sums.iter().enumerate() {
                        let to = c.at.add(r * c.row + v * LANES);
                        _mm512_mask_storeu_ps(to, mask(self.width - v * LANES), *sum);
                    }
                }
                return;
            }
            let mut values = [[[0.0f32; LANES]; V]; R];
            for (values, sums) in values.iter_mut().zip(&sums) {
                for (values, sum) in values.iter_mut().zip(sums) {
                    _mm512_storeu_ps(values.as_mut_ptr(), *sum);
                }
            }
            for lane in 0..self.width {
                let to = c.at.add(lane * c.column);
                for (r, values) in values.iter().enumerate() {
                    *to.add(r * c.row) = values[lane / LANES][lane % LANES];
                }
            }
        }
    }
}
