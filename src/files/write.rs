//! Streams to files.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::{ArrayRef, RecordBatch, StringArray},
    csv,
    datatypes::{DataType, Field, Schema, SchemaRef},
    error::ArrowError,
    ipc, json,
};
use futures::TryStreamExt;
use parquet::{arrow::ArrowWriter, basic::Compression, errors::ParquetError, file::properties::WriterProperties};

use super::FileFormat;
use crate::{Error, Result, stream::RecordStream};

/// Writes all rows of a stream to a file, and returns their number.
///
/// The rows go to a file beside it, which is renamed when all have come: the file is whole, or it is as it was. A
/// failure, or dropping the future, removes what was written.
///
/// # Errors
/// [`Error::Param`] for a format that is only read; [`Error::Io`] for a file that cannot be written, such as on a full
/// disk; [`Error::Arrow`] for a type that the format lacks; those of the stream.
pub async fn write_file(mut rows: RecordStream, path: impl AsRef<Path>, format: FileFormat) -> Result<u64> {
    let path = path.as_ref();
    let mut part = PartFile::create(path)?;
    let schema = rows.schema().clone();
    let mut writer = FileWriter::new(part.file()?, schema, path, format, true)?;
    let mut count = 0;
    while let Some(batch) = rows.try_next().await? {
        count += batch.num_rows() as u64;
        writer.write(&batch).map_err(|error| error.at(path))?;
    }
    writer.finish().map_err(|error| error.at(path))?;
    part.keep()?;
    Ok(count)
}

/// A file that takes another's place, or is removed.
pub(super) struct PartFile {
    part: PathBuf,
    path: PathBuf,
    file: Option<File>,
    kept: bool,
}

impl PartFile {
    pub(super) fn create(path: &Path) -> Result<Self> {
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        if name.is_empty() {
            return Err(Error::param("path", path.display(), "the path of a file"));
        }
        name.push(format!(".{}.part", std::process::id()));
        let part = path.with_file_name(name);
        let file = File::create(&part).map_err(|error| Error::io(path, error))?;
        Ok(Self { part, path: path.to_owned(), file: Some(file), kept: false })
    }

    pub(super) fn file(&self) -> Result<File> {
        let file = self.file.as_ref().map(File::try_clone);
        file.unwrap_or_else(|| Err(io::Error::other("closed"))).map_err(|error| Error::io(&self.path, error))
    }

    /// Brings the rows to the disk, and the file to its place.
    pub(super) fn keep(&mut self) -> Result<()> {
        let synced = self.file.take().map_or(Ok(()), |file| file.sync_all());
        synced.and_then(|()| fs::rename(&self.part, &self.path)).map_err(|error| Error::io(&self.path, error))?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if !self.kept {
            _ = fs::remove_file(&self.part);
        }
    }
}

/// Failure of a writer.
pub(super) enum WriteError {
    Io(io::Error),
    Form(Box<dyn std::error::Error + Send + Sync>),
}

impl WriteError {
    pub(super) fn at(self, path: &Path) -> Error {
        match self {
            WriteError::Io(error) => Error::io(path, error),
            WriteError::Form(error) => Error::arrow(format!("writing {}", path.display()), error),
        }
    }
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> Self {
        WriteError::Io(error)
    }
}

impl From<ArrowError> for WriteError {
    fn from(error: ArrowError) -> Self {
        match error {
            ArrowError::IoError(_, error) => WriteError::Io(error),
            other => WriteError::Form(Box::new(other)),
        }
    }
}

impl From<ParquetError> for WriteError {
    fn from(error: ParquetError) -> Self {
        match error {
            ParquetError::External(inner) => match inner.downcast::<io::Error>() {
                Ok(error) => WriteError::Io(*error),
                Err(other) => WriteError::Form(other),
            },
            other => WriteError::Form(Box::new(other)),
        }
    }
}

/// Rows on their way into a file.
pub(super) enum FileWriter {
    Parquet(Box<ArrowWriter<File>>),
    Arrow(Box<ipc::writer::FileWriter<BufWriter<File>>>),
    Text { file: BufWriter<File>, buffer: Vec<u8>, csv: Option<Csv> },
}

pub(super) struct Csv {
    delimiter: u8,
    header: bool,
}

impl FileWriter {
    /// Begins a file in the format, for which the path matters too. Only CSV has a header, unless it is a later part of
    /// a file.
    pub(super) fn new(file: File, schema: SchemaRef, path: &Path, format: FileFormat, header: bool) -> Result<Self> {
        let form = |error: WriteError| error.at(path);
        Ok(match format {
            FileFormat::Parquet => {
                let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
                let writer = ArrowWriter::try_new(file, schema, Some(properties));
                FileWriter::Parquet(Box::new(writer.map_err(|error| form(error.into()))?))
            }
            FileFormat::Arrow => {
                let writer = ipc::writer::FileWriter::try_new(BufWriter::new(file), &schema);
                FileWriter::Arrow(Box::new(writer.map_err(|error| form(error.into()))?))
            }
            FileFormat::Csv => {
                let tabs = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("tsv"));
                let csv = Csv { delimiter: if tabs { b'\t' } else { b',' }, header };
                FileWriter::Text { file: BufWriter::new(file), buffer: Vec::new(), csv: Some(csv) }
            }
            FileFormat::JsonLines => FileWriter::Text { file: BufWriter::new(file), buffer: Vec::new(), csv: None },
            FileFormat::Npy | FileFormat::Idx | FileFormat::Images => {
                return Err(Error::param("format", format, "parquet, csv, arrow or jsonl: it is only read"));
            }
        })
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> std::result::Result<(), WriteError> {
        match self {
            FileWriter::Parquet(writer) => Ok(writer.write(batch)?),
            FileWriter::Arrow(writer) => Ok(writer.write(batch)?),
            FileWriter::Text { file, buffer, csv } => {
                buffer.clear();
                match csv {
                    Some(csv) => {
                        let header = std::mem::take(&mut csv.header);
                        let mut writer = csv::WriterBuilder::new()
                            .with_delimiter(csv.delimiter)
                            .with_header(header)
                            .build(&mut *buffer);
                        writer.write(&flat(batch)?)?;
                    }
                    None => {
                        let mut writer = json::WriterBuilder::new()
                            .with_explicit_nulls(true)
                            .build::<_, json::writer::LineDelimited>(&mut *buffer);
                        writer.write(batch)?;
                        writer.finish()?;
                    }
                }
                Ok(file.write_all(buffer)?)
            }
        }
    }

    pub(super) fn finish(self) -> std::result::Result<(), WriteError> {
        match self {
            FileWriter::Parquet(writer) => _ = writer.close()?,
            FileWriter::Arrow(mut writer) => writer.finish()?,
            FileWriter::Text { mut file, .. } => file.flush()?,
        }
        Ok(())
    }
}

/// Returns a batch whose nested values are JSON, which a line of CSV can hold.
fn flat(batch: &RecordBatch) -> std::result::Result<RecordBatch, ArrowError> {
    let schema = batch.schema();
    let mut fields = Vec::new();
    let mut columns = Vec::new();
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        if field.data_type().is_nested() {
            let texts: StringArray = texts(field, column)?.into_iter().collect();
            fields.push(Arc::new(Field::new(field.name(), DataType::Utf8, true)));
            columns.push(Arc::new(texts) as ArrayRef);
        } else {
            fields.push(field.clone());
            columns.push(column.clone());
        }
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

/// Returns each value of a column as JSON; none for null.
fn texts(field: &Field, column: &ArrayRef) -> std::result::Result<Vec<Option<String>>, ArrowError> {
    let named = Field::new("v", field.data_type().clone(), true);
    let batch = RecordBatch::try_new(Arc::new(Schema::new(vec![named])), vec![column.clone()])?;
    let mut lines = Vec::new();
    let mut writer =
        json::WriterBuilder::new().with_explicit_nulls(true).build::<_, json::writer::LineDelimited>(&mut lines);
    writer.write(&batch)?;
    writer.finish()?;
    drop(writer);
    let lines = String::from_utf8_lossy(&lines).into_owned();
    let value = |line: &str| line.strip_prefix("{\"v\":").and_then(|rest| rest.strip_suffix('}')).map(str::to_owned);
    Ok(lines.lines().map(|line| value(line).filter(|value| value != "null")).collect())
}
