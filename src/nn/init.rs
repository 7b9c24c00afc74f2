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
/// default (Kaiming uniform with a = √5); embeddings are normal, normalisations start with weight 1 and bias 0. The
/// numbers depend on the seed and the layer's position alone, not on the device.
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
    /// [`Error::Network`] names a tensor that the network does not have, or not in this shape, or whose numbers are not
    /// finite.
    pub fn initial_weights(&self, seed: u64, given: &Weights) -> Result<Weights> {
        let drawn = weights(self, seed);
        for tensor in given.tensors() {
            let refused = |fits: String| {
                let got = format!("an initial tensor of shape {:?}", tensor.shape);
                Err(Error::Network { layer: format!("`{}`", tensor.name), got, fits })
            };
            match drawn.get(&tensor.name) {
                None => return refused(format!("the network has no parameter of this name; {}", named(&drawn))),
                Some(own) if own.shape != tensor.shape => return refused(format!("the network takes {:?}", own.shape)),
                Some(_) if tensor.values.iter().any(|v| !v.is_finite()) => {
                    return refused("it holds numbers that are not finite".into());
                }
                Some(_) => {}
            }
        }
        let tensors = drawn.tensors().iter().map(|own| given.get(&own.name).unwrap_or(own).clone());
        Ok(Weights::sorted(tensors.collect()))
    }
}

/// Returns the parameters' names, or some of them.
fn named(weights: &Weights) -> String {
    const MOST: usize = 12;
    let names: Vec<&str> = weights.tensors().iter().map(|tensor| tensor.name.as_str()).collect();
    match names.len() {
        0 => "it has none".into(),
        1..=MOST => format!("it has {}", names.join(", ")),
        n => format!("it has {} and {} more", names[..MOST].join(", "), n - MOST),
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
        let message = spec.initial_weights(7, &tensor("fc.weight", &[4, 3])).unwrap_err().to_string();
        assert!(message.contains("`fc.weight`") && message.contains("it has 0.bias, 0.weight, 2.bias"), "{message}");
        let bad = NamedTensor { name: "0.bias".into(), shape: vec![4], values: vec![0.0, f32::NAN, 0.0, 0.0] };
        let message = spec.initial_weights(7, &Weights::sorted(vec![bad])).unwrap_err().to_string();
        assert!(message.contains("`0.bias`") && message.contains("not finite"), "{message}");
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
