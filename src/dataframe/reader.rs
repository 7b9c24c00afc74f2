//! Frames from tables and files.

use std::{collections::HashMap, sync::Arc};

use spark_connect_proto::{self as proto, read::ReadType, relation::RelType};

use super::{Context, DataFrame, Schema};

/// Reads tables and files. Paths are the cluster's, not this machine's.
#[derive(Debug, Clone)]
pub struct DataFrameReader {
    context: Arc<Context>,
    format: Option<String>,
    schema: Option<String>,
    options: HashMap<String, String>,
}

impl DataFrameReader {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self { context, format: None, schema: None, options: HashMap::new() }
    }

    /// Sets the source's format, such as `csv`; Spark's default is `parquet`.
    pub fn format(mut self, format: &str) -> Self {
        self.format = Some(format.to_owned());
        self
    }

    /// Sets an option of the source, such as `header` = `true`.
    pub fn option(mut self, key: &str, value: impl ToString) -> Self {
        self.options.insert(key.to_owned(), value.to_string());
        self
    }

    /// Sets the columns to read, instead of what Spark would infer.
    pub fn schema(mut self, schema: &Schema) -> Self {
        self.schema = Some(schema.to_json());
        self
    }

    /// Sets the columns to read, in DDL.
    pub fn schema_ddl(mut self, ddl: &str) -> Self {
        self.schema = Some(ddl.to_owned());
        self
    }

    /// Returns a table or view; the name is SQL, with back-quotes where it needs them.
    pub fn table(self, name: &str) -> DataFrame {
        let table = proto::read::NamedTable { unparsed_identifier: name.to_owned(), options: self.options };
        let read = proto::Read { read_type: Some(ReadType::NamedTable(table)), is_streaming: false };
        DataFrame::new(self.context, RelType::Read(read))
    }

    /// Reads files or folders, or anything else the format reads (then there may be no path).
    pub fn load<P: Into<String>>(self, paths: impl IntoIterator<Item = P>) -> DataFrame {
        let source = proto::read::DataSource {
            format: self.format,
            schema: self.schema,
            options: self.options,
            paths: paths.into_iter().map(Into::into).collect(),
            ..Default::default()
        };
        let read = proto::Read { read_type: Some(ReadType::DataSource(source)), is_streaming: false };
        DataFrame::new(self.context, RelType::Read(read))
    }

    /// Files of comma-separated values.
    pub fn csv(self, path: &str) -> DataFrame {
        self.format("csv").load([path])
    }

    /// Files of a JSON object a line.
    pub fn json(self, path: &str) -> DataFrame {
        self.format("json").load([path])
    }

    /// Reads Parquet files.
    pub fn parquet(self, path: &str) -> DataFrame {
        self.format("parquet").load([path])
    }

    /// Reads ORC files.
    pub fn orc(self, path: &str) -> DataFrame {
        self.format("orc").load([path])
    }
}
