//! `tinderbox job`: the keys of jobs.

use clap::{Args, Subcommand};
use tinderbox::job::{json_schema, manual};

use crate::{failure::Result, output::Output};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print the JSON Schema of jobs, for editors
    Schema,
    /// Print the manual of all keys, as Markdown
    Manual,
}

pub(crate) fn run(arguments: Arguments, output: &Output) -> Result {
    match arguments.action {
        Action::Schema => output.line(format!("{:#}", json_schema())),
        Action::Manual => output.line(manual().trim_end()),
    }
}
