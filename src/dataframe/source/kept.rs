//! A copy of the rows that the cluster keeps while they are read: in executor storage, or as files.

use arrow::{
    array::{ArrayRef, AsArray},
    datatypes::{Int32Type, Int64Type},
};
use spark_connect::{functions, lit};
use uuid::Uuid;

use super::{
    deal::{Deal, GROUP, deal, group_is, of_group},
    files,
    groups::{self, Group},
    limits,
    measure::{self, RowTally},
};
use crate::{
    Error, Result,
    connect::Client,
    dataframe::{DataFrame, ExplainMode, SaveMode, Schema, Scratch, column, scratch},
};

/// The column of a row's file, while staged rows are measured.
const PATH: &str = "__tinderbox_path";

/// Where the copy is, and how it goes.
#[derive(Debug)]
pub(super) enum KeptRows {
    /// In executor storage; the view fixes what a plan draws at random.
    Persisted { rows: DataFrame, view: String },
    /// A table of files.
    Staged { like: DataFrame, table: String },
}

impl KeptRows {
    /// Lets go of the copy.
    pub(super) async fn release(self) -> Result<()> {
        match self {
            KeptRows::Persisted { rows, view } => {
                rows.unpersist().await?;
                rows.drop_temp_view(&view).await
            }
            KeptRows::Staged { like, table } => scratch::drop_table(&like, &table).await,
        }
    }

    /// Returns the same, after the session was replaced: a table can be dropped from any.
    pub(super) fn through(self, client: &Client) -> Self {
        match self {
            KeptRows::Staged { like, table } => KeptRows::Staged { like: like.in_session(client), table },
            persisted => persisted,
        }
    }
}

/// Has the cluster compute the rows once, and keep them in its storage; `None` where the server keeps no rows.
pub(super) async fn persist(
    frame: &DataFrame,
    schema: &Schema,
    tally: &RowTally,
    cap: u64,
) -> Result<Option<(KeptRows, Vec<Group>)>> {
    let Some((kept, groups)) = persist_dealt(frame, schema, tally, cap, Deal::ByValue).await? else { return Ok(None) };
    if are_even(&groups, cap) {
        return Ok(Some((kept, groups)));
    }
    kept.release().await?;
    persist_dealt(frame, schema, tally, cap, Deal::ByPlace).await
}

/// Has the cluster write the rows once, as files of about `task` bytes of rows. What was written does not change, so a
/// file may hold any rows.
pub(super) async fn stage(
    frame: &DataFrame,
    schema: &Schema,
    tally: &RowTally,
    [cap, task]: [u64; 2],
    place: &Scratch,
) -> Result<(KeptRows, Vec<Group>)> {
    let table = scratch::table(frame, place).await?;
    let kept = KeptRows::Staged { like: frame.clone(), table: table.clone() };
    // Parquet's writer looks at its memory every so many rows.
    let rows_between_looks = (1u64 << 20).div_ceil(tally.average()).clamp(1, 100);
    let write = frame.write().mode(SaveMode::ErrorIfExists).format("parquet");
    let write = write.option("parquet.page.size.row.check.min", rows_between_looks);
    let aim = limits::aim(tally.bytes, cap);
    let write = write.option("maxRecordsPerFile", (task.min(aim / 2) / tally.average()).max(1));
    let read = async {
        write.save_as_table(&table).await?;
        let staged = frame.read().table(&table);
        let location = scratch::location(frame, &table).await?;
        let Some(by_path) = files::with_path(&staged, PATH) else { return Ok(Vec::new()) };
        let found = measure::by(&by_path, schema, column(PATH)).await?;
        // Read by path, without a catalog, so that a restarted server, which forgot the table, serves it.
        let path = |(paths, row, _): &(ArrayRef, usize, RowTally)| {
            let path = paths.as_string_opt::<i32>().map_or("", |paths| paths.value(*row));
            format!("{}/{}", location.trim_end_matches('/'), path.rsplit('/').next().unwrap_or_default())
        };
        let tallies: Vec<_> = found.iter().map(|(_, _, tally)| *tally).collect();
        let group = |run: std::ops::Range<usize>| {
            let files = found[run.clone()].iter().map(path);
            groups::group(frame.read().schema(schema).format("parquet").load(files), &tallies[run])
        };
        let groups: Vec<Group> = groups::pack(&tallies, aim).into_iter().map(group).collect();
        match groups.is_empty() {
            true => Ok(vec![groups::group(staged, &[])]),
            false => Ok(groups),
        }
    };
    match read.await {
        Ok(groups) => Ok((kept, groups)),
        Err(error) => {
            _ = kept.release().await;
            Err(error)
        }
    }
}

/// Returns whether no group is larger than the cap because many rows are alike.
fn are_even(groups: &[Group], cap: u64) -> bool {
    groups.iter().all(|group| group.tally.bytes <= cap || group.rows == Some(1))
}

async fn persist_dealt(
    frame: &DataFrame,
    schema: &Schema,
    tally: &RowTally,
    cap: u64,
    by: Deal,
) -> Result<Option<(KeptRows, Vec<Group>)>> {
    let dealt = deal(frame, schema, groups::deal(tally, limits::aim(tally.bytes, cap)), by);
    let view = format!("tinderbox_{}", Uuid::new_v4().simple());
    // A plan that draws at random draws anew each time it is analysed; a view is analysed once.
    dealt.create_temp_view(&view).await?;
    let rows = dealt.read().table(&view);
    match rows.persist().await {
        Err(error) if error.is_refusal() => {
            tracing::debug!(%error, "the server does not keep rows");
            rows.drop_temp_view(&view).await?;
            return Ok(None);
        }
        persisted => drop(persisted?),
    }
    let kept = KeptRows::Persisted { rows: rows.clone(), view };
    let read = async {
        let plan = rows.filter(group_is(0)).explain(ExplainMode::Simple).await?;
        if !plan.contains("InMemoryTableScan") {
            let reason =
                "the server does not use the rows it was to keep; stage them instead (`Strategy::Staged`)".into();
            return Err(Error::Incomplete { operation: "persisting rows".into(), reason });
        }
        count(&rows, tally, |key| of_group(&rows, key)).await
    };
    match read.await {
        Ok(groups) => Ok(Some((kept, groups))),
        Err(error) => {
            _ = kept.release().await;
            Err(error)
        }
    }
}

/// Returns the groups that have rows, with their counts.
async fn count(rows: &DataFrame, tally: &RowTally, frame: impl Fn(i32) -> DataFrame) -> Result<Vec<Group>> {
    let counts = rows.group_by([column(GROUP)]).agg([functions::count(lit(1))]).order_by([column(GROUP)]);
    let mut groups = Vec::new();
    for batch in counts.collect().await? {
        let (Some(keys), Some(counts)) =
            (batch.column(0).as_primitive_opt::<Int32Type>(), batch.column(1).as_primitive_opt::<Int64Type>())
        else {
            let reason = format!("the count of kept rows gave {:?}", batch.schema());
            return Err(Error::Incomplete { operation: "counting kept rows".into(), reason });
        };
        for (key, count) in keys.values().iter().zip(counts.values()) {
            let rows = *count as u64;
            let bytes = rows * tally.average();
            let tally = RowTally { rows, bytes, largest: tally.largest, task: bytes, task_rows: rows, tasks: 1 };
            groups.push(Group { frame: frame(*key), rows: Some(rows), tally, files: Vec::new() });
        }
    }
    Ok(groups)
}
