//! Fields within structs, as columns.
//!
//! A stage may name a field of a struct, as in `a.b`. What it does is written for columns; so the field is one for as
//! long as the stage is at work. A column that is itself named `a.b` comes first.

use std::{collections::HashSet, sync::Arc};

use arrow::{array::RecordBatch, datatypes::Schema as ArrowSchema};
use spark_connect::{
    col,
    types::{DataType, StructField},
};

use super::{DataFrame, Schema, quote};
use crate::{
    Error, Result,
    stream::{nested_column, nested_field},
};

/// The fields within the structs of a schema that no column hides.
#[derive(Debug, Clone, Default)]
pub(crate) struct NestedFields {
    /// Each as a column named by its path, and the path in SQL.
    fields: Vec<(StructField, String)>,
}

impl NestedFields {
    /// Finds them.
    pub(crate) fn of(schema: &Schema) -> Self {
        let mut fields = Vec::new();
        collect(schema.fields(), None, &mut fields);
        let mut seen: HashSet<String> = schema.names().map(str::to_lowercase).collect();
        fields.retain(|(field, _): &(StructField, String)| seen.insert(field.name.to_lowercase()));
        Self { fields }
    }

    /// Returns the names that they have as columns.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(field, _)| field.name.as_str())
    }

    /// Adds them to a frame, and to its schema.
    pub(crate) fn open(&self, frame: &DataFrame, schema: &Schema) -> (DataFrame, Schema) {
        if self.fields.is_empty() {
            return (frame.clone(), schema.clone());
        }
        let columns = self.fields.iter().map(|(field, path)| (field.name.as_str(), col(path)));
        let fields = schema.fields().iter().chain(self.fields.iter().map(|(field, _)| field));
        (frame.with_columns(columns), schema.with_fields(fields.cloned()))
    }

    /// Adds them to local rows.
    ///
    /// # Errors
    /// [`Error::Arrow`](crate::Error::Arrow) for a batch of another schema.
    pub(crate) fn open_batch(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        if self.fields.is_empty() {
            return Ok(batch.clone());
        }
        let (schema, mut columns) = (batch.schema(), batch.columns().to_vec());
        let mut fields = schema.fields().to_vec();
        for (field, _) in &self.fields {
            let Some((places, found)) = nested_field(&schema, &field.name) else { continue };
            columns.push(nested_column(batch.columns(), &places)?);
            fields.push(Arc::new(found.clone().with_name(&field.name).with_nullable(true)));
        }
        let schema = Arc::new(ArrowSchema::new_with_metadata(fields, schema.metadata().clone()));
        RecordBatch::try_new(schema, columns).map_err(|e| Error::arrow("reading fields of structs", e))
    }

    /// Takes them away from rows again.
    ///
    /// # Errors
    /// [`Error::Arrow`](crate::Error::Arrow) when a batch cannot be without them.
    pub(crate) fn close_batch(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        if self.fields.is_empty() {
            return Ok(batch.clone());
        }
        let hidden: HashSet<&str> = self.names().collect();
        let schema = batch.schema();
        let kept: Vec<usize> =
            (0..schema.fields().len()).filter(|&i| !hidden.contains(schema.field(i).name().as_str())).collect();
        batch.project(&kept).map_err(|e| Error::arrow("leaving out fields of structs", e))
    }

    /// Takes them away from a frame.
    pub(crate) fn close(&self, frame: DataFrame) -> DataFrame {
        if self.fields.is_empty() { frame } else { frame.drop(self.names()) }
    }
}

fn collect(fields: &[StructField], within: Option<(&str, &str, bool)>, found: &mut Vec<(StructField, String)>) {
    for field in fields {
        let (name, path, nullable) = match within {
            None => (field.name.clone(), quote(&field.name), field.nullable),
            Some((name, path, nullable)) => {
                let path = format!("{path}.{}", quote(&field.name));
                (format!("{name}.{}", field.name), path, nullable || field.nullable)
            }
        };
        if let DataType::Struct { fields } = &field.data_type {
            collect(fields, Some((&name, &path, nullable)), found);
        }
        if within.is_some() {
            found.push((StructField { name, nullable, ..field.clone() }, path));
        }
    }
}
