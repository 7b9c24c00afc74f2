//! Questions about a plan, which Spark answers without reading a row.

use spark_connect_proto::{analyze_plan_request as ask, analyze_plan_response as answer};

use super::{DataFrame, StorageLevel, action::unexpected};
use crate::Result;

macro_rules! analyzed {
    ($frame:expr, $kind:ident, $request:expr, $answer:ident => $value:expr) => {
        match $frame.client().analyze(ask::Analyze::$kind($request)).await? {
            answer::Result::$kind($answer) => Ok($value),
            _ => Err(unexpected(stringify!($kind))),
        }
    };
}

impl DataFrame {
    /// Returns the columns' names, in order.
    ///
    /// # Errors
    /// As [`schema`](Self::schema).
    pub async fn columns(&self) -> Result<Vec<String>> {
        Ok(self.schema().await?.names().map(str::to_owned).collect())
    }

    /// Returns the columns' names and the short names of their types, such as `bigint`.
    ///
    /// # Errors
    /// As [`schema`](Self::schema).
    pub async fn dtypes(&self) -> Result<Vec<(String, String)>> {
        let schema = self.schema().await?;
        Ok(schema.fields().iter().map(|field| (field.name.clone(), field.data_type.simple_string())).collect())
    }

    /// Returns the schema as Spark's tree of lines, down to `level` within each other (all if `None`).
    ///
    /// # Errors
    /// As [`schema`](Self::schema).
    pub async fn tree_string(&self, level: Option<i32>) -> Result<String> {
        let request = ask::TreeString { plan: Some(self.plan()?), level };
        analyzed!(self, TreeString, request, answer => answer.tree_string)
    }

    /// Prints the schema as Spark's tree of lines.
    ///
    /// # Errors
    /// As [`schema`](Self::schema).
    pub async fn print_schema(&self) -> Result<()> {
        print!("{}", self.tree_string(None).await?);
        Ok(())
    }

    /// Returns whether the driver has the rows without asking executors.
    ///
    /// # Errors
    /// As [`schema`](Self::schema).
    pub async fn is_local(&self) -> Result<bool> {
        let request = ask::IsLocal { plan: Some(self.plan()?) };
        analyzed!(self, IsLocal, request, answer => answer.is_local)
    }

    /// Returns whether rows keep coming, so that only [`write_stream`](Self::write_stream) takes them.
    ///
    /// # Errors
    /// As [`schema`](Self::schema).
    pub async fn is_streaming(&self) -> Result<bool> {
        let request = ask::IsStreaming { plan: Some(self.plan()?) };
        analyzed!(self, IsStreaming, request, answer => answer.is_streaming)
    }

    /// Returns the files that the frame is read from, as far as Spark knows.
    ///
    /// # Errors
    /// As [`schema`](Self::schema).
    pub async fn input_files(&self) -> Result<Vec<String>> {
        let request = ask::InputFiles { plan: Some(self.plan()?) };
        analyzed!(self, InputFiles, request, answer => answer.files)
    }

    /// Returns whether both plans give the same rows by Spark's comparison of plans; false does not say that they do
    /// not.
    ///
    /// # Errors
    /// As [`schema`](Self::schema).
    pub async fn same_semantics(&self, other: &DataFrame) -> Result<bool> {
        let request = ask::SameSemantics { target_plan: Some(self.plan()?), other_plan: Some(other.plan()?) };
        analyzed!(self, SameSemantics, request, answer => answer.result)
    }

    /// Returns a hash that is equal for plans with the [same semantics](Self::same_semantics).
    ///
    /// # Errors
    /// As [`schema`](Self::schema).
    pub async fn semantic_hash(&self) -> Result<i32> {
        let request = ask::SemanticHash { plan: Some(self.plan()?) };
        analyzed!(self, SemanticHash, request, answer => answer.result)
    }

    /// Returns where the cluster keeps the rows.
    ///
    /// # Errors
    /// As [`schema`](Self::schema).
    pub async fn storage_level(&self) -> Result<StorageLevel> {
        let request = ask::GetStorageLevel { relation: Some(self.checked()?) };
        analyzed!(self, GetStorageLevel, request, answer => {
            StorageLevel::from_proto(&answer.storage_level.unwrap_or_default())
        })
    }

    /// Returns whether the cluster keeps the rows ([`persist`](Self::persist)).
    ///
    /// # Errors
    /// As [`schema`](Self::schema).
    pub async fn is_cached(&self) -> Result<bool> {
        let level = self.storage_level().await?;
        Ok(level.use_memory || level.use_disk)
    }
}
