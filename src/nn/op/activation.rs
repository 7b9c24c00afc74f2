//! Element-wise functions and their derivatives.

use super::{
    Gradients, Kernel, Pass, SavedState,
    math::{erf, exp, sigmoid, tanh, widened},
    over_rows,
};
use crate::nn::Activation;

/// Returns whether the derivative follows from the output alone, so that the function can be applied in place.
pub(crate) fn from_output(function: Activation) -> bool {
    !matches!(function, Activation::Gelu | Activation::Silu)
}

const LEAK: f32 = 0.01;

widened! {
    /// Applies the function in place.
    pub(crate) fn activate(function: Activation, values: &mut [f32]) {
        #[inline(always)]
        fn each(values: &mut [f32], f: impl Fn(f32) -> f32) {
            values.iter_mut().for_each(|v| *v = f(*v));
        }
        match function {
            // Comparisons are this way round to let NaN through.
            Activation::Relu => each(values, |x| if x < 0.0 { 0.0 } else { x }),
            Activation::LeakyRelu => each(values, |x| if x < 0.0 { LEAK * x } else { x }),
            Activation::Elu => each(values, |x| if x < 0.0 { exp(x) - 1.0 } else { x }),
            Activation::Gelu => each(values, |x| 0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))),
            Activation::Silu => each(values, |x| x * sigmoid(x)),
            Activation::Tanh => each(values, tanh),
            Activation::Sigmoid => each(values, sigmoid),
            Activation::Softplus => each(values, |x| if x > 20.0 { x } else { exp(x).ln_1p() }),
        }
    }
}

widened! {
    /// Multiplies `dy` by the derivative, `v` being the output where that is enough (see [`from_output`]), else the
    /// input.
    pub(super) fn chain(function: Activation, v: &[f32], dy: &mut [f32]) {
        #[inline(always)]
        fn each(v: &[f32], dy: &mut [f32], f: impl Fn(f32) -> f32) {
            dy.iter_mut().zip(v).for_each(|(d, v)| *d *= f(*v));
        }
        match function {
            Activation::Relu => each(v, dy, |y| if y > 0.0 { 1.0 } else { 0.0 }),
            Activation::LeakyRelu => each(v, dy, |y| if y > 0.0 { 1.0 } else { LEAK }),
            Activation::Elu => each(v, dy, |y| if y > 0.0 { 1.0 } else { y + 1.0 }),
            Activation::Gelu => each(v, dy, |x| {
                let density =
                    exp(-0.5 * x * x) * (0.5 * std::f32::consts::FRAC_2_SQRT_PI * std::f32::consts::FRAC_1_SQRT_2);
                0.5 * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2)) + x * density
            }),
            Activation::Silu => each(v, dy, |x| {
                let s = sigmoid(x);
                s * (1.0 + x * (1.0 - s))
            }),
            Activation::Tanh => each(v, dy, |y| 1.0 - y * y),
            Activation::Sigmoid => each(v, dy, |y| y * (1.0 - y)),
            Activation::Softplus => each(v, dy, |y| 1.0 - exp(-y)),
        }
    }
}

/// An activation as a separate layer.
#[derive(Debug)]
pub(crate) struct Elementwise {
    pub(crate) function: Activation,
    pub(crate) width: usize,
}

impl Kernel for Elementwise {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn inputs(&self) -> usize {
        self.width
    }

    fn outputs(&self) -> usize {
        self.width
    }

    fn forward(&self, pass: Pass<'_>, y: &mut [f32], _: &mut SavedState) {
        over_rows(y, self.width, |row, y| {
            y.copy_from_slice(&pass.x[row * self.width..][..y.len()]);
            activate(self.function, y);
        });
    }

    fn backward(&self, pass: Pass<'_>, y: &[f32], dy: &mut [f32], _: &mut SavedState, gradients: Gradients<'_, '_>) {
        let Some(dx) = gradients.x else { return };
        let known = if from_output(self.function) { y } else { pass.x };
        let dy = &*dy;
        over_rows(dx, self.width, |row, dx| {
            let run = row * self.width..row * self.width + dx.len();
            dx.copy_from_slice(&dy[run.clone()]);
            chain(self.function, &known[run], dx);
        });
    }
}
