//! Fitted pipelines in a model table.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    Manifest, ModelTable,
    encoders::{self, Encoders, is_encoder},
};
use crate::{
    Error, Result,
    estimator::{EncoderModel, NeuralClassificationModel},
    ml::{NativeStage, PipelineModel, Transformer},
    model::{History, Model, Task},
    nn::Weights,
    session::Session,
};

/// How a network that learnt from labels is named among a manifest's stages; all else about it is in the manifest itself.
const NETWORK: &str = "NeuralClassificationModel";

impl PipelineModel {
    /// Writes the fitted pipeline as a new version of a model in a model table, and gives the version's number.
    ///
    /// # Errors
    /// [`Error::Param`] when the pipeline has no network, or two that learnt from labels, or a stage that is not this crate's; otherwise as
    /// [`ModelTable::save`].
    pub async fn save(&self, spark: &Session, table: &str, name: &str) -> Result<i64> {
        let (manifest, weights) = describe(self)?;
        ModelTable::new(spark, table).save(name, &manifest, &weights).await
    }

    /// Reads a version of a fitted pipeline back, the newest whole one when no version is asked for.
    ///
    /// # Errors
    /// As [`ModelTable::load`]; [`Error::ModelTable`] too when a stage is none this library knows.
    pub async fn load(spark: &Session, table: &str, name: &str, version: Option<i64>) -> Result<PipelineModel> {
        let (version, manifest, weights) = ModelTable::new(spark, table).load(name, version).await?;
        restore(manifest, weights).map_err(|e| Error::ModelTable {
            table: table.to_owned(),
            reason: format!("model `{name}` version {version}: {e}"),
        })
    }
}

/// The manifest of a fitted pipeline, and the weights of its networks.
fn describe(pipeline: &PipelineModel) -> Result<(Manifest, Weights)> {
    let mut network = None;
    let mut encoders = Encoders::default();
    let mut stages = Vec::with_capacity(pipeline.stages().len());
    for (position, stage) in pipeline.stages().iter().enumerate() {
        let unfit = |legal: &str| Err(Error::param(format!("stage {position}"), format!("{stage:.80?}"), legal));
        if let Some(found) = stage.as_any().downcast_ref::<NeuralClassificationModel>() {
            if network.replace(found).is_some() {
                return unfit("the only network with labels: a model table holds one per version");
            }
            stages.push(json!({ "stage": NETWORK }));
        } else if let Some(found) = stage.as_any().downcast_ref::<EncoderModel>() {
            stages.push(encoders.push(found)?);
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

/// The manifest of a network that learnt from labels.
fn describe_network(network: &NeuralClassificationModel) -> Manifest {
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

/// Figures of merit by name.
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

/// The fitted pipeline that a manifest describes.
fn restore(manifest: Manifest, weights: Weights) -> Result<PipelineModel> {
    let is_network = |stage: &Value| stage.get("stage").and_then(Value::as_str) == Some(NETWORK);
    let is_own = |stage: &Value| is_network(stage) || (is_encoder(stage) && stage.get("encoder").is_none());
    if manifest.stages.iter().filter(|stage| is_own(stage)).count() != 1 {
        return Err(Error::param("stages", "no network, or several", "exactly one network of the manifest's own"));
    }
    let restored = manifest.stages.iter().map(|stage| -> Result<Box<dyn Transformer>> {
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

fn restore_network(manifest: &Manifest, weights: &Weights) -> Result<NeuralClassificationModel> {
    let weights = manifest.part(weights, None);
    let Manifest { network, columns, classes, task, training, prediction, history, lineage, .. } = manifest.clone();
    let model = Model::new(network, weights, columns, task.unwrap_or(Task::Classes { names: classes }), history)?;
    NeuralClassificationModel::new(model, training, prediction, lineage)
}

#[cfg(test)]
mod tests;
