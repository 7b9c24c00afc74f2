//! Staged copies: tables in a scratch database, dropped when they are no longer needed, at the latest by the next
//! process that stages in the same database.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use arrow::{array::AsArray, datatypes::Int64Type};
use sha2::{Digest, Sha256};
use spark_connect::functions;
use spark_connect_proto::{self as proto, command::CommandType, relation::RelType};
use uuid::Uuid;

use super::{Context, DataFrame, column, quote, texts};
use crate::{Error, Result};

/// Destination of staged rows: Parquet files of a table named `tinderbox_stage_…`, which is dropped with the source. A
/// table left behind by a process that died is dropped by the next one that stages in the same database. No other table
/// is dropped.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scratch {
    /// In a database that exists; the name is SQL.
    Database(String),
    /// Under a folder of the cluster's, by a database `tinderbox_scratch_…` that is made for it.
    Path(String),
}

impl Scratch {
    /// Returns the database of a table, if its (SQL) name has one.
    pub(crate) fn beside(table: &str) -> Option<Self> {
        database_of(table).map(|database| Scratch::Database(database.to_owned()))
    }
}

/// The column of a row's block, in tables that are written block by block.
pub(super) const BLOCK: &str = "__tinderbox_block";

/// Prefix of staged tables' names; no other table is ever dropped.
const PREFIX: &str = "tinderbox_stage_";

/// Age at which another machine's table counts as left behind: its process cannot be checked.
const LEFT_BEHIND: Duration = Duration::from_secs(30 * 24 * 3600);

/// Process that staged a table, as the table's name says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Owner {
    /// The session that makes something of its rows, without dashes.
    session: String,
    /// The machine, by the hash of its name.
    host: String,
    process: u32,
    /// When the process started, in the kernel's ticks: its number alone may be given again.
    started: u64,
    /// Seconds since 1970.
    staged: u64,
}

impl Owner {
    /// This process, for a session.
    fn this(session: &str) -> Self {
        let process = std::process::id();
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let (session, started) = (session.replace('-', ""), start_of(process).unwrap_or(0));
        Self { session, host: host(), process, started, staged: since.as_secs() }
    }

    fn table(&self) -> String {
        let Self { session, host, process, started, staged } = self;
        let unique = &Uuid::new_v4().simple().to_string()[..8];
        format!("{PREFIX}{host}_{process}_{started}_{staged}_{session}_{unique}")
    }

    fn of(table: &str) -> Option<Self> {
        let parts: Vec<_> = table.strip_prefix(PREFIX)?.split('_').collect();
        let [host, process, started, staged, session, unique] = parts[..] else { return None };
        let ours = host.len() == 8 && unique.len() == 8;
        ours.then_some(())?;
        let (process, started, staged) = (process.parse().ok()?, started.parse().ok()?, staged.parse().ok()?);
        Some(Self { session: session.to_owned(), host: host.to_owned(), process, started, staged })
    }

    /// Returns whether the owner no longer exists, so that it will not drop the table.
    fn is_gone(&self, now: &Owner) -> bool {
        if self.host == now.host && cfg!(target_os = "linux") {
            return start_of(self.process) != Some(self.started);
        }
        now.staged.saturating_sub(self.staged) > LEFT_BEHIND.as_secs()
    }
}

fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = name.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default();
    Sha256::digest(name.trim()).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// When a process of this machine started; `None` when there is none of that number.
fn start_of(process: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in brackets, may hold anything; the start is the 20th field after it.
    stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()
}

/// A table for rows on their way. It is dropped with this value, in the background.
#[derive(Debug)]
pub(crate) struct ScratchTable {
    /// A frame of the session that drops it.
    pub(super) like: DataFrame,
    name: String,
    dropped: bool,
}

impl ScratchTable {
    /// Chooses a name, in the current database unless a place is given; the table is made by whoever writes it. What
    /// dead processes left in the place is dropped.
    pub(crate) async fn new(context: &Arc<Context>, place: Option<&Scratch>) -> Result<Self> {
        // A separate context: the caller's may hold this value, and must end with the last of its frames.
        let own = Context::new(context.client().clone());
        let like = DataFrame::new(own, RelType::LocalRelation(proto::LocalRelation::default()));
        let place = match place {
            Some(place) => place.clone(),
            None => Scratch::Database(current_database(&like).await?),
        };
        let name = table(&like, &place).await?;
        tracing::debug!(table = name, "staging rows");
        Ok(Self { like, name, dropped: false })
    }

    /// Returns its name, as SQL.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns a frame of its rows, whose commands carry the table's name: whoever finds the table left behind
    /// interrupts them before dropping it.
    pub(crate) fn tagged(&self, frame: &DataFrame) -> DataFrame {
        let tag = self.name.rsplit('.').next().unwrap_or(&self.name);
        frame.tagged(tag)
    }

    /// Returns the rows of the table, as a frame of another's session.
    pub(crate) fn rows(&self, like: &DataFrame) -> DataFrame {
        like.read().table(&self.name)
    }

    /// Leaves the table where it is, and returns its name.
    pub(crate) fn keep(mut self) -> String {
        self.dropped = true;
        self.name.clone()
    }

    /// Drops the table. A failure is logged only: the result made of the rows is complete.
    pub(crate) async fn close(mut self) {
        self.dropped = true;
        if let Err(error) = drop_table(&self.like, &self.name).await {
            tracing::warn!(%error, table = self.name, "{LEFT}");
        }
    }
}

impl Drop for ScratchTable {
    fn drop(&mut self) {
        if self.dropped {
            return;
        }
        let (like, table) = (self.like.clone(), std::mem::take(&mut self.name));
        self.like.client().in_background(async move {
            if let Err(error) = drop_table(&like, &table).await {
                tracing::warn!(%error, table, "{LEFT}");
            }
        });
    }
}

const LEFT: &str = "a staging table is left; the next program that stages in its database drops it";

/// Returns a name for a new table in the scratch database, created if it is a path, and drops tables of dead processes.
pub(super) async fn table(like: &DataFrame, scratch: &Scratch) -> Result<String> {
    let database = match scratch {
        Scratch::Database(name) => name.clone(),
        Scratch::Path(path) => {
            let hash: String = Sha256::digest(path).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
            let database = format!("tinderbox_scratch_{hash}");
            let folder =
                format!("{}/tinderbox_scratch", path.trim_end_matches('/')).replace('\\', "\\\\").replace('\'', "\\'");
            command(like, &format!("CREATE DATABASE IF NOT EXISTS {database} LOCATION '{folder}'")).await?;
            database
        }
    };
    let now = Owner::this(like.client().session_id());
    for name in tables(like, &database).await? {
        if let Some(owner) = Owner::of(&name).filter(|owner| owner.is_gone(&now)) {
            tracing::info!(
                table = format!("{database}.{name}"),
                "dropping a staged copy that a dead process left behind"
            );
            // The server continues the operation of a client that has gone.
            if let Ok(session) = Uuid::parse_str(&owner.session)
                && let Err(error) = like.client().interrupt_in(&session, &name).await
            {
                tracing::debug!(%error, "what a dead process had begun is not interrupted");
            }
            let table = format!("{database}.{}", quote(&name));
            if let Err(error) = release_carriers(like, &table).await {
                tracing::debug!(%error, table, "sessions that carried blocks are not released");
            }
            if let Err(error) = drop_table(like, &table).await {
                tracing::warn!(%error, "a staged copy that was left behind cannot be dropped");
            }
        }
    }
    Ok(format!("{database}.{}", now.table()))
}

/// Returns the id of the session that carries some blocks to a staging table, by its number. Another process finds it
/// by the table.
pub(super) fn carrier(table: &str, number: u32) -> Uuid {
    let name = table.rsplit('.').next().unwrap_or(table).trim_matches('`');
    let mut id = [0; 16];
    id.copy_from_slice(&Sha256::digest(format!("{name} {number}"))[..16]);
    uuid::Builder::from_random_bytes(id).into_uuid()
}

/// Releases the sessions that carried blocks to a table which was left behind: what they uploaded is in the server's
/// memory.
async fn release_carriers(like: &DataFrame, table: &str) -> Result<()> {
    let rows = like.read().table(table);
    if rows.schema().await?.get(BLOCK).is_none() {
        return Ok(());
    }
    let mut last = -1;
    for batch in rows.agg([functions::max(column(BLOCK))]).collect().await? {
        last =
            batch.column(0).as_primitive_opt::<Int64Type>().and_then(|max| max.iter().flatten().next()).unwrap_or(last);
    }
    // A block or two were under way, and no session carried less than one.
    for number in 0..u32::try_from(last + 4).unwrap_or(0) {
        like.client().release_other(&carrier(table, number)).await?;
    }
    Ok(())
}

/// Returns the session's current database with its catalog, as SQL.
pub(super) async fn current_database(like: &DataFrame) -> Result<String> {
    let names = query(like, "SELECT current_catalog(), current_database()").collect().await?;
    match names.iter().find(|batch| batch.num_rows() > 0) {
        Some(row) => Ok(format!("{}.{}", quote(texts(row, 0)?.value(0)), quote(texts(row, 1)?.value(0)))),
        None => {
            let reason = "the server does not name the current database".into();
            Err(Error::Incomplete { operation: "staging".into(), reason })
        }
    }
}

/// Returns the database of a table, as far as the table's (SQL) name has one.
fn database_of(table: &str) -> Option<&str> {
    let mut quoted = false;
    let last = table.char_indices().filter(|(_, c)| {
        quoted ^= *c == '`';
        *c == '.' && !quoted
    });
    last.last().map(|(at, _)| table[..at].trim())
}

/// Drops a staged table; nothing happens when there is none.
pub(super) async fn drop_table(like: &DataFrame, name: &str) -> Result<()> {
    command(like, &format!("DROP TABLE IF EXISTS {name}")).await
}

/// Where the files of a table lie.
pub(super) async fn location(like: &DataFrame, table: &str) -> Result<String> {
    let details = query(like, &format!("DESCRIBE TABLE EXTENDED {table}"));
    for batch in details.collect().await? {
        let (names, values) = (texts(&batch, 0)?, texts(&batch, 1)?);
        if let Some(at) = (0..batch.num_rows()).find(|at| names.value(*at) == "Location") {
            return Ok(values.value(at).to_owned());
        }
    }
    let reason = format!("the server does not say where the files of {table} lie");
    Err(Error::Incomplete { operation: "staging".into(), reason })
}

async fn tables(like: &DataFrame, database: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for batch in query(like, &format!("SHOW TABLES IN {database} LIKE '{PREFIX}*'")).collect().await? {
        names.extend(texts(&batch, 1)?.iter().flatten().map(str::to_owned));
    }
    Ok(names)
}

fn sql(text: &str) -> RelType {
    RelType::Sql(proto::Sql { query: text.to_owned(), ..Default::default() })
}

fn query(like: &DataFrame, text: &str) -> DataFrame {
    like.beside(sql(text))
}

async fn command(like: &DataFrame, text: &str) -> Result<()> {
    let input = Some(proto::Relation { rel_type: Some(sql(text)), ..Default::default() });
    let command = CommandType::SqlCommand(proto::SqlCommand { input, ..Default::default() });
    like.command(command).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_what_stands_before_the_last_dot_outside_of_quotes() {
        assert_eq!(database_of("scored"), None);
        assert_eq!(database_of("`a.b`"), None);
        assert_eq!(database_of("lab.scored"), Some("lab"));
        assert_eq!(database_of("main.`my.lab`.`a``.b`"), Some("main.`my.lab`"));
    }

    #[test]
    fn only_tables_of_processes_that_are_gone_are_left_behind() {
        let now = Owner::this("0f1e2d3c-0000-4000-8000-000000000000");
        assert_eq!(Owner::of(&now.table()), Some(now.clone()));
        assert!(!now.is_gone(&now), "we are here");
        assert!(Owner { started: now.started + 1, ..now.clone() }.is_gone(&now), "another process had our number");
        assert!(Owner { process: u32::MAX, ..now.clone() }.is_gone(&now));
        let elsewhere = Owner { host: "ffffffff".into(), process: u32::MAX, ..now.clone() };
        assert!(!elsewhere.is_gone(&now), "another machine's process may well be there");
        assert!(elsewhere.is_gone(&Owner { staged: now.staged + LEFT_BEHIND.as_secs() + 1, ..now.clone() }));
        for other in ["tinderbox_stage_", "tinderbox_stage_mine", "stage", "tinderbox_stage_a_b_c_d_e_f", "models"] {
            assert_eq!(Owner::of(other), None, "{other}");
        }
    }
}
