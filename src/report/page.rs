//! The page, section by section.

use std::fmt::Write;

use serde_json::Value;

use super::{
    EvaluationDetails, ModelEvaluation, Report,
    chart::{Chart, ChartLine, bars, number},
    html::{escaped, table},
};
use crate::{
    dataframe::is_vector,
    ml::{Histogram, TableProfile, evaluation::ClassMetrics},
    model::Task,
    nn::grouped,
};

/// Classes up to which the confusion matrix is shown as a table.
const MOST_CLASSES: usize = 30;

/// Columns whose counts are shown.
const MOST_COLUMNS: usize = 200;

/// Names that are listed one by one.
const MOST_NAMES: usize = 40;

const STYLE: &str = include_str!("style.css");

pub(super) fn page(report: &Report) -> String {
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<link rel=\"icon\" href=\"data:,\">\n\
         <title>{0}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{0}</h1>\n",
        escaped(&report.title)
    );
    html += &summary(report);
    html += &results(report);
    html += &course(report);
    html += &data(report);
    html += &section("Network", &format!("<pre tabindex=\"0\">{}</pre>", escaped(report.network.summary().trim_end())));
    html += &settings(report);
    html += &loading(report);
    _ = write!(html, "</main>\n<footer>Made by tinderbox {}</footer>\n</body>\n</html>\n", env!("CARGO_PKG_VERSION"));
    html
}

fn section(title: &str, body: &str) -> String {
    if body.is_empty() {
        String::new()
    } else {
        format!("<section>\n<h2>{}</h2>\n{body}\n</section>\n", escaped(title))
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// Returns a metric's value: a share as percent, another one as a number.
fn metric(name: &str, value: f64) -> String {
    match name {
        "accuracy" | "label_accuracy" | "precision" | "recall" | "f1" => percent(value),
        _ => number(value),
    }
}

/// The figures at the top.
fn summary(report: &Report) -> String {
    let mut tiles: Vec<(String, String)> = Vec::new();
    let shown = ["accuracy", "f1", "auc_roc", "rmse", "r2", "label_accuracy"];
    match &report.evaluation {
        Some(evaluation) => {
            for name in shown {
                if let Some(value) = evaluation.metrics.get(name) {
                    tiles.push((format!("{} on test rows", name.replace('_', " ")), metric(name, *value)));
                }
            }
            tiles.push(("test rows".into(), grouped(evaluation.rows)));
        }
        None => {
            if let Some(held_out) = report.history.last().and_then(|epoch| epoch.held_out) {
                let name = format!("{} on the validation set", report.history.metric.name().replace('_', " "));
                tiles.push((name, report.history.metric.show(held_out.metric)));
            }
        }
    }
    tiles.push(("training rows".into(), grouped(report.history.rows.trained)));
    tiles.push(("epochs".into(), report.history.epochs.len().to_string()));
    tiles.push(("weights".into(), grouped(report.network.trained() as u64)));
    let tiles = tiles.iter().map(|(name, value)| {
        format!("<div class=\"tile\"><dt>{}</dt><dd>{}</dd></div>", escaped(name), escaped(value))
    });
    format!("<dl class=\"tiles\">{}</dl>\n", tiles.collect::<String>())
}

/// The model on rows that it was not trained on.
fn results(report: &Report) -> String {
    let Some(evaluation) = &report.evaluation else { return String::new() };
    let mut html = String::new();
    if evaluation.unusable > 0 {
        _ = write!(
            html,
            "<p>{} of {} rows have no label or no prediction.</p>",
            grouped(evaluation.unusable),
            grouped(evaluation.rows)
        );
    }
    let all =
        evaluation.metrics.iter().map(|(name, value)| vec![escaped(&name.replace('_', " ")), metric(name, *value)]);
    html += &table("Metrics", &["metric".into(), "value".into()], &all.collect::<Vec<_>>());
    html += &match &evaluation.details {
        EvaluationDetails::Classes { names, confusion, classes: metrics, .. } => {
            classes(names, confusion, metrics) + &curves(evaluation)
        }
        EvaluationDetails::Numbers { points } => {
            let chart = Chart {
                title: "Predicted values by true values",
                x: "true value",
                y: "prediction",
                lines: Vec::new(),
                dots: points.clone(),
                diagonal: true,
                range: None,
            };
            chart.svg()
        }
        EvaluationDetails::Labels { labels } => {
            let head = ["label", "rows with it", "predicted", "both"].map(String::from);
            let rows = labels
                .iter()
                .map(|(name, has, given, both)| vec![escaped(name), grouped(*has), grouped(*given), grouped(*both)]);
            table("Labels", &head, &rows.collect::<Vec<_>>())
        }
    };
    section("Results on test rows", &html) + &section("Rows worth a look", &examples(evaluation))
}

/// Confusion matrix, and metrics of each class.
fn classes(names: &[String], confusion: &[Vec<u64>], metrics: &[ClassMetrics]) -> String {
    let mut html = String::new();
    if names.len() <= MOST_CLASSES {
        let head: Vec<String> =
            ["true \\ predicted".to_owned()].into_iter().chain(names.iter().map(|name| escaped(name))).collect();
        let rows = confusion.iter().enumerate().map(|(class, row)| {
            let support: u64 = row.iter().sum();
            let cells = row.iter().enumerate().map(|(given, rows)| {
                let share = *rows as f64 / support.max(1) as f64;
                let kind = if class == given { "right" } else { "wrong" };
                format!("<span class=\"heat {kind}\" style=\"--share:{share:.3}\">{}</span>", grouped(*rows))
            });
            [escaped(&names[class])].into_iter().chain(cells).collect()
        });
        html += &table("Confusion matrix, in rows", &head, &rows.collect::<Vec<_>>());
    }
    let head = ["class", "rows", "precision", "recall", "f1"].map(String::from);
    let rows = metrics.iter().map(|class| {
        let name = names.get(class.label as usize).map(|name| escaped(name)).unwrap_or_default();
        vec![name, grouped(class.support as u64), percent(class.precision), percent(class.recall), percent(class.f1())]
    });
    html + &table("Classes", &head, &rows.collect::<Vec<_>>())
}

/// Receiver operating characteristic, precision and recall, calibration.
fn curves(evaluation: &ModelEvaluation) -> String {
    let EvaluationDetails::Classes { curves, calibration, .. } = &evaluation.details else { return String::new() };
    // The two curves of two classes mirror each other.
    let shown = if curves.len() == 2 { &curves[1..] } else { curves.as_slice() };
    let unit = Some(((0.0, 1.0), (0.0, 1.0)));
    let named = |title: &str, svg: String| if svg.is_empty() { svg } else { format!("<h3>{title}</h3>{svg}") };
    let roc = shown
        .iter()
        .map(|curve| ChartLine { name: format!("{} ({:.3})", curve.name, curve.auc), points: curve.roc.clone() });
    let roc = Chart {
        title: "Receiver operating characteristic of each class",
        x: "false-positive rate",
        y: "true-positive rate",
        lines: roc.collect(),
        dots: Vec::new(),
        diagonal: true,
        range: unit,
    };
    let precision = shown.iter().map(|curve| ChartLine {
        name: format!("{} ({:.3})", curve.name, curve.average_precision),
        points: curve.precision_recall.clone(),
    });
    let precision = Chart {
        title: "Precision and recall of each class",
        x: "recall",
        y: "precision",
        lines: precision.collect(),
        dots: Vec::new(),
        diagonal: false,
        range: unit,
    };
    let bins = calibration.iter().filter(|bin| bin.rows > 0).map(|bin| (bin.confidence, bin.accuracy));
    let calibration = Chart {
        title: "Share of right predictions by their probability",
        x: "probability of the prediction",
        y: "share that is right",
        lines: vec![ChartLine { name: "rows".into(), points: bins.collect() }],
        dots: Vec::new(),
        diagonal: true,
        range: unit,
    };
    format!(
        "<div class=\"charts\"><div>{}</div><div>{}</div><div>{}</div></div>",
        named("ROC (area)", roc.svg()),
        named("Precision and recall (average precision)", precision.svg()),
        named("Calibration", calibration.svg())
    )
}

/// Rows that the model is most wrong about, or least sure of.
fn examples(evaluation: &ModelEvaluation) -> String {
    const COLUMNS: usize = 8;
    let Some(first) = evaluation.examples.first() else { return String::new() };
    let score = match evaluation.details {
        EvaluationDetails::Numbers { .. } => "error",
        _ => "probability",
    };
    let names = first.values.iter().take(COLUMNS).map(|(name, _)| escaped(name));
    let head: Vec<String> = ["true", "predicted", score].map(String::from).into_iter().chain(names).collect();
    let rows = evaluation.examples.iter().map(|example| {
        let values = example.values.iter().take(COLUMNS).map(|(_, value)| escaped(value));
        let first = [escaped(&example.truth), escaped(&example.prediction), number(example.score)];
        first.into_iter().chain(values).collect::<Vec<_>>()
    });
    table("Most mistaken first", &head, &rows.collect::<Vec<_>>())
}

/// The course of training, and where its time went.
fn course(report: &Report) -> String {
    let history = &report.history;
    if history.epochs.is_empty() {
        return String::new();
    }
    let lines = |training: fn(&crate::model::Evaluation) -> f64| {
        let of_training = history.epochs.iter().map(|epoch| ((epoch.epoch + 1) as f64, training(&epoch.training)));
        let held_out = history
            .epochs
            .iter()
            .filter_map(|epoch| Some(((epoch.epoch + 1) as f64, training(epoch.held_out.as_ref()?))));
        let mut lines = vec![ChartLine { name: "training".into(), points: of_training.collect() }];
        let held_out: Vec<_> = held_out.collect();
        if !held_out.is_empty() {
            lines.push(ChartLine { name: "validation".into(), points: held_out });
        }
        lines
    };
    let chart = |title: &str, y: &str, lines| {
        let chart = Chart { title, x: "epoch", y, lines, dots: Vec::new(), diagonal: false, range: None };
        format!("<div><h3>{}</h3>{}</div>", escaped(title), chart.svg())
    };
    let name = history.metric.name().replace('_', " ");
    let title = format!("{}{} by epoch", name[..1].to_uppercase(), &name[1..]);
    let mut html = format!(
        "<div class=\"charts\">{}{}</div>",
        chart("Loss by epoch", "loss", lines(|evaluation| evaluation.loss)),
        chart(&title, &name, lines(|evaluation| evaluation.metric))
    );
    let seconds: f64 = history.epochs.iter().map(|epoch| epoch.seconds).sum();
    let waiting: f64 = history.epochs.iter().map(|epoch| epoch.waiting).sum();
    let rows = history.rows.trained as f64 * history.epochs.len() as f64;
    _ = write!(
        html,
        "<p>{:.1} s of training at {} rows a second; {} of the time waited for data.</p>",
        seconds,
        grouped((rows / seconds.max(1e-9)) as u64),
        percent(waiting / seconds.max(1e-9))
    );
    section("Training", &html)
}

/// Where the rows came from, and what the model reads.
fn data(report: &Report) -> String {
    let counts = report.history.rows;
    let list = |names: &[String]| {
        let mut shown =
            names.iter().take(MOST_NAMES).map(|name| format!("<code>{}</code>", escaped(name))).collect::<Vec<_>>();
        if names.len() > MOST_NAMES {
            shown.push(format!("and {} more", names.len() - MOST_NAMES));
        }
        shown.join(", ")
    };
    let kind = match report.task {
        Task::Classes { .. } => "classes",
        Task::Labels { .. } => "labels",
        _ => "numbers",
    };
    let mut rows = vec![
        vec!["source".into(), escaped(&report.lineage.source)],
        vec!["rows read".into(), grouped(report.lineage.rows)],
        vec![
            "used".into(),
            format!(
                "{} trained, {} held out, {} skipped",
                grouped(counts.trained),
                grouped(counts.held_out),
                grouped(counts.skipped)
            ),
        ],
        vec!["features".into(), list(&report.features)],
        vec!["label".into(), format!("<code>{}</code>", escaped(&report.label))],
        vec![kind.into(), list(report.task.names())],
    ];
    if let Some(hash) = &report.lineage.plan_hash {
        rows.push(vec!["plan".into(), format!("<code>{}</code>", escaped(hash))]);
    }
    let columns = report.profile.as_ref().map(|profile| columns(profile, report)).unwrap_or_default();
    section("Data", &(table("Lineage", &["".into(), "".into()], &rows) + &columns))
}

/// Counts of the columns that were used.
fn columns(profile: &TableProfile, report: &Report) -> String {
    let used =
        profile.columns.iter().filter(|column| report.features.contains(&column.name) || column.name == report.label);
    let short = |text: &Option<String>| {
        let text = text.as_deref().unwrap_or("");
        escaped(&text.parse::<f64>().map_or_else(|_| text.to_owned(), number))
    };
    let rows = used.take(MOST_COLUMNS).map(|column| {
        let kind = if is_vector(&column.data_type) { "vector".to_owned() } else { column.data_type.simple_string() };
        let distribution = match &column.histogram {
            Some(Histogram::Numbers { counts, .. }) => bars(counts, &column.name),
            Some(Histogram::Values(values)) => {
                let shown = values.iter().take(3).map(|(value, rows)| {
                    format!("{} {}", escaped(value), percent(*rows as f64 / profile.rows.max(1) as f64))
                });
                shown.collect::<Vec<_>>().join(", ")
            }
            None => String::new(),
        };
        vec![
            format!("<code>{}</code>", escaped(&column.name)),
            escaped(&kind),
            grouped(column.nulls + column.nans),
            column.distinct.map(grouped).unwrap_or_default(),
            short(&column.min),
            short(&column.max),
            column.mean.map(number).unwrap_or_default(),
            distribution,
        ]
    });
    let head = ["column", "type", "missing", "distinct", "min", "max", "mean", "distribution"].map(String::from);
    table(&format!("Columns, of {} rows", grouped(profile.rows)), &head, &rows.collect::<Vec<_>>())
}

/// All training settings; those that are no defaults stand out.
fn settings(report: &Report) -> String {
    let value = |params: &crate::train::TrainParams| serde_json::to_value(params).unwrap_or_default();
    let (now, usual) = (value(&report.training), value(&crate::train::TrainParams::default()));
    let (Value::Object(now), Value::Object(usual)) = (now, usual) else { return String::new() };
    let rows = now.iter().map(|(name, value)| {
        let text = escaped(&value.to_string());
        let changed = usual.get(name) != Some(value);
        let text = if changed { format!("<strong>{text}</strong>") } else { text };
        vec![escaped(name), text]
    });
    section(
        "Settings",
        &table("Those in bold are not the defaults", &["setting".into(), "value".into()], &rows.collect::<Vec<_>>()),
    )
}

/// Commands that use the model again.
fn loading(report: &Report) -> String {
    let Some((table, name, version)) = &report.saved else { return String::new() };
    let shell = format!(
        "tinderbox predict --models {} --model {} TABLE --to SCORED",
        shell(table),
        shell(&format!("{name}@{version}"))
    );
    let rust = format!("let model = PipelineModel::load(&spark, {table:?}, {name:?}, Some({version})).await?;");
    let code = |text: &str| format!("<pre tabindex=\"0\">{}</pre>", escaped(text));
    section("Use it", &(code(&shell) + &code(&rust)))
}

/// Returns a word as a shell reads it.
fn shell(text: &str) -> String {
    let plain = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-@/".contains(c));
    if plain { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}
