//! A row to show with a refusal.

use arrow::array::Array;
use spark_connect::{column::Column, functions, lit, lit_boolean};

use super::{ColumnCounts, PreflightReport, as_array, class_key, infinite, numbers};
use crate::{
    DataProblem, Error, Result,
    dataframe::{DataFrame, NestedFields, Schema, column, function, texts},
    ml::feature::{NumberLayout, text},
};

/// A row is shown up to so many characters.
const SHOWN: i64 = 200;

impl PreflightReport {
    /// As [`check`](Self::check); a refusal also shows one of the rows that caused it, found by another query;
    /// `frame` is the one that was counted.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub async fn check_rows(&self, frame: &DataFrame) -> Result<()> {
        match self.check() {
            Err(Error::Data { column, row, problem: DataProblem::Values { expected, found, .. } }) => {
                // Without a row the refusal stays unchanged.
                let example = self.bad_row(frame).await.unwrap_or_default();
                Err(Error::Data { column, row, problem: DataProblem::Values { expected, found, example } })
            }
            other => other,
        }
    }

    /// Returns the first row that is refused, in the columns that were looked at.
    async fn bad_row(&self, frame: &DataFrame) -> Result<Option<String>> {
        let schema = frame.schema().await?;
        let (frame, schema) = &NestedFields::of(&schema).open(frame, &schema);
        let Some(bad) = self.what_is_bad(schema)? else { return Ok(None) };
        let mut shown = Vec::new();
        for name in self.columns.iter().map(|counts| &counts.name).chain(&self.label) {
            if !shown.contains(&name) {
                shown.push(name);
            }
        }
        let cells = shown.into_iter().map(|name| {
            let kind = numbers(&schema.require(name)?.data_type);
            let cell = kind.map_or_else(|| column(name), |kind| shown_as(name, kind));
            Ok(cell.alias(name))
        });
        let options = function("map", [text("ignoreNullFields"), text("false")]);
        let json = function("to_json", [function("struct", cells.collect::<Result<Vec<_>>>()?), options]);
        let row = frame.filter(bad).select([function("left", [json, lit(SHOWN + 1)])]).first().await?;
        let json = row.map(|row| texts(&row, 0)).transpose()?.filter(|json| json.is_valid(0));
        Ok(json.map(|json| match json.value(0).char_indices().nth(SHOWN as usize) {
            Some((end, _)) => format!("{} …", &json.value(0)[..end]),
            None => json.value(0).to_owned(),
        }))
    }

    /// Returns the condition of the rows that [`check`](Self::check) refuses first.
    fn what_is_bad(&self, schema: &Schema) -> Result<Option<Column>> {
        for counts in &self.columns {
            let kind = numbers(&schema.require(&counts.name)?.data_type).unwrap_or(NumberLayout::Whole);
            if let Some(bad) = bad_numbers(counts, kind) {
                return Ok(Some(bad));
            }
        }
        if let Some(weight) = &self.weight
            && self.columns.iter().any(|counts| counts.name == *weight && counts.negatives > 0)
        {
            return Ok(Some(column(weight).lt(lit(0))));
        }
        let Some(label) = &self.label else { return Ok(None) };
        let value = column(label).cast(spark_connect::types::DataType::Double);
        if !self.bad_labels.is_empty() {
            return Ok(Some(class_key(value).lt(lit(0))));
        }
        let known = self.class_names.as_ref().map(Vec::len);
        let beyond = known.filter(|known| self.classes.last().is_some_and(|last| last.label >= *known));
        Ok(beyond.map(|known| value.ge(lit(known as i64))))
    }
}

fn shown_as(name: &str, kind: NumberLayout) -> Column {
    match kind {
        NumberLayout::Vector => as_array(column(name), kind),
        _ => column(name),
    }
}

/// Returns the rows of a column that are wrong, if some are.
fn bad_numbers(counts: &ColumnCounts, kind: NumberLayout) -> Option<Column> {
    let value = column(&counts.name);
    let counted = [counts.nulls, counts.nans, counts.infinities];
    match kind {
        _ if counted == [0; 3] => {
            let (shortest, longest) = counts.lengths?;
            let length = function("size", [as_array(value, kind)]);
            (shortest != longest).then(|| length.eq(lit(shortest as i64)))
        }
        NumberLayout::Whole => Some(value.is_null()),
        NumberLayout::Real => Some(value.clone().is_null().or(value.clone().is_nan()).or(infinite(value))),
        NumberLayout::Vector | NumberLayout::Array => {
            let values = as_array(value.clone(), kind);
            let odd = functions::exists(values, |x| {
                x[0].clone().is_null().or(x[0].clone().is_nan()).or(infinite(x[0].clone()))
            });
            Some(value.is_null().or(function("coalesce", [odd, lit_boolean(false)])))
        }
    }
}
