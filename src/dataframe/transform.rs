//! Transformations of one frame: lazy, no round trip.

use serde_json::{Map, Value};
use spark_connect::{Expression, column::Column, expression::ColumnReference};
use spark_connect_proto::{self as proto, relation::RelType};

use super::{DataFrame, Schema, col, column, function, owned, with_metadata};
use crate::{Error, Result};

impl DataFrame {
    /// Selects these columns or expressions, in this order.
    pub fn select<C: Into<Column>>(&self, columns: impl IntoIterator<Item = C>) -> DataFrame {
        let expressions = protos(columns);
        self.derive(RelType::Project(Box::new(proto::Project { input: None, expressions })))
    }

    /// Selects these SQL expressions, such as `"a + 1 AS b"`.
    pub fn select_expr<'a>(&self, expressions: impl IntoIterator<Item = &'a str>) -> DataFrame {
        self.select(expressions.into_iter().map(spark_connect::functions::expr))
    }

    /// Keeps only the rows for which the condition is true.
    pub fn filter(&self, condition: Column) -> DataFrame {
        let condition = Some(condition.to_proto());
        self.derive(RelType::Filter(Box::new(proto::Filter { input: None, condition })))
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
        self.derive(RelType::WithColumns(Box::new(proto::WithColumns { input: None, aliases })))
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
        let renamed = proto::WithColumnsRenamed { input: None, renames, ..Default::default() };
        self.derive(RelType::WithColumnsRenamed(Box::new(renamed)))
    }

    /// Gives all columns new names, in order.
    pub fn to_df<N: Into<String>>(&self, names: impl IntoIterator<Item = N>) -> DataFrame {
        let column_names = names.into_iter().map(Into::into).collect();
        self.derive(RelType::ToDf(Box::new(proto::ToDf { input: None, column_names })))
    }

    /// Drops the columns of these names; names that do not exist are ignored.
    pub fn drop<N: Into<String>>(&self, names: impl IntoIterator<Item = N>) -> DataFrame {
        let column_names = names.into_iter().map(Into::into).collect();
        let drop = proto::Drop { input: None, columns: Vec::new(), column_names };
        self.derive(RelType::Drop(Box::new(drop)))
    }

    /// Drops columns given as expressions, such as those of one side of a join.
    pub fn drop_columns<C: Into<Column>>(&self, columns: impl IntoIterator<Item = C>) -> DataFrame {
        let drop = proto::Drop { input: None, columns: protos(columns), column_names: Vec::new() };
        self.derive(RelType::Drop(Box::new(drop)))
    }

    /// Returns the columns of a schema, by name, cast to its types; those that it lacks are dropped.
    ///
    /// An action fails when a column is missing, or cannot be cast without loss, or has nulls and must not.
    pub fn to_schema(&self, schema: &Schema) -> DataFrame {
        let schema = Some(schema.to_proto());
        self.derive(RelType::ToSchema(Box::new(proto::ToSchema { input: None, schema })))
    }

    /// Adds the position of each row, from 0, without gaps, as a column. Reads the rows twice.
    pub fn zip_with_index(&self, name: &str) -> DataFrame {
        let index = function("distributed_sequence_id", []).alias(name);
        self.select([col("*"), index])
    }

    /// Returns each row as JSON text, as column `value`.
    pub fn to_json(&self) -> DataFrame {
        let row = function("struct", [col("*")]);
        self.select([function("to_json", [row]).alias("value")])
    }

    /// Returns the columns whose names match a regular expression (in back-quotes), for [`select`](Self::select).
    pub fn col_regex(&self, pattern: &str) -> Column {
        Column::new(Expression::UnresolvedRegex(pattern.to_owned()))
    }

    /// Returns a hidden column of the source, such as `_metadata` of files.
    pub fn metadata_column(&self, name: &str) -> Column {
        self.own(ColumnReference { is_metadata_column: true, ..ColumnReference::new(name) })
    }

    /// Calls a function with this frame, so that a chain can go through functions of your own.
    pub fn transform<T>(&self, work: impl FnOnce(&DataFrame) -> T) -> T {
        work(self)
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
        let sort = proto::Sort { input: None, order, is_global: Some(global) };
        self.derive(RelType::Sort(Box::new(sort)))
    }

    /// Returns at most `rows` rows.
    pub fn limit(&self, rows: i32) -> DataFrame {
        self.derive(RelType::Limit(Box::new(proto::Limit { input: None, limit: rows })))
    }

    /// Returns the frame without its first `rows` rows.
    ///
    /// After [`order_by`](Self::order_by), add a [`limit`](Self::limit): Spark gathers the sorted rows for an offset
    /// alone in one partition, and does not keep their order when several executors hold them.
    pub fn offset(&self, rows: i32) -> DataFrame {
        self.derive(RelType::Offset(Box::new(proto::Offset { input: None, offset: rows })))
    }

    /// Drops rows that are equal in all columns to another.
    pub fn distinct(&self) -> DataFrame {
        self.deduplicated(Vec::new(), true, false)
    }

    /// Returns one row for each combination of values in the columns of these names.
    pub fn drop_duplicates<N: Into<String>>(&self, names: impl IntoIterator<Item = N>) -> DataFrame {
        self.deduplicated(names.into_iter().map(Into::into).collect(), false, false)
    }

    /// As [`drop_duplicates`](Self::drop_duplicates), of a stream: rows that are equal in these columns (in all if none)
    /// and arrive within the delay of the [watermark](Self::with_watermark).
    pub fn drop_duplicates_within_watermark(&self, names: &[&str]) -> DataFrame {
        self.deduplicated(owned(names), names.is_empty(), true)
    }

    /// Declares the column of event times, and how late a row may come. After that, a stream's state is let go.
    ///
    /// `delay` is an interval of Spark's, such as `10 minutes`.
    pub fn with_watermark(&self, event_time: &str, delay: &str) -> DataFrame {
        let watermark =
            proto::WithWatermark { input: None, event_time: event_time.to_owned(), delay_threshold: delay.to_owned() };
        self.derive(RelType::WithWatermark(Box::new(watermark)))
    }

    fn deduplicated(&self, column_names: Vec<String>, all: bool, within_watermark: bool) -> DataFrame {
        let keys = proto::Deduplicate {
            input: None,
            column_names,
            all_columns_as_keys: Some(all),
            within_watermark: Some(within_watermark),
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
            input: None,
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
        let parts = proto::Repartition { input: None, num_partitions, shuffle: Some(shuffle) };
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

    /// Puts each row into the partition whose number the column has (from 0, below `partitions`).
    pub fn repartition_by_id(&self, partitions: i32, id: impl Into<Column>) -> DataFrame {
        let id = Expression::DirectShufflePartitionId(Box::new(id.into().expression().clone()));
        self.partitioned(Some(partitions), vec![Column::new(id).to_proto()])
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
        let parts = proto::RepartitionByExpression { input: None, partition_exprs, num_partitions };
        self.derive(RelType::RepartitionByExpression(Box::new(parts)))
    }

    /// Returns the result of a SQL query in which this frame has the name `this`; lazy. The name must be no other's.
    pub(crate) fn query(&self, text: &str, this: &str) -> DataFrame {
        let sql = RelType::Sql(proto::Sql { query: text.to_owned(), ..Default::default() });
        let root = Some(Box::new(proto::Relation { rel_type: Some(sql), ..Default::default() }));
        let named = self.alias(this);
        named.derive(RelType::WithRelations(Box::new(proto::WithRelations { root, references: Vec::new() })))
    }

    /// Names the frame, so that expressions can qualify its columns (`"a.id"`).
    pub fn alias(&self, name: &str) -> DataFrame {
        let alias = proto::SubqueryAlias { input: None, alias: name.to_owned(), qualifier: Vec::new() };
        self.derive(RelType::SubqueryAlias(Box::new(alias)))
    }

    /// Adds a hint to the optimizer, such as `broadcast`.
    pub fn hint<C: Into<Column>>(&self, name: &str, parameters: impl IntoIterator<Item = C>) -> DataFrame {
        let hint = proto::Hint { input: None, name: name.to_owned(), parameters: protos(parameters) };
        self.derive(RelType::Hint(Box::new(hint)))
    }
}

pub(super) fn protos<C: Into<Column>>(columns: impl IntoIterator<Item = C>) -> Vec<proto::Expression> {
    columns.into_iter().map(|column| column.into().to_proto()).collect()
}

/// Returns a column with a direction; a plain one sorts ascending, nulls first.
pub(super) fn sorted_expression(column: Column) -> Column {
    match column.expression() {
        Expression::SortOrder(_) => column,
        _ => column.asc(),
    }
}

fn sort_order(column: Column) -> proto::expression::SortOrder {
    let column = sorted_expression(column);
    match column.to_proto().expr_type {
        Some(proto::expression::ExprType::SortOrder(order)) => *order,
        _ => proto::expression::SortOrder { child: Some(Box::new(column.to_proto())), ..Default::default() },
    }
}
