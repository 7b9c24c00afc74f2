//! Rows from this process as a frame of the cluster, whatever their number.
//!
//! Few rows become one local relation. Many are written block by block to a staging table, each block by one command in
//! a copy of the session that is released afterwards, so that the server's heap never holds more than a few blocks. A
//! block is a number in a column of the staging table: rows of a failed attempt have a number that is not read.

mod blocks;
mod staging;

use std::sync::Arc;

use futures::future;
use spark_connect_proto::{self as proto, relation::RelType};

use self::{
    blocks::{IpcBlock, IpcBlocks},
    staging::{Staging, relation, schema_text},
};
use super::{
    Context, DataFrame, DataFrameWriter, Schema, Scratch, ScratchTable,
    local::{LocalRows, lay_out},
    server_limits::ServerLimits,
};
use crate::{Result, stream::RecordStream};

/// Up to this many bytes of Arrow travel within the plan itself, with every request that names the frame.
const INLINE: usize = 64 << 10;

/// A block's share of the driver's memory, and the bounds of its size. The server holds a block as Arrow, as rows and
/// as the tasks that write it.
const BLOCK_OF_MEMORY: u64 = 64;
const SMALLEST_BLOCK: u64 = 1 << 20;
const LARGEST_BLOCK: u64 = 16 << 20;

/// Bytes from which a row is large, and bytes that a file of large rows has.
const LARGE_ROW: u64 = 64 << 10;
const LARGEST_FILE: u64 = 16 << 20;

/// Blocks up to which rows are one local relation.
const BLOCKS_AT_ONCE: usize = 2;

/// Rows on the cluster that came from this process.
///
/// A staging table behind the frame is dropped with it, in the background, or at once by [`close`](Self::close).
#[derive(Debug)]
pub(crate) struct Uploaded {
    frame: DataFrame,
    staging: Option<ScratchTable>,
    /// Bytes of a row in Arrow, on average.
    row_bytes: u64,
}

impl Uploaded {
    /// Returns the rows, changed by the cluster when they are read.
    pub(crate) fn map(self, change: impl FnOnce(&DataFrame) -> DataFrame) -> Self {
        Self { frame: change(&self.frame), ..self }
    }

    /// Returns the rows.
    pub(crate) fn frame(&self) -> &DataFrame {
        &self.frame
    }

    /// Writes the rows. Large ones go to files of few rows, which tasks of little memory write and read.
    pub(crate) fn write(&self) -> DataFrameWriter {
        self.write_of(&self.frame)
    }

    /// As [`write`](Self::write), what was made of the rows.
    pub(crate) fn write_of(&self, frame: &DataFrame) -> DataFrameWriter {
        let write = match &self.staging {
            Some(staging) => staging.tagged(frame).write(),
            None => frame.write(),
        };
        if self.row_bytes < LARGE_ROW {
            return write;
        }
        // Parquet's writer otherwise holds a hundred rows before it looks at its memory.
        let write = write.option("parquet.page.size.row.check.min", 1).option("parquet.block.size.row.check.min", 1);
        write.option("maxRecordsPerFile", (LARGEST_FILE / self.row_bytes).max(1))
    }

    /// Returns the rows, valid as long as the session or a frame of it exists.
    pub(crate) fn into_frame(self) -> DataFrame {
        if let Some(staging) = self.staging {
            self.frame.context.keep(staging);
        }
        self.frame
    }

    /// Drops the staging table. A failure is logged only: the result made of the rows is complete.
    pub(crate) async fn close(self) {
        if let Some(staging) = self.staging {
            staging.close().await;
        }
    }
}

/// Uploads rows; `schema` overrides the Spark types that the stream's schema implies, and `scratch` is where staging
/// tables go, the session's current database unless given.
///
/// Holds about four blocks of at most 16 MiB. Dropping the future stops the work and drops the staging table.
///
/// # Errors
/// The stream's own; as `Session::create_dataframe_from_stream`.
pub(crate) async fn upload(
    context: &Arc<Context>,
    rows: RecordStream,
    schema: Option<&Schema>,
    scratch: Option<&Scratch>,
) -> Result<Uploaded> {
    let layout = lay_out(rows.schema(), schema)?;
    let mut blocks = IpcBlocks::new(layout, rows)?;
    if !blocks.fill(INLINE).await? {
        let (data, schema) = (Some(blocks.close()?.data), Some(schema_text(&blocks.layout)));
        let inline = RelType::LocalRelation(proto::LocalRelation { data, schema });
        return Ok(Uploaded { frame: DataFrame::new(context.clone(), inline), staging: None, row_bytes: 0 });
    }
    let memory = ServerLimits::of(context.client()).await?.driver_memory;
    let bytes = (memory / BLOCK_OF_MEMORY).clamp(SMALLEST_BLOCK, LARGEST_BLOCK) as usize;
    // Spark before 4.1 takes one block as a relation.
    let at_once = if context.client().version().at_least(4, 1) { BLOCKS_AT_ONCE } else { 1 };
    let mut waiting = Vec::with_capacity(at_once + 1);
    while waiting.len() <= at_once {
        match blocks.next(bytes).await? {
            Some(block) => waiting.push(block),
            None => return one_relation(context, &blocks.layout, waiting).await,
        }
    }
    match Staging::create(context, &blocks.layout, scratch).await {
        Ok(staging) => stage(context, staging, waiting, blocks, bytes).await,
        Err(error) if error.is_refusal() && at_once > 1 => {
            tracing::warn!(
                %error,
                "there is no place to stage rows; all of them go through the driver's memory at once (use a database \
                 that this user may write to)"
            );
            while let Some(block) = blocks.next(bytes).await? {
                waiting.push(block);
            }
            one_relation(context, &blocks.layout, waiting).await
        }
        Err(error) => Err(error),
    }
}

/// Writes the blocks one after the other; the next is computed while one is written.
async fn stage(
    context: &Arc<Context>,
    mut staging: Staging,
    waiting: Vec<IpcBlock>,
    mut blocks: IpcBlocks,
    bytes: usize,
) -> Result<Uploaded> {
    let mut waiting = waiting.into_iter();
    let mut current = waiting.next();
    while let Some(block) = current {
        let following = async {
            match waiting.next() {
                Some(block) => Ok(Some(block)),
                None => blocks.next(bytes).await,
            }
        };
        ((), current) = future::try_join(staging.append(block), following).await?;
    }
    let (frame, row_bytes) = (staging.finish(context).await?, staging.row_bytes());
    Ok(Uploaded { frame, staging: Some(staging.into_table()), row_bytes })
}

async fn one_relation(context: &Arc<Context>, layout: &LocalRows, blocks: Vec<IpcBlock>) -> Result<Uploaded> {
    let (rows, bytes) =
        blocks.iter().fold((0, 0), |(rows, bytes), block| (rows + block.rows, bytes + block.data.len()));
    let relation = relation(context.client(), layout, blocks).await?;
    let row_bytes = bytes as u64 / rows.max(1);
    Ok(Uploaded { frame: DataFrame::new(context.clone(), relation), staging: None, row_bytes })
}
