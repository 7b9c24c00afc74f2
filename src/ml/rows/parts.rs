//! The parts of a split, and the column that says in which one a row is.

use serde::{Deserialize, Serialize};
use spark_connect::{
    column::Column,
    functions, lit_boolean, lit_string,
    types::{DataType, StructField},
};

use crate::{Error, Result, dataframe::Schema};

/// Named parts with their shares, and the output column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct NamedParts {
    output_col: String,
    parts: Vec<(String, f64)>,
    /// The part whose rows are true in a boolean output; without one the output is the part's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    indicated: Option<String>,
}

impl NamedParts {
    pub(super) fn new<N: Into<String>>(
        output_col: impl Into<String>,
        parts: impl IntoIterator<Item = (N, f64)>,
    ) -> Self {
        let parts = parts.into_iter().map(|(name, weight)| (name.into(), weight)).collect();
        Self { output_col: output_col.into(), parts, indicated: None }
    }

    pub(super) fn indicate(&mut self, part: impl Into<String>) {
        self.indicated = Some(part.into());
    }

    pub(super) fn output_col(&self) -> &str {
        &self.output_col
    }

    /// Where each part but the last ends, as a share of all rows.
    pub(super) fn ends(&self) -> Vec<f64> {
        let total: f64 = self.parts.iter().map(|(_, weight)| weight).sum();
        let mut end = 0.0;
        let ends = self.parts.iter().map(|(_, weight)| {
            end += weight / total;
            end
        });
        let mut ends: Vec<_> = ends.collect();
        ends.pop();
        ends
    }

    /// Returns the column, from a condition for each part but the last: a row is in the first part whose condition
    /// holds.
    pub(super) fn column(&self, conditions: impl IntoIterator<Item = Column>) -> Column {
        let value = |name: &String| match &self.indicated {
            Some(part) => lit_boolean(name == part),
            None => lit_string(name),
        };
        let names = self.parts.iter().map(|(name, _)| name);
        let mut cases: Option<Column> = None;
        for (name, condition) in names.zip(conditions) {
            cases = Some(match cases {
                None => functions::when(condition, value(name)),
                Some(cases) => cases.when(condition, value(name)),
            });
        }
        let last = self.parts.last().map_or_else(|| lit_string(""), |(name, _)| value(name));
        cases.map_or(last.clone(), |cases| cases.otherwise(last))
    }

    /// Returns the schema with the output, once the parts have been checked.
    pub(super) fn schema(&self, schema: &Schema) -> Result<Schema> {
        let weights: Vec<f64> = self.parts.iter().map(|(_, weight)| *weight).collect();
        if weights.len() < 2 || weights.iter().any(|weight| !(weight.is_finite() && *weight > 0.0)) {
            return Err(Error::param("weights", format!("{weights:?}"), "two or more, each above 0"));
        }
        let mut names: Vec<&str> = self.parts.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Error::param("parts", format!("`{}` twice", pair[0]), "a different name for each part"));
        }
        if let Some(part) = self.indicated.as_deref().filter(|part| !names.contains(part)) {
            return Err(Error::param("indicatorOf", format!("`{part}`"), format!("one of {}", names.join(", "))));
        }
        let data_type = match self.indicated {
            Some(_) => DataType::Boolean,
            None => DataType::String { collation: "UTF8_BINARY".into() },
        };
        schema.with(StructField {
            name: self.output_col.clone(),
            data_type,
            nullable: false,
            metadata: Default::default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_end_where_their_weights_say() {
        assert_eq!(NamedParts::new("p", [("a", 2.0), ("b", 1.0), ("c", 1.0)]).ends(), [0.5, 0.75]);
    }

    #[test]
    fn parts_that_cannot_be_are_refused() {
        let schema = Schema::from_ddl("x INT").unwrap();
        let refused = |parts: &[(&str, f64)], indicated: Option<&str>| {
            let mut parts = NamedParts::new("p", parts.iter().copied());
            indicated.into_iter().for_each(|part| parts.indicate(part));
            parts.schema(&schema).unwrap_err().to_string()
        };
        assert!(refused(&[("a", 1.0)], None).contains("two or more"));
        assert!(refused(&[("a", 1.0), ("b", 0.0)], None).contains("above 0"));
        assert!(refused(&[("a", 1.0), ("b", f64::NAN)], None).contains("above 0"));
        assert!(refused(&[("a", 1.0), ("a", 1.0)], None).contains("`a` twice"));
        assert!(refused(&[("a", 1.0), ("b", 1.0)], Some("c")).contains("one of a, b"));
    }
}
