//! Functions that return tables.

use std::sync::Arc;

use spark_connect::column::Column;
use spark_connect_proto::{self as proto, relation::RelType};

use super::{Context, DataFrame, transform::protos};

/// Functions that return tables, from [`Session::tvf`](crate::session::Session::tvf). Spark's `TableValuedFunction`.
///
/// Alone they take constants; in a [lateral join](DataFrame::lateral_join), columns of the left frame too, by name.
#[derive(Debug, Clone)]
pub struct TableFunctions {
    context: Arc<Context>,
}

impl TableFunctions {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self { context }
    }

    /// Calls a function that returns a table by its name: also one of your own that the server has.
    pub fn call(&self, name: &str, arguments: impl IntoIterator<Item = Column>) -> DataFrame {
        let function_name = name.to_owned();
        let call = proto::UnresolvedTableValuedFunction { function_name, arguments: protos(arguments) };
        DataFrame::new(self.context.clone(), RelType::UnresolvedTableValuedFunction(call))
    }

    /// Returns a row for each element of an array (column `col`) or entry of a map (`key`, `value`).
    pub fn explode(&self, collection: Column) -> DataFrame {
        self.call("explode", [collection])
    }

    /// As [`explode`](Self::explode); a row of null for a collection that is empty or null.
    pub fn explode_outer(&self, collection: Column) -> DataFrame {
        self.call("explode_outer", [collection])
    }

    /// Returns a row for each struct of an array, with its fields as columns.
    pub fn inline(&self, structs: Column) -> DataFrame {
        self.call("inline", [structs])
    }

    /// As [`inline`](Self::inline); a row of nulls for an array that is empty or null.
    pub fn inline_outer(&self, structs: Column) -> DataFrame {
        self.call("inline_outer", [structs])
    }

    /// Returns one row with fields of a JSON text, as text in columns `c0`, `c1` …
    pub fn json_tuple(&self, json: Column, fields: impl IntoIterator<Item = Column>) -> DataFrame {
        self.call("json_tuple", std::iter::once(json).chain(fields))
    }

    /// As [`explode`](Self::explode), with the position from 0 as column `pos`.
    pub fn posexplode(&self, collection: Column) -> DataFrame {
        self.call("posexplode", [collection])
    }

    /// As [`posexplode`](Self::posexplode); a row of nulls for a collection that is empty or null.
    pub fn posexplode_outer(&self, collection: Column) -> DataFrame {
        self.call("posexplode_outer", [collection])
    }

    /// Returns the values in a number of rows, as columns `col0`, `col1` …
    pub fn stack(&self, rows: Column, values: impl IntoIterator<Item = Column>) -> DataFrame {
        self.call("stack", std::iter::once(rows).chain(values))
    }

    /// Returns the collations that the server knows.
    pub fn collations(&self) -> DataFrame {
        self.call("collations", [])
    }

    /// Returns the words of SQL, and which of them are reserved.
    pub fn sql_keywords(&self) -> DataFrame {
        self.call("sql_keywords", [])
    }

    /// Returns a row for each entry of a variant: `pos`, `key`, `value`.
    pub fn variant_explode(&self, variant: Column) -> DataFrame {
        self.call("variant_explode", [variant])
    }

    /// As [`variant_explode`](Self::variant_explode); a row of nulls for a variant without entries.
    pub fn variant_explode_outer(&self, variant: Column) -> DataFrame {
        self.call("variant_explode_outer", [variant])
    }

    /// Returns the log lines of the server's Python workers, where it keeps them.
    pub fn python_worker_logs(&self) -> DataFrame {
        self.call("python_worker_logs", [])
    }
}
