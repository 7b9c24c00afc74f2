//! Columns to one vector.

use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::Int32Type,
};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use spark_connect::{
    column::Column,
    functions, lit, lit_double,
    types::{DataType, StructField},
};

use super::{HandleInvalid, NumberLayout, as_array, numbers, raise, text, text_literals};
use crate::{
    DataProblem, Error, Result,
    dataframe::{
        DataFrame, NestedFields, Schema, WIDE, column, function, indices, sparse_vector, vector_parts, with_metadata,
    },
    ml::{
        attribute::{Attribute, AttributeGroup, AttributeKind},
        learning::{ElementExpr, ElementExprs},
        local::LocalBatch,
        param::stage_params,
        stage::{Transformer, plain_data},
        step::{self, Step},
    },
};

/// Puts columns together into one vector (`org.apache.spark.ml.feature.VectorAssembler`).
///
/// | param | default | purpose |
/// |---|---|---|
/// | `inputCols` | | numbers, booleans, Spark ML vectors; also arrays of numbers |
/// | `outputCol` | | the vector: dense, unless a vector of 4096 values or more, or of 64 that are yes or no, goes into it |
/// | `handleInvalid` | `error` | what to do with a null, or NaN in a column of numbers; `keep` makes it NaN |
///
/// The output's metadata names every element: `a` for column `a`, `v_0` or `v_name` for those of vector `v`. The length
/// of a vector column without metadata is taken from the first row, by a query on the cluster; of a batch, from its
/// own first row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VectorAssembler {
    input_cols: Vec<String>,
    output_col: String,
    handle_invalid: HandleInvalid,
}

/// An input column, and what is known of its numbers.
struct AssembledInput<'a> {
    name: &'a str,
    kind: NumberLayout,
    /// `None` while the length of a vector is unknown.
    attributes: Option<Vec<Attribute>>,
}

impl AssembledInput<'_> {
    /// Returns whether a vector counts as sparse: it is very wide, or all its values are 0 or 1.
    fn is_sparse(&self) -> bool {
        let binary = |attribute: &Attribute| matches!(attribute.kind, AttributeKind::Binary { .. });
        self.kind == NumberLayout::Vector
            && self
                .attributes
                .as_ref()
                .is_some_and(|all| all.len() >= WIDE || all.len() >= LONG && all.iter().all(binary))
    }
}

/// Vectors of so many values that are all yes or no are taken for sparse.
const LONG: usize = 64;

/// Indices moved by `begin`.
fn shifted(places: Column, begin: usize) -> Column {
    let begin = lit(begin as i64).cast(DataType::Integer);
    functions::transform(places, move |x| x[0].clone() + begin)
}

/// Vectors of unknown length: their names, whether a row has all of them, their lengths in it.
type Unmeasured<'a> = (Vec<&'a str>, Column, Vec<Column>);

impl VectorAssembler {
    /// Assembles these columns, in this order.
    pub fn new<N: Into<String>>(input_cols: impl IntoIterator<Item = N>, output_col: impl Into<String>) -> Self {
        Self {
            input_cols: input_cols.into_iter().map(Into::into).collect(),
            output_col: output_col.into(),
            handle_invalid: HandleInvalid::default(),
        }
    }

    /// Sets the reaction to rows with nulls or NaN.
    pub fn handle_invalid(mut self, handling: HandleInvalid) -> Self {
        self.handle_invalid = handling;
        self
    }

    fn inputs<'a>(&'a self, schema: &Schema) -> Result<Vec<AssembledInput<'a>>> {
        if self.input_cols.is_empty() {
            return Err(Error::param("inputCols", "no column", "at least one column"));
        }
        let input = |name: &'a String| {
            let field = schema.require(name)?;
            let expected = "numbers, booleans, a vector or an array of numbers";
            let kind = numbers(&field.data_type)
                .ok_or_else(|| Error::schema(name, expected, field.data_type.simple_string()))?;
            Ok(AssembledInput { name, kind, attributes: attributes(name, field, kind) })
        };
        self.input_cols.iter().map(input).collect()
    }

    /// Returns the vectors whose length is unknown, if there are any.
    fn unmeasured(&self, schema: &Schema) -> Result<Option<Unmeasured<'_>>> {
        let inputs = self.inputs(schema)?;
        let unknown: Vec<_> = inputs.iter().filter(|input| input.attributes.is_none()).collect();
        let names: Vec<_> = unknown.iter().map(|input| input.name).collect();
        let Some(present) = names.iter().map(|name| column(name).is_not_null()).reduce(Column::and) else {
            return Ok(None);
        };
        if self.handle_invalid == HandleInvalid::Keep {
            return Err(unknown_length(&names, "with handleInvalid = keep it must be in the column's metadata"));
        }
        let sizes = unknown.iter().map(|input| function("size", [as_array(column(input.name), input.kind)]));
        Ok(Some((names, present, sizes.collect())))
    }

    /// Returns the schema with the lengths of all vectors: asks for the first row where one is unknown.
    async fn measured(&self, frame: &DataFrame, schema: Schema) -> Result<Schema> {
        let Some((names, present, sizes)) = self.unmeasured(&schema)? else { return Ok(schema) };
        let row = frame.filter(present).select(sizes).first().await?;
        let none = "the column has no metadata and there is no row without nulls in it";
        let row = row.ok_or_else(|| unknown_length(&names, none))?;
        let sizes = row.columns().iter().map(|size| size.as_primitive::<Int32Type>().value(0).max(0) as usize);
        Ok(with_lengths(&schema, &names, &sizes.collect::<Vec<_>>()))
    }

    /// As [`measured`](Self::measured), of local rows. Without a row nothing needs to be known.
    fn measured_here(&self, rows: &LocalBatch) -> Result<Schema> {
        let schema = rows.schema().clone();
        let Some((names, present, sizes)) = self.unmeasured(&schema)? else { return Ok(schema) };
        Ok(match rows.first_whole(&present, &sizes)? {
            Some(sizes) => with_lengths(&schema, &names, &sizes),
            None => schema,
        })
    }

    /// Returns the array of all numbers of a row; rows that must go are gone.
    fn values(&self, inputs: &[AssembledInput<'_>]) -> Column {
        let mut parts = Vec::new();
        let mut rest = inputs;
        while let Some(first) = rest.first() {
            if is_scalar(first) {
                let length = rest.iter().take_while(|input| is_scalar(input)).count();
                parts.push(self.scalars(&rest[..length]));
                rest = &rest[length..];
            } else {
                parts.push(self.elements(first));
                rest = &rest[1..];
            }
        }
        if parts.len() == 1 { parts.remove(0) } else { function("concat", parts) }
    }

    /// Neighbouring columns of single numbers. They are checked within one array, so that each is computed once and
    /// no generated code grows with their number.
    fn scalars(&self, inputs: &[AssembledInput<'_>]) -> Column {
        let values = doubles(inputs);
        match self.handle_invalid {
            HandleInvalid::Skip => values,
            HandleInvalid::Keep => {
                functions::transform(values, |x| function("coalesce", [x[0].clone(), lit_double(f64::NAN)]))
            }
            HandleInvalid::Error => functions::transform_idx(values, |x| {
                let name = function("get", [text_literals(inputs.iter().map(|input| input.name)), x[1].clone()]);
                let problem = functions::when(x[0].clone().is_null(), text("null")).otherwise(text("NaN"));
                let bad = x[0].clone().is_null().or(x[0].clone().is_nan());
                let advice = text(", which cannot be assembled into a vector; set handleInvalid to skip or keep.");
                functions::when(bad, raise([text("Column `"), name, text("` is "), problem, advice]))
                    .otherwise(x[0].clone())
            }),
        }
    }

    fn elements(&self, input: &AssembledInput<'_>) -> Column {
        self.present(input, as_array(column(input.name), input.kind))
    }

    /// Returns the values of a vector or an array, or what stands for them where there is none.
    fn present(&self, input: &AssembledInput<'_>, values: Column) -> Column {
        let length = input.attributes.as_ref().map_or(0, Vec::len) as i64;
        match self.handle_invalid {
            HandleInvalid::Skip => values,
            HandleInvalid::Keep => {
                function("coalesce", [values, function("array_repeat", [lit_double(f64::NAN), lit(length)])])
            }
            HandleInvalid::Error => {
                let message = format!(
                    "Column `{}` is null, which cannot be assembled into a vector; set handleInvalid to skip or keep.",
                    input.name
                );
                function("coalesce", [values, raise([text(&message)])])
            }
        }
    }

    /// Returns the vector of a row, put together from the values of sparse vectors without their zeros.
    fn sparse(&self, inputs: &[AssembledInput<'_>]) -> Column {
        let (mut places, mut values, mut begin) = (Vec::new(), Vec::new(), 0);
        let mut rest = inputs;
        while let Some(first) = rest.first() {
            let scalars = rest.iter().take_while(|input| is_scalar(input)).count();
            let count = if scalars > 0 { scalars } else { first.attributes.as_ref().map_or(0, Vec::len) };
            if first.is_sparse() {
                let parts = vector_parts(column(first.name));
                let own = self.present(first, parts.clone().get_field("values"));
                places.push(functions::coalesce([
                    shifted(parts.get_field("indices"), begin),
                    indices(own.clone(), begin),
                ]));
                values.push(own);
            } else {
                let own = if scalars > 0 { self.scalars(&rest[..scalars]) } else { self.elements(first) };
                places.push(indices(own.clone(), begin));
                values.push(own);
            }
            begin += count;
            rest = &rest[scalars.max(1)..];
        }
        sparse_vector(begin, function("concat", places), function("concat", values))
    }

    /// Returns the steps for rows of this schema, vectors of unknown lengths among them; into a dense vector if
    /// requested, else into a sparse one where inputs are.
    fn assembled(&self, schema: &Schema, dense: bool) -> Result<Vec<Step>> {
        let inputs = self.inputs(schema)?;
        let mut steps = Vec::new();
        if self.handle_invalid == HandleInvalid::Skip {
            for vector in inputs.iter().filter(|input| !is_scalar(input)) {
                steps.push(Step::Filter(column(vector.name).is_not_null()));
            }
            let scalars: Vec<_> = inputs
                .iter()
                .filter(|input| is_scalar(input))
                .map(|i| AssembledInput { attributes: None, ..*i })
                .collect();
            if !scalars.is_empty() {
                let bad = functions::exists(doubles(&scalars), |x| x[0].clone().is_null().or(x[0].clone().is_nan()));
                steps.push(Step::Filter(!bad));
            }
        }
        let vector = match !dense && schema.has_vectors() && inputs.iter().any(AssembledInput::is_sparse) {
            true => self.sparse(&inputs),
            false => schema.vector(self.values(&inputs)),
        };
        let metadata = self.transform_schema(schema)?.require(&self.output_col)?.metadata.clone().into_iter().collect();
        steps.push(Step::with_column(&self.output_col, with_metadata(vector, &self.output_col, &metadata)));
        Ok(steps)
    }

    fn knows_lengths(&self, schema: &Schema) -> Result<bool> {
        Ok(self.inputs(schema)?.iter().all(|input| input.attributes.is_some()))
    }

    fn output(&self, data_type: DataType, metadata: serde_json::Map<String, serde_json::Value>) -> StructField {
        let metadata = metadata.into_iter().collect();
        StructField { name: self.output_col.clone(), data_type, nullable: true, metadata }
    }
}

fn unknown_length(names: &[&str], why: &str) -> Error {
    Error::data(&names.join("`, `"), DataProblem::UnknownShape { reason: why.to_owned() })
}

/// Returns the schema with the lengths of these vectors in their metadata.
fn with_lengths(schema: &Schema, names: &[&str], lengths: &[usize]) -> Schema {
    let known = |name: &str| schema.get(name).map(|field| field.name.clone());
    let lengths: Vec<_> = names.iter().map(|name| known(name)).zip(lengths).collect();
    schema.with_fields(schema.fields().iter().cloned().map(|field| {
        match lengths.iter().find(|(name, _)| name.as_deref() == Some(field.name.as_str())) {
            Some((_, length)) => {
                let metadata = AttributeGroup::Size(**length).to_metadata().into_iter().collect();
                StructField { metadata, ..field }
            }
            None => field,
        }
    }))
}

fn is_scalar(input: &AssembledInput<'_>) -> bool {
    matches!(input.kind, NumberLayout::Whole | NumberLayout::Real)
}

/// Single numbers as one array; a boolean counts as 0 or 1.
fn doubles(inputs: &[AssembledInput<'_>]) -> Column {
    function("array", inputs.iter().map(|input| column(input.name).cast(DataType::Double)))
}

/// Returns the names and kinds of a column's numbers, as Spark ML's assembler derives them.
fn attributes(name: &str, field: &StructField, kind: NumberLayout) -> Option<Vec<Attribute>> {
    let renamed = |attribute: Attribute, name: String| Attribute { name: Some(name), index: None, ..attribute };
    match kind {
        NumberLayout::Real if field.data_type == DataType::Double => {
            let attribute = Attribute::from_metadata(&field.metadata).unwrap_or_default();
            Some(vec![renamed(attribute, name.to_owned())])
        }
        NumberLayout::Whole | NumberLayout::Real => Some(vec![Attribute::numeric(name)]),
        NumberLayout::Vector | NumberLayout::Array => Some(match AttributeGroup::from_metadata(&field.metadata)? {
            AttributeGroup::Size(size) => (0..size).map(|i| Attribute::numeric(format!("{name}_{i}"))).collect(),
            AttributeGroup::Attributes(attributes) => {
                let rename = |(i, attribute): (usize, Attribute)| {
                    let own = attribute.name.clone().unwrap_or_else(|| i.to_string());
                    renamed(attribute, format!("{name}_{own}"))
                };
                attributes.into_iter().enumerate().map(rename).collect()
            }
        }),
    }
}

stage_params!(VectorAssembler, |_| Ok(()), {
    "inputCols": input_cols = None::<()>, "columns of numbers, arrays and vectors";
    "outputCol": output_col = None::<()>, "output column of vectors";
    "handleInvalid": handle_invalid = HandleInvalid::default(), "reaction to rows with nulls or NaN: error, skip or keep";
});

impl Transformer for VectorAssembler {
    fn transform<'a>(&'a self, frame: &'a DataFrame) -> BoxFuture<'a, Result<DataFrame>> {
        Box::pin(async move {
            let schema = frame.schema_for_stages().await?;
            self.transform_schema(&schema)?;
            let nested = NestedFields::of(&schema);
            let (open, schema) = nested.open(frame, &schema);
            let schema = self.measured(&open, schema).await?;
            Ok(nested.close(step::apply(&open, self.assembled(&schema, false)?)))
        })
    }

    fn transform_batch(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let rows = LocalBatch::new(batch)?;
        let schema = self.measured_here(&rows)?;
        rows.apply(&self.assembled(&schema, true)?, &self.transform_schema(&schema)?)
    }

    /// Where all lengths are known: else the rows are looked at first.
    fn steps(&self, schema: &Schema) -> Result<Option<Vec<Step>>> {
        self.knows_lengths(schema)?.then(|| self.assembled(schema, false)).transpose()
    }

    fn batch_steps(&self, schema: &Schema) -> Result<Option<Vec<Step>>> {
        self.knows_lengths(schema)?.then(|| self.assembled(schema, true)).transpose()
    }

    fn transform_schema(&self, schema: &Schema) -> Result<Schema> {
        let known: Option<Vec<_>> = self.inputs(schema)?.into_iter().map(|input| input.attributes).collect();
        let attributes = known.map(|lists| AttributeGroup::Attributes(lists.concat()).to_metadata());
        schema.with(self.output(schema.vector_type(), attributes.unwrap_or_default()))
    }

    /// Where no row goes.
    fn reads(&self) -> Option<Vec<String>> {
        (self.handle_invalid != HandleInvalid::Skip).then(|| self.input_cols.clone())
    }

    /// When all inputs are single numbers: each of them, checked as the vector's are.
    fn elements(&self, schema: &Schema, known: &ElementExprs) -> Vec<(String, Vec<ElementExpr>)> {
        let inputs = self.inputs(schema).unwrap_or_default();
        let element = |input: &AssembledInput<'_>| {
            let value = known.number(input.name);
            match self.handle_invalid {
                HandleInvalid::Skip => ElementExpr::unchecked(value),
                HandleInvalid::Keep => ElementExpr::unchecked(function("coalesce", [value, lit_double(f64::NAN)])),
                HandleInvalid::Error => {
                    let bad = value.clone().is_null().or(value.clone().is_nan());
                    let advice =
                        "null or NaN, which cannot be assembled into a vector; set handleInvalid to skip or keep.";
                    let refusal = raise([text(&format!("Column `{}` is {advice}", input.name))]);
                    ElementExpr { checked: functions::when(bad, refusal).otherwise(value.clone()), value }
                }
            }
        };
        let known = !inputs.is_empty() && inputs.iter().all(is_scalar);
        known.then(|| (self.output_col.clone(), inputs.iter().map(element).collect())).into_iter().collect()
    }

    plain_data!(VectorAssembler);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_names_every_element() {
        let mut schema = Schema::from_ddl("a INT, b DOUBLE").unwrap();
        let labelled = Attribute::nominal("other", ["x", "y"]).to_metadata().into_iter().collect();
        schema = schema
            .with(StructField { name: "c".into(), data_type: DataType::Double, nullable: true, metadata: labelled })
            .unwrap();
        let inner = AttributeGroup::Attributes(vec![Attribute::numeric("p"), Attribute::default()]);
        let metadata = inner.to_metadata().into_iter().collect();
        schema = schema
            .with(StructField { name: "v".into(), data_type: schema.vector_type(), nullable: true, metadata })
            .unwrap();
        let out = VectorAssembler::new(["a", "b", "c", "v"], "features").transform_schema(&schema).unwrap();
        let expected = serde_json::json!({
            "attrs": {
                "numeric": [{"idx": 0, "name": "a"}, {"idx": 1, "name": "b"}, {"idx": 3, "name": "v_p"}, {"idx": 4, "name": "v_1"}],
                "nominal": [{"idx": 2, "name": "c", "vals": ["x", "y"]}],
            },
            "num_attrs": 5,
        });
        assert_eq!(out.require("features").unwrap().metadata["ml_attr"], expected);
    }

    #[test]
    fn what_is_no_number_is_refused_by_name() {
        let schema = Schema::from_ddl("a STRING, b ARRAY<STRING>, c INT").unwrap();
        let refused = |inputs: &[&str]| {
            VectorAssembler::new(inputs.iter().copied(), "v").transform_schema(&schema).unwrap_err().to_string()
        };
        assert!(refused(&["c", "a"]).contains("column `a`") && refused(&["b"]).contains("array<string>"));
        assert!(refused(&[]).contains("at least one column"));
        assert!(VectorAssembler::new(["c"], "c").transform_schema(&schema).is_err());
    }
}
