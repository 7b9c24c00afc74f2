//! Matrix products over slices.

use ::gemm::Parallelism;

/// A matrix in a slice: how far it is to the next row and to the next column.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Matrix<'a> {
    values: &'a [f32],
    row: usize,
    column: usize,
}

impl<'a> Matrix<'a> {
    /// Row-major, rows `stride` apart.
    pub(crate) fn rows(values: &'a [f32], stride: usize) -> Self {
        Self { values, row: stride, column: 1 }
    }

    /// The transpose.
    pub(crate) fn t(self) -> Self {
        Self { row: self.column, column: self.row, ..self }
    }

    fn fits(&self, rows: usize, columns: usize) -> bool {
        rows == 0 || columns == 0 || (rows - 1) * self.row + (columns - 1) * self.column < self.values.len()
    }
}

/// Who computes a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Threads {
    /// The calling thread: one of several at work already.
    One,
    /// The pool.
    All,
}

/// `c = a b`, or `c += a b`; sizes are `(m, n, k)` for `a: (m, k)`, `b: (k, n)` and a row-major `c: (m, n)` whose rows are
/// `stride` apart. The same numbers come out whatever the number of threads and their timing: each value is summed by one
/// thread, in one order.
///
/// # Panics
/// When a slice is too short for its matrix.
pub(crate) fn gemm(
    [m, n, k]: [usize; 3],
    a: Matrix<'_>,
    b: Matrix<'_>,
    c: (&mut [f32], usize),
    accumulate: bool,
    threads: Threads,
) {
    let (c, stride) = c;
    assert!(a.fits(m, k) && b.fits(k, n), "a matrix is larger than its slice");
    assert!(m == 0 || n == 0 || (m - 1) * stride + n <= c.len(), "a product is larger than its slice");
    let parallelism = match threads {
        Threads::One => Parallelism::None,
        Threads::All => Parallelism::Rayon(0),
    };
    // SAFETY: every index that the strides and sizes reach was just checked to lie in its slice, and `c` is borrowed alone.
    unsafe {
        ::gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            stride as isize,
            accumulate,
            a.values.as_ptr(),
            a.column as isize,
            a.row as isize,
            b.values.as_ptr(),
            b.column as isize,
            b.row as isize,
            if accumulate { 1.0f32 } else { 0.0 },
            1.0f32,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_every_orientation_agree_with_the_definition() {
        let (m, n, k) = (3, 5, 4);
        let a: Vec<f32> = (0..m * k).map(|i| i as f32 - 5.0).collect();
        let b: Vec<f32> = (0..k * n).map(|i| 0.5 * i as f32 - 3.0).collect();
        let transpose = |v: &[f32], columns: usize| -> Vec<f32> {
            (0..columns).flat_map(|c| v.iter().copied().skip(c).step_by(columns).collect::<Vec<_>>()).collect()
        };
        let (at, bt) = (transpose(&a, k), transpose(&b, n));
        let want: Vec<f32> =
            (0..m * n).map(|i| (0..k).map(|j| a[i / n * k + j] * b[j * n + i % n]).sum::<f32>()).collect();
        for left in [Matrix::rows(&a, k), Matrix::rows(&at, m).t()] {
            for right in [Matrix::rows(&b, n), Matrix::rows(&bt, k).t()] {
                let mut c = vec![1.0; m * 7];
                gemm([m, n, k], left, right, (&mut c, 7), true, Threads::All);
                let plus_one: Vec<f32> = want.iter().map(|v| v + 1.0).collect();
                assert_eq!(c.chunks(7).flat_map(|r| r[..n].to_vec()).collect::<Vec<_>>(), plus_one);
                gemm([m, n, k], left, right, (&mut c, 7), false, Threads::One);
                assert_eq!(c.chunks(7).flat_map(|r| r[..n].to_vec()).collect::<Vec<_>>(), want);
                assert!(c.chunks(7).all(|r| r[n..] == [1.0, 1.0]));
            }
        }
    }
}
