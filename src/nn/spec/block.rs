//! Layers inside of layers.

use super::{LayerSpec, MAX_VALUES, misfit};
use crate::{
    Result,
    nn::{InputShape, Readout},
};

/// A layer's position and kind, as errors name it; `path` are the blocks that it is in.
pub(in crate::nn) fn named(path: &str, i: usize, layer: &LayerSpec) -> String {
    let kind = layer.kind();
    if path.is_empty() { format!("{i} ({kind})") } else { format!("{path}: {i} ({kind})") }
}

/// Its name, if it may stand there.
pub(in crate::nn) fn placed(path: &str, i: usize, layer: &LayerSpec) -> Result<String> {
    let name = named(path, i, layer);
    if (i > 0 || !path.is_empty()) && matches!(layer, LayerSpec::Embedding(_) | LayerSpec::Categories { .. }) {
        let fits = "it takes ids, as the network's first layer".to_owned();
        return Err(misfit(name, "the outputs of another layer", fits));
    }
    Ok(name)
}

/// The shapes between layers: what goes into each, and what comes out of the last.
pub(super) fn through(layers: &[LayerSpec], path: &str, input: &InputShape) -> Result<Vec<InputShape>> {
    let mut shapes = vec![input.clone()];
    for (i, layer) in layers.iter().enumerate() {
        shapes.push(layer.after(&placed(path, i, layer)?, &shapes[i])?);
    }
    Ok(shapes)
}

impl LayerSpec {
    /// What comes out for rows of this shape; `name` is what errors call it.
    pub(in crate::nn) fn after(&self, name: &str, input: &InputShape) -> Result<InputShape> {
        let output = match self {
            LayerSpec::Residual { layers, .. } if layers.is_empty() => {
                return Err(misfit(name.to_owned(), "no layers", "a block has at least one".to_owned()));
            }
            LayerSpec::Residual { layers, shortcut } => {
                let mut inside = through(layers, name, input)?;
                let mut beside = through(shortcut, &format!("{name}, shortcut"), input)?;
                let (inside, beside) = (inside.pop(), beside.pop());
                match (inside, beside) {
                    (Some(inside), Some(beside)) if inside == beside => inside,
                    (inside, beside) => {
                        let shown = |shape: Option<InputShape>| shape.unwrap_or_else(|| input.clone()).to_string();
                        let got = format!("{} from its layers and {} beside them", shown(inside), shown(beside));
                        return Err(misfit(name.to_owned(), got, "a sum takes the same shape from both".to_owned()));
                    }
                }
            }
            other => other.output(input).map_err(|(got, fits)| misfit(name.to_owned(), got, fits))?,
        };
        if output.count() > MAX_VALUES && !matches!(self, LayerSpec::Linear { .. }) {
            let fits = format!("a row between two layers has at most {MAX_VALUES} values");
            return Err(misfit(name.to_owned(), format!("rows of shape {output}"), fits));
        }
        Ok(output)
    }

    /// The layers inside of it with the shapes between them, and those of its shortcut. Nothing where it has none or they
    /// do not fit.
    pub(in crate::nn) fn nested(&self, input: &InputShape) -> [(&[LayerSpec], Vec<InputShape>); 2] {
        let LayerSpec::Residual { layers, shortcut } = self else { return [(&[], vec![]), (&[], vec![])] };
        [layers, shortcut].map(|layers| (&**layers, through(layers, "block", input).unwrap_or_default()))
    }

    /// How many parameters and how many statistics it has, those of layers inside of it among them.
    pub(in crate::nn) fn counts(&self, input: &InputShape) -> (usize, usize) {
        let tensors = self.tensors(input);
        let trained = tensors.iter().filter(|(.., trained)| *trained).count();
        (trained, tensors.len() - trained)
    }

    /// Whether it takes sequences and gives a row for each.
    pub(in crate::nn) fn ends_sequences(&self) -> bool {
        match self {
            LayerSpec::Attention(settings) => settings.output != Readout::All,
            _ => self.recurrent().is_some_and(|(_, settings)| settings.output != Readout::All),
        }
    }

    /// Whether it looks at sequences as such, not at each step by itself. A block does so where layers inside of it do.
    pub(in crate::nn) fn takes_sequences(&self) -> bool {
        matches!(self, LayerSpec::Attention(_)) || self.recurrent().is_some()
    }

    /// How many layers it is, with those inside of it.
    pub(in crate::nn) fn places(&self) -> u32 {
        let inside: u32 = match self {
            LayerSpec::Residual { layers, shortcut } => layers.iter().chain(shortcut).map(LayerSpec::places).sum(),
            _ => 0,
        };
        1 + inside
    }

    /// Whether candle's operations alone compute it, or a part of it.
    pub(super) fn is_custom(&self) -> bool {
        match self {
            LayerSpec::Custom(_) => true,
            LayerSpec::Residual { layers, shortcut } => layers.iter().chain(shortcut).any(LayerSpec::is_custom),
            _ => false,
        }
    }

    /// What a sum needs beside layers that make `output` of `input`: nothing, a 1×1 convolution or a linear layer.
    pub(in crate::nn) fn shortcut(name: &str, input: &InputShape, output: &InputShape) -> Result<Vec<LayerSpec>> {
        use super::{Conv, LayerSpec::*};
        if input == output {
            return Ok(Vec::new());
        }
        let linear = || Linear { inputs: input.count(), outputs: output.count() };
        match (&input.dims[..], &output.dims[..]) {
            ([_], [_]) if input.ragged == output.ragged => return Ok(vec![linear()]),
            (_, [_]) if !input.ragged && !output.ragged => return Ok(vec![Flatten, linear()]),
            ([_, before @ ..], [channels, after @ ..])
                if before.len() == after.len() && before.len() <= 2 && !input.ragged && !output.ragged =>
            {
                let fits = |s: &usize| before.iter().zip(after).all(|(b, a)| (b.max(&1) - 1) / s + 1 == *a);
                // The smallest stride that gives as many places; where one does, it is at most the side.
                if let Some(stride) = (1..=before.iter().copied().max().unwrap_or(1).min(1 << 15)).find(fits) {
                    let conv = Conv { stride, ..Conv::new(*channels, 1) };
                    return Ok(vec![if before.len() == 1 { Conv1d(conv) } else { Conv2d(conv) }]);
                }
            }
            _ => {}
        }
        let fits = "no 1×1 convolution and no linear layer leads from one to the other".to_owned();
        Err(misfit(name.to_owned(), format!("{input} made into {output} by its layers"), fits))
    }
}
