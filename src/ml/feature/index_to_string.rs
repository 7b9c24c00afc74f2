//! Indices back to class names.

use serde::{Deserialize, Serialize};
use spark_connect::{
    functions, lit, lit_double,
    types::{DataType, StructField},
};

use super::{number, raise, text, text_literals};
use crate::{
    Error, Result,
    dataframe::{Schema, column, function},
    ml::{
        attribute::Attribute,
        param::stage_params,
        stage::{Transformer, plain_data},
        step::{Step, transform_by_steps},
    },
};

/// Gives the class names of indices (`org.apache.spark.ml.feature.IndexToString`).
///
/// | param | default | purpose |
/// |---|---|---|
/// | `inputCol`, `outputCol` | | an index; the name of its class, null for null |
/// | `labels` | those in the input column's metadata | the names, in order of the index |
///
/// An index without a name fails the action that meets it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IndexToString {
    input_col: String,
    output_col: String,
    labels: Vec<String>,
}

impl IndexToString {
    /// Creates a stage by the names in the input column's metadata.
    pub fn new(input_col: impl Into<String>, output_col: impl Into<String>) -> Self {
        Self { input_col: input_col.into(), output_col: output_col.into(), labels: Vec::new() }
    }

    /// Sets these names, whatever the metadata says.
    pub fn labels<L: Into<String>>(mut self, labels: impl IntoIterator<Item = L>) -> Self {
        self.labels = labels.into_iter().map(Into::into).collect();
        self
    }

    fn names(&self, schema: &Schema) -> Result<Vec<String>> {
        if !self.labels.is_empty() {
            return Ok(self.labels.clone());
        }
        let field = schema.require(&self.input_col)?;
        let attribute = Attribute::from_metadata(&field.metadata);
        let names = attribute.as_ref().and_then(Attribute::classes).map(<[String]>::to_vec);
        names.ok_or_else(|| {
            let expected = "class names in its metadata, or the param `labels`";
            Error::schema(&self.input_col, expected, "none")
        })
    }
}

stage_params!(IndexToString, |_| Ok(()), {
    "inputCol": input_col = None::<()>, "column of class indices";
    "outputCol": output_col = None::<()>, "output column of class names";
    "labels": labels = Vec::<String>::new(), "the names by index; those of the metadata when there is none";
});

impl Transformer for IndexToString {
    transform_by_steps!();

    fn steps(&self, schema: &Schema) -> Result<Option<Vec<Step>>> {
        let names = self.names(schema)?;
        let value = column(&self.input_col).cast(DataType::Double);
        let place = value.clone().cast(DataType::Integer);
        let known = place.clone().ge(lit(0)).and(place.clone().lt(lit(names.len() as i64)));
        // Cut off towards zero as Spark does, but NaN is no index.
        let known = known.and(value.clone().ne(lit_double(f64::NAN)));
        let name = function("get", [text_literals(names.iter().map(String::as_str)), place]);
        let message = format!("Unseen index in column `{}`: ", self.input_col);
        let classes = format!("; there are {} classes.", names.len());
        let unseen = raise([text(&message), value.clone().cast_str("string"), text(&classes)]);
        let named = functions::when(value.is_null().or(known), name).otherwise(unseen);
        Ok(Some(vec![Step::with_column(&self.output_col, named)]))
    }

    fn transform_schema(&self, schema: &Schema) -> Result<Schema> {
        number(schema, &self.input_col, "an index")?;
        schema.with(StructField {
            name: self.output_col.clone(),
            data_type: DataType::String { collation: "UTF8_BINARY".into() },
            nullable: true,
            metadata: Default::default(),
        })
    }

    fn reads(&self) -> Option<Vec<String>> {
        Some(vec![self.input_col.clone()])
    }

    plain_data!(IndexToString);
}
