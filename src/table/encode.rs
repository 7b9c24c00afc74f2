//! A model as rows.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, Int32Builder, Int64Builder, ListBuilder, RecordBatch, StringBuilder,
    TimestampMicrosecondBuilder,
};

use super::layout::{self, DTYPE, FORMAT, LIBRARY, MANIFEST, Manifest, TAG, TENSOR, TensorEntry, WRITTEN_CHUNK_BYTES};
use crate::{
    Error, Result,
    nn::{NamedTensor, Weights},
};

/// Turns one version of a model into rows of a model table.
///
/// The manifest's `format`, `library`, `tensors` and `checksum` are filled in. `created_at` is in microseconds since
/// 1970. Batches hold at most 4 MiB of tensor data each, the manifest is in the first.
///
/// # Errors
/// [`Error::Network`] when the weights do not fit the network, [`Error::Arrow`] when a batch cannot be built.
pub fn encode(
    model: &str,
    version: i64,
    created_at: i64,
    manifest: &Manifest,
    weights: &Weights,
) -> Result<Vec<RecordBatch>> {
    batches(model, version, created_at, manifest, weights)?.collect()
}

/// As [`encode()`], each batch made on demand.
///
/// # Errors
/// [`Error::Network`] when the weights do not fit the network; then of each batch [`Error::Arrow`] when it cannot be
/// built.
pub(super) fn batches(
    model: &str,
    version: i64,
    created_at: i64,
    manifest: &Manifest,
    weights: &Weights,
) -> Result<impl Iterator<Item = Result<RecordBatch>> + Send + use<>> {
    in_chunks(model, version, created_at, &manifest.complete(weights)?, weights, WRITTEN_CHUNK_BYTES)
}

/// Returns the row of a version's tag.
pub(super) fn tag(model: &str, version: i64, created_at: i64, tag: &str) -> Result<RecordBatch> {
    let mut rows = PendingRows::new(model, version, created_at);
    rows.single(TAG, tag, None);
    rows.finish()
}

fn in_chunks(
    model: &str,
    version: i64,
    created_at: i64,
    manifest: &Manifest,
    weights: &Weights,
    chunk_bytes: usize,
) -> Result<impl Iterator<Item = Result<RecordBatch>> + Send + use<>> {
    let json = serde_json::to_string(manifest).map_err(|e| Error::arrow("writing a model's manifest", e))?;
    let mut rows = PendingRows::new(model, version, created_at);
    rows.manifest(&json);
    let per_chunk = chunk_bytes / 4;
    let weights = weights.clone();
    let pieces = |tensor: &NamedTensor| tensor.values.len().div_ceil(per_chunk).max(1);
    let counts: Vec<usize> = weights.tensors().iter().map(pieces).collect();
    let mut pieces = counts.into_iter().enumerate().flat_map(|(tensor, n)| (0..n).map(move |i| (tensor, i, n)));
    let mut ended = false;
    Ok(std::iter::from_fn(move || {
        if ended {
            return None;
        }
        for (tensor, piece, count) in pieces.by_ref() {
            let tensor = &weights.tensors()[tensor];
            // A tensor without values still has a row.
            let data = little_endian(tensor.values.chunks(per_chunk).nth(piece).unwrap_or_default());
            let full = rows.bytes > 0 && rows.bytes + data.len() > chunk_bytes;
            let batch = full.then(|| rows.finish());
            rows.tensor(tensor, piece, count, &data);
            if batch.is_some() {
                return batch;
            }
        }
        ended = true;
        Some(rows.finish())
    }))
}

impl Manifest {
    /// Returns the manifest with what follows from the weights: their list, their checksum, and who wrote them.
    ///
    /// # Errors
    /// [`Error::Network`] when the weights do not fit the networks.
    pub(super) fn complete(&self, weights: &Weights) -> Result<Manifest> {
        self.check_weights(weights)?;
        Ok(Manifest {
            format: FORMAT,
            library: LIBRARY.into(),
            tensors: weights.tensors().iter().map(TensorEntry::of).collect(),
            checksum: layout::checksum(weights.tensors()),
            ..self.clone()
        })
    }
}

fn little_endian(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Rows under way to a batch.
struct PendingRows {
    model: String,
    version: i64,
    created_at: i64,
    bytes: usize,
    count: usize,
    kind: StringBuilder,
    name: StringBuilder,
    dtype: StringBuilder,
    shape: ListBuilder<Int64Builder>,
    chunk: Int32Builder,
    chunks: Int32Builder,
    data: BinaryBuilder,
    json: StringBuilder,
    sha256: StringBuilder,
}

impl PendingRows {
    fn new(model: &str, version: i64, created_at: i64) -> Self {
        let item = arrow::datatypes::Field::new_list_field(arrow::datatypes::DataType::Int64, false);
        Self {
            model: model.to_owned(),
            version,
            created_at,
            bytes: 0,
            count: 0,
            kind: StringBuilder::new(),
            name: StringBuilder::new(),
            dtype: StringBuilder::new(),
            shape: ListBuilder::new(Int64Builder::new()).with_field(item),
            chunk: Int32Builder::new(),
            chunks: Int32Builder::new(),
            data: BinaryBuilder::new(),
            json: StringBuilder::new(),
            sha256: StringBuilder::new(),
        }
    }

    fn manifest(&mut self, json: &str) {
        self.single(MANIFEST, MANIFEST, Some(json));
    }

    /// A row without data.
    fn single(&mut self, kind: &str, name: &str, json: Option<&str>) {
        self.count += 1;
        self.kind.append_value(kind);
        self.name.append_value(name);
        self.dtype.append_null();
        self.shape.append_null();
        self.chunk.append_value(0);
        self.chunks.append_value(1);
        self.data.append_null();
        self.json.append_option(json);
        self.sha256.append_value(layout::sha256(json.unwrap_or_default().as_bytes()));
    }

    fn tensor(&mut self, tensor: &NamedTensor, chunk: usize, chunks: usize, data: &[u8]) {
        self.count += 1;
        self.bytes += data.len();
        self.kind.append_value(TENSOR);
        self.name.append_value(&tensor.name);
        self.dtype.append_value(DTYPE);
        self.shape.append_value(tensor.shape.iter().map(|&d| Some(d as i64)));
        self.chunk.append_value(chunk as i32);
        self.chunks.append_value(chunks as i32);
        self.data.append_value(data);
        self.json.append_null();
        self.sha256.append_value(layout::sha256(data));
    }

    /// Takes the rows so far as a batch and begins another.
    fn finish(&mut self) -> Result<RecordBatch> {
        let count = std::mem::take(&mut self.count);
        self.bytes = 0;
        let mut model = StringBuilder::new();
        let mut version = Int64Builder::new();
        let mut created_at = TimestampMicrosecondBuilder::new().with_timezone("UTC");
        for _ in 0..count {
            model.append_value(&self.model);
            version.append_value(self.version);
            created_at.append_value(self.created_at);
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(model.finish()),
            Arc::new(version.finish()),
            Arc::new(self.kind.finish()),
            Arc::new(self.name.finish()),
            Arc::new(self.dtype.finish()),
            Arc::new(self.shape.finish()),
            Arc::new(self.chunk.finish()),
            Arc::new(self.chunks.finish()),
            Arc::new(self.data.finish()),
            Arc::new(self.json.finish()),
            Arc::new(self.sha256.finish()),
            Arc::new(created_at.finish()),
        ];
        RecordBatch::try_new(layout::schema(), columns).map_err(|e| Error::arrow("writing a model's rows", e))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use arrow::array::{Array, AsArray};

    use super::*;
    use crate::{
        model::{History, Lineage},
        nn::{Network, Sequential},
        tensor::Columns,
        train::TrainParams,
    };

    /// Returns a manifest and weights of a small network, no tensor alike.
    pub(crate) fn small() -> (Manifest, Weights) {
        let network = Network::mlp([5]).resolve(4, 3).unwrap();
        let weights = Sequential::init(&network, 7, &candle_core::Device::Cpu).unwrap().weights().unwrap();
        let manifest = Manifest {
            format: 0,
            library: String::new(),
            network,
            columns: Columns::new("features", "label"),
            classes: ["a", "b", "ç"].map(String::from).to_vec(),
            task: None,
            encoders: Vec::new(),
            stages: vec![serde_json::json!({"class": "StandardScalerModel", "mean": [0.1, 1.0 / 3.0]})],
            training: TrainParams::default(),
            prediction: Default::default(),
            history: History::default(),
            metrics: [("held_out_accuracy".into(), 1.0 / 3.0)].into(),
            lineage: Lineage { source: "table `iris`".into(), rows: 150, plan_hash: None },
            withdrawn: Vec::new(),
            tensors: Vec::new(),
            checksum: String::new(),
        };
        (manifest, weights)
    }

    /// Returns the small network's rows, its tensors cut into chunks of 16 bytes.
    pub(crate) fn small_rows() -> Vec<RecordBatch> {
        let (manifest, weights) = small();
        let manifest = manifest.complete(&weights).unwrap();
        let batches = in_chunks("iris", 3, 1_700_000_000_000_000, &manifest, &weights, 16).unwrap();
        batches.collect::<Result<_>>().unwrap()
    }

    #[test]
    fn large_tensors_are_cut_and_batches_stay_small() {
        let batches = small_rows();
        let data =
            |batch: &RecordBatch| batch.column(8).as_binary::<i32>().iter().flatten().map(<[u8]>::len).sum::<usize>();
        assert!(batches.iter().all(|b| data(b) <= 16), "{:?}", batches.iter().map(data).collect::<Vec<_>>());
        // 5·4 + 5 + 3·5 + 3 numbers of 4 bytes.
        assert_eq!(batches.iter().map(data).sum::<usize>(), 172);
        assert_eq!(batches[0].column(2).as_string::<i32>().value(0), "manifest");
        assert!(batches[0].column(8).is_null(0));
        let (manifest, weights) = small();
        assert_eq!(encode("iris", 3, 0, &manifest, &weights).unwrap()[0].num_rows(), 5);
    }

    #[test]
    fn weights_of_another_network_are_refused() {
        let (manifest, _) = small();
        assert!(encode("iris", 1, 0, &manifest, &Weights::default()).is_err());
    }
}
