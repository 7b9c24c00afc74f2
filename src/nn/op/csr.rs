//! A fully connected layer over rows of mostly zeros.

use super::{Gradients, Pass, activation, add_columns, over_rows, wide};
use crate::nn::op::Dense;

/// Rows of which only the values that are not zero are given, in compressed form (CSR): row `r` has the values at
/// `offsets[r]..offsets[r + 1]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Csr<'a> {
    pub(crate) offsets: &'a [u32],
    /// The column of each value, below the layer's inputs.
    pub(crate) indices: &'a [u32],
    pub(crate) values: &'a [f32],
    /// For a backward pass: the columns that occur, in increasing order. The gradient of the weight is `(columns,
    /// outputs)`.
    pub(crate) columns: &'a [u32],
    /// For a backward pass: the place of each value's column among `columns`.
    pub(crate) places: &'a [u32],
}

impl Csr<'_> {
    fn row(&self, row: usize) -> std::ops::Range<usize> {
        self.offsets[row] as usize..self.offsets[row + 1] as usize
    }
}

/// Fills `y = f(x Wᵀ + b)`, reading the columns of the weight that occur in a row.
pub(super) fn forward(layer: &Dense, csr: Csr<'_>, pass: Pass<'_>, y: &mut [f32]) {
    let Dense { inputs, outputs, activation, .. } = *layer;
    let (weight, bias) = (pass.params[0], pass.params[1]);
    over_rows(y, outputs, |first, y| {
        for (row, y) in y.chunks_exact_mut(outputs).enumerate() {
            let own = csr.row(first + row);
            let (indices, values) = (&csr.indices[own.clone()], &csr.values[own]);
            for ((y, bias), weight) in y.iter_mut().zip(bias).zip(weight.chunks_exact(inputs)) {
                let products = indices.iter().zip(values).map(|(&i, v)| weight[i as usize] * v);
                *y = bias + products.sum::<f32>();
            }
            if let Some(function) = activation {
                activation::activate(function, y);
            }
        }
    });
}

/// Fills the gradients of the weight, `(columns, outputs)` of the columns that occur, and of the bias.
pub(super) fn backward(
    layer: &Dense,
    csr: Csr<'_>,
    rows: usize,
    y: &[f32],
    dy: &mut [f32],
    gradients: Gradients<'_, '_>,
) {
    let outputs = layer.outputs;
    if let Some(function) = layer.activation {
        over_rows(dy, outputs, |row, dy| activation::chain(function, &y[row * outputs..][..dy.len()], dy));
    }
    let [dweight, dbias] = gradients.params else { return };
    dbias.fill(0.0);
    add_columns(dbias, dy);
    dweight.fill(0.0);
    wide(|| {
        for (row, dy) in dy.chunks_exact(outputs).enumerate().take(rows) {
            for value in csr.row(row) {
                let v = csr.values[value];
                let sums = &mut dweight[csr.places[value] as usize * outputs..][..outputs];
                sums.iter_mut().zip(dy).for_each(|(sum, d)| *sum += v * d);
            }
        }
    });
}
