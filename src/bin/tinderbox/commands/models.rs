//! `tinderbox models`: saved models, their versions and tags.

use std::{path::PathBuf, str::FromStr, time::SystemTime};

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tinderbox::{
    ml::PipelineModel,
    model::Task,
    session::Session,
    table::{Manifest, ModelTable, VersionEntry},
};

use crate::{
    cli::Global,
    connection::Connection,
    failure::{Failure, Result},
    output::{Align, Format, Output, Rows, duration, text},
};

/// The model table where neither the command line nor the profile names one.
pub(crate) const DEFAULT_TABLE: &str = "models";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    table: TableArgument,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct TableArgument {
    /// The model table; that of the profile, else `models`
    #[arg(long, value_name = "TABLE", global = true)]
    models: Option<String>,
}

impl TableArgument {
    /// Returns the model table's name.
    pub(crate) fn name(&self, connection: &Connection) -> String {
        let named = self.models.clone().or_else(|| connection.profile.models.clone());
        named.unwrap_or_else(|| DEFAULT_TABLE.to_owned())
    }
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List models, or the versions of one
    List {
        /// A model
        name: Option<String>,
    },
    /// Show a version: network, training, metrics, lineage
    Show {
        /// NAME, NAME@VERSION or NAME@TAG
        model: ModelName,
    },
    /// Show the differences of two versions
    Diff {
        /// NAME@VERSION or NAME@TAG
        first: ModelName,
        /// The other; of the same model unless it names another
        second: ModelName,
    },
    /// Give a version a tag; a version of the model that has it loses it
    Tag {
        /// NAME, NAME@VERSION or NAME@TAG
        model: ModelName,
        /// The tag, such as candidate
        tag: String,
    },
    /// Give a version the tag `production`
    Promote {
        /// NAME, NAME@VERSION or NAME@TAG
        model: ModelName,
        /// The tag
        #[arg(long, default_value = "production")]
        to: String,
        /// Only if this metric is better than that of the version that has the tag, such as held_out_accuracy
        #[arg(long, value_name = "METRIC")]
        if_better: Option<String>,
    },
    /// Write a version to files: weights as safetensors and a manifest, or ONNX
    Export {
        /// NAME, NAME@VERSION or NAME@TAG
        model: ModelName,
        /// A folder, or a file that ends with .onnx
        #[arg(long, value_name = "PATH")]
        to: PathBuf,
    },
    /// Save a model of such files as a new version
    Import {
        /// The folder
        folder: PathBuf,
        /// Name of the model
        name: String,
    },
    /// Remove a version and its tags
    Rm {
        /// NAME@VERSION or NAME@TAG
        model: ModelName,
    },
    /// Remove all but the newest versions of a model; those with a tag stay
    Prune {
        /// The model
        name: String,
        /// Number of versions that stay
        #[arg(long, default_value_t = 5)]
        keep: usize,
    },
}

/// A version of a model, as the command line names it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ModelName {
    pub(crate) name: String,
    wanted: Wanted,
}

#[derive(Debug, Clone, PartialEq)]
enum Wanted {
    Newest,
    Version(i64),
    Tag(String),
}

impl FromStr for ModelName {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (name, wanted) = match text.rsplit_once('@') {
            None => (text, Wanted::Newest),
            Some((name, version)) => match version.parse() {
                Ok(version) => (name, Wanted::Version(version)),
                Err(_) if version.is_empty() => return Err("a version or a tag must follow `@`".into()),
                Err(_) => (name, Wanted::Tag(version.to_owned())),
            },
        };
        if name.is_empty() {
            return Err("must be NAME, NAME@VERSION or NAME@TAG".into());
        }
        Ok(Self { name: name.to_owned(), wanted })
    }
}

impl ModelName {
    /// Returns the version's number.
    pub(crate) async fn version(&self, table: &ModelTable) -> Result<i64> {
        match &self.wanted {
            Wanted::Version(version) => Ok(*version),
            Wanted::Tag(tag) => Ok(table.tagged(&self.name, tag).await?),
            Wanted::Newest => {
                let newest = table.versions(&self.name).await?.into_iter().next();
                newest.map(|entry| entry.version).ok_or_else(|| absent(table, &self.name, "a whole version"))
            }
        }
    }

    async fn entry(&self, table: &ModelTable) -> Result<VersionEntry> {
        let version = self.version(table).await?;
        let mut versions = table.versions(&self.name).await?.into_iter();
        let found = versions.find(|entry| entry.version == version);
        found.ok_or_else(|| absent(table, &self.name, &format!("version {version}")))
    }
}

fn absent(table: &ModelTable, name: &str, what: &str) -> Failure {
    let reason = format!("model `{name}` does not have {what}; `tinderbox models list {name}` shows what it has");
    tinderbox::Error::ModelTable { table: table.table().to_owned(), reason }.into()
}

pub(crate) async fn run(arguments: Arguments, global: &Global, output: &Output) -> Result {
    let connection = Connection::find(global).await?;
    let spark = connection.open(output).await?;
    let table = ModelTable::new(&spark, arguments.table.name(&connection));
    match arguments.action {
        Action::List { name: None } => list(&table, output).await?,
        Action::List { name: Some(name) } => versions(&table, &name, output).await?,
        Action::Show { model } => show(&table, &model, output).await?,
        Action::Diff { first, second } => diff(&table, &first, &second, output).await?,
        Action::Tag { model, tag } => {
            let version = model.version(&table).await?;
            table.tag(&model.name, version, &tag).await?;
            output.say(format!("`{tag}` is version {version} of `{}`", model.name));
        }
        Action::Promote { model, to, if_better } => promote(&table, &model, &to, if_better.as_deref(), output).await?,
        Action::Export { model, to } => export(&spark, &table, &model, &to, output).await?,
        Action::Import { folder, name } => {
            let version = PipelineModel::read_files(&folder)?.save(&spark, table.table(), &name).await?;
            let object = json!({ "model": name, "version": version, "table": table.table() });
            output.object(|| format!("saved as version {version} of `{name}` in {}", table.table()), &object)?;
        }
        Action::Rm { model } => {
            if model.wanted == Wanted::Newest {
                return Err(Failure::option("model", model.name, "NAME@VERSION or NAME@TAG: one version is removed"));
            }
            let version = model.version(&table).await?;
            table.delete(&model.name, version).await?;
            output.say(format!("removed version {version} of `{}`", model.name));
        }
        Action::Prune { name, keep } => {
            let removed = table.prune(&name, keep).await?;
            let removed: Vec<String> = removed.iter().map(i64::to_string).collect();
            let object = json!({ "removed": removed });
            let none = removed.is_empty();
            output.object(
                || {
                    if none {
                        "no version was removed".into()
                    } else {
                        format!("removed versions {}", removed.join(", "))
                    }
                },
                &object,
            )?;
        }
    }
    Ok(spark.stop().await?)
}

async fn list(table: &ModelTable, output: &Output) -> Result {
    let mut rows = Rows::new([
        ("model", Align::Left),
        ("latest", Align::Right),
        ("versions", Align::Right),
        ("tags", Align::Left),
        ("saved", Align::Left),
    ]);
    for entry in table.models().await? {
        let tags = table.tags(&entry.name).await?;
        let tags: Vec<_> = tags.iter().map(|(tag, version)| format!("{tag}={version}")).collect();
        rows.push([
            json!(entry.name),
            json!(entry.latest),
            json!(entry.versions),
            json!(tags.join(" ")),
            saved(entry.created_at, output.format()),
        ]);
    }
    output.rows(&rows, &format!("{} has no model", table.table()))
}

async fn versions(table: &ModelTable, name: &str, output: &Output) -> Result {
    let tags = table.tags(name).await?;
    let mut rows = Rows::new([
        ("version", Align::Right),
        ("tags", Align::Left),
        ("metrics", Align::Left),
        ("rows", Align::Right),
        ("epochs", Align::Right),
        ("saved", Align::Left),
    ]);
    for VersionEntry { version, created_at, manifest } in table.versions(name).await? {
        let tags: Vec<_> = tags.iter().filter(|(_, tagged)| **tagged == version).map(|(tag, _)| tag.clone()).collect();
        let metrics = match output.format() {
            Format::Json => json!(manifest.metrics),
            _ => {
                let held_out = manifest.metrics.iter().filter(|(name, _)| name.starts_with("held_out"));
                json!(held_out.map(|(name, value)| format!("{name} {value:.4}")).collect::<Vec<_>>().join(", "))
            }
        };
        rows.push([
            json!(version),
            json!(tags.join(" ")),
            metrics,
            json!(manifest.lineage.rows),
            json!(manifest.history.epochs.len()),
            saved(created_at, output.format()),
        ]);
    }
    output.rows(&rows, "no version")
}

/// Returns when a version was saved: so long ago for people, seconds since 1970 for programs.
fn saved(at: SystemTime, format: Format) -> Value {
    match format {
        Format::Table => json!(format!("{} ago", duration(at.elapsed().unwrap_or_default()))),
        _ => json!(at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()),
    }
}

async fn show(table: &ModelTable, model: &ModelName, output: &Output) -> Result {
    let entry = model.entry(table).await?;
    let object = json!({ "version": entry.version, "manifest": entry.manifest });
    let tags = table.tags(&model.name).await?;
    output.object(
        || {
            let tags: Vec<&str> =
                tags.iter().filter(|(_, version)| **version == entry.version).map(|(tag, _)| tag.as_str()).collect();
            page(table.table(), &model.name, &entry, &tags)
        },
        &object,
    )
}

/// Returns a version's page for people.
fn page(table: &str, name: &str, entry: &VersionEntry, tags: &[&str]) -> String {
    let Manifest { network, columns, stages, training, history, metrics, lineage, library, .. } = &entry.manifest;
    let mut lines = vec![
        format!("model     {name}, version {} in {table}", entry.version),
        format!("saved     {} ago by {library}", duration(entry.created_at.elapsed().unwrap_or_default())),
    ];
    if !tags.is_empty() {
        lines.push(format!("tags      {}", tags.join(", ")));
    }
    lines.push(format!("rows      {} from {}", lineage.rows, lineage.source));
    let counts = history.rows;
    lines.push(format!(
        "trained   {} epochs on {} rows, {} held out, {} skipped",
        history.epochs.len(),
        counts.trained,
        counts.held_out,
        counts.skipped
    ));
    lines.push(format!("label     {}", columns.label));
    let task = entry.manifest.task.clone().unwrap_or_else(|| Task::from(entry.manifest.classes.clone()));
    lines.push(format!("outputs   {}", task.names().join(", ")));
    let kinds: Vec<String> = stages
        .iter()
        .map(|stage| text(stage.get("stage").unwrap_or(&Value::Null)))
        .filter(|kind| !kind.is_empty())
        .collect();
    lines.push(format!("stages    {}", kinds.join(" → ")));
    for (metric, value) in metrics {
        lines.push(format!("{metric:<28} {value:.6}"));
    }
    lines.push(format!("\n{}", network.summary()));
    let changed =
        serde_json::to_value(training).ok().zip(serde_json::to_value(tinderbox::train::TrainParams::default()).ok());
    if let Some((Value::Object(values), Value::Object(defaults))) = changed {
        let changed: Vec<_> = values
            .iter()
            .filter(|(key, value)| defaults.get(*key) != Some(value))
            .map(|(key, value)| format!("{key} = {value}"))
            .collect();
        if !changed.is_empty() {
            lines.push(format!("training settings that are no defaults:\n  {}", changed.join("\n  ")));
        }
    }
    lines.join("\n")
}

async fn diff(table: &ModelTable, first: &ModelName, second: &ModelName, output: &Output) -> Result {
    let (first, second) = (first.entry(table).await?, second.entry(table).await?);
    let mut rows = Rows::new([("setting", Align::Left), ("first", Align::Left), ("second", Align::Left)]);
    for (path, ours, theirs) in first.manifest.differences(&second.manifest) {
        rows.push([json!(path), ours, theirs]);
    }
    output.rows(&rows, "the two versions differ in their weights at most")
}

async fn promote(table: &ModelTable, model: &ModelName, tag: &str, metric: Option<&str>, output: &Output) -> Result {
    let entry = model.entry(table).await?;
    let tagged = table.tags(&model.name).await?.get(tag).copied();
    if tagged == Some(entry.version) {
        output.say(format!("version {} is `{tag}` already", entry.version));
        return Ok(());
    }
    if let (Some(metric), Some(old)) = (metric, tagged) {
        let old = ModelName { name: model.name.clone(), wanted: Wanted::Version(old) }.entry(table).await?;
        let value = |entry: &VersionEntry| {
            entry.manifest.metrics.get(metric).copied().ok_or_else(|| {
                let known: Vec<_> = entry.manifest.metrics.keys().map(String::as_str).collect();
                Failure::option(
                    "if-better",
                    metric,
                    format!("a metric of version {}: {}", entry.version, known.join(", ")),
                )
            })
        };
        let (new, before) = (value(&entry)?, value(&old)?);
        // Errors and losses are better when they are lower.
        let lower = ["loss", "rmse", "mae"].iter().any(|name| metric.ends_with(name));
        let better = if lower { new < before } else { new > before };
        if !better {
            return Err(Failure::Below(format!(
                "version {} stays `{tag}`: its {metric} is {before:.6}, that of version {} is {new:.6}",
                old.version, entry.version
            )));
        }
    }
    table.tag(&model.name, entry.version, tag).await?;
    let before = tagged.map(|version| format!(", before it version {version}")).unwrap_or_default();
    output.say(format!("`{tag}` is version {} of `{}`{before}", entry.version, model.name));
    Ok(())
}

async fn export(spark: &Session, table: &ModelTable, model: &ModelName, to: &PathBuf, output: &Output) -> Result {
    let version = model.version(table).await?;
    let pipeline = PipelineModel::load(spark, table.table(), &model.name, Some(version)).await?;
    if to.extension().is_some_and(|extension| extension == "onnx") {
        pipeline.network()?.write_onnx(to)?;
    } else {
        pipeline.write_files(to)?;
    }
    output.say(format!("version {version} of `{}` is in {}", model.name, to.display()));
    Ok(())
}
