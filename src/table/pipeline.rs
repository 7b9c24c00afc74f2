//! Fitted pipelines in a model table.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Manifest, ModelTable,
    encoders::{self, Encoders, is_encoder},
};
use crate::{
    Error, Result,
    estimator::{EncoderModel, NeuralModel},
    ml::{
        NativeStage, PipelineModel, Transformer,
        operator::{RemoteModel, SavedModel},
    },
    model::{History, Task, TrainedNetwork},
    nn::Weights,
    session::Session,
};

/// Kind of a network trained with labels among a manifest's stages; all else about it is in the manifest itself.
const NETWORK: &str = "NeuralClassificationModel";

/// Kind of a model of Spark ML's own among a manifest's stages.
const REMOTE: &str = "RemoteModel";

impl PipelineModel {
    /// Writes the fitted pipeline as a new version of a model in a model table, and gives the version's number.
    ///
    /// # Errors
    /// [`Error::Param`] when the pipeline has no network, or two trained with labels, or a model that the server keeps
    /// ([`save_beside`](Self::save_beside) saves those), or another stage that is not this crate's; otherwise as
    /// [`ModelTable::save`].
    pub async fn save(&self, spark: &Session, table: &str, name: &str) -> Result<i64> {
        let (manifest, weights) = describe(self, &HashMap::new())?;
        ModelTable::new(spark, table).save(name, &manifest, &weights).await
    }

    /// As [`save`](Self::save), for a pipeline with stages of Spark ML's own: models that the server keeps are written
    /// to new paths in `folder`, a folder of a file system that the whole cluster sees (`s3a://…`, `hdfs://…`,
    /// `dbfs:/…`), and the version names them. [`load`](Self::load) reads them from those paths. Delete the paths of
    /// versions that are no longer wanted yourself.
    ///
    /// # Errors
    /// As [`save`](Self::save); [`Error::Server`] when a stage cannot be written to the folder.
    pub async fn save_beside(&self, spark: &Session, table: &str, name: &str, folder: &str) -> Result<i64> {
        let mut saved = HashMap::new();
        let save = Uuid::new_v4().simple();
        for (position, stage) in self.stages().iter().enumerate() {
            if let Some(remote) = stage.as_any().downcast_ref::<RemoteModel>() {
                let path = format!("{}/{save}-{position}", folder.trim_end_matches('/'));
                saved.insert(position, remote.save(&path, false).await?);
            }
        }
        let (manifest, weights) = describe(self, &saved)?;
        ModelTable::new(spark, table).save(name, &manifest, &weights).await
    }

    /// Reads a version of a fitted pipeline back, the newest whole one unless a version is given.
    ///
    /// # Errors
    /// As [`ModelTable::load`]; [`Error::ModelTable`] too when a stage is none this library knows.
    pub async fn load(spark: &Session, table: &str, name: &str, version: Option<i64>) -> Result<PipelineModel> {
        let (version, manifest, weights) = ModelTable::new(spark, table).load(name, version).await?;
        let bad = |reason: String| Error::ModelTable {
            table: table.to_owned(),
            reason: format!("model `{name}` version {version}: {reason}"),
        };
        let mut remote = HashMap::new();
        for (position, stage) in manifest.stages.iter().enumerate().filter(|(_, stage)| is_kind(stage, REMOTE)) {
            let saved: SavedModel =
                serde_json::from_value(stage.clone()).map_err(|e| bad(format!("stage {position}: {e}")))?;
            let loaded = saved.load(spark).await.map_err(|error| match error {
                Error::Server(error) => bad(format!("stage {position}, {} at {}: {error}", saved.class, saved.path)),
                other => other,
            })?;
            remote.insert(position, loaded);
        }
        restore(manifest, weights, remote).map_err(|e| bad(e.to_string()))
    }
}

/// Returns the manifest of a fitted pipeline, some of whose stages were saved elsewhere, and the weights of its
/// networks.
pub(super) fn describe(pipeline: &PipelineModel, saved: &HashMap<usize, SavedModel>) -> Result<(Manifest, Weights)> {
    let mut network = None;
    let mut encoders = Encoders::default();
    let mut stages = Vec::with_capacity(pipeline.stages().len());
    for (position, stage) in pipeline.stages().iter().enumerate() {
        let unfit = |legal: &str| Err(Error::param(format!("stage {position}"), format!("{stage:.80?}"), legal));
        if let Some(found) = stage.as_any().downcast_ref::<NeuralModel>() {
            if network.replace(found).is_some() {
                return unfit("the only network with labels: a model table holds one per version");
            }
            stages.push(json!({ "stage": NETWORK }));
        } else if let Some(found) = stage.as_any().downcast_ref::<EncoderModel>() {
            stages.push(encoders.push(found)?);
        } else if let Some(saved) = saved.get(&position) {
            let mut value = serde_json::to_value(saved)
                .map_err(|e| Error::param(format!("stage {position}"), e, "a stage that can be saved"))?;
            value["stage"] = json!(REMOTE);
            stages.push(value);
        } else if stage.as_any().is::<RemoteModel>() {
            return unfit(
                "a stage of this crate: this one is in the memory of the server's session; PipelineModel::save_beside writes it \
                 to a folder of the cluster's file system",
            );
        } else if let Some(native) = stage.native() {
            let value = serde_json::to_value(&native);
            stages.push(value.map_err(|e| Error::param(format!("stage {position}"), e, "a stage that can be saved"))?);
        } else {
            return unfit("a stage of this crate: others cannot be saved in a model table");
        }
    }
    let (manifest, weights) = match network {
        Some(network) => (describe_network(network), network.model().weights()),
        None => match encoders.pop(&mut stages) {
            Some((encoder, weights)) => (encoder.into_manifest(), weights),
            None => {
                let found = format!("{} without a network", stages.len());
                return Err(Error::param("stages", found, "a pipeline with a network"));
            }
        },
    };
    let metrics = metrics(&manifest.history);
    Ok((Manifest { stages, metrics, encoders: encoders.entries(), ..manifest }, encoders.weights(weights)))
}

/// Returns the manifest of a network trained with labels.
fn describe_network(network: &NeuralModel) -> Manifest {
    let model = network.model();
    Manifest {
        classes: model.classes().to_vec(),
        task: match model.task() {
            Task::Classes { .. } => None,
            other => Some(other.clone()),
        },
        training: network.training().clone(),
        prediction: network.prediction().clone(),
        history: model.history().clone(),
        lineage: network.lineage().clone(),
        ..Manifest::over(model.spec().clone(), model.columns().clone())
    }
}

/// metric by name.
fn metrics(history: &History) -> BTreeMap<String, f64> {
    let mut metrics = BTreeMap::new();
    if let Some(last) = history.last() {
        metrics.insert("training_loss".to_owned(), last.training.loss);
        let metric = history.metric.name();
        metrics.insert(format!("training_{metric}"), last.training.metric);
        metrics.extend(last.held_out.map(|held_out| (format!("held_out_{metric}"), held_out.metric)));
    }
    metrics.extend(history.held_out_accuracy().map(|accuracy| ("held_out_accuracy".to_owned(), accuracy)));
    metrics
}

fn is_kind(stage: &Value, kind: &str) -> bool {
    stage.get("stage").and_then(Value::as_str) == Some(kind)
}

/// Returns the fitted pipeline that a manifest describes, with the stages that were read from elsewhere, by position.
pub(super) fn restore(
    manifest: Manifest,
    weights: Weights,
    mut remote: HashMap<usize, RemoteModel>,
) -> Result<PipelineModel> {
    let is_network = |stage: &Value| is_kind(stage, NETWORK);
    let is_own = |stage: &Value| is_network(stage) || (is_encoder(stage) && stage.get("encoder").is_none());
    if manifest.stages.iter().filter(|stage| is_own(stage)).count() != 1 {
        return Err(Error::param("stages", "no network, or several", "exactly one network of the manifest's own"));
    }
    let restored = manifest.stages.iter().enumerate().map(|(position, stage)| -> Result<Box<dyn Transformer>> {
        if let Some(remote) = remote.remove(&position) {
            return Ok(Box::new(remote));
        }
        if is_network(stage) {
            return Ok(Box::new(restore_network(&manifest, &weights)?));
        }
        if is_encoder(stage) {
            return Ok(Box::new(encoders::restore(stage, &manifest, &weights)?));
        }
        NativeStage::from_json(&stage.to_string()).map(NativeStage::into_transformer)
    });
    Ok(PipelineModel::new(restored.collect::<Result<Vec<_>>>()?))
}

fn restore_network(manifest: &Manifest, weights: &Weights) -> Result<NeuralModel> {
    let weights = manifest.part(weights, None);
    let Manifest { network, columns, classes, task, training, prediction, history, lineage, .. } = manifest.clone();
    let model =
        TrainedNetwork::new(network, weights, columns, task.unwrap_or(Task::Classes { names: classes }), history)?;
    NeuralModel::new(model, training, prediction, lineage)
}

#[cfg(test)]
mod tests;
