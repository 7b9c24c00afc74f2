//! Vectors to comparable scales.

use std::any::Any;

use arrow::{
    array::{Array, AsArray},
    datatypes::{Float64Type, Int32Type, Int64Type},
};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use spark_connect::{column::Column, functions, lit, types::StructField};

use super::{Numbers, as_array, double_literals, numbers, raise, text};
use crate::{
    Error, Result,
    dataframe::{DataFrame, Schema, column, function, vector_type, with_metadata},
    ml::{
        attribute::AttributeGroup,
        stage::{Estimator, Model, NativeStage, Transformer},
    },
};

/// Learns mean and standard deviation of every element of a vector
/// (`org.apache.spark.ml.feature.StandardScaler`).
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

    /// Whether the mean is subtracted.
    pub fn with_mean(mut self, with_mean: bool) -> Self {
        self.with_mean = with_mean;
        self
    }

    /// Whether to divide by the standard deviation.
    pub fn with_std(mut self, with_std: bool) -> Self {
        self.with_std = with_std;
        self
    }

    /// Mean and standard deviation by element, from one aggregate.
    async fn moments(&self, frame: &DataFrame, kind: Numbers) -> Result<(Vec<f64>, Vec<f64>)> {
        let elements = function("posexplode", [as_array(column(&self.input_col), kind)]);
        let value = || column("col");
        let moments = frame.select([elements]).group_by(["pos"]).agg([
            functions::count(lit(1)).alias("rows"),
            functions::avg(value()).alias("mean"),
            // One row has no sample standard deviation; Spark's scaler calls it 0.
            function("coalesce", [functions::stddev_samp(value()), spark_connect::lit_double(0.0)]).alias("std"),
            functions::count(value()).alias("values"),
        ]);
        let mut found = Vec::new();
        for batch in moments.collect().await? {
            let places = batch.column(0).as_primitive::<Int32Type>();
            let [rows, values] = [1, 4].map(|i| batch.column(i).as_primitive::<Int64Type>());
            let [means, stds] = [2, 3].map(|i| batch.column(i).as_primitive::<Float64Type>());
            for i in 0..batch.num_rows() {
                let mean = if means.is_null(i) { f64::NAN } else { means.value(i) };
                found.push((places.value(i), rows.value(i), values.value(i), mean, stds.value(i)));
            }
        }
        found.sort_by_key(|element| element.0);
        self.check_moments(&found)?;
        Ok(found.into_iter().map(|(.., mean, std)| (mean, std)).unzip())
    }

    fn check_moments(&self, found: &[(i32, i64, i64, f64, f64)]) -> Result<()> {
        let refuse = |reason: String| Err(Error::data(&self.input_col, reason));
        let Some((_, rows, ..)) = found.first() else {
            return refuse("there is no vector to learn from: no row, or only nulls".into());
        };
        for (place, present, values, mean, std) in found {
            if present != rows {
                return refuse(format!(
                    "vectors differ in length: {rows} rows have element 0, {present} have element {place}"
                ));
            }
            if values != present {
                return refuse(format!("element {place} is null in {} rows; leave them out first", present - values));
            }
            if !mean.is_finite() || !std.is_finite() {
                return refuse(format!(
                    "element {place} is NaN or infinite in some rows (mean {mean}); leave them out first"
                ));
            }
        }
        Ok(())
    }

    fn check(&self, schema: &Schema) -> Result<Numbers> {
        input_kind(&self.input_col, schema)
    }
}

fn input_kind(name: &str, schema: &Schema) -> Result<Numbers> {
    let field = schema.require(name)?;
    match numbers(&field.data_type) {
        Some(kind @ (Numbers::Vector | Numbers::Array)) => Ok(kind),
        _ => Err(Error::schema(name, "a vector (a VectorAssembler makes one)", field.data_type.simple_string())),
    }
}

fn scaled_field(name: &str, size: Option<usize>) -> StructField {
    let metadata = size.map(|size| AttributeGroup::Size(size).to_metadata()).unwrap_or_default();
    StructField {
        name: name.to_owned(),
        data_type: vector_type(),
        nullable: true,
        metadata: metadata.into_iter().collect(),
    }
}

impl Estimator for StandardScaler {
    fn fit<'a>(&'a self, frame: &'a DataFrame) -> BoxFuture<'a, Result<Box<dyn Model>>> {
        Box::pin(async move {
            let schema = frame.schema().await?;
            self.transform_schema(&schema)?;
            let (mean, std) = self.moments(frame, self.check(&schema)?).await?;
            let StandardScaler { input_col, output_col, with_mean, with_std } = self.clone();
            let model = StandardScalerModel { input_col, output_col, with_mean, with_std, mean, std };
            Ok(Box::new(model) as Box<dyn Model>)
        })
    }

    fn transform_schema(&self, schema: &Schema) -> Result<Schema> {
        self.check(schema)?;
        let metadata = &schema.require(&self.input_col)?.metadata;
        schema.with(scaled_field(&self.output_col, AttributeGroup::from_metadata(metadata).map(|group| group.size())))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// What a [`StandardScaler`] learnt (`org.apache.spark.ml.feature.StandardScalerModel`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StandardScalerModel {
    input_col: String,
    output_col: String,
    with_mean: bool,
    with_std: bool,
    #[serde(with = "exact")]
    mean: Vec<f64>,
    #[serde(with = "exact")]
    std: Vec<f64>,
}

/// Numbers as text: JSON parsers may round the last digit of a number, and a fitted stage must come back as it was.
mod exact {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(numbers: &[f64], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(numbers.iter().map(f64::to_string))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        texts.iter().map(|text| text.parse().map_err(D::Error::custom)).collect()
    }
}

impl StandardScalerModel {
    /// The mean of every element.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// The sample standard deviation of every element.
    pub fn std(&self) -> &[f64] {
        &self.std
    }

    /// The scaled numbers, computed in Spark's order: `(x - mean) * (1 / std)`.
    fn scaled(&self, values: Column) -> Column {
        if !self.with_mean && !self.with_std {
            return values;
        }
        let scale = self.std.iter().map(|std| if *std == 0.0 { 0.0 } else { 1.0 / std });
        let (means, scales) = (double_literals(self.mean.iter().copied()), double_literals(scale));
        functions::transform_idx(values, |x| {
            let at = |list: Column| function("get", [list, x[1].clone()]);
            let centred = if self.with_mean { x[0].clone().sub(at(means)) } else { x[0].clone() };
            if self.with_std { centred.mul(at(scales)) } else { centred }
        })
    }
}

impl Transformer for StandardScalerModel {
    fn transform<'a>(&'a self, frame: &'a DataFrame) -> BoxFuture<'a, Result<DataFrame>> {
        Box::pin(async move {
            let schema = frame.schema().await?;
            let field = scaled_field(&self.output_col, Some(self.mean.len()));
            self.transform_schema(&schema)?;
            let values = as_array(column(&self.input_col), input_kind(&self.input_col, &schema)?);
            let size = function("size", [values.clone()]);
            let length = format!("; the StandardScaler was fitted to vectors of {} elements.", self.mean.len());
            let found = function("coalesce", [size.clone().cast_str("string"), text("no")]);
            let wrong = raise([
                text(&format!("The vector in column `{}` has ", self.input_col)),
                found,
                text(" elements"),
                text(&length),
            ]);
            let fits = size.eq(lit(self.mean.len() as i64));
            let checked = functions::when(fits, self.scaled(values)).otherwise(wrong);
            let vector = function("array_to_vector", [checked]);
            let metadata = field.metadata.into_iter().collect();
            Ok(frame.with_column(&self.output_col, with_metadata(vector, &self.output_col, &metadata)))
        })
    }

    fn transform_schema(&self, schema: &Schema) -> Result<Schema> {
        input_kind(&self.input_col, schema)?;
        if let Some(group) = AttributeGroup::from_metadata(&schema.require(&self.input_col)?.metadata)
            && group.size() != self.mean.len()
        {
            let expected = format!("vectors of {} elements, as fitted", self.mean.len());
            return Err(Error::schema(&self.input_col, expected, format!("vectors of {} elements", group.size())));
        }
        schema.with(scaled_field(&self.output_col, Some(self.mean.len())))
    }

    fn native(&self) -> Option<NativeStage> {
        Some(NativeStage::StandardScalerModel(self.clone()))
    }

    fn duplicate(&self) -> Box<dyn Transformer> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Model for StandardScalerModel {
    fn into_transformer(self: Box<Self>) -> Box<dyn Transformer> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_that_cannot_be_used_are_refused_with_their_element() {
        let scaler = StandardScaler::new("raw", "features");
        let refused = |found: &[_]| scaler.check_moments(found).unwrap_err().to_string();
        assert!(refused(&[]).contains("no row"));
        assert!(refused(&[(0, 5, 5, 0.0, 1.0), (1, 4, 4, 0.0, 1.0)]).contains("differ in length"));
        assert!(refused(&[(0, 5, 3, 0.0, 1.0)]).contains("element 0 is null in 2 rows"));
        assert!(refused(&[(0, 5, 5, f64::NAN, 1.0)]).contains("NaN or infinite"));
        assert!(scaler.check_moments(&[(0, 5, 5, 0.0, 0.0)]).is_ok());
    }

    #[test]
    fn a_vector_of_another_length_is_refused_by_its_metadata() {
        let (mean, std) = (vec![0.0; 3], vec![1.0; 3]);
        let (input_col, output_col) = ("raw".to_owned(), "features".to_owned());
        let model = StandardScalerModel { input_col, output_col, with_mean: true, with_std: true, mean, std };
        let schema = |size| Schema::new([scaled_field("raw", Some(size))]);
        assert!(model.transform_schema(&schema(3)).is_ok());
        assert!(model.transform_schema(&schema(4)).unwrap_err().to_string().contains("vectors of 4 elements"));
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
