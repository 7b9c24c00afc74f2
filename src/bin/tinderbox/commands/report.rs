//! `tinderbox report`: the page of a saved model.

use std::path::PathBuf;

use clap::Args;
use tinderbox::report::ModelEvaluation;

use super::{
    loaded::LoadedModel,
    models::{ModelName, TableArgument},
};
use crate::{cli::Global, failure::Result, output::Output};

/// Writes a web page about a saved model: data, course, settings, and results on a table if one is given.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// NAME, NAME@VERSION or NAME@TAG
    model: ModelName,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// A table of labelled rows that the model was not trained on
    #[arg(long)]
    table: Option<String>,
    #[command(flatten)]
    models: TableArgument,
}

pub(crate) async fn run(arguments: Arguments, global: &Global, output: &Output) -> Result {
    let model = LoadedModel::open(&arguments.model, &arguments.models, global, output).await?;
    let mut report = model.report()?;
    if let Some(name) = &arguments.table {
        let rows = model.rows(name, None).await?;
        report = report.evaluation(ModelEvaluation::of(&model.pipeline, &rows).await?);
    }
    report.write(&arguments.to)?;
    output.say(format!("{} is written", arguments.to.display()));
    Ok(model.spark.stop().await?)
}
