//! Numbers to buckets of about equally many rows.

use spark_connect::{
    lit_double,
    types::{DataType, StructField},
};

use super::{Bucketizer, HandleInvalid, check_pairs, number, quantiles};
use crate::{
    Error, Result,
    dataframe::{Schema, column, function},
    ml::{
        learning::{AggregateFit, AggregateResults, doubles},
        param::stage_params,
        stage::{Estimator, fit_by_aggregates},
    },
};

/// Learns borders between buckets of about equally many rows (`org.apache.spark.ml.feature.QuantileDiscretizer`).
///
/// | param | default | purpose |
/// |---|---|---|
/// | `inputCols`, `outputCols` | | numbers; the bucket, a double |
/// | `numBuckets` | 2 | how many buckets, at least 2; fewer where quantiles coincide |
/// | `handleInvalid` | `error` | what the fitted [`Bucketizer`] does with NaN |
///
/// Nulls and NaN are passed over when fitting. Quantiles are exact to a thousandth of the rows' ranks. The outermost
/// borders are infinite, so that every number has a bucket.
#[derive(Debug, Clone)]
pub struct QuantileDiscretizer {
    input_cols: Vec<String>,
    output_cols: Vec<String>,
    num_buckets: usize,
    handle_invalid: HandleInvalid,
}

impl QuantileDiscretizer {
    /// Sorts one column's numbers into two halves.
    pub fn new(input_col: impl Into<String>, output_col: impl Into<String>) -> Self {
        Self::multi([input_col], [output_col])
    }

    /// Sorts several columns into buckets, fitted in one pass.
    pub fn multi<I: Into<String>, O: Into<String>>(
        input_cols: impl IntoIterator<Item = I>,
        output_cols: impl IntoIterator<Item = O>,
    ) -> Self {
        Self {
            input_cols: input_cols.into_iter().map(Into::into).collect(),
            output_cols: output_cols.into_iter().map(Into::into).collect(),
            num_buckets: 2,
            handle_invalid: HandleInvalid::default(),
        }
    }

    /// Sets the number of buckets, at least 2.
    pub fn num_buckets(mut self, num_buckets: usize) -> Self {
        self.num_buckets = num_buckets;
        self
    }

    /// Sets the reaction to NaN.
    pub fn handle_invalid(mut self, handling: HandleInvalid) -> Self {
        self.handle_invalid = handling;
        self
    }

    fn aggregates(&self, _: &Schema) -> Result<AggregateFit> {
        let params = self.clone();
        let learning = AggregateFit::new(move |answers: AggregateResults| {
            let mut columns = Vec::new();
            let names = params.input_cols.into_iter().zip(params.output_cols);
            for ((input, output), statistic) in names.zip(&answers.statistics) {
                let splits = borders(doubles(statistic)?);
                if splits.len() < 3 {
                    let found = "numbers of a single bucket, or none";
                    return Err(Error::values(&input, "numbers that differ enough for two buckets", found));
                }
                columns.push((input, output, splits));
            }
            Ok(Box::new(Bucketizer::multi(columns).handle_invalid(params.handle_invalid)))
        });
        let at: Vec<f64> = (0..=self.num_buckets).map(|i| i as f64 / self.num_buckets as f64).collect();
        Ok(self.input_cols.iter().fold(learning, |learning, input| {
            let value = column(input).cast(DataType::Double);
            learning.statistics(function("nullif", [value, lit_double(f64::NAN)]), [quantiles(&at)])
        }))
    }
}

/// Infinite at both ends, and each once.
fn borders(mut quantiles: Vec<f64>) -> Vec<f64> {
    if let [first, .., last] = &mut quantiles[..] {
        (*first, *last) = (f64::NEG_INFINITY, f64::INFINITY);
    }
    for border in &mut quantiles {
        *border += 0.0; // no negative zero
    }
    quantiles.dedup();
    quantiles
}

impl QuantileDiscretizer {
    fn check_buckets(&self) -> Result<()> {
        match self.num_buckets {
            0 | 1 => Err(Error::param("numBuckets", self.num_buckets, "2 or more")),
            _ => Ok(()),
        }
    }
}

stage_params!(QuantileDiscretizer, QuantileDiscretizer::check_buckets, {
    "inputCols": input_cols = None::<()>, "columns of numbers";
    "outputCols": output_cols = None::<()>, "output columns of buckets";
    "numBuckets": num_buckets = 2, "how many buckets";
    "handleInvalid": handle_invalid = HandleInvalid::default(), "reaction to NaN: error, skip or keep";
});

impl Estimator for QuantileDiscretizer {
    fit_by_aggregates!();

    fn transform_schema(&self, schema: &Schema) -> Result<Schema> {
        self.check_buckets()?;
        check_pairs(&self.input_cols, &self.output_cols)?;
        self.input_cols.iter().zip(&self.output_cols).try_fold(schema.clone(), |result, (input, output)| {
            number(schema, input, "numbers")?;
            let (data_type, metadata) = (DataType::Double, Default::default());
            result.with(StructField { name: output.clone(), data_type, nullable: true, metadata })
        })
    }

    fn reads(&self) -> Option<Vec<String>> {
        (self.handle_invalid != HandleInvalid::Skip).then(|| self.input_cols.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn borders_are_infinite_outside_and_each_there_once() {
        let (below, above) = (f64::NEG_INFINITY, f64::INFINITY);
        assert_eq!(borders(vec![1.0, 2.0, 2.0, 3.0]), [below, 2.0, above]);
        let zero = borders(vec![-1.0, -0.0, 3.0]);
        assert!(zero == [below, 0.0, above] && zero[1].is_sign_positive());
        assert!(borders(Vec::new()).is_empty());
    }
}
