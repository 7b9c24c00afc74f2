//! A fully connected layer with the activation that follows it.

use super::{
    Gradients, Kernel, Pass, SavedState, activation, add_columns, csr,
    gemm::{Matrix, Start, Threads, gemm, product},
    over_rows,
};
use crate::nn::Activation;

/// `y = f(x Wᵀ + b)`; weight `(outputs, inputs)`, bias `(outputs)`. With the weight of another layer that leads the
/// other way, `y = f(x W + b)`; weight `(inputs, outputs)`.
#[derive(Debug)]
pub(crate) struct Dense {
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    /// One whose derivative its output tells.
    pub(crate) activation: Option<Activation>,
    /// True if the weight is the transpose of another layer's.
    pub(crate) turned: bool,
}

impl Dense {
    /// Returns the weight as `(inputs, outputs)`.
    fn weight<'a>(&self, weight: &'a [f32]) -> Matrix<'a> {
        if self.turned { Matrix::rows(weight, self.outputs) } else { Matrix::rows(weight, self.inputs).t() }
    }
}

impl Kernel for Dense {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn inputs(&self) -> usize {
        self.inputs
    }

    fn outputs(&self) -> usize {
        self.outputs
    }

    fn takes_sparse(&self) -> bool {
        !self.turned
    }

    fn forward(&self, pass: Pass<'_>, y: &mut [f32], _: &mut SavedState) {
        if let Some(rows) = pass.csr {
            return csr::forward(self, rows, pass, y);
        }
        let Self { inputs, outputs, activation, .. } = *self;
        let (x, weight) = (Matrix::rows(pass.x, inputs), self.weight(pass.params[0]));
        let bias = Start::ThreadColumns(pass.params[1]);
        product([pass.rows, outputs, inputs], x, weight, (y, outputs), bias, Threads::All);
        if let Some(function) = activation {
            over_rows(y, outputs, |_, y| activation::activate(function, y));
        }
    }

    fn backward(&self, pass: Pass<'_>, y: &[f32], dy: &mut [f32], _: &mut SavedState, gradients: Gradients<'_, '_>) {
        if let Some(rows) = pass.csr {
            return csr::backward(self, rows, pass.rows, y, dy, gradients);
        }
        let Self { inputs, outputs, activation, turned } = *self;
        if let Some(function) = activation {
            over_rows(dy, outputs, |row, dy| activation::chain(function, &y[row * outputs..][..dy.len()], dy));
        }
        let dy = &*dy;
        let [dweight, dbias] = gradients.params else { return };
        dbias.fill(0.0);
        add_columns(dbias, dy);
        let (x, upstream) = (Matrix::rows(pass.x, inputs), Matrix::rows(dy, outputs));
        if turned {
            gemm([inputs, outputs, pass.rows], x.t(), upstream, (dweight, outputs), false, Threads::All);
        } else {
            gemm([outputs, inputs, pass.rows], upstream.t(), x, (dweight, inputs), false, Threads::All);
        }
        if let Some(dx) = gradients.x {
            let weight = self.weight(pass.params[0]);
            gemm([pass.rows, inputs, outputs], upstream, weight.t(), (dx, inputs), false, Threads::All);
        }
    }
}
