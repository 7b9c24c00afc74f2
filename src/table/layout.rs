//! The format of a model table, version 1.
//!
//! One table holds many models, and many versions of each. A version is one manifest row and one or more rows per
//! tensor, all written by one command. A tag is a separate row: of kind `tag`, with the tag for its `name`; of several
//! of one name the newest holds.
//!
//! | column | type | manifest row | tensor row |
//! |---|---|---|---|
//! | `model` | string | the model's name | the same |
//! | `version` | bigint | from 1 | the same |
//! | `kind` | string | `manifest` | `tensor` |
//! | `name` | string | `manifest` | the tensor's name |
//! | `dtype` | string | null | `F32` |
//! | `shape` | array&lt;bigint&gt; | null | the dimensions |
//! | `chunk` | int | 0 | which part of the data this row holds, from 0 |
//! | `chunks` | int | 1 | in how many parts the data is |
//! | `data` | binary | null | little-endian, row-major, at most 32 MiB |
//! | `json` | string | the [`Manifest`] | null |
//! | `sha256` | string | of `json` | of `data`; hexadecimal, lower case |
//! | `created_at` | timestamp | when the version was written | the same |

use std::{collections::BTreeMap, sync::Arc};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::EncoderEntry;
use crate::{
    model::{History, Lineage, PredictOptions, Task},
    nn::{NamedTensor, NetworkSpec},
    number,
    tensor::Columns,
    train::TrainParams,
};

/// The format this library writes, and the only one it reads.
pub(crate) const FORMAT: u32 = 1;

/// Data per row at most, in bytes; a multiple of the size of every dtype.
pub(crate) const CHUNK_BYTES: usize = 32 << 20;

/// Data per row as this library writes it, in bytes: little for a server of 1 GiB.
pub(super) const WRITTEN_CHUNK_BYTES: usize = 4 << 20;

/// The one dtype of format 1: single precision, as safetensors names it.
pub(crate) const DTYPE: &str = "F32";

/// The value of `kind` in a manifest row, and of its `name`.
pub(crate) const MANIFEST: &str = "manifest";

/// The value of `kind` in a tensor row.
pub(crate) const TENSOR: &str = "tensor";

/// The value of `kind` in the row of a version's tag, whose `name` it is.
pub(crate) const TAG: &str = "tag";

/// This library, as manifests name it.
pub(crate) const LIBRARY: &str = concat!("tinderbox ", env!("CARGO_PKG_VERSION"));

/// Returns the table's columns.
pub(crate) fn schema() -> SchemaRef {
    let field = |name, data_type, nullable| Field::new(name, data_type, nullable);
    Arc::new(Schema::new(vec![
        field("model", DataType::Utf8, false),
        field("version", DataType::Int64, false),
        field("kind", DataType::Utf8, false),
        field("name", DataType::Utf8, false),
        field("dtype", DataType::Utf8, true),
        field("shape", DataType::List(Arc::new(Field::new_list_field(DataType::Int64, false))), true),
        field("chunk", DataType::Int32, false),
        field("chunks", DataType::Int32, false),
        field("data", DataType::Binary, true),
        field("json", DataType::Utf8, true),
        field("sha256", DataType::Utf8, false),
        field("created_at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false),
    ]))
}

/// All there is to know about one version of a model besides its weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The format's number, 1.
    pub format: u32,
    /// The library that wrote it, such as `tinderbox 0.1.0`.
    pub library: String,
    /// The network.
    pub network: NetworkSpec,
    /// The columns it was trained on.
    pub columns: Columns,
    /// The classes' names, by label.
    #[serde(default)]
    pub classes: Vec<String>,
    /// Meaning of the network's outputs when they are not the scores of classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<Task>,
    /// Other networks of the pipeline, trained without labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub encoders: Vec<EncoderEntry>,
    /// Every fitted stage of the pipeline in order, as it describes itself.
    pub stages: Vec<serde_json::Value>,
    /// Training parameters.
    pub training: TrainParams,
    /// Prediction options.
    #[serde(default)]
    pub prediction: PredictOptions,
    /// Record of the training run.
    pub history: History,
    /// metric by name, such as `held_out_accuracy`.
    #[serde(default, with = "number::named")]
    pub metrics: BTreeMap<String, f64>,
    /// Where the rows came from.
    pub lineage: Lineage,
    /// Copies that whoever saved this one wrote before under numbers that were taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withdrawn: Vec<Withdrawn>,
    /// The tensors, sorted by name.
    pub tensors: Vec<TensorEntry>,
    /// SHA-256 over all tensors.
    pub checksum: String,
}

impl Manifest {
    /// Creates a manifest that says nothing yet but what its network is and what columns it takes.
    pub(super) fn over(network: NetworkSpec, columns: Columns) -> Self {
        Self {
            format: FORMAT,
            library: LIBRARY.to_owned(),
            network,
            columns,
            classes: Vec::new(),
            task: None,
            encoders: Vec::new(),
            stages: Vec::new(),
            training: TrainParams::default(),
            prediction: PredictOptions::default(),
            history: History::default(),
            metrics: BTreeMap::new(),
            lineage: Lineage::default(),
            withdrawn: Vec::new(),
            tensors: Vec::new(),
            checksum: String::new(),
        }
    }
}

/// A copy of a model, under the same name, that is not to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdrawn {
    /// The number it was written under.
    pub version: i64,
    /// When, in microseconds since 1970.
    pub created_at: i64,
}

/// One tensor as the manifest lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorEntry {
    /// The tensor's name.
    pub name: String,
    /// Its element type, `F32`.
    pub dtype: String,
    /// Its dimensions.
    pub shape: Vec<u64>,
}

impl TensorEntry {
    /// Creates the entry of a tensor in memory.
    pub fn of(tensor: &NamedTensor) -> Self {
        let shape = tensor.shape.iter().map(|&d| d as u64).collect();
        Self { name: tensor.name.clone(), dtype: DTYPE.into(), shape }
    }

    /// Returns the bytes of the tensor's data; `None` when that exceeds 64 bits.
    pub fn bytes(&self) -> Option<u64> {
        self.shape.iter().try_fold(4u64, |bytes, &d| bytes.checked_mul(d))
    }
}

/// SHA-256 in lower-case hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// Returns the checksum over all tensors: SHA-256 of, for each tensor sorted by name, the line `name dtype [shape]` and
/// its data.
pub(crate) fn checksum(tensors: &[NamedTensor]) -> String {
    let mut digest = Sha256::new();
    for tensor in tensors {
        digest.update(format!("{} {DTYPE} {:?}\n", tensor.name, tensor.shape));
        tensor.values.iter().for_each(|value| digest.update(value.to_le_bytes()));
    }
    format!("{:x}", digest.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_depend_on_name_shape_and_every_bit() {
        let tensor = NamedTensor { name: "a".into(), shape: vec![2, 1], values: vec![1.0, 0.0] };
        let sum = checksum(std::slice::from_ref(&tensor));
        assert_eq!(sum.len(), 64);
        for other in [
            NamedTensor { name: "b".into(), ..tensor.clone() },
            NamedTensor { shape: vec![1, 2], ..tensor.clone() },
            NamedTensor { values: vec![1.0, -0.0], ..tensor.clone() },
        ] {
            assert_ne!(sum, checksum(&[other]));
        }
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn sizes_that_cannot_be_counted_are_none() {
        let entry = |shape: &[u64]| TensorEntry { name: "a".into(), dtype: DTYPE.into(), shape: shape.into() }.bytes();
        assert_eq!(entry(&[3, 2]), Some(24));
        assert_eq!(entry(&[]), Some(4));
        assert_eq!(entry(&[1 << 40, 1 << 40]), None);
    }
}
