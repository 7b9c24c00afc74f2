//! Classes to vectors with a single 1.

use serde::{Deserialize, Serialize};
use spark_connect::{
    column::Column,
    functions, lit, lit_double,
    types::{DataType, StructField},
};

use super::{HandleInvalid, check_pairs, number, raise, text};
use crate::{
    DataProblem, Error, Result,
    dataframe::{Schema, column, function, sparse_vector, with_metadata},
    ml::{
        attribute::{Attribute, AttributeGroup, AttributeKind},
        learning::{Aggregate, AggregateFit, AggregateResults, doubles},
        param::stage_params,
        stage::{Estimator, Model, Transformer, fit_by_aggregates, plain_data},
        step::{Step, transform_by_steps},
    },
};

/// Learns how many classes there are (`org.apache.spark.ml.feature.OneHotEncoder`).
///
/// | param | default | purpose |
/// |---|---|---|
/// | `inputCols`, `outputCols` | | class indices; a vector of zeros with a 1 at the index; sparse from 64 elements on |
/// | `dropLast` | true | the last class gets zeros only, so that elements do not add up to 1 |
/// | `handleInvalid` | `error` | reaction to an index not seen when fitting; `keep` gives all of them one more element |
///
/// The number of classes is in the metadata that a StringIndexer wrote, or else one more than the largest index, found
/// for of all columns in one pass; there may be 1,048,576. A null stays null. There is no `skip`.
#[derive(Debug, Clone)]
pub struct OneHotEncoder {
    input_cols: Vec<String>,
    output_cols: Vec<String>,
    drop_last: bool,
    handle_invalid: HandleInvalid,
}

impl OneHotEncoder {
    /// Encodes columns, each by itself.
    pub fn new<I: Into<String>, O: Into<String>>(
        input_cols: impl IntoIterator<Item = I>,
        output_cols: impl IntoIterator<Item = O>,
    ) -> Self {
        Self {
            input_cols: input_cols.into_iter().map(Into::into).collect(),
            output_cols: output_cols.into_iter().map(Into::into).collect(),
            drop_last: true,
            handle_invalid: HandleInvalid::default(),
        }
    }

    /// Sets whether the last class gets zeros only.
    pub fn drop_last(mut self, drop_last: bool) -> Self {
        self.drop_last = drop_last;
        self
    }

    /// Sets the reaction to an index not seen when fitting: `Error` or `Keep`.
    pub fn handle_invalid(mut self, handling: HandleInvalid) -> Self {
        self.handle_invalid = handling;
        self
    }

    /// Asks for the largest index where metadata does not tell how many classes there are.
    fn aggregates(&self, schema: &Schema) -> Result<AggregateFit> {
        let known = self.input_cols.iter().map(|input| Ok(class_names(schema.require(input)?)?.map(|n| n.len())));
        let known = known.collect::<Result<Vec<_>>>()?;
        let (params, told) = (self.clone(), known.clone());
        let mut learning = AggregateFit::new(move |answers: AggregateResults| {
            let mut asked = answers.statistics.chunks(3);
            let mut category_sizes = Vec::with_capacity(told.len());
            for (input, size) in params.input_cols.iter().zip(told) {
                category_sizes.push(match (size, asked.by_ref()) {
                    (Some(size), _) => size,
                    (None, asked) => {
                        let statistics = asked.next().unwrap_or_default().iter().map(|statistic| doubles(statistic));
                        size_from(input, &statistics.collect::<Result<Vec<_>>>()?.concat())?
                    }
                });
            }
            let OneHotEncoder { input_cols, output_cols, drop_last, handle_invalid } = params;
            let model = OneHotEncoderModel { input_cols, output_cols, drop_last, handle_invalid, category_sizes };
            Ok(Box::new(model))
        });
        for (input, _) in self.input_cols.iter().zip(known).filter(|(_, known)| known.is_none()) {
            let odd = |v: Column| {
                let odd = v.clone().lt(lit_double(0.0)).or(v.clone().ne(functions::floor(v)));
                functions::count_if(odd)
            };
            let asked: [Aggregate; 3] = [Box::new(functions::max), Box::new(odd), Box::new(functions::count)];
            learning = learning.statistics(column(input).cast(DataType::Double), asked);
        }
        Ok(learning)
    }
}

/// Vectors of so many elements and more are made without their zeros.
const LONG: usize = 64;

/// Classes of a column at most: each has a name in the output's metadata and an element in every row.
const MOST: usize = 1 << 20;

/// Returns one more than the largest index.
fn size_from(input: &str, statistics: &[f64]) -> Result<usize> {
    match statistics {
        [_, odd, rows] if *rows > 0.0 && *odd > 0.0 => {
            let found = format!("negative numbers, NaN or fractions in {odd} of {rows} rows");
            Err(Error::values(input, "class indices, integers from 0", found))
        }
        [max, _, rows] if *rows > 0.0 && *max < MOST as f64 => Ok(*max as usize + 1),
        [max, _, rows] if *rows > 0.0 => {
            Err(Error::values(input, format!("class indices below {MOST}, as a StringIndexer makes them"), max))
        }
        _ => Err(Error::data(input, DataProblem::NoValues { what: "class index" })),
    }
}

/// Returns the names of a column's classes, by its metadata; numbers where only their count is known.
fn class_names(field: &StructField) -> Result<Option<Vec<String>>> {
    let numbered = |count: usize| (0..count).map(|i| i.to_string()).collect::<Vec<_>>();
    let Some(attribute) = Attribute::from_metadata(&field.metadata) else { return Ok(None) };
    Ok(match attribute.kind {
        AttributeKind::Nominal { values: None, num_values: Some(count), .. } if count > MOST => {
            return Err(Error::schema(
                &field.name,
                format!("at most {MOST} classes"),
                format!("{count} in its metadata"),
            ));
        }
        AttributeKind::Nominal { values: Some(values), .. } => Some(values),
        AttributeKind::Nominal { num_values, .. } => num_values.map(numbered),
        AttributeKind::Binary { values } => Some(values.map_or_else(|| numbered(2), Vec::from)),
        AttributeKind::Numeric { .. } => {
            return Err(Error::schema(&field.name, "class indices", "a quantity, by its metadata"));
        }
    })
}

fn check_handling(handling: HandleInvalid) -> Result<()> {
    match handling {
        HandleInvalid::Skip => Err(Error::param("handleInvalid", "skip", "error or keep")),
        _ => Ok(()),
    }
}

fn check(inputs: &[String], outputs: &[String], handling: HandleInvalid, schema: &Schema) -> Result<()> {
    check_handling(handling)?;
    check_pairs(inputs, outputs)?;
    inputs.iter().try_for_each(|input| number(schema, input, "class indices").map(drop))
}

stage_params!(OneHotEncoder, |stage| check_handling(stage.handle_invalid), {
    "inputCols": input_cols = None::<()>, "columns of class indices";
    "outputCols": output_cols = None::<()>, "output columns of vectors";
    "dropLast": drop_last = true, "whether the last class gets zeros only";
    "handleInvalid": handle_invalid = HandleInvalid::default(), "reaction to an index not seen when fitting: error or keep";
});

impl Estimator for OneHotEncoder {
    fit_by_aggregates!();

    fn transform_schema(&self, schema: &Schema) -> Result<Schema> {
        check(&self.input_cols, &self.output_cols, self.handle_invalid, schema)?;
        self.output_cols.iter().try_fold(schema.clone(), |result, output| {
            let (data_type, metadata) = (schema.vector_type(), Default::default());
            result.with(StructField { name: output.clone(), data_type, nullable: true, metadata })
        })
    }

    fn reads(&self) -> Option<Vec<String>> {
        Some(self.input_cols.clone())
    }
}

/// The fitted model of a [`OneHotEncoder`] (`org.apache.spark.ml.feature.OneHotEncoderModel`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OneHotEncoderModel {
    input_cols: Vec<String>,
    output_cols: Vec<String>,
    drop_last: bool,
    handle_invalid: HandleInvalid,
    category_sizes: Vec<usize>,
}

impl OneHotEncoderModel {
    /// Returns the number of classes of each input column.
    pub fn category_sizes(&self) -> &[usize] {
        &self.category_sizes
    }

    /// Refuses a model that was not fitted to these columns, each of as many classes as can be encoded.
    fn check(&self, schema: &Schema) -> Result<()> {
        let sizes = &self.category_sizes;
        if sizes.len() != self.input_cols.len() || sizes.iter().any(|size| *size > MOST) {
            let found = format!("{} numbers, the largest {:?}", sizes.len(), sizes.iter().max());
            let legal = format!("one for each of {} input columns, at most {MOST}", self.input_cols.len());
            return Err(Error::param("categorySizes", found, legal));
        }
        check(&self.input_cols, &self.output_cols, self.handle_invalid, schema)
    }

    fn keeps(&self) -> bool {
        self.handle_invalid == HandleInvalid::Keep
    }

    /// Returns the elements' names. What is kept is the class after the last, and goes when the last is dropped.
    fn names(&self, field: &StructField, size: usize) -> Result<Vec<String>> {
        let mut names = class_names(field)?.unwrap_or_else(|| (0..size).map(|i| i.to_string()).collect());
        if names.len() != size {
            let expected = format!("{size} classes, as fitted");
            return Err(Error::schema(&field.name, expected, format!("{} in its metadata", names.len())));
        }
        // Spark refuses to read elements without a name.
        names.iter_mut().enumerate().filter(|(_, name)| name.is_empty()).for_each(|(i, name)| *name = i.to_string());
        match (self.drop_last, self.keeps()) {
            (true, false) => names.truncate(size.saturating_sub(1)),
            (false, true) => names.push("invalidValues".into()),
            _ => {}
        }
        Ok(names)
    }

    /// Returns the vector of a class: without its zeros where it is long, unless `dense`.
    fn encoded(&self, schema: &Schema, input: &str, size: usize, length: usize, dense: bool) -> Column {
        let value = column(input).cast(DataType::Double);
        let place = value.clone().cast(DataType::Integer);
        let known = value.clone().ge(lit_double(0.0)).and(value.clone().lt(lit_double(size as f64)));
        let place = match self.handle_invalid {
            HandleInvalid::Keep => functions::when(known.clone(), place).otherwise(lit(size as i64)),
            _ => place,
        };
        let vector = if dense || length < LONG || !schema.has_vectors() {
            let vector = functions::transform(functions::sequence(lit(0), lit(length as i64 - 1)), |i| {
                functions::when(i[0].clone().eq(place.clone()), lit_double(1.0)).otherwise(lit_double(0.0))
            });
            schema.vector(vector)
        } else {
            // The class that is dropped has none.
            let end = lit(length as i64).cast(DataType::Integer);
            let indices = functions::filter(function("array", [place]), |i| i[0].clone().lt(end));
            sparse_vector(length, indices.clone(), functions::transform(indices, |_| lit_double(1.0)))
        };
        if self.keeps() {
            return functions::when(value.is_not_null(), vector);
        }
        let message = format!("Unseen index in column `{input}`: ");
        let classes = format!("; the OneHotEncoder was fitted to {size} classes. Set handleInvalid to keep.");
        let unseen = raise([text(&message), value.clone().cast_str("string"), text(&classes)]);
        functions::when(known, vector).when(value.is_not_null(), unseen)
    }
}

impl OneHotEncoderModel {
    fn encode(&self, schema: &Schema, dense: bool) -> Result<Vec<Step>> {
        let after = self.transform_schema(schema)?;
        let mut outputs = Vec::new();
        for ((input, output), size) in self.input_cols.iter().zip(&self.output_cols).zip(&self.category_sizes) {
            let metadata = after.require(output)?.metadata.clone().into_iter().collect();
            let length = self.names(schema.require(input)?, *size)?.len();
            outputs.push((
                output.clone(),
                with_metadata(self.encoded(schema, input, *size, length, dense), output, &metadata),
            ));
        }
        Ok(vec![Step::WithColumns(outputs)])
    }
}

impl Transformer for OneHotEncoderModel {
    transform_by_steps!();

    fn steps(&self, schema: &Schema) -> Result<Option<Vec<Step>>> {
        self.encode(schema, false).map(Some)
    }

    fn batch_steps(&self, schema: &Schema) -> Result<Option<Vec<Step>>> {
        self.encode(schema, true).map(Some)
    }

    fn transform_schema(&self, schema: &Schema) -> Result<Schema> {
        self.check(schema)?;
        let columns = self.input_cols.iter().zip(&self.output_cols).zip(&self.category_sizes);
        columns.into_iter().try_fold(schema.clone(), |result, ((input, output), size)| {
            let names = self.names(schema.require(input)?, *size)?;
            if names.is_empty() {
                return Err(Error::data(input, DataProblem::OneClass { class: None }));
            }
            let binary =
                |name| Attribute { name: Some(name), index: None, kind: AttributeKind::Binary { values: None } };
            let group = AttributeGroup::Attributes(names.into_iter().map(binary).collect());
            let metadata = group.to_metadata().into_iter().collect();
            result.with(StructField { name: output.clone(), data_type: schema.vector_type(), nullable: true, metadata })
        })
    }

    fn reads(&self) -> Option<Vec<String>> {
        Some(self.input_cols.clone())
    }

    plain_data!(OneHotEncoderModel);
}

impl Model for OneHotEncoderModel {
    fn into_transformer(self: Box<Self>) -> Box<dyn Transformer> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::NativeStage;

    #[test]
    fn a_model_that_was_not_fitted_to_its_columns_is_refused() {
        let schema = Schema::from_ddl("a INT").unwrap();
        let refused = |sizes: &str| {
            let json = r#"{"stage":"OneHotEncoderModel","input_cols":["a"],"output_cols":["v"],"drop_last":true,
                "handle_invalid":"error","category_sizes":"#;
            let stage = NativeStage::from_json(&format!("{json}{sizes}}}")).unwrap().into_transformer();
            stage.transform_schema(&schema).map(drop).map_err(|e| e.to_string())
        };
        assert_eq!(refused("[3]"), Ok(()));
        assert!(refused("[]").unwrap_err().contains("one for each of 1 input columns"));
        assert!(refused("[1000000000000000000]").unwrap_err().contains("at most 1048576"));
        let metadata = r#"{"ml_attr":{"type":"nominal","num_vals":1000000000000000}}"#;
        let field = StructField { metadata: serde_json::from_str(metadata).unwrap(), ..schema.fields()[0].clone() };
        assert!(class_names(&field).unwrap_err().to_string().contains("at most 1048576 classes"));
    }

    #[test]
    fn the_number_of_classes_comes_from_the_largest_index() {
        assert_eq!(size_from("x", &[4.0, 0.0, 9.0]).unwrap(), 5);
        let refused = |statistics: &[f64]| match size_from("x", statistics).unwrap_err() {
            Error::Data { problem, .. } => problem,
            other => panic!("{other}"),
        };
        let fractions = refused(&[4.0, 2.0, 9.0]);
        assert!(matches!(&fractions, DataProblem::Values { found, .. } if found.contains("2 of 9")), "{fractions}");
        for none in [&[f64::NAN, 0.0, 0.0][..], &[]] {
            assert_eq!(refused(none), DataProblem::NoValues { what: "class index" });
        }
        for index in [1e300, 2e9] {
            let large = refused(&[index, 0.0, 1.0]);
            assert!(matches!(&large, DataProblem::Values { found, .. } if *found == index.to_string()), "{large}");
        }
    }
}
