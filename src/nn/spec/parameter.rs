//! The parameters and statistics that layers call for.

use std::borrow::Cow;

use super::{LayerSpec, Nested};
use crate::nn::{CustomWeight, InputShape, layer::Embedding};

/// One parameter, or one statistic, that a [`NetworkSpec`](super::NetworkSpec) calls for.
#[derive(Debug, Clone, PartialEq)]
pub struct ParameterSpec {
    /// `<layer>.weight` and so on, with the layer's position from 0, as PyTorch's `nn.Sequential` names them.
    pub name: String,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// True if training changes it. Running statistics (`running_mean`, `running_var`) are kept with the weights, but
    /// follow the data in place of a gradient.
    pub trained: bool,
    pub(in crate::nn) layer: usize,
    pub(in crate::nn) index: usize,
    pub(in crate::nn) initial: Initial,
}

impl ParameterSpec {
    /// Returns the number of its values.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Initial values of a parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::nn) enum Initial {
    /// Drawn from plus or minus this.
    Uniform(f32),
    /// Drawn from the normal distribution.
    Normal,
    /// Drawn around a number.
    Around {
        middle: f32,
        spread: f32,
        normal: bool,
    },
    Constant(f32),
}

impl LayerSpec {
    /// Returns its parameters and statistics, given what goes in and comes out.
    pub(in crate::nn) fn tensors(&self, input: &InputShape) -> Vec<(Cow<'static, str>, Vec<usize>, Initial, bool)> {
        let drawn = |shape: Vec<usize>, outputs, fan_in: usize| {
            let bound = Initial::Uniform(1.0 / (fan_in as f32).sqrt());
            vec![("weight".into(), shape, bound, true), ("bias".into(), vec![outputs], bound, true)]
        };
        let constant = |name: &'static str, shape: &[usize], value, trained| {
            (name.into(), shape.to_vec(), Initial::Constant(value), trained)
        };
        match self {
            LayerSpec::Linear { in_features: inputs, out_features: outputs } => {
                drawn(vec![*outputs, *inputs], *outputs, *inputs)
            }
            LayerSpec::Conv1d(c) => {
                let channels = input.dims[0] / c.groups;
                drawn(vec![c.out_channels, channels, c.kernel_size], c.out_channels, channels * c.kernel_size)
            }
            LayerSpec::Conv2d(c) => {
                let channels = input.dims[0] / c.groups;
                drawn(
                    vec![c.out_channels, channels, c.kernel_size, c.kernel_size],
                    c.out_channels,
                    channels * c.kernel_size * c.kernel_size,
                )
            }
            LayerSpec::ConvTranspose2d(c) => {
                let sides = c.kernel_size * c.kernel_size;
                drawn(
                    vec![input.dims[0], c.out_channels, c.kernel_size, c.kernel_size],
                    c.out_channels,
                    c.out_channels * sides,
                )
            }
            LayerSpec::Tied { layer, .. } => {
                let mut own = layer.tensors(input);
                own.retain(|(name, ..)| name != "weight");
                own
            }
            LayerSpec::BatchNorm { .. } => {
                let shape = &input.dims[..1];
                vec![
                    constant("weight", shape, 1.0, true),
                    constant("bias", shape, 0.0, true),
                    constant("running_mean", shape, 0.0, false),
                    constant("running_var", shape, 1.0, false),
                ]
            }
            LayerSpec::Embedding(table) => {
                vec![("weight".into(), vec![table.num_embeddings, table.embedding_dim], Initial::Normal, true)]
            }
            LayerSpec::Categories { tables } => {
                let of = |(i, table): (usize, &Embedding)| {
                    (
                        format!("weight_{i}").into(),
                        vec![table.num_embeddings, table.embedding_dim],
                        Initial::Normal,
                        true,
                    )
                };
                tables.iter().enumerate().map(of).collect()
            }
            LayerSpec::Custom(custom) => {
                let of = |w: &CustomWeight| (w.name.clone().into(), w.shape.clone(), w.initial(), true);
                custom.weights.iter().map(of).collect()
            }
            LayerSpec::Attention(settings) => {
                let Ok((_, block)) = settings.shape(input) else { return Vec::new() };
                let of =
                    |(name, shape, initial): (&'static str, Vec<usize>, Initial)| (name.into(), shape, initial, true);
                settings.parameters(block).into_iter().map(of).collect()
            }
            LayerSpec::Residual { .. } | LayerSpec::Join { .. } => {
                let mut all = Vec::new();
                for Nested { layers, shapes, prefix: part, .. } in self.nested(input) {
                    for (i, (layer, shape)) in layers.iter().zip(&shapes).enumerate() {
                        let of = |(name, dims, initial, trained)| {
                            (format!("{part}{i}.{name}").into(), dims, initial, trained)
                        };
                        all.extend(layer.tensors(shape).into_iter().map(of));
                    }
                }
                all
            }
            LayerSpec::LayerNorm { .. } => {
                vec![constant("weight", &input.dims, 1.0, true), constant("bias", &input.dims, 0.0, true)]
            }
            _ => {
                let stack = self.recurrent().and_then(|(kind, settings)| settings.shape(kind, input).ok());
                let Some((_, stack)) = stack else { return Vec::new() };
                let bound = Initial::Uniform(1.0 / (stack.hidden as f32).sqrt());
                stack.parameters().into_iter().map(|(name, shape)| (name.into(), shape, bound, true)).collect()
            }
        }
    }
}
