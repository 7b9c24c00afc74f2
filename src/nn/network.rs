//! A network with weights on a device.

use candle_core::{Device, Tensor, Var};

use super::{
    init,
    layer::{Activation, Dropout, Linear, Mode},
    spec::{LayerSpec, NetworkSpec, missing},
    weights::{NamedTensor, Weights},
};
use crate::{Error, Result};

/// A trainable tensor and its name.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// The name, as in [`NetworkSpec::parameters`].
    pub name: String,
    /// The tensor, shared with the layer that uses it.
    pub var: Var,
}

#[derive(Debug, Clone)]
enum Layer {
    Linear(Linear),
    Activation(Activation),
    Dropout(Dropout),
}

/// Layers applied one after another on one device.
#[derive(Debug, Clone)]
pub struct Sequential {
    spec: NetworkSpec,
    layers: Vec<Layer>,
    parameters: Vec<Parameter>,
    device: Device,
}

impl Sequential {
    /// Builds a network with initial weights drawn from `seed`.
    ///
    /// # Errors
    /// [`Error::Network`] when the specification does not fit itself, [`Error::Tensor`] when the device fails.
    pub fn init(spec: &NetworkSpec, seed: u64, device: &Device) -> Result<Self> {
        spec.check()?;
        Self::load(spec, &init::weights(spec, seed), device)
    }

    /// Builds a network with given weights.
    ///
    /// # Errors
    /// [`Error::Network`] when the specification does not fit itself or a parameter is missing, left over or of another
    /// shape; [`Error::Tensor`] when the device fails.
    pub fn load(spec: &NetworkSpec, weights: &Weights, device: &Device) -> Result<Self> {
        spec.check()?;
        spec.check_weights(weights)?;
        let mut parameters = Vec::with_capacity(weights.tensors().len());
        for tensor in weights.tensors() {
            let var = Var::from_slice(&tensor.values, tensor.shape.as_slice(), device)
                .map_err(|e| Error::tensor(format!("placing `{}` on the device", tensor.name), e))?;
            parameters.push(Parameter { name: tensor.name.clone(), var });
        }
        let var = |layer: usize, kind: &str| {
            let name = format!("{layer}.{kind}");
            let found = parameters.iter().find(|p| p.name == name);
            found.map(|p| p.var.clone()).ok_or_else(|| missing(&name))
        };
        let mut layers = Vec::with_capacity(spec.layers.len());
        for (i, layer) in spec.layers.iter().enumerate() {
            layers.push(match *layer {
                LayerSpec::Linear { .. } => Layer::Linear(Linear { weight: var(i, "weight")?, bias: var(i, "bias")? }),
                LayerSpec::Activation { function } => Layer::Activation(function),
                LayerSpec::Dropout { p } => Layer::Dropout(Dropout { p, layer: i as u32 }),
            });
        }
        Ok(Self { spec: spec.clone(), layers, parameters, device: device.clone() })
    }

    /// Applies the layers; input `(rows, inputs)`, output `(rows, outputs)`. Zero rows are allowed.
    ///
    /// # Errors
    /// [`Error::Network`] names the layer that failed, what reached it and what it takes.
    pub fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let mut x = x.clone();
        for (i, layer) in self.layers.iter().enumerate() {
            let y = match layer {
                Layer::Linear(linear) => linear.forward(&x),
                Layer::Activation(function) => function.forward(&x),
                Layer::Dropout(dropout) => dropout.forward(&x, mode),
            };
            x = y.map_err(|e| Error::Network {
                layer: format!("{i} ({})", self.spec.layers[i].kind()),
                got: format!("a tensor of shape {:?}", x.dims()),
                fits: format!("it failed: {e}"),
            })?;
        }
        Ok(x)
    }

    /// The specification it was built from.
    pub fn spec(&self) -> &NetworkSpec {
        &self.spec
    }

    /// The trainable tensors, sorted by name.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Where the weights are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Copies the weights to the host.
    ///
    /// # Errors
    /// [`Error::Tensor`] when the device fails.
    pub fn weights(&self) -> Result<Weights> {
        let read = |p: &Parameter| {
            let values = p.var.flatten_all().and_then(|t| t.to_vec1::<f32>());
            let values = values.map_err(|e| Error::tensor(format!("reading `{}` from the device", p.name), e))?;
            Ok(NamedTensor { name: p.name.clone(), shape: p.var.dims().to_vec(), values })
        };
        Ok(Weights::sorted(self.parameters.iter().map(read).collect::<Result<_>>()?))
    }
}

#[cfg(test)]
mod tests;
