//! Files that are written whole or not at all.

use std::{fs, io, path::Path};

use crate::{Error, Result};

/// Writes a file under a temporary name, and replaces the one of its own name. A concurrent reader finds the old file
/// or the new one, whole.
///
/// # Errors
/// [`Error::Io`] when it cannot be written; what was written of it is removed.
pub(crate) fn replace(path: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> Result<()> {
    let (folder, name) = (path.parent().unwrap_or(Path::new("")), path.file_name().unwrap_or_default());
    let part = folder.join(format!(".{}.part", name.to_string_lossy()));
    let written = write(&part).and_then(|()| fs::rename(&part, path));
    written.map_err(|error| {
        _ = fs::remove_file(&part);
        Error::io(path, error)
    })
}
