//! Rust values as constants of Spark's.

use spark_connect::{Expression, column::Column, expression::LiteralExpression, types::DataType};
use spark_connect_proto as proto;

/// A Rust value that is a constant in Spark.
pub trait IntoLiteral {
    /// The Spark type, which a missing value needs too.
    const TYPE: DataType;

    /// Returns the constant.
    fn into_literal(self) -> LiteralExpression;
}

macro_rules! literals {
    ($($rust:ty => $spark:expr, $value:ident: $literal:expr;)*) => {$(
        impl IntoLiteral for $rust {
            const TYPE: DataType = $spark;

            fn into_literal(self) -> LiteralExpression {
                let $value = self;
                $literal
            }
        }
    )*};
}

literals! {
    bool => DataType::Boolean, v: LiteralExpression::Boolean(v);
    i8 => DataType::Byte, v: LiteralExpression::Byte(v.into());
    i16 => DataType::Short, v: LiteralExpression::Short(v.into());
    i32 => DataType::Integer, v: LiteralExpression::Integer(v);
    i64 => DataType::Long, v: LiteralExpression::Long(v);
    f32 => DataType::Float, v: LiteralExpression::Float(v);
    f64 => DataType::Double, v: LiteralExpression::Double(v);
    &str => DataType::String { collation: String::new() }, v: LiteralExpression::String(v.to_owned());
    String => DataType::String { collation: String::new() }, v: LiteralExpression::String(v);
    &[u8] => DataType::Binary, v: LiteralExpression::Binary(v.to_vec());
    Vec<u8> => DataType::Binary, v: LiteralExpression::Binary(v);
}

impl<T: IntoLiteral> IntoLiteral for Option<T> {
    const TYPE: DataType = T::TYPE;

    fn into_literal(self) -> LiteralExpression {
        self.map_or(LiteralExpression::Null(T::TYPE), T::into_literal)
    }
}

/// Returns a constant column of a Rust value's type.
///
/// [`lit`](spark_connect::lit) makes a `BIGINT` of every whole number; this keeps the type, and takes text, missing
/// values and bytes too.
///
/// ```
/// use tinderbox::dataframe::literal;
///
/// let half = literal(0.5f32);
/// let nothing = literal(None::<&str>);
/// ```
pub fn literal(value: impl IntoLiteral) -> Column {
    Column::new(Expression::Literal(value.into_literal()))
}

/// Returns a constant in the protocol's terms.
pub(super) fn to_proto(literal: &LiteralExpression) -> proto::expression::Literal {
    match literal.to_proto().expr_type {
        Some(proto::expression::ExprType::Literal(literal)) => literal,
        _ => proto::expression::Literal::default(),
    }
}
