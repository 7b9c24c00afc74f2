//! `tinderbox init`: a job for a table.

use std::{io::Write, path::PathBuf};

use clap::Args;
use tinderbox::job::{Proposal, propose};

use crate::{
    cli::Global,
    connection::{session, table},
    failure::{Failure, Result},
    output::Output,
};

/// Looks at all rows of a table and writes a commented job that predicts a column from the others.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Table or view, as SQL writes it
    table: String,
    /// The column to predict
    #[arg(long, short, value_name = "COLUMN")]
    label: String,
    /// The file to write; standard output unless given
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    /// Replace the file if it exists
    #[arg(long, requires = "to")]
    force: bool,
}

pub(crate) async fn run(arguments: Arguments, global: &Global, output: &Output) -> Result {
    let spark = session(global, output).await?;
    let frame = table(&spark, &arguments.table).await?;
    let proposal = propose(&frame, &arguments.table, &arguments.label).await?;
    match &arguments.to {
        None => output.line(proposal.to_toml().trim_end())?,
        Some(path) => {
            let mut options = std::fs::OpenOptions::new();
            let options = if arguments.force { options.create(true).truncate(true) } else { options.create_new(true) };
            let written =
                options.write(true).open(path).and_then(|mut file| file.write_all(proposal.to_toml().as_bytes()));
            written.map_err(|error| match error.kind() {
                std::io::ErrorKind::AlreadyExists => {
                    Failure::option("to", path.display().to_string(), "a file that does not exist; --force replaces it")
                }
                _ => Failure::io(path, error),
            })?;
            summary(&proposal, output);
            output.say(format!("{} is written; `tinderbox train {}` runs it", path.display(), path.display()));
        }
    }
    Ok(spark.stop().await?)
}

/// Says what was found.
pub(crate) fn summary(proposal: &Proposal, output: &Output) {
    let used = proposal.job.columns.len();
    output.say(format!(
        "{} rows; {used} column{} to predict `{}` from",
        proposal.rows,
        if used == 1 { "" } else { "s" },
        proposal.job.data.label
    ));
    for (name, reason) in &proposal.left_out {
        output.say(format!("  left out: {name} ({reason})"));
    }
}
