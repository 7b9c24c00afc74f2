//! Class names to indices.

use serde::{Deserialize, Serialize};
use spark_connect::{
    column::Column,
    functions, lit, lit_double,
    types::{DataType, StructField},
};

use super::{HandleInvalid, NumberLayout, check_pairs, numbers, raise, text, text_literals};
use crate::{
    Error, Result,
    dataframe::{Schema, column, function, with_metadata},
    ml::{
        attribute::Attribute,
        learning::{AggregateFit, AggregateResults, no_text},
        param::stage_params,
        stage::{Estimator, Model, Transformer, fit_by_aggregates, plain_data},
        step::{Step, transform_by_steps},
    },
};

/// Which class gets which index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StringOrderType {
    /// The most frequent first; equally frequent ones by alphabet.
    #[default]
    FrequencyDesc,
    /// The least frequent first; equally frequent ones by alphabet.
    FrequencyAsc,
    /// By alphabet, backwards.
    AlphabetDesc,
    /// By alphabet.
    AlphabetAsc,
}

/// Learns the classes of columns of text or numbers (`org.apache.spark.ml.feature.StringIndexer`).
///
/// | param | default | purpose |
/// |---|---|---|
/// | `inputCols`, `outputCols` | | text, whole or real numbers, booleans; the index, a double |
/// | `stringOrderType` | `frequencyDesc` | which class gets index 0 |
/// | `handleInvalid` | `error` | what [`transform`](Transformer::transform) does with a null or a class that fitting did not see; `keep` gives it the index after the last |
///
/// Numbers are indexed by their text, as Spark casts it. Nulls and NaN do not count as classes. The output column's
/// metadata names the classes.
#[derive(Debug, Clone)]
pub struct StringIndexer {
    input_cols: Vec<String>,
    output_cols: Vec<String>,
    string_order_type: StringOrderType,
    handle_invalid: HandleInvalid,
}

impl StringIndexer {
    /// Indexes one column.
    pub fn new(input_col: impl Into<String>, output_col: impl Into<String>) -> Self {
        Self::multi([input_col], [output_col])
    }

    /// Indexes several columns, each by itself, in one pass over the rows.
    pub fn multi<I: Into<String>, O: Into<String>>(
        input_cols: impl IntoIterator<Item = I>,
        output_cols: impl IntoIterator<Item = O>,
    ) -> Self {
        Self {
            input_cols: input_cols.into_iter().map(Into::into).collect(),
            output_cols: output_cols.into_iter().map(Into::into).collect(),
            string_order_type: StringOrderType::default(),
            handle_invalid: HandleInvalid::default(),
        }
    }

    /// Sets the order of the classes' indices.
    pub fn string_order_type(mut self, order: StringOrderType) -> Self {
        self.string_order_type = order;
        self
    }

    /// Sets the reaction to nulls and to classes that fitting did not see.
    pub fn handle_invalid(mut self, handling: HandleInvalid) -> Self {
        self.handle_invalid = handling;
        self
    }

    fn check(&self, schema: &Schema) -> Result<()> {
        check_pairs(&self.input_cols, &self.output_cols)?;
        self.input_cols.iter().try_for_each(|input| check_input(schema.require(input)?))
    }

    /// Asks for the classes of every input column with their counts.
    fn aggregates(&self, schema: &Schema) -> Result<AggregateFit> {
        let params = self.clone();
        let mut learning = AggregateFit::new(move |answers: AggregateResults| {
            let StringIndexer { input_cols, output_cols, string_order_type, handle_invalid } = params;
            let labels = answers.classes.into_iter().map(|classes| in_order(classes, string_order_type)).collect();
            Ok(Box::new(StringIndexerModel { input_cols, output_cols, labels, handle_invalid }))
        });
        for input in &self.input_cols {
            let value = as_text(input);
            let real = numbers(&schema.require(input)?.data_type) == Some(NumberLayout::Real);
            learning = learning.classes(match real {
                true => function("if", [column(input).is_nan(), no_text(), value]),
                false => value,
            });
        }
        Ok(learning)
    }
}

/// Returns the classes in the order of their indices. Texts compare by their UTF-8 bytes, in Rust as in Spark's SQL.
fn in_order(mut classes: Vec<(String, i64)>, order: StringOrderType) -> Vec<String> {
    classes.sort_by(|(a, a_count), (b, b_count)| match order {
        StringOrderType::FrequencyDesc => b_count.cmp(a_count).then_with(|| a.cmp(b)),
        StringOrderType::FrequencyAsc => a_count.cmp(b_count).then_with(|| a.cmp(b)),
        StringOrderType::AlphabetDesc => b.cmp(a),
        StringOrderType::AlphabetAsc => a.cmp(b),
    });
    classes.into_iter().map(|(class, _)| class).collect()
}

fn check_input(field: &StructField) -> Result<()> {
    let is_text = matches!(field.data_type, DataType::String { .. } | DataType::Char { .. } | DataType::Varchar { .. });
    if is_text || matches!(numbers(&field.data_type), Some(NumberLayout::Whole | NumberLayout::Real)) {
        return Ok(());
    }
    Err(Error::schema(&field.name, "text or numbers, to be indexed", field.data_type.simple_string()))
}

fn string_type() -> DataType {
    DataType::String { collation: "UTF8_BINARY".into() }
}

fn as_text(name: &str) -> Column {
    column(name).cast(string_type())
}

stage_params!(StringIndexer, |_| Ok(()), {
    "inputCols": input_cols = None::<()>, "columns of text or numbers";
    "outputCols": output_cols = None::<()>, "output columns of class indices";
    "stringOrderType": string_order_type = StringOrderType::default(), "which class gets index 0: frequencyDesc, frequencyAsc, alphabetDesc or alphabetAsc";
    "handleInvalid": handle_invalid = HandleInvalid::default(), "reaction to nulls and unknown classes: error, skip or keep";
});

impl Estimator for StringIndexer {
    fit_by_aggregates!();

    fn transform_schema(&self, schema: &Schema) -> Result<Schema> {
        self.check(schema)?;
        let output = |schema: Schema, name: &String| {
            let attribute = Attribute::nominal(name, Vec::<String>::new());
            schema.with(StructField {
                name: name.clone(),
                data_type: DataType::Double,
                nullable: false,
                metadata: attribute.to_metadata().into_iter().collect(),
            })
        };
        self.output_cols.iter().try_fold(schema.clone(), output)
    }

    fn reads(&self) -> Option<Vec<String>> {
        (self.handle_invalid != HandleInvalid::Skip).then(|| self.input_cols.clone())
    }
}

/// The fitted model of a [`StringIndexer`]: the classes of each column
/// (`org.apache.spark.ml.feature.StringIndexerModel`).
///
/// As in Spark, an input column that a frame lacks is passed over: rows without labels can be transformed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StringIndexerModel {
    input_cols: Vec<String>,
    output_cols: Vec<String>,
    labels: Vec<Vec<String>>,
    handle_invalid: HandleInvalid,
}

/// Spark's name of the class that `keep` puts what it does not know in.
const UNKNOWN: &str = "__unknown";

impl StringIndexerModel {
    /// Creates a model of one column from classes known beforehand, in order of the index.
    pub fn from_labels<L: Into<String>>(
        input_col: impl Into<String>,
        output_col: impl Into<String>,
        labels: impl IntoIterator<Item = L>,
    ) -> Self {
        Self {
            input_cols: vec![input_col.into()],
            output_cols: vec![output_col.into()],
            labels: vec![labels.into_iter().map(Into::into).collect()],
            handle_invalid: HandleInvalid::default(),
        }
    }

    /// Sets the reaction to nulls and to unknown classes.
    pub fn handle_invalid(mut self, handling: HandleInvalid) -> Self {
        self.handle_invalid = handling;
        self
    }

    /// Returns the classes of each input column, in order of the index.
    pub fn labels(&self) -> &[Vec<String>] {
        &self.labels
    }

    /// Returns the columns at work in a frame of this schema: input, output, classes.
    fn present<'a>(&'a self, schema: &'a Schema) -> impl Iterator<Item = (&'a String, &'a String, &'a Vec<String>)> {
        let columns = self.input_cols.iter().zip(&self.output_cols).zip(&self.labels);
        columns
            .map(|((input, output), labels)| (input, output, labels))
            .filter(|(input, ..)| schema.get(input).is_some())
    }

    fn attribute(&self, output: &str, labels: &[String]) -> Attribute {
        let unknown = (self.handle_invalid == HandleInvalid::Keep).then(|| UNKNOWN.to_owned());
        Attribute::nominal(output, labels.iter().cloned().chain(unknown))
    }
}

/// Returns the index of the row's class: from 0, null for null, and -1 for a class that is not among the labels.
///
/// Few labels are searched one by one. Many are spread over buckets by their CRC-32, which Spark computes alike, so
/// that a row is compared with a handful of them.
fn index_of(value: Column, labels: &[String]) -> Column {
    const FEW: usize = 64;
    if labels.len() <= FEW {
        let place = function("array_position", [text_literals(labels.iter().map(String::as_str)), value]);
        return place.sub(lit(1));
    }
    let buckets = labels.len().div_ceil(8);
    let mut texts = vec![Vec::new(); buckets];
    let mut indices = vec![Vec::new(); buckets];
    for (index, label) in labels.iter().enumerate() {
        let bucket = crc32fast::hash(label.as_bytes()) as usize % buckets;
        texts[bucket].push(label.as_str());
        indices[bucket].push(index);
    }
    // One literal of a hundred thousand classes is read at once, where as many literals take Spark's analysis seconds.
    let lists = |lists: serde_json::Value, element: &str| {
        function("from_json", [text(&lists.to_string()), text(&format!("array<array<{element}>>"))])
    };
    let hash = function("crc32", [value.clone().cast(DataType::Binary)]);
    let bucket = hash.modulo(lit(buckets as i64)).cast(DataType::Integer);
    let place = function("array_position", [function("get", [lists(texts.into(), "string"), bucket.clone()]), value]);
    let indices = function("get", [lists(indices.into(), "bigint"), bucket]);
    let found = function("get", [indices, place.clone().sub(lit(1)).cast(DataType::Integer)]);
    functions::when(place.is_null(), function("nullif", [lit(0), lit(0)]))
        .otherwise(function("coalesce", [found, lit(-1)]))
}

impl Transformer for StringIndexerModel {
    transform_by_steps!();

    fn steps(&self, schema: &Schema) -> Result<Option<Vec<Step>>> {
        let (mut steps, mut outputs) = (Vec::new(), Vec::new());
        for (input, output, labels) in self.present(schema) {
            let value = as_text(input);
            let index = index_of(value.clone(), labels);
            let known = index.clone().ge(lit(0));
            let double = index.cast(DataType::Double);
            let indexed = match self.handle_invalid {
                HandleInvalid::Skip => {
                    steps.push(Step::Filter(known));
                    double
                }
                HandleInvalid::Keep => functions::when(known, double).otherwise(lit_double(labels.len() as f64)),
                HandleInvalid::Error => functions::when(known, double)
                    .when(
                        value.clone().is_null(),
                        raise([text(&format!("Column `{input}` is null, which is no class of the StringIndexer; set handleInvalid to skip or keep."))]),
                    )
                    .otherwise(raise([
                        text(&format!("Unseen label in column `{input}`: `")),
                        value,
                        text("`, which is no class of the StringIndexer; set handleInvalid to skip or keep."),
                    ])),
            };
            let metadata = self.attribute(output, labels).to_metadata();
            outputs.push((output.clone(), with_metadata(indexed, output, &metadata)));
        }
        steps.push(Step::WithColumns(outputs));
        Ok(Some(steps))
    }

    fn transform_schema(&self, schema: &Schema) -> Result<Schema> {
        check_pairs(&self.input_cols, &self.output_cols)?;
        if self.labels.len() != self.input_cols.len() {
            let legal = format!("one for each of {} input columns", self.input_cols.len());
            return Err(Error::param("labels", format!("{} lists of classes", self.labels.len()), legal));
        }
        let mut result = schema.clone();
        for (input, output, labels) in self.present(schema) {
            check_input(schema.require(input)?)?;
            result = result.with(StructField {
                name: output.clone(),
                data_type: DataType::Double,
                nullable: false,
                metadata: self.attribute(output, labels).to_metadata().into_iter().collect(),
            })?;
        }
        Ok(result)
    }

    fn reads(&self) -> Option<Vec<String>> {
        (self.handle_invalid != HandleInvalid::Skip).then(|| self.input_cols.clone())
    }

    plain_data!(StringIndexerModel);
}

impl Model for StringIndexerModel {
    fn into_transformer(self: Box<Self>) -> Box<dyn Transformer> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_ordered_as_spark_orders_them() {
        let classes = || {
            [("b", 2), ("a", 2), ("c", 5), ("\u{ffee}", 1), ("\u{1f600}", 1)].map(|(c, n)| (c.to_owned(), n)).to_vec()
        };
        let ordered = |order| in_order(classes(), order).join(" ");
        // By UTF-8 bytes U+FFEE stands before U+1F600; by UTF-16 units it would not.
        assert_eq!(ordered(StringOrderType::FrequencyDesc), "c a b \u{ffee} \u{1f600}");
        assert_eq!(ordered(StringOrderType::FrequencyAsc), "\u{ffee} \u{1f600} a b c");
        assert_eq!(ordered(StringOrderType::AlphabetAsc), "a b c \u{ffee} \u{1f600}");
        assert_eq!(ordered(StringOrderType::AlphabetDesc), "\u{1f600} \u{ffee} c b a");
    }

    #[test]
    fn a_column_that_cannot_be_indexed_or_an_output_that_exists_is_refused() {
        let schema = Schema::from_ddl("a STRING, b ARRAY<INT>, c INT").unwrap();
        let refused = |input: &str, output: &str| {
            StringIndexer::new(input, output).transform_schema(&schema).unwrap_err().to_string()
        };
        assert!(refused("x", "y").contains("column `x`"));
        assert!(refused("b", "y").contains("text or numbers"));
        assert!(refused("a", "C").contains("no column of this name yet"));
        assert!(StringIndexer::multi(["a", "c"], ["y"]).transform_schema(&schema).is_err());
        let out = StringIndexer::multi(["a", "c"], ["y", "z"]).transform_schema(&schema).unwrap();
        assert_eq!(out.names().collect::<Vec<_>>(), ["a", "b", "c", "y", "z"]);
    }

    #[test]
    fn a_model_passes_over_an_input_that_is_not_there() {
        let model = StringIndexerModel::from_labels("species", "label", ["a", "b"]);
        let schema = Schema::from_ddl("x INT").unwrap();
        assert_eq!(model.transform_schema(&schema).unwrap(), schema);
        let odd = StringIndexerModel { labels: Vec::new(), ..model };
        assert!(odd.transform_schema(&schema).unwrap_err().to_string().contains("0 lists of classes"));
    }
}
