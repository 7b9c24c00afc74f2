//! Vectors to unit length.

use serde::{Deserialize, Serialize};
use spark_connect::{column::Column, functions, lit_double};

use super::{
    as_array,
    scaling::{estimator_schema, vector_input},
};
use crate::{
    Error, Result,
    dataframe::{Schema, column, function, with_metadata},
    ml::{
        param::stage_params,
        stage::{Transformer, plain_data},
        step::{Step, transform_by_steps},
    },
    number,
};

/// Divides every vector by its own p-norm (`org.apache.spark.ml.feature.Normalizer`).
///
/// | param | default | purpose |
/// |---|---|---|
/// | `inputCol`, `outputCol` | | a vector, or an array of numbers; the vector of length 1, always dense |
/// | `p` | 2 | which norm, at least 1; infinity is that of the largest absolute value |
///
/// A vector of zeros stays one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Normalizer {
    input_col: String,
    output_col: String,
    p: Power,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Power(#[serde(with = "number::one")] f64);

impl Normalizer {
    /// Creates a stage that scales to a Euclidean length of 1.
    pub fn new(input_col: impl Into<String>, output_col: impl Into<String>) -> Self {
        Self { input_col: input_col.into(), output_col: output_col.into(), p: Power(2.0) }
    }

    /// Sets the norm: at least 1, infinity included.
    pub fn p(mut self, p: f64) -> Self {
        self.p = Power(p);
        self
    }

    fn power(&self) -> Result<f64> {
        let Power(p) = self.p;
        if p >= 1.0 { Ok(p) } else { Err(Error::param("p", p, "1 or more")) }
    }
}

fn norm(values: Column, p: f64) -> Column {
    let sum = |values: Column, of: &dyn Fn(Column) -> Column| {
        functions::aggregate(values, lit_double(0.0), |x| x[0].clone().add(of(x[1].clone())))
    };
    if p == 1.0 {
        sum(values, &functions::abs)
    } else if p == 2.0 {
        function("sqrt", [sum(values, &|x| x.clone().mul(x))])
    } else if p.is_infinite() {
        functions::aggregate(values, lit_double(0.0), |x| {
            function("greatest", [x[0].clone(), functions::abs(x[1].clone())])
        })
    } else {
        let powers = sum(values, &|x| functions::pow(functions::abs(x), lit_double(p)));
        functions::pow(powers, lit_double(1.0 / p))
    }
}

stage_params!(Normalizer, |stage| stage.power().map(drop), {
    "inputCol": input_col = None::<()>, "column of vectors or arrays";
    "outputCol": output_col = None::<()>, "output column of vectors of length 1";
    "p": p = 2.0, "which norm, at least 1; infinity as text";
});

impl Transformer for Normalizer {
    transform_by_steps!();

    fn steps(&self, schema: &Schema) -> Result<Option<Vec<Step>>> {
        let after = self.transform_schema(schema)?;
        let metadata = after.require(&self.output_col)?.metadata.clone().into_iter().collect();
        let values = as_array(column(&self.input_col), vector_input(&self.input_col, schema)?);
        let length = norm(values.clone(), self.power()?);
        // A list of one, so that the norm is computed once for a row and not for every element.
        let scaled = functions::transform(function("array", [length]), |length| {
            functions::transform(values, |x| {
                let divided = x[0].clone().div(length[0].clone());
                functions::when(length[0].clone().eq(lit_double(0.0)), x[0].clone()).otherwise(divided)
            })
        });
        let vector = schema.vector(function("get", [scaled, spark_connect::lit(0)]));
        Ok(Some(vec![Step::with_column(&self.output_col, with_metadata(vector, &self.output_col, &metadata))]))
    }

    fn transform_schema(&self, schema: &Schema) -> Result<Schema> {
        self.power()?;
        estimator_schema(&self.input_col, &self.output_col, schema)
    }

    fn reads(&self) -> Option<Vec<String>> {
        Some(vec![self.input_col.clone()])
    }

    plain_data!(Normalizer);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::{NativeStage, Params};

    #[test]
    fn which_norm_is_a_number_and_infinity_survives_json() {
        let mut stage = Normalizer::new("v", "out");
        assert!(!stage.params().iter().any(|param| param.name == "p" && param.is_set()));
        assert!(stage.set_param("p", 0.5.into()).is_err());
        for p in [serde_json::json!(1.5), "inf".into()] {
            stage.set_param("p", p.clone()).unwrap();
            assert_eq!(stage.param_map().get("p"), Some(&p));
            let native = stage.native().unwrap();
            assert_eq!(NativeStage::from_json(&native.to_json()).unwrap(), native);
        }
        let text = r#"{"stage":"Normalizer","input_col":"v","output_col":"out","p":"2"}"#;
        let NativeStage::Normalizer(read) = NativeStage::from_json(text).unwrap() else { panic!("{text}") };
        assert_eq!(read, Normalizer::new("v", "out"));
    }

    #[test]
    fn a_norm_below_one_is_none() {
        let schema = Schema::from_ddl("v ARRAY<DOUBLE>").unwrap();
        for p in [0.5, f64::NAN, f64::NEG_INFINITY] {
            assert!(Normalizer::new("v", "out").p(p).transform_schema(&schema).is_err());
        }
        assert!(Normalizer::new("v", "out").p(f64::INFINITY).transform_schema(&schema).is_ok());
    }
}
