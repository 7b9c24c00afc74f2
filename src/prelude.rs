//! What most programs need: `use tinderbox::prelude::*`.

pub use spark_connect::{
    column::{Column, col, lit},
    functions,
};

pub use crate::{
    Error, Result,
    dataframe::{DataFrame, JoinType, SaveMode, column},
    ml::{
        Estimator, Model, Pipeline, PipelineModel, Preflight, Transformer,
        feature::{HandleInvalid, StandardScaler, StringIndexer, VectorAssembler},
    },
    session::Session,
    stream::{RecordSource, RecordStream},
};
