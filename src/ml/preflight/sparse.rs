//! Vectors of mostly zeros, looked at without them.

use arrow::{array::AsArray, datatypes::Int32Type};
use spark_connect::{column::Column, functions, lit, types::DataType};

use super::{NumberLayout, Preflight, infinite, no_number};
use crate::{
    Result,
    dataframe::{DataFrame, Schema, column, declared_size, function, vector_parts},
};

/// Vectors of fewer values are looked at as they are, whatever they hold.
const SHORT: usize = 256;

/// Rows that tell whether vectors are mostly zeros.
const LOOKED_AT: i32 = 16;

impl Preflight {
    /// Returns whether each column holds sparse vectors, judging by some of its rows. Vectors that the metadata
    /// declares short are not sampled.
    pub(super) async fn sparse_vectors(
        &self,
        frame: &DataFrame,
        schema: &Schema,
        kinds: &[NumberLayout],
    ) -> Result<Vec<bool>> {
        let mut sparse = vec![false; kinds.len()];
        let mut candidates = Vec::new();
        for (at, name) in self.columns.iter().enumerate() {
            let size = declared_size(schema.require(name)?);
            if kinds[at] == NumberLayout::Vector && size.is_none_or(|size| size >= SHORT) {
                candidates.push(at);
            }
        }
        if candidates.is_empty() {
            return Ok(sparse);
        }
        let parts = candidates.iter().map(|&at| {
            let parts = vector_parts(column(&self.columns[at]));
            let stored = function("size", [parts.clone().get_field("values")]);
            let size = functions::coalesce([parts.get_field("size"), stored.clone()]);
            function("array", [stored.cast(DataType::Integer), size.cast(DataType::Integer)])
        });
        let parts = parts.enumerate().map(|(i, sizes)| sizes.alias(&format!("v{i}")));
        let names = candidates.iter().map(|&at| column(&self.columns[at]));
        for batch in frame.select(names).limit(LOOKED_AT).select(parts).collect().await? {
            for (&at, sizes) in candidates.iter().zip(batch.columns()) {
                let sizes = sizes.as_list::<i32>().values().as_primitive::<Int32Type>().values().clone();
                let (stored, all) = sizes.chunks_exact(2).fold((0, 0), |(stored, all), row| {
                    (stored + i64::from(row[0].max(0)), all + i64::from(row[1].max(0)))
                });
                sparse[at] |= 2 * stored < all;
            }
        }
        Ok(sparse)
    }
}

/// As [`first_look`] of a vector that is not null, without its zeros; and all values that are not null.
pub(super) fn sparse_look(parts: &str) -> Vec<Column> {
    let values = || column(parts).get_field("values");
    let stored = || function("size", [values()]);
    let size = functions::coalesce([column(parts).get_field("size"), stored()]);
    let size = || function("if", [values().is_not_null(), size.clone(), no_number()]);
    let odd = |x: &Column| x.clone().is_null().or(x.clone().is_nan());
    vec![
        functions::count(values()),
        function("min", [size()]),
        function("max", [size()]),
        functions::count_if(functions::exists(values(), move |x| odd(&x[0]))),
        functions::count_if(functions::exists(values(), |x| infinite(x[0].clone()))),
        functions::sum(function("greatest", [stored().cast(DataType::Long), lit(0).cast(DataType::Long)])),
    ]
}

/// Returns the frame with the parts of the vectors that are sparse, so that each is taken apart once.
pub(super) fn with_parts(frame: &DataFrame, columns: &[String], sparse: &[bool]) -> DataFrame {
    let parts = (0..columns.len()).filter(|&at| sparse[at]);
    let parts: Vec<_> = parts.map(|at| (parts_name(at), vector_parts(column(&columns[at])))).collect();
    if parts.is_empty() { frame.clone() } else { frame.with_columns(parts) }
}

pub(super) fn parts_name(at: usize) -> String {
    format!("tinderbox: parts of vector {at}")
}
