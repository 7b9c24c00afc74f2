//! The subcommands: one module each, its arguments and its work; and the parts that several of them share.

pub(crate) mod completions;
pub(crate) mod describe;
pub(crate) mod doctor;
pub(crate) mod evaluate;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod init;
pub(crate) mod job;
pub(crate) mod loaded;
pub(crate) mod man;
pub(crate) mod models;
pub(crate) mod predict;
pub(crate) mod report;
pub(crate) mod spark;
pub(crate) mod sql;
pub(crate) mod tables;
pub(crate) mod train;
pub(crate) mod tune;
pub(crate) mod write_mode;

use crate::{
    cli::{Cli, Command},
    failure::Result,
    interrupt::Interrupt,
    output::Output,
};

/// Runs a command.
pub(crate) async fn run(cli: Cli, output: &Output, interrupt: &Interrupt) -> Result {
    let Cli { global, command } = cli;
    match command {
        Command::Spark(arguments) => spark::run(arguments, output).await,
        Command::Sql(arguments) => sql::run(arguments, &global, output, interrupt).await,
        Command::Tables(arguments) => tables::run(arguments, &global, output).await,
        Command::Describe(arguments) => describe::run(arguments, &global, output).await,
        Command::Export(arguments) => export::run(arguments, &global, output).await,
        Command::Import(arguments) => import::run(arguments, &global, output).await,
        Command::Init(arguments) => init::run(arguments, &global, output).await,
        Command::Train(arguments) => train::run(arguments, &global, output, interrupt).await,
        Command::Predict(arguments) => predict::run(arguments, &global, output).await,
        Command::Evaluate(arguments) => evaluate::run(arguments, &global, output).await,
        Command::Tune(arguments) => tune::run(arguments, &global, output).await,
        Command::Report(arguments) => report::run(arguments, &global, output).await,
        Command::Job(arguments) => job::run(arguments, output),
        Command::Models(arguments) => models::run(arguments, &global, output).await,
        Command::Doctor(arguments) => doctor::run(arguments, &global, output).await,
        Command::Completions(arguments) => completions::run(arguments),
        Command::Man(arguments) => man::run(arguments, output),
    }
}

/// Reads `KEY=VALUE` of an option.
pub(crate) fn key_value(text: &str) -> std::result::Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("must be KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}
