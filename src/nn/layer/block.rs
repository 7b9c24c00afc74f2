//! Layers by candle's own operations, with the layers inside of them.

use candle_core::{Result, Tensor};

use super::{Mode, portable};
use crate::nn::{BranchSpec, LayerSpec, Precision};

/// Layers at work.
#[derive(Debug)]
pub(crate) struct LayerRun {
    pub(crate) mode: Mode,
    pub(crate) precision: Precision,
    /// Statistics that normalisations computed over the training rows.
    pub(crate) found: Vec<NormStats>,
}

/// Statistics of one normalisation.
#[derive(Debug)]
pub(crate) struct NormStats {
    /// Which of the layer's statistics is the running mean; the running variance is the one behind it.
    pub(crate) place: usize,
    pub(crate) mean: Tensor,
    /// The biased one.
    pub(crate) variance: Tensor,
    /// Values a channel.
    pub(crate) count: usize,
    /// The share of them that running statistics take over.
    pub(crate) momentum: f64,
}

impl LayerRun {
    /// Applies a layer and those inside of it. `x` is `(rows, …)`, or `(rows, time, …)` with lengths; `own` are the
    /// layer's parameters and its statistics, `lane` keeps its dropout apart from that of others.
    pub(crate) fn layer(
        &mut self,
        layer: &LayerSpec,
        lane: u32,
        x: &Tensor,
        own: (Vec<&Tensor>, Vec<&Tensor>),
        lengths: Option<&[u32]>,
    ) -> Result<Tensor> {
        let (mut params, statistics) = own;
        if let LayerSpec::Residual { layers, shortcut } = layer {
            let (mut rest, mut at) = ((&params[..], &statistics[..]), 0);
            let inside = self.layers(layers, lane + 1, x, &mut rest, &mut at, lengths)?;
            let after = lane + 1 + layers.iter().map(LayerSpec::places).sum::<u32>();
            let beside = self.layers(shortcut, after, x, &mut rest, &mut at, lengths)?;
            return inside.add(&beside.to_dtype(inside.dtype())?);
        }
        if let LayerSpec::Join { branches } = layer {
            let (mut rest, mut at, mut lane) = ((&params[..], &statistics[..]), 0, lane + 1);
            let (flat, mut all) = (x.flatten_from(1)?, Vec::with_capacity(branches.len()));
            for BranchSpec { columns, inputs, layers } in branches {
                let parts = columns.iter().map(|part| flat.narrow(1, part.begin, part.count));
                let dims: Vec<usize> = [x.dim(0)?].iter().chain(&inputs.dims).copied().collect();
                let own = Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 1)?.reshape(dims)?;
                all.push(self.layers(layers, lane, &own, &mut rest, &mut at, None)?.to_dtype(x.dtype())?);
                lane += layers.iter().map(LayerSpec::places).sum::<u32>();
            }
            return Tensor::cat(&all, 1);
        }
        params.extend(statistics);
        let (x, params) = self.precision.cast(layer, x, &params)?;
        if let (LayerSpec::BatchNorm { momentum, .. }, Mode::Train { .. }) = (layer, self.mode) {
            let (mean, variance) = portable::statistics(&x.detach())?;
            let count = x.elem_count() / mean.elem_count().max(1);
            self.found.push(NormStats { place: 0, mean, variance, count, momentum: *momentum });
        }
        portable::forward(layer, lane, &x, &params.iter().collect::<Vec<_>>(), self.mode, lengths)
    }

    /// Applies layers inside of a block, which take their tensors from the `rest` of the block's; `at` statistics of it
    /// are taken already.
    fn layers<'a>(
        &mut self,
        layers: &[LayerSpec],
        mut lane: u32,
        x: &Tensor,
        rest: &mut (&'a [&'a Tensor], &'a [&'a Tensor]),
        at: &mut usize,
        lengths: Option<&[u32]>,
    ) -> Result<Tensor> {
        let mut x = x.clone();
        for layer in layers {
            let input = crate::nn::InputShape {
                dims: x.dims()[1 + usize::from(lengths.is_some())..].to_vec(),
                ragged: lengths.is_some(),
            };
            let (trained, statistics) = layer.counts(&input);
            let (own, later) = rest.0.split_at(trained.min(rest.0.len()));
            let (moved, still) = rest.1.split_at(statistics.min(rest.1.len()));
            *rest = (later, still);
            let before = self.found.len();
            x = self.layer(layer, lane, &x, (own.to_vec(), moved.to_vec()), lengths)?;
            self.found[before..].iter_mut().for_each(|found| found.place += *at);
            *at += statistics;
            lane += layer.places();
        }
        Ok(x)
    }
}
