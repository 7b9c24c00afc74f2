//! A look at the data before work starts.

use std::collections::BTreeMap;

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    datatypes::{Float64Type, Int32Type, Int64Type},
};
use spark_connect::{column::Column, functions, lit, lit_double, types::DataType};

use super::{
    attribute::Attribute,
    feature::{Numbers, as_array, numbers},
};
use crate::{
    Error, Result,
    dataframe::{DataFrame, Schema, column, function},
};

/// What is to be counted: one aggregate over exactly the columns that will be used, before anything is trained.
#[derive(Debug, Clone, Default)]
pub struct Preflight {
    columns: Vec<String>,
    label: Option<String>,
}

/// What is in the columns.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq)]
pub struct PreflightReport {
    /// All rows.
    pub rows: u64,
    /// Each column of numbers, as asked for.
    pub columns: Vec<ColumnCounts>,
    /// The class label's column, if there is one.
    pub label: Option<String>,
    /// The classes that occur, by label.
    pub classes: Vec<ClassCount>,
    /// The classes' names from the label's metadata, in order of the label.
    pub class_names: Option<Vec<String>>,
    /// Labels that are none: what is wrong, in how many rows, and one of them.
    bad_labels: Vec<(&'static str, u64, Option<f64>)>,
}

/// What is in one column of numbers, vectors or arrays.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ColumnCounts {
    /// The column.
    pub name: String,
    /// Rows that are null.
    pub nulls: u64,
    /// Rows with NaN in them, or a null element.
    pub nans: u64,
    /// Rows with an infinite number in them.
    pub infinities: u64,
    /// The shortest and longest vector; `None` for a column of single numbers, and when there is no vector.
    pub lengths: Option<(usize, usize)>,
}

/// How often a class occurs.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClassCount {
    /// The label, from 0.
    pub label: usize,
    /// Its rows.
    pub rows: u64,
}

/// More classes than this are taken for a mistake: the label is no class.
const MOST_CLASSES: i64 = 100_000;

/// What is wrong with a label; its place from −1 downwards is its key in the aggregate.
const WRONG: [&str; 4] = ["null", "not whole numbers", "negative", "100000 or more"];

impl Preflight {
    /// Counts in these columns of numbers, vectors or arrays: features, weights, regression targets.
    pub fn new<N: Into<String>>(columns: impl IntoIterator<Item = N>) -> Self {
        Self { columns: columns.into_iter().map(Into::into).collect(), label: None }
    }

    /// Counts the classes of this column, which must hold whole numbers from 0.
    pub fn class_label(mut self, name: impl Into<String>) -> Self {
        self.label = Some(name.into());
        self
    }

    /// Runs the aggregate: one pass over the rows.
    ///
    /// # Errors
    /// [`Error::Schema`] for a column that is missing or has no numbers; [`Error::Server`]; [`Error::Unreachable`].
    pub async fn run(&self, frame: &DataFrame) -> Result<PreflightReport> {
        let schema = frame.schema().await?;
        let kinds = self.columns.iter().map(|name| self.kind(&schema, name)).collect::<Result<Vec<_>>>()?;
        let class_names = match &self.label {
            Some(label) => {
                self.single(&schema, label)?;
                let attribute = Attribute::from_metadata(&schema.require(label)?.metadata);
                attribute.and_then(|attribute| attribute.classes().map(<[String]>::to_vec))
            }
            None => None,
        };
        let label = self.label.as_deref().map(|name| column(name).cast(DataType::Double));
        let key = label.clone().map_or_else(|| lit(0).cast(DataType::Long), class_key);
        let example = label.unwrap_or_else(|| lit_double(0.0));
        let counts = self.columns.iter().zip(&kinds).flat_map(|(name, kind)| column_counts(name, *kind));
        let aggregates = [functions::count(lit(1)), function("any_value", [example])].into_iter().chain(counts);
        let aggregates = aggregates.enumerate().map(|(i, aggregate)| aggregate.alias(&format!("a{i}")));
        let groups = frame.group_by([key.alias("class")]).agg(aggregates);
        let mut report = PreflightReport {
            rows: 0,
            columns: self
                .columns
                .iter()
                .map(|name| ColumnCounts { name: name.clone(), ..Default::default() })
                .collect(),
            label: self.label.clone(),
            classes: Vec::new(),
            class_names,
            bad_labels: Vec::new(),
        };
        for batch in groups.collect().await? {
            (0..batch.num_rows()).for_each(|row| report.add(&batch, row));
        }
        report.classes.sort_by_key(|class| class.label);
        Ok(report)
    }

    fn kind(&self, schema: &Schema, name: &str) -> Result<Numbers> {
        let data_type = &schema.require(name)?.data_type;
        let expected = "numbers, booleans, a vector or an array of numbers";
        numbers(data_type).ok_or_else(|| Error::schema(name, expected, data_type.simple_string()))
    }

    fn single(&self, schema: &Schema, name: &str) -> Result<()> {
        match self.kind(schema, name) {
            Ok(Numbers::Whole | Numbers::Real) => Ok(()),
            _ => {
                let expected = "class labels 0, 1, 2 … (a StringIndexer makes them)";
                Err(Error::schema(name, expected, schema.require(name)?.data_type.simple_string()))
            }
        }
    }
}

/// The class as a whole number, or a negative key of what is wrong with it.
fn class_key(label: Column) -> Column {
    let long = |value: i64| lit(value).cast(DataType::Long);
    let whole = label.clone().eq(functions::floor(label.clone()).cast(DataType::Double));
    functions::when(label.clone().is_null(), long(-1))
        .when(label.clone().is_nan().or(functions::abs(label.clone()).eq(lit_double(f64::INFINITY))), long(-2))
        .when(!whole, long(-2))
        .when(label.clone().lt(lit(0)), long(-3))
        .when(label.clone().ge(lit(MOST_CLASSES)), long(-4))
        .otherwise(label.cast(DataType::Long))
}

/// Rows that are not null, with NaN, with infinity; shortest, longest.
fn column_counts(name: &str, kind: Numbers) -> [Column; 5] {
    let none = || lit(0).cast(DataType::Long);
    let no_length = || lit(0).cast(DataType::Integer);
    let value = column(name);
    let infinite = |x: Column| functions::abs(x).eq(lit_double(f64::INFINITY));
    let constant = |value: Column| function("max", [value]);
    match kind {
        Numbers::Whole => {
            [functions::count(value), constant(none()), constant(none()), constant(no_length()), constant(no_length())]
        }
        Numbers::Real => [
            functions::count(value.clone()),
            functions::count_if(value.clone().is_nan()),
            functions::count_if(infinite(value)),
            constant(no_length()),
            constant(no_length()),
        ],
        Numbers::Vector | Numbers::Array => {
            let values = as_array(value, kind);
            let size = function("size", [values.clone()]);
            [
                functions::count(values.clone()),
                functions::count_if(functions::exists(values.clone(), |x| {
                    x[0].clone().is_null().or(x[0].clone().is_nan())
                })),
                functions::count_if(functions::exists(values.clone(), move |x| infinite(x[0].clone()))),
                function("min", [function("if", [values.clone().is_not_null(), size.clone(), no_number()])]),
                function("max", [function("if", [values.is_not_null(), size, no_number()])]),
            ]
        }
    }
}

fn no_number() -> Column {
    let null = spark_connect::expression::LiteralExpression::Null(DataType::Integer);
    Column::new(spark_connect::Expression::Literal(null))
}

fn long(column: &ArrayRef, row: usize) -> i64 {
    column.as_primitive_opt::<Int64Type>().filter(|c| c.is_valid(row)).map_or(0, |c| c.value(row))
}

fn length(column: &ArrayRef, row: usize) -> Option<usize> {
    let lengths = column.as_primitive_opt::<Int32Type>().filter(|c| c.is_valid(row))?;
    usize::try_from(lengths.value(row)).ok()
}

impl PreflightReport {
    /// Adds one group of the aggregate: the rows of one class, or of one kind of wrong label.
    fn add(&mut self, batch: &RecordBatch, row: usize) {
        const FIRST: usize = 3;
        let key = long(batch.column(0), row);
        let rows = long(batch.column(1), row).max(0) as u64;
        self.rows += rows;
        if self.label.is_some() {
            match usize::try_from(key) {
                Ok(label) => self.classes.push(ClassCount { label, rows }),
                Err(_) => {
                    let example = batch.column(2).as_primitive_opt::<Float64Type>();
                    let example = example.filter(|e| e.is_valid(row)).map(|e| e.value(row));
                    self.bad_labels.push((WRONG[(-1 - key) as usize % WRONG.len()], rows, example));
                }
            }
        }
        for (counts, columns) in self.columns.iter_mut().zip(batch.columns()[FIRST..].chunks(5)) {
            let number = |i: usize| long(&columns[i], row).max(0) as u64;
            counts.nulls += rows - number(0).min(rows);
            counts.nans += number(1);
            counts.infinities += number(2);
            if let (Some(shortest), Some(longest)) = (length(&columns[3], row), length(&columns[4], row))
                && longest > 0
            {
                let known = counts.lengths.unwrap_or((shortest, longest));
                counts.lengths = Some((known.0.min(shortest), known.1.max(longest)));
            }
        }
    }

    /// How many classes there are: by the label's metadata, else by the largest label.
    pub fn num_classes(&self) -> usize {
        let largest = self.classes.last().map_or(0, |class| class.label + 1);
        self.class_names.as_ref().map_or(largest, Vec::len)
    }

    /// How many rows each class has, by label.
    pub fn class_counts(&self) -> Vec<u64> {
        let counts: BTreeMap<_, _> = self.classes.iter().map(|class| (class.label, class.rows)).collect();
        (0..self.num_classes()).map(|label| counts.get(&label).copied().unwrap_or(0)).collect()
    }

    /// Weights that make classes count alike: rows ÷ (classes × rows of the class), 0 for one without rows.
    pub fn class_weights(&self) -> Vec<f64> {
        let counts: BTreeMap<_, _> = self.classes.iter().map(|class| (class.label, class.rows)).collect();
        let share = self.rows as f64 / self.classes.len().max(1) as f64;
        (0..self.num_classes()).map(|label| counts.get(&label).map_or(0.0, |rows| share / *rows as f64)).collect()
    }

    /// Refuses data that cannot be learnt from: no row; nulls, NaN or infinities; vectors of several lengths; labels that
    /// are no classes, or all the same.
    ///
    /// # Errors
    /// [`Error::Data`], with the column, the counts and a remedy.
    pub fn check(&self) -> Result<()> {
        if self.rows == 0 {
            let reason = "there is no row; check the filters of the plan".into();
            return Err(Error::Data { column: "the data".into(), reason });
        }
        self.columns.iter().try_for_each(|counts| counts.check(self.rows))?;
        match &self.label {
            Some(label) => self.check_label(label),
            None => Ok(()),
        }
    }

    fn check_label(&self, label: &str) -> Result<()> {
        if !self.bad_labels.is_empty() {
            let wrong = self.bad_labels.iter().map(|(wrong, rows, example)| match example {
                Some(example) => format!("{rows} are {wrong} ({example}, for one)"),
                None => format!("{rows} are {wrong}"),
            });
            let wrong = wrong.collect::<Vec<_>>().join(", ");
            let reason = format!("of {} labels {wrong}; classes are 0, 1, 2 … (a StringIndexer makes them)", self.rows);
            return Err(Error::data(label, reason));
        }
        if let (Some(names), Some(last)) = (&self.class_names, self.classes.last())
            && last.label >= names.len()
        {
            let reason = format!(
                "label {} in {} rows, where the column's metadata names {} classes, from 0",
                last.label,
                last.rows,
                names.len()
            );
            return Err(Error::data(label, reason));
        }
        match self.classes.as_slice() {
            [only] => {
                let name = self.class_names.as_ref().and_then(|names| names.get(only.label));
                let name = name.map(|name| format!(" (`{name}`)")).unwrap_or_default();
                let reason = format!("all {} rows are of one class, {}{name}; two are needed", only.rows, only.label);
                Err(Error::data(label, reason))
            }
            _ => Ok(()),
        }
    }
}

impl ColumnCounts {
    fn check(&self, rows: u64) -> Result<()> {
        let wrong = [(self.nulls, "null"), (self.nans, "NaN, or hold a NaN or a null"), (self.infinities, "infinite")];
        let wrong: Vec<_> = wrong.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} are {what}")).collect();
        if !wrong.is_empty() {
            let wrong = wrong.join(", ");
            let reason = format!("of {rows} rows {wrong}; leave them out (`filter`) or fill them in first");
            return Err(Error::data(&self.name, reason));
        }
        match self.lengths {
            Some((shortest, longest)) if shortest != longest => {
                let reason =
                    format!("vectors have between {shortest} and {longest} elements; all must be of one length");
                Err(Error::data(&self.name, reason))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(classes: &[(usize, u64)]) -> PreflightReport {
        PreflightReport {
            rows: classes.iter().map(|(_, rows)| rows).sum(),
            columns: vec![ColumnCounts { name: "x".into(), lengths: Some((3, 3)), ..Default::default() }],
            label: Some("y".into()),
            classes: classes.iter().map(|&(label, rows)| ClassCount { label, rows }).collect(),
            class_names: None,
            bad_labels: Vec::new(),
        }
    }

    fn refusal(change: impl FnOnce(&mut PreflightReport)) -> String {
        let mut report = report(&[(0, 30), (2, 10)]);
        report.check().unwrap();
        change(&mut report);
        report.check().unwrap_err().to_string()
    }

    #[test]
    fn what_cannot_be_learnt_from_is_refused_with_counts() {
        assert!(refusal(|r| r.rows = 0).contains("no row"));
        let text = refusal(|r| (r.columns[0].nulls, r.columns[0].infinities) = (3, 1));
        assert!(text.contains("column `x`: of 40 rows 3 are null, 1 are infinite"), "{text}");
        assert!(refusal(|r| r.columns[0].lengths = Some((3, 4))).contains("between 3 and 4"));
        assert!(refusal(|r| r.bad_labels = vec![("negative", 2, Some(-1.0))]).contains("2 are negative (-1, for one)"));
        assert!(refusal(|r| r.class_names = Some(vec!["a".into(), "b".into()])).contains("label 2 in 10 rows"));
        assert!(refusal(|r| r.classes.truncate(1)).contains("one class"));
    }

    #[test]
    fn weights_make_classes_count_alike() {
        assert_eq!(report(&[(0, 30), (2, 10)]).class_weights(), [40.0 / 60.0, 0.0, 2.0]);
    }
}
