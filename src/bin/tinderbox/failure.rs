//! Failures of a command, and the codes that the process ends with.

use std::{io, path::PathBuf, process::ExitCode};

use tinderbox::Error;

use crate::output::Output;

pub(crate) type Result<T = ()> = std::result::Result<T, Failure>;

/// Failure of a command.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The library's error.
    Error(Box<Error>),
    /// The library's error, and what may help.
    Hinted(Box<Error>, String),
    /// A figure is below what was demanded.
    Below(String),
    /// The reader of standard output went away, as `head` does.
    ClosedPipe,
}

impl Failure {
    /// Exit code of a wrong command line.
    pub(crate) const USAGE: u8 = 64;

    /// Creates the failure of reading or writing a file.
    pub(crate) fn io(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Error::Io { path: path.into(), source }.into()
    }

    /// Creates the failure of an option's value.
    pub(crate) fn option(name: &str, value: impl Into<String>, legal: impl Into<String>) -> Self {
        Error::Param { name: name.into(), value: value.into(), legal: legal.into() }.into()
    }

    /// Prints the failure, and gives the exit code.
    pub(crate) fn report(self, output: &Output) -> ExitCode {
        match self {
            Failure::Error(error) => {
                output.error(&error);
                error.kind().exit_code().into()
            }
            Failure::Hinted(error, hint) => {
                // The hint takes the place of the server's advice.
                output.failed(error.to_string().trim().lines().next().unwrap_or_default());
                output.say(format!("\x1b[1;36mhelp:\x1b[0m {hint}"));
                error.kind().exit_code().into()
            }
            Failure::Below(reason) => {
                output.failed(&reason);
                1.into()
            }
            Failure::ClosedPipe => ExitCode::SUCCESS,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Error(Box::new(error))
    }
}

/// Failures of standard output.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::ClosedPipe,
            _ => Failure::io("standard output", error),
        }
    }
}
