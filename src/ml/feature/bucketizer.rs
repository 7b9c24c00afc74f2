//! Numbers to the buckets they fall in.

use serde::{Deserialize, Serialize};
use spark_connect::{
    column::Column,
    functions, lit, lit_double,
    types::{DataType, StructField},
};

use super::{HandleInvalid, double_literals, number, raise, text};
use crate::{
    Error, Result,
    dataframe::{Schema, column, function, with_metadata},
    ml::{
        attribute::{Attribute, AttributeKind},
        local::java_text,
        param::stage_params,
        stage::{Model, Transformer, plain_data},
        step::{Step, transform_by_steps},
    },
    number,
};

/// Gives the bucket that a number falls in, from 0 (`org.apache.spark.ml.feature.Bucketizer`).
///
/// | param | default | purpose |
/// |---|---|---|
/// | `inputCols`, `outputCols` | | numbers; the bucket, a double |
/// | `splitsArray` | | for each column the borders, rising, at least three; infinities allowed |
/// | `handleInvalid` | `error` | reaction to NaN; `keep` gives it the bucket after the last, `skip` drops nulls too |
///
/// Bucket i holds what is at least border i and below border i + 1; the last one also its upper border. A number
/// outside all buckets fails the action that meets it, whatever `handleInvalid`; a null stays null.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bucketizer {
    input_cols: Vec<String>,
    output_cols: Vec<String>,
    splits: Vec<Splits>,
    handle_invalid: HandleInvalid,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Splits(#[serde(with = "number::exact")] Vec<f64>);

impl Bucketizer {
    /// Sorts one column's numbers by these borders.
    pub fn new(
        input_col: impl Into<String>,
        output_col: impl Into<String>,
        splits: impl IntoIterator<Item = f64>,
    ) -> Self {
        Self::multi([(input_col.into(), output_col.into(), splits.into_iter().collect())])
    }

    /// Sorts the numbers of several columns: input, output, borders.
    pub fn multi(columns: impl IntoIterator<Item = (String, String, Vec<f64>)>) -> Self {
        let (mut input_cols, mut output_cols, mut splits) = (Vec::new(), Vec::new(), Vec::new());
        for (input, output, borders) in columns {
            input_cols.push(input);
            output_cols.push(output);
            splits.push(Splits(borders));
        }
        Self { input_cols, output_cols, splits, handle_invalid: HandleInvalid::default() }
    }

    /// Sets the reaction to NaN.
    pub fn handle_invalid(mut self, handling: HandleInvalid) -> Self {
        self.handle_invalid = handling;
        self
    }

    /// Returns the borders of each input column's buckets.
    pub fn splits(&self) -> impl Iterator<Item = &[f64]> {
        self.splits.iter().map(|splits| &splits.0[..])
    }

    fn columns(&self) -> impl Iterator<Item = (&String, &String, &[f64])> {
        let columns = self.input_cols.iter().zip(&self.output_cols).zip(self.splits());
        columns.map(|((input, output), splits)| (input, output, splits))
    }

    fn bucket(&self, input: &str, splits: &[f64]) -> Column {
        let value = column(input).cast(DataType::Double);
        let (first, last) = (splits[0], splits[splits.len() - 1]);
        let below = functions::filter(double_literals(splits.iter().copied()), |s| s[0].clone().le(value.clone()));
        let bucket = function("size", [below]).sub(lit(1)).cast(DataType::Double);
        let nan = match self.handle_invalid {
            HandleInvalid::Keep => lit_double((splits.len() - 1) as f64),
            _ => raise([text(&format!(
                "Column `{input}` is NaN, which is in no bucket; set handleInvalid to skip or keep."
            ))]),
        };
        let outside = value.clone().lt(lit_double(first)).or(value.clone().gt(lit_double(last)));
        let borders = format!("` is outside the buckets from {first:?} to {last:?}; widen the borders.");
        let message = format!("The number in column `{input}`, `");
        let refusal = raise([text(&message), value.clone().cast_str("string"), text(&borders)]);
        functions::when(value.clone().is_null(), function("nullif", [lit_double(0.0), lit_double(0.0)]))
            .when(value.clone().is_nan(), nan)
            .when(outside, refusal)
            .when(value.eq(lit_double(last)), lit_double((splits.len() - 2) as f64))
            .otherwise(bucket)
    }
}

/// Spark's Bucketizer does not name its column in it.
fn attribute(splits: &[f64]) -> Attribute {
    let names = splits.windows(2).map(|pair| format!("{}, {}", java_text(pair[0]), java_text(pair[1])));
    let kind = AttributeKind::Nominal { values: Some(names.collect()), num_values: None, is_ordinal: Some(true) };
    Attribute { name: None, index: None, kind }
}

/// Borders must rise.
fn check(splits: &[f64]) -> Result<()> {
    if splits.len() < 3 || !splits.windows(2).all(|pair| pair[0] < pair[1]) {
        return Err(Error::param("splits", format!("{splits:?}"), "at least three numbers, each above the last"));
    }
    Ok(())
}

stage_params!(Bucketizer, |bucketizer| bucketizer.splits().try_for_each(check), {
    "inputCols": input_cols = None::<()>, "columns of numbers";
    "outputCols": output_cols = None::<()>, "output columns of buckets";
    "splitsArray": splits = None::<()>, "for each column the borders of its buckets, rising; infinities as text";
    "handleInvalid": handle_invalid = HandleInvalid::default(), "reaction to NaN: error, skip or keep";
});

impl Transformer for Bucketizer {
    transform_by_steps!();

    fn steps(&self, schema: &Schema) -> Result<Option<Vec<Step>>> {
        self.transform_schema(schema)?;
        let skipping: &[String] = if self.handle_invalid == HandleInvalid::Skip { &self.input_cols } else { &[] };
        let usable = |name| !column(name).is_null().or(column(name).cast(DataType::Double).is_nan());
        let outputs = self.columns().map(|(input, output, splits)| {
            let metadata = attribute(splits).to_metadata();
            (output.clone(), with_metadata(self.bucket(input, splits), output, &metadata))
        });
        let outputs = Step::WithColumns(outputs.collect());
        Ok(Some(skipping.iter().map(|name| Step::Filter(usable(name))).chain([outputs]).collect()))
    }

    fn transform_schema(&self, schema: &Schema) -> Result<Schema> {
        if self.input_cols.is_empty() {
            return Err(Error::param("inputCols", "no column", "at least one column"));
        }
        let counts = [self.input_cols.len(), self.output_cols.len(), self.splits.len()];
        if counts.iter().any(|&count| count != counts[0]) {
            let [inputs, outputs, splits] = counts;
            let found = format!("{splits} lists of borders for {inputs} input and {outputs} output columns");
            return Err(Error::param("splitsArray", found, "as many of each"));
        }
        self.columns().try_fold(schema.clone(), |result, (input, output, splits)| {
            number(schema, input, "numbers")?;
            check(splits)?;
            result.with(StructField {
                name: output.clone(),
                data_type: DataType::Double,
                nullable: true,
                metadata: attribute(splits).to_metadata().into_iter().collect(),
            })
        })
    }

    fn reads(&self) -> Option<Vec<String>> {
        (self.handle_invalid != HandleInvalid::Skip).then(|| self.input_cols.clone())
    }

    plain_data!(Bucketizer);
}

/// The model of a [`QuantileDiscretizer`](super::QuantileDiscretizer) is a `Bucketizer`.
impl Model for Bucketizer {
    fn into_transformer(self: Box<Self>) -> Box<dyn Transformer> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::param::Params;

    #[test]
    fn buckets_are_named_as_java_writes_numbers() {
        let names = [-0.0, 1.0, 0.1, 1234567.0, 1e7, 123456789.5, 1e-3, 9.5e-4, f64::INFINITY].map(java_text);
        assert_eq!(names, ["-0.0", "1.0", "0.1", "1234567.0", "1.0E7", "1.234567895E8", "0.001", "9.5E-4", "Infinity"]);
    }

    #[test]
    fn borders_must_rise() {
        let schema = Schema::from_ddl("a DOUBLE, b STRING").unwrap();
        let refused = |splits: &[f64]| Bucketizer::new("a", "x", splits.iter().copied()).transform_schema(&schema);
        assert!(refused(&[0.0, 1.0, 2.0]).is_ok());
        for splits in [&[0.0, 1.0][..], &[0.0, 2.0, 2.0], &[0.0, f64::NAN, 2.0], &[]] {
            assert!(refused(splits).unwrap_err().to_string().contains("at least three"));
        }
        assert!(Bucketizer::new("b", "x", [0.0, 1.0, 2.0]).transform_schema(&schema).is_err());
        assert!(Bucketizer::new("a", "x", []).steps(&schema).unwrap_err().to_string().contains("at least three"));
        let mut uneven = Bucketizer::new("a", "x", [0.0, 1.0, 2.0]);
        uneven.set_param("inputCols", serde_json::json!(["a", "c"])).unwrap();
        let message = uneven.transform_schema(&schema).unwrap_err().to_string();
        assert!(message.contains("1 lists of borders for 2 input and 1 output columns"), "{message}");
    }
}
