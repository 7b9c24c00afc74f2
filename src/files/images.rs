//! A folder of images, each in a folder named after its class.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::{BinaryBuilder, RecordBatch, StringBuilder},
    datatypes::{DataType, Field, Schema, SchemaRef},
};

use crate::{Error, Result};

/// Bytes of a batch.
const BATCH: usize = 4 << 20;

const EXTENSIONS: [&str; 4] = ["png", "jpg", "jpeg", "bmp"];

/// Returns the columns: path within the folder, name of the folder that it lies in, the file's bytes.
pub(super) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("path", DataType::Utf8, false),
        Field::new("label", DataType::Utf8, false),
        Field::new("content", DataType::Binary, false),
    ]))
}

/// Returns the images below a folder, sorted by path. Other files are left out, and counted in the log.
///
/// # Errors
/// [`Error::Io`] for a folder that cannot be read; [`Error::Param`] for one without an image.
pub(super) fn read(folder: &Path) -> Result<impl Iterator<Item = Result<RecordBatch>> + Send + use<>> {
    let mut paths = Vec::new();
    let mut others = 0;
    find(folder, &mut paths, &mut others)?;
    paths.sort();
    if others > 0 {
        tracing::warn!("{others} files of {} are no PNG, JPEG or BMP and are left out", folder.display());
    }
    if paths.is_empty() {
        return Err(Error::param("path", folder.display(), "a folder with PNG, JPEG or BMP files in it"));
    }
    let (folder, mut paths) = (folder.to_owned(), paths.into_iter().peekable());
    Ok(std::iter::from_fn(move || {
        paths.peek()?;
        Some(batch(&folder, &mut paths))
    }))
}

fn find(folder: &Path, paths: &mut Vec<PathBuf>, others: &mut usize) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(|error| Error::io(folder, error))? {
        let entry = entry.map_err(|error| Error::io(folder, error))?;
        let path = entry.path();
        let is_folder = entry.file_type().map_err(|error| Error::io(&path, error))?.is_dir();
        let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        if is_folder {
            find(&path, paths, others)?;
        } else if EXTENSIONS.contains(&extension.as_str()) {
            paths.push(path);
        } else {
            *others += 1;
        }
    }
    Ok(())
}

fn batch(folder: &Path, paths: &mut impl Iterator<Item = PathBuf>) -> Result<RecordBatch> {
    let (mut names, mut labels, mut contents) = (StringBuilder::new(), StringBuilder::new(), BinaryBuilder::new());
    let mut bytes = 0;
    for path in paths {
        let content = fs::read(&path).map_err(|error| Error::io(&path, error))?;
        let parent = path.parent().and_then(Path::file_name).unwrap_or_default();
        names.append_value(path.strip_prefix(folder).unwrap_or(&path).to_string_lossy());
        labels.append_value(parent.to_string_lossy());
        bytes += content.len();
        contents.append_value(content);
        if bytes >= BATCH {
            break;
        }
    }
    let columns: Vec<arrow::array::ArrayRef> =
        vec![Arc::new(names.finish()), Arc::new(labels.finish()), Arc::new(contents.finish())];
    RecordBatch::try_new(schema(), columns).map_err(|error| Error::arrow("images as rows", error))
}
