//! Files to streams.

use std::{
    fs::File,
    io::{self, BufReader, Seek},
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::RecordBatch,
    csv,
    datatypes::{DataType, Field, Schema, SchemaRef},
    error::ArrowError,
    ipc, json,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::{FileFormat, arrays, images};
use crate::{Error, Result, stream::RecordStream};

/// Rows from which types are found.
const LOOKED_AT: usize = 10_000;

/// Rows of a batch.
const BATCH: usize = 8_192;

/// Settings of reading files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// The format of all files; by their extensions unless set.
    pub format: Option<FileFormat>,
    /// The separator of CSV; a comma unless set, a tab for `.tsv`.
    pub delimiter: Option<char>,
    /// True for CSV whose first line is a row; its columns are `c0`, `c1`, ….
    pub no_header: bool,
}

type BatchIter = Box<dyn Iterator<Item = Result<RecordBatch>> + Send>;

/// Returns the rows of files, one file after the other, as they are read.
///
/// The first file's columns are those of all; another one must have the same names and types. NumPy and IDX arrays lie
/// side by side: each file is a column, named after the file.
///
/// # Errors
/// [`Error::Param`] for no file, an unknown format, or files that do not go together; [`Error::Io`] for a file that
/// cannot be read; [`Error::Arrow`] for one that is not of its format, with its name; the stream's items fail likewise.
pub fn read_files(paths: &[PathBuf], options: &ReadOptions) -> Result<RecordStream> {
    let formats = paths.iter().map(|path| options.format.map_or_else(|| FileFormat::of(path), Ok));
    let formats = formats.collect::<Result<Vec<_>>>()?;
    let Some(first) = formats.first().copied() else { return Err(Error::param("path", "none", "at least one file")) };
    let is_array = |format: FileFormat| matches!(format, FileFormat::Npy | FileFormat::Idx);
    if formats.iter().any(|format| *format != first && !(is_array(first) && is_array(*format))) {
        let found: Vec<String> = formats.iter().map(FileFormat::to_string).collect();
        return Err(Error::param("path", found.join(", "), "files of one format"));
    }
    if is_array(first) {
        let batches = arrays::read(paths, &formats)?;
        return Ok(stream(batches.0, Box::new(batches.1)));
    }
    if first == FileFormat::Images {
        let [folder] = paths else {
            return Err(Error::param("path", format!("{} folders", paths.len()), "one folder of images"));
        };
        return Ok(stream(images::schema(), Box::new(images::read(folder)?)));
    }
    let (schema, batches) = open(&paths[0], first, options, None)?;
    let (rest, options, expected) = (paths[1..].to_vec(), options.clone(), schema.clone());
    let rest = rest.into_iter().flat_map(move |path| match open(&path, first, &options, Some(&expected)) {
        Ok((found, batches)) if same_columns(&found, &expected) => batches,
        Ok((found, _)) => {
            let (expected, found) = (columns(&expected), columns(&found));
            let error =
                Error::schema(path.display().to_string(), format!("the columns of the first file, {expected}"), found);
            Box::new(std::iter::once(Err(error))) as BatchIter
        }
        Err(error) => Box::new(std::iter::once(Err(error))),
    });
    Ok(stream(schema, Box::new(batches.chain(rest))))
}

fn stream(schema: SchemaRef, batches: BatchIter) -> RecordStream {
    let named = schema.clone();
    let batches = batches
        .map(move |batch| batch?.with_schema(named.clone()).map_err(|error| Error::arrow("a file's columns", error)));
    RecordStream::new(schema, futures::stream::iter(batches))
}

fn same_columns(a: &Schema, b: &Schema) -> bool {
    let column = |field: &Arc<Field>| (field.name().clone(), field.data_type().clone());
    a.fields().iter().map(column).eq(b.fields().iter().map(column))
}

fn columns(schema: &Schema) -> String {
    let columns = schema.fields().iter().map(|field| format!("{} {}", field.name(), field.data_type()));
    columns.collect::<Vec<_>>().join(", ")
}

/// Opens a file. `expected` are the columns of the first one, in formats that do not name types.
fn open(
    path: &Path,
    format: FileFormat,
    options: &ReadOptions,
    expected: Option<&SchemaRef>,
) -> Result<(SchemaRef, BatchIter)> {
    let io = |error: io::Error| Error::io(path, error);
    let mut file = File::open(path).map_err(io)?;
    if file.metadata().map_err(io)?.is_dir() {
        return Err(io(io::Error::from(io::ErrorKind::IsADirectory)));
    }
    let name = path.display().to_string();
    let bad = {
        let name = name.clone();
        move |error: ArrowError| match error {
            ArrowError::IoError(_, error) => Error::io(&name, error),
            other => Error::arrow(format!("reading {name}"), other),
        }
    };
    Ok(match format {
        FileFormat::Parquet => {
            let wrong = |error| Error::arrow(format!("reading {name}"), error);
            let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(wrong)?;
            let schema = builder.schema().clone();
            let reader = builder.with_batch_size(BATCH).build().map_err(wrong)?;
            (schema, Box::new(reader.map(move |batch| batch.map_err(&bad))))
        }
        FileFormat::Arrow => {
            let reader = ipc::reader::FileReader::try_new(BufReader::new(file), None).map_err(&bad)?;
            (reader.schema(), Box::new(reader.map(move |batch| batch.map_err(&bad))))
        }
        FileFormat::Csv => {
            let tabs = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("tsv"));
            let delimiter = options.delimiter.unwrap_or(if tabs { '\t' } else { ',' });
            let delimiter =
                u8::try_from(delimiter).map_err(|_| Error::param("delimiter", delimiter, "a character of ASCII"))?;
            let form = csv::reader::Format::default().with_header(!options.no_header).with_delimiter(delimiter);
            let schema = match expected {
                Some(schema) => schema.clone(),
                None => {
                    let (schema, _) = form.infer_schema(&mut file, Some(LOOKED_AT)).map_err(&bad)?;
                    file.rewind().map_err(io)?;
                    Arc::new(named(schema, options.no_header))
                }
            };
            let reader = csv::ReaderBuilder::new(schema.clone()).with_format(form).with_batch_size(BATCH);
            let reader = reader.build(file).map_err(&bad)?;
            (schema, Box::new(reader.map(move |batch| batch.map_err(&bad))))
        }
        FileFormat::JsonLines => {
            let mut file = BufReader::new(file);
            let schema = match expected {
                Some(schema) => schema.clone(),
                None => {
                    let (schema, _) = json::reader::infer_json_schema(&mut file, Some(LOOKED_AT)).map_err(&bad)?;
                    file.rewind().map_err(io)?;
                    Arc::new(named(schema, false))
                }
            };
            let reader = json::ReaderBuilder::new(schema.clone()).with_batch_size(BATCH).with_strict_mode(true);
            let reader = reader.build(file).map_err(&bad)?;
            (schema, Box::new(reader.map(move |batch| batch.map_err(&bad))))
        }
        FileFormat::Npy | FileFormat::Idx | FileFormat::Images => {
            return Err(Error::param("format", format, "one of rows"));
        }
    })
}

/// Returns the columns with a type each: one that had no value is text, and names are `c0`, `c1`, … without a header.
fn named(schema: Schema, no_header: bool) -> Schema {
    let field = |(place, field): (usize, &Arc<Field>)| {
        let name = if no_header { format!("c{place}") } else { field.name().trim_start_matches('\u{feff}').to_owned() };
        let data_type = match field.data_type() {
            DataType::Null => DataType::Utf8,
            known => known.clone(),
        };
        Field::new(name, data_type, true)
    };
    Schema::new(schema.fields().iter().enumerate().map(field).collect::<Vec<_>>())
}
