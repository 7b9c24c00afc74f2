//! Rows gathered into blocks of a size.

use arrow::{array::RecordBatch, ipc::writer::StreamWriter};
use bytes::Bytes;
use futures::TryStreamExt;

use crate::{Error, Result, dataframe::local::LocalRows, stream::RecordStream};

/// Pieces of which a block is made at least, so that it ends near its size.
const PIECES: usize = 8;

/// Rows as an Arrow IPC stream.
#[derive(Debug)]
pub(super) struct IpcBlock {
    pub(super) data: Bytes,
    pub(super) rows: u64,
}

/// Cuts a stream into blocks.
pub(super) struct IpcBlocks {
    pub(super) layout: LocalRows,
    rows: RecordStream,
    /// Rows read, and not yet part of a block.
    pending: Option<RecordBatch>,
    writer: StreamWriter<Vec<u8>>,
    written: u64,
    /// Bytes of a row by the last piece that was written.
    row_bytes: Option<usize>,
}

impl IpcBlocks {
    pub(super) fn new(layout: LocalRows, rows: RecordStream) -> Result<Self> {
        let writer = writer(&layout)?;
        Ok(Self { layout, rows, pending: None, writer, written: 0, row_bytes: None })
    }

    /// Adds rows to the open block until it has `bytes`; false when the stream ended before that.
    pub(super) async fn fill(&mut self, bytes: usize) -> Result<bool> {
        loop {
            while let Some(batch) = self.pending.take() {
                if self.writer.get_ref().len() >= bytes {
                    self.pending = Some(batch);
                    return Ok(true);
                }
                self.write_piece(batch, bytes / PIECES)?;
            }
            match self.rows.try_next().await? {
                Some(batch) => self.pending = Some(batch).filter(|batch| batch.num_rows() > 0),
                None => return Ok(false),
            }
        }
    }

    /// Closes the open block.
    pub(super) fn close(&mut self) -> Result<IpcBlock> {
        let next = writer(&self.layout)?;
        let data = std::mem::replace(&mut self.writer, next).into_inner().map_err(failed)?.into();
        Ok(IpcBlock { data, rows: std::mem::take(&mut self.written) })
    }

    /// Returns the next block; `None` at the end.
    pub(super) async fn next(&mut self, bytes: usize) -> Result<Option<IpcBlock>> {
        let full = self.fill(bytes).await?;
        if full || self.written > 0 { self.close().map(Some) } else { Ok(None) }
    }

    /// Writes the first rows of a batch, about `bytes` of them, and puts the others back.
    fn write_piece(&mut self, batch: RecordBatch, bytes: usize) -> Result<()> {
        let guess = || batch.get_array_memory_size().div_ceil(batch.num_rows());
        let rows = (bytes / self.row_bytes.unwrap_or_else(guess).max(1)).clamp(1, batch.num_rows());
        let before = self.writer.get_ref().len();
        self.writer.write(&self.layout.conform(&batch.slice(0, rows))?).map_err(failed)?;
        self.row_bytes = Some((self.writer.get_ref().len() - before).div_ceil(rows));
        self.written += rows as u64;
        self.pending = (rows < batch.num_rows()).then(|| batch.slice(rows, batch.num_rows() - rows));
        Ok(())
    }
}

fn writer(layout: &LocalRows) -> Result<StreamWriter<Vec<u8>>> {
    StreamWriter::try_new(Vec::new(), &layout.arrow).map_err(failed)
}

fn failed(error: arrow::error::ArrowError) -> Error {
    Error::arrow("encoding rows for Spark", error)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, AsArray, Int64Array, StringArray};

    use super::*;
    use crate::{dataframe::local::lay_out, stream::ipc::IpcDecoder};

    fn batch(range: std::ops::Range<i64>, text: usize) -> RecordBatch {
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values(range.clone().map(|_| "x".repeat(text))));
        RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from_iter_values(range)) as ArrayRef), ("t", texts)])
            .unwrap()
    }

    async fn cut(batches: Vec<RecordBatch>, bytes: usize) -> Vec<IpcBlock> {
        let rows = RecordStream::from_batches(batches[0].schema(), batches);
        let mut blocks = IpcBlocks::new(lay_out(rows.schema(), None).unwrap(), rows).unwrap();
        let mut all = Vec::new();
        while let Some(block) = blocks.next(bytes).await.unwrap() {
            all.push(block);
        }
        all
    }

    #[tokio::test]
    async fn blocks_hold_all_rows_in_order_and_end_near_their_size() {
        // A slice of a large batch must be measured by its own rows.
        let large = batch(0..50_000, 100);
        let blocks = cut(vec![large.slice(0, 20_000), batch(0..0, 0), large.slice(20_000, 30_000)], 256 << 10).await;
        let sizes: Vec<usize> = blocks.iter().map(|block| block.data.len()).collect();
        let (_, full) = sizes.split_last().unwrap();
        assert!(full.iter().all(|size| (256 << 10..320 << 10).contains(size)), "{sizes:?}");
        let mut next = 0;
        for block in &blocks {
            for batch in IpcDecoder::default().decode(block.data.clone().into(), block.rows).unwrap() {
                for n in batch.column(0).as_primitive::<arrow::datatypes::Int64Type>().values() {
                    assert_eq!(*n, next);
                    next += 1;
                }
            }
        }
        assert_eq!(next, 50_000);
    }

    #[tokio::test]
    async fn rows_larger_than_a_block_are_blocks_of_their_own() {
        let blocks = cut(vec![batch(0..3, 10_000)], 4_096).await;
        assert_eq!(blocks.iter().map(|block| block.rows).collect::<Vec<_>>(), [1, 1, 1]);
        assert!(cut(vec![batch(0..0, 0)], 4_096).await.is_empty());
    }
}
