//! Problems of a job's file.

use std::{fmt, path::PathBuf};

/// Everything that is wrong with a job.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobProblems {
    /// The file.
    pub path: PathBuf,
    /// The problems, in the order of the file.
    pub problems: Vec<JobProblem>,
}

/// One problem of a job.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobProblem {
    /// Line, from 1; 0 for what is not in the file, such as a change on the command line.
    pub line: usize,
    /// Character in the line, from 1; 0 for what is not in the file.
    pub column: usize,
    /// The key, such as `training.epochs`; empty for a text that is no TOML.
    pub key: String,
    /// The problem: what was expected, and what was found.
    pub problem: String,
    /// A remedy.
    pub help: Option<String>,
}

impl JobProblem {
    pub(crate) fn at(line: usize, column: usize, key: &str, problem: &str, help: Option<String>) -> Self {
        Self { line, column, key: key.to_owned(), problem: problem.to_owned(), help }
    }
}

impl std::error::Error for JobProblems {}

impl fmt::Display for JobProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match self.problems.len() {
            1 => write!(f, "{path} has a problem")?,
            count => write!(f, "{path} has {count} problems")?,
        }
        for JobProblem { line, column, key, problem, help } in &self.problems {
            match line {
                0 if key.is_empty() => write!(f, "\n  {problem}")?,
                0 => write!(f, "\n  {key}: {problem}")?,
                line if key.is_empty() => write!(f, "\n  line {line}, column {column}: {problem}")?,
                line => write!(f, "\n  line {line}, column {column}, {key}: {problem}")?,
            }
            if let Some(help) = help {
                write!(f, "; {help}")?;
            }
        }
        Ok(())
    }
}
