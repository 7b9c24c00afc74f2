//! A staging table, written block by block.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use arrow::{array::AsArray, datatypes::Int64Type};
use spark_connect::{functions, lit, types::DataType};
use spark_connect_proto::{self as proto, relation::RelType};

use super::blocks::IpcBlock;
use crate::{
    Error, Result,
    connect::Client,
    dataframe::{
        Context, DataFrame, DataFrameReader, SaveMode, Scratch, column,
        local::LocalRows,
        preference::prefer,
        scratch::{self, BLOCK, ScratchTable},
    },
};

/// Largest number of attempts for one block.
const ATTEMPTS: u32 = 4;

/// Time before a block is tried again, growing with every attempt.
const PAUSE: Duration = Duration::from_millis(300);

/// Blocks that one copy of the session uploads before it is released, and they with it.
const BLOCKS_A_SESSION: u32 = 2;

/// Blocks on their way to a staging table.
#[derive(Debug)]
pub(super) struct Staging {
    table: ScratchTable,
    layout: LocalRows,
    /// The copy of the session that uploads go through, and the blocks that it holds.
    carrier: Option<(Carrier, u32)>,
    /// Number of copies so far.
    carriers: u32,
    /// Rows by block, of those that were written.
    written: BTreeMap<i64, u64>,
    next_block: i64,
    /// Bytes of Arrow that were written.
    bytes: u64,
}

impl Staging {
    /// Chooses a name. The first block makes the table.
    pub(super) async fn create(context: &Arc<Context>, layout: &LocalRows, place: Option<&Scratch>) -> Result<Self> {
        Ok(Self {
            table: ScratchTable::new(context, place).await?,
            layout: layout.clone(),
            carrier: None,
            carriers: 0,
            written: BTreeMap::new(),
            next_block: 0,
            bytes: 0,
        })
    }

    /// Writes a block; tries again, under another number, what may succeed then.
    pub(super) async fn append(&mut self, block: IpcBlock) -> Result<()> {
        let mut attempt = 1;
        loop {
            let number = self.next_block;
            self.next_block += 1;
            let error = match self.write(&block, number).await {
                Ok(()) => {
                    self.written.insert(number, block.rows);
                    self.bytes += block.data.len() as u64;
                    return Ok(());
                }
                Err(error) => error,
            };
            if attempt == ATTEMPTS || !may_succeed_later(&error) {
                return Err(error);
            }
            tracing::warn!(table = self.table.name(), block = number, attempt, %error, "a block of rows was not written; trying again");
            self.carrier = None;
            if error.is_session_lost() {
                let renewed = self.table.like.client().renewed().await?;
                self.table.like = self.table.like.in_session(&renewed);
            }
            tokio::time::sleep(PAUSE * attempt).await;
            attempt += 1;
        }
    }

    async fn write(&mut self, block: &IpcBlock, number: i64) -> Result<()> {
        let client = self.carrier().await?;
        let piece = IpcBlock { data: block.data.clone(), rows: block.rows };
        let rows = DataFrame::new(Context::new(client.clone()), relation(&client, &self.layout, vec![piece]).await?);
        let rows = rows.with_column(BLOCK, lit(number).cast(DataType::Long));
        // Dictionaries cost more time than a table that is read once saves.
        let write = rows.write().mode(SaveMode::Append).option("parquet.enable.dictionary", false);
        write.save_as_table(self.table.name()).await
    }

    /// Returns the session to upload through: a copy, so that what was uploaded goes with it.
    async fn carrier(&mut self) -> Result<Client> {
        if let Some((carrier, held)) = &mut self.carrier
            && *held < BLOCKS_A_SESSION
        {
            *held += 1;
            return Ok(carrier.client.clone());
        }
        self.carrier = None;
        let origin = self.table.like.client();
        let id = scratch::carrier(self.table.name(), self.carriers);
        self.carriers += 1;
        let carrier = match origin.fork_as(&id).await {
            Ok(client) => {
                number_on_executors(&client).await?;
                Carrier { client, is_copy: true }
            }
            Err(error) if error.is_refusal() => {
                tracing::debug!(%error, "the server does not copy sessions; uploads stay in this one until it ends");
                Carrier { client: origin.clone(), is_copy: false }
            }
            Err(error) => return Err(error),
        };
        let client = carrier.client.clone();
        self.carrier = Some((carrier, 1));
        Ok(client)
    }

    /// Returns the rows of the table, which must be those that were written, in a context of the same session if it
    /// lasts.
    pub(super) async fn finish(&mut self, context: &Arc<Context>) -> Result<DataFrame> {
        self.carrier = None;
        let client = self.table.like.client();
        let context = match client.session_id() == context.client().session_id() {
            true => context.clone(),
            false => Context::new(client.clone()),
        };
        let rows = DataFrameReader::new(context).table(self.table.name());
        let mut found = BTreeMap::new();
        let counts = rows.group_by([column(BLOCK)]).agg([functions::count(lit(1))]);
        for batch in counts.collect().await? {
            let columns = [0, 1].map(|at| batch.column(at).as_primitive_opt::<Int64Type>());
            let [Some(blocks), Some(counts)] = columns else {
                return Err(self.incomplete(format!("the count of its rows gave {:?}", batch.schema())));
            };
            found.extend(blocks.values().iter().copied().zip(counts.values().iter().map(|count| *count as u64)));
        }
        for (block, rows) in &self.written {
            let there = found.get(block).copied().unwrap_or_default();
            if there != *rows {
                let step = format!("staging block {block} in {}", self.table.name());
                return Err(Error::RowsLost { step, expected: *rows, found: there });
            }
        }
        let failed: Vec<i64> = found.into_keys().filter(|block| !self.written.contains_key(block)).collect();
        let rows = failed
            .into_iter()
            .fold(rows, |rows, block| rows.filter(!column(BLOCK).eq(lit(block).cast(DataType::Long))));
        Ok(rows.drop([BLOCK]))
    }

    /// Bytes of a row in Arrow, on average.
    pub(super) fn row_bytes(&self) -> u64 {
        self.bytes / self.written.values().sum::<u64>().max(1)
    }

    fn incomplete(&self, reason: String) -> Error {
        Error::Incomplete { operation: format!("staging rows in {}", self.table.name()), reason }
    }

    /// Returns the table, which is dropped with it.
    pub(super) fn into_table(self) -> ScratchTable {
        self.table
    }
}

/// A session that uploads go through; released when dropped, in the background, if it is a copy.
#[derive(Debug)]
struct Carrier {
    client: Client,
    is_copy: bool,
}

impl Drop for Carrier {
    fn drop(&mut self) {
        if self.is_copy {
            let client = self.client.clone();
            self.client.in_background(async move {
                if let Err(error) = client.release_session().await {
                    tracing::debug!(%error, "a session that uploaded rows is not released");
                }
            });
        }
    }
}

/// Has the column of block numbers be added by tasks. Spark's optimizer otherwise adds it to local rows itself, row by
/// row, by interpreting the plan.
async fn number_on_executors(client: &Client) -> Result<()> {
    let rule = "org.apache.spark.sql.catalyst.optimizer.ConvertToLocalRelation".to_owned();
    prefer(client, "rows to be numbered by tasks", vec![("spark.sql.optimizer.excludedRules", rule)]).await
}

/// Uploads blocks as one relation of the client's session.
pub(super) async fn relation(client: &Client, layout: &LocalRows, blocks: Vec<IpcBlock>) -> Result<RelType> {
    use prost::Message;
    let schema = schema_text(layout);
    let mut data: Vec<_> = blocks.into_iter().map(|block| block.data).collect();
    let hash = |hashes: Vec<String>| {
        hashes.into_iter().next().ok_or_else(|| Error::Incomplete {
            operation: "AddArtifacts".into(),
            reason: "the upload has no hash".into(),
        })
    };
    if data.len() == 1 && !client.version().at_least(4, 1) {
        let local = proto::LocalRelation { data: data.pop(), schema: Some(schema) };
        let hash = hash(client.upload(vec![local.encode_to_vec().into()]).await?)?;
        return Ok(RelType::CachedLocalRelation(proto::CachedLocalRelation { hash }));
    }
    let data_hashes = client.upload(data).await?;
    let schema_hash = Some(hash(client.upload(vec![schema.into()]).await?)?);
    Ok(RelType::ChunkedCachedLocalRelation(proto::ChunkedCachedLocalRelation { data_hashes, schema_hash }))
}

/// Returns the schema as the server reads it with the rows.
pub(super) fn schema_text(layout: &LocalRows) -> String {
    layout.spark.to_ddl().unwrap_or_else(|| layout.spark.to_json())
}

/// Returns whether a retry of a write may succeed: anything but a refusal of the plan.
fn may_succeed_later(error: &Error) -> bool {
    match error {
        Error::Server(error) => !error.is_refused_plan(),
        _ => false,
    }
}
