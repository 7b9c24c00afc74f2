//! `tinderbox describe`: counts, ranges and distributions of a table's columns.

use clap::Args;
use serde_json::{Value, json};
use tinderbox::ml::{
    ColumnProfile, Histogram, TableProfile,
    attribute::{Attribute, AttributeGroup, AttributeKind},
};

use crate::{
    cli::Global,
    connection::{session, table},
    failure::Result,
    output::{Align, Format, Output, Rows},
};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Table or view, as SQL writes it: database.name, with `back-quotes` where needed
    table: String,
    /// Count in a sample of this share of the rows, such as 0.01
    #[arg(long, value_name = "SHARE")]
    sample: Option<f64>,
}

pub(crate) async fn run(arguments: Arguments, global: &Global, output: &Output) -> Result {
    let spark = session(global, output).await?;
    let mut table = table(&spark, &arguments.table).await?;
    if let Some(share) = arguments.sample {
        table = table.sample(false, share, 42)?;
    }
    let profile = TableProfile::of(&table).await?;
    if output.format() == Format::Table {
        let columns = profile.columns.len();
        output.line(format!("{}: {} rows, {columns} columns", arguments.table, profile.rows))?;
    }
    let mut rows = Rows::new([
        ("column", Align::Left),
        ("type", Align::Left),
        ("nulls", Align::Right),
        ("distinct", Align::Right),
        ("min", Align::Right),
        ("max", Align::Right),
        ("mean", Align::Right),
        ("distribution", Align::Left),
        ("attributes", Align::Left),
    ]);
    for column in &profile.columns {
        let distribution = match output.format() {
            Format::Table => json!(column.histogram.as_ref().map(bars)),
            _ => exact(column.histogram.as_ref()),
        };
        let short = |text: &Option<String>| match (output.format(), text) {
            (Format::Table, Some(text)) => json!(rounded(text)),
            (_, text) => json!(text),
        };
        rows.push([
            json!(column.name),
            json!(data_type(column)),
            json!(column.nulls + column.nans),
            json!(column.distinct),
            short(&column.min),
            short(&column.max),
            json!(column.mean.map(|mean| rounded(&mean.to_string()))),
            distribution,
            json!(attributes(column)),
        ]);
    }
    output.rows(&rows, "no column")?;
    Ok(spark.stop().await?)
}

fn data_type(column: &ColumnProfile) -> String {
    match tinderbox::dataframe::is_vector(&column.data_type) {
        true => "vector".into(),
        false => column.data_type.simple_string(),
    }
}

/// Returns a number with six digits that count; another text unchanged.
fn rounded(text: &str) -> String {
    match text.parse::<f64>() {
        Ok(number) if text.len() > 8 && text.contains('.') => {
            let short = format!("{number:.5e}").parse::<f64>().unwrap_or(number);
            short.to_string()
        }
        _ => text.to_owned(),
    }
}

/// Returns a distribution as a line of bars, or as the most common values.
fn bars(histogram: &Histogram) -> String {
    const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    const SHOWN: usize = 3;
    match histogram {
        Histogram::Numbers { counts, .. } => {
            let most = counts.iter().copied().max().unwrap_or(0).max(1);
            // Not one row is left out of the picture: the lowest bar stands for at least one.
            let bar = |count: &u64| BARS[(count * 8).div_ceil(most) as usize];
            counts.iter().map(bar).collect()
        }
        Histogram::Values(values) => {
            let all: u64 = values.iter().map(|(_, rows)| rows).sum();
            let share = |rows: u64| 100.0 * rows as f64 / all.max(1) as f64;
            let shown = values.iter().take(SHOWN).map(|(value, rows)| format!("{value} {:.0} %", share(*rows)));
            let mut text = shown.collect::<Vec<_>>().join(", ");
            if values.len() > SHOWN {
                text += &format!(", {} more", values.len() - SHOWN);
            }
            text
        }
        _ => String::new(),
    }
}

fn exact(histogram: Option<&Histogram>) -> Value {
    match histogram {
        Some(Histogram::Numbers { min, max, counts }) => json!({ "min": min, "max": max, "counts": counts }),
        Some(Histogram::Values(values)) => json!({ "values": values }),
        _ => Value::Null,
    }
}

/// Returns the column's ML attributes in a few words; `None` without any.
fn attributes(column: &ColumnProfile) -> Option<String> {
    const SHOWN: usize = 6;
    let list = |names: Vec<String>| match names.len() {
        0..=SHOWN => names.join(", "),
        all => format!("{}, … {} in all", names[..SHOWN].join(", "), all),
    };
    let one = |attribute: &Attribute| match &attribute.kind {
        AttributeKind::Nominal { values: Some(values), .. } => format!("classes {}", list(values.clone())),
        AttributeKind::Nominal { num_values: Some(count), .. } => format!("{count} classes"),
        AttributeKind::Nominal { .. } => "class".into(),
        AttributeKind::Binary { values: Some(values) } => format!("{} or {}", values[0], values[1]),
        AttributeKind::Binary { values: None } => "0 or 1".into(),
        AttributeKind::Numeric { .. } => "number".into(),
    };
    match (&column.attribute, &column.attributes) {
        (_, Some(AttributeGroup::Size(size))) => Some(format!("{size} numbers")),
        (_, Some(AttributeGroup::Attributes(attributes))) => {
            let names = attributes.iter().enumerate();
            let names = names.map(|(place, attribute)| attribute.name.clone().unwrap_or_else(|| place.to_string()));
            Some(list(names.collect()))
        }
        (Some(attribute), None) => Some(one(attribute)),
        (None, None) => None,
    }
}
