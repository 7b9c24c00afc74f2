//! Columns by a SQL statement.

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    dataframe::{DataFrame, Schema},
    ml::{
        param::stage_params,
        stage::{Transformer, plain_data},
    },
};

/// Applies a query to the frame, which it calls `__THIS__` (`org.apache.spark.ml.feature.SQLTransformer`):
/// `SELECT *, a + b AS sum FROM __THIS__`.
///
/// Only the server knows the output columns, so a pipeline checks the stages after it once it has been applied. It
/// is lazy, and nothing but a `SELECT` is taken: a model from a table must not change other tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SqlTransformer {
    statement: String,
}

/// Name of the frame in the statement.
const THIS: &str = "__THIS__";

impl SqlTransformer {
    /// Applies a statement.
    pub fn new(statement: impl Into<String>) -> Self {
        Self { statement: statement.into() }
    }

    /// Returns the statement.
    pub fn statement(&self) -> &str {
        &self.statement
    }

    fn check(&self) -> Result<()> {
        let refuse = |legal: &str| Err(Error::param("statement", format!("`{}`", self.statement), legal));
        let first = self.statement.split_whitespace().next().unwrap_or_default();
        if !first.eq_ignore_ascii_case("SELECT") {
            return refuse("a SELECT, such as `SELECT *, a + b AS sum FROM __THIS__`");
        }
        if !self.statement.contains(THIS) {
            return refuse("a SELECT from __THIS__, the frame");
        }
        Ok(())
    }
}

stage_params!(SqlTransformer, SqlTransformer::check, {
    "statement": statement = None::<()>, "the query, which calls the frame __THIS__";
});

impl Transformer for SqlTransformer {
    fn transform<'a>(&'a self, frame: &'a DataFrame) -> BoxFuture<'a, Result<DataFrame>> {
        Box::pin(async move {
            self.check()?;
            let name = format!("tinderbox_{}", uuid::Uuid::new_v4().simple());
            Ok(frame.query(&self.statement.replace(THIS, &name), &name))
        })
    }

    fn transform_schema(&self, schema: &Schema) -> Result<Schema> {
        self.check()?;
        Ok(schema.clone())
    }

    fn has_known_schema(&self) -> bool {
        false
    }

    plain_data!(SqlTransformer);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_query_over_the_frame_is_taken() {
        let refused = |statement: &str| {
            let schema = Schema::from_ddl("a INT").unwrap();
            SqlTransformer::new(statement).transform_schema(&schema).unwrap_err().to_string()
        };
        assert!(refused("DROP TABLE t").contains("a SELECT"));
        assert!(refused("FROM __THIS__ INSERT INTO t SELECT *").contains("a SELECT"));
        assert!(refused("").contains("a SELECT"));
        assert!(refused("SELECT 1").contains("__THIS__"));
        assert!(SqlTransformer::new("select * FROM __THIS__").check().is_ok());
    }
}
