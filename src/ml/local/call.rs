//! Spark's functions that need all their arguments' values and nothing else.

use std::{cmp::Ordering, sync::Arc};

use super::{
    expression::unsure,
    value::{Value, compare, unknown},
};
use crate::{DataProblem, Error, Result};

/// A function of Spark's, by what it does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Function {
    Compare(Comparison),
    Not,
    IsNull,
    IsNotNull,
    IsNan,
    Arithmetic(Operation),
    Abs,
    Sqrt,
    Greatest,
    Nullif,
    Concat,
    Array,
    ArrayPosition,
    ArrayRepeat,
    ArrayToVector,
    VectorToArray,
    Size,
    Get,
    Sequence,
    Crc32,
    FromJson,
    UnixDate,
    UnixMicros,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Comparison {
    Equal,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Operation {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    PositiveModulo,
    Power,
}

impl Function {
    /// Returns the function of a name in lower case and a number of arguments, if it is known.
    pub(super) fn new(name: &str, arguments: usize) -> Option<Self> {
        use Function as F;
        Some(match (name, arguments) {
            ("==" | "=", 2) => F::Compare(Comparison::Equal),
            ("<", 2) => F::Compare(Comparison::Less),
            ("<=", 2) => F::Compare(Comparison::AtMost),
            (">", 2) => F::Compare(Comparison::Greater),
            (">=", 2) => F::Compare(Comparison::AtLeast),
            ("not", 1) => F::Not,
            ("isnull", 1) => F::IsNull,
            ("isnotnull", 1) => F::IsNotNull,
            ("isnan", 1) => F::IsNan,
            ("+", 2) => F::Arithmetic(Operation::Add),
            ("-", 2) => F::Arithmetic(Operation::Subtract),
            ("*", 2) => F::Arithmetic(Operation::Multiply),
            ("/", 2) => F::Arithmetic(Operation::Divide),
            ("%", 2) => F::Arithmetic(Operation::Modulo),
            ("pmod", 2) => F::Arithmetic(Operation::PositiveModulo),
            ("power", 2) => F::Arithmetic(Operation::Power),
            ("abs", 1) => F::Abs,
            ("sqrt", 1) => F::Sqrt,
            ("greatest", 2..) => F::Greatest,
            ("nullif", 2) => F::Nullif,
            ("concat", 1..) => F::Concat,
            ("array", _) => F::Array,
            ("array_position", 2) => F::ArrayPosition,
            ("array_repeat", 2) => F::ArrayRepeat,
            ("array_to_vector", 1) => F::ArrayToVector,
            ("vector_to_array", 1..=2) => F::VectorToArray,
            ("size", 1) => F::Size,
            ("get", 2) => F::Get,
            ("sequence", 2) => F::Sequence,
            ("crc32", 1) => F::Crc32,
            ("from_json", 2) => F::FromJson,
            ("unix_date", 1) => F::UnixDate,
            ("unix_micros", 1) => F::UnixMicros,
            _ => return None,
        })
    }

    fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// Returns the function's value.
    ///
    /// # Errors
    /// [`Error::Data`] where Spark fails; [`Error::Param`] for unsupported kinds of values.
    pub(super) fn call(self, values: &[Value]) -> Result<Value> {
        use Function as F;
        let refuse = || Err(unknown(&self.name(), values));
        match (self, values) {
            (F::IsNull, [value]) => return Ok(Value::Bool(value.is_null())),
            (F::IsNotNull, [value]) => return Ok(Value::Bool(!value.is_null())),
            (F::IsNan, [value]) => {
                return Ok(Value::Bool(match value {
                    Value::Double(number) => number.is_nan(),
                    Value::Float(number) => number.is_nan(),
                    Value::Null => false,
                    _ => return refuse(),
                }));
            }
            (F::Array, _) => return Ok(Value::Array(values.into())),
            (F::Greatest, _) => return greatest(values),
            (F::ArrayRepeat, [value, Value::Whole(count)]) => {
                let count = length((*count).into())?;
                return Ok(Value::Array(vec![value.clone(); count].into()));
            }
            (F::Nullif, [a, b]) => {
                let equal = !a.is_null() && !b.is_null() && compare(a, b, "nullif")? == Ordering::Equal;
                return Ok(if equal { Value::Null } else { a.clone() });
            }
            (F::ArrayToVector, [value]) => return vector(value),
            (F::VectorToArray, [Value::Null, ..]) => return Err(fails("vector_to_array of a vector that is null")),
            (_, values) if values.iter().any(Value::is_null) => return Ok(Value::Null),
            _ => {}
        }
        Ok(match (self, values) {
            (F::Compare(comparison), [a, b]) => {
                if let Some(spelled) = values.iter().find(|value| matches!(value, Value::Spelled(_))) {
                    return Err(unsure("a comparison", spelled));
                }
                let order = compare(a, b, "a comparison")?;
                Value::Bool(match comparison {
                    Comparison::Equal => order == Ordering::Equal,
                    Comparison::Less => order == Ordering::Less,
                    Comparison::AtMost => order != Ordering::Greater,
                    Comparison::Greater => order == Ordering::Greater,
                    Comparison::AtLeast => order != Ordering::Less,
                })
            }
            (F::Not, [Value::Bool(truth)]) => Value::Bool(!truth),
            (F::Arithmetic(operation), [a, b]) => return arithmetic(operation, a, b),
            (F::Abs, [Value::Double(number)]) => Value::Double(number.abs()),
            (F::Sqrt, [Value::Double(number)]) => Value::Double(number.sqrt()),
            (F::Concat, [Value::Array(_), ..]) => {
                let mut all = Vec::new();
                for value in values {
                    let Value::Array(list) = value else { return refuse() };
                    all.extend_from_slice(list);
                }
                Value::Array(all.into())
            }
            (F::Concat, _) => {
                let (mut all, mut certain) = (String::new(), true);
                for value in values {
                    let (Value::Text(text) | Value::Spelled(text)) = value else { return refuse() };
                    certain &= matches!(value, Value::Text(_));
                    all.push_str(text);
                }
                let text: Arc<str> = all.into();
                if certain { Value::Text(text) } else { Value::Spelled(text) }
            }
            (F::ArrayPosition, [Value::Array(_), spelled @ Value::Spelled(_)]) => {
                return Err(unsure("array_position", spelled));
            }
            (F::ArrayPosition, [Value::Array(list), value]) => {
                let mut place = 0;
                for (element, i) in list.iter().zip(1..) {
                    if !element.is_null() && compare(element, value, "array_position")? == Ordering::Equal {
                        place = i;
                        break;
                    }
                }
                Value::Whole(place)
            }
            (F::VectorToArray, [Value::Vector(_), Value::Text(kind)]) if **kind != *"float64" => return refuse(),
            (F::VectorToArray, [Value::Vector(numbers), ..]) => {
                Value::Array(numbers.iter().map(|number| Value::Double(*number)).collect())
            }
            (F::Size, [Value::Array(list)]) => Value::Whole(list.len() as i64),
            (F::Get, [Value::Array(list), Value::Whole(place)]) => {
                let element = usize::try_from(*place).ok().and_then(|place| list.get(place));
                element.cloned().unwrap_or(Value::Null)
            }
            (F::Sequence, [Value::Whole(first), Value::Whole(last)]) => {
                length((i128::from(*first) - i128::from(*last)).abs() + 1)?;
                Value::Array(if first <= last {
                    (*first..=*last).map(Value::Whole).collect()
                } else {
                    (*last..=*first).rev().map(Value::Whole).collect()
                })
            }
            (F::Crc32, [Value::Binary(bytes)]) => Value::Whole(crc32fast::hash(bytes).into()),
            (F::FromJson, [Value::Text(json), Value::Text(data_type)])
                if ["array<string>", "array<array<string>>", "array<array<bigint>>"].contains(&&**data_type) =>
            {
                serde_json::from_str(json).ok().and_then(lists).ok_or_else(|| unknown("from_json", values))?
            }
            (F::UnixDate, [Value::Date(days)]) => Value::Whole((*days).into()),
            (F::UnixMicros, [Value::Micros(micros)]) => Value::Whole(*micros),
            (_, [spelled @ Value::Spelled(_), ..]) => return Err(unsure(&self.name(), spelled)),
            _ => return refuse(),
        })
    }
}

/// Lists of texts or whole numbers within each other.
fn lists(json: serde_json::Value) -> Option<Value> {
    Some(match json {
        serde_json::Value::Array(elements) => Value::Array(elements.into_iter().map(lists).collect::<Option<_>>()?),
        serde_json::Value::String(text) => Value::Text(text.into()),
        number => Value::Whole(number.as_i64()?),
    })
}

/// Returns the length of an array that is to be made, before its memory is taken; none below 0.
fn length(count: i128) -> Result<usize> {
    const LONGEST: i128 = 1 << 24;
    if count > LONGEST {
        let reason = format!("an array of {count} elements, of which at most {LONGEST} are made without the cluster");
        return Err(fails(&reason));
    }
    Ok(usize::try_from(count).unwrap_or_default())
}

fn fails(reason: &str) -> Error {
    Error::rows(DataProblem::Expression { message: reason.into() })
}

/// Returns the largest that is not null; of equal ones the first.
fn greatest(values: &[Value]) -> Result<Value> {
    let mut found = &Value::Null;
    for value in values.iter().filter(|value| !value.is_null()) {
        if found.is_null() || compare(value, found, "greatest")? == Ordering::Greater {
            found = value;
        }
    }
    Ok(found.clone())
}

fn vector(value: &Value) -> Result<Value> {
    let Value::Array(list) = value else {
        return Err(match value {
            Value::Null => fails("array_to_vector of an array that is null"),
            other => unknown("array_to_vector", [other]),
        });
    };
    let number = |element: &Value| match element {
        Value::Double(number) => Ok(*number),
        Value::Null => Err(fails("array_to_vector of an array with a null in it")),
        other => Err(unknown("array_to_vector", [other])),
    };
    Ok(Value::Vector(list.iter().map(number).collect::<Result<_>>()?))
}

fn arithmetic(operation: Operation, a: &Value, b: &Value) -> Result<Value> {
    use Operation as O;
    let refuse = || unknown("arithmetic", [a, b]);
    let (x, y) = match (a, b) {
        (Value::Whole(x), Value::Whole(y)) => {
            let found = match operation {
                O::Add => x.checked_add(*y),
                O::Subtract => x.checked_sub(*y),
                O::Multiply => x.checked_mul(*y),
                O::Modulo | O::PositiveModulo if *y == 0 => return Err(fails("remainder by zero")),
                O::Modulo => x.checked_rem(*y),
                // Of a negative divisor Spark makes something else.
                O::PositiveModulo if *y < 0 => return Err(refuse()),
                O::PositiveModulo => x.checked_rem_euclid(*y),
                O::Divide | O::Power => return Err(refuse()),
            };
            return found.map(Value::Whole).ok_or_else(|| fails("a whole number beyond 64 bits"));
        }
        (Value::Double(x), Value::Double(y)) => (*x, *y),
        (Value::Double(x), Value::Whole(y)) => (*x, *y as f64),
        (Value::Whole(x), Value::Double(y)) => (*x as f64, *y),
        _ => return Err(refuse()),
    };
    Ok(Value::Double(match operation {
        O::Add => x + y,
        O::Subtract => x - y,
        O::Multiply => x * y,
        O::Divide | O::Modulo if y == 0.0 => return Err(fails("division by zero")),
        O::Divide => x / y,
        O::Modulo => x % y,
        O::PositiveModulo => return Err(refuse()),
        O::Power => power(x, y),
    }))
}

/// As Java's `StrictMath.pow`, which is fdlibm's: other libraries differ in the last digit.
fn power(x: f64, y: f64) -> f64 {
    libm::pow(x, y)
}
