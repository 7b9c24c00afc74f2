//! Vectors to comparable scales by their quantiles.

use std::any::Any;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::{
    quantiles,
    scaling::{ElementStatistics, Fitted, estimator_schema, reciprocals, shifted_and_scaled, statistic},
};
use crate::{
    Error, Result,
    dataframe::{DataFrame, Schema},
    ml::{
        learning::{AggregateFit, ElementExprs},
        param::stage_params,
        stage::{Estimator, Model, Transformer, plain_data},
        step::{Step, transform_by_steps},
    },
    number,
};

/// Learns median and quantile range of every element of a vector (`org.apache.spark.ml.feature.RobustScaler`).
///
/// | param | default | purpose |
/// |---|---|---|
/// | `inputCol`, `outputCol` | | a vector, or an array of numbers; the scaled vector, always dense |
/// | `lower`, `upper` | 0.25, 0.75 | the quantiles whose distance is the range |
/// | `withCentering` | false | subtract the median |
/// | `withScaling` | true | divide by the range |
///
/// Quantiles are exact to a thousandth of the rows' ranks (Spark ML's `relativeError` of 0.001).
///
/// An element whose range is 0 becomes 0. NaN is passed over when fitting and stays NaN.
#[derive(Debug, Clone)]
pub struct RobustScaler {
    input_col: String,
    output_col: String,
    lower: f64,
    upper: f64,
    with_centering: bool,
    with_scaling: bool,
}

impl RobustScaler {
    /// Scales to a range of 1 between the quartiles, without moving the median.
    pub fn new(input_col: impl Into<String>, output_col: impl Into<String>) -> Self {
        Self {
            input_col: input_col.into(),
            output_col: output_col.into(),
            lower: 0.25,
            upper: 0.75,
            with_centering: false,
            with_scaling: true,
        }
    }

    /// Sets the lower quantile, between 0 and `upper`.
    pub fn lower(mut self, lower: f64) -> Self {
        self.lower = lower;
        self
    }

    /// Sets the upper quantile, between `lower` and 1.
    pub fn upper(mut self, upper: f64) -> Self {
        self.upper = upper;
        self
    }

    /// Sets whether the median is subtracted.
    pub fn with_centering(mut self, with_centering: bool) -> Self {
        self.with_centering = with_centering;
        self
    }

    /// Sets whether to divide by the range.
    pub fn with_scaling(mut self, with_scaling: bool) -> Self {
        self.with_scaling = with_scaling;
        self
    }

    fn statistics(&self) -> ElementStatistics {
        let params = self.clone();
        ElementStatistics {
            input_col: self.input_col.clone(),
            aggregates: |lower, upper| vec![quantiles(&[lower, 0.5, upper])],
            settings: (self.lower, self.upper),
            shortcut: None,
            passes_nan: true,
            learn: Box::new(move |found| {
                let RobustScaler { input_col, output_col, with_centering, with_scaling, .. } = params;
                let (lower, median, upper) = (statistic(&found, 0), statistic(&found, 1), statistic(&found, 2));
                let range = upper.iter().zip(&lower).map(|(upper, lower)| upper - lower).collect();
                let model = RobustScalerModel { input_col, output_col, with_centering, with_scaling, median, range };
                Ok(Box::new(model))
            }),
        }
    }
}

impl RobustScaler {
    fn check(&self) -> Result<()> {
        if 0.0 <= self.lower && self.lower < self.upper && self.upper <= 1.0 {
            return Ok(());
        }
        Err(Error::param("lower", self.lower, format!("from 0 to below upper ({}), at most 1", self.upper)))
    }
}

stage_params!(RobustScaler, RobustScaler::check, {
    "inputCol": input_col = None::<()>, "column of vectors or arrays";
    "outputCol": output_col = None::<()>, "output column of vectors";
    "lower": lower = 0.25, "the lower quantile of the range";
    "upper": upper = 0.75, "the upper quantile of the range";
    "withCentering": with_centering = false, "whether the median is subtracted";
    "withScaling": with_scaling = true, "whether to divide by the range";
});

impl Estimator for RobustScaler {
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

/// The fitted model of a [`RobustScaler`] (`org.apache.spark.ml.feature.RobustScalerModel`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RobustScalerModel {
    input_col: String,
    output_col: String,
    with_centering: bool,
    with_scaling: bool,
    #[serde(with = "number::exact")]
    median: Vec<f64>,
    #[serde(with = "number::exact")]
    range: Vec<f64>,
}

impl RobustScalerModel {
    /// Returns the median of every element.
    pub fn median(&self) -> &[f64] {
        &self.median
    }

    /// Returns the distance of the two quantiles, for every element.
    pub fn range(&self) -> &[f64] {
        &self.range
    }

    fn fitted(&self) -> Fitted<'_> {
        let (stage, size) = ("RobustScaler", self.median.len());
        Fitted { stage, input_col: &self.input_col, output_col: &self.output_col, size }
    }
}

impl Transformer for RobustScalerModel {
    transform_by_steps!();

    fn steps(&self, schema: &Schema) -> Result<Option<Vec<Step>>> {
        let shift = self.with_centering.then_some(&self.median[..]);
        let scale = self.with_scaling.then(|| reciprocals(&self.range));
        self.fitted().steps(schema, |values| shifted_and_scaled(values, shift, scale)).map(Some)
    }

    fn transform_schema(&self, schema: &Schema) -> Result<Schema> {
        self.fitted().schema(schema)
    }

    fn reads(&self) -> Option<Vec<String>> {
        Some(vec![self.input_col.clone()])
    }

    plain_data!(RobustScalerModel);
}

impl Model for RobustScalerModel {
    fn into_transformer(self: Box<Self>) -> Box<dyn Transformer> {
        self
    }
}
