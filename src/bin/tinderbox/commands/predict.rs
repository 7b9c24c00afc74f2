//! `tinderbox predict`: a table scored by a saved model.

use clap::Args;
use serde_json::json;
use tinderbox::{ScoreOptions, Scoring, dataframe::SaveMode, ml::PipelineModel, table::ModelTable};

use super::models::{ModelName, TableArgument};
use crate::{
    cli::Global,
    connection::{Connection, table},
    failure::{Failure, Result},
    output::Output,
};

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
    /// Replace the table if it exists
    #[arg(long, conflicts_with = "append")]
    overwrite: bool,
    /// Add to the table if it exists
    #[arg(long)]
    append: bool,
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
    let connection = Connection::find(global).await?;
    let spark = connection.open(output).await?;
    let models = ModelTable::new(&spark, arguments.models.name(&connection));
    let version = arguments.model.version(&models).await?;
    let model = PipelineModel::load(&spark, models.table(), &arguments.model.name, Some(version)).await?;
    let mut frame = table(&spark, &arguments.table).await?;
    if let Some(condition) = &arguments.filter {
        frame = frame.filter_expr(condition);
    }
    let mode = match (arguments.overwrite, arguments.append) {
        (true, _) => SaveMode::Overwrite,
        (_, true) => SaveMode::Append,
        _ => SaveMode::ErrorIfExists,
    };
    if mode == SaveMode::ErrorIfExists && spark.catalog().table_exists(&arguments.to).await? {
        let legal = "a new table; --overwrite replaces this one, --append adds to it";
        return Err(Failure::option("to", arguments.to, legal));
    }
    let scoring = match arguments.on {
        Place::Auto => Scoring::Auto,
        Place::Cluster => Scoring::OnCluster,
        Place::Local => Scoring::Local,
    };
    let scored =
        model.predict_into_with(&frame, &arguments.to, ScoreOptions::new().mode(mode).scoring(scoring)).await?;
    let place = if scored.scoring == Scoring::OnCluster { "on the cluster" } else { "locally" };
    let rows = scored.rows;
    let object = json!({
        "table": arguments.to, "rows": rows, "skipped": scored.skipped, "without_prediction": scored.without_prediction,
        "scored": place, "model": arguments.model.name, "version": version,
    });
    output.object(
        || {
            format!(
                "{rows} rows scored {place} by version {version} of `{}`, in {}",
                arguments.model.name, arguments.to
            )
        },
        &object,
    )?;
    for (rows, fate) in
        [(scored.skipped, "were left out as invalid"), (scored.without_prediction, "have no prediction")]
    {
        if rows > 0 {
            output.say(format!("{rows} rows {fate}"));
        }
    }
    Ok(spark.stop().await?)
}
