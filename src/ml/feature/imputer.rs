//! Numbers in place of missing ones.

use std::any::Any;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use spark_connect::{
    column::Column,
    functions, lit_boolean, lit_double,
    types::{DataType, StructField},
};

use super::{NumberLayout, numbers, quantiles};
use crate::{
    DataProblem, Error, Result,
    dataframe::{DataFrame, Schema, column, function},
    ml::{
        learning::{self, Aggregate, AggregateFit, AggregateResults, ElementExpr, ElementExprs, FitStep, doubles},
        param::stage_params,
        stage::{Estimator, Model, Transformer, plain_data},
        step::{Step, transform_by_steps},
    },
    number,
};

/// Replacement of a missing number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ImputerStrategy {
    /// The mean of the others.
    #[default]
    Mean,
    /// Their median, exact to a thousandth of the rows' ranks.
    Median,
    /// The most frequent of them; of several the smallest.
    Mode,
}

/// Learns what stands for missing numbers (`org.apache.spark.ml.feature.Imputer`).
///
/// | param | default | purpose |
/// |---|---|---|
/// | `inputCols`, `outputCols` | | numbers; the same with none missing, of the same type |
/// | `strategy` | `mean` | mean, median or mode of the other numbers |
/// | `missingValue` | NaN | the number that counts as missing; nulls always do |
///
/// All columns are fitted in one pass. The mean of a column of integers is truncated.
#[derive(Debug, Clone)]
pub struct Imputer {
    input_cols: Vec<String>,
    output_cols: Vec<String>,
    strategy: ImputerStrategy,
    missing_value: f64,
}

impl Imputer {
    /// Puts means in place of nulls and NaN.
    pub fn new<I: Into<String>, O: Into<String>>(
        input_cols: impl IntoIterator<Item = I>,
        output_cols: impl IntoIterator<Item = O>,
    ) -> Self {
        Self {
            input_cols: input_cols.into_iter().map(Into::into).collect(),
            output_cols: output_cols.into_iter().map(Into::into).collect(),
            strategy: ImputerStrategy::default(),
            missing_value: f64::NAN,
        }
    }

    /// Sets the replacement of missing numbers.
    pub fn strategy(mut self, strategy: ImputerStrategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// Sets the number that counts as missing, as nulls do.
    pub fn missing_value(mut self, missing_value: f64) -> Self {
        self.missing_value = missing_value;
        self
    }

    fn aggregates(&self) -> AggregateFit {
        // A mean shows that there was a NaN. Only then is every number asked whether it is one.
        self.asked(self.strategy != ImputerStrategy::Mean)
    }

    fn asked(&self, passes_nan: bool) -> AggregateFit {
        let params = self.clone();
        let learning = AggregateFit::in_rounds(move |answers: AggregateResults| {
            let mut surrogates = Vec::with_capacity(params.input_cols.len());
            for (input, statistic) in params.input_cols.iter().zip(&answers.statistics) {
                match doubles(statistic)?.first() {
                    Some(surrogate) if !surrogate.is_nan() => surrogates.push(*surrogate),
                    _ if !passes_nan => return Ok(FitStep::Asks(params.asked(true))),
                    _ => return Err(Error::data(input, DataProblem::NoValues { what: "number" })),
                }
            }
            let Imputer { input_cols, output_cols, missing_value, .. } = params;
            let missing_value = vec![missing_value];
            Ok(FitStep::Model(Box::new(ImputerModel { input_cols, output_cols, missing_value, surrogates })))
        });
        // Spark's NaN equals NaN. NaN never enters the statistics.
        let missing = (!self.missing_value.is_nan()).then_some(self.missing_value);
        let missing: Vec<_> = missing.into_iter().chain(passes_nan.then_some(f64::NAN)).map(lit_double).collect();
        self.input_cols.iter().fold(learning, |learning, input| {
            let ask: Aggregate = match self.strategy {
                ImputerStrategy::Mean => Box::new(functions::avg),
                ImputerStrategy::Median => quantiles(&[0.5]),
                ImputerStrategy::Mode => Box::new(|value| function("mode", [value, lit_boolean(true)])),
            };
            let value = column(input).cast(DataType::Double);
            let present = missing.iter().fold(value, |value, missing| function("nullif", [value, missing.clone()]));
            learning.statistics(present, [ask])
        })
    }
}

/// Returns the schema with the outputs, each of its input's type.
fn output_schema(inputs: &[String], outputs: &[String], schema: &Schema) -> Result<Schema> {
    if inputs.is_empty() || inputs.len() != outputs.len() {
        let legal = format!("as many as inputCols ({}), at least one", inputs.len());
        return Err(Error::param("outputCols", format!("{} columns", outputs.len()), legal));
    }
    inputs.iter().zip(outputs).try_fold(schema.clone(), |result, (input, output)| {
        let field = schema.require(input)?;
        let is_number = matches!(numbers(&field.data_type), Some(NumberLayout::Whole | NumberLayout::Real));
        if !is_number || field.data_type == DataType::Boolean {
            return Err(Error::schema(input, "numbers, some of them missing", field.data_type.simple_string()));
        }
        let data_type = field.data_type.clone();
        result.with(StructField { name: output.clone(), data_type, nullable: true, metadata: Default::default() })
    })
}

stage_params!(Imputer, |_| Ok(()), {
    "inputCols": input_cols = None::<()>, "columns of numbers";
    "outputCols": output_cols = None::<()>, "output columns without missing numbers";
    "strategy": strategy = ImputerStrategy::default(), "what stands for a missing number: mean, median or mode";
    "missingValue": missing_value = f64::NAN, "the number that counts as missing besides nulls, NaN unless set";
});

impl Estimator for Imputer {
    fn fit<'a>(&'a self, frame: &'a DataFrame) -> BoxFuture<'a, Result<Box<dyn Model>>> {
        Box::pin(async move {
            let schema = frame.schema_for_stages().await?;
            self.transform_schema(&schema)?;
            learning::learn_one(frame, &schema, self.aggregates()).await
        })
    }

    fn transform_schema(&self, schema: &Schema) -> Result<Schema> {
        output_schema(&self.input_cols, &self.output_cols, schema)
    }

    fn reads(&self) -> Option<Vec<String>> {
        Some(self.input_cols.clone())
    }

    fn learning(&self, schema: &Schema, _elements: &ElementExprs) -> Result<Option<AggregateFit>> {
        self.transform_schema(schema)?;
        Ok(Some(self.aggregates()))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The fitted model of an [`Imputer`] (`org.apache.spark.ml.feature.ImputerModel`).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ImputerModel {
    input_cols: Vec<String>,
    output_cols: Vec<String>,
    /// One number, written as text: JSON has no NaN.
    #[serde(with = "number::exact")]
    missing_value: Vec<f64>,
    #[serde(with = "number::exact")]
    surrogates: Vec<f64>,
}

/// NaN as the missing value equals itself.
impl PartialEq for ImputerModel {
    fn eq(&self, other: &Self) -> bool {
        let bits = |numbers: &[f64]| numbers.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        let columns = (&self.input_cols, &self.output_cols) == (&other.input_cols, &other.output_cols);
        columns && bits(&self.missing_value) == bits(&other.missing_value) && self.surrogates == other.surrogates
    }
}

impl ImputerModel {
    /// Returns the replacement of missing numbers, for each input column.
    pub fn surrogates(&self) -> &[f64] {
        &self.surrogates
    }

    fn missing(&self) -> f64 {
        self.missing_value.first().copied().unwrap_or(f64::NAN)
    }

    fn imputed(&self, value: Column, surrogate: f64) -> Column {
        let is_missing = value.clone().is_null().or(value.clone().eq(lit_double(self.missing())));
        functions::when(is_missing, lit_double(surrogate)).otherwise(value)
    }
}

impl Transformer for ImputerModel {
    transform_by_steps!();

    fn steps(&self, schema: &Schema) -> Result<Option<Vec<Step>>> {
        let columns = self.input_cols.iter().zip(&self.output_cols).zip(&self.surrogates);
        let outputs = columns.map(|((input, output), surrogate)| {
            let data_type = schema.require(input)?.data_type.clone();
            Ok((output.clone(), self.imputed(column(input).cast(DataType::Double), *surrogate).cast(data_type)))
        });
        Ok(Some(vec![Step::WithColumns(outputs.collect::<Result<_>>()?)]))
    }

    fn transform_schema(&self, schema: &Schema) -> Result<Schema> {
        output_schema(&self.input_cols, &self.output_cols, schema)
    }

    fn reads(&self) -> Option<Vec<String>> {
        Some(self.input_cols.clone())
    }

    fn elements(&self, schema: &Schema, known: &ElementExprs) -> Vec<(String, Vec<ElementExpr>)> {
        let columns = self.input_cols.iter().zip(&self.output_cols).zip(&self.surrogates);
        let outputs = columns.filter_map(|((input, output), surrogate)| {
            let data_type = &schema.get(input)?.data_type;
            let imputed = match self.missing() {
                // The same numbers, and the cluster sees that none is null.
                missing if missing.is_nan() => {
                    let number = function("nanvl", [known.number(input), lit_double(*surrogate)]);
                    function("coalesce", [number, lit_double(*surrogate)])
                }
                _ => self.imputed(known.number(input), *surrogate),
            };
            let number = match data_type {
                DataType::Double => imputed,
                other => imputed.cast(other.clone()).cast(DataType::Double),
            };
            Some((output.clone(), vec![ElementExpr::unchecked(number)]))
        });
        outputs.collect()
    }

    plain_data!(ImputerModel);
}

impl Model for ImputerModel {
    fn into_transformer(self: Box<Self>) -> Box<dyn Transformer> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::NativeStage;

    #[test]
    fn only_numbers_can_be_imputed() {
        let schema = Schema::from_ddl("a INT, b STRING, c BOOLEAN, d DOUBLE").unwrap();
        let imputed = |inputs: &[&str], outputs: &[&str]| {
            Imputer::new(inputs.iter().copied(), outputs.iter().copied()).transform_schema(&schema)
        };
        let out = imputed(&["a", "d"], &["x", "y"]).unwrap();
        assert_eq!(out.require("x").unwrap().data_type, DataType::Integer);
        assert!(imputed(&["b"], &["x"]).unwrap_err().to_string().contains("column `b`"));
        assert!(imputed(&["c"], &["x"]).is_err() && imputed(&["a"], &["d"]).is_err() && imputed(&["a"], &[]).is_err());
    }

    #[test]
    fn a_model_is_the_same_after_a_journey_as_json() {
        let model = ImputerModel {
            input_cols: vec!["a.b".into()],
            output_cols: vec!["ü".into()],
            missing_value: vec![f64::NAN],
            surrogates: vec![1.0 / 3.0],
        };
        let stage = model.native().unwrap();
        assert_eq!(NativeStage::from_json(&stage.to_json()).unwrap(), stage);
    }
}
