//! The names that most programs need: `use tinderbox::prelude::*`.

pub use spark_connect::{
    column::{Column, col, lit, lit_string},
    functions,
};

pub use crate::{
    Error, Result,
    dataframe::{DataFrame, JoinType, SaveMode, column},
    estimator::{
        Autoencoder, DeepBelief, EncoderModel, NeuralClassificationModel, NeuralClassifier, NeuralModel,
        NeuralMultilabelClassifier, NeuralRegressor, RestrictedBoltzmannMachine, SequenceClassifier, SequenceRegressor,
    },
    ml::{
        Estimator, Model, Pipeline, PipelineModel, Preflight, Transformer,
        feature::{HandleInvalid, StandardScaler, StringIndexer, VectorAssembler},
    },
    nn::{Activation, Conv, Network, Pool},
    session::Session,
    stream::{RecordSource, RecordStream},
    tensor::reader::{ImageReader, OneHotReader, PathLabel, TensorReader, TextReader},
    train::{ClassWeights, Loss},
};
