//! Numerical gradients for tests.

use candle_core::{Device, Tensor};

use super::Sequential;

/// Returns a tensor's values.
pub(crate) fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Returns the gradient of an output, by its place.
pub(crate) fn slope(i: usize) -> f32 {
    ((i * 13 % 17) as f32 - 8.0) / 8.0
}

/// Returns the sum of outputs whose gradients are [`slope`]s.
pub(crate) fn weighed(outputs: &[f32]) -> f64 {
    outputs.iter().enumerate().map(|(i, y)| f64::from(slope(i) * y)).sum()
}

/// Holds some of the parameters' gradients, within `apart`, against how far `sum` moves when they do.
pub(crate) fn are_slopes(network: &Sequential, gradients: &[Vec<f32>], apart: f32, mut sum: impl FnMut() -> f64) {
    for (parameter, gradient) in network.parameters().iter().zip(gradients) {
        let (start, name) = (flat(&parameter.var), &parameter.name);
        for at in [0, start.len() / 2, start.len() - 1] {
            let mut moved = |by: f32| {
                let mut values = start.clone();
                values[at] += by;
                parameter.var.set(&Tensor::from_vec(values, parameter.var.shape(), &Device::Cpu).unwrap()).unwrap();
                sum()
            };
            let h = 1e-2;
            let found = ((moved(h) - moved(-h)) / (2.0 * f64::from(h))) as f32;
            moved(0.0);
            assert!(
                (found - gradient[at]).abs() < apart * (1.0 + found.abs()),
                "{name}[{at}]: {found} {}",
                gradient[at]
            );
        }
    }
}
