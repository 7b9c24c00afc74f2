//! Options and outcome of writing a table of predictions.

use std::{fmt, time::Duration};

use crate::dataframe::{SaveMode, Scratch, SourceOptions};

/// Where the networks at the end of a pipeline are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scoring {
    /// On the cluster if its Python workers can compute all of them, else locally.
    #[default]
    Auto,
    /// By the cluster's Python workers, which need numpy and pyarrow and nothing of ours; no row leaves the cluster.
    /// Not for custom networks, rows that stay sparse, and readers of images, texts and bytes.
    OnCluster,
    /// In this process: rows are streamed, scored and uploaded.
    Local,
}

impl fmt::Display for Scoring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scoring::Auto => "automatic",
            Scoring::OnCluster => "on the cluster",
            Scoring::Local => "local",
        })
    }
}

/// Options of writing a table of predictions.
///
/// | field | default | purpose |
/// |---|---|---|
/// | `mode` | [`SaveMode::ErrorIfExists`] | what to do when the table exists |
/// | `scoring` | [`Scoring::Auto`] | where networks are computed |
/// | `source` | [`SourceOptions::default`] | how rows are read that are scored locally |
/// | `scratch` | the table's database | where rows are staged, if they are |
/// | `run_id` | none | what marks the rows of this run, so that none is appended twice |
/// | `quarantine` | none | the table for rows that cannot be scored |
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScoreOptions {
    /// Reaction to a table that exists.
    pub mode: SaveMode,
    /// Where networks are computed.
    pub scoring: Scoring,
    /// Strategy and size of reads of rows that are scored locally.
    pub source: SourceOptions,
    /// Where many rows that are scored locally, and all rows when some may go to quarantine, are staged; `None` for the
    /// table's database.
    pub scratch: Option<Scratch>,
    /// The table for rows whose features the networks at the end of the pipeline cannot use, whatever these would do
    /// with such rows: the columns that the networks were given and `invalid_reason`, such as "column `x` is null".
    /// Written as `mode` says, even when there are none. Rows that a stage before the networks refuses are not among
    /// them, nor are categories that a network does not know: both remain errors.
    pub quarantine: Option<String>,
    /// Mark of the rows of this run, such as a date, in a column `run_id` of both tables; for [`SaveMode::Append`]
    /// alone. A table that has rows of the run is not written again, so a run that ended half-way can be repeated.
    pub run_id: Option<String>,
}

impl ScoreOptions {
    /// Returns the defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets what to do when the table exists.
    pub fn mode(mut self, mode: SaveMode) -> Self {
        self.mode = mode;
        self
    }

    /// Sets where networks are computed.
    pub fn scoring(mut self, scoring: Scoring) -> Self {
        self.scoring = scoring;
        self
    }

    /// Sets how rows are read that are scored locally.
    pub fn source(mut self, source: SourceOptions) -> Self {
        self.source = source;
        self
    }

    /// Sets what marks the rows of this run.
    pub fn run_id(mut self, id: impl Into<String>) -> Self {
        self.run_id = Some(id.into());
        self
    }

    /// Sets the table for rows that cannot be scored.
    pub fn quarantine(mut self, table: impl Into<String>) -> Self {
        self.quarantine = Some(table.into());
        self
    }

    /// Sets where rows are staged.
    pub fn scratch(mut self, scratch: Scratch) -> Self {
        self.scratch = Some(scratch);
        self
    }
}

impl From<SaveMode> for ScoreOptions {
    fn from(mode: SaveMode) -> Self {
        Self::new().mode(mode)
    }
}

/// Outcome of writing a table of predictions.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scored {
    /// The table, as it was named.
    pub table: String,
    /// Rows that were written; with a run id, those of the run in the table.
    pub rows: u64,
    /// Rows that were read and not written: stages that skip invalid rows left them out.
    pub skipped: u64,
    /// Rows that were written without a prediction: networks that keep invalid rows could not score them.
    pub without_prediction: u64,
    /// Rows that were written to the quarantine table.
    pub quarantined: u64,
    /// Where the networks were computed; never [`Scoring::Auto`].
    pub scoring: Scoring,
    /// Duration of the run.
    pub took: Duration,
}
