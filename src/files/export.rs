//! Exports that resume after a kill.

use std::{
    fs::{self, File},
    io::{self, BufReader},
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::ipc;
use futures::TryStreamExt;
use parquet::{
    column::writer::ColumnCloseResult,
    file::{
        metadata::{PageIndexPolicy, ParquetMetaDataReader},
        properties::WriterProperties,
        writer::SerializedFileWriter,
    },
};

use super::{
    FileFormat,
    write::{FileWriter, PartFile, WriteError, write_file},
};
use crate::{
    Error, Result,
    dataframe::{LastingGroup, PartitionedSource},
};

/// Result of an export.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exported {
    /// Rows in the file.
    pub rows: u64,
    /// Rows that an earlier export had brought before it ended.
    pub resumed: u64,
}

/// Writes all rows of a source to a file.
///
/// The file is whole, or it is as it was. Rows of a table's files, with selected and computed columns and filters, that
/// come in several partition groups are kept group by group in `FILE.parts` beside the file, which is removed at the
/// end. After a failure or a kill the same export resumes with the groups that are missing. A group is read again if its
/// files, its number of rows, the query or the session's settings have changed. Any other rows are written as by
/// [`write_file`].
///
/// # Errors
/// As [`write_file`] and [`PartitionedSource::stream`]; [`Error::Io`] while another process exports to the same file.
pub async fn export_file(source: &PartitionedSource, path: impl AsRef<Path>, format: FileFormat) -> Result<Exported> {
    let path = path.as_ref();
    let groups = source.lasting_groups().await?;
    if groups.len() < 2 {
        let rows = write_file(source.stream().await?, path, format).await?;
        return Ok(Exported { rows, resumed: 0 });
    }
    let parts = Parts::open(path, &groups)?;
    let missing: Vec<usize> = (0..groups.len()).filter(|at| !parts.paths[*at].exists()).collect();
    let missing_rows: u64 = missing.iter().map(|at| groups[*at].rows).sum();
    let rows = groups.iter().map(|group| group.rows).sum();
    let resumed = rows - missing_rows;
    if resumed > 0 {
        tracing::info!(rows, resumed, "resuming the export of {}", path.display());
    }
    let mut arriving = source.groups(&missing).await?;
    for at in missing {
        let Some((schema, batches)) = arriving.try_next().await? else { break };
        let part = &parts.paths[at];
        let mut file = PartFile::create(part)?;
        let mut writer = FileWriter::new(file.file()?, schema, path, format, at == 0)?;
        batches.iter().try_for_each(|batch| writer.write(batch)).map_err(|error| error.at(path))?;
        writer.finish().map_err(|error| error.at(path))?;
        file.keep()?;
    }
    drop(arriving);
    let mut whole = PartFile::create(path)?;
    join(&parts.paths, whole.file()?, format).map_err(|error| error.at(path))?;
    whole.keep()?;
    parts.remove()?;
    Ok(Exported { rows, resumed })
}

/// The folder of the groups that have arrived, each a file whose name says what is in it.
struct Parts {
    folder: PathBuf,
    paths: Vec<PathBuf>,
    /// Held while this process works in the folder.
    _lock: File,
}

impl Parts {
    fn open(path: &Path, groups: &[LastingGroup]) -> Result<Self> {
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(".parts");
        let folder = path.with_file_name(name);
        fs::create_dir_all(&folder).map_err(|error| Error::io(&folder, error))?;
        let found = entries(&folder)?;
        if let Some(other) = found.iter().find(|path| !is_part(path)) {
            let legal =
                "a file with no folder of that name beside it, for that is where rows are kept until all are there";
            return Err(Error::param("path", other.display(), legal));
        }
        let io = |error| Error::io(&folder, error);
        let lock = File::create(folder.join(LOCK)).map_err(io)?;
        lock.try_lock().map_err(|_| io(io::Error::other("another process exports to this file")))?;
        let paths: Vec<_> =
            groups.iter().enumerate().map(|(at, group)| folder.join(format!("{at:06}-{:016x}", group.key))).collect();
        // Of another query, or of other files.
        for stale in found.iter().filter(|path| !path.ends_with(LOCK) && !paths.contains(path)) {
            fs::remove_file(stale).map_err(|error| Error::io(stale, error))?;
        }
        Ok(Self { folder, paths, _lock: lock })
    }

    fn remove(self) -> Result<()> {
        for path in entries(&self.folder)? {
            fs::remove_file(&path).map_err(|error| Error::io(&path, error))?;
        }
        fs::remove_dir(&self.folder).map_err(|error| Error::io(&self.folder, error))
    }
}

/// Name of the file in the folder of parts that is locked by the process that works there.
const LOCK: &str = "lock";

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let paths = fs::read_dir(folder).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    paths.map_err(|error| Error::io(folder, error))
}

/// Returns whether a path may be one of this module's: the lock, a group, or a group that was being written.
fn is_part(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let group = |name: &str| {
        let digits = |text: &str, radix| !text.is_empty() && text.chars().all(|digit| digit.is_digit(radix));
        name.split_once('-').is_some_and(|(at, key)| digits(at, 10) && digits(key, 16))
    };
    name == LOCK || group(name.split_once('.').map_or(&*name, |(name, _)| name))
}

/// Writes the parts to a file, one after the other.
fn join(parts: &[PathBuf], mut file: File, format: FileFormat) -> std::result::Result<(), WriteError> {
    match format {
        FileFormat::Parquet => join_parquet(parts, file),
        FileFormat::Arrow => join_arrow(parts, file),
        _ => parts.iter().try_for_each(|part| {
            io::copy(&mut File::open(part)?, &mut file)?;
            Ok(())
        }),
    }
}

/// Takes over row groups as they are: nothing is decoded.
fn join_parquet(parts: &[PathBuf], file: File) -> std::result::Result<(), WriteError> {
    let mut file = Some(file);
    let mut writer = None;
    for part in parts {
        let part = File::open(part)?;
        let mut reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Optional);
        reader.try_parse(&part)?;
        let metadata = reader.finish()?;
        if let Some(file) = file.take() {
            let of_all = metadata.file_metadata();
            let properties =
                WriterProperties::builder().set_key_value_metadata(of_all.key_value_metadata().cloned()).build();
            let schema = of_all.schema_descr().root_schema_ptr();
            writer = Some(SerializedFileWriter::new(file, schema, Arc::new(properties))?);
        }
        let Some(writer) = &mut writer else { continue };
        for (at, group) in metadata.row_groups().iter().enumerate() {
            let mut target = writer.next_row_group()?;
            for (column, chunk) in group.columns().iter().enumerate() {
                let close = ColumnCloseResult {
                    bytes_written: chunk.compressed_size().unsigned_abs(),
                    rows_written: group.num_rows().unsigned_abs(),
                    metadata: chunk.clone(),
                    bloom_filter: None,
                    column_index: metadata.column_index().map(|index| index[at][column].clone()),
                    offset_index: metadata.offset_index().map(|index| index[at][column].clone()),
                };
                target.append_column(&part, close)?;
            }
            target.close()?;
        }
    }
    if let Some(writer) = writer {
        writer.close()?;
    }
    Ok(())
}

fn join_arrow(parts: &[PathBuf], file: File) -> std::result::Result<(), WriteError> {
    let mut file = Some(file);
    let mut writer = None;
    for part in parts {
        let reader = ipc::reader::FileReader::try_new(BufReader::new(File::open(part)?), None)?;
        if let Some(file) = file.take() {
            writer = Some(ipc::writer::FileWriter::try_new_buffered(file, &reader.schema())?);
        }
        for batch in reader {
            if let Some(writer) = &mut writer {
                writer.write(&batch?)?;
            }
        }
    }
    if let Some(mut writer) = writer {
        writer.finish()?;
    }
    Ok(())
}
