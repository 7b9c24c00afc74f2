//! Casts, as Spark makes them with ANSI rules.

use std::sync::Arc;

use spark_connect::types::DataType;

use super::value::{Value, unknown};
use crate::{DataProblem, Error, Result};

/// Returns the value as one of a type; null stays null.
pub(super) fn cast(value: Value, to: &DataType) -> Result<Value> {
    if value.is_null() {
        return Ok(value);
    }
    match to {
        DataType::Double => double(value),
        DataType::Float => match value {
            Value::Float(_) => Ok(value),
            Value::Double(number) => Ok(Value::Float(number as f32)),
            other => Err(refused(&other, to)),
        },
        DataType::Byte => whole(value, to, i8::MIN.into(), i8::MAX.into()),
        DataType::Short => whole(value, to, i16::MIN.into(), i16::MAX.into()),
        DataType::Integer => whole(value, to, i32::MIN.into(), i32::MAX.into()),
        DataType::Long => whole(value, to, i64::MIN, i64::MAX),
        DataType::Decimal { precision, scale } => decimal(value, to, *precision, *scale),
        DataType::String { .. } => text(value),
        DataType::Binary => match value {
            Value::Text(text) => Ok(Value::Binary(text.as_bytes().into())),
            Value::Binary(_) => Ok(value),
            other => Err(refused(&other, to)),
        },
        DataType::Array { element_type, .. } => match value {
            Value::Array(elements) => {
                let cast = elements.iter().map(|element| cast(element.clone(), element_type));
                Ok(Value::Array(cast.collect::<Result<_>>()?))
            }
            other => Err(refused(&other, to)),
        },
        _ => Err(refused(&value, to)),
    }
}

fn refused(value: &Value, to: &DataType) -> Error {
    unknown(&format!("cast to {}", to.simple_string()), [value])
}

fn double(value: Value) -> Result<Value> {
    Ok(Value::Double(match value {
        Value::Double(number) => number,
        Value::Float(number) => number.into(),
        Value::Whole(number) => number as f64,
        Value::Bool(truth) => f64::from(u8::from(truth)),
        Value::Decimal { digits, scale } => {
            plain_text(digits, scale).parse().map_err(|_| refused(&value, &DataType::Double))?
        }
        other => return Err(refused(&other, &DataType::Double)),
    }))
}

/// Cut off towards zero; what does not fit fails.
fn whole(value: Value, to: &DataType, least: i64, most: i64) -> Result<Value> {
    let number = match value {
        Value::Whole(number) if (least..=most).contains(&number) => return Ok(value),
        Value::Whole(number) => return Err(overflow(&format!("{number}"), "whole number", to)),
        Value::Double(number) => number,
        Value::Float(number) => number.into(),
        other => return Err(refused(&other, to)),
    };
    if number.floor() <= most as f64 && number.ceil() >= least as f64 {
        // At the very end of 64 bits the bound is rounded up; the conversion stays within.
        return Ok(Value::Whole(number as i64));
    }
    Err(overflow(&java_text(number), "number", to))
}

fn overflow(value: &str, kind: &str, to: &DataType) -> Error {
    let to = to.simple_string();
    Error::rows(DataProblem::Expression { message: format!("the {kind} {value} is beyond the range of {to}") })
}

/// By the number's shortest digits, half up, as Java's `BigDecimal` of a double's text; NaN and infinities are null.
fn decimal(value: Value, to: &DataType, precision: i32, scale: i32) -> Result<Value> {
    let number = match value {
        Value::Double(number) => number,
        other => return Err(refused(&other, to)),
    };
    if !number.is_finite() {
        return Ok(Value::Null);
    }
    if depends_on_java(number) {
        return Err(refused(&Value::Spelled("".into()), to));
    }
    let (digits, exponent) = shortest_digits(number);
    // digits · 10^(exponent + scale) is the unscaled number.
    let shift = exponent + scale;
    let ten = |power: i32| u32::try_from(power).ok().and_then(|power| 10i128.checked_pow(power));
    let too_large = || overflow(&java_text(number), "number", to);
    let unscaled = if shift >= 0 {
        ten(shift).and_then(|factor| digits.checked_mul(factor)).ok_or_else(too_large)?
    } else {
        // Beyond all digits nothing is left.
        ten(-shift).map_or(0, |divisor| (digits / divisor) + i128::from(digits % divisor * 2 >= divisor))
    };
    if ten(precision).is_none_or(|limit| unscaled >= limit) {
        return Err(too_large());
    }
    let digits = if number < 0.0 { -unscaled } else { unscaled };
    Ok(Value::Decimal { digits, scale: i8::try_from(scale).map_err(|_| too_large())? })
}

/// Returns the fewest digits that tell a number from all others, and the power of ten that they are multiplied with.
fn shortest_digits(number: f64) -> (i128, i32) {
    let text = format!("{:e}", number.abs());
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    (format!("{whole}{fraction}").parse().unwrap_or_default(), exponent - fraction.len() as i32)
}

fn text(value: Value) -> Result<Value> {
    let (text, certain) = match value {
        Value::Text(_) | Value::Spelled(_) => return Ok(value),
        Value::Bool(truth) => (truth.to_string(), true),
        Value::Whole(number) => (number.to_string(), true),
        Value::Decimal { digits, scale } => (plain_text(digits, scale), true),
        Value::Double(number) => (java_text(number), !depends_on_java(number)),
        Value::Float(number) => (java_float_text(number), !float_depends_on_java(number)),
        other => {
            let string = DataType::String { collation: "UTF8_BINARY".into() };
            return Err(refused(&other, &string));
        }
    };
    let text: Arc<str> = text.into();
    Ok(if certain { Value::Text(text) } else { Value::Spelled(text) })
}

/// Returns a decimal without an exponent.
fn plain_text(digits: i128, scale: i8) -> String {
    let sign = if digits < 0 { "-" } else { "" };
    let text = digits.unsigned_abs().to_string();
    match usize::try_from(scale) {
        Ok(0) => format!("{sign}{text}"),
        Ok(scale) => {
            let text = format!("{text:0>width$}", width = scale + 1);
            let (whole, fraction) = text.split_at(text.len() - scale);
            format!("{sign}{whole}.{fraction}")
        }
        Err(_) => format!("{sign}{text}{}", "0".repeat(usize::from(scale.unsigned_abs()))),
    }
}

/// Returns whether Java before 19 and later versions write a number differently: where doubles are further apart than
/// whole numbers, and where they have lost digits.
fn depends_on_java(number: f64) -> bool {
    number.is_finite() && number != 0.0 && !(f64::MIN_POSITIVE..1e16).contains(&number.abs())
}

fn float_depends_on_java(number: f32) -> bool {
    number.is_finite() && number != 0.0 && !(f32::MIN_POSITIVE..1e7).contains(&number.abs())
}

/// Returns a number as Java writes it.
pub(in crate::ml) fn java_text(number: f64) -> String {
    if number.is_nan() {
        return "NaN".into();
    }
    if number.is_infinite() {
        return if number > 0.0 { "Infinity".into() } else { "-Infinity".into() };
    }
    if number == 0.0 || (1e-3..1e7).contains(&number.abs()) {
        return format!("{number:?}");
    }
    with_exponent(format!("{number:e}"))
}

fn java_float_text(number: f32) -> String {
    if number != 0.0 && number.is_finite() && !(1e-3..1e7).contains(&number.abs()) {
        return with_exponent(format!("{number:e}"));
    }
    if number.is_finite() { format!("{number:?}") } else { java_text(number.into()) }
}

/// Rust's exponent in Java's form.
fn with_exponent(text: String) -> String {
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let point = if digits.contains('.') { "" } else { ".0" };
    format!("{digits}{point}E{exponent}")
}
