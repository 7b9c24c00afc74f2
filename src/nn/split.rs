//! A network in two: what comes before a layer, and the rest.

use super::{LayerSpec, NamedTensor, NetworkSpec, Weights};
use crate::{Error, Result};

impl NetworkSpec {
    /// Cuts a network before a layer, counted from 0: as many layers come first. The first part gives flat rows,
    /// whatever their shape is inside the network; the second takes them in that shape. Its layers count from 0 again.
    ///
    /// # Errors
    /// [`Error::Param`] when there are not so many layers, or none would be left first; [`Error::Network`] when the
    /// network does not fit itself or the weights do not fit it.
    pub fn split(&self, weights: &Weights, layer: usize) -> Result<[(NetworkSpec, Weights); 2]> {
        if layer == 0 || layer > self.layers.len() {
            let legal = format!("1 to {}, the network's layers", self.layers.len());
            return Err(Error::param("layer_index", layer, legal));
        }
        self.check_weights(weights)?;
        let between = self.shapes()?[layer].clone();
        let (first, second) = self.layers.split_at(layer);
        let mut first = NetworkSpec { inputs: self.inputs.clone(), outputs: between.count(), layers: first.to_vec() };
        if between.dims.len() != 1 {
            first.layers.push(LayerSpec::Flatten);
        }
        let mut parts = [Vec::new(), Vec::new()];
        let mut rest = second.to_vec();
        for (i, after) in rest.iter_mut().enumerate() {
            let LayerSpec::Tied { of, layer: own } = after else { continue };
            if let Some(of) = of.checked_sub(layer) {
                *after = LayerSpec::Tied { of, layer: own.clone() };
                continue;
            }
            // What it shared the weight with is in the other part.
            let Some(shared) = weights.get(&format!("{of}.weight")) else { continue };
            let shared = if let LayerSpec::Linear { .. } = **own { shared.transposed() } else { shared.clone() };
            parts[1].push(NamedTensor { name: format!("{i}.weight"), ..shared });
            *after = *own.clone();
        }
        let second = NetworkSpec { inputs: between, outputs: self.outputs, layers: rest };
        for tensor in weights.tensors() {
            let (number, name) = tensor.name.split_once('.').unwrap_or((&tensor.name, ""));
            let Ok(number) = number.parse::<usize>() else { continue };
            match number.checked_sub(layer) {
                None => parts[0].push(tensor.clone()),
                Some(number) => parts[1].push(NamedTensor { name: format!("{number}.{name}"), ..tensor.clone() }),
            }
        }
        let [before, after] = parts.map(Weights::sorted);
        first.check()?;
        first.check_weights(&before)?;
        second.check_weights(&after)?;
        Ok([(first, before), (second, after)])
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use crate::nn::{Conv, Mode, Network, Pool, Sequential};

    #[test]
    fn the_parts_compute_what_the_whole_does() {
        let description = Network::new().conv2d(Conv::new(3, 3)).max_pool2d(Pool::new(2)).linear(5);
        let spec = description.resolve([1, 6, 6], 4).unwrap();
        let device = Device::Cpu;
        let whole = Sequential::init(&spec, 3, &device).unwrap();
        let weights = whole.weights().unwrap();
        let x: Vec<f32> = (0..72).map(|i| (i as f32 * 0.37).sin()).collect();
        let x = Tensor::from_vec(x, (2, 36), &device).unwrap();
        let values = |t: Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let want = values(whole.forward(&x, Mode::Eval).unwrap());
        for layer in 1..=spec.layers.len() {
            let [first, second] = spec.split(&weights, layer).unwrap();
            let between = Sequential::load(&first.0, &first.1, &device).unwrap().forward(&x, Mode::Eval).unwrap();
            assert_eq!(between.dims(), [2, first.0.outputs]);
            let second = Sequential::load(&second.0, &second.1, &device).unwrap();
            assert_eq!(values(second.forward(&between, Mode::Eval).unwrap()), want, "before layer {layer}");
        }
        for layer in [0, spec.layers.len() + 1] {
            let message = spec.split(&weights, layer).unwrap_err().to_string();
            assert!(message.contains("layer_index") && message.contains(&layer.to_string()), "{message}");
        }
    }
}
