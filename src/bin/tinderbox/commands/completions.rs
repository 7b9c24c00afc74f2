//! `tinderbox completions`: what a shell completes.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::{cli::Cli, failure::Result};

/// To use them in bash: source <(tinderbox completions bash)
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(arguments: Arguments) -> Result {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "tinderbox", &mut script);
    Ok(std::io::Write::write_all(&mut std::io::stdout(), &script)?)
}
