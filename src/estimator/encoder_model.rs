//! A network trained without labels, as a stage of a fitted pipeline.

use std::{any::Any, path::Path};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use futures::future::BoxFuture;
use serde_json::{Map, Value};
use spark_connect::types::{DataType, StructField};

use super::{Autoencoder, NeuralClassifier, features, network_stage::NetworkStage, upload::upload};
use crate::{
    Result,
    dataframe::{DataFrame, Schema, vector_type},
    ml::{
        Model, RowScorer, Transformer,
        attribute::{Attribute, AttributeGroup},
    },
    model::{EncodeOptions, Encoded, Encoder, Lineage},
    nn::{Activation, Branch, BranchSpec, LayerSpec, Network, NetworkLayer, Weights},
    stream::RecordStream,
    tensor::OnInvalid,
    train::{Loss, TrainParams},
};

/// Codes longer than this have no name for each of their values.
const MOST_NAMES: usize = 4096;

/// The fitted stage of an [`Autoencoder`], a [`DeepBelief`](super::DeepBelief) or a
/// [`RestrictedBoltzmannMachine`](super::RestrictedBoltzmannMachine): features of rows, and their reconstruction
/// error.
///
/// As a transformer it gives a lazy frame, which the cluster's Python workers compute, as a
/// [`NeuralModel`](super::NeuralModel) does; where they cannot, it reads the frame's rows at once, encodes them in this
/// process and uploads them, so that a later stage finds the features on the cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct EncoderModel {
    encoder: Encoder,
    training: TrainParams,
    options: EncodeOptions,
    lineage: Lineage,
}

impl From<&EncoderModel> for Weights {
    fn from(model: &EncoderModel) -> Self {
        model.encoder.weights().clone()
    }
}

impl EncoderModel {
    /// Puts a stage together from a trained encoder.
    pub fn new(encoder: Encoder, training: TrainParams, options: EncodeOptions, lineage: Lineage) -> Self {
        Self { encoder, training, options, lineage }
    }

    /// Returns the network with its weights, columns and history.
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// Returns the training parameters.
    pub fn training(&self) -> &TrainParams {
        &self.training
    }

    /// Returns the encoding options.
    pub fn options(&self) -> &EncodeOptions {
        &self.options
    }

    /// Returns the origin of its training rows.
    pub fn lineage(&self) -> &Lineage {
        &self.lineage
    }

    /// Changes how it encodes.
    pub fn with_options(self, options: EncodeOptions) -> Self {
        Self { options, ..self }
    }

    /// Sets another layer's output as the code.
    ///
    /// # Errors
    /// [`Error::Param`](crate::Error::Param) when there are not so many layers.
    pub fn with_layer_index(self, layer_index: usize) -> Result<Self> {
        Ok(Self { encoder: self.encoder.with_layer_index(layer_index)?, ..self })
    }

    /// Writes the network to an ONNX file, its outputs called as its columns are, see [`Encoder::write_onnx`].
    ///
    /// # Errors
    /// As [`Encoder::write_onnx`].
    pub fn write_onnx(&self, path: impl AsRef<Path>) -> Result<()> {
        self.encoder.write_onnx(path, &self.options)
    }

    /// Streams a frame's rows to this process, in partition groups where they are many, and appends the code, the
    /// reconstruction and its error, batch by batch. Codes and reconstructions are `array<float>`. Dropping the stream
    /// interrupts the work on the cluster.
    ///
    /// # Errors
    /// As [`Encoder::encode`] and [`PartitionedSource::stream`](crate::dataframe::PartitionedSource::stream).
    pub async fn encode(&self, frame: &DataFrame) -> Result<RecordStream> {
        self.encoder.encode(frame.source().stream().await?, &self.options)
    }

    pub(super) fn keeping(mut self, reason: &str) -> Self {
        self.options.on_invalid = OnInvalid::Keep;
        self.options.outputs.invalid_reason = reason.to_owned();
        self
    }

    /// Returns the frame with the encoder's columns: computed by the cluster's workers where they can, else locally and
    /// uploaded.
    async fn encoded_frame(&self, frame: &DataFrame) -> Result<DataFrame> {
        let before = frame.schema().await?;
        let after = self.output_schema(&before)?;
        match self.cluster_stage().transform(frame, &before, &after).await? {
            Ok(encoded) => return Ok(encoded),
            Err(reason) => tracing::info!(reason, "the network is computed in this process, not by the cluster"),
        }
        Ok(upload(frame, self.encode(frame).await?, &before, &after, None).await?.into_frame())
    }

    fn output_schema(&self, schema: &Schema) -> Result<Schema> {
        output_schema(schema, &self.options.outputs, Some(self.encoder.code_width()), Some(self.encoder.spec().outputs))
    }

    /// Returns the layers up to the code as a network to train further, and the initial weights: a classifier that
    /// starts from a network trained without labels.
    ///
    /// # Errors
    /// As [`NetworkSpec::split`](crate::nn::NetworkSpec::split); a fitted model has no reason to fail.
    pub fn network(&self) -> Result<(Network, Weights)> {
        let (spec, weights) = self.encoder.first_part()?;
        Ok((describe(&spec.layers), weights))
    }

    /// Returns a classifier over the same features whose network is that of [`network`](Self::network) with one more
    /// layer, and begins with its weights.
    ///
    /// # Errors
    /// As [`network`](Self::network).
    pub fn classifier(&self) -> Result<NeuralClassifier> {
        let (network, weights) = self.network()?;
        Ok(NeuralClassifier::new(network).inputs_of(self.encoder.columns()).initial_weights(weights))
    }

    /// Returns an auto-encoder over the same features that begins with this network: how a stack of Boltzmann machines
    /// is made to restore its input better. The code stays the same layer's.
    pub fn autoencoder(&self) -> Autoencoder {
        let layers = &self.encoder.spec().layers;
        let squeezed = matches!(layers.last(), Some(LayerSpec::Activation { function: Activation::Sigmoid }));
        // The last linear layer, and what squeezes its outputs, are an auto-encoder's own.
        let layers = &layers[..layers.len().saturating_sub(usize::from(squeezed))];
        let network = match layers.split_last() {
            Some((LayerSpec::Linear { .. }, before)) => describe(before),
            _ => Network { closed: true, ..describe(layers) },
        };
        let loss = if squeezed { Loss::BinaryCrossEntropy } else { Loss::SquaredError };
        Autoencoder::of(network)
            .inputs_of(self.encoder.columns())
            .layer_index(self.encoder.layer_index())
            .initial_weights(self.encoder.weights().clone())
            .loss(loss)
    }
}

impl Transformer for EncoderModel {
    fn transform<'a>(&'a self, frame: &'a DataFrame) -> BoxFuture<'a, Result<DataFrame>> {
        Box::pin(self.encoded_frame(frame))
    }

    /// As [`encode`](Self::encode), of local rows; needs no server.
    fn transform_batch(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        self.encoder.encode_batch(batch, &self.options)
    }

    fn row_scorer(&self, schema: &SchemaRef) -> Result<RowScorer> {
        RowScorer::new(schema, self.encoder.batch_encoder(schema, &self.options)?)
    }

    fn transform_schema(&self, schema: &Schema) -> Result<Schema> {
        features::check_features(schema, self.encoder.columns())?;
        self.output_schema(schema)
    }

    fn duplicate(&self) -> Box<dyn Transformer> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Model for EncoderModel {
    fn into_transformer(self: Box<Self>) -> Box<dyn Transformer> {
        self
    }
}

/// Returns a schema with an encoder's columns behind it; vectors say how long they are and, of codes, what each value
/// is called, as far as that is known.
pub(super) fn output_schema(
    schema: &Schema,
    outputs: &Encoded,
    code: Option<usize>,
    values: Option<usize>,
) -> Result<Schema> {
    outputs.check(schema.names())?;
    let mut fields = schema.fields().to_vec();
    let mut add = |name: &str, data_type: DataType, metadata: Map<String, Value>| {
        if !name.is_empty() {
            let metadata = metadata.into_iter().collect();
            fields.push(StructField { name: name.to_owned(), data_type, nullable: true, metadata });
        }
    };
    let named = |size: usize| match size {
        0..=MOST_NAMES => {
            let attribute = |i| Attribute::numeric(format!("{}_{i}", outputs.code));
            AttributeGroup::Attributes((0..size).map(attribute).collect())
        }
        _ => AttributeGroup::Size(size),
    };
    add(&outputs.code, vector_type(), code.map_or_else(Map::new, |size| named(size).to_metadata()));
    let sized = |size: usize| AttributeGroup::Size(size).to_metadata();
    add(&outputs.reconstruction, vector_type(), values.map_or_else(Map::new, sized));
    add(&outputs.error, DataType::Double, Map::new());
    add(&outputs.invalid_reason, DataType::String { collation: "UTF8_BINARY".into() }, Map::new());
    Ok(Schema::new(fields))
}

/// Returns the description that resolves to these layers with one more linear layer behind them.
fn describe(layers: &[LayerSpec]) -> Network {
    Network { layers: layers.iter().map(described).collect(), closed: false }
}

fn described(layer: &LayerSpec) -> NetworkLayer {
    match layer.clone() {
        LayerSpec::Linear { out_features, .. } => NetworkLayer::Linear { out_features },
        LayerSpec::Activation { function } => NetworkLayer::Activation { function },
        LayerSpec::Dropout { p } => NetworkLayer::Dropout { p },
        LayerSpec::Conv1d(conv) => NetworkLayer::Conv1d(conv),
        LayerSpec::Conv2d(conv) => NetworkLayer::Conv2d(conv),
        LayerSpec::MaxPool1d(pool) => NetworkLayer::MaxPool1d(pool),
        LayerSpec::MaxPool2d(pool) => NetworkLayer::MaxPool2d(pool),
        LayerSpec::AvgPool1d(pool) => NetworkLayer::AvgPool1d(pool),
        LayerSpec::AvgPool2d(pool) => NetworkLayer::AvgPool2d(pool),
        LayerSpec::GlobalMaxPool => NetworkLayer::GlobalMaxPool,
        LayerSpec::GlobalAvgPool => NetworkLayer::GlobalAvgPool,
        LayerSpec::BatchNorm { eps, momentum } => NetworkLayer::BatchNorm { eps, momentum },
        LayerSpec::LayerNorm { eps } => NetworkLayer::LayerNorm { eps },
        LayerSpec::Lstm(settings) => NetworkLayer::Lstm(settings),
        LayerSpec::Gru(settings) => NetworkLayer::Gru(settings),
        LayerSpec::Rnn(settings) => NetworkLayer::Rnn(settings),
        LayerSpec::RnnRelu(settings) => NetworkLayer::RnnRelu(settings),
        LayerSpec::Embedding(table) => NetworkLayer::Embedding(table),
        LayerSpec::Categories { tables } => NetworkLayer::Categories { tables },
        LayerSpec::Custom(custom) => NetworkLayer::Custom { name: custom.name, settings: custom.settings },
        LayerSpec::Attention(settings) => NetworkLayer::Attention(settings),
        LayerSpec::Flatten => NetworkLayer::Flatten,
        LayerSpec::Unflatten { dims } => NetworkLayer::Unflatten { dims },
        LayerSpec::Tied { of, .. } => NetworkLayer::Tied { of },
        LayerSpec::ConvTranspose2d(conv) => NetworkLayer::ConvTranspose2d(conv),
        LayerSpec::Join { branches } => {
            let branch = |branch: BranchSpec| {
                let columns = Branch::numbers(branch.columns.into_iter().map(|part| part.name));
                columns.through(Network { layers: branch.layers.iter().map(described).collect(), closed: false })
            };
            NetworkLayer::Join { branches: branches.into_iter().map(branch).collect() }
        }
        LayerSpec::Residual { layers, .. } => NetworkLayer::Residual { layers: layers.iter().map(described).collect() },
    }
}
