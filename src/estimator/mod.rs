//! Networks as stages of a pipeline: parameters, `fit` on a frame of the cluster, and the model that comes of it.

mod decoded;
mod explain;
mod features;
mod neural_classifier;
mod neural_model;
mod readers;

pub use neural_classifier::NeuralClassifier;
pub use neural_model::NeuralClassificationModel;
