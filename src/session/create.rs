//! Frames from local rows.

use arrow::array::RecordBatch;

use super::Session;
use crate::{
    Error, Result,
    dataframe::{DataFrame, Schema, Scratch, Uploaded, upload},
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

    /// Rows on their way to a table, beside which many of them are staged.
    pub(crate) async fn upload(&self, rows: RecordStream, table: &str) -> Result<Uploaded> {
        upload(&self.context, rows, None, Scratch::beside(table).as_ref()).await
    }
}
