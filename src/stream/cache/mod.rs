//! Batches kept for later epochs: in memory up to a budget, then on local disk.

mod spill;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use futures::future::BoxFuture;

use self::spill::Spill;
use super::{RecordSource, RecordStream};
use crate::{Error, Result};

/// Limits of a [`Cache`].
///
/// | Name | Default | Purpose |
/// |---|---|---|
/// | `memory` | 1 GiB | bytes of batches kept in memory; those that come after go to disk |
/// | `folder` | the system's folder for temporary files | where the files are; it must exist |
/// | `file_bytes` | 256 MiB | about how large one file gets |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheOptions {
    /// Bytes of batches kept in memory.
    pub memory: u64,
    /// Where the files are.
    pub folder: PathBuf,
    /// About how large one file gets, in bytes.
    pub file_bytes: u64,
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self { memory: 1 << 30, folder: std::env::temp_dir(), file_bytes: 256 << 20 }
    }
}

/// Takes batches in, in order, and gives them back as [`CachedBatches`].
///
/// The first ones stay in memory, up to the budget. The others are written to files in Arrow's IPC format, which are
/// mapped into memory when all are complete: then only pages in use take memory, and the system may take them back.
/// A file loses its name as soon as it is open, so that its space is free again when the cache and the batches from it
/// are dropped or the process ends, however that happens; nothing is left to clean up.
#[derive(Debug)]
pub struct Cache {
    options: CacheOptions,
    schema: Option<SchemaRef>,
    batches: Vec<RecordBatch>,
    in_memory: u64,
    spill: Option<Spill>,
}

impl Cache {
    /// Creates an empty cache. Nothing is written before the budget is used up.
    pub fn new(options: CacheOptions) -> Self {
        Self { options, schema: None, batches: Vec::new(), in_memory: 0, spill: None }
    }

    /// Takes in the next batch, which must have the schema of those before it. Blocks while it is written to disk.
    ///
    /// # Errors
    /// [`Error::Schema`] for another schema; [`Error::Io`] when the folder cannot be written to or is full: it names
    /// the folder, the bytes written and the bytes to follow. The written files are gone then, and the cache is empty.
    pub fn push(&mut self, batch: RecordBatch) -> Result<()> {
        let schema = self.schema.get_or_insert_with(|| batch.schema());
        if *schema != batch.schema() {
            return Err(Error::schema("(all)", format!("{schema}"), format!("{}", batch.schema())));
        }
        let bytes = batch.get_array_memory_size() as u64;
        if self.spill.is_none() && self.in_memory + bytes <= self.options.memory {
            self.in_memory += bytes;
            self.batches.push(batch);
            return Ok(());
        }
        let spill = self.spill.get_or_insert_with(|| Spill::new(&self.options));
        let written = spill.write(&batch);
        if written.is_err() {
            *self = Self::new(self.options.clone());
        }
        written
    }

    /// Bytes of the batches in memory.
    pub fn in_memory(&self) -> u64 {
        self.in_memory
    }

    /// Bytes written to files.
    pub fn on_disk(&self) -> u64 {
        self.spill.as_ref().map_or(0, Spill::bytes)
    }

    /// Maps the files, comparing each with the checksum taken when it was written. Reads all of them once.
    ///
    /// # Errors
    /// [`Error::Io`] when a file cannot be finished, read or mapped, or does not hold what was written.
    pub fn finish(mut self) -> Result<CachedBatches> {
        if let Some(spill) = self.spill.take() {
            self.batches.extend(spill.finish()?);
        }
        let schema = self.schema.unwrap_or_else(|| arrow::datatypes::Schema::empty().into());
        Ok(CachedBatches { schema, batches: self.batches })
    }
}

/// All batches of a [`Cache`], in the order they came. Clones share them.
#[derive(Debug, Clone)]
pub struct CachedBatches {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

impl CachedBatches {
    /// Returns the schema of every batch; without columns when there was no batch.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Returns the batches, those on disk too: their values are read where they lie.
    pub fn batches(&self) -> &[RecordBatch] {
        &self.batches
    }

    /// Returns the number of rows.
    pub fn rows(&self) -> u64 {
        self.batches.iter().map(|batch| batch.num_rows() as u64).sum()
    }
}

impl RecordSource for CachedBatches {
    fn open(&self, _epoch: usize) -> BoxFuture<'_, Result<RecordStream>> {
        let stream = RecordStream::from_batches(self.schema.clone(), self.batches.clone());
        Box::pin(std::future::ready(Ok(stream)))
    }

    fn origin(&self) -> String {
        format!("{} cached rows", self.rows())
    }
}
