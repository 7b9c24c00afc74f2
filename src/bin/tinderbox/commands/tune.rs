//! `tinderbox tune`: the best settings of a job.

use std::sync::Arc;

use clap::Args;
use serde_json::json;
use tinderbox::job::JobOptions;

use super::train::JobArguments;
use crate::{
    cli::Global,
    connection::session,
    failure::Result,
    output::{Align, Output, Rows},
};

/// Tries the settings of the job's section `tune` by cross-validation, on the rows that are not for the test.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    job: JobArguments,
}

pub(crate) async fn run(arguments: Arguments, global: &Global, output: &Output) -> Result {
    arguments.job.check(&[])?;
    let spark = session(global, output).await?;
    let file = arguments.job.read(&spark, &[], output).await?;
    let shown = output.shows_progress();
    let progress = move |text: &str| if shown { eprintln!("{text}") } else { tracing::info!("{text}") };
    let options = JobOptions { progress: Arc::new(progress), ..JobOptions::default() };
    let results = file.tune(&spark, &options).await?;
    let mut rows = Rows::new([
        ("params", Align::Left),
        ("mean", Align::Right),
        ("deviation", Align::Right),
        ("best", Align::Left),
    ]);
    for (place, candidate) in results.tried.iter().enumerate() {
        let mark = if place == results.best { "best" } else { "" };
        rows.push([json!(candidate.params.to_string()), json!(candidate.mean()), json!(candidate.std()), json!(mark)]);
    }
    output.rows(&rows, "no candidate")?;
    Ok(spark.stop().await?)
}
