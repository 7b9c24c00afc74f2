//! `tinderbox report`: the page of a saved model.

use std::path::PathBuf;

use clap::Args;
use tinderbox::{
    estimator::NeuralModel,
    ml::PipelineModel,
    report::{ModelEvaluation, Report},
    table::ModelTable,
};

use super::models::{ModelName, TableArgument};
use crate::{
    cli::Global,
    connection::{Connection, table},
    failure::{Failure, Result},
    output::Output,
};

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
    let connection = Connection::find(global).await?;
    let spark = connection.open(output).await?;
    let models = ModelTable::new(&spark, arguments.models.name(&connection));
    let version = arguments.model.version(&models).await?;
    let model = PipelineModel::load(&spark, models.table(), &arguments.model.name, Some(version)).await?;
    let network = model.stages().iter().find_map(|stage| stage.as_any().downcast_ref::<NeuralModel>());
    let network =
        network.ok_or_else(|| Failure::option("model", &arguments.model.name, "a model that predicts a label"))?;
    let mut report = Report::new(network).saved_as(models.table(), &arguments.model.name, version);
    if let Some(name) = &arguments.table {
        report = report.evaluation(ModelEvaluation::of(&model, &table(&spark, name).await?).await?);
    }
    report.write(&arguments.to)?;
    output.say(format!("{} is written", arguments.to.display()));
    Ok(spark.stop().await?)
}
