//! One thread's matrix products over slices.

use gemm::Parallelism;

/// A matrix in a slice, read with strides.
#[derive(Debug, Clone, Copy)]
pub(super) struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// `rows` by `columns`, row-major without gaps.
    pub(super) fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::strided(data, rows, columns, columns)
    }

    /// `rows` by `columns`, row-major, each row `stride` values after the one before it.
    pub(super) fn strided(data: &'a [f32], rows: usize, columns: usize, stride: usize) -> Self {
        assert!(rows == 0 || columns == 0 || (rows - 1) * stride + columns <= data.len(), "the slice holds the matrix");
        Self { data, rows, columns, row_stride: stride, column_stride: 1 }
    }

    /// Rows as columns.
    pub(super) fn t(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// `to = a b`, or `to += a b`; `to` is row-major with `a`'s rows and `b`'s columns, without gaps.
pub(super) fn product(to: &mut [f32], add: bool, a: Matrix<'_>, b: Matrix<'_>) {
    let (m, n, k) = (a.rows, b.columns, a.columns);
    assert!(a.columns == b.rows && to.len() >= m * n, "the matrices fit each other");
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        if !add {
            to[..m * n].fill(0.0);
        }
        return;
    }
    // SAFETY: both constructors and the assertion above keep every access inside the three slices, and `to` is borrowed
    // exclusively.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            to.as_mut_ptr(),
            1,
            n as isize,
            add,
            a.data.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// Adds the sum of `width` columns, from the first, of row-major rows that are `stride` apart.
pub(super) fn add_column_sums(to: &mut [f32], rows: &[f32], stride: usize) {
    super::vector::vectorised(|| {
        for row in rows.chunks_exact(stride) {
            for (sum, value) in to.iter_mut().zip(row) {
                *sum += value;
            }
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
        product(&mut to, false, Matrix::strided(&a, 2, 2, 3), Matrix::new(&b, 2, 3));
        assert_eq!(to, [3.0, 10.0, 8.0, 7.0, 20.0, 18.0]);
        product(&mut to, true, Matrix::strided(&a, 2, 2, 3).t(), Matrix::new(&b, 2, 3));
        assert_eq!(to, [3.0 + 4.0, 10.0 + 15.0, 8.0 + 11.0, 7.0 + 6.0, 20.0 + 20.0, 18.0 + 16.0]);
        product(&mut to, false, Matrix::new(&[], 2, 0), Matrix::new(&[], 0, 3));
        assert_eq!(to, [0.0; 6]);
    }

    #[test]
    fn column_sums_leave_the_rest_of_a_row_out() {
        let mut to = [1.0, 1.0];
        add_column_sums(&mut to, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3);
        assert_eq!(to, [6.0, 8.0]);
    }
}
