//! What a network comes to, for people.

use std::fmt::Write;

use super::{LayerSpec, NetworkSpec};

impl NetworkSpec {
    /// Floating-point operations of one row's forward pass: two for each product that is added up, one for each other
    /// value a layer computes. What a [custom](super::CustomNetwork) part takes is not known and not counted.
    pub fn flops(&self) -> u64 {
        (0..self.layers.len()).map(|i| self.layer_flops(i)).fold(0, u64::saturating_add)
    }

    /// How many numbers training moves.
    pub fn trained(&self) -> usize {
        self.parameters().iter().filter(|p| p.trained).map(|p| p.count()).sum()
    }

    fn layer_flops(&self, i: usize) -> u64 {
        let Ok(shapes) = self.shapes() else { return 0 };
        let (input, output) = (&shapes[i], shapes[i + 1].count() as u64);
        let side = |kernel: usize, axes: u32| (kernel as u64).saturating_pow(axes);
        match &self.layers[i] {
            LayerSpec::Linear { inputs, .. } => output.saturating_mul(2 * *inputs as u64),
            LayerSpec::Conv1d(c) => output.saturating_mul(2 * (input.dims[0] / c.groups) as u64 * side(c.kernel, 1)),
            LayerSpec::Conv2d(c) => output.saturating_mul(2 * (input.dims[0] / c.groups) as u64 * side(c.kernel, 2)),
            LayerSpec::MaxPool1d(p) | LayerSpec::AvgPool1d(p) => output.saturating_mul(side(p.kernel, 1)),
            LayerSpec::MaxPool2d(p) | LayerSpec::AvgPool2d(p) => output.saturating_mul(side(p.kernel, 2)),
            LayerSpec::GlobalMaxPool | LayerSpec::GlobalAvgPool => input.count() as u64,
            LayerSpec::Activation { .. } | LayerSpec::BatchNorm { .. } | LayerSpec::LayerNorm { .. } => output,
            LayerSpec::Lstm(_) | LayerSpec::Gru(_) | LayerSpec::Rnn(_) | LayerSpec::RnnRelu(_) => {
                let own = self.parameters().into_iter().filter(|p| p.layer == i && p.shape.len() == 2);
                // Of sequences those of a step.
                let time = if input.ragged { 1 } else { input.dims[0] as u64 };
                time.saturating_mul(2 * own.map(|p| p.count() as u64).sum::<u64>())
            }
            LayerSpec::Dropout { .. }
            | LayerSpec::Flatten
            | LayerSpec::Embedding(_)
            | LayerSpec::Custom(_)
            | LayerSpec::Categories { .. } => 0,
        }
    }

    /// A table of the layers: what comes out of each, its parameters, and the operations of one row.
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
        for (i, shape) in shapes.iter().skip(1).enumerate() {
            let own: usize = parameters.iter().filter(|p| p.layer == i).map(|p| p.count()).sum();
            let (name, shape, flops) = (self.describe(i), shape.to_string(), grouped(self.layer_flops(i)));
            let _ = writeln!(text, "{name:<22} {shape:>14} {:>12} {flops:>14}", grouped(own as u64));
        }
        let all: usize = parameters.iter().map(|p| p.count()).sum();
        let (trained, flops) = (self.trained(), grouped(self.flops()));
        let _ = write!(text, "{} parameters", grouped(trained as u64));
        if all > trained {
            let _ = write!(text, " and {} running statistics", grouped((all - trained) as u64));
        }
        let _ = writeln!(text, ", {flops} FLOPs a row");
        text
    }

    fn describe(&self, i: usize) -> String {
        match &self.layers[i] {
            LayerSpec::Conv1d(c) => format!("{i} conv1d {}", c.kernel),
            LayerSpec::Conv2d(c) => format!("{i} conv2d {0}×{0}", c.kernel),
            LayerSpec::Activation { function } => format!("{i} {}", format!("{function:?}").to_lowercase()),
            LayerSpec::Custom(custom) => format!("{i} {}", custom.name),
            LayerSpec::Dropout { p } => format!("{i} dropout {p}"),
            other => format!("{i} {}", other.kind()),
        }
    }
}

/// A number with its thousands apart.
fn grouped(n: u64) -> String {
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
}
