//! The command line's grammar. Each subcommand's arguments stand in its own module.

use std::sync::LazyLock;

use clap::{Args, Parser, Subcommand};

use crate::{commands, output::Format};

/// Train neural networks on tables in Apache Spark, over Spark Connect.
///
/// The cluster prepares the data, this machine trains, and nothing is installed on the cluster.
#[derive(Debug, Parser)]
#[command(
    name = "tinderbox",
    version = VERSION.as_str(),
    after_help = AFTER_HELP,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "\
Without --remote, SPARK_REMOTE or a profile, commands use the local Spark that `tinderbox spark start` runs, and else
start one for themselves.

Exit codes: 0 success, 1 an evaluation below its threshold, 64 wrong usage, 65 wrong data, 69 no connection,
70 training diverged or an internal failure, 71 something is missing on the machine or the server, 74 a file or a model
table, 76 Spark failed, 77 access refused, 130 Ctrl-C.";

/// The version, the commit it was built from, and the versions of Spark that it is tested on.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let commit = option_env!("TINDERBOX_COMMIT").map(|commit| format!(" ({commit})")).unwrap_or_default();
    format!("{}{commit}, for Spark 4.0 to 4.3", env!("CARGO_PKG_VERSION"))
});

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// The server: sc://host:port/;token=…
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "SPARK_REMOTE",
        hide_env_values = true,
        help_heading = "Connection"
    )]
    pub(crate) remote: Option<String>,
    /// A profile of ~/.config/tinderbox/config.toml
    #[arg(long, global = true, value_name = "NAME", env = "TINDERBOX_PROFILE", help_heading = "Connection")]
    pub(crate) profile: Option<String>,
    /// Form of results
    #[arg(long, global = true, value_enum, default_value_t, help_heading = "Output")]
    pub(crate) format: Format,
    /// Show errors only
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Output")]
    pub(crate) quiet: bool,
    /// Show the log; twice for details, three times for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Output")]
    pub(crate) verbose: u8,
    /// Show no colours, as NO_COLOR does
    #[arg(long, global = true, help_heading = "Output")]
    pub(crate) no_color: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start, list and stop local Sparks
    Spark(commands::spark::Arguments),
    /// Run a query, a file of queries, or a prompt
    Sql(commands::sql::Arguments),
    /// List tables and views
    Tables(commands::tables::Arguments),
    /// Show a table's columns: types, counts, ranges, bars
    Describe(commands::describe::Arguments),
    /// Copy a table or a query's rows to a file
    Export(commands::export::Arguments),
    /// Make a table of files
    Import(commands::import::Arguments),
    /// Write a job for a table
    Init(commands::init::Arguments),
    /// Train a network by a job, or on a table
    Train(commands::train::Arguments),
    /// Score a table with a saved model
    Predict(commands::predict::Arguments),
    /// Measure a saved model on labelled rows
    Evaluate(commands::evaluate::Arguments),
    /// Find the best settings of a job
    Tune(commands::tune::Arguments),
    /// Write a web page about a saved model
    Report(commands::report::Arguments),
    /// Print the keys of jobs
    Job(commands::job::Arguments),
    /// List, compare, tag, copy and remove saved models
    Models(commands::models::Arguments),
    /// Check connection, server and machine step by step
    Doctor(commands::doctor::Arguments),
    /// Print the completions of a shell
    Completions(commands::completions::Arguments),
    /// Print the manual page, or write one per command into a folder
    Man(commands::man::Arguments),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn grammar_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
