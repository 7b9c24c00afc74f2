//! Where checkpoints are kept.

use std::{
    fmt,
    fs::{self, File},
    io::{ErrorKind, Write},
    path::PathBuf,
};

use crate::{Error, Result};

/// Keeps named bytes. Called from the training thread, a blocking thread of the Tokio runtime: an implementation that
/// has to wait for asynchronous work can do so by [`tokio::runtime::Handle::block_on`].
pub trait CheckpointPlace: fmt::Debug + Send + Sync {
    /// Where that is, for people.
    fn describe(&self) -> String;

    /// Stores bytes under a name, replacing earlier ones: afterwards they are complete, or the earlier ones are
    /// unchanged.
    ///
    /// # Errors
    /// Whatever keeps them from being written.
    fn write(&self, name: &str, bytes: Vec<u8>) -> Result<()>;

    /// Returns the bytes of that name.
    ///
    /// # Errors
    /// Whatever keeps them from being read, that there are none included.
    fn read(&self, name: &str) -> Result<Vec<u8>>;

    /// Returns all names, in any order; none where nothing was ever written. Names of other things may be among them.
    ///
    /// # Errors
    /// Whatever keeps them from being listed.
    fn names(&self) -> Result<Vec<String>>;

    /// Lets go of the bytes of these names.
    ///
    /// # Errors
    /// Whatever keeps them from being removed.
    fn remove(&self, names: &[String]) -> Result<()>;
}

/// A local folder, made when it is first written to.
///
/// A file is written under another name, brought to the disk, and then renamed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Folder(pub(super) PathBuf);

impl CheckpointPlace for Folder {
    fn describe(&self) -> String {
        self.0.display().to_string()
    }

    fn write(&self, name: &str, bytes: Vec<u8>) -> Result<()> {
        fs::create_dir_all(&self.0).map_err(|e| Error::io(&self.0, e))?;
        let path = self.0.join(name);
        let unfinished = path.with_extension("unfinished");
        let written = (|| {
            let mut file = File::create(&unfinished)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&unfinished, &path)?;
            // The name is on the disk when the folder is. Where folders cannot be opened the system does this itself.
            match File::open(&self.0) {
                Ok(folder) => folder.sync_all(),
                Err(_) => Ok(()),
            }
        })();
        written.map_err(|e| {
            // What is left is no checkpoint and only takes up room.
            let _ = fs::remove_file(&unfinished);
            Error::io(path, e)
        })
    }

    fn read(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.0.join(name);
        fs::read(&path).map_err(|e| Error::io(path, e))
    }

    fn names(&self) -> Result<Vec<String>> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(Error::io(&self.0, e)),
        };
        let name = |entry: std::io::Result<fs::DirEntry>| entry.map(|e| e.file_name().to_string_lossy().into_owned());
        entries.map(|entry| name(entry).map_err(|e| Error::io(&self.0, e))).collect()
    }

    fn remove(&self, names: &[String]) -> Result<()> {
        for name in names {
            let path = self.0.join(name);
            fs::remove_file(&path).map_err(|e| Error::io(path, e))?;
        }
        Ok(())
    }
}
