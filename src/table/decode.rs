//! Rows as a model again. Nothing in them is trusted.

use std::collections::BTreeMap;

use arrow::{
    array::{Array, AsArray, BinaryArray, Int32Array, Int64Array, ListArray, RecordBatch, StringArray},
    datatypes::{DataType, Int32Type, Int64Type},
};
use serde::Deserialize;

use super::layout::{self, CHUNK_BYTES, DTYPE, FORMAT, LIBRARY, MANIFEST, Manifest, TENSOR, TensorEntry};
use crate::{
    Error, Result,
    nn::{NamedTensor, Weights},
};

/// Turns the rows of one version of a model back into its manifest and weights. Rows may come in any order.
///
/// Every row's SHA-256, every tensor's size and parts, the manifest's list of tensors and the checksum over all of them
/// must agree, and the weights must fit the network. Memory is taken only for bytes that exist.
///
/// # Errors
/// [`Error::ModelTable`] names `table` and the first thing that is missing or wrong.
pub fn decode(table: &str, model: &str, version: i64, batches: &[RecordBatch]) -> Result<(Manifest, Weights)> {
    let refuse = |reason: String| bad(table, format!("model `{model}` version {version}: {reason}"));
    parts(model, version, batches).and_then(|parts| parts.assemble()).map_err(refuse)
}

/// Reads and checks a manifest alone, as [`decode()`] does before it looks at tensors.
///
/// # Errors
/// [`Error::ModelTable`] when it is of a format this library does not read, is no manifest, describes a network that
/// does not fit itself or lists other tensors than the network has.
pub fn manifest(table: &str, json: &str) -> Result<Manifest> {
    read_manifest(json).map_err(|reason| bad(table, reason))
}

fn bad(table: &str, reason: String) -> Error {
    Error::ModelTable { table: table.to_owned(), reason }
}

fn read_manifest(json: &str) -> Result<Manifest, String> {
    #[derive(Deserialize)]
    struct ManifestHead {
        format: u64,
        #[serde(default)]
        library: String,
    }
    let head: ManifestHead = serde_json::from_str(json).map_err(|e| format!("its manifest cannot be read: {e}"))?;
    if head.format != u64::from(FORMAT) {
        let ManifestHead { format, library } = head;
        return Err(format!(
            "it is in format {format}, written by `{}`; this is {LIBRARY}, which reads format {FORMAT}: \
             use the library that wrote it, or a later one",
            library.chars().take(80).collect::<String>()
        ));
    }
    let manifest: Manifest = serde_json::from_str(json).map_err(|e| format!("its manifest cannot be read: {e}"))?;
    manifest.network.check().map_err(|e| format!("its network does not fit itself: {e}"))?;
    let (names, outputs) = (manifest.classes.len(), manifest.network.outputs);
    if let Some(task) = &manifest.task {
        task.check(manifest.network.inputs.count(), outputs).map_err(|e| format!("its task does not fit: {e}"))?;
    } else if names != outputs {
        return Err(format!("it names {names} classes for a network with {outputs} outputs"));
    }
    let listed = manifest.tensors.iter().map(|t| (t.name.as_str(), t.dtype.as_str(), t.shape.clone()));
    for entry in &manifest.encoders {
        entry.network.check().map_err(|e| format!("an encoder does not fit itself: {e}"))?;
    }
    let wanted = manifest.parameters();
    let wanted = wanted.iter().map(|p| (p.name.as_str(), DTYPE, p.shape.iter().map(|&d| d as u64).collect()));
    if !listed.eq(wanted) {
        return Err("its manifest lists other tensors than its networks have".into());
    }
    Ok(manifest)
}

/// The rows of one version, sorted out.
struct VersionParts<'a> {
    json: &'a str,
    tensors: BTreeMap<&'a str, Vec<TensorPart<'a>>>,
}

/// One row of a tensor.
struct TensorPart<'a> {
    entry: TensorEntry,
    chunk: i32,
    chunks: i32,
    data: &'a [u8],
}

/// The typed columns of one batch.
struct BatchColumns<'a> {
    model: &'a StringArray,
    version: &'a Int64Array,
    kind: &'a StringArray,
    name: &'a StringArray,
    dtype: &'a StringArray,
    shape: &'a ListArray,
    chunk: &'a Int32Array,
    chunks: &'a Int32Array,
    data: &'a BinaryArray,
    json: &'a StringArray,
    sha256: &'a StringArray,
}

impl<'a> BatchColumns<'a> {
    fn new(batch: &'a RecordBatch) -> Result<Self, String> {
        let column = |name: &str| {
            let column = batch.column_by_name(name).ok_or_else(|| format!("there is no column `{name}`"))?;
            let layout = layout::schema();
            let expected = layout.field_with_name(name).map_err(|e| e.to_string())?.data_type();
            let fits = match (column.data_type(), expected) {
                (DataType::List(found), DataType::List(expected)) => found.data_type() == expected.data_type(),
                (found, expected) => found == expected,
            };
            if fits { Ok(column) } else { Err(format!("column `{name}` is {}, not {expected}", column.data_type())) }
        };
        Ok(Self {
            model: column("model")?.as_string(),
            version: column("version")?.as_primitive::<Int64Type>(),
            kind: column("kind")?.as_string(),
            name: column("name")?.as_string(),
            dtype: column("dtype")?.as_string(),
            shape: column("shape")?.as_list(),
            chunk: column("chunk")?.as_primitive::<Int32Type>(),
            chunks: column("chunks")?.as_primitive::<Int32Type>(),
            data: column("data")?.as_binary(),
            json: column("json")?.as_string(),
            sha256: column("sha256")?.as_string(),
        })
    }

    /// Returns a row's dimensions.
    fn shape(&self, row: usize) -> Result<Vec<u64>, String> {
        let shape = self.shape.value(row);
        let shape = shape.as_primitive::<Int64Type>();
        let dimension = |d: Option<i64>| d.and_then(|d| u64::try_from(d).ok());
        shape
            .iter()
            .map(dimension)
            .collect::<Option<_>>()
            .ok_or_else(|| format!("tensor `{}` has a dimension that is no count", self.name.value(row)))
    }
}

/// Sorts the rows out, checking each by itself.
fn parts<'a>(model: &str, version: i64, batches: &'a [RecordBatch]) -> Result<VersionParts<'a>, String> {
    let mut json = None;
    let mut tensors: BTreeMap<&str, Vec<TensorPart<'_>>> = BTreeMap::new();
    for batch in batches {
        let columns = BatchColumns::new(batch)?;
        for row in 0..batch.num_rows() {
            let always: [&dyn Array; 7] = [
                columns.model,
                columns.version,
                columns.kind,
                columns.name,
                columns.chunk,
                columns.chunks,
                columns.sha256,
            ];
            if always.iter().any(|column| column.is_null(row)) {
                return Err("a row holds a null where none may be".into());
            }
            if columns.model.value(row) != model || columns.version.value(row) != version {
                return Err("there are rows of another model or version among its own".into());
            }
            let name = columns.name.value(row);
            let (chunk, chunks) = (columns.chunk.value(row), columns.chunks.value(row));
            let content: &[u8] = match columns.kind.value(row) {
                MANIFEST if columns.json.is_valid(row) => {
                    if json.replace(columns.json.value(row)).is_some() {
                        return Err("it has two manifests; was it saved twice at once?".into());
                    }
                    columns.json.value(row).as_bytes()
                }
                TENSOR if columns.data.is_valid(row) && columns.dtype.is_valid(row) && columns.shape.is_valid(row) => {
                    let dtype = columns.dtype.value(row).to_owned();
                    let entry = TensorEntry { name: name.to_owned(), dtype, shape: columns.shape(row)? };
                    let data = columns.data.value(row);
                    if data.len() > CHUNK_BYTES {
                        return Err(format!("a row of tensor `{name}` holds more than {CHUNK_BYTES} bytes"));
                    }
                    tensors.entry(name).or_default().push(TensorPart { entry, chunk, chunks, data });
                    data
                }
                MANIFEST | TENSOR => return Err(format!("the row of `{name}` lacks its content")),
                kind => return Err(format!("a row is of the unknown kind `{kind}`")),
            };
            if layout::sha256(content) != columns.sha256.value(row) {
                return Err(format!(
                    "the content of `{name}` (part {chunk}) is not what was written: its SHA-256 differs"
                ));
            }
        }
    }
    let json = json.ok_or("it has no manifest")?;
    Ok(VersionParts { json, tensors })
}

impl VersionParts<'_> {
    /// Puts the tensors together and checks them against the manifest.
    fn assemble(mut self) -> Result<(Manifest, Weights), String> {
        let manifest = read_manifest(self.json)?;
        let mut tensors = Vec::with_capacity(manifest.tensors.len());
        for entry in &manifest.tensors {
            let parts = self.tensors.remove(entry.name.as_str());
            tensors.push(tensor(entry, parts.unwrap_or_default())?);
        }
        if let Some(name) = self.tensors.keys().next() {
            return Err(format!("it has rows of tensor `{name}`, which its manifest does not list"));
        }
        let weights = Weights::new(tensors).map_err(|e| e.to_string())?;
        check_sum(&manifest, &weights)?;
        Ok((manifest, weights))
    }
}

/// Returns the numbers in pieces of bytes. A piece may end within a number.
fn values<'a>(pieces: impl Iterator<Item = &'a [u8]>, count: usize) -> Vec<f32> {
    let mut values = Vec::with_capacity(count);
    let mut begun = Vec::with_capacity(4);
    for mut piece in pieces {
        if !begun.is_empty() {
            let (end, rest) = piece.split_at(piece.len().min(4 - begun.len()));
            begun.extend_from_slice(end);
            piece = rest;
            if begun.len() < 4 {
                continue;
            }
        }
        let whole = std::mem::take(&mut begun);
        let (numbers, rest) = piece.as_chunks::<4>();
        let begun_before = <[u8; 4]>::try_from(whole.as_slice()).ok();
        values.extend(begun_before.iter().chain(numbers).map(|bytes| f32::from_le_bytes(*bytes)));
        begun.extend_from_slice(rest);
    }
    values
}

fn check_sum(manifest: &Manifest, weights: &Weights) -> Result<(), String> {
    match layout::checksum(weights.tensors()) == manifest.checksum {
        true => Ok(()),
        false => Err("the checksum over its tensors differs from its manifest's".into()),
    }
}

/// Reads a manifest, and checks that these are its weights.
pub(super) fn with_weights(json: &str, weights: &Weights) -> Result<Manifest, String> {
    let manifest = read_manifest(json)?;
    let there = weights.tensors().iter().map(TensorEntry::of);
    if !manifest.tensors.iter().cloned().eq(there) {
        return Err("its manifest lists other tensors than there are".into());
    }
    check_sum(&manifest, weights)?;
    Ok(manifest)
}

/// Returns one tensor from its parts.
fn tensor(entry: &TensorEntry, mut parts: Vec<TensorPart<'_>>) -> Result<NamedTensor, String> {
    let name = &entry.name;
    parts.sort_by_key(|part| part.chunk);
    let chunks = parts.first().map_or(0, |part| part.chunks);
    let contiguous = parts.iter().enumerate().all(|(i, part)| part.chunk as usize == i && part.chunks == chunks);
    if parts.is_empty() || !contiguous || usize::try_from(chunks) != Ok(parts.len()) {
        let found: Vec<String> = parts.iter().take(10).map(|part| part.chunk.to_string()).collect();
        let found = if found.is_empty() { "none".into() } else { found.join(", ") };
        return Err(format!("tensor `{name}` is not whole: of {chunks} parts there are {found}"));
    }
    if parts.iter().any(|part| part.entry != *entry) {
        return Err(format!("tensor `{name}` has rows of another type or shape than its manifest says"));
    }
    let bytes: u64 = parts.iter().map(|part| part.data.len() as u64).sum();
    if entry.bytes() != Some(bytes) {
        return Err(format!("tensor `{name}` of shape {:?} has {bytes} bytes", entry.shape));
    }
    let values = values(parts.iter().map(|part| part.data), bytes as usize / 4);
    // The dimensions' product counts bytes that are in memory, so each fits the machine's word unless another is 0.
    let shape = entry.shape.iter().map(|&d| usize::try_from(d)).collect::<Result<_, _>>();
    Ok(NamedTensor { name: name.clone(), shape: shape.map_err(|e| format!("tensor `{name}`: {e}"))?, values })
}

#[cfg(test)]
mod tests;
