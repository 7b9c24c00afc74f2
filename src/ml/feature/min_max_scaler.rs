//! Vectors to one range.

use std::any::Any;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use spark_connect::{column::Column, functions, lit_double};

use super::{
    double_literals,
    scaling::{ElementStatistics, Fitted, estimator_schema, statistic},
};
use crate::{
    Error, Result,
    dataframe::{DataFrame, Schema, function},
    ml::{
        learning::{AggregateFit, ElementExprs},
        param::stage_params,
        stage::{Estimator, Model, Transformer, plain_data},
        step::{Step, transform_by_steps},
    },
    number,
};

/// Learns the smallest and the largest value of every element of a vector (`org.apache.spark.ml.feature.MinMaxScaler`).
///
/// | param | default | purpose |
/// |---|---|---|
/// | `inputCol`, `outputCol` | | a vector, or an array of numbers; the scaled vector, always dense |
/// | `min`, `max` | 0, 1 | the range that every element is brought to |
///
/// An element that is constant becomes the middle of the range. NaN is passed over when fitting and stays NaN.
#[derive(Debug, Clone)]
pub struct MinMaxScaler {
    input_col: String,
    output_col: String,
    min: f64,
    max: f64,
}

impl MinMaxScaler {
    /// Scales to 0 … 1.
    pub fn new(input_col: impl Into<String>, output_col: impl Into<String>) -> Self {
        Self { input_col: input_col.into(), output_col: output_col.into(), min: 0.0, max: 1.0 }
    }

    /// Sets the smallest value afterwards.
    pub fn min(mut self, min: f64) -> Self {
        self.min = min;
        self
    }

    /// Sets the largest value afterwards.
    pub fn max(mut self, max: f64) -> Self {
        self.max = max;
        self
    }

    fn statistics(&self) -> ElementStatistics {
        let params = self.clone();
        ElementStatistics {
            input_col: self.input_col.clone(),
            aggregates: |_, _| vec![Box::new(functions::min), Box::new(functions::max)],
            settings: (0.0, 0.0),
            shortcut: None,
            passes_nan: true,
            learn: Box::new(move |found| {
                let (original_min, original_max) = (statistic(&found, 0), statistic(&found, 1));
                let MinMaxScaler { input_col, output_col, min, max } = params;
                Ok(Box::new(MinMaxScalerModel { input_col, output_col, min, max, original_min, original_max }))
            }),
        }
    }
}

impl MinMaxScaler {
    fn check(&self) -> Result<()> {
        if self.min < self.max && self.min.is_finite() && self.max.is_finite() {
            return Ok(());
        }
        Err(Error::param("min", self.min, format!("less than max ({}), both finite", self.max)))
    }
}

stage_params!(MinMaxScaler, MinMaxScaler::check, {
    "inputCol": input_col = None::<()>, "column of vectors or arrays";
    "outputCol": output_col = None::<()>, "output column of vectors";
    "min": min = 0.0, "the smallest value afterwards";
    "max": max = 1.0, "the largest value afterwards";
});

impl Estimator for MinMaxScaler {
    fn fit<'a>(&'a self, frame: &'a DataFrame) -> BoxFuture<'a, Result<Box<dyn Model>>> {
        Box::pin(async move {
            let schema = frame.schema_for_stages().await?;
            self.transform_schema(&schema)?;
            self.statistics().fit(frame, &schema).await
        })
    }

    fn transform_schema(&self, schema: &Schema) -> Result<Schema> {
        self.check()?;
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

/// The fitted model of a [`MinMaxScaler`] (`org.apache.spark.ml.feature.MinMaxScalerModel`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MinMaxScalerModel {
    input_col: String,
    output_col: String,
    min: f64,
    max: f64,
    #[serde(with = "number::exact")]
    original_min: Vec<f64>,
    #[serde(with = "number::exact")]
    original_max: Vec<f64>,
}

impl MinMaxScalerModel {
    /// Returns the smallest value of every element.
    pub fn original_min(&self) -> &[f64] {
        &self.original_min
    }

    /// Returns the largest value of every element.
    pub fn original_max(&self) -> &[f64] {
        &self.original_max
    }

    fn fitted(&self) -> Fitted<'_> {
        let (stage, size) = ("MinMaxScaler", self.original_min.len());
        Fitted { stage, input_col: &self.input_col, output_col: &self.output_col, size }
    }
}

impl Transformer for MinMaxScalerModel {
    transform_by_steps!();

    fn steps(&self, schema: &Schema) -> Result<Option<Vec<Step>>> {
        let ranges = self.original_max.iter().zip(&self.original_min).map(|(max, min)| max - min);
        let (min, max) = (self.min, self.max);
        let scales = double_literals(ranges.map(|range| if range == 0.0 { 0.0 } else { (max - min) / range }));
        let lows = double_literals(self.original_min.iter().copied());
        let formula = |values| {
            functions::transform_idx(values, |x| {
                let at = |list: Column| function("get", [list, x[1].clone()]);
                let scaled = x[0].clone().sub(at(lows)).mul(at(scales.clone())).add(lit_double(min));
                let varies = at(scales).ne(lit_double(0.0)).or(x[0].clone().is_nan());
                functions::when(varies, scaled).otherwise(lit_double((min + max) / 2.0))
            })
        };
        self.fitted().steps(schema, formula).map(Some)
    }

    fn transform_schema(&self, schema: &Schema) -> Result<Schema> {
        self.fitted().schema(schema)
    }

    fn reads(&self) -> Option<Vec<String>> {
        Some(vec![self.input_col.clone()])
    }

    plain_data!(MinMaxScalerModel);
}

impl Model for MinMaxScalerModel {
    fn into_transformer(self: Box<Self>) -> Box<dyn Transformer> {
        self
    }
}
