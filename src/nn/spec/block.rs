//! Layers inside of layers.

use super::{BranchSpec, ColumnRange, LayerSpec, MAX_VALUES, misfit};
use crate::{
    Result,
    nn::{InputShape, SequenceOutput},
};

/// Returns a layer's position and kind, as errors name it; `path` are the blocks that it is in.
pub(in crate::nn) fn named(path: &str, i: usize, kind: &str) -> String {
    if path.is_empty() { format!("{i} ({kind})") } else { format!("{path}: {i} ({kind})") }
}

/// Returns its name, if its position is legal; `ids` is true if the first of these layers takes the network's input.
pub(in crate::nn) fn placed(path: &str, i: usize, layer: &LayerSpec, ids: bool) -> Result<String> {
    let name = named(path, i, layer.kind());
    let fits = match layer {
        LayerSpec::Embedding(_) | LayerSpec::Categories { .. } => "it takes ids, as the network's first layer",
        LayerSpec::Join { .. } => "it takes columns, as the network's first layer",
        LayerSpec::Tied { .. } if !path.is_empty() => {
            let fits = "layers that share a weight stand in the network itself".to_owned();
            return Err(misfit(name, "a layer inside of another", fits));
        }
        _ => return Ok(name),
    };
    if i > 0 || !ids {
        return Err(misfit(name, "the outputs of another layer", fits.to_owned()));
    }
    Ok(name)
}

/// Returns the shapes between layers: what goes into each, and what comes out of the last.
pub(super) fn through(layers: &[LayerSpec], path: &str, input: &InputShape, ids: bool) -> Result<Vec<InputShape>> {
    let mut shapes = vec![input.clone()];
    for (i, layer) in layers.iter().enumerate() {
        shapes.push(layer.after(&placed(path, i, layer, ids)?, &shapes[i])?);
    }
    Ok(shapes)
}

/// Layers inside of a layer.
#[derive(Debug)]
pub(in crate::nn) struct Nested<'a> {
    pub(in crate::nn) layers: &'a [LayerSpec],
    /// Input shape of each layer, and output shape of the last.
    pub(in crate::nn) shapes: Vec<InputShape>,
    /// Prefix of their parameters' names.
    pub(in crate::nn) prefix: String,
    /// Path in errors, after the layer's own name.
    pub(in crate::nn) path: String,
    /// Title in a summary.
    pub(in crate::nn) title: Option<String>,
}

/// Returns the shape of branches' outputs side by side for rows of this shape.
fn joined(branches: &[BranchSpec], name: &str, input: &InputShape) -> Result<InputShape> {
    let refused = |got: String, fits: &str| Err(misfit(name.to_owned(), got, fits.to_owned()));
    let Some(width) = input.flat() else {
        return refused(format!("rows of shape {input}"), "it takes flat rows, columns side by side");
    };
    if branches.is_empty() {
        return refused("no branches".into(), "there is at least one");
    }
    let mut sum = 0usize;
    for (i, branch) in branches.iter().enumerate() {
        let mut count = 0usize;
        for ColumnRange { name, begin, count: own } in &branch.columns {
            if *own == 0 || begin.checked_add(*own).is_none_or(|end| end > width) {
                let got = format!("column `{name}` of {own} values from value {begin} on");
                return refused(got, &format!("a row has {width} values"));
            }
            count = count.saturating_add(*own);
        }
        let shape = &branch.inputs;
        if shape.ragged || shape.dims.is_empty() || shape.count() != count || count == 0 {
            let got = format!("{count} values for branch {i}");
            return refused(got, &format!("its shape is {shape}"));
        }
        let path = format!("{name}: branch {i}");
        let output = through(&branch.layers, &path, &branch.inputs, true)?.pop();
        let output = output.unwrap_or_else(|| branch.inputs.clone());
        let Some(values) = output.flat() else {
            return refused(format!("rows of shape {output} from branch {i}"), "flat rows are joined");
        };
        sum = sum.saturating_add(values);
    }
    Ok(sum.into())
}

impl LayerSpec {
    /// Returns the output shape for rows of this shape; `name` is for errors.
    pub(in crate::nn) fn after(&self, name: &str, input: &InputShape) -> Result<InputShape> {
        let output = match self {
            LayerSpec::Residual { layers, .. } if layers.is_empty() => {
                return Err(misfit(name.to_owned(), "no layers", "a block has at least one".to_owned()));
            }
            LayerSpec::Residual { layers, shortcut } => {
                let mut inside = through(layers, name, input, false)?;
                let mut beside = through(shortcut, &format!("{name}, shortcut"), input, false)?;
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
            LayerSpec::Join { branches } => joined(branches, name, input)?,
            other => other.output(input).map_err(|(got, fits)| misfit(name.to_owned(), got, fits))?,
        };
        if output.dims.is_empty() || output.count() == 0 {
            let got = format!("rows of shape {output} from it");
            return Err(misfit(name.to_owned(), got, "a layer gives at least one value a row".to_owned()));
        }
        if output.count() > MAX_VALUES && !matches!(self, LayerSpec::Linear { .. }) {
            let fits = format!("a row between two layers has at most {MAX_VALUES} values");
            return Err(misfit(name.to_owned(), format!("rows of shape {output}"), fits));
        }
        Ok(output)
    }

    /// Returns the layers inside of it with the shapes between them: those of a block and of what is beside them, or
    /// those of branches. Without shapes where they do not fit.
    pub(in crate::nn) fn nested(&self, input: &InputShape) -> Vec<Nested<'_>> {
        let nested = |layers, input, ids| {
            let shapes = through(layers, "block", input, ids).unwrap_or_default();
            Nested { layers, shapes, prefix: String::new(), path: String::new(), title: None }
        };
        match self {
            LayerSpec::Residual { layers, shortcut } => {
                let title = (!shortcut.is_empty()).then(|| "beside them".to_owned());
                let beside = nested(shortcut, input, false);
                let (prefix, path) = ("shortcut.".into(), ", shortcut".into());
                vec![nested(layers, input, false), Nested { prefix, path, title, ..beside }]
            }
            LayerSpec::Join { branches } => {
                let of = |(i, branch): (usize, &'_ BranchSpec)| {
                    let names: Vec<&str> = branch.columns.iter().map(|part| &*part.name).collect();
                    let title = Some(format!("of {}: {}", names.join(", "), branch.inputs));
                    let (prefix, path) = (format!("{i}."), format!(": branch {i}"));
                    (prefix, path, title)
                };
                let all = branches.iter().enumerate().map(|(i, branch)| {
                    let (prefix, path, title) = of((i, branch));
                    Nested { prefix, path, title, ..nested(&branch.layers, &branch.inputs, true) }
                });
                all.collect()
            }
            _ => Vec::new(),
        }
    }

    /// Returns the layers inside of it.
    fn inside(&self) -> Vec<&LayerSpec> {
        match self {
            LayerSpec::Residual { layers, shortcut } => layers.iter().chain(shortcut).collect(),
            LayerSpec::Join { branches } => branches.iter().flat_map(|branch| &branch.layers).collect(),
            _ => Vec::new(),
        }
    }

    /// Returns the number of parameters and of statistics, inner layers included.
    pub(in crate::nn) fn counts(&self, input: &InputShape) -> (usize, usize) {
        let tensors = self.tensors(input);
        let trained = tensors.iter().filter(|(.., trained)| *trained).count();
        (trained, tensors.len() - trained)
    }

    /// Returns whether it takes sequences and gives a row for each.
    pub(in crate::nn) fn ends_sequences(&self) -> bool {
        match self {
            LayerSpec::Attention(settings) => settings.output != SequenceOutput::All,
            _ => self.recurrent().is_some_and(|(_, settings)| settings.output != SequenceOutput::All),
        }
    }

    /// Returns whether it works on whole sequences, not on each step by itself. A block does so where its inner layers
    /// do.
    pub(in crate::nn) fn takes_sequences(&self) -> bool {
        matches!(self, LayerSpec::Attention(_)) || self.recurrent().is_some()
    }

    /// Returns the number of layers, inner layers included.
    pub(in crate::nn) fn places(&self) -> u32 {
        let inside: u32 = self.inside().into_iter().map(LayerSpec::places).sum();
        1 + inside
    }

    /// Returns whether only candle's operations compute it, or a part of it.
    pub(super) fn is_custom(&self) -> bool {
        matches!(self, LayerSpec::Custom(_)) || self.inside().into_iter().any(LayerSpec::is_custom)
    }

    /// Returns the shortcut of a sum beside layers from `input` to `output`: `None`, a 1×1 convolution or a linear
    /// layer.
    pub(in crate::nn) fn shortcut(name: &str, input: &InputShape, output: &InputShape) -> Result<Vec<LayerSpec>> {
        use super::{Conv, LayerSpec::*};
        if input == output {
            return Ok(Vec::new());
        }
        let linear = || Linear { in_features: input.count(), out_features: output.count() };
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
