//! A restricted Boltzmann machine as a stage of a pipeline.

use std::{any::Any, fmt};

use futures::future::BoxFuture;

use super::{
    DeepBelief, EncoderModel,
    params::{OneOrMany, encoder_params},
    unsupervised::{Unsupervised, unsupervised_params},
};
use crate::{
    Error, Result,
    dataframe::{DataFrame, Schema},
    ml::{Estimator, Model},
    model::History,
    nn::{ContrastiveDivergence, Rbm, VisibleUnits, Weights},
    train::RbmLayer,
};

/// Learns features without labels by one restricted Boltzmann machine: a [`DeepBelief`] of a single layer, with its
/// parameters and defaults.
///
/// ```no_run
/// # async fn example(frame: &tinderbox::dataframe::DataFrame) -> tinderbox::Result<()> {
/// use tinderbox::{estimator::RestrictedBoltzmannMachine, nn::ContrastiveDivergence};
///
/// let machine = RestrictedBoltzmannMachine::new(100).divergence(ContrastiveDivergence::persistent(5));
/// let features = machine.output_col("features100").fit_frame(frame).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RestrictedBoltzmannMachine {
    base: Unsupervised,
    stack: DeepBelief,
}

unsupervised_params!(RestrictedBoltzmannMachine);

encoder_params!(RestrictedBoltzmannMachine, |machine| machine.stack().check_layers(), {
    "visibleUnits": stack.units = VisibleUnits::default(), "what the features' values stand for";
} also {
    "hidden": None::<()>, "hidden units",
        |machine| machine.stack.each(|layer| layer.hidden),
        |machine, hidden: usize| machine.stack.set_each("hidden", OneOrMany::One(hidden), |layer, hidden| layer.hidden = hidden);
    "maxIter": RbmLayer::new(1).epochs, "passes over the rows",
        |machine| machine.stack.each(|layer| layer.epochs),
        |machine, epochs: usize| machine.stack.set_each("maxIter", OneOrMany::One(epochs), |layer, epochs| layer.epochs = epochs);
    "stepSize": RbmLayer::new(1).learning_rate, "the step size",
        |machine| machine.stack.each(|layer| layer.learning_rate),
        |machine, rate: f64| machine.stack.set_each("stepSize", OneOrMany::One(rate), |layer, rate| layer.learning_rate = rate);
    "divergence": RbmLayer::new(1).divergence, "how chains are run",
        |machine| machine.stack.each(|layer| layer.divergence),
        |machine, divergence| machine.stack.set_each("divergence", OneOrMany::One(divergence), |layer, divergence| layer.divergence = divergence);
});

impl RestrictedBoltzmannMachine {
    /// Creates a machine of this many hidden units.
    pub fn new(hidden: usize) -> Self {
        Self { base: Unsupervised::new(), stack: DeepBelief::new([hidden]) }
    }

    /// Sets the meaning of the features' values.
    pub fn visible_units(mut self, units: VisibleUnits) -> Self {
        self.stack = self.stack.visible_units(units);
        self
    }

    /// Passes over the rows.
    pub fn epochs(mut self, epochs: usize) -> Self {
        self.stack = self.stack.epochs(epochs);
        self
    }

    /// Sets the step size.
    pub fn learning_rate(mut self, rate: f64) -> Self {
        self.stack = self.stack.learning_rate(rate);
        self
    }

    /// Sets the sampling of the chains, momentum, decay and sparsity.
    pub fn divergence(mut self, divergence: ContrastiveDivergence) -> Self {
        self.stack = self.stack.divergence(divergence);
        self
    }

    /// Begins with these weights, those of a fitted machine of this size (`&model`) or of a file, as
    /// [`DeepBelief::initial_weights`].
    pub fn initial_weights(mut self, weights: impl Into<Weights>) -> Self {
        self.stack = self.stack.initial_weights(weights);
        self
    }

    /// Trains on the rows of a frame; labels are ignored.
    ///
    /// # Errors
    /// As [`DeepBelief::fit_frame`].
    pub async fn fit_frame(&self, frame: &DataFrame) -> Result<EncoderModel> {
        self.stack().fit_frame(frame).await
    }

    /// As [`fit_frame`](Self::fit_frame), for the machine itself: its free energy, its partition function.
    ///
    /// # Errors
    /// As [`fit_frame`](Self::fit_frame).
    pub async fn fit_machine(&self, frame: &DataFrame) -> Result<(Rbm, History)> {
        let trained = self.stack().fit_machines(frame).await?;
        match trained.stack.machines() {
            [machine] => Ok((machine.clone(), trained.history)),
            machines => Err(Error::param("layers", machines.len(), "one")),
        }
    }

    fn stack(&self) -> DeepBelief {
        self.stack.clone().with_base(self.base.clone())
    }
}

impl Estimator for RestrictedBoltzmannMachine {
    fn fit<'a>(&'a self, frame: &'a DataFrame) -> BoxFuture<'a, Result<Box<dyn Model>>> {
        Box::pin(async { Ok(Box::new(self.fit_frame(frame).await?) as Box<dyn Model>) })
    }

    fn transform_schema(&self, schema: &Schema) -> Result<Schema> {
        self.stack().transform_schema(schema)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl fmt::Debug for RestrictedBoltzmannMachine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestrictedBoltzmannMachine").field("stack", &self.stack()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::{ParamMap, Params};

    #[test]
    fn params_are_those_of_the_machine() {
        let machine = RestrictedBoltzmannMachine::new(5).visible_units(VisibleUnits::Gaussian);
        let extra = ParamMap::new().with("hidden", 7).with("stepSize", 0.5).with("outputCol", "learnt");
        let copy = machine.copy(&extra).unwrap();
        assert_eq!(
            copy.param_map().to_string(),
            r#"hidden=7, outputCol="learnt", stepSize=0.5, visibleUnits="gaussian""#
        );
        assert!(machine.copy(&ParamMap::new().with("hidden", vec![1, 2])).is_err(), "one layer");
        assert!(machine.copy(&ParamMap::new().with("hidden", 0)).is_err());
    }
}
