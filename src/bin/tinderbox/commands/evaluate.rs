//! `tinderbox evaluate`: a saved model on rows whose labels are known.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use tinderbox::report::{EvaluationDetails, ModelEvaluation};

use super::{
    loaded::LoadedModel,
    models::{ModelName, TableArgument},
};
use crate::{
    cli::Global,
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
    let model = LoadedModel::open(&arguments.model, &arguments.models, global, output).await?;
    let rows = model.rows(&arguments.table, arguments.filter.as_deref()).await?;
    let evaluation = ModelEvaluation::of(&model.pipeline, &rows).await?;
    print(&evaluation, output)?;
    if let Some(path) = &arguments.report {
        model.report()?.evaluation(evaluation.clone()).write(path)?;
        output.say(format!("{} is written", path.display()));
    }
    model.spark.stop().await?;
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
    if let EvaluationDetails::Classes { names, confusion, classes, .. } = &evaluation.details {
        let mut rows = Rows::new([
            ("class", Align::Left),
            ("rows", Align::Right),
            ("precision", Align::Right),
            ("recall", Align::Right),
            ("most often taken for", Align::Left),
        ]);
        for class in classes {
            let (place, share) = (class.label as usize, |share: f64| json!(format!("{share:.4}")));
            let wrong = confusion[place].iter().enumerate().filter(|(given, rows)| *given != place && **rows > 0);
            let worst =
                wrong.max_by_key(|(_, rows)| **rows).map(|(given, rows)| format!("{} ({rows} rows)", names[given]));
            let (precision, recall) = (share(class.precision), share(class.recall));
            rows.push([json!(names[place]), json!(class.support as u64), precision, recall, json!(worst)]);
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
