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
pub enum MlValue {
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
    List(Vec<MlValue>),
}

impl MlValue {
    /// Returns the number, if it is one.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            MlValue::Int(number) => Some(f64::from(*number)),
            MlValue::Long(number) => Some(*number as f64),
            MlValue::Double(number) => Some(*number),
            _ => None,
        }
    }

    /// Returns the text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            MlValue::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the values, if they are in a row.
    pub fn as_list(&self) -> Option<&[MlValue]> {
        match self {
            MlValue::List(values) => Some(values),
            _ => None,
        }
    }

    /// Returns the numbers, if it is a list of nothing else.
    pub fn numbers(&self) -> Option<Vec<f64>> {
        self.as_list()?.iter().map(MlValue::as_f64).collect()
    }

    pub(super) fn to_proto(&self) -> Literal {
        let kind = match self {
            MlValue::Null => LiteralType::Null(kind_of(&[])),
            MlValue::Bool(value) => LiteralType::Boolean(*value),
            MlValue::Int(value) => LiteralType::Integer(*value),
            MlValue::Long(value) => LiteralType::Long(*value),
            MlValue::Double(value) => LiteralType::Double(*value),
            MlValue::Text(value) => LiteralType::String(value.clone()),
            MlValue::List(values) => {
                let elements = values.iter().map(MlValue::to_proto).collect();
                #[expect(deprecated, reason = "servers before 4.1 read the element type from here")]
                let array = literal::Array { element_type: Some(kind_of(values)), elements };
                LiteralType::Array(array)
            }
        };
        Literal { literal_type: Some(kind), ..Default::default() }
    }

    pub(super) fn from_proto(literal: Literal) -> MlValue {
        let list = |literals: Vec<Literal>| literals.into_iter().map(MlValue::from_proto).collect::<Vec<_>>();
        match literal.literal_type {
            Some(LiteralType::Boolean(value)) => MlValue::Bool(value),
            Some(LiteralType::Byte(value) | LiteralType::Short(value) | LiteralType::Integer(value)) => {
                MlValue::Int(value)
            }
            Some(LiteralType::Long(value)) => MlValue::Long(value),
            Some(LiteralType::Float(value)) => MlValue::Double(value.into()),
            Some(LiteralType::Double(value)) => MlValue::Double(value),
            Some(LiteralType::String(value)) => MlValue::Text(value),
            Some(LiteralType::Array(array)) => MlValue::List(list(array.elements)),
            Some(LiteralType::Struct(fields)) => linear_algebra(list(fields.elements)),
            Some(LiteralType::SpecializedArray(array)) => MlValue::List(match array.value_type {
                Some(ValueType::Bools(list)) => list.values.into_iter().map(MlValue::Bool).collect(),
                Some(ValueType::Ints(list)) => list.values.into_iter().map(MlValue::Int).collect(),
                Some(ValueType::Longs(list)) => list.values.into_iter().map(MlValue::Long).collect(),
                Some(ValueType::Floats(list)) => list.values.into_iter().map(|x| MlValue::Double(x.into())).collect(),
                Some(ValueType::Doubles(list)) => list.values.into_iter().map(MlValue::Double).collect(),
                Some(ValueType::Strings(list)) => list.values.into_iter().map(MlValue::Text).collect(),
                None => Vec::new(),
            }),
            _ => MlValue::Null,
        }
    }
}

/// Sparse vectors that are longer stay as they are: the server says how much memory a dense one would take.
const LONGEST: i32 = 1 << 24;

/// Returns the numbers of a dense or sparse vector; any other value unchanged.
fn linear_algebra(fields: Vec<MlValue>) -> MlValue {
    if let [MlValue::Int(1), _, _, MlValue::List(values)] = &fields[..] {
        return MlValue::List(values.clone());
    }
    if let [MlValue::Int(0), MlValue::Int(size @ 0..=LONGEST), MlValue::List(places), MlValue::List(values)] =
        &fields[..]
    {
        let mut dense = vec![MlValue::Double(0.0); *size as usize];
        for (place, value) in places.iter().zip(values) {
            let place = place.as_f64().unwrap_or(-1.0);
            if let Some(at) = (place >= 0.0).then_some(place as usize).and_then(|place| dense.get_mut(place)) {
                *at = value.clone();
            }
        }
        return MlValue::List(dense);
    }
    MlValue::List(fields)
}

/// Returns the type of a list's elements; text when there is none to tell.
fn kind_of(values: &[MlValue]) -> proto::DataType {
    use proto::data_type::{Array, Boolean, Double, Integer, Kind, Long, String};
    let kind = match values.first() {
        Some(MlValue::Bool(_)) => Kind::Boolean(Boolean::default()),
        Some(MlValue::Int(_)) => Kind::Integer(Integer::default()),
        Some(MlValue::Long(_)) => Kind::Long(Long::default()),
        Some(MlValue::Double(_)) => Kind::Double(Double::default()),
        Some(MlValue::List(inner)) => Kind::Array(Box::new(Array {
            element_type: Some(Box::new(kind_of(inner))),
            contains_null: false,
            type_variation_reference: 0,
        })),
        Some(MlValue::Text(_) | MlValue::Null) | None => Kind::String(String::default()),
    };
    proto::DataType { kind: Some(kind) }
}

macro_rules! from {
    ($($type:ty => $kind:ident),+) => {$(
        impl From<$type> for MlValue {
            fn from(value: $type) -> Self {
                MlValue::$kind(value.into())
            }
        }
    )+};
}

from!(bool => Bool, i32 => Int, i64 => Long, f64 => Double, &str => Text, String => Text);

impl<V: Into<MlValue>> From<Vec<V>> for MlValue {
    fn from(values: Vec<V>) -> Self {
        MlValue::List(values.into_iter().map(Into::into).collect())
    }
}

impl<V: Into<MlValue>, const N: usize> From<[V; N]> for MlValue {
    fn from(values: [V; N]) -> Self {
        MlValue::List(values.into_iter().map(Into::into).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_comes_back_as_it_was_sent() {
        for value in [
            MlValue::from(true),
            MlValue::from(3),
            MlValue::from(3i64),
            MlValue::from(0.5),
            MlValue::from("é"),
            MlValue::from(["a", "b"]),
            MlValue::from(vec![vec![0.5], vec![]]),
        ] {
            assert_eq!(MlValue::from_proto(value.to_proto()), value);
        }
    }

    #[test]
    fn numbers_that_json_lacks_are_kept_in_a_saved_stage() {
        let splits = MlValue::from([f64::NEG_INFINITY, 0.1, f64::INFINITY]);
        let json = serde_json::to_string(&splits).unwrap();
        assert_eq!(json, r#"{"list":[{"double":"-inf"},{"double":0.1},{"double":"inf"}]}"#);
        assert_eq!(serde_json::from_str::<MlValue>(&json).unwrap(), splits);
    }

    #[test]
    fn vectors_become_lists_of_their_numbers() {
        let list = |values: &[f64]| MlValue::from(values.to_vec());
        let dense = linear_algebra(vec![1.into(), MlValue::Null, MlValue::Null, list(&[1.0, 2.0])]);
        assert_eq!(dense.numbers().unwrap(), [1.0, 2.0]);
        let sparse = linear_algebra(vec![0.into(), 3.into(), MlValue::from(vec![1, 7]), list(&[5.0, 6.0])]);
        assert_eq!(sparse.numbers().unwrap(), [0.0, 5.0, 0.0]);
        assert_eq!(linear_algebra(vec![2.into()]).numbers().unwrap(), [2.0]);
        let long = vec![0.into(), i32::MAX.into(), MlValue::from(vec![1]), list(&[5.0])];
        assert_eq!(linear_algebra(long.clone()), MlValue::List(long), "none is cut off");
    }
}
