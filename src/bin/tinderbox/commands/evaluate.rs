//! `tinderbox evaluate`: a saved model on rows whose labels are known.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use tinderbox::{
    estimator::NeuralModel,
    ml::PipelineModel,
    report::{EvaluationDetails, ModelEvaluation, Report},
    table::ModelTable,
};

use super::models::{ModelName, TableArgument};
use crate::{
    cli::Global,
    connection::{Connection, table},
    failure::{Failure, Result},
    output::{Align, Format, Output, Rows},
};

/// Scores a table with a saved model and compares with its label column.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The table, with the columns that the model was trained on
    table: String,
    /// NAME, NAME@VERSION or NAME@TAG
    #[arg(long, short)]
    model: ModelName,
    /// Condition in SQL for the rows
    #[arg(long)]
    filter: Option<String>,
    /// End with exit code 1 if a metric is lower, such as accuracy=0.95, or if an error is higher, such as rmse=3; may
    /// be given several times
    #[arg(long, value_name = "METRIC=VALUE", value_parser = threshold)]
    fail_under: Vec<(String, f64)>,
    /// Write a report to this file
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    #[command(flatten)]
    models: TableArgument,
}

fn threshold(text: &str) -> std::result::Result<(String, f64), String> {
    let (name, value) = text.split_once('=').ok_or("must be METRIC=VALUE")?;
    let value: f64 = value.parse().map_err(|_| format!("`{value}` is no number"))?;
    if !value.is_finite() {
        return Err(format!("`{value}` is no finite number"));
    }
    Ok((name.to_owned(), value))
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
    let evaluation = ModelEvaluation::of(&model, &frame).await?;
    print(&evaluation, output)?;
    if let Some(path) = &arguments.report {
        let network = model.stages().iter().find_map(|stage| stage.as_any().downcast_ref::<NeuralModel>());
        let network =
            network.ok_or_else(|| Failure::option("model", &arguments.model.name, "a model that predicts a label"))?;
        let report = Report::new(network).saved_as(models.table(), &arguments.model.name, version);
        report.evaluation(evaluation.clone()).write(path)?;
        output.say(format!("{} is written", path.display()));
    }
    spark.stop().await?;
    check(&evaluation, &arguments.fail_under)
}

/// Returns the metrics in a line.
pub(crate) fn metrics(evaluation: &ModelEvaluation) -> String {
    let all = evaluation.metrics.iter().map(|(name, value)| format!("{} {value:.4}", name.replace('_', " ")));
    all.collect::<Vec<_>>().join(", ")
}

fn print(evaluation: &ModelEvaluation, output: &Output) -> Result {
    if output.format() != Format::Table {
        let details = match &evaluation.details {
            EvaluationDetails::Classes { names, confusion, .. } => json!({ "classes": names, "confusion": confusion }),
            _ => json!(null),
        };
        let object = json!({
            "rows": evaluation.rows, "unusable": evaluation.unusable, "metrics": evaluation.metrics, "details": details,
        });
        return output.line(object.to_string());
    }
    let unusable = match evaluation.unusable {
        0 => String::new(),
        some => format!(", {some} without a label or a prediction"),
    };
    output.line(format!("{} rows{unusable}", evaluation.rows))?;
    let mut rows = Rows::new([("metric", Align::Left), ("value", Align::Right)]);
    for (name, value) in &evaluation.metrics {
        rows.push([json!(name), json!(format!("{value:.6}"))]);
    }
    output.rows(&rows, "no metric")?;
    if let EvaluationDetails::Classes { names, confusion, .. } = &evaluation.details {
        let mut rows = Rows::new([
            ("class", Align::Left),
            ("rows", Align::Right),
            ("precision", Align::Right),
            ("recall", Align::Right),
            ("most often taken for", Align::Left),
        ]);
        for (class, name) in names.iter().enumerate() {
            let support: u64 = confusion[class].iter().sum();
            let given: u64 = confusion.iter().map(|row| row[class]).sum();
            let share = |of: u64| {
                if of == 0 { json!(null) } else { json!(format!("{:.4}", confusion[class][class] as f64 / of as f64)) }
            };
            let wrong = confusion[class].iter().enumerate().filter(|(given, rows)| *given != class && **rows > 0);
            let worst =
                wrong.max_by_key(|(_, rows)| **rows).map(|(given, rows)| format!("{} ({rows} rows)", names[given]));
            rows.push([json!(name), json!(support), share(given), share(support), json!(worst)]);
        }
        output.rows(&rows, "no class")?;
    }
    Ok(())
}

/// Fails if a metric misses its threshold.
fn check(evaluation: &ModelEvaluation, thresholds: &[(String, f64)]) -> Result {
    for (name, threshold) in thresholds {
        let known: Vec<&str> = evaluation.metrics.keys().map(String::as_str).collect();
        let value = evaluation.metrics.get(name).ok_or_else(|| {
            Failure::option("fail-under", name, format!("a metric of this model: {}", known.join(", ")))
        })?;
        let is_error = ["rmse", "mae", "log_loss"].contains(&name.as_str());
        let missed = if is_error { value > threshold } else { value < threshold };
        // NaN misses every threshold.
        if missed || value.is_nan() {
            let place = if is_error { "above" } else { "below" };
            return Err(Failure::Below(format!("{name} is {value:.6}, {place} {threshold}")));
        }
    }
    Ok(())
}
