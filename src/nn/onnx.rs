//! Networks as ONNX graphs (<https://onnx.ai>), for runtimes of other makers.

use std::{
    fs,
    io::{self, Write},
    ops::Range,
    path::Path,
};

use prost::Message;

use self::message::{EXTERNAL, Entry, ModelProto, OperatorSet};
pub(crate) use self::{
    graph::{Graph, OnnxAttribute, OnnxRows, Side},
    message::data_type,
};
use super::{BranchSpec, InputShape, LayerSpec, NetworkSpec, Weights, files, spec::Nested};
use crate::{Error, Result};

mod graph;
mod message;

/// The version of the operators, of 2023: the first with `Gelu`.
const OPSET: i64 = 20;
/// The version of the format that came with them.
const IR_VERSION: i64 = 9;
/// More bytes of weights than this are written to a separate file, as a message has at most 2 GiB.
const INLINE: usize = 1 << 30;

/// Input of a graph: rows `(rows, …)`, or sequences `(rows, steps, …)`.
pub(crate) const FEATURES: &str = "features";
/// The lengths of sequences, `(rows)`, where rows are those.
pub(crate) const LENGTHS: &str = "lengths";

/// A network as a graph that has its inputs, to which outputs are added.
#[derive(Debug)]
pub(crate) struct Onnx<'a> {
    pub(crate) graph: Graph<'a>,
    /// Metadata by key.
    properties: Vec<Entry>,
}

impl<'a> Onnx<'a> {
    /// Returns a graph that takes rows of a network, and these rows.
    pub(crate) fn of(spec: &NetworkSpec, weights: &'a Weights) -> (Self, OnnxRows) {
        let mut graph = Graph::new(weights);
        graph.input(FEATURES, data_type::FLOAT, &Side::of_rows(&spec.inputs));
        let lengths = spec.inputs.ragged.then(|| LENGTHS.to_owned());
        if lengths.is_some() {
            graph.input(LENGTHS, data_type::INT64, &[Side::Any("rows")]);
        }
        (Self { graph, properties: Vec::new() }, OnnxRows { name: FEATURES.into(), lengths })
    }

    /// Says something of the network.
    pub(crate) fn property(&mut self, key: &str, value: String) {
        self.properties.push(Entry { key: key.to_owned(), value });
    }

    /// Writes it to a file; one of that name is replaced. Large weights go to a file beside it, `<name>.data`.
    ///
    /// # Errors
    /// [`Error::Io`] when a file cannot be written.
    pub(crate) fn write(self, path: &Path) -> Result<()> {
        self.write_with(path, INLINE)
    }

    fn write_with(self, path: &Path, inline: usize) -> Result<()> {
        let mut model = ModelProto {
            ir_version: IR_VERSION,
            producer_name: env!("CARGO_PKG_NAME").into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            graph: Some(self.graph.finish()),
            opset_import: vec![OperatorSet { domain: String::new(), version: OPSET }],
            metadata_props: self.properties,
        };
        let data = model.graph.iter().flat_map(|graph| &graph.initializer).flat_map(|tensor| &tensor.raw_data);
        if data.map(Vec::len).sum::<usize>() > inline {
            let mut name = path.file_name().unwrap_or_default().to_owned();
            name.push(".data");
            let location = name.to_string_lossy().into_owned();
            files::replace(&path.with_file_name(&name), |part| outsource(&mut model, &location, part))?;
        }
        files::replace(path, |part| fs::write(part, model.encode_to_vec()))
    }
}

/// Moves large tensors to a file.
fn outsource(model: &mut ModelProto, location: &str, path: &Path) -> io::Result<()> {
    const SMALL: usize = 1 << 10;
    let mut file = fs::File::create(path)?;
    let mut offset = 0;
    for tensor in model.graph.iter_mut().flat_map(|graph| &mut graph.initializer) {
        let Some(data) = tensor.raw_data.take_if(|data| data.len() > SMALL) else { continue };
        file.write_all(&data)?;
        let entries =
            [("location", location.to_owned()), ("offset", offset.to_string()), ("length", data.len().to_string())];
        tensor.external_data = entries.into_iter().map(|(key, value)| Entry { key: key.into(), value }).collect();
        tensor.data_location = Some(EXTERNAL);
        offset += data.len();
    }
    Ok(())
}

impl Graph<'_> {
    /// Adds some of the layers; `shapes` are what goes into each, `prefix` is what their parameters' names begin with.
    ///
    /// # Errors
    /// [`Error::Network`] names a layer that ONNX has no operators for, or a parameter that is missing.
    pub(crate) fn layers(
        &mut self,
        layers: &[LayerSpec],
        shapes: &[InputShape],
        positions: Range<usize>,
        prefix: &str,
        mut rows: OnnxRows,
    ) -> Result<OnnxRows> {
        for position in positions {
            let [before, after] = [&shapes[position], &shapes[position + 1]];
            let name = self.layer(&layers[position], before, &format!("{prefix}{position}."), &rows)?;
            rows = OnnxRows { name, lengths: rows.lengths.filter(|_| after.ragged) };
        }
        Ok(rows)
    }

    /// Adds a layer, whose parameters' names begin with `own`, and returns what comes out.
    fn layer(&mut self, layer: &LayerSpec, shape: &InputShape, own: &str, rows: &OnnxRows) -> Result<String> {
        let x = rows.name.as_str();
        let both = |graph: &mut Self| {
            Ok::<_, Error>([graph.weight(&format!("{own}weight"))?, graph.weight(&format!("{own}bias"))?])
        };
        Ok(match layer {
            LayerSpec::Linear { .. } => self.project(x, &format!("{own}weight"), &format!("{own}bias"))?,
            LayerSpec::Activation { function } => function.onnx(self, x),
            LayerSpec::Dropout { .. } => x.to_owned(),
            LayerSpec::Flatten => self.node("Flatten", &[x], vec![("axis", OnnxAttribute::Int(1))]),
            LayerSpec::Unflatten { dims } => self.reshape(x, &[&[0], &dims[..]].concat()),
            LayerSpec::Conv1d(conv) => {
                let [weight, bias] = both(self)?;
                conv.onnx(1, self, [x, &weight, &bias])
            }
            LayerSpec::Conv2d(conv) => {
                let [weight, bias] = both(self)?;
                conv.onnx(2, self, [x, &weight, &bias])
            }
            LayerSpec::ConvTranspose2d(conv) => {
                let [weight, bias] = both(self)?;
                conv.onnx(self, [x, &weight, &bias])
            }
            LayerSpec::MaxPool1d(pool) => pool.onnx(1, "MaxPool", self, x),
            LayerSpec::MaxPool2d(pool) => pool.onnx(2, "MaxPool", self, x),
            LayerSpec::AvgPool1d(pool) => pool.onnx(1, "AveragePool", self, x),
            LayerSpec::AvgPool2d(pool) => pool.onnx(2, "AveragePool", self, x),
            LayerSpec::GlobalMaxPool => self.global("GlobalMaxPool", x),
            LayerSpec::GlobalAvgPool => self.global("GlobalAveragePool", x),
            LayerSpec::BatchNorm { eps, .. } => {
                let [weight, bias] = both(self)?;
                let [mean, var] = ["running_mean", "running_var"].map(|name| self.weight(&format!("{own}{name}")));
                let inputs = [x, &weight, &bias, &mean?, &var?];
                self.node("BatchNormalization", &inputs, vec![("epsilon", OnnxAttribute::Float(*eps))])
            }
            LayerSpec::LayerNorm { eps } => {
                let [weight, bias] = both(self)?;
                let axis = OnnxAttribute::Int(if shape.ragged { 2 } else { 1 });
                let attributes = vec![("axis", axis), ("epsilon", OnnxAttribute::Float(*eps))];
                self.node("LayerNormalization", &[x, &weight, &bias], attributes)
            }
            LayerSpec::Embedding(table) => table.onnx(self, x, own, shape)?,
            LayerSpec::Categories { tables } => super::layer::lookup::categories_onnx(tables, self, x, own, shape)?,
            LayerSpec::Attention(settings) => settings.onnx(self, rows, own, shape)?,
            LayerSpec::Tied { of, layer } => {
                let [weight, bias] = [format!("{of}.weight"), format!("{own}bias")];
                let [weight, bias] = [self.weight(&weight)?, self.weight(&bias)?];
                match &**layer {
                    LayerSpec::ConvTranspose2d(conv) => conv.onnx(self, [x, &weight, &bias]),
                    // The encoder's weight, which is transposed.
                    _ => self.node("Gemm", &[x, &weight, &bias], Vec::new()),
                }
            }
            LayerSpec::Residual { .. } => {
                let mut parts = Vec::new();
                for Nested { layers, shapes, prefix, .. } in layer.nested(shape) {
                    parts.push(
                        self.layers(layers, &shapes, 0..layers.len(), &format!("{own}{prefix}"), rows.clone())?.name,
                    );
                }
                self.node("Add", &parts.iter().map(String::as_str).collect::<Vec<_>>(), Vec::new())
            }
            LayerSpec::Join { branches } => self.join(layer, branches, shape, own, x)?,
            LayerSpec::Custom(custom) => {
                return Err(Error::Network {
                    layer: format!("{own} `{}`", custom.name),
                    got: "a network of a user's own".into(),
                    fits: "ONNX holds the layers of this crate".into(),
                });
            }
            LayerSpec::Lstm(_) | LayerSpec::Gru(_) | LayerSpec::Rnn(_) | LayerSpec::RnnRelu(_) => {
                match layer.recurrent() {
                    Some((kind, settings)) => settings.onnx(kind, self, rows, own)?,
                    None => x.to_owned(),
                }
            }
        })
    }

    /// Branches of columns side by side.
    fn join(
        &mut self,
        layer: &LayerSpec,
        branches: &[BranchSpec],
        shape: &InputShape,
        own: &str,
        x: &str,
    ) -> Result<String> {
        let mut parts = Vec::new();
        for (branch, Nested { layers, shapes, prefix, .. }) in branches.iter().zip(layer.nested(shape)) {
            let places = branch.columns.iter().flat_map(|part| part.begin..part.begin + part.count);
            let places = self.ints(&places.map(|place| place as i64).collect::<Vec<_>>());
            let taken = self.node("Gather", &[x, &places], vec![("axis", OnnxAttribute::Int(1))]);
            let name = self.reshape(&taken, &[&[0], &branch.inputs.dims[..]].concat());
            let rows = OnnxRows { name, lengths: None };
            parts.push(self.layers(layers, &shapes, 0..layers.len(), &format!("{own}{prefix}"), rows)?.name);
        }
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        Ok(self.node("Concat", &parts, vec![("axis", OnnxAttribute::Int(1))]))
    }

    fn global(&mut self, operator: &str, x: &str) -> String {
        let pooled = self.node(operator, &[x], Vec::new());
        self.node("Flatten", &[&pooled], vec![("axis", OnnxAttribute::Int(1))])
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::nn::{Network, Sequential};

    #[test]
    fn large_weights_go_to_a_file_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let spec = Network::mlp([40]).resolve(30, 3).unwrap();
        let weights = Sequential::init(&spec, 7, &Device::Cpu).unwrap().weights().unwrap();
        let path = folder.path().join("größe.onnx");
        let write = |inline| {
            let (mut onnx, rows) = Onnx::of(&spec, &weights);
            let count = spec.layers.len();
            let rows = onnx.graph.layers(&spec.layers, &spec.shapes().unwrap(), 0..count, "", rows).unwrap();
            onnx.graph.output("scores", &rows.name, data_type::FLOAT, &Side::of_rows(&3.into()));
            onnx.write_with(&path, inline).unwrap();
            ModelProto::decode(fs::read(&path).unwrap().as_slice()).unwrap()
        };
        let (whole, parted) = (write(INLINE), write(1000));
        let data = fs::read(folder.path().join("größe.onnx.data")).unwrap();
        assert_eq!(data.len(), 40 * 30 * 4);
        let tensors = |model: &ModelProto| model.graph.clone().unwrap().initializer;
        for (own, parted) in tensors(&whole).into_iter().zip(tensors(&parted)) {
            let entry = |key: &str| parted.external_data.iter().find(|e| e.key == key).map(|e| e.value.clone());
            let bytes = match entry("location") {
                None => parted.raw_data.clone(),
                Some(location) => {
                    assert_eq!((&*location, parted.raw_data.as_ref()), ("größe.onnx.data", None));
                    let [offset, length] =
                        ["offset", "length"].map(|key| entry(key).unwrap().parse::<usize>().unwrap());
                    Some(data[offset..offset + length].to_vec())
                }
            };
            assert_eq!((&parted.name, bytes), (&own.name, own.raw_data));
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing else is left");
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let spec = Network::new().resolve(2, 2).unwrap();
        let weights = Sequential::init(&spec, 7, &Device::Cpu).unwrap().weights().unwrap();
        let (onnx, _) = Onnx::of(&spec, &weights);
        let message = onnx.write(Path::new("no/folder/net.onnx")).unwrap_err().to_string();
        assert!(message.contains("no/folder/net.onnx"), "{message}");
    }
}
