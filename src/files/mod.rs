//! Local files of rows: read as streams, written from streams.
//!
//! | format | extension | read | written |
//! |---|---|---|---|
//! | Parquet | `parquet` | yes | yes |
//! | Arrow IPC | `arrow`, `feather` | yes | yes |
//! | CSV with a header | `csv`, `tsv` | yes, types found from the first rows | yes, nested values as JSON |
//! | JSON lines | `jsonl`, `ndjson` | yes, types found from the first rows | yes |
//! | NumPy array | `npy` | yes, a row per first dimension | no |
//! | IDX, of MNIST | `idx`, `ubyte` | yes | no |
//! | folder of images | | yes: path, label (the folder's name), content | no |

mod arrays;
mod export;
mod images;
mod read;
mod write;

use std::{fmt, path::Path, str::FromStr};

pub use self::{
    export::{Exported, export_file},
    read::{ReadOptions, read_files},
    write::write_file,
};
use crate::{Error, Result};

/// Format of a file.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    /// Apache Parquet.
    Parquet,
    /// Arrow's file format.
    Arrow,
    /// Values with a separator between them, and a header.
    Csv,
    /// A JSON object a line.
    JsonLines,
    /// An array of NumPy's.
    Npy,
    /// An array of MNIST's format.
    Idx,
    /// A folder of images, by class.
    Images,
}

impl FileFormat {
    /// Returns the format of a path: by its extension, or that of images for a folder.
    ///
    /// # Errors
    /// [`Error::Param`] for an extension that is not known.
    pub fn of(path: &Path) -> Result<Self> {
        if path.is_dir() {
            return Ok(FileFormat::Images);
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        // MNIST's own names: train-images-idx3-ubyte.
        let extension =
            if name.ends_with("-ubyte") { "idx" } else { name.rsplit_once('.').map_or("", |(_, after)| after) };
        extension.parse().map_err(|_| {
            let legal =
                "a file that ends with .parquet, .csv, .tsv, .arrow, .jsonl, .npy or .idx, or a folder of images";
            Error::param("path", path.display(), legal)
        })
    }
}

impl FromStr for FileFormat {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        match name {
            "parquet" => Ok(FileFormat::Parquet),
            "arrow" | "feather" => Ok(FileFormat::Arrow),
            "csv" | "tsv" => Ok(FileFormat::Csv),
            "jsonl" | "ndjson" => Ok(FileFormat::JsonLines),
            "npy" => Ok(FileFormat::Npy),
            "idx" | "ubyte" => Ok(FileFormat::Idx),
            "images" => Ok(FileFormat::Images),
            _ => Err("must be parquet, csv, arrow, jsonl, npy, idx or images".into()),
        }
    }
}

impl fmt::Display for FileFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FileFormat::Parquet => "parquet",
            FileFormat::Arrow => "arrow",
            FileFormat::Csv => "csv",
            FileFormat::JsonLines => "jsonl",
            FileFormat::Npy => "npy",
            FileFormat::Idx => "idx",
            FileFormat::Images => "images",
        })
    }
}
