//! Jobs with their text: problems at line and column.

use std::{
    collections::BTreeMap,
    ops::Range,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use toml::{
    Spanned,
    de::{DeTable, DeValue, Deserializer},
};

use super::{Job, schema};
use crate::{
    Error, Result,
    error::{JobProblem, JobProblems},
};

/// A job, and the text that it was read from.
#[derive(Debug, Clone)]
pub struct JobFile {
    job: Job,
    path: PathBuf,
    places: Places,
}

/// Where the keys of a text are.
#[derive(Debug, Clone, Default)]
struct Places {
    text: String,
    /// Line and column, from 1, by key such as `training.epochs`.
    by_key: BTreeMap<String, (usize, usize)>,
}

impl JobFile {
    /// Reads a file.
    ///
    /// `changes` are made before the job is checked: a key and its value in TOML each, such as `training.epochs` and
    /// `20`. A value that is no TOML is text.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read; [`Error::Job`] with everything that is wrong in it.
    pub fn read(path: impl AsRef<Path>, changes: &[(String, String)]) -> Result<Self> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|error| Error::io(path, error))?;
        Self::parse(&text, path, changes)
    }

    /// Reads a text; `path` is where paths in it begin, and what errors name.
    ///
    /// # Errors
    /// [`Error::Job`] with everything that is wrong.
    pub fn parse(text: &str, path: impl Into<PathBuf>, changes: &[(String, String)]) -> Result<Self> {
        let path = path.into();
        let mut places = Places { text: text.to_owned(), by_key: BTreeMap::new() };
        let written: Vec<String> = changes.iter().map(written).collect();
        let (mut table, errors) = DeTable::parse_recoverable(text);
        let mut problems = Vec::new();
        for error in errors {
            let (line, column) = places.position(error.span().unwrap_or(0..0).start);
            problems.push(JobProblem::at(line, column, "", error.message(), None));
        }
        // What follows from a text that is no TOML would only confuse.
        if problems.is_empty() {
            for ((key, _), text) in changes.iter().zip(&written) {
                match DeTable::parse(text) {
                    Ok(changed) => merge(table.get_mut(), changed.into_inner()),
                    Err(error) => problems.push(JobProblem::at(0, 0, key, error.message(), None)),
                }
            }
            places.collect("", table.get_ref());
            problems.extend(schema::problems(table.get_ref(), &|span| places.position(span.start)));
        }
        let job = match problems.is_empty() {
            false => None,
            true => match Job::deserialize(Deserializer::from(table)) {
                Ok(job) => Some(job),
                Err(error) => {
                    let (line, column) = error.span().map_or((0, 0), |span| places.position(span.start));
                    problems.push(JobProblem::at(line, column, "", error.message(), None));
                    None
                }
            },
        };
        problems.sort_by_key(|problem| (problem.line, problem.column));
        let Some(job) = job else { return Err(Error::Job(Box::new(JobProblems { path, problems }))) };
        let file = Self { job, path, places };
        file.refuse(file.job.problems())?;
        Ok(file)
    }

    /// Creates a job without a text; errors name keys alone.
    pub fn of(job: Job, path: impl Into<PathBuf>) -> Result<Self> {
        let file = Self { job, path: path.into(), places: Places::default() };
        file.refuse(file.job.problems())?;
        Ok(file)
    }

    /// Returns the job.
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// Returns a path of the job, which is relative to its file.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }

    /// Fails with problems of keys, if there are any.
    pub(super) fn refuse(&self, problems: Vec<(String, String)>) -> Result<()> {
        if problems.is_empty() {
            return Ok(());
        }
        let place = |(key, problem): (String, String)| {
            let (line, column) = self.places.of(&key);
            JobProblem::at(line, column, &key, &problem, None)
        };
        let mut problems: Vec<JobProblem> = problems.into_iter().map(place).collect();
        problems.sort_by_key(|problem| (problem.line, problem.column));
        Err(Error::Job(Box::new(JobProblems { path: self.path.clone(), problems })))
    }
}

impl Places {
    /// Returns line and column of a byte, from 1; those of a change on the command line are 0.
    fn position(&self, byte: usize) -> (usize, usize) {
        let Some(before) = self.text.get(..byte) else { return (0, 0) };
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        (line, column)
    }

    fn collect(&mut self, above: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let path = join(above, key.get_ref());
            self.by_key.insert(path.clone(), self.position(key.span().start));
            if let DeValue::Table(table) = value.get_ref() {
                self.collect(&path, table);
            }
        }
    }

    /// Returns the place of a key, else that of the section around it.
    fn of(&self, key: &str) -> (usize, usize) {
        let keys = std::iter::successors(Some(key), |key| Some(key.rsplit_once('.')?.0));
        keys.filter_map(|key| self.by_key.get(key)).next().copied().unwrap_or((0, 0))
    }
}

/// Returns the path of a key within a table; a key with a dot is quoted.
pub(super) fn join(above: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || "_-".contains(c));
    let key = if bare { key.to_owned() } else { format!("{key:?}") };
    if above.is_empty() { key } else { format!("{above}.{key}") }
}

/// Place of what a change brought in: behind every text.
const CHANGED: Range<usize> = usize::MAX..usize::MAX;

/// Returns a change as TOML. A value that is no TOML is text: `data.table=iris`.
fn written((key, value): &(String, String)) -> String {
    match toml::from_str::<toml::Table>(&format!("value = {value}")) {
        Ok(_) => format!("{key} = {value}"),
        Err(_) => format!("{key} = {}", toml::Value::String(value.clone())),
    }
}

/// Puts the values of one table into another.
fn merge<'a>(table: &mut DeTable<'a>, changed: DeTable<'a>) {
    for (key, value) in changed {
        let key = key.into_inner();
        let found = table.iter_mut().find(|(known, _)| *known.get_ref() == key).map(|(_, value)| value);
        match (found.map(Spanned::get_mut), value.into_inner()) {
            (Some(DeValue::Table(table)), DeValue::Table(changed)) => merge(table, changed),
            (Some(found), value) => *found = placeless(value),
            (None, value) => _ = table.insert(Spanned::new(CHANGED, key), Spanned::new(CHANGED, placeless(value))),
        }
    }
}

/// Returns a value whose parts have no place in the file.
fn placeless(value: DeValue<'_>) -> DeValue<'_> {
    match value {
        DeValue::Array(values) => {
            let values = values.into_iter().map(|value| Spanned::new(CHANGED, placeless(value.into_inner())));
            DeValue::Array(values.collect())
        }
        DeValue::Table(table) => {
            let mut moved = DeTable::new();
            merge(&mut moved, table);
            DeValue::Table(moved)
        }
        other => other,
    }
}
