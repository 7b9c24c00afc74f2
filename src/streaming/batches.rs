//! Micro-batches in this process.
//!
//! Spark runs no Rust, so the rows go through a folder of the cluster's, which has three parts: the `checkpoint` of the
//! query, the `rows` that it writes, and the `progress` of the batches. Each batch takes three steps:
//!
//! 1. A query with the trigger [`Trigger::AvailableNow`] writes what is there as Parquet files, and ends. Spark's file
//!    sink lists the files that count, each once, also when the query is cut off and started again.
//! 2. The batch is *sealed*: the files that no batch has yet are noted as its own. Its rows do not change any more.
//! 3. The work is done, and the batch noted as *done*.
//!
//! A process that begins again gives a sealed batch that is not done to the work once more, with the same rows under the
//! same number: as with Spark's own `foreachBatch`, work that must not happen twice looks at the number.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use uuid::Uuid;

use super::{DataStreamWriter, StreamingQuery, Trigger};
use crate::{
    Error, Result,
    dataframe::{DataFrame, SaveMode, Schema},
    session::Session,
};

/// A row of the progress: a file of a sealed batch, or, without a file, a batch that is done.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    batch: i64,
    file: Option<String>,
    /// The session that noted it.
    session: String,
}

/// Time for the cluster to end what a process that died had begun.
const ENDING: Duration = Duration::from_secs(1);

impl DataStreamWriter {
    /// Gives the rows to `work`, batch by batch, each with a number from 0; returns the number of batches that are done.
    ///
    /// With [`Trigger::AvailableNow`] or [`Trigger::Once`], what is there is one batch, and the method returns after it.
    /// With [`Trigger::ProcessingTime`] (one second unless set) it continues until the future is dropped or `work` fails.
    ///
    /// Where it has come to is kept in `folder`, on the cluster, which belongs to this query alone. Started again with
    /// the same folder, it continues where it stopped: no row is lost, and none is in two batches. A batch whose work was
    /// cut off is given again, with the same rows and the same number. The rows stay in the folder as Parquet files; old
    /// ones may be deleted. Only one process at a time may use a folder.
    ///
    /// ```no_run
    /// # use tinderbox::{Result, ScoreOptions, prelude::*, streaming::Trigger};
    /// # async fn example(spark: Session, model: PipelineModel) -> Result<()> {
    /// let flowers = spark.read_stream().table("flowers").write_stream().trigger(Trigger::AvailableNow);
    /// flowers
    ///     .for_each_batch("/streams/scores", async |rows, number| {
    ///         // A batch that is given again finds its rows in the table.
    ///         let options = ScoreOptions::new().mode(SaveMode::Append).run_id(format!("batch {number}"));
    ///         model.predict_into_with(&rows, "scores", options).await.map(drop)
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Param`] for another trigger; those of `work`; [`Error::Server`] with the failure that ended the query,
    /// and for a frame whose rows do not keep coming; [`Error::Unreachable`].
    pub async fn for_each_batch(
        self,
        folder: &str,
        mut work: impl AsyncFnMut(DataFrame, u64) -> Result<()>,
    ) -> Result<u64> {
        let pause = match self.trigger {
            None => Some(Duration::from_secs(1)),
            Some(Trigger::ProcessingTime(pause)) => Some(pause),
            Some(Trigger::AvailableNow | Trigger::Once) => None,
            Some(other) => {
                let legal = "AvailableNow, Once or ProcessingTime, where batches come to this process";
                return Err(Error::param("trigger", format!("{other:?}"), legal));
            }
        };
        let mut batches = Batches::open(&self.frame, folder).await?;
        loop {
            let began = Instant::now();
            if batches.sealed.is_none() {
                batches.gather(self.clone()).await?;
            }
            if let Some(files) = &batches.sealed {
                work(batches.rows(files), batches.number()).await?;
                batches.finish().await?;
            } else if let Some(pause) = pause {
                tokio::time::sleep_until(began + pause).await;
                continue;
            }
            if pause.is_none() && batches.is_gathered {
                return Ok(batches.number());
            }
        }
    }
}

/// The batches of one folder.
struct Batches {
    spark: Session,
    folder: String,
    schema: Schema,
    /// Batches that are done.
    done: i64,
    /// Files of batches, the sealed one's among them.
    noted: BTreeSet<String>,
    /// The files of the batch that is sealed and not done.
    sealed: Option<Vec<String>>,
    /// True if this process has let the query write what is there.
    is_gathered: bool,
}

impl Batches {
    async fn open(frame: &DataFrame, folder: &str) -> Result<Self> {
        let spark = Session::of(frame);
        let folder = folder.trim_end_matches('/').to_owned();
        let schema = frame.schema().await?;
        let notes: Vec<Note> = match spark.read().parquet(&format!("{folder}/progress")).collect_as().await {
            Err(error) if is_missing(&error) => Vec::new(),
            notes => notes?,
        };
        let done = notes.iter().filter(|note| note.file.is_none()).map(|note| note.batch + 1).max().unwrap_or(0);
        let mut files = BTreeMap::<i64, BTreeSet<String>>::new();
        let mut sessions = BTreeSet::new();
        for Note { batch, file, session } in notes {
            if batch == done && session != spark.client().session_id() {
                sessions.insert(session);
            }
            files.entry(batch).or_default().extend(file);
        }
        let sealed = files.get(&done).map(|files| files.iter().cloned().collect());
        let noted = files.into_values().flatten().collect();
        let batches = Self { spark, folder, schema, done, noted, sealed, is_gathered: false };
        batches.end_work_of(sessions).await?;
        Ok(batches)
    }

    /// Has the cluster end what other processes had begun with the rows of the batch that is given again: a server continues
    /// the commands of a client that died.
    async fn end_work_of(&self, sessions: BTreeSet<String>) -> Result<()> {
        for session in sessions.iter().filter_map(|session| Uuid::parse_str(session).ok()) {
            if !self.spark.client().interrupt_in(&session, &self.tag()).await?.is_empty() {
                tokio::time::sleep(ENDING).await;
            }
        }
        Ok(())
    }

    /// Returns the tag of what is done with a batch's rows.
    fn tag(&self) -> String {
        format!("tinderbox-batches-{:08x}", crc32fast::hash(self.folder.as_bytes()))
    }

    fn number(&self) -> u64 {
        self.done.unsigned_abs()
    }

    /// Returns the rows of a batch.
    fn rows(&self, files: &[String]) -> DataFrame {
        let reader = self.spark.read().format("parquet").schema(&self.schema);
        reader.option("basePath", format!("{}/rows", self.folder)).load(files).tagged(&self.tag())
    }

    /// Has the query write the rows that are there, and seals them as a batch if there are any.
    async fn gather(&mut self, writer: DataStreamWriter) -> Result<()> {
        let trigger = if writer.trigger == Some(Trigger::Once) { Trigger::Once } else { Trigger::AvailableNow };
        let writer = writer.format("parquet").trigger(trigger);
        let writer = writer.checkpoint_location(&format!("{}/checkpoint", self.folder));
        Running(Some(writer.start_into(&format!("{}/rows", self.folder)).await?)).ended().await?;
        self.is_gathered = true;
        // Spark reads the sink's list of files, for a folder that has one.
        let all = self.spark.read().schema(&self.schema).parquet(&format!("{}/rows", self.folder));
        let files = match all.input_files().await {
            Err(error) if is_missing(&error) => Vec::new(),
            files => files?,
        };
        let files: BTreeSet<String> = files.iter().map(|file| decoded(file)).collect();
        let fresh: Vec<String> = files.difference(&self.noted).cloned().collect();
        if !fresh.is_empty() && !self.rows(&fresh).is_empty().await? {
            self.note(fresh.iter().cloned().map(Some)).await?;
            self.noted.extend(fresh.iter().cloned());
            self.sealed = Some(fresh);
        }
        Ok(())
    }

    /// Notes that the sealed batch is done.
    async fn finish(&mut self) -> Result<()> {
        self.note([None]).await?;
        self.done += 1;
        self.sealed = None;
        Ok(())
    }

    fn note_of(&self, file: Option<String>) -> Note {
        Note { batch: self.done, file, session: self.spark.client().session_id().to_owned() }
    }

    async fn note(&self, files: impl IntoIterator<Item = Option<String>>) -> Result<()> {
        let notes: Vec<Note> = files.into_iter().map(|file| self.note_of(file)).collect();
        let schema = Schema::from_ddl("batch BIGINT, file STRING, session STRING")?;
        let notes = self.spark.create_dataframe_from(&notes, Some(&schema)).await?;
        notes.coalesce(1).write().mode(SaveMode::Append).parquet(&format!("{}/progress", self.folder)).await
    }
}

fn is_missing(error: &Error) -> bool {
    error.server().is_some_and(|server| server.is("PATH_NOT_FOUND"))
}

/// Returns the path of a file's URL.
fn decoded(url: &str) -> String {
    let mut bytes = Vec::with_capacity(url.len());
    let mut rest = url.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
        (rest, _) = match (first, tail.get(..2).and_then(hex)) {
            (b'%', Some(byte)) => (&tail[2..], bytes.push(byte)),
            _ => (tail, bytes.push(*first)),
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A query that is stopped, in the background, if it is not waited for to its end.
struct Running(Option<StreamingQuery>);

impl Running {
    async fn ended(mut self) -> Result<()> {
        if let Some(query) = &self.0 {
            query.await_termination(None).await?;
        }
        self.0 = None;
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(query) = self.0.take() {
            let client = query.client().clone();
            client.in_background(async move {
                if let Err(error) = query.stop().await {
                    tracing::debug!(%error, "the query that gathers a batch runs to its end");
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_of_a_file_is_decoded_where_it_is_encoded() {
        assert_eq!(decoded("file:///a%20b/gr%C3%B6%C3%9Fe%25.parquet"), "file:///a b/größe%.parquet");
        assert_eq!(decoded("s3://x/100%"), "s3://x/100%");
    }
}
