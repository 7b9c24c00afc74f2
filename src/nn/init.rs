//! Initial weights from a seed.

use super::{
    Weights,
    random::{Philox, Purpose},
    spec::{Initial, NetworkSpec},
    weights::NamedTensor,
};
use crate::{Error, Result};

/// Draws a network's initial weights.
///
/// Weights and biases of linear and convolutional layers are uniform on ±1/√(values that one output sees), PyTorch's
/// default (Kaiming uniform with a = √5); embeddings are normal, normalisations start with weight 1 and bias 0. The numbers depend on the seed
/// and the layer's position alone, not on the device.
pub(super) fn weights(spec: &NetworkSpec, seed: u64) -> Weights {
    let tensors = spec.parameters().into_iter().map(|parameter| {
        let values = match parameter.initial {
            Initial::Constant(value) => vec![value; parameter.count()],
            Initial::Around { middle, spread, normal } => {
                let mut random = Philox::new(seed, Purpose::Weights, parameter.layer as u32, parameter.index as u64);
                let mut draw = || if normal { random.normal() } else { 2.0 * random.next_f32() - 1.0 };
                (0..parameter.count()).map(|_| middle + spread * draw()).collect()
            }
            Initial::Normal => {
                let mut random = Philox::new(seed, Purpose::Weights, parameter.layer as u32, parameter.index as u64);
                (0..parameter.count()).map(|_| random.normal()).collect()
            }
            Initial::Uniform(bound) => {
                let mut random = Philox::new(seed, Purpose::Weights, parameter.layer as u32, parameter.index as u64);
                (0..parameter.count()).map(|_| bound * (2.0 * random.next_f32() - 1.0)).collect()
            }
        };
        NamedTensor { name: parameter.name, shape: parameter.shape, values }
    });
    Weights::sorted(tensors.collect())
}

impl NetworkSpec {
    /// Initial weights: those given, the others drawn from the seed.
    ///
    /// # Errors
    /// [`Error::Network`] names a tensor that the network does not have, or not in this shape.
    pub fn initial_weights(&self, seed: u64, given: &Weights) -> Result<Weights> {
        let drawn = weights(self, seed);
        let tensors = drawn.tensors().iter().map(|own| given.get(&own.name).unwrap_or(own).clone()).collect();
        if let Some(tensor) = given.tensors().iter().find(|tensor| drawn.get(&tensor.name).is_none()) {
            return Err(Error::Network {
                layer: format!("`{}`", tensor.name),
                got: format!("an initial tensor of shape {:?}", tensor.shape),
                fits: "the network has no parameter of this name".into(),
            });
        }
        let mixed = Weights::sorted(tensors);
        self.check_weights(&mixed)?;
        Ok(mixed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Network;

    #[test]
    fn weights_that_are_given_take_the_place_of_drawn_ones() {
        let spec = Network::mlp([4]).resolve(3, 2).unwrap();
        let tensor = |name: &str, shape: &[usize]| {
            let values = vec![0.5; shape.iter().product()];
            Weights::sorted(vec![NamedTensor { name: name.into(), shape: shape.into(), values }])
        };
        let mixed = spec.initial_weights(7, &tensor("0.weight", &[4, 3])).unwrap();
        assert_eq!(mixed.get("0.weight").unwrap().values, [0.5; 12]);
        assert_eq!(mixed.get("2.weight"), weights(&spec, 7).get("2.weight"));
        for (given, words) in [(tensor("0.weight", &[3, 4]), "[3, 4]"), (tensor("1.weight", &[4]), "`1.weight`")] {
            let message = spec.initial_weights(7, &given).unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
        }
    }

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
