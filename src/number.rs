//! Doubles in JSON. JSON has no NaN and no infinity, and `serde_json` writes `null` for them, which does not read back.
//! Such numbers are written as text: `"NaN"`, `"inf"`, `"-inf"`.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// One number, as text where JSON has no form for it.
#[derive(Clone, Copy)]
struct Number(f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.is_finite() {
            true => serializer.serialize_f64(self.0),
            false => serializer.collect_str(&self.0),
        }
    }
}

/// The forms that are read. `null` is what earlier versions wrote for every number that is not finite.
#[derive(Deserialize)]
#[serde(untagged)]
enum NumberForm {
    Number(f64),
    Text(String),
    Null(()),
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match NumberForm::deserialize(deserializer)? {
            NumberForm::Number(number) => Ok(Number(number)),
            NumberForm::Text(text) => text.parse().map(Number).map_err(D::Error::custom),
            NumberForm::Null(()) => Ok(Number(f64::NAN)),
        }
    }
}

/// `f64`, for `#[serde(with)]`.
pub(crate) mod one {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        Number(*number).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        Number::deserialize(deserializer).map(|number| number.0)
    }
}

/// `Option<f64>`, for `#[serde(with)]`; `null` is `None`.
pub(crate) mod optional {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(number: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
        number.map(Number).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
        Ok(Option::<Number>::deserialize(deserializer)?.map(|number| number.0))
    }
}

/// `(f64, f64)`, for `#[serde(with)]`.
pub(crate) mod pair {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(pair: &(f64, f64), serializer: S) -> Result<S::Ok, S::Error> {
        (Number(pair.0), Number(pair.1)).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(f64, f64), D::Error> {
        <(Number, Number)>::deserialize(deserializer).map(|(a, b)| (a.0, b.0))
    }
}

/// `Vec<(f64, u64)>`, for `#[serde(with)]`.
pub(crate) mod counted {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(pairs: &[(f64, u64)], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(pairs.iter().map(|(number, count)| (Number(*number), count)))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(f64, u64)>, D::Error> {
        let pairs = Vec::<(Number, u64)>::deserialize(deserializer)?;
        Ok(pairs.into_iter().map(|(number, count)| (number.0, count)).collect())
    }
}

/// `BTreeMap<String, f64>`, for `#[serde(with)]`.
pub(crate) mod named {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(map: &BTreeMap<String, f64>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(map.iter().map(|(name, number)| (name, Number(*number))))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, f64>, D::Error> {
        let map = BTreeMap::<String, Number>::deserialize(deserializer)?;
        Ok(map.into_iter().map(|(name, number)| (name, number.0)).collect())
    }
}

/// `Vec<f64>` as text, for `#[serde(with)]`: other JSON parsers may round the last digit of a number, and a fitted
/// stage must come back as it was. Numbers are read too.
pub(crate) mod exact {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(numbers: &[f64], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(numbers.iter().map(f64::to_string))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
        Ok(Vec::<Number>::deserialize(deserializer)?.into_iter().map(|number| number.0).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Serialize, Deserialize)]
    struct Figures {
        #[serde(with = "one")]
        one: f64,
        #[serde(default, with = "optional", skip_serializing_if = "Option::is_none")]
        optional: Option<f64>,
        #[serde(with = "pair")]
        pair: (f64, f64),
        #[serde(with = "counted")]
        counted: Vec<(f64, u64)>,
        #[serde(with = "named")]
        named: BTreeMap<String, f64>,
        #[serde(with = "exact")]
        exact: Vec<f64>,
    }

    #[test]
    fn every_number_reads_back_as_it_was_written() {
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.1 + 0.2, -0.0, f64::MIN_POSITIVE] {
            let figures = Figures {
                one: number,
                optional: Some(number),
                pair: (number, number),
                counted: vec![(number, 7)],
                named: BTreeMap::from([("loss".into(), number)]),
                exact: vec![number],
            };
            let json = serde_json::to_string(&figures).unwrap();
            let read: Figures = serde_json::from_str(&json).unwrap();
            let same = |found: f64| found.to_bits() == number.to_bits() || (found.is_nan() && number.is_nan());
            let found =
                [read.one, read.optional.unwrap(), read.pair.0, read.pair.1, read.counted[0].0, read.named["loss"]];
            assert!(found.into_iter().chain(read.exact).all(same), "{json}");
        }
    }

    #[test]
    fn null_of_an_earlier_version_reads_as_nan() {
        let json = r#"{"one":null,"pair":[null,1],"counted":[[null,1]],"named":{"loss":null},"exact":[1.5,"inf"]}"#;
        let read: Figures = serde_json::from_str(json).unwrap();
        assert!(read.one.is_nan() && read.optional.is_none() && read.pair.0.is_nan() && read.named["loss"].is_nan());
        assert_eq!(read.exact, [1.5, f64::INFINITY]);
    }
}
