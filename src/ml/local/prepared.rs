//! Steps made ready for rows of one schema, so that a batch costs nothing but its rows.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions},
    compute::{cast_with_options, filter_record_batch},
    datatypes::{DataType, Field, Schema as ArrowSchema, SchemaRef},
};
use spark_connect::{column::Column, types::StructField};
use spark_connect_proto::expression::ExprType;

use super::{
    Step,
    columnar::{self, Lanes},
    expression::{Compiled, RowValues},
    read,
    value::Value,
    write,
};
use crate::{
    Error, Result,
    dataframe::{LocalRows, METADATA_KEY, NestedFields, Schema, lay_out},
};

/// A stage's steps, for batches of one schema.
#[derive(Debug)]
pub(in crate::ml) struct PreparedSteps {
    nested: NestedFields,
    steps: Vec<PreparedStep>,
}

#[derive(Debug)]
enum PreparedStep {
    Filter(Expressions),
    /// The columns that are added, and the schema with them.
    WithColumns(Expressions, Vec<StructField>, SchemaRef),
}

impl PreparedSteps {
    /// Prepares steps for batches of a schema, in which fields within structs are columns; `after` tells the types of
    /// the columns that the steps add.
    ///
    /// # Errors
    /// [`Error::Param`] for an unsupported expression.
    pub(super) fn new(nested: NestedFields, mut schema: SchemaRef, steps: &[Step], after: &Schema) -> Result<Self> {
        let mut prepared = Vec::with_capacity(steps.len());
        for step in steps {
            let layout = lay_out(&schema, None)?;
            prepared.push(match step {
                Step::Filter(condition) => PreparedStep::Filter(Expressions::new([condition], &layout)?),
                Step::WithColumns(columns) => {
                    let expressions = Expressions::new(columns.iter().map(|(_, value)| value), &layout)?;
                    let mut added = Vec::with_capacity(columns.len());
                    let mut fields = schema.fields().to_vec();
                    for (name, column) in columns {
                        let field = after.require(name)?;
                        fields.push(Arc::new(output_field(field, column)?));
                        added.push(field.clone());
                    }
                    schema = Arc::new(ArrowSchema::new_with_metadata(fields, schema.metadata().clone()));
                    PreparedStep::WithColumns(expressions, added, schema.clone())
                }
            });
        }
        Ok(Self { nested, steps: prepared })
    }

    /// Returns the batch after the steps.
    ///
    /// # Errors
    /// [`Error::Data`] for the first row that fails.
    pub(in crate::ml) fn apply(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        self.apply_opened(self.nested.open_batch(batch)?)
    }

    /// As [`apply`](Self::apply), of a batch in which fields within structs are columns already.
    pub(super) fn apply_opened(&self, mut batch: RecordBatch) -> Result<RecordBatch> {
        for step in &self.steps {
            batch = match step {
                PreparedStep::Filter(condition) => kept(&batch, condition)?,
                PreparedStep::WithColumns(expressions, fields, schema) => {
                    let mut columns = batch.columns().to_vec();
                    columns.extend(expressions.columns(&batch, fields)?);
                    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
                    RecordBatch::try_new_with_options(schema.clone(), columns, &options)
                        .map_err(|e| Error::arrow("adding columns", e))?
                }
            };
        }
        self.nested.close_batch(&batch)
    }
}

fn kept(batch: &RecordBatch, condition: &Expressions) -> Result<RecordBatch> {
    let keep = condition.truth(batch)?;
    filter_record_batch(batch, &keep).map_err(|e| Error::arrow("leaving out rows", e))
}

/// Returns the Arrow field of an output: its metadata is that of the expression.
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

/// Expressions of one schema's columns.
#[derive(Debug)]
pub(super) struct Expressions {
    compiled: Vec<Compiled>,
    /// The columns that they read: the place of each, with its name and the type that Spark would see.
    reads: Vec<(usize, String, DataType)>,
    /// Number of columns.
    width: usize,
}

impl Expressions {
    pub(super) fn new<'c>(expressions: impl IntoIterator<Item = &'c Column>, layout: &LocalRows) -> Result<Self> {
        let compile = |column: &Column| Compiled::new(&column.to_proto(), &layout.spark);
        let compiled: Vec<Compiled> = expressions.into_iter().map(compile).collect::<Result<_>>()?;
        let mut places: Vec<usize> = compiled.iter().flat_map(Compiled::reads).copied().collect();
        places.sort_unstable();
        places.dedup();
        let read = |place: usize| {
            let field = layout.arrow.field(place);
            (place, field.name().clone(), field.data_type().clone())
        };
        Ok(Self { compiled, reads: places.into_iter().map(read).collect(), width: layout.arrow.fields().len() })
    }

    /// Returns each expression as the column of a field.
    fn columns(&self, batch: &RecordBatch, fields: &[StructField]) -> Result<Vec<ArrayRef>> {
        let seen = self.seen(batch)?;
        let mut cells = None;
        let mut columns = Vec::with_capacity(fields.len());
        for (compiled, field) in self.compiled.iter().zip(fields) {
            let at_once = columnar::evaluate(compiled.node(), &seen, batch.num_rows());
            if let Some(array) = at_once.and_then(|lanes| write::lanes(field, lanes).transpose()) {
                columns.push(array?);
                continue;
            }
            let cells = match &mut cells {
                Some(cells) => cells,
                none => none.insert(self.cells(&seen)?),
            };
            columns.push(write::array(field, &row_by_row(compiled, cells, batch.num_rows())?)?);
        }
        Ok(columns)
    }

    /// Returns the only expression as a condition: whether it is true.
    fn truth(&self, batch: &RecordBatch) -> Result<BooleanArray> {
        let [compiled] = &self.compiled[..] else { return Ok(BooleanArray::from(vec![true; batch.num_rows()])) };
        let seen = self.seen(batch)?;
        if let Some(Lanes::Bool(truth)) = columnar::evaluate(compiled.node(), &seen, batch.num_rows()) {
            return Ok(truth.into());
        }
        let found = row_by_row(compiled, &self.cells(&seen)?, batch.num_rows())?;
        let truth = found.iter().map(|value| Ok(value.truth("a filter")?.unwrap_or(false)));
        truth.collect::<Result<Vec<_>>>().map(BooleanArray::from)
    }

    /// Returns each expression's value in every row.
    pub(super) fn values(&self, batch: &RecordBatch) -> Result<Vec<Vec<Value>>> {
        let cells = self.cells(&self.seen(batch)?)?;
        self.compiled.iter().map(|compiled| row_by_row(compiled, &cells, batch.num_rows())).collect()
    }

    /// Returns the columns that are read, as Spark would see them, by their places.
    fn seen(&self, batch: &RecordBatch) -> Result<Vec<Option<ArrayRef>>> {
        let mut seen = vec![None; self.width];
        for (place, name, data_type) in &self.reads {
            seen[*place] = Some(as_seen(batch.column(*place), name, data_type)?);
        }
        Ok(seen)
    }

    /// Returns the cells of those columns.
    fn cells(&self, seen: &[Option<ArrayRef>]) -> Result<Vec<Vec<Value>>> {
        let mut cells = vec![Vec::new(); self.width];
        for (place, name, _) in &self.reads {
            if let Some(array) = &seen[*place] {
                cells[*place] = read::cells(array, name)?;
            }
        }
        Ok(cells)
    }
}

fn row_by_row(compiled: &Compiled, columns: &[Vec<Value>], rows: usize) -> Result<Vec<Value>> {
    let mut variables = Vec::new();
    (0..rows).map(|row| compiled.value(RowValues { columns, row }, &mut variables)).collect()
}

/// Returns a column in the type that Spark would see.
fn as_seen(column: &ArrayRef, name: &str, data_type: &DataType) -> Result<ArrayRef> {
    if column.data_type() == data_type {
        return Ok(column.clone());
    }
    let options = arrow::compute::CastOptions { safe: false, ..Default::default() };
    cast_with_options(column, data_type, &options).map_err(|e| Error::arrow(format!("reading column `{name}`"), e))
}
