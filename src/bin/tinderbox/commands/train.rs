//! `tinderbox train`: a job, or a table and a label.

use std::{path::PathBuf, sync::Arc};

use clap::Args;
use serde_json::json;
use tinderbox::{
    job::{JobFile, JobOptions, JobOutcome, JobPlan, propose},
    report::ModelEvaluation,
    session::Session,
    train::ProgressObserver,
};

use super::{evaluate, init, models::TableArgument};
use crate::{
    cli::Global,
    connection::{Connection, table},
    failure::{Failure, Result},
    interrupt::Interrupt,
    output::Output,
};

/// Trains a network, tests it, and saves it as a new version of a model.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    job: JobArguments,
    /// Show plan, stages, network and what was counted; train and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Continue an interrupted run; its checkpoints are kept in the folder `checkpoints` where the job names none
    #[arg(long)]
    resume: bool,
    /// Write the report of the run to this file
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    #[command(flatten)]
    models: TableArgument,
}

/// A job: a file, or a table and a label; and changes of it.
#[derive(Debug, Args)]
pub(crate) struct JobArguments {
    /// The job
    #[arg(required_unless_present = "table", conflicts_with_all = ["table", "label"])]
    job: Option<PathBuf>,
    /// A table, in place of a job
    #[arg(long, short, requires = "label")]
    table: Option<String>,
    /// The column to predict
    #[arg(long, short, requires = "table", value_name = "COLUMN")]
    label: Option<String>,
    /// Change a key of the job, such as training.epochs=20; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = super::key_value)]
    changes: Vec<(String, String)>,
}

impl JobArguments {
    /// Reads the job, or proposes one.
    pub(crate) async fn read(&self, spark: &Session, more: &[(String, String)], output: &Output) -> Result<JobFile> {
        let changes: Vec<_> = more.iter().chain(&self.changes).cloned().collect();
        match (&self.job, &self.table, &self.label) {
            (Some(path), ..) => Ok(JobFile::read(path, &changes)?),
            (None, Some(name), Some(label)) => {
                let proposal = propose(&table(spark, name).await?, name, label).await?;
                init::summary(&proposal, output);
                Ok(JobFile::parse(&proposal.to_toml(), "job of the table", &changes)?)
            }
            _ => Err(Failure::option("job", "none", "a file, or --table and --label")),
        }
    }

    /// Checks the file, before a server is reached.
    pub(crate) fn check(&self, more: &[(String, String)]) -> Result {
        if let Some(path) = &self.job {
            let changes: Vec<_> = more.iter().chain(&self.changes).cloned().collect();
            JobFile::read(path, &changes)?;
        }
        Ok(())
    }
}

pub(crate) async fn run(arguments: Arguments, global: &Global, output: &Output, interrupt: &Interrupt) -> Result {
    let mut more = Vec::new();
    if arguments.resume {
        more.push(("checkpoints.folder".to_owned(), "checkpoints".to_owned()));
    }
    if let Some(path) = &arguments.report {
        let path = std::path::absolute(path).map_err(|error| Failure::io(path, error))?;
        more.push(("output.report".to_owned(), path.display().to_string()));
    }
    arguments.job.check(&more)?;
    let connection = Connection::find(global).await?;
    let spark = connection.open(output).await?;
    let file = arguments.job.read(&spark, &more, output).await?;
    if arguments.dry_run {
        dry_run(&file.plan(&spark).await?, output)?;
        return Ok(spark.stop().await?);
    }
    let begun = std::time::Instant::now();
    let shown = output.shows_progress();
    let mut options = JobOptions { models: arguments.models.name(&connection), ..JobOptions::default() };
    options.stop = interrupt.for_training();
    options.observers.push(Arc::new(ProgressObserver::new()));
    options.progress = Arc::new(move |text| {
        if shown {
            eprintln!("{text}");
        } else {
            tracing::info!("{text}");
        }
    });
    let outcome = file.run(&spark, &options).await?;
    print(&outcome, begun.elapsed().as_secs_f64(), output)?;
    Ok(spark.stop().await?)
}

fn dry_run(plan: &JobPlan, output: &Output) -> Result {
    let JobPlan { rows, training, test, stages, network, warnings, .. } = plan;
    let object = json!({
        "rows": rows, "training": training, "test": test, "stages": stages, "network": network, "warnings": warnings,
    });
    output.object(
        || {
            let mut text = format!(
                "rows     {rows}: {training} to train on (with those of the validation set), {test} to test on\n"
            );
            text += &format!("stages   {}\n\n{network}", stages.join(" → "));
            for warning in warnings {
                text += &format!("\nwarning: {warning}");
            }
            text
        },
        &object,
    )
}

/// Prints what a run made.
fn print(outcome: &JobOutcome, seconds: f64, output: &Output) -> Result {
    let metrics = outcome.test.as_ref().map(|test| &test.metrics);
    let saved = outcome
        .saved
        .as_ref()
        .map(|(name, version, table)| json!({ "model": name, "version": version, "table": table }));
    let scored = outcome.scored.as_ref().map(|(table, rows)| json!({ "table": table, "rows": rows }));
    let object = json!({
        "metrics": metrics, "saved": saved, "scored": scored, "files": outcome.files, "seconds": seconds,
    });
    output.object(
        || {
            let mut lines = Vec::new();
            if let Ok(network) = outcome.model.network() {
                let rows = network.model().history().rows;
                let skipped =
                    if rows.skipped > 0 { format!(", {} left out as invalid", rows.skipped) } else { String::new() };
                lines.push(format!("trained  on {} rows, {} validated on{skipped}", rows.trained, rows.held_out));
            }
            if let Some(test) = &outcome.test {
                lines.push(tested(test));
            }
            if let Some((name, version, table)) = &outcome.saved {
                lines.push(format!("saved    version {version} of `{name}` in {table}"));
            }
            if let Some((table, rows)) = &outcome.scored {
                lines.push(format!("scored   {rows} rows in {table}"));
            }
            lines.extend(outcome.files.iter().map(|path| format!("wrote    {}", path.display())));
            lines.push(format!("took     {seconds:.1} s"));
            lines.join("\n")
        },
        &object,
    )
}

fn tested(test: &ModelEvaluation) -> String {
    let metrics = evaluate::metrics(test);
    let unusable =
        if test.unusable > 0 { format!(" ({} of them without a prediction)", test.unusable) } else { String::new() };
    format!("tested   on {} rows{unusable}: {metrics}", test.rows)
}
