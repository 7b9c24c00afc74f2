//! Initial weights from a seed.

use super::{
    Weights,
    random::{Philox, Purpose},
    spec::{Initial, NetworkSpec},
    weights::NamedTensor,
};

/// Draws a network's initial weights.
///
/// Weights and biases of linear and convolutional layers are uniform on ±1/√(values that one output sees), PyTorch's
/// default (Kaiming uniform with a = √5); normalisations start with weight 1 and bias 0. The numbers depend on the seed
/// and the layer's position alone, not on the device.
pub(super) fn weights(spec: &NetworkSpec, seed: u64) -> Weights {
    let tensors = spec.parameters().into_iter().map(|parameter| {
        let values = match parameter.initial {
            Initial::Constant(value) => vec![value; parameter.count()],
            Initial::Uniform(bound) => {
                let mut random = Philox::new(seed, Purpose::Weights, parameter.layer as u32, parameter.index as u64);
                (0..parameter.count()).map(|_| bound * (2.0 * random.next_f32() - 1.0)).collect()
            }
        };
        NamedTensor { name: parameter.name, shape: parameter.shape, values }
    });
    Weights::sorted(tensors.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Network;

    #[test]
    fn weights_follow_the_seed_and_fill_their_range() {
        let spec = Network::mlp([64]).resolve(16, 3).unwrap();
        let a = weights(&spec, 7);
        assert_eq!(a, weights(&spec, 7));
        assert_ne!(a, weights(&spec, 8));
        let first = a.get("0.weight").unwrap();
        assert_eq!(first.shape, [64, 16]);
        assert!(first.values.iter().all(|v| v.abs() <= 0.25));
        let (low, high) = first.values.iter().fold((0f32, 0f32), |(l, h), &v| (l.min(v), h.max(v)));
        assert!(low < -0.24 && high > 0.24, "{low} {high}");
        let mean = first.values.iter().sum::<f32>() / first.values.len() as f32;
        assert!(mean.abs() < 0.02, "{mean}");
    }
}
