//! Frames into tables of a catalog, with the words of SQL.

use std::collections::HashMap;

use spark_connect::column::Column;
use spark_connect_proto::{self as proto, command::CommandType, write_operation_v2::Mode};

use super::{DataFrame, transform::protos};
use crate::Result;

/// Writes a frame to a table of a catalog, from [`DataFrame::write_to`]. Spark's `DataFrameWriterV2`.
///
/// The write is one command: it runs on the cluster when the last method is awaited, and dropping that future
/// interrupts it. Columns go by name in [`append`](Self::append), [`overwrite`](Self::overwrite) and
/// [`overwrite_partitions`](Self::overwrite_partitions).
#[derive(Debug, Clone)]
#[must_use = "nothing is written until a method such as `append` is awaited"]
pub struct DataFrameWriterV2 {
    frame: DataFrame,
    table: String,
    provider: Option<String>,
    partitioned_by: Vec<Column>,
    clustered_by: Vec<String>,
    options: HashMap<String, String>,
    properties: HashMap<String, String>,
    evolves_schema: bool,
}

impl DataFrame {
    /// Writes this frame to a table of a catalog; the name is SQL.
    pub fn write_to(&self, table: &str) -> DataFrameWriterV2 {
        DataFrameWriterV2 {
            frame: self.clone(),
            table: table.to_owned(),
            provider: None,
            partitioned_by: Vec::new(),
            clustered_by: Vec::new(),
            options: HashMap::new(),
            properties: HashMap::new(),
            evolves_schema: false,
        }
    }
}

impl DataFrameWriterV2 {
    /// Sets the format of a table to be made, such as `parquet`; the catalog's own unless set.
    pub fn using(mut self, provider: &str) -> Self {
        self.provider = Some(provider.to_owned());
        self
    }

    /// Sets an option of the write.
    pub fn option(mut self, key: &str, value: impl ToString) -> Self {
        self.options.insert(key.to_owned(), value.to_string());
        self
    }

    /// Sets options of the write.
    pub fn options<K: Into<String>, V: Into<String>>(mut self, options: impl IntoIterator<Item = (K, V)>) -> Self {
        self.options.extend(options.into_iter().map(|(key, value)| (key.into(), value.into())));
        self
    }

    /// Sets a property of a table to be made.
    pub fn table_property(mut self, key: &str, value: impl ToString) -> Self {
        self.properties.insert(key.to_owned(), value.to_string());
        self
    }

    /// Partitions a table to be made by columns, or by [`functions::years`](spark_connect::functions::years), `days`,
    /// `bucket` … of them.
    pub fn partitioned_by<C: Into<Column>>(mut self, columns: impl IntoIterator<Item = C>) -> Self {
        self.partitioned_by = columns.into_iter().map(Into::into).collect();
        self
    }

    /// Clusters a table to be made by columns, where its format can.
    pub fn cluster_by<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.clustered_by = names.into_iter().map(Into::into).collect();
        self
    }

    /// Adds columns that the table lacks to it, where its format can.
    pub fn with_schema_evolution(mut self) -> Self {
        self.evolves_schema = true;
        self
    }

    /// Makes the table with these rows.
    ///
    /// # Errors
    /// [`Error::Server`](crate::Error::Server), also when the table exists;
    /// [`Error::Unreachable`](crate::Error::Unreachable).
    pub async fn create(self) -> Result<()> {
        self.run(Mode::Create, None).await
    }

    /// Replaces the table, its columns and properties too, with these rows.
    ///
    /// # Errors
    /// As [`create`](Self::create); when there is no such table.
    pub async fn replace(self) -> Result<()> {
        self.run(Mode::Replace, None).await
    }

    /// Makes the table, or replaces it.
    ///
    /// # Errors
    /// As [`create`](Self::create), but for a table that exists.
    pub async fn create_or_replace(self) -> Result<()> {
        self.run(Mode::CreateOrReplace, None).await
    }

    /// Adds the rows to the table.
    ///
    /// # Errors
    /// As [`replace`](Self::replace); when the columns do not fit.
    pub async fn append(self) -> Result<()> {
        self.run(Mode::Append, None).await
    }

    /// Replaces the table's rows for which the condition is true with these rows.
    ///
    /// # Errors
    /// As [`append`](Self::append); when the table's format cannot tell such rows apart.
    pub async fn overwrite(self, condition: Column) -> Result<()> {
        self.run(Mode::Overwrite, Some(condition)).await
    }

    /// Replaces the partitions of the table in which these rows lie with these rows.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub async fn overwrite_partitions(self) -> Result<()> {
        self.run(Mode::OverwritePartitions, None).await
    }

    async fn run(self, mode: Mode, condition: Option<Column>) -> Result<()> {
        let write = proto::WriteOperationV2 {
            input: Some(self.frame.checked()?),
            table_name: self.table,
            provider: self.provider,
            partitioning_columns: protos(self.partitioned_by),
            options: self.options,
            table_properties: self.properties,
            mode: mode.into(),
            overwrite_condition: condition.map(|condition| condition.to_proto()),
            clustering_columns: self.clustered_by,
            with_schema_evolution: self.evolves_schema,
        };
        self.frame.command(CommandType::WriteOperationV2(write)).await.map(drop)
    }
}
