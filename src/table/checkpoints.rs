//! Checkpoints as rows of a table of the cluster.

use std::{
    collections::BTreeMap,
    fmt, io,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use arrow::{
    array::{Array, ArrayRef, AsArray, BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray},
    datatypes::{Int32Type, Int64Type},
};
use spark_connect::{functions, lit_string};
use tokio::runtime::Handle;
use uuid::Uuid;

use super::layout::WRITTEN_CHUNK_BYTES;
use crate::{
    Error, Result,
    dataframe::{SaveMode, column},
    session::Session,
    stream::RecordStream,
    train::CheckpointPlace,
};

/// A table that keeps the checkpoints of one run, so that the run can be taken up again on another machine:
/// `Checkpoints::at(Arc::new(CheckpointTable::new(&spark, "lab.run_7")))`.
///
/// Columns: `attempt` string, one for each time that bytes were written; `written_at` bigint, microseconds since 1970;
/// `chunk` and `chunks` int; `data` binary, at most 4 MiB a row; `name` string, by which the table is partitioned.
/// Every checkpoint is written by one command, and one with missing rows is ignored. Old ones are removed by `DELETE`,
/// or by dropping their partition where the table's format has no `DELETE`.
///
/// Training waits while a checkpoint is written. Use [`Checkpoints::every`](crate::train::Checkpoints::every) to write
/// seldom enough.
#[derive(Clone)]
pub struct CheckpointTable {
    spark: Session,
    table: String,
}

impl CheckpointTable {
    /// Creates the table of that (SQL) name. It need not exist: the first checkpoint makes it.
    pub fn new(spark: &Session, table: impl Into<String>) -> Self {
        Self { spark: spark.clone(), table: table.into() }
    }

    /// Waits for the cluster on the training thread.
    fn wait<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let runtime = Handle::try_current().map_err(|e| Error::io(&self.table, io::Error::other(e)))?;
        runtime.block_on(work)
    }

    async fn exists(&self) -> Result<bool> {
        let exists = self.spark.catalog().table_exists(&self.table).await?;
        if exists {
            Error::pass_over(self.spark.catalog().refresh_table(&self.table).await, "to refresh a table")?;
        }
        Ok(exists)
    }

    /// Returns the names whose rows are complete, with the attempt that wrote them last.
    async fn whole(&self) -> Result<Vec<(String, String)>> {
        if !self.exists().await? {
            return Ok(Vec::new());
        }
        let attempts = self.spark.table(&self.table).group_by([column("name"), column("attempt")]).agg([
            functions::max(column("written_at")).alias("written_at"),
            functions::count_distinct(column("chunk")).alias("there"),
            functions::max(column("chunks")).alias("chunks"),
        ]);
        let mut whole: Vec<(String, String)> = Vec::new();
        for batch in attempts.order_by([column("written_at").desc()]).collect().await? {
            let (names, attempts) = (self.texts(&batch, 0)?, self.texts(&batch, 1)?);
            let there = batch.column(3).as_primitive_opt::<Int64Type>().ok_or_else(|| self.bad("counts"))?;
            let chunks = batch.column(4).as_primitive_opt::<Int32Type>().ok_or_else(|| self.bad("chunks"))?;
            for (i, (name, attempt)) in names.into_iter().zip(attempts).enumerate() {
                let complete = there.value(i) == i64::from(chunks.value(i));
                if complete && !whole.iter().any(|(known, _)| *known == name) {
                    whole.push((name, attempt));
                }
            }
        }
        Ok(whole)
    }

    async fn write_rows(&self, name: &str, bytes: Vec<u8>) -> Result<()> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let (attempt, written_at) = (Uuid::new_v4().to_string(), i64::try_from(since).unwrap_or(i64::MAX));
        let chunks = i32::try_from(bytes.len().div_ceil(WRITTEN_CHUNK_BYTES)).map_err(|_| self.bad("too many rows"))?;
        let batch = |(chunk, data): (usize, &[u8])| {
            let columns: [(&str, ArrayRef); 6] = [
                ("attempt", Arc::new(StringArray::from_iter_values([&attempt]))),
                ("written_at", Arc::new(Int64Array::from_iter_values([written_at]))),
                ("chunk", Arc::new(Int32Array::from_iter_values([chunk as i32]))),
                ("chunks", Arc::new(Int32Array::from_iter_values([chunks]))),
                ("data", Arc::new(BinaryArray::from_iter_values([data]))),
                ("name", Arc::new(StringArray::from_iter_values([name]))),
            ];
            RecordBatch::try_from_iter(columns).map_err(|e| Error::arrow("a checkpoint as rows", e))
        };
        let batches = bytes.chunks(WRITTEN_CHUNK_BYTES).enumerate().map(batch).collect::<Result<Vec<_>>>()?;
        let Some(first) = batches.first() else { return Err(self.bad("rows")) };
        let rows = self.spark.upload(RecordStream::from_batches(first.schema(), batches.clone()), &self.table).await?;
        rows.write().mode(SaveMode::Append).partition_by(["name"]).save_as_table(&self.table).await?;
        rows.close().await;
        Ok(())
    }

    async fn read_rows(&self, name: &str) -> Result<Vec<u8>> {
        let whole = self.whole().await?;
        let Some((_, attempt)) = whole.into_iter().find(|(known, _)| known == name) else {
            let reason = io::Error::new(
                io::ErrorKind::NotFound,
                "there is no checkpoint of that name, or rows of it are missing",
            );
            return Err(Error::io(format!("{}/{name}", self.table), reason));
        };
        let rows = self.spark.table(&self.table).filter(column("attempt").eq(lit_string(&attempt)));
        let rows = rows.filter(column("name").eq(lit_string(name)));
        let source = rows.select([column("chunk"), column("data")]).source();
        let mut chunks = BTreeMap::new();
        for batch in source.stream().await?.collect().await? {
            let numbers = batch.column(0).as_primitive_opt::<Int32Type>().ok_or_else(|| self.bad("chunks"))?;
            let data = batch.column(1).as_binary_opt::<i32>().ok_or_else(|| self.bad("data"))?;
            chunks.extend(numbers.values().iter().copied().zip(data.iter().flatten().map(<[u8]>::to_vec)));
        }
        source.close().await?;
        Ok(chunks.into_values().flatten().collect())
    }

    async fn remove_rows(&self, names: &[String]) -> Result<()> {
        let quoted = |name: &String| format!("'{}'", name.replace('\\', r"\\").replace('\'', r"\'"));
        let list: Vec<String> = names.iter().map(quoted).collect();
        let deleted = self.spark.sql(&format!("DELETE FROM {} WHERE name IN ({})", self.table, list.join(", "))).await;
        if !matches!(deleted, Err(Error::Server(_))) {
            return deleted.map(drop);
        }
        for name in list {
            let text = format!("ALTER TABLE {} DROP IF EXISTS PARTITION (name = {name})", self.table);
            self.spark.sql(&text).await?;
        }
        Ok(())
    }

    fn texts(&self, batch: &RecordBatch, index: usize) -> Result<Vec<String>> {
        match batch.column(index).as_string_opt::<i32>() {
            Some(texts) if texts.null_count() == 0 => Ok(texts.iter().flatten().map(str::to_owned).collect()),
            _ => Err(self.bad("names")),
        }
    }

    fn bad(&self, what: &str) -> Error {
        let reason = format!("it is no table of checkpoints: its {what} are not what was written");
        Error::ModelTable { table: self.table.clone(), reason }
    }
}

impl CheckpointPlace for CheckpointTable {
    fn describe(&self) -> String {
        self.table.clone()
    }

    fn write(&self, name: &str, bytes: Vec<u8>) -> Result<()> {
        self.wait(self.write_rows(name, bytes))
    }

    fn read(&self, name: &str) -> Result<Vec<u8>> {
        self.wait(self.read_rows(name))
    }

    fn names(&self) -> Result<Vec<String>> {
        self.wait(async { Ok(self.whole().await?.into_iter().map(|(name, _)| name).collect()) })
    }

    fn remove(&self, names: &[String]) -> Result<()> {
        self.wait(self.remove_rows(names))
    }
}

impl fmt::Debug for CheckpointTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckpointTable").field("table", &self.table).finish_non_exhaustive()
    }
}
