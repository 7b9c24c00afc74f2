//! Spark ML's own operators, run by the server over Connect: any that it allows, by class name and params.
//!
//! ```no_run
//! # use tinderbox::{Result, ml::{Estimator, Pipeline, operator::RemoteEstimator}, session::Session};
//! # async fn example(spark: Session) -> Result<()> {
//! let frame = spark.table("digits");
//! let pca = RemoteEstimator::pca("features", "components", 32);
//! let model = pca.fit_remote(&frame).await?;
//! let explained = model.attribute("explainedVariance").await?;
//! let reduced = Pipeline::new().stage(pca).fit(&frame).await?.transform(&frame).await?;
//! # Ok(()) }
//! ```
//!
//! Fitted models live in the server session's memory and go with it; [`RemoteModel::save`] keeps one. Where an operator
//! takes vectors, columns of arrays of numbers do too.

mod call;
mod model;
mod saved;
mod value;
mod vectors;

use std::{any::Any, collections::BTreeMap};

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use spark_connect_proto::{self as proto, ml_command as ml, ml_operator::OperatorType};

use self::call::answer;
pub use self::{model::RemoteModel, saved::SavedModel, value::MlValue};
use super::stage::{Estimator, Model, Transformer, plain_data};
use crate::{
    Result,
    dataframe::{DataFrame, Schema},
};

/// An operator's class, and its params by Spark ML's names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Operator {
    class: String,
    params: BTreeMap<String, MlValue>,
}

impl Operator {
    fn new(class: impl Into<String>) -> Self {
        Self { class: class.into(), params: BTreeMap::new() }
    }

    fn set(&mut self, name: impl Into<String>, value: impl Into<MlValue>) {
        self.params.insert(name.into(), value.into());
    }

    fn proto(&self, kind: OperatorType) -> proto::MlOperator {
        let uid = format!("tinderbox_{}", uuid::Uuid::new_v4().simple());
        proto::MlOperator { name: self.class.clone(), uid, r#type: kind.into() }
    }

    fn params(&self) -> proto::MlParams {
        let params = self.params.iter().map(|(name, value)| (name.clone(), value.to_proto()));
        proto::MlParams { params: params.collect() }
    }

    /// Refuses an input column that is missing, where the params name one.
    fn check(&self, schema: &Schema) -> Result<()> {
        for name in ["inputCol", "featuresCol", "labelCol", "weightCol"] {
            if let Some(column) = self.params.get(name).and_then(MlValue::as_text)
                && !column.is_empty()
            {
                schema.require(column)?;
            }
        }
        let columns = self.params.get("inputCols").and_then(MlValue::as_list).unwrap_or_default();
        columns.iter().filter_map(MlValue::as_text).try_for_each(|column| schema.require(column).map(drop))
    }
}

/// Writes what sets an operator up.
macro_rules! settable {
    ($operator:ident, $example:literal) => {
        impl $operator {
            #[doc = concat!("The operator of a class, such as `org.apache.spark.ml.", $example, "`, with the params' defaults.")]
            pub fn new(class: impl Into<String>) -> Self {
                Self(Operator::new(class))
            }

            /// Sets a param by Spark ML's name. A Scala `Int` is given as `i32`, a `Long` as `i64`.
            pub fn set(mut self, name: impl Into<String>, value: impl Into<MlValue>) -> Self {
                self.0.set(name, value);
                self
            }
        }
    };
}

settable!(RemoteEstimator, "feature.PCA");
settable!(RemoteTransformer, "feature.Tokenizer");
settable!(RemoteEvaluator, "evaluation.ClusteringEvaluator");

/// An estimator of Spark ML's, fitted by the server.
#[derive(Debug, Clone, PartialEq)]
pub struct RemoteEstimator(Operator);

impl RemoteEstimator {
    /// Creates the principal components of a vector (`org.apache.spark.ml.feature.PCA`).
    pub fn pca(input_col: &str, output_col: &str, k: i32) -> Self {
        let pca = Self::new("org.apache.spark.ml.feature.PCA");
        pca.set("inputCol", input_col).set("outputCol", output_col).set("k", k)
    }

    /// Vectors of words from lists of them (`org.apache.spark.ml.feature.Word2Vec`).
    pub fn word2vec(input_col: &str, output_col: &str, vector_size: i32) -> Self {
        let words = Self::new("org.apache.spark.ml.feature.Word2Vec");
        words.set("inputCol", input_col).set("outputCol", output_col).set("vectorSize", vector_size)
    }

    /// Creates a logistic regression (`org.apache.spark.ml.classification.LogisticRegression`).
    pub fn logistic_regression(features_col: &str, label_col: &str) -> Self {
        let regression = Self::new("org.apache.spark.ml.classification.LogisticRegression");
        regression.set("featuresCol", features_col).set("labelCol", label_col)
    }

    /// Creates Spark's own network (`org.apache.spark.ml.classification.MultilayerPerceptronClassifier`), of these
    /// layers' sizes, inputs and classes included.
    pub fn multilayer_perceptron(features_col: &str, label_col: &str, layers: impl Into<Vec<i32>>) -> Self {
        let network = Self::new("org.apache.spark.ml.classification.MultilayerPerceptronClassifier");
        network.set("featuresCol", features_col).set("labelCol", label_col).set("layers", layers.into())
    }

    /// Fits, and returns the model with its own type.
    ///
    /// Dropping the future interrupts the fit.
    ///
    /// # Errors
    /// [`Error::Schema`](crate::Error::Schema) for an input column that is missing;
    /// [`Error::Unsupported`](crate::Error::Unsupported) for a class that the server does not allow;
    /// [`Error::Server`](crate::Error::Server) for a param it refuses, or rows it cannot train on;
    /// [`Error::Unreachable`](crate::Error::Unreachable).
    pub async fn fit_remote(&self, frame: &DataFrame) -> Result<RemoteModel> {
        let schema = frame.schema().await?;
        self.0.check(&schema)?;
        let inputs = vectors::inputs(&self.0);
        let fit = ml::Fit {
            estimator: Some(self.0.proto(OperatorType::Estimator)),
            params: Some(self.0.params()),
            dataset: Some(vectors::as_vectors(frame, &inputs, &schema).relation()),
        };
        let id = call::reference(answer(frame, ml::Command::Fit(fit)).await?, "a fitted model")?;
        Ok(RemoteModel::new(frame, id, saved::model_class(&self.0), inputs))
    }
}

impl Estimator for RemoteEstimator {
    fn fit<'a>(&'a self, frame: &'a DataFrame) -> BoxFuture<'a, Result<Box<dyn Model>>> {
        Box::pin(async move { Ok(Box::new(self.fit_remote(frame).await?) as Box<dyn Model>) })
    }

    fn transform_schema(&self, schema: &Schema) -> Result<Schema> {
        self.0.check(schema)?;
        Ok(schema.clone())
    }

    fn has_known_schema(&self) -> bool {
        false
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A transformer of Spark ML's that needs no fitting, run by the server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RemoteTransformer(Operator);

impl Transformer for RemoteTransformer {
    fn transform<'a>(&'a self, frame: &'a DataFrame) -> BoxFuture<'a, Result<DataFrame>> {
        use proto::ml_relation::transform::Operator as By;
        let by = By::Transformer(self.0.proto(OperatorType::Transformer));
        Box::pin(async move {
            let (schema, inputs) = (frame.schema().await?, vectors::inputs(&self.0));
            self.0.check(&schema)?;
            let input = vectors::as_vectors(frame, &inputs, &schema);
            Ok(vectors::as_before(call::transformed(&input, by, self.0.params()), &inputs, &schema))
        })
    }

    fn transform_schema(&self, schema: &Schema) -> Result<Schema> {
        self.0.check(schema)?;
        Ok(schema.clone())
    }

    fn has_known_schema(&self) -> bool {
        false
    }

    plain_data!(RemoteTransformer);
}

/// An evaluator of Spark ML's, run by the server. [`evaluation`](super::evaluation) has native ones that give every
/// statistic at once.
#[derive(Debug, Clone, PartialEq)]
pub struct RemoteEvaluator(Operator);

impl RemoteEvaluator {
    /// Evaluates predicted classes (`org.apache.spark.ml.evaluation.MulticlassClassificationEvaluator`).
    pub fn multiclass(label_col: &str, prediction_col: &str, metric_name: &str) -> Self {
        let evaluator = Self::new("org.apache.spark.ml.evaluation.MulticlassClassificationEvaluator");
        evaluator.set("labelCol", label_col).set("predictionCol", prediction_col).set("metricName", metric_name)
    }

    /// Returns the evaluator's statistic for the rows of a frame.
    ///
    /// # Errors
    /// As [`RemoteEstimator::fit_remote`].
    pub async fn evaluate(&self, frame: &DataFrame) -> Result<f64> {
        let evaluate = ml::Evaluate {
            evaluator: Some(self.0.proto(OperatorType::Evaluator)),
            params: Some(self.0.params()),
            dataset: Some(frame.relation()),
        };
        let statistic = call::value(answer(frame, ml::Command::Evaluate(evaluate)).await?);
        statistic.as_ref().and_then(MlValue::as_f64).ok_or_else(|| call::incomplete("a statistic"))
    }
}
