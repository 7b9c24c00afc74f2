//! Models on the cluster's file system.

use serde::{Deserialize, Serialize};

use super::{
    Operator, RemoteModel,
    call::{self, answer},
    proto::{ml_command as ml, ml_operator::OperatorType},
};
use crate::{Result, session::Session};

/// Where a [`RemoteModel`] was saved, and all that it takes to use it again in another session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedModel {
    /// The model's class.
    pub class: String,
    /// The path on the cluster's file system.
    pub path: String,
    /// The input columns, which it takes as vectors.
    #[serde(default)]
    pub(super) inputs: Vec<String>,
}

impl SavedModel {
    /// Creates a model that was saved, also by another client of Spark's; `class` is that of the model, such as
    /// `org.apache.spark.ml.feature.PCAModel`.
    pub fn new(class: impl Into<String>, path: impl Into<String>) -> Self {
        Self { class: class.into(), path: path.into(), inputs: Vec::new() }
    }

    /// Reads it into the memory of the server's session.
    ///
    /// # Errors
    /// [`Error::Server`](crate::Error::Server) when there is none at the path, or of another class;
    /// [`Error::Unreachable`](crate::Error::Unreachable).
    pub async fn load(&self, spark: &Session) -> Result<RemoteModel> {
        let operator = Some(Operator::new(&self.class).proto(OperatorType::Model));
        let of = spark.range(0, 0);
        let read = ml::Command::Read(ml::Read { operator, path: self.path.clone() });
        let id = call::reference(answer(&of, read).await?, "a model")?;
        Ok(RemoteModel::new(&of, id, self.class.clone(), self.inputs.clone()))
    }
}

/// Returns the class of the models that an estimator of a class makes, by Spark ML's rules of naming.
pub(super) fn model_class(estimator: &Operator) -> String {
    let class = &estimator.class;
    if let Some(package) = class.strip_suffix("clustering.LDA") {
        let optimizer = estimator.params.get("optimizer").and_then(super::MlValue::as_text).unwrap_or("online");
        let kind = if optimizer.eq_ignore_ascii_case("em") { "DistributedLDAModel" } else { "LocalLDAModel" };
        return format!("{package}clustering.{kind}");
    }
    let rules = [("Classifier", "ClassificationModel"), ("Regressor", "RegressionModel")];
    let renamed = rules.iter().find_map(|(end, model)| Some(format!("{}{model}", class.strip_suffix(end)?)));
    renamed.unwrap_or_else(|| format!("{class}Model"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_named_as_spark_ml_names_them() {
        let of = |name: &str| {
            let class = model_class(&Operator::new(format!("org.apache.spark.ml.{name}")));
            class.strip_prefix("org.apache.spark.ml.").unwrap().to_owned()
        };
        for (estimator, model) in [
            ("feature.PCA", "feature.PCAModel"),
            ("feature.Word2Vec", "feature.Word2VecModel"),
            ("classification.LogisticRegression", "classification.LogisticRegressionModel"),
            ("classification.MultilayerPerceptronClassifier", "classification.MultilayerPerceptronClassificationModel"),
            ("regression.GBTRegressor", "regression.GBTRegressionModel"),
            ("clustering.KMeans", "clustering.KMeansModel"),
            ("clustering.LDA", "clustering.LocalLDAModel"),
        ] {
            assert_eq!(of(estimator), model);
        }
    }
}
