//! Matrices that know their sizes, multiplied by the calling thread.

use crate::nn::op::gemm::{self, Start, Threads, gemm};

pub(super) use gemm::Factor;

/// A matrix in a slice.
#[derive(Debug, Clone, Copy)]
pub(super) struct RnnMatrix<'a> {
    data: gemm::Matrix<'a>,
    rows: usize,
    columns: usize,
}

impl<'a> RnnMatrix<'a> {
    /// `rows` by `columns`, row-major without gaps.
    pub(super) fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::strided(data, rows, columns, columns)
    }

    /// `rows` by `columns`, row-major, each row `stride` values after the one before it.
    pub(super) fn strided(data: &'a [f32], rows: usize, columns: usize, stride: usize) -> Self {
        Self { data: gemm::Matrix::rows(data, stride), rows, columns }
    }

    /// Rows as columns.
    pub(super) fn t(self) -> Self {
        Self { data: self.data.t(), rows: self.columns, columns: self.rows }
    }
}

/// `to = a b`, or `to += a b`; `to` is row-major with `a`'s rows and `b`'s columns, without gaps.
pub(super) fn product(to: &mut [f32], add: bool, a: RnnMatrix<'_>, b: RnnMatrix<'_>) {
    debug_assert_eq!(a.columns, b.rows, "the matrices fit each other");
    if a.columns > 0 {
        gemm([a.rows, b.columns, a.columns], a.data, b.data, (to, b.columns), add, Threads::One);
    } else if !add {
        to[..a.rows * b.columns].fill(0.0);
    }
}

/// Returns a matrix laid out as the second factor of many products.
pub(super) fn factor(matrix: RnnMatrix<'_>) -> Factor {
    Factor::new(matrix.rows, matrix.columns, matrix.data)
}

/// As [`product`], with a factor that is laid out already.
pub(super) fn step_product(to: &mut [f32], add: bool, a: RnnMatrix<'_>, b: &Factor) {
    let start = if add { Start::Held } else { Start::Zero };
    b.product(a.rows, a.data, (to, b.columns()), start, Threads::One);
}

/// Adds the sum of the first columns of row-major rows that are `stride` apart.
pub(super) fn add_column_sums(to: &mut [f32], rows: &[f32], stride: usize) {
    super::wide(|| {
        for row in rows.chunks_exact(stride) {
            to.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_follow_strides_and_transposition() {
        let a = [1.0, 2.0, 9.0, 3.0, 4.0, 9.0];
        let b = [1.0, 0.0, 2.0, 1.0, 5.0, 3.0];
        let mut to = [100.0; 6];
        product(&mut to, false, RnnMatrix::strided(&a, 2, 2, 3), RnnMatrix::new(&b, 2, 3));
        assert_eq!(to, [3.0, 10.0, 8.0, 7.0, 20.0, 18.0]);
        product(&mut to, true, RnnMatrix::strided(&a, 2, 2, 3).t(), RnnMatrix::new(&b, 2, 3));
        assert_eq!(to, [3.0 + 4.0, 10.0 + 15.0, 8.0 + 11.0, 7.0 + 6.0, 20.0 + 20.0, 18.0 + 16.0]);
        product(&mut to, false, RnnMatrix::new(&[], 2, 0), RnnMatrix::new(&[], 0, 3));
        assert_eq!(to, [0.0; 6]);
    }

    #[test]
    fn column_sums_leave_the_rest_of_a_row_out() {
        let mut to = [1.0, 1.0];
        add_column_sums(&mut to, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3);
        assert_eq!(to, [6.0, 8.0]);
    }
}
