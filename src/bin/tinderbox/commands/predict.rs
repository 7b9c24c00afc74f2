//! `tinderbox predict`: a table scored by a saved model.

use clap::Args;
use serde_json::json;
use tinderbox::{ScoreOptions, Scoring};

use super::{
    loaded::LoadedModel,
    models::{ModelName, TableArgument},
    write_mode::WriteMode,
};
use crate::{cli::Global, failure::Result, output::Output};

/// Scores a table with a saved model and writes its rows with their predictions to another.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The table, with the columns that the model was trained on
    table: String,
    /// NAME, NAME@VERSION or NAME@TAG
    #[arg(long, short)]
    model: ModelName,
    /// The table to write
    #[arg(long, value_name = "TABLE")]
    to: String,
    #[command(flatten)]
    mode: WriteMode,
    /// Where rows are scored; on the cluster where its Python workers can
    #[arg(long, value_enum, default_value_t)]
    on: Place,
    /// Condition in SQL for the rows
    #[arg(long)]
    filter: Option<String>,
    #[command(flatten)]
    models: TableArgument,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum Place {
    /// On the cluster if it can, else on this machine
    #[default]
    Auto,
    /// On the cluster, or not at all
    Cluster,
    /// On this machine
    Local,
}

pub(crate) async fn run(arguments: Arguments, global: &Global, output: &Output) -> Result {
    let model = LoadedModel::open(&arguments.model, &arguments.models, global, output).await?;
    let frame = model.rows(&arguments.table, arguments.filter.as_deref()).await?;
    let mode = arguments.mode.check(&model.spark, &arguments.to).await?;
    let scoring = match arguments.on {
        Place::Auto => Scoring::Auto,
        Place::Cluster => Scoring::OnCluster,
        Place::Local => Scoring::Local,
    };
    let options = ScoreOptions::new().mode(mode).scoring(scoring);
    let scored = model.pipeline.predict_into_with(&frame, &arguments.to, options).await?;
    let place = if scored.scoring == Scoring::OnCluster { "on the cluster" } else { "locally" };
    let rows = scored.rows;
    let object = json!({
        "table": arguments.to, "rows": rows, "skipped": scored.skipped, "without_prediction": scored.without_prediction,
        "scored": place, "model": model.name, "version": model.version,
    });
    let LoadedModel { name, version, .. } = &model;
    output.object(
        || format!("{rows} rows scored {place} by version {version} of `{name}`, in {}", arguments.to),
        &object,
    )?;
    for (rows, fate) in
        [(scored.skipped, "were left out as invalid"), (scored.without_prediction, "have no prediction")]
    {
        if rows > 0 {
            output.say(format!("{rows} rows {fate}"));
        }
    }
    Ok(model.spark.stop().await?)
}
