//! Networks over numpy: source text, and what it needs to know, for Python workers that have nothing else of ours.

use serde_json::{Value, json};

use super::{EncodeOptions, Encoder, PredictOptions, Task, TrainedNetwork};
use crate::{
    nn::{NetworkSpec, Weights},
    tensor::{Columns, OnInvalid, reader::Reader},
};

/// Returns the functions that compute networks, in Python. `make(text, data)` gives one function of Arrow columns.
pub(crate) fn numpy_source() -> &'static str {
    include_str!("network.py")
}

/// Values that the rows of one pass may have between two layers.
const VALUES_AT_ONCE: usize = 1 << 22;

/// A network as a function over columns.
#[derive(Debug, Clone)]
pub(crate) struct NumpyNetwork {
    /// The argument `text` of `make`: JSON.
    pub(crate) description: String,
    /// The argument `data` of `make`: the weights in single precision, little-endian.
    pub(crate) weights: Vec<u8>,
    /// The columns it takes, in order.
    pub(crate) columns: Vec<String>,
    /// True if rows are sequences of any length.
    pub(crate) sequences: bool,
}

impl TrainedNetwork {
    /// Returns the network with its predictions, or why numpy cannot compute it.
    pub(crate) fn numpy(&self, options: &PredictOptions) -> Result<NumpyNetwork, String> {
        let outputs = &options.outputs;
        let mut named = vec![("prediction", &outputs.prediction)];
        if matches!(self.task(), Task::Classes { .. } | Task::Labels { .. }) {
            named.insert(0, ("probability", &outputs.probability));
            named.insert(0, ("raw_prediction", &outputs.raw_prediction));
            named.push(("predicted_label", &outputs.predicted_label));
        }
        named.push(("invalid_reason", &outputs.invalid_reason));
        let more = json!({ "task": self.task(), "thresholds": options.thresholds });
        network(self.spec(), self.weights(), self.columns(), options.on_invalid, named, more)
    }
}

impl Encoder {
    /// Returns the network with its codes, or why numpy cannot compute it.
    pub(crate) fn numpy(&self, options: &EncodeOptions) -> Result<NumpyNetwork, String> {
        let outputs = &options.outputs;
        let named = vec![
            ("code", &outputs.code),
            ("reconstruction", &outputs.reconstruction),
            ("error", &outputs.error),
            ("invalid_reason", &outputs.invalid_reason),
        ];
        let restores = !(outputs.reconstruction.is_empty() && outputs.error.is_empty());
        let more = json!({ "layer_index": self.layer_index(), "restores": restores });
        network(self.spec(), self.weights(), self.columns(), options.on_invalid, named, more)
    }
}

fn network(
    spec: &NetworkSpec,
    weights: &Weights,
    columns: &Columns,
    on_invalid: OnInvalid,
    outputs: Vec<(&str, &String)>,
    more: Value,
) -> Result<NumpyNetwork, String> {
    if spec.is_custom() {
        return Err("it has a network of the user's own in it, which only this process knows".into());
    }
    if columns.sparse {
        return Err("its rows are mostly zeros, which would be filled in".into());
    }
    let named: Vec<(&str, &String)> = outputs.into_iter().filter(|(_, name)| !name.is_empty()).collect();
    if named.is_empty() {
        return Err("no output is switched on".into());
    }
    let named: Vec<(&str, String)> =
        named.into_iter().enumerate().map(|(i, (kind, _))| (kind, format!("o{i}"))).collect();
    let names = match &columns.readers {
        None => columns.features.clone(),
        Some(readers) => {
            let column = |reader: &Reader| match reader {
                Reader::Tensor(tensor) if tensor.is_plain() => tensor.column().to_owned().into(),
                _ => None,
            };
            let found: Option<Vec<String>> = readers.inputs.iter().map(|input| column(&input.reader)).collect();
            found.ok_or("a reader decodes its columns (images, texts, bytes), which only this process does")?
        }
    };
    let ids: Vec<Value> = spec
        .ids()
        .into_iter()
        .map(|id| json!([id.place, id.count(), id.column.clone().unwrap_or_else(|| names.join(", "))]))
        .collect();
    let shapes = spec.shapes().map_err(|error| error.to_string())?;
    // A convolution looks at each value once for every place of its kernel.
    let widest = shapes.iter().map(|shape| shape.count()).max().unwrap_or(1).saturating_mul(9);
    let mut description = json!({
        "columns": names,
        "inputs": spec.inputs,
        "ragged": spec.inputs.ragged,
        "layers": spec.layers,
        "weights": weights.tensors().iter().map(|tensor| json!([tensor.name, tensor.shape])).collect::<Vec<_>>(),
        "ids": ids,
        "on_invalid": on_invalid,
        "outputs": named,
        "rows_at_once": (VALUES_AT_ONCE / widest).clamp(8, 4096),
    });
    if let (Some(description), Value::Object(more)) = (description.as_object_mut(), more) {
        description.extend(more);
    }
    let data = weights.tensors().iter().flat_map(|tensor| &tensor.values).flat_map(|value| value.to_le_bytes());
    let (weights, sequences) = (data.collect(), spec.inputs.ragged);
    Ok(NumpyNetwork { description: description.to_string(), weights, columns: names, sequences })
}
