//! Fitted pipelines as files, without a server.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    decode,
    pipeline::{describe, restore},
};
use crate::{
    Error, Result,
    ml::PipelineModel,
    nn::{Weights, replace_file},
};

/// Names of the files in a folder.
const TENSORS: &str = "model.safetensors";
const MANIFEST: &str = "manifest.json";

impl PipelineModel {
    /// Writes the fitted pipeline to a folder, which is made if need be: the weights of its networks as
    /// `model.safetensors`, under the names that PyTorch gives them, and all else as `manifest.json`, the manifest of a
    /// [model table](crate::table). Files of these names are replaced.
    ///
    /// # Errors
    /// As [`save`](Self::save) for what cannot be saved; [`Error::Io`] when a file cannot be written.
    pub fn write_files(&self, folder: impl AsRef<Path>) -> Result<()> {
        let folder = folder.as_ref();
        let (manifest, weights) = describe(self, &HashMap::new())?;
        let manifest = manifest.complete(&weights)?;
        let json =
            serde_json::to_string_pretty(&manifest).map_err(|e| Error::arrow("writing a model's manifest", e))?;
        fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        weights.write_safetensors(folder.join(TENSORS))?;
        // Last: its checksum tells whether the tensors beside it are its own.
        replace_file(&folder.join(MANIFEST), |part| fs::write(part, json))
    }

    /// Reads a fitted pipeline from a folder that [`write_files`](Self::write_files) wrote.
    ///
    /// # Errors
    /// [`Error::Io`] when a file is missing or is not what was written, with the reason.
    pub fn read_files(folder: impl AsRef<Path>) -> Result<PipelineModel> {
        let (tensors, manifest) = (folder.as_ref().join(TENSORS), folder.as_ref().join(MANIFEST));
        let json = fs::read_to_string(&manifest).map_err(|e| Error::io(&manifest, e))?;
        let weights = Weights::read_safetensors(tensors)?;
        let read = decode::with_weights(&json, &weights).map_err(|reason| damaged(&manifest, reason))?;
        restore(read, weights, HashMap::new()).map_err(|error| damaged(&manifest, error.to_string()))
    }
}

fn damaged(path: &PathBuf, reason: String) -> Error {
    Error::io(path, io::Error::new(io::ErrorKind::InvalidData, reason))
}
