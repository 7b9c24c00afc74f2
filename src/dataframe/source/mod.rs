//! A frame's rows as a source of any size: read in partition groups, plans that each give at most so many bytes.
//!
//! Spark Connect refuses results over `spark.driver.maxResultSize` (1 GiB unless set), and holds finished partitions in
//! the driver's memory until they are fetched. A [`PartitionedSource`] asks for rows in portions that never come near
//! either, counts what it got against the cluster's own count, and reads a portion again that broke off.

mod deal;
mod files;
mod groups;
mod kept;
#[cfg(feature = "files")]
mod lasting;
mod limits;
mod measure;
mod pieces;
mod prepare;
mod ranges;
mod read;
mod size;
mod state;

use std::{fmt, sync::Arc};

use futures::future::BoxFuture;
use tokio::sync::Mutex;

pub(crate) use self::deal::hash_input;
#[cfg(feature = "files")]
pub(crate) use self::lasting::LastingGroup;
use self::prepare::PreparedSource;
use super::{DataFrame, Scratch};
use crate::{
    Error, Result,
    stream::{RecordSource, RecordStream},
};

/// Division of a frame's rows into partition groups.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Strategy {
    /// One plan when all rows fit under the cap; else [`Files`](Self::Files) where the plan allows it; else
    /// [`Persisted`](Self::Persisted), or [`Staged`](Self::Staged) in the current database where that is more than a
    /// third of an executor's memory and the user may write to it.
    #[default]
    Auto,
    /// One plan, whatever its size. What broke off after rows were handed on cannot be read again.
    Single,
    /// Ranges of values of a column, best one by which the source can leave out files: a day, a partition column. No
    /// value may have more rows than the cap allows. A column of more than 100,000 values is divided by a sample of
    /// them.
    Column(String),
    /// Groups of files, for a plan that reads files (one table or path) and only selects, computes and filters row by
    /// row. Nothing is copied. No file may have more rows than the cap allows.
    Files,
    /// The rows computed once and kept in executor storage, in memory and on disk. Needs no place to write. They are
    /// lost when the server is restarted; an epoch under way then fails. Rows lost with an executor are computed again,
    /// so the plan's values must not hang on the order of its rows, as `rand()` after a shuffle does: stage those.
    Persisted,
    /// The rows computed once and written, in files of some MiB: survives a restart of the server.
    Staged(Scratch),
}

/// Settings of a source.
///
/// | field | default | purpose | legal |
/// |---|---|---|---|
/// | `cap` | 128 MiB, or a twelfth of the driver's memory or a third of `spark.driver.maxResultSize` if that is less | bytes of Arrow that a group may have; a single larger row forms a group alone. Rows are divided into 16 groups at least, unless these would be smaller than 16 MiB | 64 KiB or more |
/// | `in_flight` | 2 | groups that the cluster works on at a time | 1 to 16 |
/// | `strategy` | [`Strategy::Auto`] | how groups are formed | |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceOptions {
    /// Bytes of Arrow that a group may have; `None` for the default.
    pub cap: Option<u64>,
    /// Groups that the cluster works on at a time.
    pub in_flight: usize,
    /// Strategy that forms the groups.
    pub strategy: Strategy,
}

impl Default for SourceOptions {
    fn default() -> Self {
        Self { cap: None, in_flight: 2, strategy: Strategy::Auto }
    }
}

impl SourceOptions {
    /// Refuses values outside their legal range.
    ///
    /// # Errors
    /// [`Error::Param`] names the field.
    pub fn check(&self) -> Result<()> {
        if let Some(cap) = self.cap.filter(|cap| *cap < 64 << 10) {
            return Err(Error::param("cap", cap, "64 KiB (65536) or more"));
        }
        if !(1..=16).contains(&self.in_flight) {
            return Err(Error::param("in_flight", self.in_flight, "1 to 16"));
        }
        Ok(())
    }
}

/// Decisions of a source: how its rows are read.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourcePlan {
    /// The strategy; never [`Strategy::Auto`].
    pub strategy: Strategy,
    /// Why, in a few words.
    pub reason: String,
    /// Number of plans that give the rows.
    pub groups: usize,
    /// All rows, by the cluster's count.
    pub rows: u64,
    /// Their bytes in Arrow, about.
    pub bytes: u64,
    /// The cap that held.
    pub cap: u64,
}

/// A frame's rows in partition groups; see [`SourceOptions`] and [`Strategy`].
///
/// The first stream (or [`plan`](Self::plan)) measures the rows with one aggregate, decides, and says so in one line of
/// the log; later ones use the same groups. Groups are read in order, the next under way while one is handed on. A
/// group is handed on once it has arrived whole and its count is the cluster's. So a group that broke off (connection
/// lost for good, session forgotten, server restarted) is read again without a row coming twice. At most `in_flight +
/// 1` groups are in this process's memory.
///
/// Rows are read in a copy of the frame's session, so that settings for large cells (the Parquet reader's rows per
/// batch and such) hold for these queries alone. The plan must mean the same in the copy: where it depends on what a
/// copy lacks, such as a SQL variable, and with Spark before 4.1, which cannot copy sessions, it is read in the frame's
/// own session, without those settings.
///
/// The copy that the cluster keeps is dropped with the last clone of the source and its streams, in the background
/// ([`Client::settle`](crate::connect::Client::settle) waits for that), or at once with [`close`](Self::close).
#[derive(Clone)]
pub struct PartitionedSource {
    frame: DataFrame,
    options: SourceOptions,
    prepared: Arc<Mutex<Option<Arc<PreparedSource>>>>,
}

impl DataFrame {
    /// This frame's rows as a source of any size.
    pub fn source(&self) -> PartitionedSource {
        self.source_with(SourceOptions::default())
    }

    /// This frame's rows as a source of any size, read as told.
    pub fn source_with(&self, options: SourceOptions) -> PartitionedSource {
        PartitionedSource { frame: self.clone(), options, prepared: Arc::default() }
    }
}

impl PartitionedSource {
    /// Bytes of Arrow that a group may have.
    pub fn cap(self, bytes: u64) -> Self {
        self.changed(|options| options.cap = Some(bytes))
    }

    /// Groups that the cluster works on at a time.
    pub fn in_flight(self, groups: usize) -> Self {
        self.changed(|options| options.in_flight = groups)
    }

    /// Sets the strategy that forms the groups.
    pub fn strategy(self, strategy: Strategy) -> Self {
        self.changed(|options| options.strategy = strategy)
    }

    /// Forms groups of ranges of this column's values: [`Strategy::Column`].
    pub fn by_column(self, name: impl Into<String>) -> Self {
        self.strategy(Strategy::Column(name.into()))
    }

    fn changed(mut self, change: impl FnOnce(&mut SourceOptions)) -> Self {
        change(&mut self.options);
        self.prepared = Arc::default();
        self
    }

    /// Measures and decides, if that has not been done.
    ///
    /// # Errors
    /// [`Error::Param`] for options outside their range; [`Error::Schema`] and [`Error::Data`] for a column, or files,
    /// that cannot form groups under the cap; [`Error::Server`]; [`Error::Unreachable`].
    pub async fn plan(&self) -> Result<SourcePlan> {
        Ok(self.prepare().await?.plan().clone())
    }

    /// Opens a stream of all rows.
    ///
    /// Resolves when the first group has arrived. Dropping the stream interrupts the work on the cluster.
    ///
    /// # Errors
    /// As [`plan`](Self::plan) and [`DataFrame::stream`]; [`Error::Data`] when the cluster gives other rows than it
    /// counted.
    pub async fn stream(&self) -> Result<RecordStream> {
        match self.prepare().await?.stream().await {
            // What the cluster kept is lost, and nothing was handed on: once more from the start.
            Err(error) if error.is_rows_lost() => {
                tracing::warn!(%error, "the rows that the cluster kept are lost; computing them again");
                let before = self.prepared.lock().await.take();
                let renewed = self.frame.client().renewed().await?;
                let again = Self { frame: self.frame.in_session(&renewed), ..self.clone() };
                if let Some(before) = before
                    && !before.state().restore(&again.frame).await?
                {
                    return Err(read::changed_meaning(&error));
                }
                again.prepare().await?.stream().await
            }
            stream => stream,
        }
    }

    /// Has the cluster let go of what it keeps for this source.
    ///
    /// # Errors
    /// [`Error::Server`]; [`Error::Unreachable`].
    pub async fn close(self) -> Result<()> {
        match self.prepared.lock().await.take() {
            Some(prepared) => prepared.close().await,
            None => Ok(()),
        }
    }

    async fn prepare(&self) -> Result<Arc<PreparedSource>> {
        let mut prepared = self.prepared.lock().await;
        if let Some(prepared) = &*prepared {
            return Ok(prepared.clone());
        }
        self.options.check()?;
        let now = Arc::new(PreparedSource::new(&self.frame, &self.options).await?);
        *prepared = Some(now.clone());
        Ok(now)
    }
}

/// Every epoch reads the same groups; their rows are the same, and in the same order, unless [`Strategy::Single`] or a
/// source that changes gives others.
impl RecordSource for PartitionedSource {
    fn open(&self, _epoch: usize) -> BoxFuture<'_, Result<RecordStream>> {
        Box::pin(self.stream())
    }

    fn origin(&self) -> String {
        self.frame.origin()
    }
}

impl fmt::Debug for PartitionedSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartitionedSource")
            .field("frame", &self.frame)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
