//! Deep belief networks as a stage of a pipeline.

use std::{any::Any, fmt};

use futures::future::BoxFuture;

use super::{
    EncoderModel,
    params::{OneOrMany, encoder_params},
    unsupervised::{Unsupervised, lineage, unsupervised_params},
};
use crate::{
    Error, Result,
    dataframe::{DataFrame, Schema},
    ml::{Estimator, Model},
    model::Encoder,
    nn::{ContrastiveDivergence, VisibleUnits, Weights},
    tensor::Columns,
    train::{Pretrained, Pretrainer, RbmLayer},
};

/// Learns features without labels by a deep belief network: restricted Boltzmann machines one on top of another,
/// trained from the bottom up (Hinton, Osindero and Teh, "A fast learning algorithm for deep belief nets", 2006).
///
/// | Parameter | Method | Default |
/// |---|---|---|
/// | `featuresCol` | [`features_col`](Self::features_col) | `features` |
/// | `validationIndicatorCol` | [`validation_indicator_col`](Self::validation_indicator_col) | |
/// | `outputCol` | [`output_col`](Self::output_col) | `code` |
/// | `reconstructionCol` | [`reconstruction_col`](Self::reconstruction_col) | |
/// | `reconstructionErrorCol` | [`reconstruction_error_col`](Self::reconstruction_error_col) | `reconstructionError` |
/// | `handleInvalid` | [`handle_invalid`](Self::handle_invalid) | `error` |
/// | `visibleUnits` | [`visible_units`](Self::visible_units) | Bernoulli |
/// | `maxIter` | [`epochs`](Self::epochs) | 10 for each layer |
/// | `stepSize` | [`learning_rate`](Self::learning_rate) | 0.05 |
/// | `divergence` | [`divergence`](Self::divergence) | CD-1 |
/// | `batchSize` | [`batch_size`](Self::batch_size) | 32 |
/// | `seed` | [`seed`](Self::seed) | 42 |
/// | `validationFraction` | [`validation_fraction`](Self::validation_fraction) | 0 |
/// | `shuffleBuffer` | [`shuffle_buffer`](Self::shuffle_buffer) | 64 MiB |
/// | `cacheMemory` | [`cache_memory`](Self::cache_memory) | 1 GiB |
///
/// An empty name of an output column switches that output off. Bernoulli visible units take values in `[0, 1]`; for
/// Gaussian ones the features must have been standardised, and a learning rate of 0.005 or less is usual.
///
/// The fitted stage adds features for later ones, and holds a network to train further: as a classifier by
/// [`EncoderModel::classifier`], as an auto-encoder by [`EncoderModel::autoencoder`].
///
/// ```no_run
/// # async fn example(frame: &tinderbox::dataframe::DataFrame) -> tinderbox::Result<()> {
/// use tinderbox::estimator::DeepBelief;
///
/// let unlabelled = DeepBelief::new([500, 250]).batch_size(100).epochs(15).fit_frame(frame).await?;
/// let classifier = unlabelled.classifier()?.label_col("digit").epochs(20).fit_frame(frame).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct DeepBelief {
    base: Unsupervised,
    pub(super) units: VisibleUnits,
    layers: Vec<RbmLayer>,
    initial: Option<Weights>,
}

unsupervised_params!(DeepBelief);

encoder_params!(DeepBelief, DeepBelief::check_layers, {
    "visibleUnits": units = VisibleUnits::default(), "what the features' values stand for";
} also {
    "hidden": None::<()>, "hidden units of each layer, from the bottom up",
        |stage| stage.layers.iter().map(|layer| layer.hidden).collect::<Vec<_>>(),
        |stage, hidden: OneOrMany<usize>| stage.set_hidden(hidden);
    "maxIter": RbmLayer::new(1).epochs, "passes over the rows of each layer",
        |stage| stage.each(|layer| layer.epochs),
        |stage, epochs| stage.set_each("maxIter", epochs, |layer, epochs| layer.epochs = epochs);
    "stepSize": RbmLayer::new(1).learning_rate, "the step size of each layer",
        |stage| stage.each(|layer| layer.learning_rate),
        |stage, rates| stage.set_each("stepSize", rates, |layer, rate| layer.learning_rate = rate);
    "divergence": RbmLayer::new(1).divergence, "how chains are run",
        |stage| stage.each(|layer| layer.divergence),
        |stage, all| stage.set_each("divergence", all, |layer, divergence| layer.divergence = divergence);
});

impl DeepBelief {
    /// Machines of these many hidden units, from the bottom up.
    pub fn new(hidden: impl IntoIterator<Item = usize>) -> Self {
        let layers = hidden.into_iter().map(RbmLayer::new).collect();
        Self { base: Unsupervised::new(), units: VisibleUnits::default(), layers, initial: None }
    }

    /// Sets the meaning of the features' values.
    pub fn visible_units(mut self, units: VisibleUnits) -> Self {
        self.units = units;
        self
    }

    /// Passes over the rows, for each layer.
    pub fn epochs(self, epochs: usize) -> Self {
        self.layers(|_, layer| layer.epochs = epochs)
    }

    /// Sets the step size of every layer.
    pub fn learning_rate(self, rate: f64) -> Self {
        self.layers(|_, layer| layer.learning_rate = rate)
    }

    /// Sets the sampling of every layer's chains, momentum, decay and sparsity.
    pub fn divergence(self, divergence: ContrastiveDivergence) -> Self {
        self.layers(|_, layer| layer.divergence = divergence)
    }

    /// Changes the settings of each layer; `change` is given its position, from 0 at the bottom.
    pub fn layers(mut self, mut change: impl FnMut(usize, &mut RbmLayer)) -> Self {
        self.layers.iter_mut().enumerate().for_each(|(position, layer)| change(position, layer));
        self
    }

    /// Begins with these weights, those of a fitted stage of the same layers (`&model`), or what
    /// [`Weights::read_safetensors`] reads, named as in [`RbmStack::unrolled`](crate::nn::RbmStack::unrolled); what is
    /// not among them is drawn from the seed.
    pub fn initial_weights(mut self, weights: impl Into<Weights>) -> Self {
        self.initial = Some(weights.into());
        self
    }

    /// Trains on the rows of a frame; labels are ignored.
    ///
    /// The columns are checked, the cluster counts their values, and then exactly those columns are streamed, cast to
    /// single precision on the cluster. Dropping the future stops all of it.
    ///
    /// # Errors
    /// As [`Pretrainer::fit`]; also [`Error::Server`](crate::Error::Server) and
    /// [`Error::Unreachable`](crate::Error::Unreachable).
    pub async fn fit_frame(&self, frame: &DataFrame) -> Result<EncoderModel> {
        let (Pretrained { stack, history }, columns) = self.trained(frame).await?;
        let (spec, weights) = stack.unrolled();
        let lineage = lineage(frame, history.rows);
        let encoder = Encoder::new(spec, weights, columns, stack.depth(), history)?;
        Ok(EncoderModel::new(encoder, self.base.training.clone(), self.base.options.clone(), lineage))
    }

    /// Returns one value where all layers have the same, else one for each.
    pub(super) fn each<T: Copy + PartialEq>(&self, value: fn(&RbmLayer) -> T) -> OneOrMany<T> {
        let values: Vec<T> = self.layers.iter().map(value).collect();
        match values.first() {
            Some(first) if values.iter().all(|value| value == first) => OneOrMany::One(*first),
            _ => OneOrMany::Many(values),
        }
    }

    /// Sets one value for all layers, or one for each.
    pub(super) fn set_each<T: Copy>(
        &mut self,
        name: &'static str,
        values: OneOrMany<T>,
        set: fn(&mut RbmLayer, T),
    ) -> Result<()> {
        let values = match values {
            OneOrMany::One(value) => vec![value; self.layers.len()],
            OneOrMany::Many(values) => values,
        };
        if values.len() != self.layers.len() {
            let legal = format!("one value, or one for each of {} layers", self.layers.len());
            return Err(Error::param(name, format!("{} values", values.len()), legal));
        }
        self.layers.iter_mut().zip(values).for_each(|(layer, value)| set(layer, value));
        Ok(())
    }

    /// As many layers as there are sizes; new ones have the settings of the topmost that there is.
    fn set_hidden(&mut self, hidden: OneOrMany<usize>) -> Result<()> {
        let hidden = hidden.into_vec();
        let top = self.layers.last().copied().unwrap_or_else(|| RbmLayer::new(1));
        self.layers.resize(hidden.len(), top);
        self.layers.iter_mut().zip(hidden).for_each(|(layer, hidden)| layer.hidden = hidden);
        Ok(())
    }

    /// As [`fit_frame`](Self::fit_frame), for the machines themselves: their free energies, their partition functions.
    ///
    /// # Errors
    /// As [`fit_frame`](Self::fit_frame).
    pub async fn fit_machines(&self, frame: &DataFrame) -> Result<Pretrained> {
        Ok(self.trained(frame).await?.0)
    }

    async fn trained(&self, frame: &DataFrame) -> Result<(Pretrained, Columns)> {
        self.check_layers()?;
        let prepared = self.base.prepare(frame).await?;
        let trainer = self.pretrainer(prepared.columns.clone()).expected_rows(prepared.count);
        let pretrained = trainer.fit(&prepared.rows).await?;
        prepared.rows.close().await?;
        Ok((pretrained, prepared.columns))
    }

    pub(super) fn check_layers(&self) -> Result<()> {
        self.pretrainer(self.base.columns.clone()).check()
    }

    pub(super) fn with_base(self, base: Unsupervised) -> Self {
        Self { base, ..self }
    }

    fn pretrainer(&self, columns: Columns) -> Pretrainer {
        let Unsupervised { training, observers, stop, .. } = &self.base;
        let trainer = Pretrainer::new(self.units, self.layers.clone(), columns, training.clone()).stop(stop.clone());
        let trainer = match &self.initial {
            Some(weights) => trainer.initial_weights(weights),
            None => trainer,
        };
        observers.iter().fold(trainer, |trainer, observer| trainer.observe(observer.clone()))
    }
}

impl Estimator for DeepBelief {
    fn fit<'a>(&'a self, frame: &'a DataFrame) -> BoxFuture<'a, Result<Box<dyn Model>>> {
        Box::pin(async { Ok(Box::new(self.fit_frame(frame).await?) as Box<dyn Model>) })
    }

    fn transform_schema(&self, schema: &Schema) -> Result<Schema> {
        self.check_layers()?;
        self.base.output_schema(schema, self.layers.last().map(|top| top.hidden))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl fmt::Debug for DeepBelief {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeepBelief")
            .field("units", &self.units)
            .field("layers", &self.layers)
            .field("columns", &self.base.columns)
            .field("training", &self.base.training)
            .field("options", &self.base.options)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_explained_and_set_layer_by_layer_where_they_differ() {
        use crate::ml::{ParamMap, Params};
        let belief = DeepBelief::new([50, 20]).epochs(7).output_col("learnt").layers(|position, layer| {
            layer.learning_rate = [0.01, 0.05][position];
        });
        let text = belief.explain_params();
        for line in [
            "maxIter: passes over the rows of each layer (default: 10, current: 7)",
            "stepSize: the step size of each layer (default: 0.05, current: [0.01,0.05])",
            "hidden: hidden units of each layer, from the bottom up (current: [50,20])",
            "outputCol: output column of codes (default: code, current: learnt)",
            "visibleUnits: what the features' values stand for (default: bernoulli)",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n---\n{text}");
        }
        assert!(text.lines().is_sorted());
        let deeper =
            belief.copy(&ParamMap::new().with("hidden", vec![50, 20, 10]).with("maxIter", vec![1, 2, 3])).unwrap();
        let layers: Vec<_> = deeper.layers.iter().map(|l| (l.hidden, l.epochs, l.learning_rate)).collect();
        assert_eq!(layers, [(50, 1, 0.01), (20, 2, 0.05), (10, 3, 0.05)]);
        for (name, value) in
            [("maxIter", serde_json::json!([1, 2, 3])), ("hidden", serde_json::json!([])), ("stepSize", (-1).into())]
        {
            assert!(belief.copy(&ParamMap::new().with(name, value)).is_err(), "{name}");
        }
    }
}
