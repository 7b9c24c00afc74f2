//! Networks trained without labels, beside the network of a pipeline's last stage.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Manifest;
use crate::{
    Error, Result,
    estimator::EncoderModel,
    model::{EncodeOptions, Encoder, History, Lineage, Task},
    nn::{NamedTensor, NetworkSpec, ParameterSpec, Weights},
    tensor::Columns,
    train::TrainParams,
};

/// Kind of an encoder among a manifest's stages.
const STAGE: &str = "EncoderModel";

/// A network trained without labels, one of a pipeline with several networks. Its tensors are named
/// `encoder0/0.weight` and so on, after its place among the manifest's encoders.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EncoderEntry {
    /// The network, from input to reconstruction.
    pub network: NetworkSpec,
    /// The columns it was trained on.
    pub columns: Columns,
    /// Training parameters.
    pub training: TrainParams,
    /// Record of the training run.
    pub history: History,
    /// Where the rows came from.
    pub lineage: Lineage,
}

/// An encoder among a manifest's stages.
#[derive(Serialize, Deserialize)]
struct EncoderStage {
    stage: String,
    /// Its place among the manifest's encoders; none when it is the manifest's own network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    encoder: Option<usize>,
    layer_index: usize,
    #[serde(default)]
    options: EncodeOptions,
}

impl EncoderEntry {
    fn of(model: &EncoderModel) -> Self {
        let encoder = model.encoder();
        Self {
            network: encoder.spec().clone(),
            columns: encoder.columns().clone(),
            training: model.training().clone(),
            history: encoder.history().clone(),
            lineage: model.lineage().clone(),
        }
    }

    /// Returns a manifest whose own network this is.
    pub(super) fn into_manifest(self) -> Manifest {
        let Self { network, columns, training, history, lineage } = self;
        let task = Some(Task::Input { link: Default::default() });
        Manifest { task, training, history, lineage, ..Manifest::over(network, columns) }
    }
}

/// The encoders of a pipeline, as they are gathered.
#[derive(Default)]
pub(super) struct Encoders<'a> {
    models: Vec<&'a EncoderModel>,
}

impl<'a> Encoders<'a> {
    /// Takes an encoder in and gives what the manifest's stages say of it.
    pub(super) fn push(&mut self, model: &'a EncoderModel) -> Result<Value> {
        let encoder = Some(self.models.len());
        self.models.push(model);
        let (layer_index, options) = (model.encoder().layer_index(), model.options().clone());
        let stage = EncoderStage { stage: STAGE.into(), encoder, layer_index, options };
        serde_json::to_value(stage).map_err(|e| Error::param("stage", e, "a stage that can be saved"))
    }

    /// Takes the last one out, to be the manifest's own network, when no other network is.
    pub(super) fn pop(&mut self, stages: &mut [Value]) -> Option<(EncoderEntry, &'a Weights)> {
        let model = self.models.pop()?;
        let place = json!(self.models.len());
        let stage = stages.iter_mut().find(|stage| is_encoder(stage) && stage.get("encoder") == Some(&place));
        if let Some(stage) = stage.and_then(Value::as_object_mut) {
            stage.remove("encoder");
        }
        Some((EncoderEntry::of(model), model.encoder().weights()))
    }

    /// Returns the manifest's entries for them.
    pub(super) fn entries(&self) -> Vec<EncoderEntry> {
        self.models.iter().map(|model| EncoderEntry::of(model)).collect()
    }

    /// Their weights and those of the manifest's own network, under the names of the table.
    pub(super) fn weights(&self, own: &Weights) -> Weights {
        if self.models.is_empty() {
            return own.clone();
        }
        let renamed = |(place, model): (usize, &&EncoderModel)| {
            let name = move |tensor: &NamedTensor| format!("{}{}", prefix(place), tensor.name);
            let tensors = model.encoder().weights().tensors().iter();
            tensors.map(move |tensor| NamedTensor { name: name(tensor), ..tensor.clone() }).collect::<Vec<_>>()
        };
        let others = self.models.iter().enumerate().flat_map(renamed);
        Weights::sorted(own.tensors().iter().cloned().chain(others).collect())
    }
}

fn prefix(place: usize) -> String {
    format!("encoder{place}/")
}

/// Returns whether a manifest's stage is an encoder.
pub(super) fn is_encoder(stage: &Value) -> bool {
    stage.get("stage").and_then(Value::as_str) == Some(STAGE)
}

/// Returns the encoder that a stage of the manifest describes.
pub(super) fn restore(stage: &Value, manifest: &Manifest, weights: &Weights) -> Result<EncoderModel> {
    let unread = |e: String| Error::param("stage", e, "an encoder as this version writes it");
    let stage = EncoderStage::deserialize(stage).map_err(|e| unread(e.to_string()))?;
    let own;
    let entry = match stage.encoder {
        Some(place) => manifest.encoders.get(place).ok_or_else(|| unread(format!("encoder {place} is missing")))?,
        None => {
            let Manifest { network, columns, training, history, lineage, .. } = manifest.clone();
            own = EncoderEntry { network, columns, training, history, lineage };
            &own
        }
    };
    let EncoderEntry { network, columns, training, history, lineage } = entry.clone();
    let weights = manifest.part(weights, stage.encoder);
    let encoder = Encoder::new(network, weights, columns, stage.layer_index, history)?;
    Ok(EncoderModel::new(encoder, training, stage.options, lineage))
}

impl Manifest {
    /// Returns the parameters of all networks under the names of the table, sorted.
    pub(super) fn parameters(&self) -> Vec<ParameterSpec> {
        let mut all = self.network.parameters();
        for (place, entry) in self.encoders.iter().enumerate() {
            let renamed = |mut parameter: ParameterSpec| {
                parameter.name = format!("{}{}", prefix(place), parameter.name);
                parameter
            };
            all.extend(entry.network.parameters().into_iter().map(renamed));
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Returns the weights of one network under its own names: an encoder's, or the manifest's own.
    pub(super) fn part(&self, weights: &Weights, encoder: Option<usize>) -> Weights {
        if encoder.is_none() && !weights.tensors().iter().any(|tensor| tensor.name.contains('/')) {
            return weights.clone();
        }
        let own = encoder.map(prefix);
        let tensors = weights.tensors().iter().filter_map(|tensor| match &own {
            Some(prefix) => {
                let name = tensor.name.strip_prefix(prefix.as_str())?.to_owned();
                Some(NamedTensor { name, ..tensor.clone() })
            }
            None => (!tensor.name.contains('/')).then(|| tensor.clone()),
        });
        Weights::sorted(tensors.collect())
    }

    /// Checks that the weights are exactly what all networks call for.
    ///
    /// # Errors
    /// [`Error::Network`] names the parameter that is missing, left over or of another shape.
    pub(super) fn check_weights(&self, weights: &Weights) -> Result<()> {
        self.network.check_weights(&self.part(weights, None))?;
        let networks = self.encoders.iter().enumerate();
        networks.into_iter().try_for_each(|(i, entry)| entry.network.check_weights(&self.part(weights, Some(i))))?;
        let wanted = self.parameters().len();
        match weights.tensors().len() {
            found if found == wanted => Ok(()),
            found => Err(Error::Network {
                layer: "all".into(),
                got: format!("{found} tensors"),
                fits: format!("the networks have {wanted} together"),
            }),
        }
    }
}
