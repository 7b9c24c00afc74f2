//! Rows as Rust values.

use std::{any::type_name, fmt, sync::Arc};

use arrow::{
    array::RecordBatch,
    compute::cast,
    datatypes::{DataType, Field, FieldRef, Schema as ArrowSchema},
    util::display::{ArrayFormatter, FormatOptions},
};
use futures::{Stream, StreamExt, TryStreamExt};
use serde::{Deserialize, de::DeserializeOwned};
use serde_arrow::{Deserializer, utils::Item};

use super::DataFrame;
use crate::{DataProblem, Error, Result};

impl DataFrame {
    /// Returns all rows as values of a type of yours, by the columns' names; columns that the type lacks are passed over.
    ///
    /// A column that may be null needs an `Option`. Decimals, dates and timestamps are read by types that parse text,
    /// such as chrono's and `rust_decimal`'s, or by `String`; timestamps with a zone are in UTC. Arrays are `Vec`s, maps
    /// are maps, structs are structs; bytes need [`serde_bytes`](https://docs.rs/serde_bytes).
    ///
    /// ```no_run
    /// # use tinderbox::{Result, prelude::*};
    /// #[derive(serde::Deserialize)]
    /// struct Person {
    ///     name: String,
    ///     age: Option<i32>,
    /// }
    ///
    /// # async fn example(spark: Session) -> Result<()> {
    /// let people: Vec<Person> = spark.table("people").collect_as().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Data`] with [`DataProblem::Unreadable`] for a row that is not one of the type; as
    /// [`stream`](Self::stream).
    pub async fn collect_as<T: DeserializeOwned>(&self) -> Result<Vec<T>> {
        let mut batches = self.stream().await?;
        let mut rows = Vec::new();
        while let Some(batch) = batches.try_next().await? {
            rows.extend(read(&batch, rows.len() as u64)?);
        }
        Ok(rows)
    }

    /// As [`collect_as`](Self::collect_as), of the rows as they arrive.
    ///
    /// # Errors
    /// As [`collect_as`](Self::collect_as).
    pub async fn stream_as<T: DeserializeOwned + Send + 'static>(
        &self,
    ) -> Result<impl Stream<Item = Result<T>> + Send + Unpin + use<T>> {
        let batches = self.stream().await?;
        let rows = batches.scan(0, |before, batch| {
            let first = *before;
            let rows = batch.and_then(|batch| {
                *before += batch.num_rows() as u64;
                read::<T>(&batch, first)
            });
            std::future::ready(Some(rows.map(|rows| futures::stream::iter(rows.into_iter().map(Ok)))))
        });
        Ok(rows.try_flatten())
    }

    /// Returns all rows, each of which gives its values by name.
    ///
    /// # Errors
    /// As [`stream`](Self::stream).
    pub async fn collect_rows(&self) -> Result<Vec<Row>> {
        let batches = self.collect().await?;
        Ok(batches.iter().flat_map(Row::of).collect())
    }
}

/// One row of a batch. A clone is the same row.
#[derive(Clone)]
pub struct Row {
    batch: Arc<RecordBatch>,
    index: usize,
}

impl Row {
    /// Returns the rows of a batch.
    pub fn of(batch: &RecordBatch) -> Vec<Row> {
        let batch = Arc::new(batch.clone());
        (0..batch.num_rows()).map(|index| Row { batch: batch.clone(), index }).collect()
    }

    /// Returns the value of the column of exactly this name, with the types of [`DataFrame::collect_as`].
    ///
    /// # Errors
    /// [`Error::Schema`] when there is no such column; [`Error::Data`] when the value is not one of the type.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let Ok(column) = self.batch.schema_ref().index_of(name) else {
            let names: Vec<_> = self.batch.schema_ref().fields().iter().map(|field| field.name().as_str()).collect();
            return Err(Error::schema(name, "a column of this name", format!("the columns {}", names.join(", "))));
        };
        self.at(column)
    }

    /// Returns the value of a column by its place; panics if there is none.
    pub(crate) fn at<T: DeserializeOwned>(&self, column: usize) -> Result<T> {
        let malformed = |e| Error::arrow("taking a value of a row", e);
        let batch = self.batch.project(&[column]).map_err(malformed)?.slice(self.index, 1);
        // As the one field of a struct, under a name that every type knows.
        let fields = [Arc::new(Field::clone(batch.schema_ref().field(0)).with_name("item"))];
        let named = RecordBatch::try_new(Arc::new(ArrowSchema::new(fields.to_vec())), batch.columns().to_vec());
        let values: Vec<Item<T>> =
            read(&named.map_err(malformed)?, self.index as u64).map_err(|error| match error {
                Error::Data { row, problem, .. } => {
                    let column = self.batch.schema_ref().field(column).name().clone();
                    Error::Data { column: Some(column), row, problem }
                }
                other => other,
            })?;
        values
            .into_iter()
            .next()
            .map(|Item(value)| value)
            .ok_or_else(|| Error::schema("(whole row)", "a value", "none"))
    }

    /// Returns the number of columns.
    pub fn len(&self) -> usize {
        self.batch.num_columns()
    }

    /// Returns whether there is no column.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// `Row{name=Ada, age=36}`, without the rest of the batch.
impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Row{self}")
    }
}

/// `{name=Ada, age=36}`
impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = FormatOptions::default().with_null("null");
        f.write_str("{")?;
        for (i, (field, column)) in self.batch.schema_ref().fields().iter().zip(self.batch.columns()).enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            let value = ArrayFormatter::try_new(column, &options).map_err(|_| fmt::Error)?;
            write!(f, "{comma}{}={}", field.name(), value.value(self.index))?;
        }
        f.write_str("}")
    }
}

/// Returns the rows of a batch as values; `first` is the number of its first row, from 0.
fn read<T: DeserializeOwned>(batch: &RecordBatch, first: u64) -> Result<Vec<T>> {
    let batch = in_utc(batch)?;
    values(&batch).map_err(|error| unreadable::<T>(&batch, first, error))
}

fn values<T: DeserializeOwned>(batch: &RecordBatch) -> Result<Vec<T>, serde_arrow::Error> {
    Vec::deserialize(Deserializer::from_record_batch(batch)?)
}

/// Returns the error of the first row that is not a value of the type.
fn unreadable<T: DeserializeOwned>(batch: &RecordBatch, first: u64, error: serde_arrow::Error) -> Error {
    let of_row = |row: usize| Some((row, values::<T>(&batch.slice(row, 1)).err()?));
    let (row, error) = (0..batch.num_rows()).find_map(of_row).unwrap_or((0, error));
    let column = column_of(&error.to_string()).filter(|name| batch.schema_ref().index_of(name).is_ok());
    let found = match (&column, batch.num_rows()) {
        (_, 0) => "no row".to_owned(),
        (Some(name), _) => {
            let options = FormatOptions::default().with_null("null");
            let cells = batch.column_by_name(name).and_then(|cells| ArrayFormatter::try_new(cells, &options).ok());
            let kind = batch.schema_ref().field_with_name(name).map(|field| field.data_type().to_string());
            format!("{} ({})", cells.map(|c| c.value(row).to_string()).unwrap_or_default(), kind.unwrap_or_default())
        }
        (None, _) => format!("the row {}", Row { batch: Arc::new(batch.clone()), index: row }),
    };
    let problem =
        DataProblem::Unreadable { target: type_name::<T>().to_owned(), found, reason: error.message().to_owned() };
    Error::Data { column, row: Some(first + row as u64), problem }
}

/// Returns the column that an error is about: the first part of its `field: "$.name.part"`.
fn column_of(text: &str) -> Option<String> {
    let path = text.split_once("field: \"$.")?.1;
    Some(path.split(['.', '"']).next()?.to_owned())
}

/// Returns the batch with every timestamp of a zone in UTC: the same instants, as text of one form.
fn in_utc(batch: &RecordBatch) -> Result<RecordBatch> {
    let schema = batch.schema();
    if schema.fields().iter().all(|field| utc(field.data_type()).is_none()) {
        return Ok(batch.clone());
    }
    let failed = |e| Error::arrow("reading timestamps in UTC", e);
    let mut fields = Vec::new();
    let mut columns = Vec::new();
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        let kind = utc(field.data_type());
        columns.push(kind.as_ref().map_or_else(|| Ok(column.clone()), |kind| cast(column, kind)).map_err(failed)?);
        fields.push(kind.map_or_else(|| field.clone(), |kind| retyped(field, kind)));
    }
    RecordBatch::try_new(Arc::new(ArrowSchema::new(fields)), columns).map_err(failed)
}

/// Returns the type with its zones replaced by UTC, if there is another.
fn utc(kind: &DataType) -> Option<DataType> {
    let inner = |field: &FieldRef| utc(field.data_type()).map(|kind| retyped(field, kind));
    match kind {
        DataType::Timestamp(unit, Some(zone)) if &**zone != "UTC" => {
            Some(DataType::Timestamp(*unit, Some("UTC".into())))
        }
        DataType::List(field) => inner(field).map(DataType::List),
        DataType::LargeList(field) => inner(field).map(DataType::LargeList),
        DataType::Map(field, sorted) => inner(field).map(|field| DataType::Map(field, *sorted)),
        DataType::Struct(fields) if fields.iter().any(|field| utc(field.data_type()).is_some()) => {
            let fields = fields.iter().map(|field| inner(field).unwrap_or_else(|| field.clone()));
            Some(DataType::Struct(fields.collect()))
        }
        _ => None,
    }
}

fn retyped(field: &FieldRef, kind: DataType) -> FieldRef {
    Arc::new(Field::clone(field).with_data_type(kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int32Array, StringArray, TimestampMicrosecondArray};

    #[derive(Debug, Deserialize, PartialEq)]
    struct Person {
        name: String,
        age: i32,
    }

    fn people(ages: Vec<Option<i32>>) -> RecordBatch {
        let names: ArrayRef = Arc::new(StringArray::from_iter_values((0..ages.len()).map(|i| format!("p{i}"))));
        let ages: ArrayRef = Arc::new(Int32Array::from(ages));
        RecordBatch::try_from_iter_with_nullable([("name", names, true), ("age", ages, true)]).unwrap()
    }

    #[test]
    fn null_where_the_type_has_no_option_is_an_error_of_its_row_and_column() {
        let error = read::<Person>(&people(vec![Some(1), Some(2), None]), 100).unwrap_err();
        let Error::Data { column, row, problem: DataProblem::Unreadable { target, found, .. } } = error else {
            panic!("{error}")
        };
        assert_eq!((column.as_deref(), row), (Some("age"), Some(102)));
        assert_eq!(found, "null (Int32)");
        assert!(target.ends_with("Person"));
    }

    #[test]
    fn missing_column_is_named_with_the_row() {
        let batch = people(vec![Some(1)]).project(&[0]).unwrap();
        let error = read::<Person>(&batch, 0).unwrap_err().to_string();
        assert!(error.contains("missing field `age`") && error.contains("{name=p0}"), "{error}");
    }

    #[test]
    fn row_gives_values_by_name_and_prints_itself() {
        let rows = Row::of(&people(vec![Some(36), None]));
        assert_eq!(rows[0].get::<i32>("age").unwrap(), 36);
        assert_eq!(rows[1].get::<Option<i64>>("age").unwrap(), None);
        assert_eq!(rows[1].get::<String>("name").unwrap(), "p1");
        assert_eq!(rows[1].to_string(), "{name=p1, age=null}");
        assert_eq!(format!("{:?}", rows[1]), "Row{name=p1, age=null}");
        assert!(matches!(rows[0].get::<i32>("Age"), Err(Error::Schema { .. })));
        let Err(Error::Data { column, .. }) = rows[1].get::<i32>("age") else { panic!("no error") };
        assert_eq!(column.as_deref(), Some("age"));
    }

    #[test]
    fn timestamps_of_any_zone_are_read_as_utc() {
        let time = TimestampMicrosecondArray::from(vec![0]).with_timezone("Europe/Berlin");
        let batch = RecordBatch::try_from_iter([("at", Arc::new(time) as ArrayRef)]).unwrap();
        assert_eq!(Row::of(&batch)[0].get::<String>("at").unwrap(), "1970-01-01T00:00:00Z");
    }
}
