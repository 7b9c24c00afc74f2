//! Spark ML's vocabulary, natively: stages fitted by aggregates on the cluster, applied as SQL expressions.
//!
//! An [`Estimator`] is fitted to a frame and gives a [`Model`]; a [`Transformer`] adds columns to a frame; a
//! [`Pipeline`] is a sequence of both. A fitted stage is plain data in this process: it is saved as JSON and needs no
//! library on the cluster. Columns carry Spark ML's metadata (`ml_attr`), written and read as Spark ML does, so that
//! the stages mix with Spark ML's own. What a stage does to every row is data too ([`Step`]): the cluster does it to a
//! frame, and this process, without a server, to an Arrow batch ([`Transformer::transform_batch`]).

pub mod attribute;
pub mod evaluation;
pub mod feature;
mod fitting;
pub(crate) mod learning;
mod local;
pub mod operator;
pub(crate) mod param;
mod pipeline;
mod preflight;
mod profile;
mod row_scorer;
pub mod rows;
pub(crate) mod stage;
pub(crate) mod step;

pub use param::{Param, ParamMap, Params};
pub use pipeline::{IntoStage, Pipeline, PipelineModel, PipelineStage};

pub use preflight::{ClassCount, ColumnCounts, Preflight, PreflightReport};
pub use profile::{ColumnProfile, Histogram, TableProfile};
pub use row_scorer::RowScorer;
pub(crate) use stage::NativeStage;
pub use stage::{Estimator, Model, Transformer};
pub(crate) use step::Step;
