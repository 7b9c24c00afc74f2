//! Statistics of columns.

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::Float64Type,
};
use spark_connect::column::Column;
use spark_connect_proto::{self as proto, relation::RelType};

use super::{DataFrame, action::unexpected, literal, literal::IntoLiteral, owned};
use crate::{Error, Result};

/// Statistics of columns, from [`DataFrame::stat`]. Spark's `DataFrameStatFunctions`.
#[derive(Debug, Clone)]
pub struct DataFrameStatFunctions {
    frame: DataFrame,
}

impl DataFrame {
    /// Returns the statistics of columns.
    pub fn stat(&self) -> DataFrameStatFunctions {
        DataFrameStatFunctions { frame: self.clone() }
    }

    /// Returns count, mean, standard deviation, least and greatest value of columns (all of numbers and text if none is
    /// named), as text.
    pub fn describe(&self, names: &[&str]) -> DataFrame {
        self.derive(RelType::Describe(Box::new(proto::StatDescribe { input: None, cols: owned(names) })))
    }

    /// Returns statistics of all columns of numbers and text, as text: of `count`, `mean`, `stddev`, `min`, `max`,
    /// `count_distinct`, `approx_count_distinct` and percentiles (`75%`); if none is named, those of
    /// [`describe`](Self::describe) and the quartiles.
    pub fn summary(&self, statistics: &[&str]) -> DataFrame {
        let summary = proto::StatSummary { input: None, statistics: owned(statistics) };
        self.derive(RelType::Summary(Box::new(summary)))
    }
}

impl DataFrameStatFunctions {
    /// Counts the pairs of values of two columns: a row for each value of the first, a column for each of the second.
    pub fn crosstab(&self, first: &str, second: &str) -> DataFrame {
        let pairs = proto::StatCrosstab { input: None, col1: first.to_owned(), col2: second.to_owned() };
        self.frame.derive(RelType::Crosstab(Box::new(pairs)))
    }

    /// Returns the sample covariance of two columns of numbers; NaN when there is none.
    ///
    /// # Errors
    /// As [`DataFrame::stream`].
    pub async fn cov(&self, first: &str, second: &str) -> Result<f64> {
        let cov = proto::StatCov { input: None, col1: first.to_owned(), col2: second.to_owned() };
        self.number(RelType::Cov(Box::new(cov))).await
    }

    /// Returns Pearson's correlation of two columns of numbers; NaN when there is none.
    ///
    /// # Errors
    /// As [`DataFrame::stream`].
    pub async fn corr(&self, first: &str, second: &str) -> Result<f64> {
        let (col1, col2) = (first.to_owned(), second.to_owned());
        let corr = proto::StatCorr { input: None, col1, col2, method: Some("pearson".into()) };
        self.number(RelType::Corr(Box::new(corr))).await
    }

    async fn number(&self, statistic: RelType) -> Result<f64> {
        let row = one_row(&self.frame.derive(statistic)).await?;
        let numbers = row.column(0).as_primitive_opt::<Float64Type>().ok_or_else(|| unexpected("a statistic"))?;
        Ok(if numbers.is_null(0) { f64::NAN } else { numbers.value(0) })
    }

    /// Returns approximate quantiles of columns of numbers: for each column, one for each probability. Nulls and NaN do
    /// not count; a column of nothing else has no quantile.
    ///
    /// `relative_error` is 0 for exact quantiles; a quantile's rank is off by at most so large a part of the rows.
    ///
    /// # Errors
    /// [`Error::Param`] for a probability that is not between 0 and 1, and a negative error; as [`DataFrame::stream`].
    pub async fn approx_quantile(
        &self,
        names: &[&str],
        probabilities: &[f64],
        relative_error: f64,
    ) -> Result<Vec<Vec<f64>>> {
        if let Some(bad) = probabilities.iter().find(|p| !(0.0..=1.0).contains(*p)) {
            return Err(Error::param("probabilities", bad, "between 0 and 1 each"));
        }
        if relative_error.is_nan() || relative_error < 0.0 {
            return Err(Error::param("relative_error", relative_error, "0 or more"));
        }
        let quantiles = proto::StatApproxQuantile {
            input: None,
            cols: owned(names),
            probabilities: probabilities.to_vec(),
            relative_error,
        };
        let row = one_row(&self.frame.derive(RelType::ApproxQuantile(Box::new(quantiles)))).await?;
        let numbers = |cells: &dyn Array| {
            let numbers = cells.as_primitive_opt::<Float64Type>().ok_or_else(|| unexpected("approx_quantile"))?;
            Ok(numbers.iter().map(|number| number.unwrap_or(f64::NAN)).collect())
        };
        let columns = row.column(0).as_list_opt::<i32>().ok_or_else(|| unexpected("approx_quantile"))?.value(0);
        let columns = columns.as_list_opt::<i32>().ok_or_else(|| unexpected("approx_quantile"))?;
        (0..columns.len()).map(|i| numbers(&columns.value(i))).collect()
    }

    /// Returns one row with, for each column, values that are in at least `support` of the rows (and maybe others), as
    /// arrays `…_freqItems`; 0.01 is usual.
    ///
    /// # Errors
    /// [`Error::Param`] for a support that is not above 0 and at most 1.
    pub fn freq_items(&self, names: &[&str], support: f64) -> Result<DataFrame> {
        if !(support > 0.0 && support <= 1.0) {
            return Err(Error::param("support", support, "above 0, at most 1"));
        }
        let items = proto::StatFreqItems { input: None, cols: owned(names), support: Some(support) };
        Ok(self.frame.derive(RelType::FreqItems(Box::new(items))))
    }

    /// Returns a part of the rows of each stratum: those whose column has this value, each with this probability. Rows
    /// of other values are not returned.
    ///
    /// # Errors
    /// [`Error::Param`] for a fraction that is not between 0 and 1.
    pub fn sample_by<T: IntoLiteral>(
        &self,
        column: impl Into<Column>,
        fractions: impl IntoIterator<Item = (T, f64)>,
        seed: i64,
    ) -> Result<DataFrame> {
        let fraction = |(stratum, fraction): (T, f64)| {
            if !(0.0..=1.0).contains(&fraction) {
                return Err(Error::param("fraction", fraction, "between 0 and 1"));
            }
            let stratum = Some(literal::to_proto(&stratum.into_literal()));
            Ok(proto::stat_sample_by::Fraction { stratum, fraction })
        };
        let fractions = fractions.into_iter().map(fraction).collect::<Result<_>>()?;
        let col = Some(column.into().to_proto());
        let sample = proto::StatSampleBy { input: None, col, fractions, seed: Some(seed) };
        Ok(self.frame.derive(RelType::SampleBy(Box::new(sample))))
    }
}

async fn one_row(frame: &DataFrame) -> Result<RecordBatch> {
    let batches = frame.collect().await?;
    batches.into_iter().find(|batch| batch.num_rows() > 0).ok_or_else(|| unexpected("a statistic"))
}
