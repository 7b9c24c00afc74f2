//! Vectors to at most 1 either way.

use std::any::Any;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use spark_connect::functions;

use super::scaling::{ElementStatistics, Fitted, estimator_schema, shifted_and_scaled, statistic};
use crate::{
    Result,
    dataframe::{DataFrame, Schema},
    ml::{
        learning::{AggregateFit, ElementExprs},
        param::stage_params,
        stage::{Estimator, Model, Transformer, plain_data},
        step::{Step, transform_by_steps},
    },
    number,
};

/// Learns the largest absolute value of every element of a vector (`org.apache.spark.ml.feature.MaxAbsScaler`).
///
/// | param | default | purpose |
/// |---|---|---|
/// | `inputCol`, `outputCol` | | a vector, or an array of numbers; the scaled vector, always dense |
///
/// The quotients lie between -1 and 1, and zeros stay zeros. NaN is ignored when fitting and stays NaN.
#[derive(Debug, Clone)]
pub struct MaxAbsScaler {
    input_col: String,
    output_col: String,
}

impl MaxAbsScaler {
    /// Scales to at most 1 either way.
    pub fn new(input_col: impl Into<String>, output_col: impl Into<String>) -> Self {
        Self { input_col: input_col.into(), output_col: output_col.into() }
    }

    fn statistics(&self) -> ElementStatistics {
        let params = self.clone();
        ElementStatistics {
            input_col: self.input_col.clone(),
            aggregates: |_, _| vec![Box::new(|v| functions::max(functions::abs(v)))],
            settings: (0.0, 0.0),
            shortcut: None,
            passes_nan: true,
            learn: Box::new(move |found| {
                let MaxAbsScaler { input_col, output_col } = params;
                Ok(Box::new(MaxAbsScalerModel { input_col, output_col, max_abs: statistic(&found, 0) }))
            }),
        }
    }
}

stage_params!(MaxAbsScaler, |_| Ok(()), {
    "inputCol": input_col = None::<()>, "column of vectors or arrays";
    "outputCol": output_col = None::<()>, "output column of vectors";
});

impl Estimator for MaxAbsScaler {
    fn fit<'a>(&'a self, frame: &'a DataFrame) -> BoxFuture<'a, Result<Box<dyn Model>>> {
        Box::pin(async move {
            let schema = frame.schema_for_stages().await?;
            self.transform_schema(&schema)?;
            self.statistics().fit(frame, &schema).await
        })
    }

    fn transform_schema(&self, schema: &Schema) -> Result<Schema> {
        estimator_schema(&self.input_col, &self.output_col, schema)
    }

    fn reads(&self) -> Option<Vec<String>> {
        Some(vec![self.input_col.clone()])
    }

    fn learning(&self, schema: &Schema, elements: &ElementExprs) -> Result<Option<AggregateFit>> {
        self.transform_schema(schema)?;
        Ok(self.statistics().learning(schema, elements))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The fitted model of a [`MaxAbsScaler`] (`org.apache.spark.ml.feature.MaxAbsScalerModel`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MaxAbsScalerModel {
    input_col: String,
    output_col: String,
    #[serde(with = "number::exact")]
    max_abs: Vec<f64>,
}

impl MaxAbsScalerModel {
    /// Returns the largest absolute value of every element.
    pub fn max_abs(&self) -> &[f64] {
        &self.max_abs
    }

    fn fitted(&self) -> Fitted<'_> {
        let (stage, size) = ("MaxAbsScaler", self.max_abs.len());
        Fitted { stage, input_col: &self.input_col, output_col: &self.output_col, size }
    }
}

impl Transformer for MaxAbsScalerModel {
    transform_by_steps!();

    fn steps(&self, schema: &Schema) -> Result<Option<Vec<Step>>> {
        let scale = self.max_abs.iter().map(|max| if *max == 0.0 { 1.0 } else { 1.0 / max }).collect();
        self.fitted().steps(schema, |values| shifted_and_scaled(values, None, Some(scale))).map(Some)
    }

    fn transform_schema(&self, schema: &Schema) -> Result<Schema> {
        self.fitted().schema(schema)
    }

    fn reads(&self) -> Option<Vec<String>> {
        Some(vec![self.input_col.clone()])
    }

    plain_data!(MaxAbsScalerModel);
}

impl Model for MaxAbsScalerModel {
    fn into_transformer(self: Box<Self>) -> Box<dyn Transformer> {
        self
    }
}
