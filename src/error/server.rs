//! Spark's own account of a failure.

use std::{collections::BTreeMap, fmt};

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

    /// Returns whether the same request may succeed later: not one that was refused, or that failed by its own data,
    /// functions or limits, as its SQLSTATE says.
    pub(crate) fn is_retryable(&self) -> bool {
        const OF_THE_REQUEST: [&str; 10] = ["0A", "21", "22", "23", "38", "39", "42", "46", "54", "P0"];
        !self.is_refused_plan() && !OF_THE_REQUEST.iter().any(|class| self.sql_state.starts_with(class))
    }

    /// Returns what to do, where Spark's message does not say it.
    fn remedy(&self) -> Option<String> {
        let location = self.is("LOCATION_ALREADY_EXISTS").then(|| self.parameters.get("location")).flatten()?;
        Some(format!(
            "a write that the server did not survive may have left this folder: if no table needs it, remove {location}"
        ))
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
        match self.remedy() {
            Some(remedy) => write!(f, "\n{remedy}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ServerError {}
