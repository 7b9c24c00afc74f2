//! Frames from local rows.

use arrow::{array::RecordBatch, datatypes::FieldRef};
use serde::Serialize;
use serde_arrow::schema::{SchemaLike, TracingOptions};
use spark_connect::{Expression, column::Column, expression::LiteralExpression, types::StructField};

use super::Session;
use crate::{
    Error, Result,
    dataframe::{DataFrame, Schema, Scratch, Uploaded, column, upload},
    stream::RecordStream,
};

impl Session {
    /// Creates a frame of local rows; they have the schema of the first batch.
    ///
    /// Arrow types that Spark cannot read are sent as the narrowest it can (`uint32` as `bigint`, `uint64` as
    /// `decimal(20,0)`, dictionaries as their values, fixed-size lists as arrays …). Timestamps with a zone become
    /// `timestamp`, those without `timestamp_ntz`. A struct that is a Spark ML vector's becomes a vector. Column
    /// metadata is taken from the fields' [`METADATA_KEY`](crate::dataframe::METADATA_KEY).
    ///
    /// Rows of more than 64 KiB are uploaded once; as many as [`create_dataframe_from_stream`] stages are staged.
    ///
    /// [`create_dataframe_from_stream`]: Self::create_dataframe_from_stream
    ///
    /// # Errors
    /// [`Error::Schema`] for no batch at all, or a type that Spark cannot read; [`Error::Arrow`]; [`Error::Server`];
    /// [`Error::Unreachable`].
    pub async fn create_dataframe(&self, batches: &[RecordBatch]) -> Result<DataFrame> {
        let Some(first) = batches.first() else {
            return Err(Error::schema("(whole row)", "at least one batch, possibly empty, for its schema", "no batch"));
        };
        let stream = RecordStream::from_batches(first.schema(), batches.to_vec());
        self.create_dataframe_from_stream(stream, None).await
    }

    /// Returns a frame of rows as they arrive; `schema` overrides the Spark types that the stream's schema implies.
    ///
    /// Up to 32 MiB of rows (less on a server of little memory) are uploaded and become part of the plan. More are
    /// written block by block to a staging table `tinderbox_stage_…` in the current database, so that the server's
    /// memory does not bound their number; they have no order then, and every column may be null. The table is dropped
    /// by [`stop`](Self::stop), or in the background with the last clone of the session and its frames. Holds about
    /// four blocks of at most 16 MiB in memory.
    ///
    /// # Errors
    /// The stream's own; [`Error::Incomplete`] when the staging table does not hold what was written to it; otherwise
    /// as [`create_dataframe`](Self::create_dataframe).
    pub async fn create_dataframe_from_stream(
        &self,
        stream: RecordStream,
        schema: Option<&Schema>,
    ) -> Result<DataFrame> {
        Ok(upload(&self.context, stream, schema, None).await?.into_frame())
    }

    /// Creates a frame of Rust values, whose fields become columns.
    ///
    /// The types are those of the values: whole numbers and floats of their width, `String` as text, `Option` as a
    /// column that may be null, `Vec` as array, maps and structs as such. A `schema` names the columns of the frame,
    /// and the cluster casts to its types: text that is to be a date, a timestamp or a decimal, and fields that are
    /// `None` in every row, need it; and so do no rows at all.
    ///
    /// ```no_run
    /// # use tinderbox::{Result, prelude::*};
    /// #[derive(serde::Serialize)]
    /// struct Person {
    ///     name: &'static str,
    ///     age: Option<i32>,
    /// }
    ///
    /// # async fn example(spark: Session) -> Result<()> {
    /// let people = [Person { name: "Ada", age: Some(36) }, Person { name: "Tom", age: None }];
    /// let frame = spark.create_dataframe_from(&people, None).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Schema`] for values that are no structs, differ in their types, or are none without a schema; as
    /// [`create_dataframe`](Self::create_dataframe).
    pub async fn create_dataframe_from<T: Serialize>(&self, rows: &[T], schema: Option<&Schema>) -> Result<DataFrame> {
        let unfit = |e: serde_arrow::Error| {
            Error::schema("(whole row)", "structs whose fields are of the same types in every row", e.to_string())
        };
        let batch = match (rows, schema) {
            ([], None) => return Err(Error::schema("(whole row)", "at least one row, or a schema", "neither")),
            ([], Some(schema)) => return Ok(self.empty(schema)),
            _ => {
                let options = TracingOptions::default().map_as_struct(false).allow_null_fields(true);
                let options = options.coerce_numbers(true).enums_without_data_as_strings(true);
                let options = options.sequence_as_large_list(false).strings_as_large_utf8(false);
                let fields =
                    Vec::<FieldRef>::from_samples(rows, options.bytes_as_large_binary(false)).map_err(unfit)?;
                serde_arrow::to_record_batch(&fields, &rows).map_err(unfit)?
            }
        };
        let names = batch.schema();
        let frame = self.create_dataframe(&[batch]).await?;
        let Some(schema) = schema else { return Ok(frame) };
        if let Some(missing) = schema.names().find(|name| names.index_of(name).is_err()) {
            return Err(Error::schema(missing, "a field of this name", "none among the values' fields"));
        }
        let cast = |field: &StructField| column(&field.name).cast(field.data_type.clone()).alias(&field.name);
        Ok(frame.select(schema.fields().iter().map(cast)))
    }

    /// Creates a frame of these columns without a row.
    pub fn empty(&self, schema: &Schema) -> DataFrame {
        let columns = schema.fields().iter().map(|field| {
            let null = Column::new(Expression::Literal(LiteralExpression::Null(field.data_type.clone())));
            null.alias(&field.name)
        });
        self.range(0, 0).select(columns)
    }

    /// Rows on their way to a table, beside which many of them are staged.
    pub(crate) async fn upload(&self, rows: RecordStream, table: &str) -> Result<Uploaded> {
        upload(&self.context, rows, None, Scratch::beside(table).as_ref()).await
    }
}
