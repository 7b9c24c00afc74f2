//! A fully connected layer with the activation that follows it.

use super::{
    Gradients, Kernel, Pass, Saved, activation, add_columns,
    gemm::{Matrix, Start, Threads, gemm, product},
    over_rows,
};
use crate::nn::Activation;

/// `y = f(x Wᵀ + b)`; weight `(outputs, inputs)`, bias `(outputs)`.
#[derive(Debug)]
pub(crate) struct Dense {
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    /// One whose derivative its output tells.
    pub(crate) activation: Option<Activation>,
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

    fn forward(&self, pass: Pass<'_>, y: &mut [f32], _: &mut Saved) {
        let Self { inputs, outputs, activation } = *self;
        let (x, weight) = (Matrix::rows(pass.x, inputs), Matrix::rows(pass.params[0], inputs));
        let bias = Start::Columns(pass.params[1]);
        product([pass.rows, outputs, inputs], x, weight.t(), (y, outputs), bias, Threads::All);
        if let Some(function) = activation {
            over_rows(y, outputs, |_, y| activation::activate(function, y));
        }
    }

    fn backward(&self, pass: Pass<'_>, y: &[f32], dy: &mut [f32], _: &mut Saved, gradients: Gradients<'_, '_>) {
        let Self { inputs, outputs, activation } = *self;
        if let Some(function) = activation {
            over_rows(dy, outputs, |row, dy| activation::chain(function, &y[row * outputs..][..dy.len()], dy));
        }
        let dy = &*dy;
        let [dweight, dbias] = gradients.params else { return };
        dbias.fill(0.0);
        add_columns(dbias, dy);
        let (x, upstream) = (Matrix::rows(pass.x, inputs), Matrix::rows(dy, outputs));
        gemm([outputs, inputs, pass.rows], upstream.t(), x, (dweight, inputs), false, Threads::All);
        if let Some(dx) = gradients.x {
            let weight = Matrix::rows(pass.params[0], inputs);
            gemm([pass.rows, inputs, outputs], upstream, weight, (dx, inputs), false, Threads::All);
        }
    }
}
