//! Summary of a network, for people.

use std::fmt::Write;

use super::{InputShape, LayerSpec, NetworkSpec, spec::Nested};

impl NetworkSpec {
    /// Floating-point operations of one row's forward pass: two for each product that is added up, one for each other
    /// value a layer computes. What a [custom](super::CustomNetwork) part takes is not known and not counted.
    pub fn flops(&self) -> u64 {
        let shapes = self.shapes().unwrap_or_default();
        flops(&self.layers, &shapes)
    }

    /// Returns the number of trained parameters.
    pub fn trained(&self) -> usize {
        self.parameters().iter().filter(|p| p.trained).map(|p| p.count()).sum()
    }

    /// Returns a table of the layers: what comes out of each, its parameters, and the operations of one row.
    ///
    /// ```
    /// let spec = tinderbox::nn::Network::mlp([16]).resolve(4, 3)?;
    /// assert!(spec.summary().contains("131 parameters"));
    /// # Ok::<(), tinderbox::Error>(())
    /// ```
    pub fn summary(&self) -> String {
        let Ok(shapes) = self.shapes() else { return "a network that does not fit itself\n".into() };
        let mut text = format!("{:<22} {:>14} {:>12} {:>14}\n", "layer", "output", "parameters", "FLOPs a row");
        let _ = writeln!(text, "{:<22} {:>14}", "input", shapes[0].to_string());
        let parameters = self.parameters();
        lines(&mut text, 0, &self.layers, &shapes);
        let all: usize = parameters.iter().map(|p| p.count()).sum();
        let (trained, flops) = (self.trained(), grouped(self.flops()));
        let _ = write!(text, "{} parameters", grouped(trained as u64));
        if all > trained {
            let _ = write!(text, " and {} running statistics", grouped((all - trained) as u64));
        }
        let _ = writeln!(text, ", {flops} FLOPs a row");
        text
    }
}

/// Operations of layers one after another.
fn flops(layers: &[LayerSpec], shapes: &[InputShape]) -> u64 {
    let each = layers.iter().zip(shapes.windows(2)).map(|(layer, ends)| layer.flops(&ends[0], &ends[1]));
    each.fold(0, u64::saturating_add)
}

/// A line for each layer; those of a block stand below it, further in, branches under the columns that they take.
fn lines(text: &mut String, depth: usize, layers: &[LayerSpec], shapes: &[InputShape]) {
    for (i, (layer, ends)) in layers.iter().zip(shapes.windows(2)).enumerate() {
        let own: usize = layer.tensors(&ends[0]).iter().map(|(_, dims, ..)| dims.iter().product::<usize>()).sum();
        let name = format!("{:1$}{2}", "", 2 * depth, layer.describe(i));
        let (shape, flops) = (ends[1].to_string(), grouped(layer.flops(&ends[0], &ends[1])));
        let _ = writeln!(text, "{name:<22} {shape:>14} {:>12} {flops:>14}", grouped(own as u64));
        for Nested { layers, shapes, title, .. } in layer.nested(&ends[0]) {
            if let Some(title) = title {
                let _ = writeln!(text, "{:1$}{title}", "", 2 * depth + 2);
            }
            lines(text, depth + 1, layers, &shapes);
        }
    }
}

impl LayerSpec {
    /// Returns the operations of one row; of sequences, of one step.
    fn flops(&self, input: &InputShape, shape: &InputShape) -> u64 {
        let output = shape.count() as u64;
        let side = |kernel: usize, axes: u32| (kernel as u64).saturating_pow(axes);
        match self {
            LayerSpec::Linear { in_features: inputs, .. } => output.saturating_mul(2 * *inputs as u64),
            LayerSpec::Conv1d(c) => {
                output.saturating_mul(2 * (input.dims[0] / c.groups) as u64 * side(c.kernel_size, 1))
            }
            LayerSpec::Conv2d(c) => {
                output.saturating_mul(2 * (input.dims[0] / c.groups) as u64 * side(c.kernel_size, 2))
            }
            LayerSpec::ConvTranspose2d(c) => {
                (input.count() as u64).saturating_mul(2 * c.out_channels as u64 * side(c.kernel_size, 2))
            }
            LayerSpec::Tied { layer, .. } => layer.flops(input, shape),
            LayerSpec::MaxPool1d(p) | LayerSpec::AvgPool1d(p) => output.saturating_mul(side(p.kernel_size, 1)),
            LayerSpec::MaxPool2d(p) | LayerSpec::AvgPool2d(p) => output.saturating_mul(side(p.kernel_size, 2)),
            LayerSpec::GlobalMaxPool | LayerSpec::GlobalAvgPool => input.count() as u64,
            LayerSpec::Activation { .. } | LayerSpec::BatchNorm { .. } | LayerSpec::LayerNorm { .. } => output,
            LayerSpec::Lstm(_) | LayerSpec::Gru(_) | LayerSpec::Rnn(_) | LayerSpec::RnnRelu(_) => {
                let own = self.tensors(input).into_iter().filter(|(_, dims, ..)| dims.len() == 2);
                // Of sequences those of a step.
                let time = if input.ragged { 1 } else { input.dims[0] as u64 };
                time.saturating_mul(2 * own.map(|(_, dims, ..)| dims.iter().product::<usize>() as u64).sum::<u64>())
            }
            LayerSpec::Attention(settings) => settings.shape(input).map_or(0, |(_, block)| settings.flops(block)),
            LayerSpec::Residual { .. } | LayerSpec::Join { .. } => {
                let inside = self.nested(input).into_iter().map(|inner| flops(inner.layers, &inner.shapes));
                // A sum takes one operation a value, to lie side by side none.
                inside.fold(if matches!(self, LayerSpec::Join { .. }) { 0 } else { output }, u64::saturating_add)
            }
            LayerSpec::Dropout { .. }
            | LayerSpec::Flatten
            | LayerSpec::Unflatten { .. }
            | LayerSpec::Embedding(_)
            | LayerSpec::Custom(_)
            | LayerSpec::Categories { .. } => 0,
        }
    }

    /// Returns its line's first words.
    fn describe(&self, i: usize) -> String {
        match self {
            LayerSpec::Conv1d(c) => format!("{i} conv1d {}", c.kernel_size),
            LayerSpec::Conv2d(c) => format!("{i} conv2d {0}×{0}", c.kernel_size),
            LayerSpec::ConvTranspose2d(c) => format!("{i} conv_transpose2d {0}×{0}", c.kernel_size),
            LayerSpec::Tied { of, .. } => format!("{i} tied to {of}"),
            LayerSpec::Activation { function } => format!("{i} {}", format!("{function:?}").to_lowercase()),
            LayerSpec::Custom(custom) => format!("{i} {}", custom.name),
            LayerSpec::Attention(settings) => format!("{i} attention {}", settings.num_heads),
            LayerSpec::Dropout { p } => format!("{i} dropout {p}"),
            other => format!("{i} {}", other.kind()),
        }
    }
}

/// Returns a count with its thousands apart.
pub(crate) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use crate::nn::Network;

    #[test]
    fn a_summary_counts_parameters_and_operations() {
        let spec = Network::cnn([32, 64], [128]).resolve([1, 28, 28], 10).unwrap();
        // As `sum(p.numel() for p in net.parameters())` of the same net in PyTorch.
        assert_eq!(spec.trained(), 421_642);
        let products = 32 * 784 * 9 + 64 * 196 * 288 + 3136 * 128 + 128 * 10;
        let rest = 32 * 784 + 32 * 784 + 64 * 196 + 64 * 196 + 128;
        assert_eq!(spec.flops(), 2 * products + rest);
        let text = spec.summary();
        for line in ["0 conv2d 3×3                 32×28×28          320        451,584", "421,642 parameters, "] {
            assert!(text.contains(line), "{text}");
        }
    }

    #[test]
    fn a_block_is_shown_with_what_is_inside() {
        let spec = Network::new().residual(Network::mlp([16])).resolve(4, 3).unwrap();
        assert_eq!((spec.trained(), spec.flops()), (2 * 80 + 51, 2 * 128 + 16 + 16 + 96));
        let text = spec.summary();
        let lines = [
            "0 residual                         16          160            288",
            "  0 linear                         16           80            128",
            "  1 relu                           16            0             16",
            "  beside them",
            "  0 linear                         16           80            128",
            "1 linear                            3           51             96",
            "211 parameters, 384 FLOPs a row",
        ];
        assert!(text.contains(&lines.join("\n")), "{text}");
    }
}
