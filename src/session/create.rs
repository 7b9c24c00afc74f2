//! Frames from rows that are here.

use arrow::array::RecordBatch;
use bytes::Bytes;
use futures::TryStreamExt;
use prost::Message;
use spark_connect_proto::{self as proto, relation::RelType};

use super::Session;
use crate::{
    Error, Result,
    dataframe::{DataFrame, LocalRows, Schema, lay_out},
    stream::{RecordStream, ipc},
};

/// Up to this size rows travel within the plan itself, with every request that names the frame.
const INLINE: usize = 64 << 10;

/// About how large an uploaded block of rows is.
const BLOCK: usize = 8 << 20;

impl Session {
    /// A frame of rows that are here; they have the schema of the first batch.
    ///
    /// Arrow types that Spark cannot read are sent as the narrowest it can (`uint32` as `bigint`, `uint64` as
    /// `decimal(20,0)`, dictionaries as their values, fixed-size lists as arrays …). Timestamps with a zone become
    /// `timestamp`, those without `timestamp_ntz`. A struct that is a Spark ML vector's becomes a vector. Column metadata
    /// is taken from the fields' [`METADATA_KEY`](crate::dataframe::METADATA_KEY).
    ///
    /// Rows of more than 64 KiB are uploaded to the session, once.
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

    /// A frame of rows as they arrive, uploaded block by block; `schema` overrides the Spark types that the stream's
    /// schema implies.
    ///
    /// Holds about 16 MiB of rows at a time. Spark before 4.1 takes one upload only, which is gathered in memory first.
    ///
    /// # Errors
    /// The stream's own; otherwise as [`create_dataframe`](Self::create_dataframe).
    pub async fn create_dataframe_from_stream(
        &self,
        mut stream: RecordStream,
        schema: Option<&Schema>,
    ) -> Result<DataFrame> {
        let layout = lay_out(stream.schema(), schema)?;
        let mut blocks = Blocks { session: self, layout, waiting: Vec::new(), waiting_bytes: 0, hashes: Vec::new() };
        while let Some(batch) = stream.try_next().await? {
            blocks.add(&batch).await?;
        }
        blocks.finish().await
    }
}

/// Rows on their way, gathered into blocks.
struct Blocks<'a> {
    session: &'a Session,
    layout: LocalRows,
    waiting: Vec<RecordBatch>,
    waiting_bytes: usize,
    hashes: Vec<String>,
}

impl Blocks<'_> {
    async fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let bytes_per_row = batch.get_array_memory_size().div_ceil(batch.num_rows().max(1)).max(1);
        let rows_per_block = (BLOCK / bytes_per_row).max(1);
        for start in (0..batch.num_rows()).step_by(rows_per_block) {
            let rows = rows_per_block.min(batch.num_rows() - start);
            let piece = self.layout.conform(&batch.slice(start, rows))?;
            self.waiting.push(piece);
            self.waiting_bytes += rows * bytes_per_row;
            if self.waiting_bytes >= BLOCK && self.chunked() {
                self.upload_waiting().await?;
            }
        }
        Ok(())
    }

    /// Whether the server puts several uploads under one frame.
    fn chunked(&self) -> bool {
        self.session.version().at_least(4, 1)
    }

    fn encode_waiting(&mut self) -> Result<Bytes> {
        self.waiting_bytes = 0;
        ipc::encode(&self.layout.arrow, &std::mem::take(&mut self.waiting))
    }

    async fn upload_waiting(&mut self) -> Result<()> {
        let block = self.encode_waiting()?;
        self.hashes.extend(self.session.client().upload(vec![block]).await?);
        Ok(())
    }

    async fn finish(mut self) -> Result<DataFrame> {
        let schema = &self.layout.spark;
        let schema = schema.to_ddl().unwrap_or_else(|| schema.to_json());
        if self.hashes.is_empty() {
            let data = self.encode_waiting()?;
            let small = data.len() + schema.len() <= INLINE;
            let local = proto::LocalRelation { data: Some(data), schema: Some(schema.clone()) };
            if small {
                return Ok(self.session.frame(RelType::LocalRelation(local)));
            }
            if !self.chunked() {
                let hash = self.upload(local.encode_to_vec().into()).await?;
                return Ok(self.session.frame(RelType::CachedLocalRelation(proto::CachedLocalRelation { hash })));
            }
            self.hashes = self.session.client().upload(local.data.into_iter().collect()).await?;
        } else if !self.waiting.is_empty() {
            self.upload_waiting().await?;
        }
        let schema_hash = Some(self.upload(schema.into()).await?);
        let chunked = proto::ChunkedCachedLocalRelation { data_hashes: self.hashes, schema_hash };
        Ok(self.session.frame(RelType::ChunkedCachedLocalRelation(chunked)))
    }

    async fn upload(&self, block: Bytes) -> Result<String> {
        let hashes = self.session.client().upload(vec![block]).await?;
        hashes.into_iter().next().ok_or_else(|| Error::Incomplete {
            operation: "AddArtifacts".into(),
            reason: "the upload has no hash".into(),
        })
    }
}
