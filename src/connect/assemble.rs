//! Puts result batches together from their chunks, and proves that none is missing.

use arrow::buffer::{Buffer, MutableBuffer};
use spark_connect_proto::execute_plan_response::ArrowBatch;

/// Memory taken ahead for a batch on the server's word alone; beyond it the buffer grows as chunks arrive.
const MAX_TRUSTED_CAPACITY: usize = 64 << 20;

/// One whole result batch.
#[derive(Debug)]
pub(super) struct Assembled {
    pub(super) rows: u64,
    pub(super) offset: Option<u64>,
    pub(super) data: Buffer,
}

/// Follows the batches of one execution.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    rows: u64,
    pending: Option<PendingBatch>,
}

/// A batch of which some chunks have arrived.
#[derive(Debug)]
struct PendingBatch {
    rows: u64,
    offset: Option<u64>,
    chunks: u64,
    arrived: u64,
    data: MutableBuffer,
}

impl Assembler {
    /// Rows of all whole batches so far.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Takes a message; gives the batch that it completes, or says what is wrong with it.
    pub(super) fn add(&mut self, message: ArrowBatch) -> Result<Option<Assembled>, String> {
        let rows = u64::try_from(message.row_count).map_err(|_| format!("a batch of {} rows", message.row_count))?;
        let offset = match message.start_offset {
            None => None,
            Some(offset) => Some(self.contiguous(offset)?),
        };
        let whole = match message.num_chunks_in_batch {
            None | Some(1) => {
                if let Some(pending) = &self.pending {
                    return Err(format!("chunk {} of {} is missing", pending.arrived, pending.chunks));
                }
                Some(Assembled { rows, offset, data: Buffer::from(message.data) })
            }
            Some(chunks) => self.add_chunk(message, rows, offset, chunks)?,
        };
        if let Some(batch) = &whole {
            self.rows += batch.rows;
        }
        Ok(whole)
    }

    /// Refuses to end in the middle of a batch.
    pub(super) fn finish(&self) -> Result<(), String> {
        match &self.pending {
            Some(p) => Err(format!("the result ended after chunk {} of {} of a batch", p.arrived, p.chunks)),
            None => Ok(()),
        }
    }

    fn contiguous(&self, offset: i64) -> Result<u64, String> {
        u64::try_from(offset)
            .ok()
            .filter(|&offset| offset == self.rows)
            .ok_or_else(|| format!("a batch starts at row {offset} where row {} was due", self.rows))
    }

    fn add_chunk(
        &mut self,
        message: ArrowBatch,
        rows: u64,
        offset: Option<u64>,
        chunks: i64,
    ) -> Result<Option<Assembled>, String> {
        let chunks = u64::try_from(chunks).ok().filter(|&n| n > 0).ok_or(format!("a batch of {chunks} chunks"))?;
        let index = message.chunk_index.unwrap_or(-1);
        let mut pending = match self.pending.take() {
            Some(pending) => pending,
            None => {
                let capacity = message.data.len().saturating_mul(usize::try_from(chunks).unwrap_or(usize::MAX));
                let data = MutableBuffer::with_capacity(capacity.min(MAX_TRUSTED_CAPACITY));
                PendingBatch { rows, offset, chunks, arrived: 0, data }
            }
        };
        if (pending.rows, pending.chunks) != (rows, chunks) || u64::try_from(index) != Ok(pending.arrived) {
            return Err(format!(
                "chunk {} of {} ({} rows) was due, chunk {index} of {chunks} ({rows} rows) came",
                pending.arrived, pending.chunks, pending.rows
            ));
        }
        pending.data.extend_from_slice(&message.data);
        pending.arrived += 1;
        if pending.arrived < pending.chunks {
            self.pending = Some(pending);
            return Ok(None);
        }
        Ok(Some(Assembled { rows: pending.rows, offset: pending.offset, data: pending.data.into() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(rows: i64, offset: i64, data: &'static [u8]) -> ArrowBatch {
        ArrowBatch { row_count: rows, start_offset: Some(offset), data: data.into(), ..Default::default() }
    }

    fn chunk(rows: i64, offset: i64, index: i64, of: i64, data: &'static [u8]) -> ArrowBatch {
        ArrowBatch { chunk_index: Some(index), num_chunks_in_batch: Some(of), ..batch(rows, offset, data) }
    }

    #[test]
    fn chunks_become_the_batch_they_were() {
        let mut assembler = Assembler::default();
        assert_eq!(assembler.add(batch(2, 0, b"ab")).unwrap().unwrap().data.as_slice(), b"ab");
        assert!(assembler.add(chunk(3, 2, 0, 3, b"cd")).unwrap().is_none());
        assert!(assembler.finish().is_err());
        assert!(assembler.add(chunk(3, 2, 1, 3, b"ef")).unwrap().is_none());
        let whole = assembler.add(chunk(3, 2, 2, 3, b"g")).unwrap().unwrap();
        assert_eq!((whole.rows, whole.offset, whole.data.as_slice()), (3, Some(2), b"cdefg".as_slice()));
        assert_eq!(assembler.add(chunk(1, 5, 0, 1, b"h")).unwrap().unwrap().rows, 1);
        assert_eq!(assembler.rows(), 6);
        assembler.finish().unwrap();
    }

    #[test]
    fn a_gap_a_repeat_or_a_foreign_chunk_is_refused() {
        let refused = |messages: Vec<ArrowBatch>| {
            let mut assembler = Assembler::default();
            messages.into_iter().map(|m| assembler.add(m)).find_map(Result::err).expect("refused")
        };
        assert_eq!(refused(vec![batch(2, 0, b""), batch(2, 4, b"")]), "a batch starts at row 4 where row 2 was due");
        assert!(refused(vec![batch(2, 0, b""), batch(2, 0, b"")]).contains("starts at row 0"));
        assert!(refused(vec![batch(-1, 0, b"")]).contains("-1 rows"));
        assert!(refused(vec![chunk(1, 0, 0, 0, b"")]).contains("0 chunks"));
        assert!(refused(vec![chunk(1, 0, 1, 2, b"")]).contains("chunk 0 of 2"));
        assert!(refused(vec![chunk(1, 0, 0, 3, b""), chunk(1, 0, 2, 3, b"")]).contains("chunk 2 of 3"));
        assert!(refused(vec![chunk(1, 0, 0, 2, b""), chunk(2, 0, 1, 2, b"")]).contains("(2 rows) came"));
        assert!(refused(vec![chunk(1, 0, 0, 2, b""), batch(1, 0, b"")]).contains("chunk 1 of 2 is missing"));
    }

    #[test]
    fn a_lying_chunk_count_takes_no_memory() {
        let mut assembler = Assembler::default();
        assert!(assembler.add(chunk(1, 0, 0, i64::MAX, b"abc")).unwrap().is_none());
    }
}
