//! Stages applied to batches that are here: the expressions that the cluster evaluates, evaluated in this process.
//!
//! Only what this crate's stages are made of is known. Everything else is refused by its name: no result, rather than
//! one that the cluster would not give.

mod call;
mod cast;
mod expression;
mod hash;
mod read;
mod value;
mod write;

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions},
    compute::{cast_with_options, filter_record_batch},
    datatypes::{DataType, Field, Schema as ArrowSchema},
};
use spark_connect::{column::Column, types::StructField};
use spark_connect_proto::expression::ExprType;

pub(in crate::ml) use self::cast::java_text;
use self::{
    expression::{Compiled, Row},
    value::Value,
};
use super::Step;
use crate::{
    Error, Result,
    dataframe::{LocalRows, METADATA_KEY, NestedFields, Schema, lay_out},
};

/// Rows that are here, with the columns that Spark would see.
#[derive(Debug)]
pub(in crate::ml) struct Rows {
    batch: RecordBatch,
    layout: LocalRows,
    /// Fields within structs, which are columns as long as stages are at work.
    nested: NestedFields,
}

impl Rows {
    /// The rows of a batch.
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

    /// The batch after these steps; `after` tells the types of the columns that they add.
    ///
    /// # Errors
    /// [`Error::Data`] for the first row that fails; [`Error::Param`] for what cannot be evaluated here.
    pub(in crate::ml) fn apply(mut self, steps: &[Step], after: &Schema) -> Result<RecordBatch> {
        for step in steps {
            self.batch = match step {
                Step::Filter(condition) => self.kept(condition)?,
                Step::WithColumns(columns) => {
                    let values = self.values(columns.iter().map(|(_, value)| value))?;
                    let outputs = columns.iter().zip(values).map(|((name, column), values)| {
                        let field = after.require(name)?;
                        Ok((output_field(field, column)?, write::array(field, &values)?))
                    });
                    self.appended(outputs.collect::<Result<_>>()?)?
                }
            };
            self.layout = lay_out(&self.batch.schema(), None)?;
        }
        self.nested.close_batch(&self.batch)
    }

    /// These whole numbers of the first row for which the condition holds.
    pub(in crate::ml) fn first_whole(&self, condition: &Column, numbers: &[Column]) -> Result<Option<Vec<usize>>> {
        let found = self.values([condition])?;
        let Some(row) = found[0].iter().position(|value| matches!(value, Value::Bool(true))) else { return Ok(None) };
        let here = Rows { batch: self.batch.slice(row, 1), layout: self.layout.clone(), nested: self.nested.clone() };
        let values = here.values(numbers)?;
        let whole = |values: Vec<Value>| match values.first() {
            Some(Value::Whole(number)) => usize::try_from(*number).unwrap_or_default(),
            _ => 0,
        };
        Ok(Some(values.into_iter().map(whole).collect()))
    }

    /// An expression's whole number in every row.
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

    /// The rows with one more column of whole numbers.
    pub(in crate::ml) fn with_whole(mut self, name: &str, numbers: Vec<i64>) -> Result<Self> {
        let field = Field::new(name, DataType::Int64, false);
        self.batch = self.appended(vec![(field, Arc::new(Int64Array::from(numbers)))])?;
        self.layout = lay_out(&self.batch.schema(), None)?;
        Ok(self)
    }

    /// Each expression's value in every row.
    fn values<'c>(&self, expressions: impl IntoIterator<Item = &'c Column>) -> Result<Vec<Vec<Value>>> {
        let schema = self.schema();
        let compiled: Vec<Compiled> =
            expressions.into_iter().map(|column| Compiled::new(&column.to_proto(), schema)).collect::<Result<_>>()?;
        let mut columns = vec![Vec::new(); schema.fields().len()];
        for place in compiled.iter().flat_map(Compiled::reads) {
            if columns[*place].is_empty() {
                columns[*place] = read::cells(&self.column(*place)?, &schema.fields()[*place].name)?;
            }
        }
        let mut found: Vec<_> = compiled.iter().map(|_| Vec::with_capacity(self.batch.num_rows())).collect();
        for row in 0..self.batch.num_rows() {
            let row = Row { columns: &columns, row };
            for (compiled, values) in compiled.iter().zip(&mut found) {
                values.push(compiled.value(row)?);
            }
        }
        Ok(found)
    }

    /// A column in the type that Spark would see.
    fn column(&self, place: usize) -> Result<ArrayRef> {
        let (column, field) = (self.batch.column(place), self.layout.arrow.field(place));
        if column.data_type() == field.data_type() {
            return Ok(column.clone());
        }
        let options = arrow::compute::CastOptions { safe: false, ..Default::default() };
        cast_with_options(column, field.data_type(), &options)
            .map_err(|e| Error::arrow(format!("reading column `{}`", field.name()), e))
    }

    fn kept(&self, condition: &Column) -> Result<RecordBatch> {
        let found = self.values([condition])?;
        let keep = found[0].iter().map(|value| match value {
            Value::Bool(keep) => Ok(*keep),
            Value::Null => Ok(false),
            other => Err(value::unknown("a filter", [other])),
        });
        let keep = BooleanArray::from(keep.collect::<Result<Vec<_>>>()?);
        filter_record_batch(&self.batch, &keep).map_err(|e| Error::arrow("leaving out rows", e))
    }

    fn appended(&self, outputs: Vec<(Field, ArrayRef)>) -> Result<RecordBatch> {
        let (schema, mut columns) = (self.batch.schema(), self.batch.columns().to_vec());
        let mut fields = schema.fields().to_vec();
        for (field, array) in outputs {
            fields.push(Arc::new(field));
            columns.push(array);
        }
        let schema = Arc::new(ArrowSchema::new_with_metadata(fields, schema.metadata().clone()));
        let options = RecordBatchOptions::new().with_row_count(Some(self.batch.num_rows()));
        RecordBatch::try_new_with_options(schema, columns, &options).map_err(|e| Error::arrow("adding columns", e))
    }
}

/// The Arrow field of an output: its metadata is that of the expression.
fn output_field(field: &StructField, column: &Column) -> Result<Field> {
    let metadata = match column.to_proto().expr_type {
        Some(ExprType::Alias(alias)) => alias.metadata,
        _ => None,
    };
    let arrow = Field::new(&field.name, write::arrow_type(field)?, field.nullable);
    Ok(match metadata {
        Some(json) => arrow.with_metadata([(METADATA_KEY.to_owned(), json)].into()),
        None => arrow,
    })
}

#[cfg(test)]
mod tests;
