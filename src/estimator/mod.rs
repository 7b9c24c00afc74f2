//! Networks as stages of a pipeline: parameters, `fit` on a frame of the cluster, and the model that comes of it.

mod decoded;
mod explain;
mod features;
mod labels;
mod neural_classifier;
mod neural_model;
mod neural_multilabel_classifier;
mod neural_regressor;
mod params;
mod readers;
mod shared;
mod supervised;

pub use neural_classifier::NeuralClassifier;
pub use neural_model::{NeuralClassificationModel, NeuralModel};
pub use neural_multilabel_classifier::NeuralMultilabelClassifier;
pub use neural_regressor::NeuralRegressor;
