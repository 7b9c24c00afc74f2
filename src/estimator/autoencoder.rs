//! Auto-encoders as a stage of a pipeline.

use std::{any::Any, fmt};

use futures::future::BoxFuture;

use super::{
    EncoderModel,
    params::encoder_params,
    unsupervised::{PreparedRows, Unsupervised, lineage, unsupervised_params},
};
use crate::{
    Error, Result,
    dataframe::{DataFrame, Schema},
    ml::{Estimator, Model},
    model::Encoder,
    nn::{Activation, Devices, LayerSpec, Network, NetworkLayer, Weights},
    tensor::{Columns, Decoder, InputDecoder},
    train::{Checkpoints, Corruption, Loss, TrainParams, Trainer},
};

/// Learns to reconstruct rows from a few numbers: codes that later stages take as features, and an error that is high
/// for rows unlike the training rows.
///
/// | Parameter | Method | Default |
/// |---|---|---|
/// | `featuresCol` | [`features_col`](Self::features_col) | `features` |
/// | `validationIndicatorCol` | [`validation_indicator_col`](Self::validation_indicator_col) | |
/// | `outputCol` | [`output_col`](Self::output_col) | `code` |
/// | `reconstructionCol` | [`reconstruction_col`](Self::reconstruction_col) | |
/// | `reconstructionErrorCol` | [`reconstruction_error_col`](Self::reconstruction_error_col) | `reconstructionError` |
/// | `handleInvalid` | [`handle_invalid`](Self::handle_invalid) | `error` |
/// | `layerIndex` | [`layer_index`](Self::layer_index) | the encoder's last, else the narrowest |
/// | `tiedWeights` | [`tied_weights`](Self::tied_weights) | false |
/// | `loss` | [`loss`](Self::loss) | squared error |
/// | `corruption` | [`corruption`](Self::corruption) | none |
/// | `maxIter` | [`epochs`](Self::epochs) | 50 |
/// | `stepSize` | [`learning_rate`](Self::learning_rate) | 0.003 |
/// | `weightDecay` | [`weight_decay`](Self::weight_decay) | 0.01 |
/// | `batchSize` | [`batch_size`](Self::batch_size) | 32 |
/// | `tol` | [`tol`](Self::tol) | 1e-6 |
/// | `seed` | [`seed`](Self::seed) | 42 |
/// | `validationFraction` | [`validation_fraction`](Self::validation_fraction) | 0 |
/// | `devices` | [`devices`](Self::devices) | `cpu` |
/// | `shuffleBuffer` | [`shuffle_buffer`](Self::shuffle_buffer) | 64 MiB |
/// | `cacheMemory` | [`cache_memory`](Self::cache_memory) | 1 GiB |
///
/// An empty name of an output column switches that output off.
///
/// ```no_run
/// # async fn example(frame: &tinderbox::dataframe::DataFrame) -> tinderbox::Result<()> {
/// use tinderbox::{estimator::Autoencoder, train::{Corruption, Loss}};
///
/// // 784 grey values, then 256, 64 and a code of 32, then up again.
/// let deep = Autoencoder::new([256, 64], 32).loss(Loss::BinaryCrossEntropy).epochs(40);
/// let denoising = deep.corruption(Corruption::Mask(0.3)).reconstruction_col("cleaned");
/// let model = denoising.fit_frame(frame).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Autoencoder {
    base: Unsupervised,
    network: Network,
    layer_index: Option<usize>,
    tied: bool,
    initial: Option<Weights>,
    checkpoints: Option<Checkpoints>,
}

unsupervised_params!(Autoencoder);

encoder_params!(Autoencoder, Autoencoder::check, {
    "network": network = None::<()>, "the network, as its JSON describes it";
    "layerIndex": layer_index = None::<()>, "how many layers it takes to the code; the narrowest unless set";
    "tiedWeights": tied = false, "whether the decoder shares the encoder's weights";
    "loss": base.training.loss = Loss::SquaredError, "loss of the reconstructions";
    "corruption": base.training.corruption = None::<()>, "corruption of training inputs";
    "maxIter": base.training.epochs = TrainParams::default().epochs, "passes over the rows (epochs)";
    "stepSize": base.training.learning_rate = TrainParams::default().learning_rate, "the optimizer's step size (learning rate)";
    "optimizer": base.training.optimizer = TrainParams::default().optimizer, "how gradients become steps";
    "schedule": base.training.schedule = TrainParams::default().schedule, "how the learning rate changes";
    "clip": base.training.clip = TrainParams::default().clip, "limit on the gradients";
    "weightDecay": base.training.weight_decay = TrainParams::default().weight_decay, "the optimizer's decoupled weight decay";
    "tol": base.training.tol = TrainParams::default().tol, "stops when an epoch changes the loss by less than this share of it";
    "devices": base.training.devices = TrainParams::default().devices, "where to train, one replica on each";
} also {});

impl Autoencoder {
    /// Creates a deep auto-encoder: fully connected layers of sizes `hidden` with ReLUs, a linear code of `code`
    /// values, and the hidden layers in the opposite order on the way back.
    pub fn new(hidden: impl IntoIterator<Item = usize>, code: usize) -> Self {
        Self::of(Network::autoencoder(hidden, code))
    }

    /// Creates an auto-encoder of this encoder, whose output is the code. Its layers in the opposite order lead back:
    /// linear layers with their sizes exchanged, transposed convolutions in the place of convolutions and pooling in
    /// two dimensions ([`NetworkLayer::Mirror`](crate::nn::NetworkLayer::Mirror)).
    ///
    /// ```
    /// use tinderbox::{estimator::Autoencoder, nn::{Activation, Conv, Network, Pool}};
    ///
    /// let conv = |outputs| Conv { padding: 1, ..Conv::new(outputs, 3) };
    /// let encoder = Network::new()
    ///     .conv2d(conv(16))
    ///     .activation(Activation::Relu)
    ///     .max_pool2d(Pool::new(2))
    ///     .conv2d(conv(32))
    ///     .activation(Activation::Relu)
    ///     .linear(32);
    /// let convolutional = Autoencoder::mirrored(encoder).tied_weights(true);
    /// ```
    pub fn mirrored(encoder: Network) -> Self {
        Self::of(encoder.mirror(false))
    }

    /// Makes the decoder share the transposed weights of the encoder, with separate biases; not unless set. For
    /// auto-encoders whose decoder mirrors the encoder: [`new`](Self::new) and [`mirrored`](Self::mirrored).
    pub fn tied_weights(mut self, share: bool) -> Self {
        self.tied = share;
        self
    }

    /// Creates an auto-encoder of any network: a last linear layer with as many outputs as a row has values is added
    /// behind it. A convolutional encoder begins with convolutions over rows that have dimensions, as those of an image
    /// reader do.
    ///
    /// ```
    /// use tinderbox::{estimator::Autoencoder, nn::{Activation, Conv, Network, Pool}};
    ///
    /// let network = Network::new()
    ///     .conv2d(Conv { padding: 1, ..Conv::new(16, 3) })
    ///     .activation(Activation::Relu)
    ///     .max_pool2d(Pool::new(2))
    ///     .linear(32)
    ///     .linear(256)
    ///     .activation(Activation::Relu);
    /// let convolutional = Autoencoder::of(network);
    /// ```
    pub fn of(network: Network) -> Self {
        let mut base = Unsupervised::new();
        base.training.loss = Loss::SquaredError;
        Self { base, network, layer_index: None, tied: false, initial: None, checkpoints: None }
    }

    /// Takes the output of this many layers of the network as the code: flattening in front of a linear layer counts.
    pub fn layer_index(mut self, layers: usize) -> Self {
        self.layer_index = Some(layers);
        self
    }

    /// Sets the loss of reconstructions. [`Loss::BinaryCrossEntropy`] is for values in `[0, 1]`; reconstructions then
    /// are too.
    pub fn loss(mut self, loss: Loss) -> Self {
        self.base.training.loss = loss;
        self
    }

    /// Makes inputs worse while learning, so that the network learns to restore them.
    pub fn corruption(mut self, corruption: Corruption) -> Self {
        self.base.training.corruption = Some(corruption);
        self
    }

    /// Passes over the rows, Spark's `maxIter`.
    pub fn epochs(mut self, epochs: usize) -> Self {
        self.base.training.epochs = epochs;
        self
    }

    /// Sets the optimizer's step size, Spark's `stepSize`.
    pub fn learning_rate(mut self, rate: f64) -> Self {
        self.base.training.learning_rate = rate;
        self
    }

    /// Sets the optimizer's decoupled weight decay.
    pub fn weight_decay(mut self, decay: f64) -> Self {
        self.base.training.weight_decay = decay;
        self
    }

    /// Stops when an epoch changes the loss by less than this share of it.
    pub fn tol(mut self, tol: f64) -> Self {
        self.base.training.tol = tol;
        self
    }

    /// Trains one replica of the network on each device.
    pub fn devices(mut self, devices: Devices) -> Self {
        self.base.training.devices = devices;
        self
    }

    /// Trains on the features that another model was trained on.
    pub(super) fn inputs_of(mut self, columns: &Columns) -> Self {
        self.base.columns = Columns { label: String::new(), weight: None, ..columns.clone() };
        self
    }

    /// Begins with these weights; tensors of the network that are not among them are drawn from the seed.
    ///
    /// A fitted stage will do (`&model`), or what [`Weights::read_safetensors`] reads.
    pub fn initial_weights(mut self, weights: impl Into<Weights>) -> Self {
        self.initial = Some(weights.into());
        self
    }

    /// Keeps the parameters whose names begin so as they are at the beginning: `["0.", "3."]` freezes layers 0 and 3.
    pub fn freeze(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.base.training.freeze(names);
        self
    }

    /// Writes checkpoints while training, and resumes from the last one of the same run if there is one.
    pub fn checkpoints(mut self, checkpoints: Checkpoints) -> Self {
        self.checkpoints = Some(checkpoints);
        self
    }

    /// Trains on the rows of a frame; labels are ignored.
    ///
    /// The columns are checked, the cluster counts their values, and then exactly those columns are streamed, cast to
    /// single precision on the cluster. Dropping the future stops all of it.
    ///
    /// # Errors
    /// As [`Trainer::fit`]; [`Error::Param`] for a loss over classes or a missing layer; also [`Error::Server`] and
    /// [`Error::Unreachable`].
    pub async fn fit_frame(&self, frame: &DataFrame) -> Result<EncoderModel> {
        self.check()?;
        let prepared = self.base.prepare(frame).await?;
        let model = self.trainer(&prepared, self.described()?).fit(&prepared.rows).await?;
        prepared.rows.close().await?;
        let (mut spec, weights, history) = (model.spec().clone(), model.weights().clone(), model.history().clone());
        let code = match self.layer_index {
            Some(layers) => layers,
            None => match self.network.mirrored(&spec.inputs)? {
                Some(layers) => layers,
                None => narrowest(&spec.shapes()?.iter().map(|shape| shape.count()).collect::<Vec<_>>()),
            },
        };
        if self.base.training.loss == Loss::BinaryCrossEntropy {
            spec.layers.push(LayerSpec::Activation { function: Activation::Sigmoid });
        }
        let lineage = lineage(frame, history.rows);
        let encoder = Encoder::new(spec, weights, prepared.columns, code, history)?;
        Ok(EncoderModel::new(encoder, self.base.training.clone(), self.base.options.clone(), lineage))
    }

    fn check(&self) -> Result<()> {
        match self.base.training.loss {
            Loss::CrossEntropy | Loss::Poisson => {
                let legal = "a loss of values: squared_error, absolute_error, huber, quantile or binary_cross_entropy";
                Err(Error::param("loss", format!("{:?}", self.base.training.loss), legal))
            }
            _ => self.base.training.check(),
        }
        .and_then(|()| self.described().map(drop))
    }

    /// Returns the network, its weights tied where that was set.
    fn described(&self) -> Result<Network> {
        let mut network = self.network.clone();
        match (network.layers.last_mut(), self.tied) {
            (_, false) => {}
            (Some(NetworkLayer::Mirror { tied }), true) => *tied = true,
            (_, true) => {
                let legal = "false for a decoder that is described layer by layer; `Autoencoder::mirrored` makes one";
                return Err(Error::param("tiedWeights", "true", legal));
            }
        }
        Ok(network)
    }

    fn trainer(&self, prepared: &PreparedRows, network: Network) -> Trainer {
        let Unsupervised { training, observers, stop, .. } = &self.base;
        let (columns, policy) = (prepared.columns.clone(), training.on_invalid);
        let unit_interval = training.loss == Loss::BinaryCrossEntropy;
        let decoder = move |schema: &arrow::datatypes::Schema| {
            let decoder = InputDecoder::bind(schema, &columns, policy)?;
            let decoder = if unit_interval { decoder.within(0.0, 1.0) } else { decoder };
            Ok(Box::new(decoder) as Box<dyn Decoder>)
        };
        let mut trainer = Trainer::new(network, prepared.columns.clone(), training.clone())
            .decoder(decoder)
            .expected_rows(prepared.count)
            .stop(stop.clone());
        if let Some(weights) = &self.initial {
            trainer = trainer.initial_weights(weights.clone());
        }
        if let Some(checkpoints) = &self.checkpoints {
            trainer = trainer.checkpoints(checkpoints.clone());
        }
        observers.iter().fold(trainer, |trainer, observer| trainer.observe(observer.clone()))
    }
}

/// Returns the number of layers up to the narrowest one; of equals the last, together with an activation that follows.
fn narrowest(widths: &[usize]) -> usize {
    let between = 1..widths.len().saturating_sub(1).max(2);
    between.fold(1, |best, layer| if widths[layer] <= widths[best] { layer } else { best })
}

impl Estimator for Autoencoder {
    fn fit<'a>(&'a self, frame: &'a DataFrame) -> BoxFuture<'a, Result<Box<dyn Model>>> {
        Box::pin(async { Ok(Box::new(self.fit_frame(frame).await?) as Box<dyn Model>) })
    }

    fn transform_schema(&self, schema: &Schema) -> Result<Schema> {
        self.check()?;
        self.base.output_schema(schema, None)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl fmt::Debug for Autoencoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Autoencoder")
            .field("network", &self.network)
            .field("layer_index", &self.layer_index)
            .field("tied", &self.tied)
            .field("columns", &self.base.columns)
            .field("training", &self.base.training)
            .field("options", &self.base.options)
            .field("checkpoints", &self.checkpoints)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::narrowest;

    #[test]
    fn the_code_is_the_narrowest_layer_with_what_follows_it() {
        assert_eq!(narrowest(&[784, 256, 256, 32, 256, 256, 784]), 3);
        assert_eq!(narrowest(&[784, 32, 32, 784]), 2);
        assert_eq!(narrowest(&[8, 8]), 1);
    }
}
