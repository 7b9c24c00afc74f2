//! Lazy tables on the cluster: a [`DataFrame`] is a plan; transformations build plans, actions run them.
//!
//! Transformations (`select`, `filter`, `join` …) return at once and never fail: Spark resolves names and types when
//! an action asks. Actions (`schema`, `count`, `stream`, `collect`, `show` …) are async, and dropping their future
//! interrupts what runs on the cluster. Expressions are the Apache client's [`Column`] and
//! [`functions`](spark_connect::functions).
//!
//! Names follow Spark: where an expression is taken (`select`, `filter`, `order_by`, `group_by` …), `"a.b"` is field
//! `b` of column `a`, and [`column`](column())`("a.b")` is the column of exactly that name. Where a method takes a
//! *name* (`drop`, `with_column`, `with_column_renamed` …), it is the exact name.

mod action;
mod column;
mod group;
mod join;
mod local;
mod nested;
mod observe;
mod preference;
mod python;
mod reader;
mod schema;
mod scratch;
mod server_limits;
mod sink;
mod source;
mod transform;
mod vectors;
mod view;
mod writer;

use std::{
    collections::BTreeSet,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
};

use futures::future::BoxFuture;
use spark_connect::{Expression, column::Column, expression::ColumnReference};
use spark_connect_proto::{self as proto, command::CommandType, relation::RelType};

pub use self::{
    action::ExplainMode,
    column::{column, function, quote, with_metadata},
    group::GroupedData,
    join::JoinType,
    reader::DataFrameReader,
    schema::{METADATA_KEY, Schema, is_vector, vector_type},
    scratch::Scratch,
    source::{PartitionedSource, SourceOptions, SourcePlan, Strategy},
    writer::{DataFrameWriter, SaveMode},
};
pub(crate) use self::{
    action::texts,
    column::{literal_array, vector_to_array},
    local::{LocalRows, lay_out},
    nested::NestedFields,
    python::{Global, PythonFunction, Workers},
    scratch::ScratchTable,
    sink::{Uploaded, upload},
    source::hash_input,
    vectors::{WIDE, declared_size, indices, sparse_vector, vector_parts},
};
use crate::{
    Error, Result,
    connect::{Client, ExecuteOptions, Execution},
    stream::{RecordSource, RecordStream},
};

/// The tags of a session's executions, and the way to its server; shared by the frames of a session.
#[derive(Debug)]
pub(crate) struct Context {
    client: Client,
    tags: Mutex<BTreeSet<String>>,
    /// True if the server has Spark ML's vectors; empty until the first request.
    vectors: tokio::sync::OnceCell<bool>,
    /// Staging tables behind frames of this session.
    staged: Mutex<Vec<ScratchTable>>,
}

impl Context {
    pub(crate) fn new(client: Client) -> Arc<Self> {
        Arc::new(Self::bare(client))
    }

    fn bare(client: Client) -> Self {
        Self { client, tags: Mutex::default(), vectors: Default::default(), staged: Mutex::default() }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Returns the tags, for reading or change.
    pub(crate) fn tags<T>(&self, work: impl FnOnce(&mut BTreeSet<String>) -> T) -> T {
        work(&mut self.tags.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns another of the same session, whose executions carry one more tag.
    fn tagged(&self, tag: &str) -> Arc<Self> {
        let mut tags = self.tags(|tags| tags.clone());
        tags.insert(tag.to_owned());
        Arc::new(Self { tags: Mutex::new(tags), ..Self::bare(self.client.clone()) })
    }

    fn keep(&self, staging: ScratchTable) {
        self.staged.lock().unwrap_or_else(PoisonError::into_inner).push(staging);
    }

    /// Drops the staging tables behind frames of this session, whose rows are then gone.
    pub(crate) async fn drop_staged(&self) {
        let staged = std::mem::take(&mut *self.staged.lock().unwrap_or_else(PoisonError::into_inner));
        for staging in staged {
            staging.close().await;
        }
    }

    fn execute(&self, plan: proto::Plan) -> Execution {
        let tags = self.tags(|tags| tags.iter().cloned().collect());
        self.client.execute(plan, ExecuteOptions { tags, ..Default::default() })
    }

    /// Runs a command to its end; returns what the server answered.
    pub(crate) async fn command(
        &self,
        command: CommandType,
    ) -> Result<Vec<proto::execute_plan_response::ResponseType>> {
        let command = proto::Command { command_type: Some(command) };
        self.execute(proto::Plan { op_type: Some(proto::plan::OpType::Command(command)) }).responses().await
    }
}

/// A lazy table on the cluster. A clone is the same table.
#[derive(Clone)]
pub struct DataFrame {
    context: Arc<Context>,
    relation: Arc<proto::Relation>,
    /// Number of transformations on top of each other.
    depth: usize,
    /// True if the plan has parts that only its own session has: uploads, kept frames, models.
    session_bound: bool,
}

/// Transformations that may lie one on the other. A server reads 1,024 messages within each other, of which a
/// transformation takes two; Spark's own analysis may end earlier (`spark.sql.analyzer.maxIterations`).
const DEEPEST: usize = 400;

impl DataFrame {
    /// Returns a frame over a relation of the protocol, for what this crate has no method for.
    pub fn from_relation(like: &DataFrame, relation: proto::Relation) -> DataFrame {
        let session_bound = like.session_bound || relation.rel_type.as_ref().is_some_and(binds_session);
        DataFrame { context: like.context.clone(), relation: Arc::new(relation), depth: like.depth, session_bound }
    }

    /// Runs a command in the frame's session.
    pub(crate) async fn command(
        &self,
        command: CommandType,
    ) -> Result<Vec<proto::execute_plan_response::ResponseType>> {
        self.check_depth()?;
        self.context.command(command).await
    }

    pub(crate) fn new(context: Arc<Context>, kind: RelType) -> Self {
        static NEXT: AtomicI64 = AtomicI64::new(0);
        let plan_id = Some(NEXT.fetch_add(1, Ordering::Relaxed));
        let common = Some(proto::RelationCommon { plan_id, ..Default::default() });
        let session_bound = binds_session(&kind);
        let relation = Arc::new(proto::Relation { common, rel_type: Some(kind) });
        Self { context, relation, depth: 0, session_bound }
    }

    pub(crate) fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// Returns the plan, in the protocol's terms.
    pub fn relation(&self) -> &proto::Relation {
        &self.relation
    }

    /// Returns the connection whose session this frame belongs to.
    pub fn client(&self) -> &Client {
        &self.context.client
    }

    /// Returns this frame's column of a name, or path into a struct; distinguishes columns of the two sides of a join.
    pub fn col(&self, name: &str) -> Column {
        let reference = ColumnReference::new(name);
        Column::new(Expression::ColumnReference(match self.plan_id() {
            Some(id) => reference.with_plan_id(id),
            None => reference,
        }))
    }

    /// Returns the same plan, in another session.
    fn in_session(&self, client: &Client) -> DataFrame {
        let context = Context::new(client.clone());
        let tags = self.context.tags(|tags| tags.clone());
        context.tags(|own| *own = tags);
        DataFrame { context, relation: self.relation.clone(), depth: self.depth, session_bound: self.session_bound }
    }

    /// Reads tables and files, in this frame's session.
    fn read(&self) -> DataFrameReader {
        DataFrameReader::new(self.context.clone())
    }

    fn plan_id(&self) -> Option<i64> {
        self.relation.common.as_ref().and_then(|common| common.plan_id)
    }

    fn derive(&self, kind: RelType) -> DataFrame {
        let derived = DataFrame::new(self.context.clone(), kind);
        DataFrame { depth: self.depth + 1, session_bound: self.session_bound || derived.session_bound, ..derived }
    }

    /// As [`derive`](Self::derive), from another frame too.
    fn derive_with(&self, other: &DataFrame, kind: RelType) -> DataFrame {
        let derived = self.derive(kind);
        let session_bound = derived.session_bound || other.session_bound;
        DataFrame { depth: self.depth.max(other.depth) + 1, session_bound, ..derived }
    }

    fn input(&self) -> Option<Box<proto::Relation>> {
        // What no server takes need not grow: actions refuse it by its depth.
        let relation = if self.depth > DEEPEST { Default::default() } else { proto::Relation::clone(&self.relation) };
        Some(Box::new(relation))
    }

    fn check_depth(&self) -> Result<()> {
        if self.depth <= DEEPEST {
            return Ok(());
        }
        let legal = format!(
            "at most {DEEPEST}, which servers read; write the rows to a table in between, or add many columns at once \
             (`with_columns`)"
        );
        Err(Error::param("plan", format!("{} transformations one on the other", self.depth), legal))
    }

    /// # Errors
    /// [`Error::Param`] for a plan that is too deep for any server.
    fn plan(&self) -> Result<proto::Plan> {
        self.check_depth()?;
        Ok(proto::Plan { op_type: Some(proto::plan::OpType::Root(proto::Relation::clone(&self.relation))) })
    }
}

/// Returns every epoch runs the plan again. A plan that is not deterministic gives other rows each time.
/// Returns whether a copy of the session lacks the node: uploads, kept frames and models belong to one session.
fn binds_session(kind: &RelType) -> bool {
    matches!(
        kind,
        RelType::MlRelation(_)
            | RelType::CachedRemoteRelation(_)
            | RelType::CachedLocalRelation(_)
            | RelType::ChunkedCachedLocalRelation(_)
    )
}

impl RecordSource for DataFrame {
    fn open(&self, _epoch: usize) -> BoxFuture<'_, Result<RecordStream>> {
        Box::pin(self.stream())
    }

    fn describe(&self) -> String {
        match &self.relation.rel_type {
            Some(RelType::Read(proto::Read { read_type: Some(proto::read::ReadType::NamedTable(table)), .. })) => {
                format!("table {} at {}", table.unparsed_identifier, self.client().address())
            }
            _ => format!("a query at {}", self.client().address()),
        }
    }
}

impl fmt::Debug for DataFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataFrame")
            .field("source", &self.describe())
            .field("plan_id", &self.plan_id())
            .finish_non_exhaustive()
    }
}
