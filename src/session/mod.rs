//! A session on a Spark: where frames come from, and what they share.

mod arguments;
mod artifacts;
mod builder;
mod catalog;
mod conf;
mod create;

use std::sync::Arc;

use spark_connect_proto::{
    self as proto, command::CommandType, execute_plan_response::ResponseType, relation::RelType,
};

pub use self::{
    arguments::{Arguments, named, positional},
    artifacts::ArtifactKind,
    builder::SessionBuilder,
    catalog::{Catalog, CatalogColumn, CatalogDatabase, CatalogFunction, CatalogMetadata, CatalogTable, NewTable},
    conf::RuntimeConfig,
};
use crate::{
    Error, Result,
    connect::{Client, Interrupt, Progress, ProgressGuard, SparkVersion},
    dataframe::{Context, DataFrame, DataFrameReader, TableFunctions, Workers, function, texts},
};

/// A session on a Spark Connect server. A clone is the same session.
///
/// Temporary views, settings, uploaded data and tags belong to it. It ends on the server with [`stop`](Self::stop), or
/// an hour after the last request, which is made in the background as long as a clone of it exists
/// ([`SessionBuilder::keep_alive`]).
#[derive(Debug, Clone)]
pub struct Session {
    context: Arc<Context>,
}

impl Session {
    /// Settings of a session to be.
    pub fn builder() -> SessionBuilder {
        SessionBuilder::default()
    }

    /// Returns a session over a connection.
    pub fn new(client: Client) -> Session {
        Session { context: Context::new(client) }
    }

    /// Returns the connection.
    pub fn client(&self) -> &Client {
        self.context.client()
    }

    /// Returns the server's version.
    pub fn version(&self) -> &SparkVersion {
        self.client().version()
    }

    /// Returns a table or view; the name is SQL, with back-quotes where it needs them. Lazy: a missing table is the
    /// error of the first action.
    pub fn table(&self, name: &str) -> DataFrame {
        self.read().table(name)
    }

    /// Reads tables and files.
    pub fn read(&self) -> DataFrameReader {
        DataFrameReader::new(self.context.clone())
    }

    /// Returns the functions that return tables.
    pub fn tvf(&self) -> TableFunctions {
        TableFunctions::new(self.context.clone())
    }

    /// Returns the whole numbers from `start` to before `end`, as column `id`.
    pub fn range(&self, start: i64, end: i64) -> DataFrame {
        self.range_with(start, end, 1, None)
    }

    /// Returns whole numbers in steps, in a number of partitions (the cluster's default if `None`), as column `id`.
    pub fn range_with(&self, start: i64, end: i64, step: i64, partitions: Option<i32>) -> DataFrame {
        let range = proto::Range { start: Some(start), end, step, num_partitions: partitions };
        self.frame(RelType::Range(range))
    }

    /// Returns the result of a SQL text. A query is lazy; a command (`CREATE TABLE` …) is run now, and the frame is its
    /// answer.
    ///
    /// # Errors
    /// [`Error::Server`] when Spark refuses the text; [`Error::Unreachable`].
    pub async fn sql(&self, text: &str) -> Result<DataFrame> {
        self.sql_with(text, Arguments::default()).await
    }

    /// Returns the result of a SQL text with arguments bound to its markers: [`named`] ones to `:name`, [`positional`]
    /// ones to `?`. They travel as values, never as text.
    ///
    /// # Errors
    /// As [`sql`](Self::sql).
    pub async fn sql_with(&self, text: &str, arguments: Arguments) -> Result<DataFrame> {
        let sql = RelType::Sql(arguments.bind(text));
        let input = Some(proto::Relation { rel_type: Some(sql), ..Default::default() });
        let command = CommandType::SqlCommand(proto::SqlCommand { input, ..Default::default() });
        let answers = self.context.command(command).await?;
        let relation = answers.into_iter().find_map(|answer| match answer {
            ResponseType::SqlCommandResult(result) => result.relation?.rel_type,
            _ => None,
        });
        let missing =
            || Error::Incomplete { operation: "SqlCommand".into(), reason: "the answer has no result".into() };
        Ok(self.frame(relation.ok_or_else(missing)?))
    }

    /// Returns the session's settings.
    pub fn conf(&self) -> RuntimeConfig {
        RuntimeConfig::new(self.client().clone())
    }

    /// Drops a table; `name` is SQL. Nothing happens when there is none.
    ///
    /// # Errors
    /// [`Error::Server`] when the name cannot be read or the table may not be dropped; [`Error::Unreachable`].
    pub async fn drop_table(&self, name: &str) -> Result<()> {
        self.sql(&format!("DROP TABLE IF EXISTS {name}")).await.map(drop)
    }

    /// Marks the executions that start from now on, so that [`interrupt_tag`](Self::interrupt_tag) finds them.
    ///
    /// # Errors
    /// [`Error::Param`] for a tag that is empty or has a comma.
    pub fn add_tag(&self, tag: &str) -> Result<()> {
        if tag.is_empty() || tag.contains(',') {
            return Err(Error::param("tag", format!("`{tag}`"), "not empty and without commas"));
        }
        self.context.tags(|tags| _ = tags.insert(tag.to_owned()));
        Ok(())
    }

    /// Executions that start from now on do not have the tag.
    pub fn remove_tag(&self, tag: &str) {
        self.context.tags(|tags| _ = tags.remove(tag));
    }

    /// Executions that start from now on have no tag.
    pub fn clear_tags(&self) {
        self.context.tags(|tags| tags.clear());
    }

    /// Returns the tags that executions get now, sorted.
    pub fn tags(&self) -> Vec<String> {
        self.context.tags(|tags| tags.iter().cloned().collect())
    }

    /// Interrupts all that runs in this session; returns the operations' ids.
    ///
    /// # Errors
    /// [`Error::Server`]; [`Error::Unreachable`].
    pub async fn interrupt_all(&self) -> Result<Vec<String>> {
        self.client().interrupt(Interrupt::All).await
    }

    /// Interrupts what runs under a tag; returns the operations' ids.
    ///
    /// # Errors
    /// As [`interrupt_all`](Self::interrupt_all).
    pub async fn interrupt_tag(&self, tag: &str) -> Result<Vec<String>> {
        self.client().interrupt(Interrupt::Tag(tag.to_owned())).await
    }

    /// Interrupts one operation; returns its id if it ran.
    ///
    /// # Errors
    /// As [`interrupt_all`](Self::interrupt_all).
    pub async fn interrupt_operation(&self, id: &str) -> Result<Vec<String>> {
        self.client().interrupt(Interrupt::Operation(id.to_owned())).await
    }

    /// Calls `handler` with the server's reports on running executions, until the returned guard is dropped.
    pub fn on_progress(&self, handler: impl Fn(&Progress) + Send + Sync + 'static) -> ProgressGuard {
        self.client().on_progress(handler)
    }

    /// Returns the user as the server knows them.
    ///
    /// # Errors
    /// [`Error::Server`]; [`Error::Unreachable`].
    pub async fn current_user(&self) -> Result<String> {
        let row = self.range(0, 1).select([function("current_user", [])]).first().await?;
        let missing = || Error::Incomplete { operation: "current_user".into(), reason: "the answer has no row".into() };
        Ok(texts(&row.ok_or_else(missing)?, 0)?.value(0).to_owned())
    }

    /// Returns the Python of the server's workers and the packages with which they can score models, such as
    /// `Python 3.11, numpy 2.4.6, pyarrow 25.0.1`; or why they cannot. Asked once per server.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn python_workers(&self) -> Result<Result<String, String>> {
        let workers = Workers::of(&self.range(0, 1)).await?;
        Ok(workers.map(|workers| format!("Python {}, {}", workers.python, workers.packages)))
    }

    /// Returns a copy of the session on the server, with its settings, temporary views and functions, whose later
    /// changes do not reach this one. Spark 4.1 or later.
    ///
    /// # Errors
    /// [`Error::Unsupported`] before Spark 4.1; [`Error::Server`]; [`Error::Unreachable`].
    pub async fn clone_session(&self) -> Result<Session> {
        Ok(Session::new(self.client().fork().await?))
    }

    /// Returns another session on the same server, as the same user, with the settings that were made through this one
    /// and nothing else of it.
    ///
    /// # Errors
    /// [`Error::Server`] for a setting that cannot be set; [`Error::Unreachable`].
    pub async fn new_session(&self) -> Result<Session> {
        Ok(Session::new(self.client().renewed().await?))
    }

    /// Returns whether [`stop`](Self::stop) was called.
    pub fn is_stopped(&self) -> bool {
        self.context.is_stopped()
    }

    /// Ends the session on the server: views, kept frames, uploads and settings go.
    ///
    /// # Errors
    /// [`Error::Server`]; [`Error::Unreachable`].
    pub async fn stop(&self) -> Result<()> {
        builder::forget(self);
        self.context.set_stopped();
        self.context.drop_staged().await;
        self.client().release_session().await
    }

    pub(crate) fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// Returns the session of a frame.
    pub(crate) fn of(frame: &DataFrame) -> Session {
        Session { context: frame.context().clone() }
    }

    pub(crate) fn frame(&self, kind: RelType) -> DataFrame {
        DataFrame::new(self.context.clone(), kind)
    }
}
