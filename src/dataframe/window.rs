//! Windows of rows, for functions that look at other rows.

use spark_connect::{Expression, column::Column, window::WindowSpec};

use super::transform::sorted_expression;

/// Returns the window of the rows that are equal in some columns, in an order, for [`Column::over`].
///
/// `rows_between` and `range_between` of the result narrow it around each row; see
/// [`FrameBound`](spark_connect::window::FrameBound).
///
/// ```
/// use tinderbox::{dataframe::window, prelude::*};
///
/// let newest_first = window([col("user")], [col("time").desc()]);
/// let rank = functions::row_number().over(newest_first);
/// ```
pub fn window<P: Into<Column>, O: Into<Column>>(
    partition_by: impl IntoIterator<Item = P>,
    order_by: impl IntoIterator<Item = O>,
) -> WindowSpec {
    let partition = partition_by.into_iter().map(|column| column.into().expression().clone()).collect();
    let order = order_by.into_iter().filter_map(|column| match sorted_expression(column.into()).expression() {
        Expression::SortOrder(order) => Some((**order).clone()),
        _ => None,
    });
    WindowSpec::new().partition_by(partition).order_by(order.collect())
}
