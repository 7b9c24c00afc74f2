//! Frames from tables and files.

use std::{collections::HashMap, sync::Arc};

use spark_connect_proto::{self as proto, read::ReadType, relation::RelType};

use super::{Context, DataFrame, Schema};
use crate::{Error, Result};

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

    /// Sets options of the source.
    pub fn options<K: Into<String>, V: Into<String>>(mut self, options: impl IntoIterator<Item = (K, V)>) -> Self {
        self.options.extend(options.into_iter().map(|(key, value)| (key.into(), value.into())));
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
        self.source(paths.into_iter().map(Into::into).collect(), Vec::new())
    }

    fn source(self, paths: Vec<String>, predicates: Vec<String>) -> DataFrame {
        let source = proto::read::DataSource {
            format: self.format,
            schema: self.schema,
            options: self.options,
            paths,
            predicates,
            source_name: None,
        };
        let read = proto::Read { read_type: Some(ReadType::DataSource(source)), is_streaming: false };
        DataFrame::new(self.context, RelType::Read(read))
    }

    /// Reads the changes of a table that keeps them (such as Delta's), between the versions that options name.
    pub fn changes(self, name: &str) -> DataFrame {
        let (unparsed_identifier, options) = (name.to_owned(), self.options);
        let changes = proto::RelationChanges { unparsed_identifier, options, is_streaming: false };
        DataFrame::new(self.context, RelType::RelationChanges(changes))
    }

    /// Reads text files: a row a line, as column `value`.
    pub fn text(self, path: &str) -> DataFrame {
        self.format("text").load([path])
    }

    /// Reads XML files; the option `rowTag` names the element that is a row.
    pub fn xml(self, path: &str) -> DataFrame {
        self.format("xml").load([path])
    }

    /// Reads whole files: `path`, `modificationTime`, `length` and `content`. Only the columns that are used are read.
    pub fn binary_file(self, path: &str) -> DataFrame {
        self.format("binaryFile").load([path])
    }

    /// Reads a table of another database, through the JDBC driver that the cluster has; `user`, `password`, `driver`
    /// and more are [options](Self::options), `partitionColumn`, `lowerBound`, `upperBound` and `numPartitions` too.
    pub fn jdbc(self, url: &str, table: &str) -> DataFrame {
        self.database(url, table).source(Vec::new(), Vec::new())
    }

    /// As [`jdbc`](Self::jdbc), in one partition for each SQL condition; together they must cover every row once.
    pub fn jdbc_where<P: Into<String>>(
        self,
        url: &str,
        table: &str,
        conditions: impl IntoIterator<Item = P>,
    ) -> DataFrame {
        self.database(url, table).source(Vec::new(), conditions.into_iter().map(Into::into).collect())
    }

    fn database(self, url: &str, table: &str) -> Self {
        self.format("jdbc").option("url", url).option("dbtable", table)
    }

    /// Parses a column of text, the frame's only one: a row a text, in this reader's format (`csv`, `json` or `xml`),
    /// schema and options.
    ///
    /// # Errors
    /// [`Error::Param`](crate::Error::Param) for another format, and for a schema that is no DDL.
    pub fn parse(self, texts: &DataFrame) -> Result<DataFrame> {
        use proto::parse::ParseFormat;
        let format = match self.format.as_deref() {
            Some("csv") => ParseFormat::Csv,
            Some("json") => ParseFormat::Json,
            Some("xml") => ParseFormat::Xml,
            other => return Err(Error::param("format", format!("{other:?}"), "csv, json or xml, to parse text")),
        };
        let read = |text: &str| Schema::from_json(text).or_else(|_| Schema::from_ddl(text));
        let schema = self.schema.as_deref().map(read).transpose()?.map(|schema| schema.to_proto());
        let parse = proto::Parse { input: None, format: format.into(), schema, options: self.options };
        Ok(texts.derive(RelType::Parse(Box::new(parse))))
    }

    /// Reads files of comma-separated values.
    pub fn csv(self, path: &str) -> DataFrame {
        self.format("csv").load([path])
    }

    /// Reads files of a JSON object a line.
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
