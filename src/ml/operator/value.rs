//! Values of params and attributes, as the protocol carries them.

use serde::{Deserialize, Serialize};
use spark_connect_proto::{
    self as proto,
    expression::{
        Literal,
        literal::{self, LiteralType, specialized_array::ValueType},
    },
};

use crate::number;

/// The value of a param or of an attribute of a Spark ML operator.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Value {
    /// Nothing.
    Null,
    /// Yes or no.
    Bool(bool),
    /// An `Int` of Scala's.
    Int(i32),
    /// A `Long` of Scala's.
    Long(i64),
    /// A number.
    Double(#[serde(with = "number::one")] f64),
    /// A text.
    Text(String),
    /// Values in a row. A vector is a list of its numbers, but for a sparse one of more than 2²⁴; of that and of
    /// other linear algebra the fields in order.
    List(Vec<Value>),
}

impl Value {
    /// The number, if it is one.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::Int(number) => Some(f64::from(*number)),
            Value::Long(number) => Some(*number as f64),
            Value::Double(number) => Some(*number),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The values, if they are in a row.
    pub fn as_list(&self) -> Option<&[Value]> {
        match self {
            Value::List(values) => Some(values),
            _ => None,
        }
    }

    /// The numbers, if it is a list of nothing else.
    pub fn numbers(&self) -> Option<Vec<f64>> {
        self.as_list()?.iter().map(Value::as_f64).collect()
    }

    pub(super) fn to_proto(&self) -> Literal {
        let kind = match self {
            Value::Null => LiteralType::Null(kind_of(&[])),
            Value::Bool(value) => LiteralType::Boolean(*value),
            Value::Int(value) => LiteralType::Integer(*value),
            Value::Long(value) => LiteralType::Long(*value),
            Value::Double(value) => LiteralType::Double(*value),
            Value::Text(value) => LiteralType::String(value.clone()),
            Value::List(values) => {
                let elements = values.iter().map(Value::to_proto).collect();
                #[expect(deprecated, reason = "servers before 4.1 read the element type from here")]
                let array = literal::Array { element_type: Some(kind_of(values)), elements };
                LiteralType::Array(array)
            }
        };
        Literal { literal_type: Some(kind), ..Default::default() }
    }

    pub(super) fn from_proto(literal: Literal) -> Value {
        let list = |literals: Vec<Literal>| literals.into_iter().map(Value::from_proto).collect::<Vec<_>>();
        match literal.literal_type {
            Some(LiteralType::Boolean(value)) => Value::Bool(value),
            Some(LiteralType::Byte(value) | LiteralType::Short(value) | LiteralType::Integer(value)) => {
                Value::Int(value)
            }
            Some(LiteralType::Long(value)) => Value::Long(value),
            Some(LiteralType::Float(value)) => Value::Double(value.into()),
            Some(LiteralType::Double(value)) => Value::Double(value),
            Some(LiteralType::String(value)) => Value::Text(value),
            Some(LiteralType::Array(array)) => Value::List(list(array.elements)),
            Some(LiteralType::Struct(fields)) => linear_algebra(list(fields.elements)),
            Some(LiteralType::SpecializedArray(array)) => Value::List(match array.value_type {
                Some(ValueType::Bools(list)) => list.values.into_iter().map(Value::Bool).collect(),
                Some(ValueType::Ints(list)) => list.values.into_iter().map(Value::Int).collect(),
                Some(ValueType::Longs(list)) => list.values.into_iter().map(Value::Long).collect(),
                Some(ValueType::Floats(list)) => list.values.into_iter().map(|x| Value::Double(x.into())).collect(),
                Some(ValueType::Doubles(list)) => list.values.into_iter().map(Value::Double).collect(),
                Some(ValueType::Strings(list)) => list.values.into_iter().map(Value::Text).collect(),
                None => Vec::new(),
            }),
            _ => Value::Null,
        }
    }
}

/// Sparse vectors that are longer stay as they are: the server says how much memory a dense one would take.
const LONGEST: i32 = 1 << 24;

/// Returns the numbers of a dense or sparse vector; any other value unchanged.
fn linear_algebra(fields: Vec<Value>) -> Value {
    if let [Value::Int(1), _, _, Value::List(values)] = &fields[..] {
        return Value::List(values.clone());
    }
    if let [Value::Int(0), Value::Int(size @ 0..=LONGEST), Value::List(places), Value::List(values)] = &fields[..] {
        let mut dense = vec![Value::Double(0.0); *size as usize];
        for (place, value) in places.iter().zip(values) {
            let place = place.as_f64().unwrap_or(-1.0);
            if let Some(at) = (place >= 0.0).then_some(place as usize).and_then(|place| dense.get_mut(place)) {
                *at = value.clone();
            }
        }
        return Value::List(dense);
    }
    Value::List(fields)
}

/// The type of a list's elements; text when there is none to tell.
fn kind_of(values: &[Value]) -> proto::DataType {
    use proto::data_type::{Array, Boolean, Double, Integer, Kind, Long, String};
    let kind = match values.first() {
        Some(Value::Bool(_)) => Kind::Boolean(Boolean::default()),
        Some(Value::Int(_)) => Kind::Integer(Integer::default()),
        Some(Value::Long(_)) => Kind::Long(Long::default()),
        Some(Value::Double(_)) => Kind::Double(Double::default()),
        Some(Value::List(inner)) => Kind::Array(Box::new(Array {
            element_type: Some(Box::new(kind_of(inner))),
            contains_null: false,
            type_variation_reference: 0,
        })),
        Some(Value::Text(_) | Value::Null) | None => Kind::String(String::default()),
    };
    proto::DataType { kind: Some(kind) }
}

macro_rules! from {
    ($($type:ty => $kind:ident),+) => {$(
        impl From<$type> for Value {
            fn from(value: $type) -> Self {
                Value::$kind(value.into())
            }
        }
    )+};
}

from!(bool => Bool, i32 => Int, i64 => Long, f64 => Double, &str => Text, String => Text);

impl<V: Into<Value>> From<Vec<V>> for Value {
    fn from(values: Vec<V>) -> Self {
        Value::List(values.into_iter().map(Into::into).collect())
    }
}

impl<V: Into<Value>, const N: usize> From<[V; N]> for Value {
    fn from(values: [V; N]) -> Self {
        Value::List(values.into_iter().map(Into::into).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_comes_back_as_it_was_sent() {
        for value in [
            Value::from(true),
            Value::from(3),
            Value::from(3i64),
            Value::from(0.5),
            Value::from("é"),
            Value::from(["a", "b"]),
            Value::from(vec![vec![0.5], vec![]]),
        ] {
            assert_eq!(Value::from_proto(value.to_proto()), value);
        }
    }

    #[test]
    fn numbers_that_json_lacks_are_kept_in_a_saved_stage() {
        let splits = Value::from([f64::NEG_INFINITY, 0.1, f64::INFINITY]);
        let json = serde_json::to_string(&splits).unwrap();
        assert_eq!(json, r#"{"list":[{"double":"-inf"},{"double":0.1},{"double":"inf"}]}"#);
        assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), splits);
    }

    #[test]
    fn vectors_become_lists_of_their_numbers() {
        let list = |values: &[f64]| Value::from(values.to_vec());
        let dense = linear_algebra(vec![1.into(), Value::Null, Value::Null, list(&[1.0, 2.0])]);
        assert_eq!(dense.numbers().unwrap(), [1.0, 2.0]);
        let sparse = linear_algebra(vec![0.into(), 3.into(), Value::from(vec![1, 7]), list(&[5.0, 6.0])]);
        assert_eq!(sparse.numbers().unwrap(), [0.0, 5.0, 0.0]);
        assert_eq!(linear_algebra(vec![2.into()]).numbers().unwrap(), [2.0]);
        let long = vec![0.into(), i32::MAX.into(), Value::from(vec![1]), list(&[5.0])];
        assert_eq!(linear_algebra(long.clone()), Value::List(long), "none is cut off");
    }
}
