//! Rows in folds: told apart on the cluster, picked out here.

use arrow::{
    array::{Array, AsArray, BooleanArray, RecordBatch},
    compute::filter_record_batch,
    datatypes::{Int32Type, SchemaRef},
};
use futures::{future::BoxFuture, stream};
use spark_connect::{
    column::Column,
    functions, lit, lit_double,
    types::{DataType, StructField},
};

use crate::{
    Error, Result,
    dataframe::{Schema, column, function, hash_input},
    stream::{CachedBatches, RecordSource, RecordStream},
};

/// The column of a row's fold, the last one.
pub(super) const FOLD: &str = "__tinderbox_fold";

/// How rows are told apart.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Folding {
    /// Into so many folds, each held out in turn; by a column, or else by a hash.
    Folds { count: usize, by: Option<String>, seed: i64 },
    /// Once: fold 0 is held out, fold 1 has about this share of the rows.
    Share { train: f64, seed: i64 },
}

impl Folding {
    /// Which folds are held out, each while the others are learnt from.
    pub(super) fn held_out(&self) -> std::ops::Range<i32> {
        match self {
            Folding::Folds { count, .. } => 0..*count as i32,
            Folding::Share { .. } => 0..1,
        }
    }

    fn count(&self) -> usize {
        match self {
            Folding::Folds { count, .. } => *count,
            Folding::Share { .. } => 2,
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        match self {
            Folding::Folds { count, .. } if !(2..=1000).contains(count) => {
                Err(Error::param("numFolds", count, "from 2 to 1000"))
            }
            Folding::Share { train, .. } if !(*train > 0.0 && *train < 1.0) => {
                Err(Error::param("trainRatio", train, "above 0 and below 1"))
            }
            _ => Ok(()),
        }
    }

    /// A row's fold, an expression of the columns that are used.
    pub(super) fn column(&self, schema: &Schema, used: &[&StructField]) -> Result<Column> {
        let hash = |seed: i64| {
            let seed = lit(seed).cast(DataType::Long);
            function("xxhash64", used.iter().map(|field| hash_input(field)).chain([seed]))
        };
        let remainder = |seed, of: i64| function("pmod", [hash(seed), lit(of).cast(DataType::Long)]);
        let fold = match self {
            Folding::Folds { by: Some(name), .. } => match &schema.require(name)?.data_type {
                DataType::Byte | DataType::Short | DataType::Integer | DataType::Long => column(name),
                other => return Err(Error::schema(name, "folds: whole numbers from 0", other.simple_string())),
            },
            Folding::Folds { count, seed, .. } => remainder(*seed, *count as i64),
            Folding::Share { train, seed } => {
                const STEPS: i64 = 1 << 40;
                let share = remainder(*seed, STEPS).cast(DataType::Double).div(lit_double(STEPS as f64));
                functions::when(share.lt(lit_double(*train)), lit(1)).otherwise(lit(0))
            }
        };
        Ok(fold.cast(DataType::Integer).alias(FOLD))
    }
}

/// Rows that were read once, with their folds.
#[derive(Debug, Clone)]
pub(super) struct FoldedRows {
    rows: CachedBatches,
    schema: SchemaRef,
    /// How many rows each fold has.
    counts: Vec<u64>,
}

impl FoldedRows {
    /// Counts the folds.
    ///
    /// # Errors
    /// [`Error::Data`] for a fold without rows, or a row in none.
    pub(super) fn new(rows: CachedBatches, folding: &Folding) -> Result<Self> {
        let mut counts = vec![0; folding.count()];
        for batch in rows.batches() {
            let folds = folds(batch)?;
            for row in 0..folds.len() {
                let fold = folds.is_valid(row).then(|| folds.value(row));
                match fold.and_then(|fold| counts.get_mut(usize::try_from(fold).ok()?)) {
                    Some(count) => *count += 1,
                    None => {
                        let found = fold.map_or("null".into(), |fold| fold.to_string());
                        let reason = format!("a row is in fold {found}; there are folds 0 to {}", folding.count() - 1);
                        return Err(Error::Data { column: "folds".into(), reason });
                    }
                }
            }
        }
        if let Some(empty) = counts.iter().position(|count| *count == 0) {
            let total: u64 = counts.iter().sum();
            let reason = format!("fold {empty} of {} has none of the {total} rows; make fewer folds", counts.len());
            return Err(Error::Data { column: "folds".into(), reason });
        }
        let last = rows.schema().fields().len() - 1;
        let schema = rows.schema().project(&(0..last).collect::<Vec<_>>());
        let schema = schema.map_err(|e| Error::arrow("leaving out the folds", e))?.into();
        Ok(Self { rows, schema, counts })
    }

    /// The rows to learn from while a fold is held out, and how many they are.
    pub(super) fn without(&self, fold: i32) -> (Part, u64) {
        let all: u64 = self.counts.iter().sum();
        (self.part(Pick::Without(fold)), all - self.counts.get(fold as usize).copied().unwrap_or(0))
    }

    /// The rows of a fold.
    pub(super) fn only(&self, fold: i32) -> Part {
        self.part(Pick::Only(fold))
    }

    /// All rows, and how many they are.
    pub(super) fn all(&self) -> (Part, u64) {
        (self.part(Pick::All), self.counts.iter().sum())
    }

    fn part(&self, pick: Pick) -> Part {
        Part { of: self.clone(), pick }
    }
}

fn folds(batch: &RecordBatch) -> Result<&arrow::array::Int32Array> {
    let last = batch.columns().last().and_then(|column| column.as_primitive_opt::<Int32Type>());
    last.ok_or_else(|| Error::schema(FOLD, "folds as the last column", "another column"))
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Pick {
    All,
    Only(i32),
    Without(i32),
}

/// Some of the rows, as a source. Rows are picked batch by batch as they are asked for.
#[derive(Debug, Clone)]
pub(super) struct Part {
    of: FoldedRows,
    pick: Pick,
}

impl Part {
    fn picked(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let folds = folds(batch)?;
        let fail = |e| Error::arrow("picking the rows of a fold", e);
        let rows: Vec<usize> = (0..batch.num_columns() - 1).collect();
        let without_folds = batch.project(&rows).map_err(fail)?;
        let keep: BooleanArray = match self.pick {
            Pick::All => return Ok(without_folds),
            Pick::Only(fold) => folds.iter().map(|found| Some(found == Some(fold))).collect(),
            Pick::Without(fold) => folds.iter().map(|found| Some(found != Some(fold))).collect(),
        };
        filter_record_batch(&without_folds, &keep).map_err(fail)
    }
}

impl RecordSource for Part {
    fn open(&self, _epoch: usize) -> BoxFuture<'_, Result<RecordStream>> {
        let part = self.clone();
        let batches = (0..self.of.rows.batches().len()).map(move |i| part.picked(&part.of.rows.batches()[i]));
        Box::pin(std::future::ready(Ok(RecordStream::new(self.of.schema.clone(), stream::iter(batches)))))
    }

    fn describe(&self) -> String {
        match self.pick {
            Pick::All => self.of.rows.describe(),
            Pick::Only(fold) => format!("fold {fold} of {}", self.of.rows.describe()),
            Pick::Without(fold) => format!("all folds but {fold} of {}", self.of.rows.describe()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{Float32Array, Int32Array},
        datatypes::Float32Type,
    };
    use futures::TryStreamExt;

    use super::*;
    use crate::stream::{Cache, CacheOptions};

    fn cached(folds: &[Option<i32>]) -> CachedBatches {
        let mut cache = Cache::new(CacheOptions::default());
        for (start, chunk) in folds.chunks(3).enumerate() {
            let values = Float32Array::from_iter_values((0..chunk.len()).map(|i| (start * 3 + i) as f32));
            let folds = Int32Array::from(chunk.to_vec());
            let columns: [(&str, arrow::array::ArrayRef); 2] = [("x", Arc::new(values)), (FOLD, Arc::new(folds))];
            let nullable = columns.map(|(name, array)| (name, array, true));
            cache.push(RecordBatch::try_from_iter_with_nullable(nullable).unwrap()).unwrap();
        }
        cache.finish().unwrap()
    }

    async fn values(part: Part) -> Vec<f32> {
        let stream = part.open(0).await.unwrap();
        assert_eq!(stream.schema().fields().len(), 1);
        let batches: Vec<RecordBatch> = stream.try_collect().await.unwrap();
        batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Float32Type>().values().to_vec()).collect()
    }

    #[tokio::test]
    async fn every_row_is_in_one_fold_and_learnt_from_in_the_others() {
        let folding = Folding::Folds { count: 3, by: None, seed: 1 };
        let rows = FoldedRows::new(cached(&[0, 1, 2, 0, 1, 2, 0].map(Some)), &folding).unwrap();
        assert_eq!(values(rows.only(1)).await, [1.0, 4.0]);
        let (rest, count) = rows.without(1);
        assert_eq!((values(rest).await, count), (vec![0.0, 2.0, 3.0, 5.0, 6.0], 5));
        let (all, count) = rows.all();
        assert_eq!((values(all).await.len(), count), (7, 7));
    }

    #[test]
    fn folds_that_cannot_be_are_refused() {
        let folding = Folding::Folds { count: 2, by: None, seed: 1 };
        let refused = |folds: &[Option<i32>]| FoldedRows::new(cached(folds), &folding).unwrap_err().to_string();
        assert!(refused(&[Some(0), Some(0)]).contains("fold 1 of 2 has none of the 2 rows"));
        assert!(refused(&[Some(0), Some(2)]).contains("in fold 2; there are folds 0 to 1"));
        assert!(refused(&[Some(0), Some(-1)]).contains("in fold -1"));
        assert!(refused(&[Some(0), None]).contains("in fold null"));
        assert!(Folding::Folds { count: 1, by: None, seed: 1 }.check().is_err());
        assert!(Folding::Share { train: 1.0, seed: 1 }.check().is_err());
    }
}
