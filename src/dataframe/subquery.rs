//! Frames within expressions: one value, whether there is a row, whether a value is among the rows.
//!
//! The Apache client's columns have no subqueries. A subquery travels in such a column as a call of a function that no
//! server has, with the frame's plan as an argument; the frame whose expression it becomes part of puts the protocol's
//! subquery in its place, and the plan beside its own.

use prost::Message;
use spark_connect::{
    Expression,
    column::Column,
    expression::{LiteralExpression, UnresolvedFunction},
};
use spark_connect_proto::{
    self as proto,
    expression::{ExprType, literal::LiteralType},
    relation::RelType,
    subquery_expression::SubqueryType,
};

use super::DataFrame;

/// The name of the function that stands for a subquery.
const STAND_IN: &str = "tinderbox:subquery";

/// The frame of a subquery, as the frame that uses it needs to know it.
#[derive(Debug, Clone)]
pub(super) struct Subquery {
    pub(super) plan: proto::Relation,
    pub(super) depth: usize,
    pub(super) is_session_bound: bool,
}

impl DataFrame {
    /// Returns the frame's one value as a column, for expressions of other frames; the frame must have one column and at
    /// most one row (none is null). Spark 4.0 or later.
    ///
    /// ```no_run
    /// # use tinderbox::prelude::*;
    /// # fn example(sales: DataFrame) -> DataFrame {
    /// let mean = sales.select([functions::avg(col("price"))]).scalar();
    /// sales.filter(col("price").gt(mean))
    /// # }
    /// ```
    pub fn scalar(&self) -> Column {
        self.stand_in(SubqueryType::Scalar, [])
    }

    /// Returns whether the frame has a row, as a column for expressions of other frames. Spark 4.0 or later.
    ///
    /// The frame may use the other's columns by name: `col("o.id")` if the other is [`alias("o")`](Self::alias).
    pub fn exists(&self) -> Column {
        self.stand_in(SubqueryType::Exists, [])
    }

    /// Returns whether values are among the frame's rows, which have one column for each value, as a column for
    /// expressions of other frames (SQL's `(…) IN (SELECT …)`). Spark 4.1 or later.
    pub fn contains(&self, values: impl IntoIterator<Item = Column>) -> Column {
        self.stand_in(SubqueryType::In, values)
    }

    fn stand_in(&self, kind: SubqueryType, values: impl IntoIterator<Item = Column>) -> Column {
        let facts = [
            LiteralExpression::Binary(self.relation().encode_to_vec()),
            LiteralExpression::Long(self.plan.depth() as i64),
            LiteralExpression::Boolean(self.plan.is_session_bound()),
            LiteralExpression::Integer(kind.into()),
        ];
        let values = values.into_iter().map(|value| value.expression().clone());
        let arguments = facts.map(Expression::Literal).into_iter().chain(values).collect();
        Column::new(Expression::UnresolvedFunction(UnresolvedFunction::new(STAND_IN, arguments)))
    }
}

/// Puts subqueries into a relation's own expressions; returns their frames.
pub(super) fn take(relation: &mut RelType) -> Vec<Subquery> {
    let mut found = Vec::new();
    for expression in expressions_of(relation) {
        resolve(expression, &mut found);
    }
    found
}

/// Returns the expressions of a relation that users give.
fn expressions_of(relation: &mut RelType) -> Vec<&mut proto::Expression> {
    match relation {
        RelType::Project(of) => of.expressions.iter_mut().collect(),
        RelType::Filter(of) => of.condition.iter_mut().collect(),
        RelType::Join(of) => of.join_condition.iter_mut().collect(),
        RelType::LateralJoin(of) => of.join_condition.iter_mut().collect(),
        RelType::Aggregate(of) => of.grouping_expressions.iter_mut().chain(&mut of.aggregate_expressions).collect(),
        RelType::WithColumns(of) => of.aliases.iter_mut().filter_map(|alias| alias.expr.as_deref_mut()).collect(),
        RelType::Sort(of) => of.order.iter_mut().filter_map(|order| order.child.as_deref_mut()).collect(),
        RelType::RepartitionByExpression(of) => of.partition_exprs.iter_mut().collect(),
        RelType::CollectMetrics(of) => of.metrics.iter_mut().collect(),
        RelType::UnresolvedTableValuedFunction(of) => of.arguments.iter_mut().collect(),
        _ => Vec::new(),
    }
}

/// Puts subqueries in the places of what stands for them.
fn resolve(expression: &mut proto::Expression, found: &mut Vec<Subquery>) {
    let Some(kind) = &mut expression.expr_type else { return };
    let children: Vec<&mut proto::Expression> = match kind {
        ExprType::UnresolvedFunction(call) if call.function_name == STAND_IN => {
            if let Some(subquery) = subquery(&mut call.arguments, found) {
                *kind = ExprType::SubqueryExpression(subquery);
            }
            return;
        }
        ExprType::UnresolvedFunction(call) => call.arguments.iter_mut().collect(),
        ExprType::CallFunction(call) => call.arguments.iter_mut().collect(),
        ExprType::Alias(alias) => alias.expr.as_deref_mut().into_iter().collect(),
        ExprType::Cast(cast) => cast.expr.as_deref_mut().into_iter().collect(),
        ExprType::SortOrder(order) => order.child.as_deref_mut().into_iter().collect(),
        ExprType::LambdaFunction(lambda) => lambda.function.as_deref_mut().into_iter().collect(),
        ExprType::NamedArgumentExpression(named) => named.value.as_deref_mut().into_iter().collect(),
        ExprType::UnresolvedExtractValue(of) => {
            of.child.as_deref_mut().into_iter().chain(of.extraction.as_deref_mut()).collect()
        }
        ExprType::UpdateFields(of) => {
            of.struct_expression.as_deref_mut().into_iter().chain(of.value_expression.as_deref_mut()).collect()
        }
        ExprType::Window(window) => {
            let order = window.order_spec.iter_mut().filter_map(|order| order.child.as_deref_mut());
            window.window_function.as_deref_mut().into_iter().chain(&mut window.partition_spec).chain(order).collect()
        }
        _ => return,
    };
    for child in children {
        resolve(child, found);
    }
}

fn subquery(arguments: &mut Vec<proto::Expression>, found: &mut Vec<Subquery>) -> Option<proto::SubqueryExpression> {
    let mut arguments = std::mem::take(arguments).into_iter();
    let mut fact = || match arguments.next()?.expr_type? {
        ExprType::Literal(literal) => literal.literal_type,
        _ => None,
    };
    let LiteralType::Binary(plan) = fact()? else { return None };
    let LiteralType::Long(depth) = fact()? else { return None };
    let LiteralType::Boolean(is_session_bound) = fact()? else { return None };
    let LiteralType::Integer(subquery_type) = fact()? else { return None };
    let plan = proto::Relation::decode(&*plan).ok()?;
    let plan_id = plan.common.as_ref()?.plan_id?;
    let mut in_subquery_values: Vec<_> = arguments.collect();
    in_subquery_values.iter_mut().for_each(|value| resolve(value, found));
    if found.iter().all(|known| known.plan.common != plan.common) {
        found.push(Subquery { plan, depth: depth as usize, is_session_bound });
    }
    Some(proto::SubqueryExpression { plan_id, subquery_type, table_arg_options: None, in_subquery_values })
}
