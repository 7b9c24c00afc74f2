//! The crate's one public error. Each variant says what the caller can do about it.

mod data;
mod job;
mod kind;
mod server;
#[cfg(test)]
mod tests;

use std::{fmt, path::PathBuf, time::Duration};

pub use data::DataProblem;
pub use job::{JobProblem, JobProblems};
pub use kind::ErrorKind;
pub use server::{QueryContext, ServerError};

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An underlying cause, kept for `source()`.
pub(crate) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Everything that can go wrong, by what the caller can do about it.
///
/// `Debug` prints the message and its causes, one line each: a program whose `main` returns this error ends with words
/// for its user.
#[non_exhaustive]
#[derive(thiserror::Error)]
pub enum Error {
    /// The connection string cannot be read. Secrets in it are masked.
    #[error("bad connection string `{url}`: {reason}")]
    BadAddress {
        /// The string, secrets masked.
        url: String,
        /// The problem and the right form.
        reason: String,
    },

    /// No server answered at the address within the time allowed.
    #[error("cannot reach Spark Connect at {address} (gave up after {:.1} s): {reason}", waited.as_secs_f64())]
    Unreachable {
        /// `host:port`.
        address: String,
        /// Time spent trying.
        waited: Duration,
        /// The last failure seen.
        reason: String,
    },

    /// The server answered, and refused the caller's identity.
    #[error(
        "{address} refused the credentials: {reason}; check `token=` (or SPARK_CONNECT_AUTHENTICATE_TOKEN) and `user_id=` of the connection string"
    )]
    Unauthenticated {
        /// `host:port`.
        address: String,
        /// The server's words.
        reason: String,
    },

    /// Spark refused or failed the request.
    #[error(transparent)]
    Server(#[from] Box<ServerError>),

    /// The server lacks the capability.
    #[error("{what} needs Spark {needs}; the server runs {version}")]
    Unsupported {
        /// The capability.
        what: String,
        /// The versions that have it, such as "4.1 or later".
        needs: String,
        /// The server's version.
        version: String,
    },

    /// The server broke the protocol, or a stream could not be completed: rows would have been lost.
    #[error("operation {operation} cannot be completed: {reason}")]
    Incomplete {
        /// The server's operation id.
        operation: String,
        /// The missing part.
        reason: String,
    },

    /// The server is connected and says nothing of an operation, see [`SilencePolicy`](crate::connect::SilencePolicy).
    #[error(
        "no news of operation {operation} for {} s: {state}; look at the server's log for what ended its work, such as an OutOfMemoryError, and start it again",
        waited.as_secs()
    )]
    Silent {
        /// The server's operation id.
        operation: String,
        /// Time since the last news.
        waited: Duration,
        /// State of the operation, as the server reports it.
        state: String,
    },

    /// Rows are missing, or there are too many.
    #[error(
        "{step}: expected {expected} rows, found {found}; the data changed, or the plan gives other rows each time: stage the rows first (`Strategy::Staged`)"
    )]
    RowsLost {
        /// The step that counted, such as "reading group 3 of 16".
        step: String,
        /// Number of rows counted before.
        expected: u64,
        /// Number of rows that arrived.
        found: u64,
    },

    /// The cluster lost rows that it kept for a source while they were read.
    #[error(
        "the cluster lost the rows that it kept ({source}); open the source again, or stage its rows (`Strategy::Staged`), which survive a restart"
    )]
    KeptRowsLost {
        /// The failure of the server.
        source: Box<Error>,
    },

    /// A column is missing or has a type that does not fit.
    #[error("column `{column}`: expected {expected}, found {found}")]
    Schema {
        /// The column.
        column: String,
        /// Type or form that would fit.
        expected: String,
        /// Type or form found.
        found: String,
    },

    /// A parameter's value is not legal.
    #[error("parameter `{name}` = {value}: must be {legal}")]
    Param {
        /// The parameter's name.
        name: String,
        /// The value given.
        value: String,
        /// The legal range or form.
        legal: String,
    },

    /// A job's file cannot be used.
    #[error(transparent)]
    Job(Box<JobProblems>),

    /// The data cannot be used.
    #[error("{}{problem}", location(column.as_deref(), *row))]
    Data {
        /// The column, or the columns joined by "`, `"; `None` when the problem is not one column's.
        column: Option<String>,
        /// The row, from 0 in the order of arrival; `None` when the problem is not one row's.
        row: Option<u64>,
        /// The problem, with counts and examples.
        problem: DataProblem,
    },

    /// A network description does not fit itself or its data.
    #[error("layer {layer}: got {got}; {fits}")]
    Network {
        /// The layer, by position and kind, such as "2 (linear)".
        layer: String,
        /// Shape that reached it.
        got: String,
        /// Shape that would fit.
        fits: String,
    },

    /// A loss is not a finite number, so that training cannot continue.
    #[error(
        "training diverged at epoch {epoch}, step {step}: {quantity} is {value} over {rows} rows at learning rate {learning_rate:?}; lower the learning rate, clip the gradients or scale the inputs"
    )]
    Diverged {
        /// Epoch, from 0.
        epoch: usize,
        /// Step over all epochs, from 0.
        step: usize,
        /// The quantity, such as "the loss".
        quantity: String,
        /// Its value.
        value: f64,
        /// Number of rows of the minibatch.
        rows: u64,
        /// Learning rate of the step.
        learning_rate: f64,
    },

    /// Training lost the server that its rows come from, after it wrote a checkpoint.
    #[error("{source}; run it again to continue from the checkpoint of step {step} in {checkpoints}")]
    Interrupted {
        /// The step after which the checkpoint was written.
        step: usize,
        /// Where the checkpoints are.
        checkpoints: String,
        /// The failure of the server, or of the network.
        source: Box<Error>,
    },

    /// A model table does not hold what it should.
    #[error("model table `{table}`: {reason}")]
    ModelTable {
        /// The table.
        table: String,
        /// The missing or corrupt part.
        reason: String,
    },

    /// A local Spark could not be found, installed or started.
    #[error("local Spark: {reason}{}", log_tail(log))]
    LocalSpark {
        /// The failure and the remedy.
        reason: String,
        /// The last lines of its log, if it wrote any.
        log: String,
    },

    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },

    /// Arrow data could not be decoded, encoded or put together.
    #[error("arrow: {context}: {source}")]
    Arrow {
        /// The operation that failed.
        context: String,
        /// Arrow's own error.
        source: Cause,
    },

    /// A tensor operation failed.
    #[error("tensor: {context}: {source}")]
    Tensor {
        /// The operation that failed.
        context: String,
        /// candle's own error.
        source: Cause,
    },

    /// The work was cancelled by the caller.
    #[error("cancelled: {what}")]
    Cancelled {
        /// The cancelled work.
        what: String,
    },
}

/// Returns the place of a problem, before its text.
fn location(column: Option<&str>, row: Option<u64>) -> String {
    match (column, row) {
        (Some(column), Some(row)) => format!("column `{column}`, row {row}: "),
        (Some(column), None) => format!("column `{column}`: "),
        (None, Some(row)) => format!("row {row}: "),
        (None, None) => String::new(),
    }
}

fn log_tail(log: &str) -> String {
    if log.is_empty() { String::new() } else { format!("; the last lines of its log:\n{log}") }
}

impl Error {
    /// Creates the error for a column that is missing or has the wrong type.
    pub(crate) fn schema(column: impl Into<String>, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Error::Schema { column: column.into(), expected: expected.into(), found: found.into() }
    }

    /// Creates the error for a parameter outside its legal range.
    pub(crate) fn param(name: impl Into<String>, value: impl fmt::Display, legal: impl Into<String>) -> Self {
        Error::Param { name: name.into(), value: value.to_string(), legal: legal.into() }
    }

    /// Creates the error for unusable data in one column.
    pub(crate) fn data(column: &str, problem: DataProblem) -> Self {
        Error::Data { column: Some(column.to_owned()), row: None, problem }
    }

    /// Creates the error for illegal values in one column.
    pub(crate) fn values(column: &str, expected: impl Into<String>, found: impl fmt::Display) -> Self {
        Self::data(column, DataProblem::Values { expected: expected.into(), found: found.to_string(), example: None })
    }

    /// Creates the error for unusable data in one column of one row.
    pub(crate) fn cell(column: &str, row: u64, problem: DataProblem) -> Self {
        Error::Data { column: Some(column.to_owned()), row: Some(row), problem }
    }

    /// Creates the error for unusable data, whatever the column.
    pub(crate) fn rows(problem: DataProblem) -> Self {
        Error::Data { column: None, row: None, problem }
    }

    /// Creates the error for an Arrow failure while doing `context`.
    pub(crate) fn arrow(context: impl Into<String>, source: impl Into<Cause>) -> Self {
        Error::Arrow { context: context.into(), source: source.into() }
    }

    /// Creates the error for a tensor failure while doing `context`.
    pub(crate) fn tensor(context: impl Into<String>, source: impl Into<Cause>) -> Self {
        Error::Tensor { context: context.into(), source: source.into() }
    }

    /// Creates the error for a file failure.
    pub(crate) fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Error::Io { path: path.into(), source }
    }

    /// Returns whether the server has forgotten the session: it was silent for too long, or the server was restarted.
    ///
    /// Temporary views, settings, uploads and kept frames went with it.
    pub fn is_session_lost(&self) -> bool {
        const LOST: [&str; 3] = ["SESSION_NOT_FOUND", "SESSION_CLOSED", "SESSION_CHANGED"];
        self.server().is_some_and(|e| LOST.iter().any(|reason| e.is(&format!("INVALID_HANDLE.{reason}"))))
    }

    /// Returns whether the server answered with a refusal. Other Connect servers and locked-down ones refuse some
    /// of Spark's housekeeping, such as settings, copies of sessions and kept rows.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            Error::Unsupported { .. } | Error::Unauthenticated { .. } => true,
            Error::Server(_) => !self.is_session_lost(),
            _ => false,
        }
    }

    /// Passes over a refusal of housekeeping that the work can do without; any other failure stays one.
    pub(crate) fn pass_over(result: Result<()>, what: &str) -> Result<()> {
        match result {
            Err(error) if error.is_refusal() => {
                tracing::debug!(%error, "the server refuses {what}; going on without");
                Ok(())
            }
            other => other,
        }
    }

    /// Returns whether the cluster lost rows that it kept for a source while they were read. Opening the source again
    /// has them computed again.
    pub fn is_rows_lost(&self) -> bool {
        match self {
            Error::KeptRowsLost { .. } => true,
            Error::Interrupted { source, .. } => source.is_rows_lost(),
            _ => false,
        }
    }

    /// Returns Spark's own account, when the server is what failed.
    pub fn server(&self) -> Option<&ServerError> {
        match self {
            Error::Server(e) => Some(e),
            Error::Interrupted { source, .. } | Error::KeptRowsLost { source } => source.server(),
            _ => None,
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use std::error::Error as _;
        let mut printed = self.to_string();
        f.write_str(&printed)?;
        let sources = std::iter::successors(self.source(), |cause| (*cause).source()).map(ToString::to_string);
        let reported = self.server().into_iter().flat_map(|server| server.causes.iter().cloned());
        for cause in sources.chain(reported) {
            // Many messages quote their cause already.
            if !printed.contains(cause.trim()) {
                write!(f, "\ncaused by: {}", cause.trim())?;
                printed.push_str(&cause);
            }
        }
        Ok(())
    }
}
