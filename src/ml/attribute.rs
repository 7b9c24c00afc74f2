//! Meaning of a column's values: Spark ML's `ml_attr` metadata.
//!
//! Read and written as `org.apache.spark.ml.attribute` does.

use serde_json::{Map, Value, json};

/// The key of the metadata.
pub const ML_ATTR: &str = "ml_attr";

/// The meaning of one number.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Attribute {
    /// Its name.
    pub name: Option<String>,
    /// Its place in a vector, from 0.
    pub index: Option<usize>,
    /// Kind of number.
    pub kind: AttributeKind,
}

/// Kind of number of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum AttributeKind {
    /// A quantity.
    Numeric {
        /// The smallest value.
        min: Option<f64>,
        /// The largest value.
        max: Option<f64>,
        /// The standard deviation.
        std: Option<f64>,
        /// The share of values that are not zero.
        sparsity: Option<f64>,
    },
    /// An index of a class.
    Nominal {
        /// The classes' names, in order of the index.
        values: Option<Vec<String>>,
        /// Number of classes without names.
        num_values: Option<usize>,
        /// True if their order has a meaning.
        is_ordinal: Option<bool>,
    },
    /// 0 or 1.
    Binary {
        /// The names of the two.
        values: Option<[String; 2]>,
    },
}

impl Default for AttributeKind {
    fn default() -> Self {
        AttributeKind::Numeric { min: None, max: None, std: None, sparsity: None }
    }
}

impl AttributeKind {
    fn name(&self) -> &'static str {
        match self {
            AttributeKind::Numeric { .. } => "numeric",
            AttributeKind::Nominal { .. } => "nominal",
            AttributeKind::Binary { .. } => "binary",
        }
    }
}

impl Attribute {
    /// Creates a quantity of a name.
    pub fn numeric(name: impl Into<String>) -> Self {
        Attribute { name: Some(name.into()), ..Default::default() }
    }

    /// Creates an index into classes of these names.
    pub fn nominal<V: Into<String>>(name: impl Into<String>, values: impl IntoIterator<Item = V>) -> Self {
        let values = Some(values.into_iter().map(Into::into).collect());
        let kind = AttributeKind::Nominal { values, num_values: None, is_ordinal: None };
        Attribute { name: Some(name.into()), index: None, kind }
    }

    /// Reads the metadata of a column; `None` when it says nothing, or nothing that can be understood.
    pub fn from_metadata<'a>(metadata: impl IntoIterator<Item = (&'a String, &'a Value)>) -> Option<Self> {
        Self::from_json(ml_attr(metadata)?, None)
    }

    /// Returns the metadata of a column of this attribute.
    pub fn to_metadata(&self) -> Map<String, Value> {
        let mut json = self.to_json();
        json.insert("type".into(), self.kind.name().into());
        as_metadata(json)
    }

    /// Returns the classes' names, if it is an index of named classes.
    pub fn classes(&self) -> Option<&[String]> {
        match &self.kind {
            AttributeKind::Nominal { values: Some(values), .. } => Some(values),
            AttributeKind::Binary { values: Some(values) } => Some(values),
            _ => None,
        }
    }

    /// Without a type, it has that of its list, or is numeric.
    fn from_json(json: &Map<String, Value>, list: Option<&str>) -> Option<Self> {
        let number = |key: &str| json.get(key).and_then(Value::as_f64);
        let count = |key: &str| json.get(key).and_then(Value::as_u64).map(|n| n as usize);
        let texts = || -> Option<Vec<String>> {
            json.get("vals")?.as_array()?.iter().map(|v| v.as_str().map(str::to_owned)).collect()
        };
        let kind = match json.get("type").and_then(Value::as_str).or(list).unwrap_or("numeric") {
            "numeric" => AttributeKind::Numeric {
                min: number("min"),
                max: number("max"),
                std: number("std"),
                sparsity: number("sparsity"),
            },
            "nominal" => AttributeKind::Nominal {
                values: texts(),
                num_values: count("num_vals"),
                is_ordinal: json.get("ord").and_then(Value::as_bool),
            },
            "binary" => AttributeKind::Binary { values: texts().and_then(|values| values.try_into().ok()) },
            _ => return None,
        };
        let name = json.get("name").and_then(Value::as_str).map(str::to_owned);
        Some(Attribute { name, index: count("idx"), kind })
    }

    /// Without the type.
    fn to_json(&self) -> Map<String, Value> {
        let mut json = Map::new();
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                json.insert(key.into(), value);
            }
        };
        put("name", self.name.clone().map(Value::from));
        put("idx", self.index.map(Value::from));
        match &self.kind {
            AttributeKind::Numeric { min, max, std, sparsity } => {
                put("min", min.map(Value::from));
                put("max", max.map(Value::from));
                put("std", std.map(Value::from));
                put("sparsity", sparsity.map(Value::from));
            }
            AttributeKind::Nominal { values, num_values, is_ordinal } => {
                put("vals", values.clone().map(Value::from));
                put("num_vals", num_values.map(Value::from));
                put("ord", is_ordinal.map(Value::from));
            }
            AttributeKind::Binary { values } => put("vals", values.as_ref().map(|v| json!(v))),
        }
        json
    }
}

/// The meaning of a vector column's numbers.
#[derive(Debug, Clone, PartialEq)]
pub enum AttributeGroup {
    /// Only their number is known.
    Size(usize),
    /// Each one's meaning, in order.
    Attributes(Vec<Attribute>),
}

impl AttributeGroup {
    /// Reads the metadata of a vector column; `None` when it says nothing, or contradicts itself.
    pub fn from_metadata<'a>(metadata: impl IntoIterator<Item = (&'a String, &'a Value)>) -> Option<Self> {
        let json = ml_attr(metadata)?;
        let size = usize::try_from(json.get("num_attrs")?.as_u64()?).ok()?;
        let Some(lists) = json.get("attrs").and_then(Value::as_object) else {
            return Some(AttributeGroup::Size(size));
        };
        let mut attributes = Vec::new();
        for (kind, list) in lists {
            for item in list.as_array()? {
                attributes.push(Attribute::from_json(item.as_object()?, Some(kind))?);
            }
        }
        attributes.sort_by_key(|attribute| attribute.index);
        let in_order = attributes.iter().enumerate().all(|(i, attribute)| attribute.index == Some(i));
        (in_order && attributes.len() == size).then_some(AttributeGroup::Attributes(attributes))
    }

    /// Returns the number of elements of the vector.
    pub fn size(&self) -> usize {
        match self {
            AttributeGroup::Size(size) => *size,
            AttributeGroup::Attributes(attributes) => attributes.len(),
        }
    }

    /// Returns the metadata of a vector column of this group.
    pub fn to_metadata(&self) -> Map<String, Value> {
        let mut json = Map::new();
        if let AttributeGroup::Attributes(attributes) = self {
            let mut lists = Map::new();
            for (index, attribute) in attributes.iter().enumerate() {
                let placed = Attribute { index: Some(index), ..attribute.clone() };
                let list = lists.entry(attribute.kind.name()).or_insert_with(|| json!([]));
                if let Some(list) = list.as_array_mut() {
                    list.push(Value::Object(placed.to_json()));
                }
            }
            json.insert("attrs".into(), Value::Object(lists));
        }
        json.insert("num_attrs".into(), self.size().into());
        as_metadata(json)
    }
}

fn ml_attr<'a>(metadata: impl IntoIterator<Item = (&'a String, &'a Value)>) -> Option<&'a Map<String, Value>> {
    metadata.into_iter().find(|(key, _)| *key == ML_ATTR)?.1.as_object()
}

fn as_metadata(json: Map<String, Value>) -> Map<String, Value> {
    Map::from_iter([(ML_ATTR.to_owned(), Value::Object(json))])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(json: Value) -> Map<String, Value> {
        json.as_object().unwrap().clone()
    }

    #[test]
    fn an_attribute_is_written_as_it_was_read() {
        for json in [
            json!({"type": "nominal", "name": "label", "vals": ["setosa", "ver\"si", "é"]}),
            json!({"type": "nominal", "num_vals": 3, "ord": true}),
            json!({"type": "binary", "name": "b", "vals": ["no", "yes"]}),
            json!({"type": "numeric", "name": "n", "idx": 2, "min": -1.5, "max": 2.0, "std": 0.5, "sparsity": 0.25}),
        ] {
            let metadata = object(json!({"ml_attr": json}));
            assert_eq!(Attribute::from_metadata(&metadata).unwrap().to_metadata(), metadata);
        }
    }

    #[test]
    fn a_group_keeps_the_order_of_its_attributes_over_their_kinds() {
        let metadata = object(json!({"ml_attr": {
            "attrs": {
                "numeric": [{"idx": 0, "name": "a"}, {"idx": 2, "name": "c"}],
                "nominal": [{"idx": 1, "name": "b", "vals": ["x", "y"]}],
            },
            "num_attrs": 3,
        }}));
        let group = AttributeGroup::from_metadata(&metadata).unwrap();
        let AttributeGroup::Attributes(attributes) = &group else { panic!("{group:?}") };
        let names: Vec<_> = attributes.iter().map(|a| a.name.as_deref().unwrap()).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!(attributes[1].classes().unwrap(), ["x", "y"]);
        assert_eq!(group.to_metadata(), metadata);
        assert_eq!(AttributeGroup::Size(4).to_metadata(), object(json!({"ml_attr": {"num_attrs": 4}})));
    }

    #[test]
    fn metadata_that_cannot_be_understood_is_no_attribute() {
        for json in [json!({}), json!({"other": 1}), json!({"ml_attr": 3}), json!({"ml_attr": {"type": "odd"}})] {
            assert_eq!(Attribute::from_metadata(&object(json)), None);
        }
        for json in [
            json!({"attrs": {"numeric": [{"idx": 0}, {"idx": 2}]}, "num_attrs": 2}),
            json!({"attrs": {"numeric": [{"idx": 0}]}, "num_attrs": 2}),
            json!({"num_attrs": -1}),
        ] {
            assert_eq!(AttributeGroup::from_metadata(&object(json!({"ml_attr": json}))), None);
        }
    }
}
