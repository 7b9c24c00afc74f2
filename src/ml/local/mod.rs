//! Stages applied to local batches: the expressions that the cluster evaluates, evaluated in this process.
//!
//! Only what this crate's stages are made of is known. Everything else is refused by its name: no result, rather than
//! one that the cluster would not give.

mod call;
mod cast;
mod columnar;
mod expression;
mod hash;
mod prepared;
mod read;
mod value;
mod write;

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions},
    datatypes::{DataType, Field, Schema as ArrowSchema},
};
use spark_connect::column::Column;

pub(in crate::ml) use self::{cast::java_text, prepared::PreparedSteps};
use self::{prepared::Expressions, value::Value};
use super::Step;
use crate::{
    Error, Result,
    dataframe::{LocalRows, NestedFields, Schema, lay_out},
};

/// Local rows, with the columns that Spark would see.
#[derive(Debug)]
pub(in crate::ml) struct LocalBatch {
    batch: RecordBatch,
    layout: LocalRows,
    /// Fields within structs, which are columns as long as stages are at work.
    nested: NestedFields,
}

impl LocalBatch {
    /// Creates the rows of a batch.
    ///
    /// # Errors
    /// [`Error::Schema`] for a column of a type that Spark cannot read, or metadata that is no JSON.
    pub(in crate::ml) fn new(batch: &RecordBatch) -> Result<Self> {
        let nested = NestedFields::of(&lay_out(&batch.schema(), None)?.spark);
        let batch = nested.open_batch(batch)?;
        Ok(Self { layout: lay_out(&batch.schema(), None)?, batch, nested })
    }

    pub(in crate::ml) fn schema(&self) -> &Schema {
        &self.layout.spark
    }

    /// These steps, made ready for batches of this one's schema; `after` tells the types of the columns that they add.
    ///
    /// # Errors
    /// [`Error::Param`] for an unsupported expression.
    pub(in crate::ml) fn prepare(&self, steps: &[Step], after: &Schema) -> Result<PreparedSteps> {
        PreparedSteps::new(self.nested.clone(), self.batch.schema(), steps, after)
    }

    /// Returns the batch after these steps; `after` tells the types of the columns that they add.
    ///
    /// # Errors
    /// [`Error::Data`] for the first row that fails; [`Error::Param`] for an unsupported expression.
    pub(in crate::ml) fn apply(self, steps: &[Step], after: &Schema) -> Result<RecordBatch> {
        self.prepare(steps, after)?.apply_opened(self.batch)
    }

    /// These whole numbers of the first row for which the condition holds.
    pub(in crate::ml) fn first_whole(&self, condition: &Column, numbers: &[Column]) -> Result<Option<Vec<usize>>> {
        let found = self.values([condition])?;
        let Some(row) = found[0].iter().position(|value| matches!(value, Value::Bool(true))) else { return Ok(None) };
        let here =
            LocalBatch { batch: self.batch.slice(row, 1), layout: self.layout.clone(), nested: self.nested.clone() };
        let values = here.values(numbers)?;
        let whole = |values: Vec<Value>| match values.first() {
            Some(Value::Whole(number)) => usize::try_from(*number).unwrap_or_default(),
            _ => 0,
        };
        Ok(Some(values.into_iter().map(whole).collect()))
    }

    /// Returns an expression's whole number in every row.
    ///
    /// # Errors
    /// [`Error::Data`] for a row that fails; [`Error::Param`] for an expression of another type.
    pub(in crate::ml) fn whole(&self, expression: &Column) -> Result<Vec<i64>> {
        let found = self.values([expression])?;
        let whole = |value: &Value| match value {
            Value::Whole(number) => Ok(*number),
            other => Err(value::unknown("whole numbers", [other])),
        };
        found[0].iter().map(whole).collect()
    }

    /// Creates the rows with one more column of whole numbers.
    pub(in crate::ml) fn with_whole(self, name: &str, numbers: Vec<i64>) -> Result<Self> {
        let (before, mut columns) = (self.batch.schema(), self.batch.columns().to_vec());
        let mut fields = before.fields().to_vec();
        fields.push(Arc::new(Field::new(name, DataType::Int64, false)));
        columns.push(Arc::new(Int64Array::from(numbers)) as ArrayRef);
        let schema = Arc::new(ArrowSchema::new_with_metadata(fields, before.metadata().clone()));
        let options = RecordBatchOptions::new().with_row_count(Some(self.batch.num_rows()));
        let batch = RecordBatch::try_new_with_options(schema, columns, &options)
            .map_err(|e| Error::arrow("adding columns", e))?;
        Ok(Self { layout: lay_out(&batch.schema(), None)?, batch, nested: self.nested })
    }

    /// Returns each expression's value in every row.
    fn values<'c>(&self, expressions: impl IntoIterator<Item = &'c Column>) -> Result<Vec<Vec<Value>>> {
        Expressions::new(expressions, &self.layout)?.values(&self.batch)
    }
}

#[cfg(test)]
mod tests;
