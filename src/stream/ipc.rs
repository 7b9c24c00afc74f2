//! Arrow's IPC stream format, as Spark Connect carries it: each result batch travels as one whole stream.

use arrow::{array::RecordBatch, buffer::Buffer, datatypes::SchemaRef, error::ArrowError, ipc::reader::StreamDecoder};

use crate::{Error, Result};

/// Decodes the batches of one result, which all have one schema.
///
/// Buffers are used where they lie when they are aligned, and copied once when they are not.
#[derive(Debug, Default)]
pub struct IpcDecoder {
    schema: Option<SchemaRef>,
}

impl IpcDecoder {
    /// Returns the schema, once a batch has been decoded.
    pub fn schema(&self) -> Option<&SchemaRef> {
        self.schema.as_ref()
    }

    /// Decodes one whole IPC stream that must hold `rows` rows.
    ///
    /// # Errors
    /// [`Error::Arrow`] when the bytes are no IPC stream, end early, hold another number of rows, or have another
    /// schema than those before.
    pub fn decode(&mut self, data: Buffer, rows: u64) -> Result<Vec<RecordBatch>> {
        // arrow's reader panics on some damaged streams instead of returning an error.
        let read = std::panic::catch_unwind(|| read(data)).map_err(|_| refuse("it is damaged".into()))?;
        let (found, batches) = read.map_err(|e| Error::arrow(CONTEXT, e))?;
        self.check_schema(found.ok_or_else(|| refuse("it has no schema".into()))?)?;
        let decoded: u64 = batches.iter().map(|batch| batch.num_rows() as u64).sum();
        if decoded != rows {
            return Err(refuse(format!("it holds {decoded} rows where the server counted {rows}")));
        }
        Ok(batches)
    }

    fn check_schema(&mut self, found: SchemaRef) -> Result<()> {
        match &self.schema {
            None => self.schema = Some(found),
            Some(known) if *known == found => {}
            Some(known) => return Err(refuse(format!("its schema {found:?} differs from {known:?} before it"))),
        }
        Ok(())
    }
}

const CONTEXT: &str = "decoding a result batch";

fn refuse(what: String) -> Error {
    Error::arrow(CONTEXT, what)
}

fn read(mut data: Buffer) -> Result<(Option<SchemaRef>, Vec<RecordBatch>), ArrowError> {
    let mut decoder = StreamDecoder::new();
    let mut batches = Vec::new();
    while !data.is_empty() {
        batches.extend(decoder.decode(&mut data)?);
    }
    decoder.finish()?;
    Ok((decoder.schema(), batches))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{Int64Array, StringArray},
        datatypes::{DataType, Field, Schema},
        ipc::writer::StreamWriter,
    };
    use bytes::Bytes;

    use super::*;

    fn batch(name: &str, numbers: Vec<i64>) -> RecordBatch {
        let texts: Vec<String> = numbers.iter().map(|n| format!("é{n}")).collect();
        let schema = Schema::new(vec![
            Field::new(name, DataType::Int64, false).with_metadata([("k".to_owned(), "v".to_owned())].into()),
            Field::new("text", DataType::Utf8, false),
        ]);
        let columns = [Arc::new(Int64Array::from(numbers)) as _, Arc::new(StringArray::from(texts)) as _];
        RecordBatch::try_new(Arc::new(schema), columns.to_vec()).unwrap()
    }

    fn encode(schema: &Schema, batches: &[RecordBatch]) -> Bytes {
        let mut writer = StreamWriter::try_new(Vec::new(), schema).unwrap();
        batches.iter().for_each(|batch| writer.write(batch).unwrap());
        writer.into_inner().unwrap().into()
    }

    fn encoded(batches: &[RecordBatch]) -> Bytes {
        encode(&batches[0].schema(), batches)
    }

    #[test]
    fn what_was_encoded_is_decoded_at_any_alignment() {
        let batches = [batch("n", vec![1, 2, 3]), batch("n", vec![]), batch("n", vec![4])];
        let bytes = encoded(&batches);
        for shift in 0..9 {
            let mut shifted = vec![0; shift];
            shifted.extend_from_slice(&bytes);
            let decoded = IpcDecoder::default().decode(Buffer::from(shifted).slice(shift), 4).unwrap();
            assert_eq!(decoded, batches, "shifted by {shift}");
        }
    }

    #[test]
    fn a_stream_without_batches_still_has_a_schema() {
        let bytes = encode(&batch("n", vec![]).schema(), &[]);
        let mut decoder = IpcDecoder::default();
        assert!(decoder.decode(bytes.into(), 0).unwrap().is_empty());
        assert_eq!(decoder.schema().unwrap().field(0).metadata()["k"], "v");
    }

    #[test]
    fn wrong_counts_other_schemas_and_damage_are_refused() {
        let bytes = encoded(&[batch("n", vec![1, 2])]);
        let refused = |data: Bytes, rows| IpcDecoder::default().decode(data.into(), rows).unwrap_err().to_string();
        assert!(refused(bytes.clone(), 3).contains("holds 2 rows where the server counted 3"));
        assert!(refused(Bytes::new(), 0).contains("no schema"));
        for end in [5, bytes.len() / 2, bytes.len() - 20] {
            refused(bytes.slice(..end), 2);
        }
        let mut decoder = IpcDecoder::default();
        decoder.decode(bytes.into(), 2).unwrap();
        let other = decoder.decode(encoded(&[batch("m", vec![1])]).into(), 1).unwrap_err();
        assert!(other.to_string().contains("differs"), "{other}");
    }

    #[test]
    fn no_damage_makes_the_decoder_panic() {
        let bytes = encoded(&[batch("n", (0..50).collect())]);
        for at in 0..bytes.len() {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 0xff;
            let caught = std::panic::catch_unwind(|| _ = IpcDecoder::default().decode(Buffer::from(damaged), 50));
            assert!(caught.is_ok(), "byte {at}");
        }
    }
}
