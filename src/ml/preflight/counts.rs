//! Counts of one column's values.

use arrow::array::ArrayRef;

use super::{LARGEST_WHOLE, NumberLayout, double, length, long};
use crate::{Error, Result};

/// Counts of one column of numbers, vectors or arrays.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ColumnCounts {
    /// The column.
    pub name: String,
    /// Rows that are null.
    pub nulls: u64,
    /// Rows with NaN in them, or a null element.
    pub nans: u64,
    /// Rows with an infinite number in them.
    pub infinities: u64,
    /// The shortest and longest vector; `None` for a column of single numbers, and when there is no vector.
    pub lengths: Option<(usize, usize)>,
    /// Smallest and largest number of a column of single numbers, NaN ignored. Of more than 64 features they
    /// are queried only where something is unusual.
    pub range: Option<(f64, f64)>,
    /// Rows below 0; counted of weights, and where there is a NaN or an infinity.
    pub negatives: u64,
    /// Values that the vectors hold besides their zeros, where a look at some rows found them to be mostly zeros.
    pub stored: Option<u64>,
    /// True if the column's type is an integer type.
    pub whole: bool,
    /// True if the column is a regression target.
    pub is_target: bool,
}

impl ColumnCounts {
    /// Adds what [`first_look`] found in so many rows.
    pub(super) fn add<'a>(
        &mut self,
        statistics: &mut impl Iterator<Item = &'a ArrayRef>,
        row: usize,
        kind: NumberLayout,
        rows: u64,
    ) {
        let count = |statistic: Option<&ArrayRef>| statistic.map_or(0, |statistic| long(statistic, row).max(0) as u64);
        self.nulls += rows - count(statistics.next()).min(rows);
        let (least, most) = (statistics.next(), statistics.next());
        match kind {
            NumberLayout::Whole | NumberLayout::Real => {
                let double = |statistic: Option<&ArrayRef>| statistic.and_then(|statistic| double(statistic, row));
                if let Some((least, most)) = double(least).zip(double(most)) {
                    let known = self.range.unwrap_or((least, most));
                    // As in Spark, NaN is larger than every number.
                    let larger = |a: f64, b: f64| if a.is_nan() || a > b { a } else { b };
                    let smaller = |a: f64, b: f64| if b.is_nan() || a < b { a } else { b };
                    self.range = Some((smaller(known.0, least), larger(known.1, most)));
                }
            }
            NumberLayout::Vector | NumberLayout::Array => {
                let length = |statistic: Option<&ArrayRef>| statistic.and_then(|statistic| length(statistic, row));
                if let Some((shortest, longest)) = length(least).zip(length(most)).filter(|(_, longest)| *longest > 0) {
                    let known = self.lengths.unwrap_or((shortest, longest));
                    self.lengths = Some((known.0.min(shortest), known.1.max(longest)));
                }
                self.nans += count(statistics.next());
                self.infinities += count(statistics.next());
                if let Some(stored) = &mut self.stored {
                    *stored += count(statistics.next());
                }
            }
        }
    }

    /// Returns whether less than half of the vectors' values, in so many rows, are not zero.
    pub fn is_sparse(&self, rows: u64) -> bool {
        let values = |(_, longest): (usize, usize)| rows.saturating_mul(longest as u64);
        self.stored.zip(self.lengths).is_some_and(|(stored, lengths)| stored.saturating_mul(2) < values(lengths))
    }

    /// Returns whether some numbers must be counted one by one.
    pub(super) fn is_odd(&self, is_weight: bool) -> bool {
        self.range.is_some_and(|(least, most)| !least.is_finite() || !most.is_finite() || (is_weight && least < 0.0))
    }

    /// Returns the precision that is lost when the column is read as `f32`, as features are: integers that become
    /// equal, or most digits of numbers that lie far from zero and close together.
    pub(super) fn lost_precision(&self) -> Option<String> {
        /// Steps between the smallest and the largest number that are enough for a feature.
        const STEPS: f64 = 1024.0;
        let (least, most) = self.range.filter(|(least, most)| least.is_finite() && most.is_finite() && least < most)?;
        let largest = least.abs().max(most.abs());
        // The distance of two neighbours in single precision.
        let step = largest * f64::from(f32::EPSILON);
        let name = &self.name;
        if self.whole && largest > LARGEST_WHOLE {
            return Some(format!(
                "column `{name}`: whole numbers up to {largest} are read in single precision, in which those beyond \
                 16777216 become equal to their neighbours; if they are ids, index them (StringIndexer) and learn an \
                 embedding, if they are amounts, scale them first (StandardScaler)"
            ));
        }
        (most - least < STEPS * step).then(|| {
            format!(
                "column `{name}`: numbers from {least} to {most} are read in single precision, which has only {} values \
                 between them; scale them first (StandardScaler)",
                ((most - least) / step).ceil() + 1.0
            )
        })
    }

    pub(super) fn check(&self, rows: u64) -> Result<()> {
        let wrong = [
            (self.nulls, "null"),
            (self.nans, "NaN (or an element that is NaN or null)"),
            (self.infinities, "infinite"),
        ];
        let wrong: Vec<_> = wrong.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{what} in {n}")).collect();
        if !wrong.is_empty() {
            let wrong = wrong.join(", ");
            return Err(Error::values(&self.name, "finite numbers", format!("{wrong} of {rows} rows")));
        }
        match self.lengths {
            Some((shortest, longest)) if shortest != longest => {
                let found = format!("vectors of {shortest} to {longest} elements");
                Err(Error::values(&self.name, "vectors of one length", found))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn check_weights(&self, rows: u64) -> Result<()> {
        if self.negatives > 0 {
            let least = self.range.map_or(f64::NAN, |(least, _)| least);
            let found = format!("numbers below 0 in {} of {rows} rows (such as {least})", self.negatives);
            return Err(Error::values(&self.name, "weights of at least 0", found));
        }
        if self.range.is_some_and(|(_, most)| most <= 0.0) {
            return Err(Error::values(&self.name, "a weight above 0", format!("0 in all {rows} rows")));
        }
        Ok(())
    }
}
