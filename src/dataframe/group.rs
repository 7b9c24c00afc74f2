//! Rows gathered by key.

use spark_connect::{column::Column, expression::LiteralExpression, functions};
use spark_connect_proto::{
    self as proto,
    aggregate::{GroupType, GroupingSets, Pivot},
    relation::RelType,
};

use super::{DataFrame, column, literal, literal::IntoLiteral, transform::protos};

/// A frame's rows, grouped by the values of columns.
#[derive(Debug, Clone)]
pub struct GroupedData {
    frame: DataFrame,
    kind: GroupType,
    keys: Vec<Column>,
    grouping_sets: Vec<Vec<Column>>,
    pivot: Option<(Column, Vec<LiteralExpression>)>,
}

impl DataFrame {
    /// Groups the rows by columns; no column makes all rows one group.
    pub fn group_by<C: Into<Column>>(&self, keys: impl IntoIterator<Item = C>) -> GroupedData {
        self.grouped(GroupType::Groupby, keys)
    }

    /// Groups by each leading part of the columns, down to none.
    pub fn rollup<C: Into<Column>>(&self, keys: impl IntoIterator<Item = C>) -> GroupedData {
        self.grouped(GroupType::Rollup, keys)
    }

    /// Groups by each subset of the columns.
    pub fn cube<C: Into<Column>>(&self, keys: impl IntoIterator<Item = C>) -> GroupedData {
        self.grouped(GroupType::Cube, keys)
    }

    /// Groups by each of the sets of columns; the result has the `keys`, null where a set lacks them.
    pub fn grouping_sets<C: Into<Column>>(
        &self,
        sets: impl IntoIterator<Item = Vec<Column>>,
        keys: impl IntoIterator<Item = C>,
    ) -> GroupedData {
        GroupedData { grouping_sets: sets.into_iter().collect(), ..self.grouped(GroupType::GroupingSets, keys) }
    }

    fn grouped<C: Into<Column>>(&self, kind: GroupType, keys: impl IntoIterator<Item = C>) -> GroupedData {
        let keys = keys.into_iter().map(Into::into).collect();
        GroupedData { frame: self.clone(), kind, keys, grouping_sets: Vec::new(), pivot: None }
    }

    /// Aggregates over all rows: one row.
    pub fn agg(&self, aggregates: impl IntoIterator<Item = Column>) -> DataFrame {
        self.group_by::<Column>([]).agg(aggregates)
    }
}

impl GroupedData {
    /// Gives each of the column's values columns of its own, one for each aggregate. Replaces an earlier pivot.
    ///
    /// Rows of other values do not count. For [`group_by`](DataFrame::group_by) alone.
    pub fn pivot<T: IntoLiteral>(self, column: impl Into<Column>, values: impl IntoIterator<Item = T>) -> Self {
        let values = values.into_iter().map(IntoLiteral::into_literal).collect();
        Self { kind: GroupType::Pivot, pivot: Some((column.into(), values)), ..self }
    }

    /// As [`pivot`](Self::pivot), of all values of the column, which are computed first; Spark refuses more than
    /// `spark.sql.pivotMaxValues` of them.
    pub fn pivot_all(self, column: impl Into<Column>) -> Self {
        Self { kind: GroupType::Pivot, pivot: Some((column.into(), Vec::new())), ..self }
    }

    /// Returns a row a group: the keys, then the aggregates.
    pub fn agg(&self, aggregates: impl IntoIterator<Item = Column>) -> DataFrame {
        let pivot = self.pivot.as_ref().map(|(column, values)| Pivot {
            col: Some(column.to_proto()),
            values: values.iter().map(literal::to_proto).collect(),
        });
        let sets = self.grouping_sets.iter().map(|set| GroupingSets { grouping_set: protos(set.iter().cloned()) });
        let aggregate = proto::Aggregate {
            input: None,
            group_type: self.kind.into(),
            grouping_expressions: protos(self.keys.iter().cloned()),
            aggregate_expressions: protos(aggregates),
            pivot,
            grouping_sets: sets.collect(),
        };
        self.frame.derive(RelType::Aggregate(Box::new(aggregate)))
    }

    /// Counts the rows of each group, as column `count`.
    pub fn count(&self) -> DataFrame {
        self.agg([functions::count(spark_connect::lit(1)).alias("count")])
    }

    /// Returns the means of columns of numbers, as columns `avg(…)`.
    pub fn avg(&self, names: &[&str]) -> DataFrame {
        self.agg(names.iter().map(|name| functions::avg(column(name))))
    }

    /// Returns the sums of columns of numbers, as columns `sum(…)`.
    pub fn sum(&self, names: &[&str]) -> DataFrame {
        self.agg(names.iter().map(|name| functions::sum(column(name))))
    }

    /// Returns the least values of columns, as columns `min(…)`.
    pub fn min(&self, names: &[&str]) -> DataFrame {
        self.agg(names.iter().map(|name| functions::min(column(name))))
    }

    /// Returns the greatest values of columns, as columns `max(…)`.
    pub fn max(&self, names: &[&str]) -> DataFrame {
        self.agg(names.iter().map(|name| functions::max(column(name))))
    }
}
