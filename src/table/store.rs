//! Models in a table of the cluster: save, load, list.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arrow::{
    array::{Array, AsArray, RecordBatch},
    compute::cast,
    datatypes::{DataType, Int64Type},
};
use spark_connect::{functions, lit, lit_string};
use uuid::Uuid;

use super::{
    decode, encode,
    layout::{self, MANIFEST, Manifest, TENSOR, Withdrawn},
    manifest as read_manifest,
};
use crate::{
    Error, Result,
    dataframe::{DataFrame, SaveMode, column, function},
    nn::Weights,
    session::Session,
    stream::RecordStream,
};

/// A table of models, such as `lab.models`; the name is SQL.
///
/// Every version is written by one command. Versions of a name count up from 1 and are never used again.
#[derive(Debug, Clone)]
pub struct ModelTable {
    spark: Session,
    table: String,
}

/// A model in a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelEntry {
    /// Its name.
    pub name: String,
    /// Its newest version.
    pub latest: i64,
    /// Number of versions.
    pub versions: u64,
    /// When the newest was written.
    pub created_at: SystemTime,
}

/// One version of a model, without its weights.
#[derive(Debug, Clone, PartialEq)]
pub struct VersionEntry {
    /// Its number.
    pub version: i64,
    /// When it was written.
    pub created_at: SystemTime,
    /// All there is to know about it.
    pub manifest: Manifest,
}

impl ModelTable {
    /// Creates the table of that (SQL) name. It need not exist: the first save makes it.
    pub fn new(spark: &Session, table: impl Into<String>) -> Self {
        Self { spark: spark.clone(), table: table.into() }
    }

    /// Writes a new version of a model, and gives its number.
    ///
    /// Several may save at the same moment, under one name too. A table without transactions can then fail a write, or
    /// give two of them one number; who finds so withdraws and saves again under the next number, a few times if need
    /// be. Rows that were withdrawn stay in the table and are not read.
    ///
    /// Dropping the future interrupts the write; the table format decides about a half-written version, but
    /// it is never read as a whole one.
    ///
    /// # Errors
    /// [`Error::Param`] for an empty name; [`Error::ModelTable`] when the table is no model table, or others were
    /// quicker every time; [`Error::Network`] when the weights do not fit; [`Error::Server`], [`Error::Unreachable`].
    pub async fn save(&self, name: &str, manifest: &Manifest, weights: &Weights) -> Result<i64> {
        if name.is_empty() {
            return Err(Error::param("name", "``", "a model's name, not empty"));
        }
        let mut manifest = manifest.clone();
        for attempt in 1..=ATTEMPTS {
            let version = 1 + self.numbers(name).await?.first().copied().unwrap_or(0);
            let created_at = now();
            let batches = encode::batches(name, version, created_at, &manifest, weights)?;
            // What was written is looked at again by its checksums.
            let written = Arc::new(Mutex::new(Vec::new()));
            let seen = written.clone();
            let batches = batches.map(move |batch| {
                let batch = batch?;
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                seen.extend(parts(std::slice::from_ref(&batch))?);
                Ok(batch)
            });
            match self.append(batches).await {
                // No lock spans the reading of the newest number and the write, and another's commit may remove what this
                // one wrote without an error.
                Ok(()) if self.holds_only(name, version, created_at, &written).await? => return Ok(version),
                Ok(()) => {
                    tracing::info!(table = self.table, model = name, version, "another save took the number");
                    manifest.withdrawn.push(Withdrawn { version, created_at });
                }
                Err(Error::Server(error)) if attempt < ATTEMPTS && !error.is_refused_plan() => {
                    // Another's commit may have taken rows of this one along.
                    manifest.withdrawn.push(Withdrawn { version, created_at });
                    tracing::info!(table = self.table, model = name, version, %error, "the write failed; trying again");
                }
                Err(error) => return Err(error),
            }
            tokio::time::sleep(pause(attempt)).await;
        }
        Err(self.bad(format!("model `{name}` was saved by others at each of {ATTEMPTS} attempts; save it again")))
    }

    /// Returns whether the rows that were written as a version are complete, without others.
    async fn holds_only(
        &self,
        name: &str,
        version: i64,
        created_at: i64,
        written: &Mutex<Vec<String>>,
    ) -> Result<bool> {
        let rows = self.model(name).filter(column("version").eq(lit(version)));
        let time = function("unix_micros", [column("created_at")]).alias("created_at");
        let found = rows.select(PARTS.map(column).into_iter().chain([time])).collect().await?;
        for batch in &found {
            if self.numbers_of(batch, PARTS.len())?.iter().any(|time| *time != created_at) {
                return Ok(false);
            }
        }
        let (mut found, mut written) = (parts(&found)?, written.lock().unwrap_or_else(PoisonError::into_inner));
        found.sort_unstable();
        written.sort_unstable();
        Ok(found == *written)
    }

    pub(super) async fn append(
        &self,
        batches: impl Iterator<Item = Result<RecordBatch>> + Send + 'static,
    ) -> Result<()> {
        let rows = RecordStream::new(layout::schema(), futures::stream::iter(batches));
        let rows = self.spark.upload(rows, &self.table).await?;
        rows.write().mode(SaveMode::Append).save_as_table(&self.table).await?;
        rows.close().await;
        Ok(())
    }

    /// Reads a version of a model, the newest whole one unless a version is given; returns its number too.
    ///
    /// # Errors
    /// [`Error::ModelTable`] when there is no such table, model or version, or it is not whole, not what was written or
    /// of a format this library does not read; [`Error::Server`], [`Error::Unreachable`].
    pub async fn load(&self, name: &str, version: Option<i64>) -> Result<(i64, Manifest, Weights)> {
        let numbers = self.numbers(name).await?;
        let candidates: Vec<i64> = match version {
            Some(version) if numbers.contains(&version) => vec![version],
            Some(version) if !numbers.is_empty() => {
                let there: Vec<String> = numbers.iter().take(20).map(i64::to_string).collect();
                let there = there.join(", ");
                return Err(self.bad(format!("model `{name}` has no version {version}; it has {there}")));
            }
            _ => numbers,
        };
        let mut newest_error = None;
        for version in candidates {
            match self.read(name, version).await {
                Ok((manifest, weights)) => return Ok((version, manifest, weights)),
                Err(error @ Error::ModelTable { .. }) => {
                    tracing::warn!(table = self.table, model = name, version, %error, "a version cannot be read");
                    newest_error.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        match newest_error {
            Some(error) => Err(error),
            None => Err(self.no_model(name).await),
        }
    }

    /// Returns the table's models, by name. A table that does not exist has none.
    ///
    /// # Errors
    /// [`Error::ModelTable`] when the table is no model table; [`Error::Server`], [`Error::Unreachable`].
    pub async fn models(&self) -> Result<Vec<ModelEntry>> {
        if !self.exists().await? {
            return Ok(Vec::new());
        }
        let rows = self.rows().filter(column("kind").eq(lit_string(MANIFEST))).group_by([column("model")]).agg([
            functions::max(column("version")).alias("latest"),
            functions::count_distinct(column("version")).alias("versions"),
            function("unix_micros", [functions::max(column("created_at"))]).alias("created_at"),
        ]);
        let mut models = Vec::new();
        for batch in rows.order_by([column("model")]).collect().await? {
            let names = self.texts(&batch, 0)?;
            let [latest, versions, created_at] = [1, 2, 3].map(|i| self.numbers_of(&batch, i));
            for (((name, latest), versions), created_at) in
                names.into_iter().zip(latest?).zip(versions?).zip(created_at?)
            {
                models.push(ModelEntry {
                    name,
                    latest,
                    versions: versions.unsigned_abs(),
                    created_at: time(created_at),
                });
            }
        }
        Ok(models)
    }

    /// Returns a model's versions, newest first, each with its manifest.
    ///
    /// # Errors
    /// [`Error::ModelTable`] when there is no such table or model, or a manifest cannot be read; [`Error::Server`],
    /// [`Error::Unreachable`].
    pub async fn versions(&self, name: &str) -> Result<Vec<VersionEntry>> {
        if self.numbers(name).await?.is_empty() {
            return Err(self.no_model(name).await);
        }
        let rows = self.model(name).filter(column("kind").eq(lit_string(MANIFEST)));
        let created_at = function("unix_micros", [column("created_at")]).alias("created_at");
        let rows = rows.select([column("version"), column("json"), created_at]);
        let rows = rows.order_by([column("version").desc(), column("created_at")]);
        let mut versions: Vec<VersionEntry> = Vec::new();
        let mut withdrawn = Vec::new();
        for batch in rows.collect().await? {
            let (numbers, times) = (self.numbers_of(&batch, 0)?, self.numbers_of(&batch, 2)?);
            for ((version, json), created_at) in numbers.into_iter().zip(self.texts(&batch, 1)?).zip(times) {
                let manifest = read_manifest(&self.table, &json)?;
                // Newer versions come first, so whoever withdrew this copy has been seen.
                let gone = withdrawn.contains(&Withdrawn { version, created_at });
                withdrawn.extend_from_slice(&manifest.withdrawn);
                if !gone {
                    versions.push(VersionEntry { version, created_at: time(created_at), manifest });
                }
            }
        }
        Ok(versions)
    }

    /// Reads one version. Its size is queried before its rows are fetched.
    async fn read(&self, name: &str, version: i64) -> Result<(Manifest, Weights)> {
        let mut rows = self.model(name).filter(column("version").eq(lit(version)));
        if let Some(copy) = self.copy(name, version).await? {
            rows = rows.filter(function("unix_micros", [column("created_at")]).eq(lit(copy.created_at)));
            let manifest = read_manifest(&self.table, &copy.json)?;
            let expected: Option<u64> = manifest.tensors.iter().map(|tensor| tensor.bytes()).sum();
            let length = functions::sum(functions::length(column("data")));
            let tensors = rows.filter(column("kind").eq(lit_string(TENSOR)));
            let there = tensors.agg([function("coalesce", [length, lit(0)])]).collect().await?;
            let there: i64 =
                there.iter().map(|batch| self.numbers_of(batch, 0)).collect::<Result<Vec<_>>>()?.concat().iter().sum();
            if expected != Some(there.unsigned_abs()) {
                let expected = expected.map_or("too many".into(), |bytes| bytes.to_string());
                return Err(self.bad(format!(
                    "model `{name}` version {version}: found {there} bytes of tensors, expected {expected} by its manifest"
                )));
            }
        }
        let layout = layout::schema();
        let names = layout.fields().iter().map(|field| column(field.name()));
        // In partition groups: a version may be larger than what a server gives by one query.
        let source = rows.select(names).source();
        let batches = source.stream().await?.collect().await?;
        source.close().await?;
        decode(&self.table, name, version, &batches)
    }

    /// Returns the manifest under a number, and when it was written; none when the version is not whole.
    async fn copy(&self, name: &str, version: i64) -> Result<Option<ManifestCopy>> {
        let mut copies = self.copies(name, version).await?;
        if copies.len() > 1 {
            let newer = self.versions(name).await?;
            let withdrawn: Vec<_> = newer.iter().flat_map(|entry| &entry.manifest.withdrawn).collect();
            copies.retain(|copy| !withdrawn.contains(&&Withdrawn { version, created_at: copy.created_at }));
            if copies.len() != 1 {
                return Err(self.bad(format!(
                    "version {version} of model `{name}` was saved by several at once, {} of whom did not withdraw",
                    copies.len()
                )));
            }
        }
        Ok(copies.pop())
    }

    /// Returns the manifests under one number: more than one when several saved at the same moment.
    async fn copies(&self, name: &str, version: i64) -> Result<Vec<ManifestCopy>> {
        let created_at = function("unix_micros", [column("created_at")]).alias("created_at");
        let manifests = self.model(name).filter(column("version").eq(lit(version)));
        let manifests = manifests.filter(column("kind").eq(lit_string(MANIFEST)));
        let mut copies = Vec::new();
        for batch in manifests.select([column("json"), created_at]).collect().await? {
            let times = self.numbers_of(&batch, 1)?;
            copies.extend(
                self.texts(&batch, 0)?
                    .into_iter()
                    .zip(times)
                    .map(|(json, created_at)| ManifestCopy { json, created_at }),
            );
        }
        Ok(copies)
    }

    /// Returns the session that the table is reached through.
    pub(super) fn spark(&self) -> &Session {
        &self.spark
    }

    /// Returns its name, as SQL.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// Returns the numbers of a model's versions, whole or not, newest first; none when the table does not exist.
    async fn numbers(&self, name: &str) -> Result<Vec<i64>> {
        if !self.exists().await? {
            return Ok(Vec::new());
        }
        let rows = self.model(name).select([column("version")]).distinct().order_by([column("version").desc()]);
        let batches = rows.collect().await?;
        Ok(batches.iter().map(|batch| self.numbers_of(batch, 0)).collect::<Result<Vec<_>>>()?.concat())
    }

    /// Returns whether the table exists; refuses one that is not a model table.
    pub(super) async fn exists(&self) -> Result<bool> {
        if !self.spark.catalog().table_exists(&self.table).await? {
            return Ok(false);
        }
        Error::pass_over(self.spark.catalog().refresh_table(&self.table).await, "to refresh a table")?;
        let schema = self.rows().schema().await?;
        match layout::schema().fields().iter().find(|field| schema.get(field.name()).is_none()) {
            Some(missing) => Err(self.bad(format!("it is no model table: it has no column `{}`", missing.name()))),
            None => Ok(true),
        }
    }

    fn rows(&self) -> DataFrame {
        self.spark.table(&self.table)
    }

    pub(super) fn model(&self, name: &str) -> DataFrame {
        self.rows().filter(column("model").eq(lit_string(name)))
    }

    pub(super) fn texts(&self, batch: &RecordBatch, index: usize) -> Result<Vec<String>> {
        let column = batch.column(index);
        match column.as_string_opt::<i32>() {
            Some(texts) if texts.null_count() == 0 => Ok(texts.iter().flatten().map(str::to_owned).collect()),
            _ => Err(self.unexpected(batch, index, &DataType::Utf8)),
        }
    }

    pub(super) fn numbers_of(&self, batch: &RecordBatch, index: usize) -> Result<Vec<i64>> {
        match batch.column(index).as_primitive_opt::<Int64Type>() {
            Some(numbers) if numbers.null_count() == 0 => Ok(numbers.values().to_vec()),
            _ => Err(self.unexpected(batch, index, &DataType::Int64)),
        }
    }

    fn unexpected(&self, batch: &RecordBatch, index: usize, expected: &DataType) -> Error {
        let schema = batch.schema();
        let field = schema.field(index);
        let found = field.data_type();
        self.bad(format!("column `{}` holds nulls or is {found}, not {expected}", field.name()))
    }

    pub(super) fn bad(&self, reason: String) -> Error {
        Error::ModelTable { table: self.table.clone(), reason }
    }

    async fn no_model(&self, name: &str) -> Error {
        match self.models().await {
            Ok(models) if models.is_empty() => self.bad(format!("it holds no model `{name}`, nor any other")),
            Ok(models) => {
                let names: Vec<&str> = models.iter().take(20).map(|model| model.name.as_str()).collect();
                self.bad(format!("it holds no model `{name}`; it holds {}", names.join(", ")))
            }
            Err(error) => error,
        }
    }
}

/// Largest number of attempts of a save that conflicts with others.
const ATTEMPTS: u32 = 6;

/// The columns that say what a row of a version holds, without its data.
const PARTS: [&str; 3] = ["name", "chunk", "sha256"];

/// Returns the parts in the rows of a version.
fn parts(batches: &[RecordBatch]) -> Result<Vec<String>> {
    let mut parts = Vec::new();
    for batch in batches {
        let mut columns = Vec::new();
        for name in PARTS {
            let index = batch.schema().index_of(name).map_err(|e| Error::arrow("reading a version back", e))?;
            let texts = cast(batch.column(index), &DataType::Utf8);
            columns.push(texts.map_err(|e| Error::arrow("reading a version back", e))?);
        }
        let texts: Vec<_> = columns.iter().map(|column| column.as_string::<i32>()).collect();
        parts.extend(
            (0..batch.num_rows())
                .map(|row| texts.iter().map(|column| column.value(row)).collect::<Vec<_>>().join("\0")),
        );
    }
    Ok(parts)
}

/// One of the manifests under a number.
struct ManifestCopy {
    json: String,
    created_at: i64,
}

/// Returns a pause of random length, so that two who got in each other's way part.
fn pause(attempt: u32) -> Duration {
    Duration::from_millis(u64::from(attempt) * (20 + u64::from(Uuid::new_v4().as_fields().0 % 400)))
}

/// Microseconds since 1970.
pub(super) fn now() -> i64 {
    micros(SystemTime::now())
}

fn micros(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

fn time(micros: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(micros.max(0).unsigned_abs())
}
