//! `tinderbox man`: the manual pages, made from the same text as `--help`.

use std::{io::Write, path::PathBuf};

use clap::{Args, CommandFactory};

use crate::{
    cli::Cli,
    failure::{Failure, Result},
    output::Output,
};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A folder for the pages of all commands; without it, the first page goes to standard output
    #[arg(long, value_name = "FOLDER")]
    to: Option<PathBuf>,
}

pub(crate) fn run(arguments: Arguments, output: &Output) -> Result {
    let command = Cli::command();
    let Some(folder) = arguments.to else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page)?;
        return Ok(std::io::stdout().write_all(&page)?);
    };
    std::fs::create_dir_all(&folder).map_err(|error| Failure::io(&folder, error))?;
    clap_mangen::generate_to(command, &folder).map_err(|error| Failure::io(&folder, error))?;
    output.say(format!("manual pages are in {}", folder.display()));
    Ok(())
}
