//! Params by Spark ML's names: looked at, explained, set, carried as JSON.
//!
//! A param's value is its default unless it was set, and an extra map on a copy goes before both:
//!
//! ```
//! use tinderbox::ml::{ParamMap, Params, feature::MinMaxScaler};
//!
//! # fn main() -> tinderbox::Result<()> {
//! let scaler = MinMaxScaler::new("raw", "features").max(2.0);
//! let other = scaler.copy(&ParamMap::new().with("min", -2.0))?;
//! assert!(other.explain_params().contains("min: the smallest value afterwards (default: 0.0, current: -2.0)"));
//! assert_eq!(other.param_map().to_string(), r#"inputCol="raw", max=2.0, min=-2.0, outputCol="features""#);
//! # Ok(()) }
//! ```

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{Error, Result};

/// A param of a stage.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    /// Its name, Spark ML's where Spark ML has it.
    pub name: &'static str,
    /// Purpose, for people.
    pub purpose: &'static str,
    /// Value unless set; null when it must be set, or there is none.
    pub default: Value,
    /// Value now.
    pub value: Value,
}

impl Param {
    pub(crate) fn new(
        name: &'static str,
        purpose: &'static str,
        default: impl Serialize,
        value: impl Serialize,
    ) -> Self {
        Self { name, purpose, default: json(default), value: json(value) }
    }

    /// Returns whether it differs from the default.
    pub fn is_set(&self) -> bool {
        self.value != self.default
    }
}

/// Returns a value as JSON; null when JSON has no form for it, as for NaN.
fn json(value: impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}

/// Spark's form of a line of `explainParams`.
impl fmt::Display for Param {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, purpose, default, value } = self;
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        match (default.is_null(), self.is_set()) {
            (false, false) => write!(f, "{name}: {purpose} (default: {})", text(default)),
            (false, true) => write!(f, "{name}: {purpose} (default: {}, current: {})", text(default), text(value)),
            (true, false) => write!(f, "{name}: {purpose} (undefined)"),
            (true, true) => write!(f, "{name}: {purpose} (current: {})", text(value)),
        }
    }
}

/// Values of params by name; in JSON an object.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ParamMap(BTreeMap<String, Value>);

impl ParamMap {
    /// Creates an empty map.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a value, in place of the param's own.
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.0.insert(name.into(), value.into());
        self
    }

    /// Returns the value of a param.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// Names and values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}

/// `maxIter=10, stepSize=0.01`.
impl fmt::Display for ParamMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs: Vec<String> = self.iter().map(|(name, value)| format!("{name}={value}")).collect();
        f.write_str(&pairs.join(", "))
    }
}

/// A type with params.
pub trait Params {
    /// Returns every param, by name.
    fn params(&self) -> Vec<Param>;

    /// Sets a param by its name. What is refused changes nothing.
    ///
    /// # Errors
    /// [`Error::Param`] for a param that there is not, with those there are, and for a value of the wrong type or out
    /// of range.
    fn set_param(&mut self, name: &str, value: Value) -> Result<()>;

    /// Returns a line for every param: what it is for, its default and its value.
    fn explain_params(&self) -> String {
        self.params().iter().map(Param::to_string).collect::<Vec<_>>().join("\n")
    }

    /// Returns the params that are other than their defaults.
    fn param_map(&self) -> ParamMap {
        let set = self.params().into_iter().filter(Param::is_set);
        ParamMap(set.map(|param| (param.name.to_owned(), param.value)).collect())
    }

    /// Returns a copy with other values for some params.
    ///
    /// # Errors
    /// As [`set_param`](Self::set_param).
    fn copy(&self, extra: &ParamMap) -> Result<Self>
    where
        Self: Clone,
    {
        let mut copy = self.clone();
        for (name, value) in extra.iter() {
            copy.set_param(name, value.clone())?;
        }
        Ok(copy)
    }
}

/// Reads a value for a param.
pub(crate) fn read<T: DeserializeOwned>(name: &str, value: Value) -> Result<T> {
    let text = value.to_string();
    serde_json::from_value(value).map_err(|e| Error::param(name, text, format!("of its type ({e})")))
}

/// There is no param of the name.
pub(crate) fn unknown(name: &str, known: &[&str]) -> Error {
    let mut known = known.to_vec();
    known.sort_unstable();
    Error::param("name", format!("`{name}`"), format!("one of {}", known.join(", ")))
}

/// Implements [`Params`] over fields that serde knows: name, field, default, purpose; and a check of the whole. Behind
/// `also` those that are no field: name, default, purpose, how they are read and how they are set.
macro_rules! stage_params {
    (
        $stage:ty, $check:expr,
        { $($name:literal: $($field:ident).+ = $default:expr, $purpose:literal;)+ }
        $(also { $($also:literal: $usual:expr, $use:literal, $get:expr, $set:expr;)+ })?
    ) => {
        impl $crate::ml::Params for $stage {
            fn params(&self) -> Vec<$crate::ml::Param> {
                let mut all = vec![
                    $($crate::ml::Param::new($name, $purpose, $default, &self.$($field).+),)+
                    $($({
                        let get: fn(&Self) -> _ = $get;
                        $crate::ml::Param::new($also, $use, $usual, get(self))
                    },)+)?
                ];
                all.sort_by_key(|param| param.name);
                all
            }

            fn set_param(&mut self, name: &str, value: serde_json::Value) -> $crate::Result<()> {
                let mut changed = self.clone();
                match name {
                    $($name => changed.$($field).+ = $crate::ml::param::read(name, value)?,)+
                    $($($also => {
                        let set: fn(&mut Self, _) -> $crate::Result<()> = $set;
                        set(&mut changed, $crate::ml::param::read(name, value)?)?
                    })+)?
                    other => return Err($crate::ml::param::unknown(other, &[$($name,)+ $($($also),+)?])),
                }
                let check: fn(&Self) -> $crate::Result<()> = $check;
                check(&changed)?;
                *self = changed;
                Ok(())
            }
        }
    };
}
pub(crate) use stage_params;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ml::feature::{Bucketizer, Imputer, RobustScaler, StringIndexer};

    #[test]
    fn a_default_gives_way_to_what_is_set_and_that_to_an_extra_map() {
        let indexer = StringIndexer::multi(["a", "b"], ["x", "y"]);
        let value = |stage: &StringIndexer| {
            stage.params().into_iter().find(|param| param.name == "handleInvalid").unwrap().value
        };
        assert_eq!(value(&indexer), "error");
        let set = indexer.handle_invalid(crate::ml::feature::HandleInvalid::Skip);
        assert_eq!(value(&set), "skip");
        assert_eq!(value(&set.copy(&ParamMap::new().with("handleInvalid", "keep")).unwrap()), "keep");
        assert_eq!(value(&set), "skip", "the copy is another");
        let map = serde_json::to_string(&set.param_map()).unwrap();
        assert_eq!(map, r#"{"handleInvalid":"skip","inputCols":["a","b"],"outputCols":["x","y"]}"#);
        let read: ParamMap = serde_json::from_str(&map).unwrap();
        assert_eq!(StringIndexer::new("q", "r").copy(&read).unwrap().param_map(), set.param_map());
    }

    #[test]
    fn params_are_explained_as_spark_explains_them() {
        let text = Imputer::new(["a"], ["b"]).explain_params();
        for line in [
            "inputCols: columns of numbers (current: [\"a\"])",
            "strategy: what stands for a missing number: mean, median or mode (default: mean)",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n---\n{text}");
        }
        assert!(text.lines().is_sorted());
    }

    #[test]
    fn a_value_is_checked_when_it_is_set() {
        let mut scaler = RobustScaler::new("a", "b");
        let mut refused = |name: &str, value: Value| scaler.set_param(name, value).unwrap_err().to_string();
        assert!(refused("lower", 0.9.into()).contains("lower"));
        assert!(refused("lower", "x".into()).contains("of its type"));
        assert!(refused("lowest", 0.1.into()).contains("inputCol, lower, outputCol"));
        assert!(!scaler.params().iter().any(|param| param.name == "lower" && param.is_set()), "nothing has changed");
        scaler.set_param("lower", 0.1.into()).unwrap();
        let mut indexer = StringIndexer::new("a", "b");
        let order = indexer.set_param("stringOrderType", "random".into()).unwrap_err().to_string();
        assert!(order.contains("frequencyDesc"), "{order}");
        let mut buckets = Bucketizer::new("a", "b", [0.0, 1.0, 2.0]);
        assert!(buckets.set_param("splitsArray", serde_json::json!([["0", "1"]])).is_err());
        buckets.set_param("splitsArray", serde_json::json!([["-inf", 0, 1.5, "inf"]])).unwrap();
        assert_eq!(buckets.splits().next().unwrap(), [f64::NEG_INFINITY, 0.0, 1.5, f64::INFINITY]);
    }
}
