//! Rows gathered by key.

use spark_connect::{column::Column, functions};
use spark_connect_proto::{self as proto, aggregate::GroupType, relation::RelType};

use super::{DataFrame, transform::protos};

/// A frame's rows, grouped by the values of columns.
#[derive(Debug, Clone)]
pub struct GroupedData {
    frame: DataFrame,
    kind: GroupType,
    keys: Vec<Column>,
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

    fn grouped<C: Into<Column>>(&self, kind: GroupType, keys: impl IntoIterator<Item = C>) -> GroupedData {
        GroupedData { frame: self.clone(), kind, keys: keys.into_iter().map(Into::into).collect() }
    }

    /// Aggregates over all rows: one row.
    pub fn agg(&self, aggregates: impl IntoIterator<Item = Column>) -> DataFrame {
        self.group_by::<Column>([]).agg(aggregates)
    }
}

impl GroupedData {
    /// Returns a row a group: the keys, then the aggregates.
    pub fn agg(&self, aggregates: impl IntoIterator<Item = Column>) -> DataFrame {
        let aggregate = proto::Aggregate {
            input: self.frame.input(),
            group_type: self.kind.into(),
            grouping_expressions: protos(self.keys.iter().cloned()),
            aggregate_expressions: protos(aggregates),
            pivot: None,
            grouping_sets: Vec::new(),
        };
        self.frame.derive(RelType::Aggregate(Box::new(aggregate)))
    }

    /// Counts the rows of each group, as column `count`.
    pub fn count(&self) -> DataFrame {
        self.agg([functions::count(spark_connect::lit(1)).alias("count")])
    }
}
