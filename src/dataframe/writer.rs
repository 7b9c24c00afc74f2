//! Frames into tables and files.

use std::collections::HashMap;

use spark_connect_proto::{
    self as proto,
    command::CommandType,
    write_operation::{SaveTable, SaveType, save_table::TableSaveMethod},
};

use super::DataFrame;
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
    cluster_by: Vec<String>,
    bucket_by: Option<proto::write_operation::BucketBy>,
    sort_by: Vec<String>,
    options: HashMap<String, String>,
    evolves_schema: bool,
}

impl DataFrame {
    /// Writes this frame to a table or to files.
    pub fn write(&self) -> DataFrameWriter {
        DataFrameWriter {
            frame: self.clone(),
            mode: SaveMode::default(),
            format: None,
            partition_by: Vec::new(),
            cluster_by: Vec::new(),
            bucket_by: None,
            sort_by: Vec::new(),
            evolves_schema: false,
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

    /// Puts the rows of a table into files by ranges of these columns, for formats that keep such files together.
    pub fn cluster_by<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.cluster_by = names.into_iter().map(Into::into).collect();
        self
    }

    /// Puts the rows of a table into `buckets` files by the hash of these columns, so that joins on them need no
    /// shuffle. For [`save_as_table`](Self::save_as_table).
    pub fn bucket_by<N: Into<String>>(mut self, buckets: i32, names: impl IntoIterator<Item = N>) -> Self {
        let bucket_column_names = names.into_iter().map(Into::into).collect();
        self.bucket_by = Some(proto::write_operation::BucketBy { bucket_column_names, num_buckets: buckets });
        self
    }

    /// Sorts the rows of each [bucket](Self::bucket_by) by these columns.
    pub fn sort_by<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.sort_by = names.into_iter().map(Into::into).collect();
        self
    }

    /// Adds columns that the table lacks to it, where its format can.
    pub fn with_schema_evolution(mut self) -> Self {
        self.evolves_schema = true;
        self
    }

    /// Sets options of the format.
    pub fn options<K: Into<String>, V: Into<String>>(mut self, options: impl IntoIterator<Item = (K, V)>) -> Self {
        self.options.extend(options.into_iter().map(|(key, value)| (key.into(), value.into())));
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

    /// Writes CSV files to a folder of the cluster's.
    ///
    /// # Errors
    /// As [`save_as_table`](Self::save_as_table).
    pub async fn csv(self, path: &str) -> Result<()> {
        self.format("csv").save(path).await
    }

    /// Writes files of a JSON object a line to a folder of the cluster's.
    ///
    /// # Errors
    /// As [`save_as_table`](Self::save_as_table).
    pub async fn json(self, path: &str) -> Result<()> {
        self.format("json").save(path).await
    }

    /// Writes ORC files to a folder of the cluster's.
    ///
    /// # Errors
    /// As [`save_as_table`](Self::save_as_table).
    pub async fn orc(self, path: &str) -> Result<()> {
        self.format("orc").save(path).await
    }

    /// Writes Parquet files to a folder of the cluster's.
    ///
    /// # Errors
    /// As [`save_as_table`](Self::save_as_table).
    pub async fn parquet(self, path: &str) -> Result<()> {
        self.format("parquet").save(path).await
    }

    /// Writes the one column, which is text, as lines of files to a folder of the cluster's.
    ///
    /// # Errors
    /// As [`save_as_table`](Self::save_as_table); also for another number or type of columns.
    pub async fn text(self, path: &str) -> Result<()> {
        self.format("text").save(path).await
    }

    /// Writes XML files to a folder of the cluster's; the option `rowTag` names a row's element.
    ///
    /// # Errors
    /// As [`save_as_table`](Self::save_as_table).
    pub async fn xml(self, path: &str) -> Result<()> {
        self.format("xml").save(path).await
    }

    /// Writes to a table of another database, through the JDBC driver that the cluster has; `user`, `password`,
    /// `driver` and more are [options](Self::options).
    ///
    /// # Errors
    /// As [`save_as_table`](Self::save_as_table).
    pub async fn jdbc(self, url: &str, table: &str) -> Result<()> {
        let writer = self.format("jdbc").option("url", url).option("dbtable", table);
        let frame = writer.frame.clone();
        let write = proto::WriteOperation { save_type: None, ..writer.operation()? };
        frame.command(CommandType::WriteOperation(write)).await.map(drop)
    }

    async fn into_table(self, name: &str, method: TableSaveMethod) -> Result<()> {
        self.run(SaveType::Table(SaveTable { table_name: name.to_owned(), save_method: method.into() })).await
    }

    async fn run(self, target: SaveType) -> Result<()> {
        let frame = self.frame.clone();
        let write = proto::WriteOperation { save_type: Some(target), ..self.operation()? };
        frame.command(CommandType::WriteOperation(write)).await.map(drop)
    }

    /// Returns the write, to nowhere yet.
    fn operation(self) -> Result<proto::WriteOperation> {
        use proto::write_operation::SaveMode as Mode;
        let mode = match self.mode {
            SaveMode::ErrorIfExists => Mode::ErrorIfExists,
            SaveMode::Append => Mode::Append,
            SaveMode::Overwrite => Mode::Overwrite,
            SaveMode::Ignore => Mode::Ignore,
        };
        Ok(proto::WriteOperation {
            input: Some(self.frame.checked()?),
            source: self.format,
            save_type: None,
            mode: mode.into(),
            sort_column_names: self.sort_by,
            partitioning_columns: self.partition_by,
            bucket_by: self.bucket_by,
            options: self.options,
            clustering_columns: self.cluster_by,
            with_schema_evolution: self.evolves_schema,
        })
    }
}
