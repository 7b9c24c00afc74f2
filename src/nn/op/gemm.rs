//! Matrix products over slices.

use ::gemm::Parallelism;

#[cfg(target_arch = "x86_64")]
use super::tiles;
use super::wide;

/// A matrix in a slice: how far it is to the next row and to the next column.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Matrix<'a> {
    pub(super) values: &'a [f32],
    pub(super) row: usize,
    pub(super) column: usize,
}

impl<'a> Matrix<'a> {
    /// Row-major, rows `stride` apart.
    pub(crate) fn rows(values: &'a [f32], stride: usize) -> Self {
        Self { values, row: stride, column: 1 }
    }

    /// Returns the transpose.
    pub(crate) fn t(self) -> Self {
        Self { row: self.column, column: self.row, ..self }
    }

    fn fits(&self, rows: usize, columns: usize) -> bool {
        rows == 0 || columns == 0 || (rows - 1) * self.row + (columns - 1) * self.column < self.values.len()
    }
}

/// Threads that compute a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Threads {
    /// The calling thread: one of several at work already.
    One,
    /// The pool.
    All,
}

/// Values of the right factor up to which a product without AVX-512 is summed in one order for every row. The `gemm`
/// crate rounds the edges of such products otherwise than their middle, so that a row's result would depend on its
/// place among the others.
const SMALL: usize = 1024;

/// `c = start + a b`, every value summed in the order of `k`.
fn small([m, n, k]: [usize; 3], a: Matrix<'_>, b: Matrix<'_>, c: (&mut [f32], usize), start: Start<'_>) {
    let mut right = [0.0; SMALL];
    for (l, row) in right.chunks_exact_mut(n).take(k).enumerate() {
        row.iter_mut().enumerate().for_each(|(j, value)| *value = b.values[l * b.row + j * b.column]);
    }
    let (c, stride) = c;
    wide(|| {
        for (i, row) in c.chunks_mut(stride.max(1)).take(m).enumerate() {
            let row = &mut row[..n];
            match start {
                Start::ThreadColumns(bias) => row.copy_from_slice(&bias[..n]),
                Start::Rows(bias) => row.fill(bias[i]),
                Start::Zero => row.fill(0.0),
                Start::Held => {}
            }
            for (l, right) in right.chunks_exact(n).take(k).enumerate() {
                let left = a.values[i * a.row + l * a.column];
                row.iter_mut().zip(right).for_each(|(sum, right)| *sum += left * right);
            }
        }
    });
}

/// Start of the sum.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Start<'a> {
    Zero,
    /// The present contents.
    Held,
    /// A number for each of its columns.
    ThreadColumns(&'a [f32]),
    /// A number for each of its rows.
    Rows(&'a [f32]),
}

/// `c = a b`, or `c += a b`: [`product`] from zero, or added to the contents.
pub(crate) fn gemm(
    sizes: [usize; 3],
    a: Matrix<'_>,
    b: Matrix<'_>,
    c: (&mut [f32], usize),
    accumulate: bool,
    threads: Threads,
) {
    product(sizes, a, b, c, if accumulate { Start::Held } else { Start::Zero }, threads);
}

/// `c = start + a b`; sizes are `(m, n, k)` for `a: (m, k)`, `b: (k, n)` and a row-major `c: (m, n)` whose rows are
/// `stride` apart. The same numbers come out whatever the number of threads and their timing: each value is summed by
/// one thread, in one order.
///
/// # Panics
/// When a slice is too short for its matrix.
pub(crate) fn product(
    [m, n, k]: [usize; 3],
    a: Matrix<'_>,
    b: Matrix<'_>,
    c: (&mut [f32], usize),
    start: Start<'_>,
    threads: Threads,
) {
    let (c, stride) = c;
    check([m, n, k], a, Some(b), (c.len(), stride), start);
    if m == 0 || n == 0 {
        return;
    }
    #[cfg(target_arch = "x86_64")]
    if tiles::available() {
        // SAFETY: the processor can, and every index that the strides and sizes reach was just checked to lie in its slice;
        // `c` is borrowed alone.
        unsafe { tiles::multiply([m, n, k], a, b, (c.as_mut_ptr(), stride), start, threads) };
        return;
    }
    if n * k <= SMALL {
        return small([m, n, k], a, b, (c, stride), start);
    }
    for (i, row) in c.chunks_mut(stride.max(1)).take(m).enumerate() {
        match start {
            Start::ThreadColumns(bias) => row[..n].copy_from_slice(&bias[..n]),
            Start::Rows(bias) => row[..n].fill(bias[i]),
            Start::Zero | Start::Held => break,
        }
    }
    let accumulate = !matches!(start, Start::Zero);
    let parallelism = match threads {
        Threads::All if super::threads() > 1 => Parallelism::Rayon(0),
        Threads::One | Threads::All => Parallelism::None,
    };
    // SAFETY: as above.
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

/// Holds slices against the sizes of their matrices.
fn check([m, n, k]: [usize; 3], a: Matrix<'_>, b: Option<Matrix<'_>>, c: (usize, usize), start: Start<'_>) {
    let (len, stride) = c;
    assert!(a.fits(m, k) && b.is_none_or(|b| b.fits(k, n)), "a matrix is larger than its slice");
    assert!(m == 0 || n == 0 || (m - 1) * stride + n <= len, "a product is larger than its slice");
    match start {
        Start::ThreadColumns(bias) => assert!(bias.len() >= n, "a number for each column"),
        Start::Rows(bias) => assert!(bias.len() >= m, "a number for each row"),
        Start::Zero | Start::Held => {}
    }
}

/// The second factor of many products, laid out once as they read it.
#[derive(Debug)]
pub(crate) struct Factor {
    rows: usize,
    columns: usize,
    values: Vec<f32>,
}

impl Factor {
    /// Of a `(rows, columns)` matrix.
    ///
    /// # Panics
    /// When the slice is too short for it.
    pub(crate) fn new(rows: usize, columns: usize, matrix: Matrix<'_>) -> Self {
        assert!(matrix.fits(rows, columns), "a matrix is larger than its slice");
        #[cfg(target_arch = "x86_64")]
        if tiles::available() {
            // SAFETY: the processor can, and the matrix lies in its slice.
            return Self { rows, columns, values: unsafe { tiles::panels((rows, columns), matrix) } };
        }
        let at = |i: usize| matrix.values[i / columns * matrix.row + i % columns * matrix.column];
        Self { rows, columns, values: (0..rows * columns).map(at).collect() }
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// `c = start + a b` for `m` rows, `b` this factor; otherwise as [`product`].
    ///
    /// # Panics
    /// When a slice is too short for its matrix.
    pub(crate) fn product(&self, m: usize, a: Matrix<'_>, c: (&mut [f32], usize), start: Start<'_>, threads: Threads) {
        let sizes @ [_, n, k] = [m, self.columns, self.rows];
        #[cfg(target_arch = "x86_64")]
        if tiles::available() {
            check(sizes, a, None, (c.0.len(), c.1), start);
            if m > 0 && n > 0 {
                // SAFETY: as in `product`; the panels are those of this matrix.
                unsafe {
                    tiles::multiply_panels(sizes, a, &self.values, (c.0.as_mut_ptr(), c.1), start, threads);
                }
            }
            return;
        }
        product([m, n, k], a, Matrix::rows(&self.values, n), c, start, threads);
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

    /// Values that no sum can hit by probability.
    fn values(count: usize, seed: u64) -> Vec<f32> {
        (0..count as u64).map(|i| ((i + seed) * 2_654_435_761 % 1_000_003) as f32 / 500_000.0 - 1.0).collect()
    }

    #[test]
    fn odd_sizes_strides_and_starts_agree_with_the_definition() {
        let sizes = [
            [1, 1, 1],
            [2, 3, 0],
            [5, 7, 2],
            [6, 64, 3],
            [7, 65, 17],
            [13, 100, 40],
            [48, 10, 256],
            [100, 9, 31],
            [3, 200, 1100],
            [150, 70, 130],
        ];
        let columns = |v: &[f32], rows: usize, columns: usize| -> Vec<f32> {
            (0..rows * columns).map(|i| v[i % rows * columns + i / rows]).collect()
        };
        for [m, n, k] in sizes {
            let (a, b, held) = (values(m * k, 1), values(k * n, 2), values(m * (n + 3), 3));
            let (at, bt) = (columns(&a, m, k), columns(&b, k, n));
            let (by_column, by_row) = (values(n, 4), values(m, 5));
            for start in [Start::Zero, Start::Held, Start::ThreadColumns(&by_column), Start::Rows(&by_row)] {
                let want = |i: usize, j: usize| {
                    let from = match start {
                        Start::Zero => 0.0,
                        Start::Held => held[i * (n + 3) + j],
                        Start::ThreadColumns(bias) => bias[j],
                        Start::Rows(bias) => bias[i],
                    };
                    (0..k).fold(f64::from(from), |sum, l| sum + f64::from(a[i * k + l]) * f64::from(b[l * n + j]))
                };
                let mut seen: Option<Vec<f32>> = None;
                for left in [Matrix::rows(&a, k), Matrix::rows(&at, m).t()] {
                    for right in [Matrix::rows(&b, n), Matrix::rows(&bt, k).t()] {
                        let mut c = held.clone();
                        product([m, n, k], left, right, (&mut c, n + 3), start, Threads::One);
                        for (i, row) in c.chunks(n + 3).enumerate() {
                            assert_eq!(row[n..], held[i * (n + 3) + n..][..3], "the gap between rows is left alone");
                            for (j, got) in row[..n].iter().enumerate() {
                                let gap = (f64::from(*got) - want(i, j)).abs();
                                assert!(gap < 1e-5 * (k as f64).sqrt() + 1e-6, "{m} {n} {k}: {i} {j}: {gap}");
                            }
                        }
                        let mut shared = held.clone();
                        product([m, n, k], left, right, (&mut shared, n + 3), start, Threads::All);
                        assert_eq!(shared, c, "threads change nothing");
                        let mut again = held.clone();
                        Factor::new(k, n, right).product(m, left, (&mut again, n + 3), start, Threads::All);
                        for (i, (again, c)) in again.iter().zip(&c).enumerate() {
                            assert!(
                                (again - c).abs() < 1e-5 * (k as f32).sqrt() + 1e-6,
                                "{m} {n} {k}: {i}: {again}, {c}"
                            );
                        }
                        seen.get_or_insert(c);
                    }
                }
            }
        }
    }

    #[test]
    fn row_of_a_product_is_the_same_among_any_other_rows() {
        for [n, k] in [[8, 2], [3, 8], [1, 5], [10, 1], [16, 40], [64, 300], [5, 2], [1, 2]] {
            let (m, b, bias) = (150, values(k * n, 2), values(n, 4));
            let a = values(m * k, 1);
            for right in [Matrix::rows(&b, n), Matrix::rows(&b, k).t()] {
                for start in [Start::Zero, Start::ThreadColumns(&bias)] {
                    let of = |rows: std::ops::Range<usize>| {
                        let mut c = vec![0.0; rows.len() * n];
                        let a = Matrix::rows(&a[rows.start * k..rows.end * k], k);
                        product([rows.len(), n, k], a, right, (&mut c, n), start, Threads::All);
                        c
                    };
                    let whole = of(0..m);
                    for rows in [0..100, 100..150, 3..40, 7..8, 1..3, 149..150] {
                        // The `gemm` crate sums one row or two by large factors in another order.
                        if n * k > SMALL && rows.len() < 3 {
                            continue;
                        }
                        let part = of(rows.clone());
                        let differs = part.iter().zip(&whole[rows.start * n..]).position(|(a, b)| a != b);
                        assert_eq!(differs, None, "n {n}, k {k}, rows {rows:?}, {start:?}");
                    }
                }
            }
        }
    }
}
