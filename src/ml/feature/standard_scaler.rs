//! Vectors to comparable scales.

use std::any::Any;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use spark_connect::functions;

use super::scaling::{
    ElementStatistics, Fitted, Shortcut, estimator_schema, reciprocals, shifted_and_scaled, statistic,
};
use crate::{
    Result,
    dataframe::{DataFrame, Schema, function},
    ml::{
        learning::{AggregateFit, ElementExprs},
        param::stage_params,
        stage::{Estimator, Model, Transformer, plain_data},
        step::{Step, transform_by_steps},
    },
    number,
};

/// Learns mean and standard deviation of every element of a vector (`org.apache.spark.ml.feature.StandardScaler`).
///
/// | param | default | purpose |
/// |---|---|---|
/// | `inputCol`, `outputCol` | | a vector, or an array of numbers; the scaled vector, always dense |
/// | `withMean` | false | subtract the mean |
/// | `withStd` | true | divide by the sample standard deviation (over n − 1) |
///
/// An element that is constant has standard deviation 0 and becomes 0, as in Spark.
#[derive(Debug, Clone)]
pub struct StandardScaler {
    input_col: String,
    output_col: String,
    with_mean: bool,
    with_std: bool,
}

impl StandardScaler {
    /// Scales to unit standard deviation, without moving the mean.
    pub fn new(input_col: impl Into<String>, output_col: impl Into<String>) -> Self {
        Self { input_col: input_col.into(), output_col: output_col.into(), with_mean: false, with_std: true }
    }

    /// Sets whether the mean is subtracted.
    pub fn with_mean(mut self, with_mean: bool) -> Self {
        self.with_mean = with_mean;
        self
    }

    /// Sets whether to divide by the standard deviation.
    pub fn with_std(mut self, with_std: bool) -> Self {
        self.with_std = with_std;
        self
    }

    fn statistics(&self) -> ElementStatistics {
        let params = self.clone();
        ElementStatistics {
            input_col: self.input_col.clone(),
            // One row has no sample standard deviation; Spark's scaler calls it 0.
            aggregates: |_, _| {
                let std = |v| function("coalesce", [functions::stddev_samp(v), spark_connect::lit_double(0.0)]);
                vec![Box::new(functions::avg), Box::new(std)]
            },
            settings: (0.0, 0.0),
            shortcut: Some(Shortcut {
                aggregates: || vec![Box::new(functions::sum), Box::new(|v| functions::sum(v.clone().mul(v)))],
                statistics: |rows, sums| mean_and_std(rows, sums[0], sums[1]).map(|(mean, std)| vec![mean, std]),
            }),
            passes_nan: false,
            learn: Box::new(move |found| {
                let (mean, std) = (statistic(&found, 0), statistic(&found, 1));
                let StandardScaler { input_col, output_col, with_mean, with_std } = params;
                Ok(Box::new(StandardScalerModel { input_col, output_col, with_mean, with_std, mean, std }))
            }),
        }
    }
}

/// Mean and sample standard deviation by the sum and the sum of squares, if those tell the deviation to 12 digits.
///
/// Squares lose twice the digits that the mean has before the deviation, and all of them in underflow. Beyond one such
/// digit Spark's own running moments are worth their price: for a constant above all, which is exactly 0 by them.
fn mean_and_std(rows: f64, sum: f64, squares: f64) -> Option<(f64, f64)> {
    let spread = squares - sum * (sum / rows);
    let exact = rows > 1.0 && squares > 1e-280 && squares <= 100.0 * spread;
    exact.then(|| (sum / rows, (spread / (rows - 1.0)).sqrt()))
}

stage_params!(StandardScaler, |_| Ok(()), {
    "inputCol": input_col = None::<()>, "column of vectors or arrays";
    "outputCol": output_col = None::<()>, "output column of vectors";
    "withMean": with_mean = false, "whether the mean is subtracted";
    "withStd": with_std = true, "whether to divide by the standard deviation";
});

impl Estimator for StandardScaler {
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

/// The fitted model of a [`StandardScaler`] (`org.apache.spark.ml.feature.StandardScalerModel`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StandardScalerModel {
    input_col: String,
    output_col: String,
    with_mean: bool,
    with_std: bool,
    #[serde(with = "number::exact")]
    mean: Vec<f64>,
    #[serde(with = "number::exact")]
    std: Vec<f64>,
}

impl StandardScalerModel {
    /// Returns the mean of every element.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// Returns the sample standard deviation of every element.
    pub fn std(&self) -> &[f64] {
        &self.std
    }

    fn fitted(&self) -> Fitted<'_> {
        let (stage, size) = ("StandardScaler", self.mean.len());
        Fitted { stage, input_col: &self.input_col, output_col: &self.output_col, size }
    }
}

impl Transformer for StandardScalerModel {
    transform_by_steps!();

    fn steps(&self, schema: &Schema) -> Result<Option<Vec<Step>>> {
        let shift = self.with_mean.then_some(&self.mean[..]);
        let scale = self.with_std.then(|| reciprocals(&self.std));
        self.fitted().steps(schema, |values| shifted_and_scaled(values, shift, scale)).map(Some)
    }

    fn transform_schema(&self, schema: &Schema) -> Result<Schema> {
        self.fitted().schema(schema)
    }

    fn reads(&self) -> Option<Vec<String>> {
        Some(vec![self.input_col.clone()])
    }

    plain_data!(StandardScalerModel);
}

impl Model for StandardScalerModel {
    fn into_transformer(self: Box<Self>) -> Box<dyn Transformer> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::{NativeStage, feature::scaling::vector_field};

    #[test]
    fn a_vector_of_another_length_is_refused_by_its_metadata() {
        let (mean, std) = (vec![0.0; 3], vec![1.0; 3]);
        let (input_col, output_col) = ("raw".to_owned(), "features".to_owned());
        let model = StandardScalerModel { input_col, output_col, with_mean: true, with_std: true, mean, std };
        let schema = |size| Schema::new([vector_field(&Schema::default(), "raw", Some(size))]);
        assert!(model.transform_schema(&schema(3)).is_ok());
        assert!(model.transform_schema(&schema(4)).unwrap_err().to_string().contains("vectors of 4 elements"));
    }

    #[test]
    fn sums_tell_the_deviation_where_they_are_exact_and_nothing_where_they_are_not() {
        let sums = |x: &[f64]| mean_and_std(x.len() as f64, x.iter().sum(), x.iter().map(|x| x * x).sum());
        assert_eq!(sums(&[1.0, 3.0, 5.0]), Some((3.0, 2.0)));
        assert_eq!(sums(&[-1.0, 1.0, -1.0, 1.0]), Some((0.0, (4.0_f64 / 3.0).sqrt())));
        assert_eq!(sums(&[100.0, 101.0, 102.0]), None, "the mean has two digits before the deviation");
        assert_eq!(sums(&[0.1; 7]), None, "a constant is told by running moments");
        assert_eq!(sums(&[0.0; 7]), None, "so are zeros");
        assert_eq!(sums(&[1e-160, -1e-160]), None, "squares this small have lost digits");
        assert_eq!(sums(&[4.0]), None, "one row has no deviation");
        assert_eq!(sums(&[]), None);
    }

    #[test]
    fn a_model_is_the_same_after_a_journey_as_json() {
        let model = StandardScalerModel {
            input_col: "a.b".into(),
            output_col: "ü".into(),
            with_mean: true,
            with_std: false,
            mean: vec![0.1 + 0.2, 1.0 / 3.0, 5e-324, -1.797_693_134_862_315_7e308],
            std: vec![0.0; 4],
        };
        let stage = model.native().unwrap();
        assert_eq!(NativeStage::from_json(&stage.to_json()).unwrap(), stage);
        assert!(NativeStage::from_json(r#"{"stage":"Odd"}"#).is_err());
    }
}
