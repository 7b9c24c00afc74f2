//! Packages of the cluster's Python workers.

use std::{
    collections::HashMap,
    sync::{LazyLock, Mutex, PoisonError},
    time::{Duration, Instant},
};

use spark_connect::types::DataType;
use spark_connect_proto::{self as proto, relation::RelType};

use super::{Global, PythonFunction};
use crate::{
    Error, Result,
    dataframe::{DataFrame, column, texts},
};

/// Versions of Python that workers may have. The server takes a function only of its workers' own.
const VERSIONS: [&str; 6] = ["3.11", "3.12", "3.10", "3.13", "3.9", "3.14"];

/// Time before a server without usable workers is checked again.
const PATIENCE: Duration = Duration::from_secs(60);

/// Python workers with numpy and pyarrow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Workers {
    /// Python's version, such as `3.11`.
    pub(crate) python: String,
    /// Versions of numpy and pyarrow, for logs.
    pub(crate) packages: String,
}

/// Result of the check at each address, and its time.
type WorkerChecks = HashMap<String, (Result<Workers, String>, Instant)>;

static FOUND: LazyLock<Mutex<WorkerChecks>> = LazyLock::new(Mutex::default);

impl Workers {
    /// Returns the workers of a frame's server, or why they cannot be used; asked once for each server.
    ///
    /// # Errors
    /// [`Error::Unreachable`], and whatever else is no answer of the server.
    pub(crate) async fn of(frame: &DataFrame) -> Result<Result<Workers, String>> {
        if !frame.client().version().at_least(4, 1) {
            let version = frame.client().version();
            return Ok(Err(format!("Spark {version} has no Arrow functions, which Spark 4.1 and later have")));
        }
        let address = frame.client().address().to_owned();
        let known = FOUND.lock().unwrap_or_else(PoisonError::into_inner).get(&address).cloned();
        if let Some((found, at)) = known
            && (found.is_ok() || at.elapsed() < PATIENCE)
        {
            return Ok(found);
        }
        let found = ask(frame).await?;
        tracing::debug!(?found, address, "the server's Python workers");
        FOUND.lock().unwrap_or_else(PoisonError::into_inner).insert(address, (found.clone(), Instant::now()));
        Ok(found)
    }
}

async fn ask(frame: &DataFrame) -> Result<Result<Workers, String>> {
    let mut reason = String::new();
    for version in VERSIONS {
        let workers = Workers { python: version.to_owned(), packages: String::new() };
        match probe(frame, &workers).await {
            Ok(packages) => return Ok(Ok(Workers { packages, ..workers })),
            Err(Error::Server(error)) => {
                let text = error.to_string();
                // The worker's own exception, whose condition travels in its text alone.
                if !text.contains("PYTHON_VERSION_MISMATCH") {
                    return Ok(Err(last_words(&text)));
                }
                reason = format!("their Python is none of {}", VERSIONS.join(", "));
            }
            Err(error) if error.is_refusal() => return Ok(Err(error.to_string())),
            Err(error) => return Err(error),
        }
    }
    Ok(Err(reason))
}

/// Has a worker say which packages it has.
async fn probe(frame: &DataFrame, workers: &Workers) -> Result<String> {
    let expression = "(exec(source), probe)[1]".to_owned();
    let source = "def probe(ids):\n    import numpy, pyarrow\n    \
                  said = 'numpy %s, pyarrow %s' % (numpy.__version__, pyarrow.__version__)\n    \
                  return pyarrow.array([said] * len(ids))\n";
    let function = PythonFunction {
        name: "tinderbox_probe".into(),
        expression,
        names: vec![("source", Global::Text(source.into()))],
        result: DataType::String { collation: "UTF8_BINARY".into() },
        deterministic: true,
    };
    // Rows of a range, which no optimizer computes by itself.
    let range = proto::Range { start: Some(0), end: 1, step: 1, num_partitions: Some(1) };
    let rows = DataFrame::new(frame.context().clone(), RelType::Range(range));
    let said = rows.with_python("said", &function, &[column("id")], workers).select([column("said")]);
    let batches = said.collect().await?;
    let row = batches.iter().find(|batch| batch.num_rows() > 0);
    row.map_or_else(|| Ok(String::new()), |row| Ok(texts(row, 0)?.value(0).to_owned()))
}

/// Returns the line of a Python traceback that says what happened.
fn last_words(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.contains("SQLSTATE"));
    let said = lines.rev().find(|line| line.split_once(':').is_some_and(|(kind, _)| kind.ends_with("Error")));
    said.or_else(|| text.lines().next()).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceback_comes_down_to_its_last_error() {
        let text = "An exception was thrown from the Python worker:\nTraceback (most recent call last):\n  File \"worker.py\", \
                    line 1\nModuleNotFoundError: No module named 'numpy'\n SQLSTATE: 38000";
        assert_eq!(last_words(text), "ModuleNotFoundError: No module named 'numpy'");
        assert_eq!(last_words("refused"), "refused");
    }
}
