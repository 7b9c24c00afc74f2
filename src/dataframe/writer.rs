//! Frames into tables and files.

use std::collections::HashMap;

use spark_connect_proto::{
    self as proto,
    command::CommandType,
    write_operation::{SaveTable, SaveType, save_table::TableSaveMethod},
};

use super::{DataFrame, observe::Observed};
use crate::Result;

/// Reaction of a write to a table or folder that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SaveMode {
    /// Fails, and changes nothing.
    #[default]
    ErrorIfExists,
    /// Adds the rows.
    Append,
    /// Replaces it.
    Overwrite,
    /// Changes nothing, and succeeds.
    Ignore,
}

/// Writes a frame to a table or to files.
///
/// The write is one command: it runs on the cluster when the last method is awaited, and dropping that future
/// interrupts it (the format decides about a half-written table).
#[derive(Debug, Clone)]
#[must_use = "nothing is written until a save method is awaited"]
pub struct DataFrameWriter {
    frame: DataFrame,
    mode: SaveMode,
    format: Option<String>,
    partition_by: Vec<String>,
    options: HashMap<String, String>,
}

impl DataFrame {
    /// Writes this frame to a table or to files.
    pub fn write(&self) -> DataFrameWriter {
        DataFrameWriter {
            frame: self.clone(),
            mode: SaveMode::default(),
            format: None,
            partition_by: Vec::new(),
            options: HashMap::new(),
        }
    }
}

impl DataFrameWriter {
    /// Sets the reaction to a table or folder that exists; [`SaveMode::ErrorIfExists`] unless set.
    pub fn mode(mut self, mode: SaveMode) -> Self {
        self.mode = mode;
        self
    }

    /// Sets the format, such as `parquet`, which is Spark's default.
    pub fn format(mut self, format: &str) -> Self {
        self.format = Some(format.to_owned());
        self
    }

    /// Writes one folder (or partition of the table) for each combination of values in these columns.
    pub fn partition_by<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.partition_by = names.into_iter().map(Into::into).collect();
        self
    }

    /// Sets an option of the format, such as `compression` = `zstd`.
    pub fn option(mut self, key: &str, value: impl ToString) -> Self {
        self.options.insert(key.to_owned(), value.to_string());
        self
    }

    /// Writes to a table, which is made if there is none; the name is SQL.
    ///
    /// # Errors
    /// [`Error::Server`](crate::Error::Server), also when the table exists and the mode is
    /// [`SaveMode::ErrorIfExists`]; [`Error::Unreachable`](crate::Error::Unreachable).
    pub async fn save_as_table(self, name: &str) -> Result<()> {
        self.into_table(name, TableSaveMethod::SaveAsTable).await
    }

    /// As [`save_as_table`](Self::save_as_table); returns what the frame [observes](DataFrame::observed).
    pub(crate) async fn save_as_observed_table(self, name: &str) -> Result<Observed> {
        let target = SaveTable { table_name: name.to_owned(), save_method: TableSaveMethod::SaveAsTable.into() };
        self.frame.check_depth()?;
        let context = self.frame.context.clone();
        context.observe(self.command(SaveType::Table(target))).await
    }

    /// Adds the rows to a table that exists, by position of the columns; replaces its rows with
    /// [`SaveMode::Overwrite`].
    ///
    /// # Errors
    /// As [`save_as_table`](Self::save_as_table); also when there is no such table or the columns do not fit.
    pub async fn insert_into(mut self, name: &str) -> Result<()> {
        if self.mode == SaveMode::ErrorIfExists {
            self.mode = SaveMode::Append;
        }
        self.into_table(name, TableSaveMethod::InsertInto).await
    }

    /// Writes files to a folder of the cluster's.
    ///
    /// # Errors
    /// As [`save_as_table`](Self::save_as_table).
    pub async fn save(self, path: &str) -> Result<()> {
        self.run(SaveType::Path(path.to_owned())).await
    }

    async fn into_table(self, name: &str, method: TableSaveMethod) -> Result<()> {
        self.run(SaveType::Table(SaveTable { table_name: name.to_owned(), save_method: method.into() })).await
    }

    async fn run(self, target: SaveType) -> Result<()> {
        let frame = self.frame.clone();
        frame.command(self.command(target)).await.map(drop)
    }

    fn command(self, target: SaveType) -> CommandType {
        use proto::write_operation::SaveMode as Mode;
        let mode = match self.mode {
            SaveMode::ErrorIfExists => Mode::ErrorIfExists,
            SaveMode::Append => Mode::Append,
            SaveMode::Overwrite => Mode::Overwrite,
            SaveMode::Ignore => Mode::Ignore,
        };
        CommandType::WriteOperation(proto::WriteOperation {
            input: Some(proto::Relation::clone(&self.frame.relation)),
            source: self.format,
            save_type: Some(target),
            mode: mode.into(),
            partitioning_columns: self.partition_by,
            options: self.options,
            ..Default::default()
        })
    }
}
