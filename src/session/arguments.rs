//! Rust values as SQL arguments.

use spark_connect::expression::LiteralExpression;
use spark_connect_proto as proto;

use crate::dataframe::IntoLiteral;

/// Arguments of a SQL text: see [`named`] and [`positional`].
#[derive(Debug, Clone, Default)]
pub struct Arguments(Bound);

#[derive(Debug, Clone)]
enum Bound {
    Named(Vec<(String, LiteralExpression)>),
    Positional(Vec<LiteralExpression>),
}

impl Default for Bound {
    fn default() -> Self {
        Bound::Positional(Vec::new())
    }
}

/// Arguments for `:name` markers; the first one.
///
/// `named("low", 3).and("name", "x")` binds `:low` and `:name`.
pub fn named(name: &str, value: impl IntoLiteral) -> Named {
    Named(Vec::new()).and(name, value)
}

/// Arguments for `?` markers, in order; the first one.
///
/// `positional(3).and("x")` binds the first `?` to 3 and the second to `x`.
pub fn positional(value: impl IntoLiteral) -> Positional {
    Positional(Vec::new()).and(value)
}

/// Arguments for `:name` markers.
#[derive(Debug, Clone)]
pub struct Named(Vec<(String, LiteralExpression)>);

impl Named {
    /// Adds an argument.
    pub fn and(mut self, name: &str, value: impl IntoLiteral) -> Self {
        self.0.push((name.to_owned(), value.into_literal()));
        self
    }
}

/// Arguments for `?` markers.
#[derive(Debug, Clone)]
pub struct Positional(Vec<LiteralExpression>);

impl Positional {
    /// Adds the next argument.
    pub fn and(mut self, value: impl IntoLiteral) -> Self {
        self.0.push(value.into_literal());
        self
    }
}

impl From<Named> for Arguments {
    fn from(arguments: Named) -> Self {
        Arguments(Bound::Named(arguments.0))
    }
}

impl From<Positional> for Arguments {
    fn from(arguments: Positional) -> Self {
        Arguments(Bound::Positional(arguments.0))
    }
}

impl Arguments {
    /// Returns the text with the arguments, as a relation of the protocol.
    pub(super) fn bind(self, text: &str) -> proto::Sql {
        let mut sql = proto::Sql { query: text.to_owned(), ..Default::default() };
        match self.0 {
            Bound::Named(values) => {
                sql.named_arguments = values.into_iter().map(|(name, value)| (name, value.to_proto())).collect();
            }
            Bound::Positional(values) => sql.pos_arguments = values.iter().map(LiteralExpression::to_proto).collect(),
        }
        sql
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_bound_as_values_of_their_types() {
        let sql = Arguments::from(positional(1i64).and("x' OR 1").and(None::<f64>)).bind("SELECT ?, ?, ?");
        let types: Vec<_> = sql.pos_arguments.iter().map(|a| format!("{a:?}")).collect();
        assert!(types[0].contains("Long(1)") && types[1].contains("x' OR 1") && types[2].contains("Null"), "{types:?}");
        let sql = Arguments::from(named("a", true).and("b", 2i32)).bind("SELECT :a, :b");
        assert_eq!(sql.named_arguments.len(), 2);
        assert!(format!("{:?}", sql.named_arguments["b"]).contains("Integer(2)"));
    }
}
