//! Rows into columns, sixteen by sixteen.

use std::arch::x86_64::{
    __m512, _mm512_castpd_ps, _mm512_castps_pd, _mm512_loadu_ps, _mm512_setzero_ps, _mm512_shuffle_f32x4,
    _mm512_storeu_ps, _mm512_unpackhi_pd, _mm512_unpackhi_ps, _mm512_unpacklo_pd, _mm512_unpacklo_ps,
};

const SIDE: usize = 16;

/// Copies `count` rows (at most 16) of `deep` values, `stride` apart, to `deep` rows of 16 values, `wide` apart; lanes
/// without a row become zero.
///
/// # Safety
/// The processor has AVX-512; the rows and the room exist.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn turn(from: *const f32, stride: usize, (count, deep): (usize, usize), to: *mut f32, wide: usize) {
    let whole = deep / SIDE * SIDE;
    // SAFETY: all accesses are within the caller's contract.
    unsafe {
        for k in (0..whole).step_by(SIDE) {
            let mut block = [_mm512_setzero_ps(); SIDE];
            for (row, block) in block.iter_mut().enumerate().take(count) {
                *block = _mm512_loadu_ps(from.add(row * stride + k));
            }
            for (i, values) in turned(block).into_iter().enumerate() {
                _mm512_storeu_ps(to.add((k + i) * wide), values);
            }
        }
        for k in whole..deep {
            let mut values = [0.0; SIDE];
            for (row, value) in values.iter_mut().enumerate().take(count) {
                *value = *from.add(row * stride + k);
            }
            _mm512_storeu_ps(to.add(k * wide), _mm512_loadu_ps(values.as_ptr()));
        }
    }
}

/// The transpose of sixteen registers: pairs within quarters, then pairs of pairs, then the quarters themselves.
#[inline]
#[target_feature(enable = "avx512f")]
fn turned(rows: [__m512; SIDE]) -> [__m512; SIDE] {
    let mut pairs = rows;
    for i in (0..SIDE).step_by(2) {
        pairs[i] = _mm512_unpacklo_ps(rows[i], rows[i + 1]);
        pairs[i + 1] = _mm512_unpackhi_ps(rows[i], rows[i + 1]);
    }
    // In each quarter of `fours[4 i + j]`: column 4 q + j of rows 4 i to 4 i + 3.
    let mut fours = rows;
    for i in (0..SIDE).step_by(4) {
        let wide = |j: usize| _mm512_castps_pd(pairs[i + j]);
        fours[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(wide(0), wide(2)));
        fours[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(wide(0), wide(2)));
        fours[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(wide(1), wide(3)));
        fours[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(wide(1), wide(3)));
    }
    let mut columns = rows;
    for j in 0..4 {
        let (a, b, c, d) = (fours[j], fours[4 + j], fours[8 + j], fours[12 + j]);
        let (low, high) = (_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0xdd>(a, b));
        let (low_too, high_too) = (_mm512_shuffle_f32x4::<0x88>(c, d), _mm512_shuffle_f32x4::<0xdd>(c, d));
        columns[j] = _mm512_shuffle_f32x4::<0x88>(low, low_too);
        columns[8 + j] = _mm512_shuffle_f32x4::<0xdd>(low, low_too);
        columns[4 + j] = _mm512_shuffle_f32x4::<0x88>(high, high_too);
        columns[12 + j] = _mm512_shuffle_f32x4::<0xdd>(high, high_too);
    }
    columns
}
