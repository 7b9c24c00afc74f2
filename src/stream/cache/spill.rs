//! Files without a name, in Arrow's IPC format.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufWriter, Read, Seek, SeekFrom, Write},
    path::PathBuf,
};

use arrow::{array::RecordBatch, error::ArrowError, ipc::writer::StreamWriter};
use bytes::Bytes;
use memmap2::Mmap;

use super::CacheOptions;
use crate::{Error, Result, stream::ipc::IpcDecoder};

/// Batches on disk: files that are complete, and one that is being written.
pub(super) struct Spill {
    folder: PathBuf,
    file_bytes: u64,
    complete: Vec<Complete>,
    open: Option<Open>,
    bytes: u64,
}

struct Open {
    writer: StreamWriter<Checked>,
    rows: u64,
    bytes: u64,
}

/// A file that is complete, and what it must hold.
pub(super) struct Complete {
    pub(super) file: File,
    pub(super) checksum: u32,
    pub(super) rows: u64,
}

/// Takes the checksum of all that passes.
struct Checked {
    file: BufWriter<File>,
    checksum: crc32fast::Hasher,
}

impl Write for Checked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.checksum.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Spill {
    pub(super) fn new(options: &CacheOptions) -> Self {
        let CacheOptions { folder, file_bytes, .. } = options.clone();
        Self { folder, file_bytes, complete: Vec::new(), open: None, bytes: 0 }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let bytes = batch.get_array_memory_size() as u64;
        self.try_write(batch, bytes).map_err(|e| self.refused(e, bytes))
    }

    fn try_write(&mut self, batch: &RecordBatch, bytes: u64) -> Result<(), ArrowError> {
        let open = match &mut self.open {
            Some(open) => open,
            None => {
                let file = Checked { file: BufWriter::new(self.create()?), checksum: crc32fast::Hasher::new() };
                let writer = StreamWriter::try_new(file, &batch.schema())?;
                self.open.insert(Open { writer, rows: 0, bytes: 0 })
            }
        };
        open.writer.write(batch)?;
        open.rows += batch.num_rows() as u64;
        open.bytes += bytes;
        self.bytes += bytes;
        if open.bytes >= self.file_bytes { self.complete() } else { Ok(()) }
    }

    /// Opens a file that only this handle can reach.
    fn create(&self) -> io::Result<File> {
        let path = self.folder.join(format!(".tinderbox-{}", uuid::Uuid::new_v4()));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&path)?;
        std::fs::remove_file(&path)?;
        Ok(file)
    }

    fn complete(&mut self) -> Result<(), ArrowError> {
        if let Some(Open { writer, rows, .. }) = self.open.take() {
            let Checked { file, checksum } = writer.into_inner()?;
            let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
            self.complete.push(Complete { file, checksum: checksum.finalize(), rows });
        }
        Ok(())
    }

    /// Says where there was no room, for how much, and what helps.
    fn refused(&self, error: ArrowError, bytes: u64) -> Error {
        let error = match error {
            ArrowError::IoError(_, error) => error,
            other => return Error::arrow("writing rows to the cache", other),
        };
        let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::FileTooLarge];
        let help = match full.contains(&error.kind()) {
            true => "; free space in it, name a folder with more, or allow the cache more memory",
            false => "",
        };
        let written = self.bytes;
        let words =
            format!("{error}: {written} bytes of cached rows were written and {bytes} more were to follow{help}");
        Error::io(&self.folder, io::Error::new(error.kind(), words))
    }

    pub(super) fn finish(mut self) -> Result<Vec<RecordBatch>> {
        self.complete().map_err(|e| self.refused(e, 0))?;
        let mut batches = Vec::new();
        for file in &self.complete {
            let bytes = file.map().map_err(|e| Error::io(&self.folder, e))?;
            batches.extend(IpcDecoder::default().decode(bytes.into(), file.rows)?);
        }
        Ok(batches)
    }
}

impl Complete {
    /// Maps the file and compares it with its checksum.
    pub(super) fn map(&self) -> io::Result<Bytes> {
        let found = self.read_checksum()?;
        // SAFETY: the file has no name and this handle is the only one, so nothing else changes or shortens it.
        let map = unsafe { Mmap::map(&self.file)? };
        if found != self.checksum {
            let words = format!(
                "a cached file of {} bytes has changed since it was written (checksum {found:08x}, not {:08x}): \
                 the disk or its memory is failing",
                map.len(),
                self.checksum
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, words));
        }
        Ok(Bytes::from_owner(map))
    }

    /// Reads the file through a small buffer: pages of the map that were touched would count as this process's memory.
    fn read_checksum(&self) -> io::Result<u32> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(0))?;
        let (mut buffer, mut checksum) = (vec![0; 1 << 20], crc32fast::Hasher::new());
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(checksum.finalize()),
                read => checksum.update(&buffer[..read]),
            }
        }
    }
}

impl std::fmt::Debug for Spill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { folder, bytes, .. } = self;
        f.debug_struct("Spill").field("folder", folder).field("bytes", bytes).finish_non_exhaustive()
    }
}
