//! Rows to train on, to validate with, to test.

use std::collections::HashMap;

use arrow::array::RecordBatch;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use spark_connect::{column::Column, functions::expr, lit, lit_double, types::DataType};

use super::parts::NamedParts;
use crate::{
    Error, Result,
    dataframe::{DataFrame, Schema, column, function, hash_input, quote},
    ml::{
        local::LocalBatch,
        stage::{Transformer, on_the_cluster_only, plain_data},
        step::{self, Step},
    },
};

/// Adds a column that says in which part of a split a row is: `train`, `test` and the like, in proportion to weights.
///
/// | split | a row's part follows from | shares |
/// |---|---|---|
/// | [`random`](Self::random) | all its values, and its number among the rows that are equal to it | about those asked for |
/// | [`by_key`](Self::by_key) | the values of key columns, so that rows of one customer stay together | about, of the keys |
/// | [`stratified`](Self::stratified) | its place among the rows of its class, in order of a hash of all its values | to a row, in every class |
///
/// Nothing depends on where or in which order rows are: a plan computed again gives the same split, and so does another
/// session with the same seed. By time: [`TimeSplit`](super::TimeSplit).
///
/// A split by key looks at each row by itself; with a key that every row has to itself it is the cheapest random split.
/// A random split numbers equal rows, which brings them together on the cluster (one shuffle); in a batch that is
/// scored locally, equal rows are numbered within the batch. A stratified split sorts the rows of a class on the
/// cluster, and cannot be applied locally.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Split {
    parts: NamedParts,
    by: SplitBy,
    seed: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum SplitBy {
    Row,
    Key(Vec<String>),
    Class(String),
}

/// The column of a row's hash, while rows are numbered or classes are sorted.
const HASH: &str = "__tinderbox_hash";

/// The column of a row's number among equal rows, from 1.
const NUMBER: &str = "__tinderbox_number";

impl Split {
    fn new<N: Into<String>>(
        output_col: impl Into<String>,
        parts: impl IntoIterator<Item = (N, f64)>,
        by: SplitBy,
    ) -> Self {
        Self { parts: NamedParts::new(output_col, parts), by, seed: 42 }
    }

    /// Splits row by row; parts are names with weights, such as `[("train", 0.8), ("test", 0.2)]`.
    pub fn random<N: Into<String>>(output_col: impl Into<String>, parts: impl IntoIterator<Item = (N, f64)>) -> Self {
        Self::new(output_col, parts, SplitBy::Row)
    }

    /// Keeps rows together that have the same values in key columns.
    pub fn by_key<K: Into<String>, N: Into<String>>(
        key_cols: impl IntoIterator<Item = K>,
        output_col: impl Into<String>,
        parts: impl IntoIterator<Item = (N, f64)>,
    ) -> Self {
        Self::new(output_col, parts, SplitBy::Key(key_cols.into_iter().map(Into::into).collect()))
    }

    /// Splits the rows of every class in the same proportion; null is a class too.
    pub fn stratified<N: Into<String>>(
        label_col: impl Into<String>,
        output_col: impl Into<String>,
        parts: impl IntoIterator<Item = (N, f64)>,
    ) -> Self {
        Self::new(output_col, parts, SplitBy::Class(label_col.into()))
    }

    /// Makes the output boolean: true for the rows of this part. What `validationIndicatorCol` takes.
    pub fn indicator_of(mut self, part: impl Into<String>) -> Self {
        self.parts.indicate(part);
        self
    }

    /// Sets the seed; another one gives another split.
    pub fn seed(mut self, seed: i64) -> Self {
        self.seed = seed;
        self
    }

    /// Returns the part of a row at a share of all rows, from 0 to below 1.
    fn part(&self, share: Column) -> Column {
        let ends = self.parts.ends().into_iter().map(lit_double);
        self.parts.column(ends.map(|end| share.clone().lt(end)))
    }

    /// Returns the part of a row with its hash and number beside it.
    fn part_of_numbered(&self) -> Column {
        self.part(share(function("xxhash64", [column(HASH), column(NUMBER)])))
    }

    /// Returns a hash of the values that decide.
    fn hash(&self, schema: &Schema) -> Result<Column> {
        let fields = match &self.by {
            SplitBy::Key(names) => names.iter().map(|name| schema.require(name)).collect::<Result<Vec<_>>>()?,
            _ => schema.fields().iter().collect(),
        };
        let seed = lit(self.seed).cast(DataType::Long);
        Ok(function("xxhash64", fields.into_iter().map(hash_input).chain([seed])))
    }
}

/// Returns each value's number among those equal to it, in order, from 1.
fn numbers(hashes: &[i64]) -> Vec<i64> {
    let mut seen = HashMap::with_capacity(hashes.len());
    let number = |hash: &i64| {
        let number = seen.entry(*hash).or_insert(0);
        *number += 1;
        *number
    };
    hashes.iter().map(number).collect()
}

/// Returns the batch without these columns.
fn without(batch: &RecordBatch, names: &[&str]) -> Result<RecordBatch> {
    let fields = batch.schema_ref().fields().iter().enumerate();
    let kept: Vec<usize> =
        fields.filter(|(_, field)| !names.contains(&field.name().as_str())).map(|(i, _)| i).collect();
    batch.project(&kept).map_err(|e| Error::arrow("leaving out columns", e))
}

/// Returns a hash as a number from 0 to below 1.
pub(in crate::ml) fn share(hash: Column) -> Column {
    const STEPS: i64 = 1 << 53;
    function("pmod", [hash, lit(STEPS)]).cast(DataType::Double).div(lit_double(STEPS as f64))
}

impl Transformer for Split {
    fn transform<'a>(&'a self, frame: &'a DataFrame) -> BoxFuture<'a, Result<DataFrame>> {
        Box::pin(async move {
            let schema = frame.schema_for_stages().await?;
            self.transform_schema(&schema)?;
            let (hash, output) = (self.hash(&schema)?, self.parts.output_col());
            let label = match &self.by {
                SplitBy::Key(_) => return Ok(step::apply_stage(self, frame, &schema)?.unwrap_or_else(|| frame.clone())),
                SplitBy::Row => {
                    let number = expr(&format!("row_number() OVER (PARTITION BY {HASH} ORDER BY {HASH})"));
                    let numbered = frame.with_column(HASH, hash).with_column(NUMBER, number.cast(DataType::Long));
                    return Ok(numbered.with_column(output, self.part_of_numbered()).drop([HASH, NUMBER]));
                }
                SplitBy::Class(label) => label,
            };
            let ends = self.parts.ends().into_iter().map(lit_double);
            let class = quote(&schema.require(label)?.name);
            let place = format!("row_number() OVER (PARTITION BY {class} ORDER BY {HASH}) - 0.5D");
            let place = expr(&format!("({place}) / count(1) OVER (PARTITION BY {class})"));
            let placed = frame.with_column(HASH, hash).with_column(HASH, place);
            let parts = self.parts.column(ends.map(|end| column(HASH).lt(end)));
            Ok(placed.with_column(output, parts).drop([HASH]))
        })
    }

    /// Returns a row's place in its class, or among its equals, is known only where all of those are.
    fn steps(&self, schema: &Schema) -> Result<Option<Vec<Step>>> {
        match &self.by {
            SplitBy::Key(_) => {
                Ok(Some(vec![Step::with_column(self.parts.output_col(), self.part(share(self.hash(schema)?)))]))
            }
            SplitBy::Row | SplitBy::Class(_) => Ok(None),
        }
    }

    fn transform_batch(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let rows = LocalBatch::new(batch)?;
        let after = self.transform_schema(rows.schema())?;
        let steps = match &self.by {
            SplitBy::Key(_) => self.steps(rows.schema())?.unwrap_or_default(),
            SplitBy::Class(_) => return Err(on_the_cluster_only("a stratified Split")),
            SplitBy::Row => {
                let hashes = rows.whole(&self.hash(rows.schema())?)?;
                let numbers = numbers(&hashes);
                let numbered = rows.with_whole(HASH, hashes)?.with_whole(NUMBER, numbers)?;
                let part = Step::with_column(self.parts.output_col(), self.part_of_numbered());
                return without(&numbered.apply(&[part], &after)?, &[HASH, NUMBER]);
            }
        };
        rows.apply(&steps, &after)
    }

    fn transform_schema(&self, schema: &Schema) -> Result<Schema> {
        match &self.by {
            SplitBy::Row => {}
            SplitBy::Key(names) if names.is_empty() => {
                return Err(Error::param("keyCols", "no column", "at least one column"));
            }
            SplitBy::Key(names) => names.iter().try_for_each(|name| schema.require(name).map(drop))?,
            SplitBy::Class(label) => drop(schema.require(label)?),
        }
        self.parts.schema(schema)
    }

    /// Returns a stage that reads all columns cannot be moved past one that adds a column.
    fn reads(&self) -> Option<Vec<String>> {
        match &self.by {
            SplitBy::Key(names) => Some(names.clone()),
            _ => None,
        }
    }

    plain_data!(Split);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::NativeStage;

    #[test]
    fn a_split_is_the_same_after_a_journey_as_json() {
        let parts = [("train", 0.8), ("test", 0.2)];
        for split in [
            Split::random("part", parts).seed(7),
            Split::by_key(["a", "b"], "part", parts).indicator_of("test"),
            Split::stratified("label", "part", parts),
        ] {
            let stage = split.native().unwrap();
            assert_eq!(NativeStage::from_json(&stage.to_json()).unwrap(), stage);
        }
    }

    #[test]
    fn columns_that_decide_must_be_there() {
        let schema = Schema::from_ddl("a INT, part STRING").unwrap();
        let parts = [("train", 0.8), ("test", 0.2)];
        assert!(Split::random("new", parts).transform_schema(&schema).is_ok());
        assert!(Split::random("part", parts).transform_schema(&schema).is_err());
        let missing = |split: Split| split.transform_schema(&schema).unwrap_err().to_string();
        assert!(missing(Split::by_key(["x"], "new", parts)).contains("column `x`"));
        assert!(missing(Split::by_key([""; 0], "new", parts)).contains("at least one"));
        assert!(missing(Split::stratified("y", "new", parts)).contains("column `y`"));
    }
}
