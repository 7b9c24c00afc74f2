//! The command line: from a table to a model without writing Rust. `tinderbox --help` lists its commands.
//!
//! Results go to standard output, everything else to standard error. The exit code is 0, or that of
//! [`ErrorKind::exit_code`](tinderbox::ErrorKind::exit_code); 1 for an evaluation below its threshold.

mod cli;
mod commands;
mod connection;
mod failure;
mod interrupt;
mod output;
mod profile;

use std::process::ExitCode;

use clap::Parser;

use self::{cli::Cli, failure::Failure, interrupt::Interrupt, output::Output};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { Failure::USAGE } else { 0 };
            // A pipe that is closed is no failure of the command.
            _ = error.print();
            return code.into();
        }
    };
    let output = Output::new(&cli.global);
    output.log();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::io("the asynchronous runtime", error).report(&output),
    };
    let interrupt = Interrupt::default();
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = commands::run(cli, &output, &interrupt) => outcome,
            () = interrupt.cancelled() => Err(tinderbox::Error::Cancelled { what: "by Ctrl-C".into() }.into()),
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(&output),
    }
}
