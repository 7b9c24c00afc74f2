//! Transformations of one frame: lazy, no round trip.

use serde_json::{Map, Value};
use spark_connect::{Expression, column::Column};
use spark_connect_proto::{self as proto, relation::RelType};

use super::{DataFrame, column, with_metadata};
use crate::{Error, Result};

impl DataFrame {
    /// Selects these columns or expressions, in this order.
    pub fn select<C: Into<Column>>(&self, columns: impl IntoIterator<Item = C>) -> DataFrame {
        let expressions = protos(columns);
        self.derive(RelType::Project(Box::new(proto::Project { input: self.input(), expressions })))
    }

    /// Selects these SQL expressions, such as `"a + 1 AS b"`.
    pub fn select_expr<'a>(&self, expressions: impl IntoIterator<Item = &'a str>) -> DataFrame {
        self.select(expressions.into_iter().map(spark_connect::functions::expr))
    }

    /// Keeps only the rows for which the condition is true.
    pub fn filter(&self, condition: Column) -> DataFrame {
        let condition = Some(condition.to_proto());
        self.derive(RelType::Filter(Box::new(proto::Filter { input: self.input(), condition })))
    }

    /// Keeps only the rows for which the SQL condition is true.
    pub fn filter_expr(&self, condition: &str) -> DataFrame {
        self.filter(spark_connect::functions::expr(condition))
    }

    /// Adds a column, or replaces the one of that name.
    pub fn with_column(&self, name: &str, value: Column) -> DataFrame {
        self.with_columns([(name, value)])
    }

    /// Adds columns, or replaces those of these names; the expressions see the old ones.
    ///
    /// An expression from [`with_metadata`] keeps its metadata; the name given in this call counts.
    pub fn with_columns<N: AsRef<str>>(&self, columns: impl IntoIterator<Item = (N, Column)>) -> DataFrame {
        let alias = |(name, value): (N, Column)| {
            let (value, metadata) = match value.expression() {
                Expression::Alias(alias) => match alias.to_proto().expr_type {
                    Some(proto::expression::ExprType::Alias(alias)) => (alias.expr, alias.metadata),
                    _ => (Some(Box::new(value.to_proto())), None),
                },
                _ => (Some(Box::new(value.to_proto())), None),
            };
            proto::expression::Alias { expr: value, name: vec![name.as_ref().to_owned()], metadata }
        };
        let aliases = columns.into_iter().map(alias).collect();
        self.derive(RelType::WithColumns(Box::new(proto::WithColumns { input: self.input(), aliases })))
    }

    /// Gives a column metadata, in place of what it had.
    pub fn with_metadata(&self, name: &str, metadata: &Map<String, Value>) -> DataFrame {
        self.with_column(name, with_metadata(column(name), name, metadata))
    }

    /// Renames a column; nothing happens when there is none of that name.
    pub fn with_column_renamed(&self, old: &str, new: &str) -> DataFrame {
        self.with_columns_renamed([(old, new)])
    }

    /// Renames columns; names that do not exist are passed over.
    pub fn with_columns_renamed<'a>(&self, names: impl IntoIterator<Item = (&'a str, &'a str)>) -> DataFrame {
        let rename = |(old, new): (&str, &str)| proto::with_columns_renamed::Rename {
            col_name: old.to_owned(),
            new_col_name: new.to_owned(),
        };
        let renames = names.into_iter().map(rename).collect();
        let renamed = proto::WithColumnsRenamed { input: self.input(), renames, ..Default::default() };
        self.derive(RelType::WithColumnsRenamed(Box::new(renamed)))
    }

    /// Gives all columns new names, in order (Spark's `toDF`).
    pub fn rename<N: Into<String>>(&self, names: impl IntoIterator<Item = N>) -> DataFrame {
        let column_names = names.into_iter().map(Into::into).collect();
        self.derive(RelType::ToDf(Box::new(proto::ToDf { input: self.input(), column_names })))
    }

    /// Drops the columns of these names; names that do not exist are ignored.
    pub fn drop<N: Into<String>>(&self, names: impl IntoIterator<Item = N>) -> DataFrame {
        let column_names = names.into_iter().map(Into::into).collect();
        let drop = proto::Drop { input: self.input(), columns: Vec::new(), column_names };
        self.derive(RelType::Drop(Box::new(drop)))
    }

    /// Sorts all rows; a plain column sorts ascending, nulls first.
    pub fn order_by<C: Into<Column>>(&self, columns: impl IntoIterator<Item = C>) -> DataFrame {
        self.sorted(columns, true)
    }

    /// Sorts the rows within each partition.
    pub fn sort_within_partitions<C: Into<Column>>(&self, columns: impl IntoIterator<Item = C>) -> DataFrame {
        self.sorted(columns, false)
    }

    fn sorted<C: Into<Column>>(&self, columns: impl IntoIterator<Item = C>, global: bool) -> DataFrame {
        let order = columns.into_iter().map(|column| sort_order(column.into())).collect();
        let sort = proto::Sort { input: self.input(), order, is_global: Some(global) };
        self.derive(RelType::Sort(Box::new(sort)))
    }

    /// Returns at most `rows` rows.
    pub fn limit(&self, rows: i32) -> DataFrame {
        self.derive(RelType::Limit(Box::new(proto::Limit { input: self.input(), limit: rows })))
    }

    /// Returns the frame without its first `rows` rows.
    ///
    /// After [`order_by`](Self::order_by), add a [`limit`](Self::limit): Spark gathers the sorted rows for an offset
    /// alone in one partition, and does not keep their order when several executors hold them.
    pub fn offset(&self, rows: i32) -> DataFrame {
        self.derive(RelType::Offset(Box::new(proto::Offset { input: self.input(), offset: rows })))
    }

    /// Drops rows that are equal in all columns to another.
    pub fn distinct(&self) -> DataFrame {
        self.deduplicated(Vec::new(), true)
    }

    /// Returns one row for each combination of values in the columns of these names.
    pub fn drop_duplicates<N: Into<String>>(&self, names: impl IntoIterator<Item = N>) -> DataFrame {
        self.deduplicated(names.into_iter().map(Into::into).collect(), false)
    }

    fn deduplicated(&self, column_names: Vec<String>, all: bool) -> DataFrame {
        let keys = proto::Deduplicate {
            input: self.input(),
            column_names,
            all_columns_as_keys: Some(all),
            within_watermark: Some(false),
        };
        self.derive(RelType::Deduplicate(Box::new(keys)))
    }

    /// Returns each row with probability `fraction` (or, with replacement, that many times on average).
    ///
    /// # Errors
    /// [`Error::Param`] for a fraction below 0 or not a number, or above 1 without replacement.
    pub fn sample(&self, with_replacement: bool, fraction: f64, seed: i64) -> Result<DataFrame> {
        let most = if with_replacement { f64::MAX } else { 1.0 };
        if !(0.0..=most).contains(&fraction) {
            let legal = if with_replacement { "0 or more" } else { "between 0 and 1" };
            return Err(Error::param("fraction", fraction, legal));
        }
        Ok(self.sampled(0.0, fraction, with_replacement, seed, false))
    }

    /// Splits the rows at random, in proportion to the weights; every row is in exactly one part.
    ///
    /// As in Spark, each partition is sorted first, so that the parts agree on the order of rows; a plan whose
    /// partitions differ from run to run must be [cached](Self::persist) first.
    ///
    /// # Errors
    /// [`Error::Param`] for a weight that is negative or not finite, or when all are 0.
    pub fn random_split(&self, weights: &[f64], seed: i64) -> Result<Vec<DataFrame>> {
        let total: f64 = weights.iter().sum();
        if weights.iter().any(|w| !w.is_finite() || *w < 0.0) || total <= 0.0 {
            return Err(Error::param("weights", format!("{weights:?}"), "0 or more each, with a positive sum"));
        }
        let mut lower = 0.0;
        let mut part = |(i, weight): (usize, &f64)| {
            // The last bound is exactly 1, so that rounding loses no row.
            let upper = if i + 1 == weights.len() { 1.0 } else { lower + weight / total };
            let frame = self.sampled(lower, upper, false, seed, true);
            lower = upper;
            frame
        };
        Ok(weights.iter().enumerate().map(&mut part).collect())
    }

    fn sampled(&self, lower: f64, upper: f64, with_replacement: bool, seed: i64, ordered: bool) -> DataFrame {
        let sample = proto::Sample {
            input: self.input(),
            lower_bound: lower,
            upper_bound: upper,
            with_replacement: Some(with_replacement),
            seed: Some(seed),
            deterministic_order: ordered,
        };
        self.derive(RelType::Sample(Box::new(sample)))
    }

    /// Shuffles the rows into `partitions` partitions of about equal size; some may be empty.
    pub fn repartition(&self, partitions: i32) -> DataFrame {
        self.in_partitions(partitions, true)
    }

    /// Merges the rows into at most `partitions` partitions, without a shuffle.
    pub fn coalesce(&self, partitions: i32) -> DataFrame {
        self.in_partitions(partitions, false)
    }

    fn in_partitions(&self, num_partitions: i32, shuffle: bool) -> DataFrame {
        let parts = proto::Repartition { input: self.input(), num_partitions, shuffle: Some(shuffle) };
        self.derive(RelType::Repartition(Box::new(parts)))
    }

    /// Partitions the rows by the hash of columns; in as many partitions as the session's setting says if `None`.
    pub fn repartition_by<C: Into<Column>>(
        &self,
        partitions: Option<i32>,
        columns: impl IntoIterator<Item = C>,
    ) -> DataFrame {
        self.partitioned(partitions, protos(columns))
    }

    /// Partitions the rows by ranges of columns, which are sampled for it.
    pub fn repartition_by_range<C: Into<Column>>(
        &self,
        partitions: Option<i32>,
        columns: impl IntoIterator<Item = C>,
    ) -> DataFrame {
        let order = |column: C| proto::Expression {
            expr_type: Some(proto::expression::ExprType::SortOrder(Box::new(sort_order(column.into())))),
            ..Default::default()
        };
        self.partitioned(partitions, columns.into_iter().map(order).collect())
    }

    fn partitioned(&self, num_partitions: Option<i32>, partition_exprs: Vec<proto::Expression>) -> DataFrame {
        let parts = proto::RepartitionByExpression { input: self.input(), partition_exprs, num_partitions };
        self.derive(RelType::RepartitionByExpression(Box::new(parts)))
    }

    /// Returns the result of a SQL query in which this frame has the name `this`; lazy. The name must be no other's.
    pub(crate) fn query(&self, text: &str, this: &str) -> DataFrame {
        let sql = RelType::Sql(proto::Sql { query: text.to_owned(), ..Default::default() });
        let root = Some(Box::new(proto::Relation { rel_type: Some(sql), ..Default::default() }));
        let references = vec![proto::Relation::clone(self.alias(this).relation())];
        self.derive(RelType::WithRelations(Box::new(proto::WithRelations { root, references })))
    }

    /// Names the frame, so that expressions can qualify its columns (`"a.id"`).
    pub fn alias(&self, name: &str) -> DataFrame {
        let alias = proto::SubqueryAlias { input: self.input(), alias: name.to_owned(), qualifier: Vec::new() };
        self.derive(RelType::SubqueryAlias(Box::new(alias)))
    }

    /// Adds a hint to the optimizer, such as `broadcast`.
    pub fn hint<C: Into<Column>>(&self, name: &str, parameters: impl IntoIterator<Item = C>) -> DataFrame {
        let hint = proto::Hint { input: self.input(), name: name.to_owned(), parameters: protos(parameters) };
        self.derive(RelType::Hint(Box::new(hint)))
    }

    /// Returns the rows of both, by position of the columns, duplicates kept.
    pub fn union(&self, other: &DataFrame) -> DataFrame {
        self.union_with(other, false, false)
    }

    /// Returns the rows of both, by name of the columns; what one lacks is null if `allow_missing`.
    pub fn union_by_name(&self, other: &DataFrame, allow_missing: bool) -> DataFrame {
        self.union_with(other, true, allow_missing)
    }

    fn union_with(&self, other: &DataFrame, by_name: bool, allow_missing: bool) -> DataFrame {
        let union = proto::SetOperation {
            left_input: self.input(),
            right_input: other.input(),
            set_op_type: proto::set_operation::SetOpType::Union.into(),
            is_all: Some(true),
            by_name: Some(by_name),
            allow_missing_columns: Some(allow_missing),
        };
        self.derive(RelType::SetOp(Box::new(union)))
    }
}

pub(super) fn protos<C: Into<Column>>(columns: impl IntoIterator<Item = C>) -> Vec<proto::Expression> {
    columns.into_iter().map(|column| column.into().to_proto()).collect()
}

fn sort_order(column: Column) -> proto::expression::SortOrder {
    let column = match column.expression() {
        Expression::SortOrder(_) => column,
        _ => column.asc(),
    };
    match column.to_proto().expr_type {
        Some(proto::expression::ExprType::SortOrder(order)) => *order,
        _ => proto::expression::SortOrder { child: Some(Box::new(column.to_proto())), ..Default::default() },
    }
}
