//! Rows in folds: hashed on the cluster, numbered and picked out locally.

use std::sync::Arc;

use arrow::{
    array::{AsArray, BooleanArray, RecordBatch},
    compute::filter_record_batch,
    datatypes::{Int64Type, SchemaRef},
};
use futures::{future::BoxFuture, stream};
use spark_connect::{
    column::Column,
    lit,
    types::{DataType, StructField},
};

use crate::{
    DataProblem, Error, Result,
    dataframe::{Schema, column, function, hash_input},
    stream::{CachedBatches, RecordSource, RecordStream},
};

/// The column that a row's fold follows from, the last one: the fold itself, or a hash of the row's values.
pub(super) const FOLD: &str = "__tinderbox_fold";

/// Key by which rows get their folds.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Folding {
    /// Into so many folds, each held out in turn; by a column, or else at random.
    Folds { count: usize, by: Option<String>, seed: i64 },
    /// Once: fold 0 is held out, fold 1 has this share of the rows, to a row.
    Share { train: f64, seed: i64 },
}

impl Folding {
    /// Returns the folds that are held out, each while training on the others.
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

    /// Returns the expression that decides a row's fold, of the columns in use.
    pub(super) fn column(&self, schema: &Schema, used: &[&StructField]) -> Result<Column> {
        let hash = |seed: i64| {
            let seed = lit(seed).cast(DataType::Long);
            function("xxhash64", used.iter().map(|field| hash_input(field)).chain([seed]))
        };
        let origin = match self {
            Folding::Folds { by: Some(name), .. } => match &schema.require(name)?.data_type {
                DataType::Byte | DataType::Short | DataType::Integer | DataType::Long => column(name),
                other => return Err(Error::schema(name, "folds: whole numbers from 0", other.simple_string())),
            },
            Folding::Folds { seed, .. } | Folding::Share { seed, .. } => hash(*seed),
        };
        Ok(origin.cast(DataType::Long).alias(FOLD))
    }

    /// Returns the fold of every row, in the order of `origins`, which are what [`column`](Self::column) gave.
    ///
    /// # Errors
    /// [`Error::Data`] for a row in no fold.
    fn assign(&self, origins: &[Option<i64>]) -> Result<Vec<i32>> {
        let count = origins.len() as u64;
        match self {
            Folding::Folds { by: Some(_), count, .. } => origins.iter().map(|fold| in_fold(*fold, *count)).collect(),
            Folding::Folds { count: folds, .. } => {
                Ok(by_rank(origins, |rank| (u128::from(rank) * *folds as u128 / u128::from(count)) as i32))
            }
            Folding::Share { train, .. } => {
                let trained = (train * count as f64).round() as u64;
                Ok(by_rank(origins, |rank| i32::from(rank < trained)))
            }
        }
    }
}

fn in_fold(fold: Option<i64>, count: usize) -> Result<i32> {
    let found = fold.and_then(|fold| i32::try_from(fold).ok()).filter(|fold| (0..count as i32).contains(fold));
    found.ok_or_else(|| {
        let found = fold.map_or("null".into(), |fold| fold.to_string());
        Error::values("folds", format!("folds 0 to {}", count - 1), found)
    })
}

/// Returns the fold of every row by its rank in a random order that follows from the rows' values alone: in whatever
/// order they arrive, the same rows come into the same folds. Equal rows are numbered, so that they part like any
/// others.
fn by_rank(hashes: &[Option<i64>], fold: impl Fn(u64) -> i32) -> Vec<i32> {
    let hash = |row: u32| hashes[row as usize].unwrap_or_default() as u64;
    let mut rows: Vec<u32> = (0..hashes.len() as u32).collect();
    rows.sort_by_key(|row| hash(*row));
    let mut keyed: Vec<(u64, u32)> = Vec::with_capacity(rows.len());
    let (mut last, mut number) = (None, 0);
    for row in rows {
        let hash = hash(row);
        number = if last == Some(hash) { number + 1 } else { 0 };
        last = Some(hash);
        keyed.push((mixed(hash, number), row));
    }
    keyed.sort_unstable();
    let mut folds = vec![0; hashes.len()];
    for (rank, (_, row)) in keyed.into_iter().enumerate() {
        folds[row as usize] = fold(rank as u64);
    }
    folds
}

/// Returns a hash and a number as one hash: the finalizer of MurmurHash3 over both.
fn mixed(hash: u64, number: u64) -> u64 {
    let mut x = hash ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for factor in [0xff51_afd7_ed55_8ccd_u64, 0xc4ce_b9fe_1a85_ec53] {
        x = (x ^ (x >> 33)).wrapping_mul(factor);
    }
    x ^ (x >> 33)
}

/// Rows that were read once, with their folds.
#[derive(Debug, Clone)]
pub(super) struct FoldedRows {
    rows: CachedBatches,
    schema: SchemaRef,
    /// The fold of every row, batch by batch.
    folds: Arc<Vec<Vec<i32>>>,
    /// Number of rows of each fold.
    counts: Vec<u64>,
}

impl FoldedRows {
    /// Puts the rows into folds, and counts those.
    ///
    /// # Errors
    /// [`Error::Data`] for a fold without rows, or a row in none.
    pub(super) fn new(rows: CachedBatches, folding: &Folding) -> Result<Self> {
        let mut origins = Vec::new();
        for batch in rows.batches() {
            let last = batch.columns().last().and_then(|column| column.as_primitive_opt::<Int64Type>());
            let last = last.ok_or_else(|| Error::schema(FOLD, "whole numbers as the last column", "another column"))?;
            origins.extend(last.iter());
        }
        let mut assigned = folding.assign(&origins)?.into_iter();
        let batches = rows.batches().iter();
        let folds: Vec<Vec<i32>> = batches.map(|batch| assigned.by_ref().take(batch.num_rows()).collect()).collect();
        let mut counts = vec![0; folding.count()];
        folds.iter().flatten().for_each(|fold| counts[*fold as usize] += 1);
        if let Some(empty) = counts.iter().position(|count| *count == 0) {
            let total: u64 = counts.iter().sum();
            let part = format!("in fold {empty} of {}", counts.len());
            return Err(Error::rows(DataProblem::EmptySplit { rows: total, taken: 0, part }));
        }
        let last = rows.schema().fields().len() - 1;
        let schema = rows.schema().project(&(0..last).collect::<Vec<_>>());
        let schema = schema.map_err(|e| Error::arrow("leaving out the folds", e))?.into();
        Ok(Self { rows, schema, folds: Arc::new(folds), counts })
    }

    /// Returns the training rows while a fold is held out, and their number.
    pub(super) fn without(&self, fold: i32) -> (FoldPart, u64) {
        let all: u64 = self.counts.iter().sum();
        (self.part(Pick::Without(fold)), all - self.counts.get(fold as usize).copied().unwrap_or(0))
    }

    /// Returns the rows of a fold.
    pub(super) fn only(&self, fold: i32) -> FoldPart {
        self.part(Pick::Only(fold))
    }

    /// Returns all rows, and how many they are.
    pub(super) fn all(&self) -> (FoldPart, u64) {
        (self.part(Pick::All), self.counts.iter().sum())
    }

    fn part(&self, pick: Pick) -> FoldPart {
        FoldPart { of: self.clone(), pick }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Pick {
    All,
    Only(i32),
    Without(i32),
}

/// Some of the rows, as a source. Rows are picked batch by batch on demand.
#[derive(Debug, Clone)]
pub(super) struct FoldPart {
    of: FoldedRows,
    pick: Pick,
}

impl FoldPart {
    fn picked(&self, index: usize) -> Result<RecordBatch> {
        let (batch, folds) = (&self.of.rows.batches()[index], &self.of.folds[index]);
        let fail = |e| Error::arrow("picking the rows of a fold", e);
        let rows: Vec<usize> = (0..batch.num_columns() - 1).collect();
        let without_folds = batch.project(&rows).map_err(fail)?;
        let keep: BooleanArray = match self.pick {
            Pick::All => return Ok(without_folds),
            Pick::Only(fold) => folds.iter().map(|found| Some(*found == fold)).collect(),
            Pick::Without(fold) => folds.iter().map(|found| Some(*found != fold)).collect(),
        };
        filter_record_batch(&without_folds, &keep).map_err(fail)
    }
}

impl RecordSource for FoldPart {
    fn open(&self, _epoch: usize) -> BoxFuture<'_, Result<RecordStream>> {
        let part = self.clone();
        let batches = (0..self.of.rows.batches().len()).map(move |i| part.picked(i));
        Box::pin(std::future::ready(Ok(RecordStream::new(self.of.schema.clone(), stream::iter(batches)))))
    }

    fn origin(&self) -> String {
        match self.pick {
            Pick::All => self.of.rows.origin(),
            Pick::Only(fold) => format!("fold {fold} of {}", self.of.rows.origin()),
            Pick::Without(fold) => format!("all folds but {fold} of {}", self.of.rows.origin()),
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{Float32Array, Int64Array},
        datatypes::Float32Type,
    };
    use futures::TryStreamExt;

    use super::*;
    use crate::stream::{Cache, CacheOptions};

    fn cached(folds: &[Option<i64>]) -> CachedBatches {
        let mut cache = Cache::new(CacheOptions::default());
        for (start, chunk) in folds.chunks(3).enumerate() {
            let values = Float32Array::from_iter_values((0..chunk.len()).map(|i| (start * 3 + i) as f32));
            let folds = Int64Array::from(chunk.to_vec());
            let columns: [(&str, arrow::array::ArrayRef); 2] = [("x", Arc::new(values)), (FOLD, Arc::new(folds))];
            let nullable = columns.map(|(name, array)| (name, array, true));
            cache.push(RecordBatch::try_from_iter_with_nullable(nullable).unwrap()).unwrap();
        }
        cache.finish().unwrap()
    }

    async fn values(part: FoldPart) -> Vec<f32> {
        let stream = part.open(0).await.unwrap();
        assert_eq!(stream.schema().fields().len(), 1);
        let batches: Vec<RecordBatch> = stream.try_collect().await.unwrap();
        batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Float32Type>().values().to_vec()).collect()
    }

    fn by_column(count: usize) -> Folding {
        Folding::Folds { count, by: Some("fold".into()), seed: 1 }
    }

    #[test]
    fn equal_rows_part_evenly_and_alike_in_whatever_order_they_arrive() {
        // Two kinds of rows, as `id % 2` gives.
        let hashes: Vec<Option<i64>> = (0..1000).map(|i| Some([7_i64, -3][i % 2])).collect();
        let kinds = |hashes: &[Option<i64>], folding: &Folding| {
            let mut found = vec![[0; 2]; folding.count()];
            for (hash, fold) in hashes.iter().zip(folding.assign(hashes).unwrap()) {
                found[fold as usize][usize::from(*hash == Some(7))] += 1;
            }
            found
        };
        let mut sorted = hashes.clone();
        sorted.sort();
        let folds = Folding::Folds { count: 3, by: None, seed: 1 };
        let share = Folding::Share { train: 0.75, seed: 1 };
        for folding in [folds, share] {
            let found = kinds(&hashes, &folding);
            assert_eq!(found, kinds(&sorted, &folding));
            for kinds in &found {
                let (least, most) = (kinds[0].min(kinds[1]), kinds[0].max(kinds[1]));
                assert!(least * 2 > most, "both kinds are in every fold: {found:?}");
            }
            let sizes: Vec<i32> = found.iter().map(|kinds| kinds[0] + kinds[1]).collect();
            assert!(sizes == [334, 333, 333] || sizes == [250, 750], "{sizes:?}");
        }
    }

    #[tokio::test]
    async fn every_row_is_in_one_fold_and_learnt_from_in_the_others() {
        let folding = by_column(3);
        let rows = FoldedRows::new(cached(&[0, 1, 2, 0, 1, 2, 0].map(Some)), &folding).unwrap();
        assert_eq!(values(rows.only(1)).await, [1.0, 4.0]);
        let (rest, count) = rows.without(1);
        assert_eq!((values(rest).await, count), (vec![0.0, 2.0, 3.0, 5.0, 6.0], 5));
        let (all, count) = rows.all();
        assert_eq!((values(all).await.len(), count), (7, 7));
    }

    #[test]
    fn folds_that_cannot_be_are_refused() {
        let folding = by_column(2);
        let refused = |folds: &[Option<i64>]| FoldedRows::new(cached(folds), &folding).unwrap_err().to_string();
        assert!(refused(&[Some(0), Some(0)]).contains("found 0 of 2 rows in fold 1 of 2"));
        assert!(refused(&[Some(0), Some(2)]).contains("expected folds 0 to 1, found 2"));
        assert!(refused(&[Some(0), Some(-1)]).contains("found -1"));
        assert!(refused(&[Some(0), None]).contains("found null"));
        assert!(Folding::Folds { count: 1, by: None, seed: 1 }.check().is_err());
        assert!(Folding::Share { train: 1.0, seed: 1 }.check().is_err());
    }
}
