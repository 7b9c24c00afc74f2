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
mod analyze;
mod checkpoint;
mod column;
mod group;
mod join;
mod literal;
mod local;
mod merge;
mod metrics;
mod na;
mod nested;
mod observe;
mod plan;
mod preference;
mod python;
mod reader;
mod reshape;
mod rows;
mod schema;
mod scratch;
mod server_limits;
mod set_operations;
mod sink;
mod source;
mod stat;
mod storage;
mod subquery;
mod table_function;
mod transform;
mod vectors;
mod view;
mod window;
mod writer;
mod writer_v2;

use std::{
    collections::BTreeSet,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use futures::{TryStreamExt, future::BoxFuture};
use spark_connect::{Expression, column::Column, expression::ColumnReference};
use spark_connect_proto::{self as proto, command::CommandType, relation::RelType};

use self::plan::{Attached, PlanNode};
#[cfg(feature = "files")]
pub(crate) use self::source::LastingGroup;
pub use self::{
    action::ExplainMode,
    column::{col, column, function, quote, vector_to_array, with_metadata},
    group::GroupedData,
    join::{AsOfDirection, AsOfJoin, JoinType, NearestByJoin},
    literal::{IntoLiteral, literal},
    merge::{InsertAction, MergeAction, MergeIntoWriter},
    metrics::{PlanMetric, PlanMetrics},
    na::{DataFrameNaFunctions, NullRule},
    observe::Observation,
    reader::DataFrameReader,
    rows::Row,
    schema::{METADATA_KEY, Schema, is_vector, vector_type},
    scratch::Scratch,
    source::{PartitionedSource, SourceOptions, SourcePlan, Strategy},
    stat::DataFrameStatFunctions,
    storage::StorageLevel,
    table_function::TableFunctions,
    window::window,
    writer::{DataFrameWriter, SaveMode},
    writer_v2::DataFrameWriterV2,
};
pub(crate) use self::{
    action::texts,
    column::literal_array,
    local::{LocalRows, lay_out},
    nested::NestedFields,
    python::{Global, PythonFunction, Workers},
    scratch::ScratchTable,
    sink::{Uploaded, upload},
    source::hash_input,
    vectors::{WIDE, declared_size, indices, sparse_vector, vector_parts},
};
use crate::{
    Result,
    connect::{Client, Event, ExecuteOptions, Execution},
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
    is_stopped: AtomicBool,
}

impl Context {
    pub(crate) fn new(client: Client) -> Arc<Self> {
        Arc::new(Self::bare(client))
    }

    fn bare(client: Client) -> Self {
        Self {
            client,
            tags: Mutex::default(),
            vectors: Default::default(),
            staged: Mutex::default(),
            is_stopped: Default::default(),
        }
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

    pub(crate) fn set_stopped(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
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

    /// Runs a command.
    pub(crate) fn start(&self, command: CommandType) -> Execution {
        let command = proto::Command { command_type: Some(command) };
        self.execute(proto::Plan { op_type: Some(proto::plan::OpType::Command(command)) })
    }

    /// Runs a command to its end; returns what the server answered.
    pub(crate) async fn command(
        &self,
        command: CommandType,
    ) -> Result<Vec<proto::execute_plan_response::ResponseType>> {
        self.start(command).responses().await
    }
}

/// A lazy table on the cluster. A clone is the same table.
#[derive(Clone)]
pub struct DataFrame {
    context: Arc<Context>,
    plan: Arc<PlanNode>,
}

impl DataFrame {
    /// Returns a frame over a relation of the protocol, for what this crate has no method for.
    pub fn from_relation(like: &DataFrame, relation: proto::Relation) -> DataFrame {
        DataFrame { context: like.context.clone(), plan: Arc::new(PlanNode::whole(relation, &like.plan)) }
    }

    /// Runs a command in the frame's session.
    pub(crate) async fn command(
        &self,
        command: CommandType,
    ) -> Result<Vec<proto::execute_plan_response::ResponseType>> {
        self.plan.check()?;
        let observations = self.plan.observations();
        let mut events = self.context.start(command);
        let mut answers = Vec::new();
        while let Some(event) = events.try_next().await? {
            match event {
                Event::Response(answer) => answers.push(*answer),
                event => record(&observations, &event),
            }
        }
        Ok(answers)
    }

    pub(crate) fn new(context: Arc<Context>, kind: RelType) -> Self {
        Self { context, plan: Arc::new(PlanNode::new(kind, Vec::new())) }
    }

    pub(crate) fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// Returns the plan, in the protocol's terms.
    pub fn relation(&self) -> proto::Relation {
        self.plan.to_proto()
    }

    /// Returns the connection whose session this frame belongs to.
    pub fn client(&self) -> &Client {
        &self.context.client
    }

    /// Returns this frame's column of a name, or path into a struct; distinguishes columns of the two sides of a join.
    pub fn col(&self, name: &str) -> Column {
        self.own(ColumnReference::new(name))
    }

    /// Returns a reference to a column of this frame and no other.
    fn own(&self, reference: ColumnReference) -> Column {
        Column::new(Expression::ColumnReference(match self.plan.id() {
            Some(id) => reference.with_plan_id(id),
            None => reference,
        }))
    }

    /// Returns the same plan, in another session.
    fn in_session(&self, client: &Client) -> DataFrame {
        let context = Context::new(client.clone());
        let tags = self.context.tags(|tags| tags.clone());
        context.tags(|own| *own = tags);
        DataFrame { context, plan: self.plan.clone() }
    }

    /// Returns the same plan, whose executions, and those of frames made from it, carry one more tag.
    pub(crate) fn tagged(&self, tag: &str) -> DataFrame {
        DataFrame { context: self.context.tagged(tag), plan: self.plan.clone() }
    }

    /// Reads tables and files, in this frame's session.
    fn read(&self) -> DataFrameReader {
        DataFrameReader::new(self.context.clone())
    }

    /// Returns a frame of this one's session over this one.
    fn derive(&self, kind: RelType) -> DataFrame {
        self.derive_from(kind, vec![self.plan.clone()])
    }

    /// As [`derive`](Self::derive), over another frame too.
    fn derive_with(&self, other: &DataFrame, kind: RelType) -> DataFrame {
        self.derive_from(kind, vec![self.plan.clone(), other.plan.clone()])
    }

    fn derive_from(&self, kind: RelType, inputs: Vec<Arc<PlanNode>>) -> DataFrame {
        DataFrame { context: self.context.clone(), plan: Arc::new(PlanNode::new(kind, inputs)) }
    }

    /// As [`derive_from`](Self::derive_from), with something of this process's.
    fn with_attachment(&self, kind: RelType, inputs: Vec<Arc<PlanNode>>, attachment: Attached) -> DataFrame {
        let plan = PlanNode::new(kind, inputs).with_attachment(attachment);
        DataFrame { context: self.context.clone(), plan: Arc::new(plan) }
    }

    /// Returns a frame of this one's session that is not made from its rows.
    fn beside(&self, kind: RelType) -> DataFrame {
        DataFrame::new(self.context.clone(), kind)
    }

    /// # Errors
    /// [`Error::Param`](crate::Error::Param) for a plan that is too deep or too large for any server.
    pub(crate) fn checked(&self) -> Result<proto::Relation> {
        self.plan.check()?;
        Ok(self.relation())
    }

    /// # Errors
    /// As [`checked`](Self::checked).
    fn plan(&self) -> Result<proto::Plan> {
        Ok(proto::Plan { op_type: Some(proto::plan::OpType::Root(self.checked()?)) })
    }
}

impl RecordSource for DataFrame {
    fn open(&self, _epoch: usize) -> BoxFuture<'_, Result<RecordStream>> {
        Box::pin(self.stream())
    }

    fn origin(&self) -> String {
        match self.plan.kind() {
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
            .field("source", &self.origin())
            .field("plan_id", &self.plan.id())
            .finish_non_exhaustive()
    }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Tells observations what the cluster reports.
fn record(observations: &[Observation], event: &Event) {
    if let Event::Observed(metrics) = event {
        metrics.iter().for_each(|metrics| observations.iter().for_each(|observation| observation.record(metrics)));
    }
}
