//! The names that most programs need: `use tinderbox::prelude::*`.

pub use spark_connect::{
    column::{Column, lit, lit_string},
    functions,
};

#[cfg(feature = "images")]
pub use crate::tensor::reader::ImageReader;
pub use crate::{
    Error, Result,
    dataframe::{DataFrame, JoinType, SaveMode, col, column},
    ml::{
        Estimator, Model, Pipeline, PipelineModel, Preflight, Transformer,
        feature::{HandleInvalid, StandardScaler, StringIndexer, VectorAssembler},
    },
    session::Session,
    stream::{RecordSource, RecordStream},
};
#[cfg(feature = "train")]
pub use crate::{
    estimator::{
        Autoencoder, DeepBelief, EncoderModel, NeuralClassifier, NeuralModel, NeuralMultilabelClassifier,
        NeuralRegressor, RestrictedBoltzmannMachine,
    },
    nn::{Activation, Conv, Network, Pool},
    tensor::reader::{OneHotReader, PathLabel, TensorReader, TextReader},
    train::{ClassWeights, Loss},
};
