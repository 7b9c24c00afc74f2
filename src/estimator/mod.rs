//! Networks as stages of a pipeline: parameters, `fit` on a frame of the cluster, and the fitted model.
//!
//! Sequences that vary in length are read by [`NeuralClassifier::sequence_col`] (and the same of [`NeuralRegressor`])
//! into a network that begins with a recurrent layer, such as [`Network::lstm`](crate::nn::Network::lstm).
//!
//! A column name may lead into a struct: `features_col("a.b")` reads field `b` of column `a`, unless a column is itself
//! named `a.b`.
//!
//! Vectors of 256 values or more that are mostly zeros, as some rows and the count before training tell, stay sparse:
//! in the stream, in the cache, and in the first layer where that is linear and trained on the processor in single
//! precision. The model predicts from them so too. Any other network gets the zeros back, a minibatch at a time, and is
//! refused ([`Error::Data`](crate::Error::Data)) where a minibatch would take more than 64 MiB.

mod autoencoder;
mod decoded;
mod deep_belief;
mod encoder_model;
mod features;
mod inputs;
mod labels;
mod network_stage;
mod neural_classifier;
mod neural_model;
mod neural_multilabel_classifier;
mod neural_regressor;
mod on_cluster;
mod params;
mod readers;
mod restricted_boltzmann_machine;
mod shared;
mod supervised;
mod tunable;
mod unsupervised;
mod upload;

pub use autoencoder::Autoencoder;
pub use deep_belief::DeepBelief;
pub use encoder_model::EncoderModel;
pub(crate) use network_stage::network_stage;
pub use neural_classifier::NeuralClassifier;
pub use neural_model::NeuralModel;
pub use neural_multilabel_classifier::NeuralMultilabelClassifier;
pub use neural_regressor::NeuralRegressor;
pub use restricted_boltzmann_machine::RestrictedBoltzmannMachine;
pub(crate) use supervised::PreparedTraining;
pub use tunable::Tunable;
pub(crate) use upload::upload;
