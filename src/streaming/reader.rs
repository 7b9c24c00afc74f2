//! Frames of rows that keep coming.

use std::collections::HashMap;

use spark_connect_proto::{self as proto, read::ReadType, relation::RelType};

use crate::{
    dataframe::{DataFrame, Schema},
    session::Session,
};

/// Reads rows that keep coming, from [`Session::read_stream`]. Paths are the cluster's, not this machine's.
#[derive(Debug, Clone)]
pub struct DataStreamReader {
    session: Session,
    source: proto::read::DataSource,
}

impl Session {
    /// Reads rows that keep coming: files of a folder, tables, message queues, a clock (`rate`).
    pub fn read_stream(&self) -> DataStreamReader {
        DataStreamReader { session: self.clone(), source: Default::default() }
    }
}

impl DataStreamReader {
    /// Sets the source's format, such as `kafka`, `rate` or `parquet`, which is Spark's default.
    pub fn format(mut self, format: &str) -> Self {
        self.source.format = Some(format.to_owned());
        self
    }

    /// Sets an option of the source, such as `maxFilesPerTrigger` = 10.
    pub fn option(mut self, key: &str, value: impl ToString) -> Self {
        self.source.options.insert(key.to_owned(), value.to_string());
        self
    }

    /// Sets options of the source.
    pub fn options<K: Into<String>, V: Into<String>>(mut self, options: impl IntoIterator<Item = (K, V)>) -> Self {
        self.source.options.extend(options.into_iter().map(|(key, value)| (key.into(), value.into())));
        self
    }

    /// Sets the columns, which sources of files need.
    pub fn schema(mut self, schema: &Schema) -> Self {
        self.source.schema = Some(schema.to_json());
        self
    }

    /// Sets the columns, in DDL.
    pub fn schema_ddl(mut self, ddl: &str) -> Self {
        self.source.schema = Some(ddl.to_owned());
        self
    }

    /// Names the source within its query, so that a query that is changed finds its place again. Spark 4.2 or later.
    pub fn name(mut self, name: &str) -> Self {
        self.source.source_name = Some(name.to_owned());
        self
    }

    /// Reads from a source without a path.
    pub fn load(self) -> DataFrame {
        self.session.frame(RelType::Read(proto::Read {
            read_type: Some(ReadType::DataSource(self.source)),
            is_streaming: true,
        }))
    }

    /// Reads the files that come into a folder.
    pub fn load_from(mut self, path: &str) -> DataFrame {
        self.source.paths = vec![path.to_owned()];
        self.load()
    }

    /// Reads the rows that come into a table; the name is SQL.
    pub fn table(self, name: &str) -> DataFrame {
        let table = proto::read::NamedTable { unparsed_identifier: name.to_owned(), options: self.source.options };
        let read = proto::Read { read_type: Some(ReadType::NamedTable(table)), is_streaming: true };
        self.session.frame(RelType::Read(read))
    }

    /// Reads the changes of a table that keeps them (such as Delta's).
    pub fn changes(self, name: &str) -> DataFrame {
        let options: HashMap<_, _> = self.source.options;
        let changes = proto::RelationChanges { unparsed_identifier: name.to_owned(), options, is_streaming: true };
        self.session.frame(RelType::RelationChanges(changes))
    }

    /// Reads the CSV files that come into a folder.
    pub fn csv(self, path: &str) -> DataFrame {
        self.format("csv").load_from(path)
    }

    /// Reads the files of a JSON object a line that come into a folder.
    pub fn json(self, path: &str) -> DataFrame {
        self.format("json").load_from(path)
    }

    /// Reads the Parquet files that come into a folder.
    pub fn parquet(self, path: &str) -> DataFrame {
        self.format("parquet").load_from(path)
    }

    /// Reads the ORC files that come into a folder.
    pub fn orc(self, path: &str) -> DataFrame {
        self.format("orc").load_from(path)
    }

    /// Reads the lines of the text files that come into a folder, as column `value`.
    pub fn text(self, path: &str) -> DataFrame {
        self.format("text").load_from(path)
    }

    /// Reads the XML files that come into a folder; the option `rowTag` names the element that is a row.
    pub fn xml(self, path: &str) -> DataFrame {
        self.format("xml").load_from(path)
    }
}
