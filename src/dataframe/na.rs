//! Missing values: filled, dropped, replaced.

use spark_connect::expression::LiteralExpression;
use spark_connect_proto::{self as proto, relation::RelType};

use super::{DataFrame, literal, literal::IntoLiteral, owned};

/// Functions for missing values, from [`DataFrame::na`]. Spark's `DataFrameNaFunctions`.
///
/// Where names are given, only those columns count; no name (`&[]`) means every column.
#[derive(Debug, Clone)]
pub struct DataFrameNaFunctions {
    frame: DataFrame,
}

/// Which rows [`DataFrameNaFunctions::drop`] drops. NaN counts as null.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NullRule {
    /// Rows with a null.
    Any,
    /// Rows of nulls alone.
    All,
    /// Rows with fewer values that are not null.
    FewerThan(i32),
}

impl DataFrame {
    /// Returns the functions for missing values.
    pub fn na(&self) -> DataFrameNaFunctions {
        DataFrameNaFunctions { frame: self.clone() }
    }
}

impl DataFrameNaFunctions {
    /// Puts a value in the place of nulls, and of NaN; columns of another kind than the value's stay as they are.
    pub fn fill(&self, value: impl IntoLiteral, names: &[&str]) -> DataFrame {
        self.filled(owned(names), vec![value.into_literal()])
    }

    /// Puts a value for each column in the place of nulls, and of NaN.
    ///
    /// ```no_run
    /// # use tinderbox::{dataframe::{DataFrame, IntoLiteral}};
    /// # fn example(people: DataFrame) -> DataFrame {
    /// people.na().fill_each([("age", 0.into_literal()), ("name", "unknown".into_literal())])
    /// # }
    /// ```
    pub fn fill_each<N: Into<String>>(&self, values: impl IntoIterator<Item = (N, LiteralExpression)>) -> DataFrame {
        let (names, values) = values.into_iter().map(|(name, value)| (name.into(), value)).unzip();
        self.filled(names, values)
    }

    fn filled(&self, cols: Vec<String>, values: Vec<LiteralExpression>) -> DataFrame {
        let values = values.into_iter().map(|value| literal::to_proto(&wide(value))).collect();
        self.frame.derive(RelType::FillNa(Box::new(proto::NaFill { input: None, cols, values })))
    }

    /// Drops rows with missing values.
    pub fn drop(&self, rule: NullRule, names: &[&str]) -> DataFrame {
        let min_non_nulls = match rule {
            NullRule::Any => None,
            NullRule::All => Some(1),
            NullRule::FewerThan(values) => Some(values),
        };
        self.frame.derive(RelType::DropNa(Box::new(proto::NaDrop { input: None, cols: owned(names), min_non_nulls })))
    }

    /// Replaces values by others, in columns of their kind; all are numbers, or text, or truth values.
    ///
    /// With `Option`s a value can become null.
    pub fn replace<T: IntoLiteral>(&self, values: impl IntoIterator<Item = (T, T)>, names: &[&str]) -> DataFrame {
        let replacements = values.into_iter().map(|(old, new)| proto::na_replace::Replacement {
            old_value: Some(literal::to_proto(&old.into_literal())),
            new_value: Some(literal::to_proto(&new.into_literal())),
        });
        let replacements = replacements.collect();
        let replace = proto::NaReplace { input: None, cols: owned(names), replacements };
        self.frame.derive(RelType::Replace(Box::new(replace)))
    }
}

/// Returns a number in the width that Spark fills and replaces with, whatever the column's.
fn wide(value: LiteralExpression) -> LiteralExpression {
    match value {
        LiteralExpression::Byte(v) | LiteralExpression::Short(v) | LiteralExpression::Integer(v) => {
            LiteralExpression::Long(v.into())
        }
        LiteralExpression::Float(v) => LiteralExpression::Double(v.into()),
        other => other,
    }
}
