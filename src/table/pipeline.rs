//! Fitted pipelines in a model table.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Manifest, ModelTable, layout};
use crate::{
    Error, Result,
    estimator::NeuralClassificationModel,
    ml::{NativeStage, PipelineModel, Transformer},
    model::{Model, Task},
    nn::Weights,
    session::Session,
};

/// How the network is named among a manifest's stages; all else about it is in the manifest itself.
const NETWORK: &str = "NeuralClassificationModel";

impl PipelineModel {
    /// Writes the fitted pipeline as a new version of a model in a model table, and gives the version's number.
    ///
    /// # Errors
    /// [`Error::Param`] when the pipeline has no network or two, or a stage that is not this crate's; otherwise as
    /// [`ModelTable::save`].
    pub async fn save(&self, spark: &Session, table: &str, name: &str) -> Result<i64> {
        let (manifest, network) = describe(self)?;
        ModelTable::new(spark, table).save(name, &manifest, network.model().weights()).await
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

/// The manifest of a fitted pipeline, and the network whose weights go with it.
fn describe(pipeline: &PipelineModel) -> Result<(Manifest, &NeuralClassificationModel)> {
    let mut network = None;
    let mut stages = Vec::with_capacity(pipeline.stages().len());
    for (position, stage) in pipeline.stages().iter().enumerate() {
        let unfit = |legal: &str| Err(Error::param(format!("stage {position}"), format!("{stage:.80?}"), legal));
        if let Some(found) = stage.as_any().downcast_ref::<NeuralClassificationModel>() {
            if network.replace(found).is_some() {
                return unfit("the only network: a model table holds one per version");
            }
            stages.push(json!({ "stage": NETWORK }));
        } else if let Some(native) = stage.native() {
            let value = serde_json::to_value(&native);
            stages.push(value.map_err(|e| Error::param(format!("stage {position}"), e, "a stage that can be saved"))?);
        } else {
            return unfit("a stage of this crate: others cannot be saved in a model table");
        }
    }
    let Some(network) = network else {
        return Err(Error::param("stages", format!("{} without a network", stages.len()), "a pipeline with a network"));
    };
    let model = network.model();
    let mut metrics = BTreeMap::new();
    if let Some(last) = model.history().last() {
        metrics.insert("training_loss".to_owned(), last.training.loss);
        let metric = model.history().metric.name();
        metrics.insert(format!("training_{metric}"), last.training.metric);
        metrics.extend(last.held_out.map(|held_out| (format!("held_out_{metric}"), held_out.metric)));
    }
    metrics.extend(model.history().held_out_accuracy().map(|accuracy| ("held_out_accuracy".to_owned(), accuracy)));
    let manifest = Manifest {
        format: layout::FORMAT,
        library: layout::LIBRARY.to_owned(),
        network: model.spec().clone(),
        columns: model.columns().clone(),
        classes: model.classes().to_vec(),
        task: match model.task() {
            Task::Classes { .. } => None,
            other => Some(other.clone()),
        },
        stages,
        training: network.training().clone(),
        prediction: network.prediction().clone(),
        history: model.history().clone(),
        metrics,
        lineage: network.lineage().clone(),
        withdrawn: Vec::new(),
        tensors: Vec::new(),
        checksum: String::new(),
    };
    Ok((manifest, network))
}

/// The fitted pipeline that a manifest describes.
fn restore(manifest: Manifest, weights: Weights) -> Result<PipelineModel> {
    let Manifest { network, columns, classes, task, stages, training, prediction, history, lineage, .. } = manifest;
    let model = Model::new(network, weights, columns, task.unwrap_or(Task::Classes { names: classes }), history)?;
    let network = NeuralClassificationModel::new(model, training, prediction, lineage)?;
    let is_network = |stage: &Value| stage.get("stage").and_then(Value::as_str) == Some(NETWORK);
    if stages.iter().filter(|stage| is_network(stage)).count() != 1 {
        return Err(Error::param("stages", "no network, or several", "exactly one network"));
    }
    let restored = stages.into_iter().map(|stage| {
        if is_network(&stage) {
            return Ok(Box::new(network.clone()) as Box<dyn Transformer>);
        }
        NativeStage::from_json(&stage.to_string()).map(NativeStage::into_transformer)
    });
    Ok(PipelineModel::new(restored.collect::<Result<Vec<_>>>()?))
}
