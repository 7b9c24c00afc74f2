//! From the batches of a stream to canonical batches.

use arrow::array::RecordBatch;

use super::TensorField;
use crate::Result;

/// Turns the batches of one stream into canonical ones, see [`TensorField`].
///
/// A decoder is made for one schema and fed its batches in order, on a separate thread while training runs on another.
pub trait Decoder: Send {
    /// Returns the columns of the canonical batches, in order. None as long as no row has shown how wide rows are.
    fn fields(&self) -> &[TensorField];

    /// Decodes the next batch. Rows keep their order; those that cannot be used are refused, or left out and counted.
    /// A batch without a row may lack columns.
    ///
    /// # Errors
    /// [`Error::Data`](crate::Error::Data) for rows that cannot be used and are not to be left out, with the column,
    /// how many rows of those read so far, and the first of them; [`Error::Arrow`](crate::Error::Arrow) when a column
    /// cannot be converted.
    fn decode(&mut self, batch: &RecordBatch) -> Result<Decoded>;

    /// Ends the stream.
    ///
    /// # Errors
    /// [`Error::Data`](crate::Error::Data) when no row could be used.
    fn finish(&mut self) -> Result<()>;
}

/// Bytes that rows may take at a time once they are decoded. A batch of small files, such as well-compressed images,
/// may be a thousand times as large when it is decoded.
const DECODED_AT_ONCE: usize = 16 << 20;

/// Bytes of the tensors of one row, those aside that vary in length or are sparse.
pub(crate) fn fixed_bytes(fields: &[TensorField]) -> usize {
    let fixed = fields.iter().filter(|field| !field.shape.ragged && !field.sparse);
    fixed.map(|field| field.count().saturating_mul(field.element.bytes())).fold(0, usize::saturating_add)
}

/// Returns the number of rows of so many bytes that are decoded at a time.
pub(crate) fn rows_at_once(bytes: usize) -> usize {
    (DECODED_AT_ONCE / bytes.max(1)).max(1)
}

/// Result of decoding one batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// The rows that can be used, in the columns of [`Decoder::fields`].
    pub batch: RecordBatch,
    /// Number of rows left out.
    pub skipped: u64,
}
