//! The crate's one public error. Each variant says what the caller can do about it.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

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
        /// What was missing.
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

    /// The data cannot be used.
    #[error("{column}: {reason}")]
    Data {
        /// The column (or table), as in "column `age`".
        column: String,
        /// The problem, with counts, examples and a remedy.
        reason: String,
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

    /// Training cannot continue.
    #[error("training stopped at epoch {epoch}, step {step}: {reason}")]
    Training {
        /// Epoch, from 0.
        epoch: usize,
        /// Step over all epochs, from 0.
        step: usize,
        /// The problem and the remedy.
        reason: String,
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

fn log_tail(log: &str) -> String {
    if log.is_empty() { String::new() } else { format!("; the last lines of its log:\n{log}") }
}

impl Error {
    /// A column that is missing or has the wrong type.
    pub(crate) fn schema(column: impl Into<String>, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Error::Schema { column: column.into(), expected: expected.into(), found: found.into() }
    }

    /// A parameter outside its legal range.
    pub(crate) fn param(name: impl Into<String>, value: impl fmt::Display, legal: impl Into<String>) -> Self {
        Error::Param { name: name.into(), value: value.to_string(), legal: legal.into() }
    }

    /// Data in one column that cannot be used.
    pub(crate) fn data(column: &str, reason: impl Into<String>) -> Self {
        Error::Data { column: format!("column `{column}`"), reason: reason.into() }
    }

    /// An Arrow failure while doing `context`.
    pub(crate) fn arrow(context: impl Into<String>, source: impl Into<Cause>) -> Self {
        Error::Arrow { context: context.into(), source: source.into() }
    }

    /// A tensor failure while doing `context`.
    pub(crate) fn tensor(context: impl Into<String>, source: impl Into<Cause>) -> Self {
        Error::Tensor { context: context.into(), source: source.into() }
    }

    /// A file failure.
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
    /// has them
    /// computed again.
    pub fn is_rows_lost(&self) -> bool {
        match self {
            Error::Incomplete { operation, .. } => operation == Self::KEPT_ROWS,
            Error::Interrupted { source, .. } => source.is_rows_lost(),
            _ => false,
        }
    }

    /// The operation that fails when what the cluster kept is lost.
    pub(crate) const KEPT_ROWS: &str = "reading kept rows";

    /// Spark's own account, when the server is what failed.
    pub fn server(&self) -> Option<&ServerError> {
        match self {
            Error::Server(e) => Some(e),
            Error::Interrupted { source, .. } => source.server(),
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

/// An error that Spark reported, with all it says of itself.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerError {
    /// Spark's error condition, such as `TABLE_OR_VIEW_NOT_FOUND`; empty when the server named none.
    pub class: String,
    /// The five-character SQLSTATE; empty when unknown.
    pub sql_state: String,
    /// The whole message, for people.
    pub message: String,
    /// The message's parameters by name.
    pub parameters: BTreeMap<String, String>,
    /// Where in the query or program it arose, innermost first; empty when the server did not say.
    pub contexts: Vec<QueryContext>,
    /// The Java class of the exception.
    pub exception: String,
    /// Messages of the causes, outermost first.
    pub causes: Vec<String>,
}

/// A place in a SQL text or in the plan that an error points at.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueryContext {
    /// The fragment of the query.
    pub fragment: String,
    /// Spark's rendering, with line and position where there is one.
    pub summary: String,
    /// Where the caller built this part of the plan, if that was sent along.
    pub call_site: String,
}

impl ServerError {
    /// Returns whether the condition is `class`, or a sub-condition of it (`class.SUB`).
    pub fn is(&self, class: &str) -> bool {
        self.class.strip_prefix(class).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }

    /// Returns whether the plan was refused before it ran; after any other failure a retry may succeed.
    pub(crate) fn is_refused_plan(&self) -> bool {
        let refusals = ["AnalysisException", "ParseException", "AccessControlException"];
        refusals.iter().any(|refusal| self.exception.ends_with(refusal))
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Spark's own messages start with "[CLASS]" and end with "SQLSTATE: …" when they have them.
        if !self.class.is_empty() && !self.message.contains(&self.class) {
            write!(f, "[{}] ", self.class)?;
        }
        f.write_str(self.message.trim_end())?;
        if !self.sql_state.is_empty() && !self.message.contains(&self.sql_state) {
            write!(f, " SQLSTATE: {}", self.sql_state)?;
        }
        for context in self.contexts.iter().filter(|c| !c.summary.is_empty()) {
            if !self.message.contains(context.summary.trim()) {
                write!(f, "\n{}", context.summary.trim_end())?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ServerError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_of_an_error_is_its_message_and_each_cause_once() {
        let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
        let printed = format!("{:?}", Error::io("weights", missing));
        assert_eq!(printed, "weights: entity not found");
        let server = ServerError {
            message: "Job aborted.".into(),
            causes: vec!["Job aborted.".into(), "Java heap space\n".into()],
            ..Default::default()
        };
        assert_eq!(format!("{:?}", Error::from(Box::new(server))), "Job aborted.\ncaused by: Java heap space");
    }

    #[test]
    fn a_server_error_says_class_state_and_place_once() {
        let e = ServerError {
            class: "UNRESOLVED_COLUMN.WITH_SUGGESTION".into(),
            sql_state: "42703".into(),
            message: "A column cannot be resolved.".into(),
            contexts: vec![QueryContext { summary: "== SQL (line 1, position 8) ==".into(), ..Default::default() }],
            ..Default::default()
        };
        assert!(e.is("UNRESOLVED_COLUMN") && e.is("UNRESOLVED_COLUMN.WITH_SUGGESTION") && !e.is("UNRESOLVED"));
        assert_eq!(
            Error::from(Box::new(e)).to_string(),
            "[UNRESOLVED_COLUMN.WITH_SUGGESTION] A column cannot be resolved. SQLSTATE: 42703\n== SQL (line 1, position 8) =="
        );
    }
}
