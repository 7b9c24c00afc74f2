//! Rows to partitions.

use arrow::array::RecordBatch;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    dataframe::{DataFrame, Schema, column},
    ml::{
        local::LocalBatch,
        stage::{Transformer, plain_data},
    },
};

/// Puts the rows into other partitions, by a shuffle on the cluster. Columns stay as they are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Repartition {
    by: RepartitionBy,
    partitions: Option<i32>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum RepartitionBy {
    Key(Vec<String>),
    Range(Vec<String>),
    Count,
}

impl Repartition {
    /// Rows with the same values in these columns share a partition.
    pub fn by_key<K: Into<String>>(cols: impl IntoIterator<Item = K>) -> Self {
        Self { by: RepartitionBy::Key(cols.into_iter().map(Into::into).collect()), partitions: None }
    }

    /// Creates each partition has a range of these columns' values; Spark samples the rows to find ranges of about
    /// equal size.
    pub fn by_range<K: Into<String>>(cols: impl IntoIterator<Item = K>) -> Self {
        Self { by: RepartitionBy::Range(cols.into_iter().map(Into::into).collect()), partitions: None }
    }

    /// Creates that many partitions with the same number of rows, but for a few.
    pub fn evenly(partitions: i32) -> Self {
        Self { by: RepartitionBy::Count, partitions: Some(partitions) }
    }

    /// Sets the number of partitions, in place of `spark.sql.shuffle.partitions`.
    pub fn partitions(mut self, partitions: i32) -> Self {
        self.partitions = Some(partitions);
        self
    }

    fn columns(&self) -> &[String] {
        match &self.by {
            RepartitionBy::Key(names) | RepartitionBy::Range(names) => names,
            RepartitionBy::Count => &[],
        }
    }
}

impl Transformer for Repartition {
    fn transform<'a>(&'a self, frame: &'a DataFrame) -> BoxFuture<'a, Result<DataFrame>> {
        Box::pin(async move {
            self.transform_schema(&frame.schema_for_stages().await?)?;
            let columns = self.columns().iter().map(|name| column(name));
            Ok(match &self.by {
                RepartitionBy::Key(_) => frame.repartition_by(self.partitions, columns),
                RepartitionBy::Range(_) => frame.repartition_by_range(self.partitions, columns),
                RepartitionBy::Count => frame.repartition(self.partitions.unwrap_or(1)),
            })
        })
    }

    /// Returns a batch has no partitions: it is returned unchanged.
    fn transform_batch(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        self.transform_schema(LocalBatch::new(batch)?.schema())?;
        Ok(batch.clone())
    }

    fn transform_schema(&self, schema: &Schema) -> Result<Schema> {
        if let Some(partitions) = self.partitions.filter(|partitions| *partitions < 1) {
            return Err(Error::param("partitions", partitions, "1 or more"));
        }
        if self.columns().is_empty() && self.by != RepartitionBy::Count {
            return Err(Error::param("cols", "no column", "at least one column"));
        }
        self.columns().iter().try_for_each(|name| schema.require(name).map(drop))?;
        Ok(schema.clone())
    }

    fn reads(&self) -> Option<Vec<String>> {
        Some(self.columns().to_vec())
    }

    plain_data!(Repartition);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_and_columns_are_checked() {
        let schema = Schema::from_ddl("a INT").unwrap();
        let refused = |stage: Repartition| stage.transform_schema(&schema).unwrap_err().to_string();
        assert!(refused(Repartition::evenly(0)).contains("1 or more"));
        assert!(refused(Repartition::by_key(["b"])).contains("column `b`"));
        assert!(refused(Repartition::by_range([""; 0])).contains("at least one"));
        assert!(Repartition::by_range(["a"]).partitions(3).transform_schema(&schema).is_ok());
    }
}
