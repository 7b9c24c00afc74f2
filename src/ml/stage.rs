//! The kinds of pipeline stages.

use std::{any::Any, fmt::Debug};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::{
    PipelineModel,
    feature::{
        Bucketizer, ImputerModel, IndexToString, MaxAbsScalerModel, MinMaxScalerModel, Normalizer, OneHotEncoderModel,
        RobustScalerModel, SqlTransformer, StandardScalerModel, StringIndexerModel, VectorAssembler,
    },
    learning::{AggregateFit, ElementExpr, ElementExprs},
    local::LocalBatch,
    operator::RemoteTransformer,
    row_scorer::RowScorer,
    rows::{Repartition, Split, TimeSplitModel},
    step::Step,
};
use crate::{
    Error, Result,
    dataframe::{DataFrame, Schema},
};

/// Adds columns to a frame.
pub trait Transformer: Any + Debug + Send + Sync {
    /// Returns the frame with the stage's columns. It may ask the cluster about the plan; rows are read only by actions
    /// on the result, unless the stage says otherwise.
    ///
    /// # Errors
    /// As [`transform_schema`](Self::transform_schema); also [`Error::Server`] and [`Error::Unreachable`].
    fn transform<'a>(&'a self, frame: &'a DataFrame) -> BoxFuture<'a, Result<DataFrame>>;

    /// Returns the schema that [`transform`](Self::transform) gives for a frame of this one, without a round trip.
    ///
    /// Metadata that only the data can tell (the length of a vector, say) may be missing from it.
    ///
    /// # Errors
    /// [`Error::Schema`] for an input column that is missing or of the wrong type, or an output column that exists;
    /// [`Error::Param`] for params that cannot work.
    fn transform_schema(&self, schema: &Schema) -> Result<Schema>;

    /// Returns the type's name without its path, such as `VectorAssembler`.
    fn name(&self) -> &'static str {
        bare_name::<Self>()
    }

    /// Returns its work, if it treats each row by itself and its steps follow from the schema, so that the cluster and
    /// this process compute the same. `None` for a stage that works on the cluster only.
    ///
    /// # Errors
    /// As [`transform_schema`](Self::transform_schema).
    fn steps(&self, _schema: &Schema) -> Result<Option<Vec<Step>>> {
        Ok(None)
    }

    /// Appends the stage's columns to a local batch, without a server: the same values as
    /// [`transform`](Self::transform) gives for the same rows, bit for bit, as Spark computes with ANSI rules
    /// (`spark.sql.ansi.enabled`, Spark's default).
    ///
    /// Columns are read as [`Session::create_dataframe`](crate::session::Session::create_dataframe) would send them;
    /// all pass through as they are. Vectors come in the struct form in which they stream from Spark, `ml_attr` is in
    /// the fields' metadata under [`METADATA_KEY`](crate::dataframe::METADATA_KEY). All rows are computed at once,
    /// whether the outputs are used or not.
    ///
    /// # Errors
    /// As [`transform_schema`](Self::transform_schema); [`Error::Data`] for a row that fails the stage on the cluster
    /// too, with the same message, or whose result depends on the version of the cluster's Java; [`Error::Param`] for a
    /// stage that works on the cluster only, by its name.
    fn transform_batch(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let rows = LocalBatch::new(batch)?;
        let after = self.transform_schema(rows.schema())?;
        match self.batch_steps(rows.schema())? {
            Some(steps) => rows.apply(&steps, &after),
            None => Err(on_the_cluster_only(std::any::type_name::<Self>())),
        }
    }

    /// Returns the [`steps`](Self::steps) as this process takes them, where its form of a result is another than the
    /// cluster's: vectors are dense.
    ///
    /// # Errors
    /// As [`transform_schema`](Self::transform_schema).
    fn batch_steps(&self, schema: &Schema) -> Result<Option<Vec<Step>>> {
        self.steps(schema)
    }

    /// Returns the stage made ready for many small batches of one schema: [`transform_batch`](Self::transform_batch),
    /// with what depends on the schema done once.
    ///
    /// # Errors
    /// As [`transform_batch`](Self::transform_batch) of no rows.
    fn row_scorer(&self, schema: &SchemaRef) -> Result<RowScorer> {
        let rows = LocalBatch::new(&RecordBatch::new_empty(schema.clone()))?;
        let after = self.transform_schema(rows.schema())?;
        match self.batch_steps(rows.schema())? {
            Some(steps) => {
                let steps = rows.prepare(&steps, &after)?;
                RowScorer::new(schema, move |batch| steps.apply(batch))
            }
            None => {
                let stage = self.duplicate();
                RowScorer::new(schema, move |batch| stage.transform_batch(batch))
            }
        }
    }

    /// Returns the columns it reads, if it only adds columns, each row by itself: then stages after it may be fitted
    /// before it is applied. `None` if rows or columns may disappear, or if the columns are unknown.
    fn reads(&self) -> Option<Vec<String>> {
        None
    }

    /// Returns whether [`transform_schema`](Self::transform_schema) knows all output columns. `false` for a stage
    /// that only the server knows: the stages after it are checked once it has been applied.
    fn has_known_schema(&self) -> bool {
        true
    }

    /// Outputs by name, each with its numbers as expressions of the columns of a frame of this schema; without those of
    /// which that is unknown. `known` has the expressions of earlier columns' numbers.
    fn elements(&self, _schema: &Schema, _known: &ElementExprs) -> Vec<(String, Vec<ElementExpr>)> {
        Vec::new()
    }

    /// Returns the stage as data, if it is one of this crate's; such stages can be saved with a model.
    fn native(&self) -> Option<NativeStage> {
        None
    }

    /// Returns a copy of the stage.
    fn duplicate(&self) -> Box<dyn Transformer>;

    /// Returns the stage itself, for a downcast.
    fn as_any(&self) -> &dyn Any;
}

pub(super) fn on_the_cluster_only(stage: &str) -> Error {
    let name = stage.rsplit("::").next().unwrap_or(stage);
    let legal = "a stage that looks at each row by itself: this one works on the cluster only, on a DataFrame";
    Error::param("stage", name, legal)
}

/// Returns a type's name without path and type parameters.
fn bare_name<T: ?Sized>() -> &'static str {
    let name = std::any::type_name::<T>();
    let path = name.split_once('<').map_or(name, |(path, _)| path);
    path.rsplit_once("::").map_or(path, |(_, bare)| bare)
}

/// A fitted estimator: a transformer.
pub trait Model: Transformer {
    /// Returns the model as the transformer that it is.
    fn into_transformer(self: Box<Self>) -> Box<dyn Transformer>;
}

/// A stage that is fitted to a frame.
pub trait Estimator: Any + Debug + Send + Sync {
    /// Fits it to the rows of a frame.
    ///
    /// # Errors
    /// As [`transform_schema`](Self::transform_schema); [`Error::Data`] for rows it cannot be fitted to;
    /// [`Error::Server`]; [`Error::Unreachable`].
    fn fit<'a>(&'a self, frame: &'a DataFrame) -> BoxFuture<'a, Result<Box<dyn Model>>>;

    /// Returns the schema of the fitted model's output for a frame of this schema, as far as it is known before
    /// fitting.
    ///
    /// # Errors
    /// As [`Transformer::transform_schema`].
    fn transform_schema(&self, schema: &Schema) -> Result<Schema>;

    /// Returns the type's name without its path, such as `StandardScaler`.
    fn name(&self) -> &'static str {
        bare_name::<Self>()
    }

    /// Returns the columns it reads, if its model only adds columns; as [`Transformer::reads`].
    fn reads(&self) -> Option<Vec<String>> {
        None
    }

    /// As [`Transformer::has_known_schema`], of the fitted model.
    fn has_known_schema(&self) -> bool {
        true
    }

    /// Returns its queries about the rows of a frame of this schema, if aggregates are all it needs: a pipeline runs
    /// those of several stages in one query. `None` if only [`fit`](Self::fit) will do.
    ///
    /// # Errors
    /// As [`transform_schema`](Self::transform_schema).
    fn learning(&self, _schema: &Schema, _elements: &ElementExprs) -> Result<Option<AggregateFit>> {
        Ok(None)
    }

    /// Returns the stage itself, for a downcast.
    fn as_any(&self) -> &dyn Any;
}

/// Implements the methods that are alike in every fitted stage; in an `impl Transformer`.
macro_rules! plain_data {
    ($stage:ident) => {
        fn native(&self) -> Option<$crate::ml::NativeStage> {
            Some($crate::ml::NativeStage::$stage(self.clone()))
        }

        fn duplicate(&self) -> Box<dyn $crate::ml::Transformer> {
            Box::new(self.clone())
        }

        fn as_any(&self) -> &dyn std::any::Any {
            self
        }
    };
}
pub(super) use plain_data;

/// Implements the methods that are alike in every estimator that needs nothing but the answers to its `queries`; in
/// an `impl Estimator`.
macro_rules! fit_by_aggregates {
    () => {
        fn fit<'a>(
            &'a self,
            frame: &'a $crate::dataframe::DataFrame,
        ) -> futures::future::BoxFuture<'a, $crate::Result<Box<dyn $crate::ml::Model>>> {
            Box::pin(async move {
                let schema = frame.schema_for_stages().await?;
                self.transform_schema(&schema)?;
                $crate::ml::learning::learn_one(frame, &schema, self.aggregates(&schema)?).await
            })
        }

        fn learning(
            &self,
            schema: &$crate::dataframe::Schema,
            _elements: &$crate::ml::learning::ElementExprs,
        ) -> $crate::Result<Option<$crate::ml::learning::AggregateFit>> {
            self.transform_schema(schema)?;
            self.aggregates(schema).map(Some)
        }

        fn as_any(&self) -> &dyn std::any::Any {
            self
        }
    };
}
pub(super) use fit_by_aggregates;

/// A fitted stage of this crate's, as data: `{"stage": "StringIndexerModel", …}` in JSON.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "stage")]
pub enum NativeStage {
    /// Class names to indices.
    StringIndexerModel(StringIndexerModel),
    /// Columns to one vector.
    VectorAssembler(VectorAssembler),
    /// Vectors to comparable scales.
    StandardScalerModel(StandardScalerModel),
    /// Vectors to one range.
    MinMaxScalerModel(MinMaxScalerModel),
    /// Vectors to at most 1 either way.
    MaxAbsScalerModel(MaxAbsScalerModel),
    /// Vectors to comparable scales by their quantiles.
    RobustScalerModel(RobustScalerModel),
    /// Numbers in place of missing ones.
    ImputerModel(ImputerModel),
    /// Vectors to unit length.
    Normalizer(Normalizer),
    /// Numbers to buckets.
    Bucketizer(Bucketizer),
    /// Indices to class names.
    IndexToString(IndexToString),
    /// Classes to vectors with a single 1.
    OneHotEncoderModel(OneHotEncoderModel),
    /// A query over the frame.
    SqlTransformer(SqlTransformer),
    /// Rows to the parts of a split.
    Split(Split),
    /// Earlier and later rows to the parts of a split.
    TimeSplitModel(TimeSplitModel),
    /// Rows to partitions.
    Repartition(Repartition),
    /// One of Spark ML's own that needs no fitting.
    RemoteTransformer(RemoteTransformer),
    /// A row of stages.
    PipelineModel {
        /// The stages, in order.
        stages: Vec<NativeStage>,
    },
}

impl NativeStage {
    /// Returns the stage, ready to transform.
    pub fn into_transformer(self) -> Box<dyn Transformer> {
        match self {
            NativeStage::StringIndexerModel(stage) => Box::new(stage),
            NativeStage::VectorAssembler(stage) => Box::new(stage),
            NativeStage::StandardScalerModel(stage) => Box::new(stage),
            NativeStage::MinMaxScalerModel(stage) => Box::new(stage),
            NativeStage::MaxAbsScalerModel(stage) => Box::new(stage),
            NativeStage::RobustScalerModel(stage) => Box::new(stage),
            NativeStage::ImputerModel(stage) => Box::new(stage),
            NativeStage::Normalizer(stage) => Box::new(stage),
            NativeStage::Bucketizer(stage) => Box::new(stage),
            NativeStage::IndexToString(stage) => Box::new(stage),
            NativeStage::OneHotEncoderModel(stage) => Box::new(stage),
            NativeStage::SqlTransformer(stage) => Box::new(stage),
            NativeStage::Split(stage) => Box::new(stage),
            NativeStage::TimeSplitModel(stage) => Box::new(stage),
            NativeStage::Repartition(stage) => Box::new(stage),
            NativeStage::RemoteTransformer(stage) => Box::new(stage),
            NativeStage::PipelineModel { stages } => {
                Box::new(PipelineModel::new(stages.into_iter().map(NativeStage::into_transformer)))
            }
        }
    }

    /// Reads a stage from its JSON form.
    ///
    /// # Errors
    /// [`Error::Param`] for JSON that is no stage of this version.
    pub fn from_json(json: &str) -> Result<Self> {
        serde_json::from_str(json).map_err(|e| {
            let start: String = json.chars().take(80).collect();
            Error::param("stage", format!("`{start}` ({e})"), "a fitted stage as this version writes it")
        })
    }

    /// Returns the stage's JSON form.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a stage is plain data with text keys")
    }
}
