//! Common parts of the examples over handwritten digits: the digits as frames, words on the command line, and the log.

pub mod arguments;
pub mod log;

use std::{fs, path::Path, process::Command, sync::Arc};

use arrow::{
    array::{ArrayRef, FixedSizeListArray, Float32Array, Int32Array, RecordBatch},
    datatypes::{DataType, Field},
};
use tinderbox::{Error, prelude::*};

/// Handwritten digits: rows of `label` and `pixels`, grey values from 0 to 1.
pub struct Digits {
    pub train: RecordBatch,
    pub test: RecordBatch,
    /// Pixels in a line, and lines.
    pub side: usize,
    pub name: &'static str,
}

impl Digits {
    /// The digits of MNIST's IDX files (as they are or gzipped, named as LeCun named them or `images-idx3-ubyte`) in a
    /// folder, the first four fifths for training; without a folder 1,797 digits of 8×8 pixels that are shipped.
    pub fn load(folder: Option<&Path>) -> Result<Self> {
        let (pixels, labels, side, name) = match folder {
            Some(folder) => {
                let images = idx(folder, "images-idx3-ubyte", 16)?;
                let labels = idx(folder, "labels-idx1-ubyte", 8)?;
                let pixels = images.into_iter().map(|grey| f32::from(grey) / 255.0).collect::<Vec<_>>();
                (pixels, labels.into_iter().map(i32::from).collect::<Vec<_>>(), 28, "MNIST")
            }
            None => {
                // A line is 64 grey values from 0 to 16, a letter each, and the digit.
                let lines = || include_str!("../data/digits.csv").lines().filter_map(|line| line.split_once(','));
                let grey = |letter: char| letter.to_digit(17).unwrap_or(0) as f32 / 16.0;
                let pixels = lines().flat_map(|(letters, _)| letters.chars().map(grey)).collect();
                let labels = lines().filter_map(|(_, label)| label.parse().ok()).collect();
                (pixels, labels, 8, "8×8 digits")
            }
        };
        let learnt = labels.len() * 4 / 5;
        let train = batch(&pixels[..learnt * side * side], &labels[..learnt], side);
        let test = batch(&pixels[learnt * side * side..], &labels[learnt..], side);
        Ok(Self { train, test, side, name })
    }
}

fn batch(pixels: &[f32], labels: &[i32], side: usize) -> RecordBatch {
    let item = Arc::new(Field::new_list_field(DataType::Float32, true));
    let values = Arc::new(Float32Array::from(pixels.to_vec()));
    let pixels = FixedSizeListArray::new(item, (side * side) as i32, values, None);
    let labels: ArrayRef = Arc::new(Int32Array::from(labels.to_vec()));
    RecordBatch::try_from_iter([("label", labels), ("pixels", Arc::new(pixels))]).expect("a label for every picture")
}

/// The bytes behind the header of an IDX file.
fn idx(folder: &Path, name: &str, header: usize) -> Result<Vec<u8>> {
    let found = ["", "train-", "t10k-"].iter().flat_map(|prefix| {
        let path = folder.join(format!("{prefix}{name}"));
        [path.with_file_name(format!("{prefix}{name}.gz")), path]
    });
    let path = found.into_iter().find(|path| path.exists()).unwrap_or_else(|| folder.join(name));
    let failed = |source| Error::Io { path: path.clone(), source };
    let bytes = match path.extension().is_some_and(|extension| extension == "gz") {
        true => Command::new("gzip").arg("-dc").arg(&path).output().map_err(failed)?.stdout,
        false => fs::read(&path).map_err(failed)?,
    };
    Ok(bytes.get(header..).unwrap_or_default().to_vec())
}
