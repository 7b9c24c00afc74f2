//! A decoder that is its encoder in the opposite order.

use super::{LayerSpec, Misfit, misfit};
use crate::{
    Error,
    nn::{ConvTranspose, InputShape, Pool},
};

/// Layers that lead back from what these give to what they take, `shapes` being those between them. Each layer's
/// opposite comes in the opposite order: linear layers with their sizes exchanged, transposed convolutions in the place
/// of convolutions and of pooling. Activations and normalisations stay where they are, but an activation of the code
/// itself is not applied twice; dropout is left out. `tied`: linear layers and convolutions share their weights with
/// their opposites.
pub(in crate::nn) fn mirror(layers: &[LayerSpec], shapes: &[InputShape], tied: bool) -> Result<Vec<LayerSpec>, Misfit> {
    let mut back = Vec::with_capacity(layers.len() + 1);
    for (i, (layer, ends)) in layers.iter().zip(shapes.windows(2)).enumerate().rev() {
        let skipped = match layer {
            LayerSpec::Activation { .. } => back.is_empty(),
            LayerSpec::Dropout { .. } => true,
            _ => false,
        };
        if !skipped {
            let shares = tied && matches!(layer, LayerSpec::Linear { .. } | LayerSpec::Conv2d(_));
            let opposite = opposite(layer, [&ends[0], &ends[1]]).map_err(|fits| named(i, layer, fits))?;
            back.push(if shares { LayerSpec::Tied { of: i, layer: Box::new(opposite) } } else { opposite });
        }
    }
    if shapes.first().is_some_and(|shape| shape.dims.len() > 1) {
        back.push(LayerSpec::Flatten);
    }
    Ok(back)
}

/// Returns a layer that leads back from what layer `of` gives, with its weight.
pub(in crate::nn) fn tied(layers: &[LayerSpec], shapes: &[InputShape], of: usize) -> Result<LayerSpec, Misfit> {
    match (layers.get(of), shapes.get(of..of.saturating_add(2))) {
        (Some(layer @ (LayerSpec::Linear { .. } | LayerSpec::Conv2d(_))), Some([before, after])) => {
            let opposite = opposite(layer, [before, after]).map_err(|fits| named(of, layer, fits))?;
            Ok(LayerSpec::Tied { of, layer: Box::new(opposite) })
        }
        (Some(layer), _) => Err(named(of, layer, SHARING.into())),
        (None, _) => Err((format!("layer {of}"), "it shares the weight of an earlier layer".into())),
    }
}

const SHARING: &str = "linear layers and convolutions in two dimensions share their weights";

/// Checks that layers which share a weight find it in an earlier one.
pub(super) fn check(layers: &[LayerSpec], shapes: &[InputShape]) -> Result<(), Error> {
    for (i, layer) in layers.iter().enumerate() {
        let LayerSpec::Tied { of, layer: own } = layer else { continue };
        let refused = |got: String, fits: &str| Err(misfit(super::named("", i, layer.kind()), got, fits.into()));
        let Some(shared) = layers[..i].get(*of) else {
            return refused(format!("the weight of layer {of}"), "it shares that of an earlier layer");
        };
        let weight = |layer: &LayerSpec, at: usize| {
            let tensors = layer.tensors(&shapes[at]).into_iter();
            tensors.filter(|(name, ..)| name == "weight").map(|(_, dims, ..)| dims).next().unwrap_or_default()
        };
        let (mut given, wanted) = (weight(shared, *of), weight(own, i));
        match (shared, &**own) {
            (LayerSpec::Linear { .. }, LayerSpec::Linear { .. }) => given.reverse(),
            (LayerSpec::Conv2d(conv), LayerSpec::ConvTranspose2d(_)) if conv.groups == 1 => {}
            _ => return refused(format!("the weight of layer {of} ({})", shared.kind()), SHARING),
        }
        if given != wanted {
            let got = format!("the weight of layer {of}, transposed {given:?}");
            return refused(got, &format!("it takes {wanted:?}"));
        }
    }
    Ok(())
}

/// Returns the layer that leads back from a layer's output to its input; or the reason why there is none.
fn opposite(layer: &LayerSpec, [before, after]: [&InputShape; 2]) -> Result<LayerSpec, String> {
    Ok(match layer {
        LayerSpec::Linear { in_features: inputs, out_features: outputs } => {
            LayerSpec::Linear { in_features: *outputs, out_features: *inputs }
        }
        LayerSpec::Conv2d(c) if c.groups == 1 && c.dilation == 1 => {
            transposed([c.kernel_size, c.stride, c.padding], before, after)?
        }
        LayerSpec::Conv2d(_) => return Err("only convolutions without groups and dilation have an opposite".into()),
        LayerSpec::MaxPool2d(Pool { kernel_size: kernel, stride, padding })
        | LayerSpec::AvgPool2d(Pool { kernel_size: kernel, stride, padding }) => {
            transposed([*kernel, stride.unwrap_or(*kernel), *padding], before, after)?
        }
        LayerSpec::Flatten => LayerSpec::Unflatten { dims: before.dims.clone() },
        LayerSpec::Unflatten { .. } => LayerSpec::Flatten,
        LayerSpec::Activation { .. } | LayerSpec::BatchNorm { .. } | LayerSpec::LayerNorm { .. } => layer.clone(),
        _ => return Err("such a layer has no opposite; describe the decoder layer by layer".into()),
    })
}

fn named(i: usize, layer: &LayerSpec, fits: String) -> Misfit {
    (format!("layer {i} ({})", layer.kind()), fits)
}

/// Returns the layer that leads back through a window of this kernel, stride and padding.
fn transposed(
    [kernel, stride, padding]: [usize; 3],
    before: &InputShape,
    after: &InputShape,
) -> Result<LayerSpec, String> {
    // What a window leaves out at the far edge, which the transposed one must add.
    let left = |axis: usize| (before.dims[axis] + 2 * padding).saturating_sub((after.dims[axis] - 1) * stride + kernel);
    let [output_padding, other] = [1, 2].map(left);
    if output_padding != other {
        return Err(format!("its window leaves {output_padding} lines out and {other} columns; both must be as many"));
    }
    Ok(LayerSpec::ConvTranspose2d(ConvTranspose {
        out_channels: before.dims[0],
        kernel_size: kernel,
        stride,
        padding,
        output_padding,
    }))
}

#[cfg(test)]
mod tests;
