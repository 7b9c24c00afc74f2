//! A look at the data before work starts.

mod counts;
mod example;
mod sparse;

use std::collections::BTreeMap;

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    datatypes::{Float64Type, Int32Type, Int64Type},
};
use spark_connect::{column::Column, functions, lit, lit_double, types::DataType};

pub use self::counts::ColumnCounts;
use self::sparse::{parts_name, sparse_look, with_parts};
use super::{
    attribute::Attribute,
    feature::{NumberLayout, as_array, numbers},
};
use crate::{
    DataProblem, Error, Result,
    dataframe::{DataFrame, NestedFields, Schema, column, function},
};

/// Request for counts: one aggregate over exactly the columns that will be used, before anything is trained.
#[derive(Debug, Clone, Default)]
pub struct Preflight {
    columns: Vec<String>,
    targets: Vec<String>,
    label: Option<String>,
    weight: Option<String>,
}

/// Counts of the columns' values.
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
    /// The column of weights, if there is one.
    pub weight: Option<String>,
    /// Labels that are none: what is wrong, in how many rows, and one of them.
    bad_labels: Vec<(&'static str, u64, Option<f64>)>,
}

/// Number of rows of a class.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClassCount {
    /// The label, from 0.
    pub label: usize,
    /// Its rows.
    pub rows: u64,
}

/// Columns of numbers up to which each has separate statistics; and the number of those per query where they are
/// needed.
const TOGETHER: usize = 64;

/// The largest whole number up to which single precision holds all.
const LARGEST_WHOLE: f64 = 16_777_216.0;

/// Columns of the aggregate before those of [`first_look`]: class, rows, an example of the label.
const FIRST: usize = 3;

/// More classes than this are taken for a mistake: the label is no class.
const MOST_CLASSES: i64 = 100_000;

/// Problems of a label; the position from −1 downwards is the key in the aggregate.
const WRONG: [&str; 4] = ["null", "not whole numbers", "negative", "100000 or more"];

impl Preflight {
    /// Counts in these columns of numbers, vectors or arrays: features.
    pub fn new<N: Into<String>>(columns: impl IntoIterator<Item = N>) -> Self {
        Self { columns: columns.into_iter().map(Into::into).collect(), targets: Vec::new(), label: None, weight: None }
    }

    /// Counts in these columns of regression targets too. They are scaled in double precision, so that it is no matter
    /// how far from zero they lie.
    pub fn targets<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.targets = names.into_iter().map(Into::into).collect();
        self.columns.extend(self.targets.iter().cloned());
        self
    }

    /// Counts in this column too, which must hold weights: numbers of at least 0, some of them above.
    pub fn weight(mut self, name: impl Into<String>) -> Self {
        let name = name.into();
        self.columns.push(name.clone());
        self.weight = Some(name);
        self
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
        let (frame, schema) = &NestedFields::of(&schema).open(frame, &schema);
        let kinds = self.columns.iter().map(|name| self.kind(schema, name)).collect::<Result<Vec<_>>>()?;
        let class_names = match &self.label {
            Some(label) => {
                self.single(schema, label)?;
                let attribute = Attribute::from_metadata(&schema.require(label)?.metadata);
                attribute.and_then(|attribute| attribute.classes().map(<[String]>::to_vec))
            }
            None => None,
        };
        if let Some(weight) = &self.weight
            && !matches!(self.kind(schema, weight)?, NumberLayout::Whole | NumberLayout::Real)
        {
            let found = schema.require(weight)?.data_type.simple_string();
            return Err(Error::schema(weight, "weights, one number a row", found));
        }
        let sparse = self.sparse_vectors(frame, schema, &kinds).await?;
        let frame = &with_parts(frame, &self.columns, &sparse);
        let look = |at: usize| match sparse[at] {
            true => sparse_look(&parts_name(at)),
            false => first_look(&self.columns[at], kinds[at]),
        };
        let label = self.label.as_deref().map(|name| column(name).cast(DataType::Double));
        let key = label.clone().map_or_else(|| lit(0).cast(DataType::Long), class_key);
        let example = label.unwrap_or_else(|| lit_double(0.0));
        let together = self.together(&kinds);
        let alone = |at: &usize| !together.contains(at);
        let counts = (0..kinds.len()).filter(alone).flat_map(look);
        let aggregates = [functions::count(lit(1)), function("any_value", [example])].into_iter();
        let aggregates = aggregates.chain(self.look_together(&together, &kinds)).chain(counts);
        let aggregates = aggregates.enumerate().map(|(i, aggregate)| aggregate.alias(&format!("a{i}")));
        let groups = frame.group_by([key.alias("class")]).agg(aggregates);
        let mut report = PreflightReport {
            rows: 0,
            columns: self
                .columns
                .iter()
                .zip(&kinds)
                .zip(&sparse)
                .map(|((name, kind), sparse)| ColumnCounts {
                    name: name.clone(),
                    stored: sparse.then_some(0),
                    whole: *kind == NumberLayout::Whole,
                    is_target: self.targets.contains(name),
                    ..Default::default()
                })
                .collect(),
            label: self.label.clone(),
            classes: Vec::new(),
            class_names,
            weight: self.weight.clone(),
            bad_labels: Vec::new(),
        };
        let mut odd_together = false;
        for batch in groups.collect().await? {
            for row in 0..batch.num_rows() {
                report.add_class(&batch, row);
                let mut statistics = batch.columns()[FIRST..].iter();
                if !together.is_empty() {
                    odd_together |= statistics.by_ref().take(2).any(|count| long(count, row) > 0);
                }
                let rows = long(batch.column(1), row).max(0) as u64;
                for at in (0..kinds.len()).filter(alone) {
                    report.columns[at].add(&mut statistics, row, kinds[at], rows);
                }
            }
        }
        report.classes.sort_by_key(|class| class.label);
        if odd_together {
            for chunk in together.chunks(TOGETHER) {
                let looks = chunk.iter().flat_map(|at| first_look(&self.columns[*at], kinds[*at]));
                let Some(batch) = aggregated(frame, looks).await? else { continue };
                let mut statistics = batch.columns().iter();
                for at in chunk {
                    report.columns[*at].add(&mut statistics, 0, kinds[*at], report.rows);
                }
            }
        }
        self.count_odd_numbers(frame, &mut report).await?;
        Ok(report)
    }

    /// Returns the columns of numbers that are looked at together, by their places: the features, where they are many.
    ///
    /// A plan with separate statistics for each of a thousand columns takes Spark longer to compile than the rows to
    /// read.
    fn together(&self, kinds: &[NumberLayout]) -> Vec<usize> {
        let is_feature = |at: &usize| {
            let name = &self.columns[*at];
            matches!(kinds[*at], NumberLayout::Whole | NumberLayout::Real)
                && !self.targets.contains(name)
                && self.weight.as_ref() != Some(name)
        };
        let features: Vec<usize> = (0..kinds.len()).filter(is_feature).collect();
        if features.len() > TOGETHER { features } else { Vec::new() }
    }

    /// Counts the rows that hold, in one of these columns, a value that is not a finite number; or an integer that
    /// single precision does not hold.
    fn look_together(&self, together: &[usize], kinds: &[NumberLayout]) -> Vec<Column> {
        if together.is_empty() {
            return Vec::new();
        }
        let any = |places: Vec<usize>, odd: fn(Column) -> Column| {
            let doubles = places.into_iter().map(|at| column(&self.columns[at]).cast(DataType::Double));
            let doubles: Vec<Column> = doubles.collect();
            match doubles.is_empty() {
                true => function("max", [lit(0).cast(DataType::Long)]),
                false => functions::count_if(functions::exists(function("array", doubles), move |x| odd(x[0].clone()))),
            }
        };
        let odd = |x: Column| x.clone().is_null().or(x.clone().is_nan()).or(infinite(x));
        let large = |x: Column| functions::abs(x).gt(lit_double(LARGEST_WHOLE));
        let whole = together.iter().copied().filter(|at| kinds[*at] == NumberLayout::Whole).collect();
        vec![any(together.to_vec(), odd), any(whole, large)]
    }

    /// Counts the problems that the first query found: NaN, infinities, weights below 0. Most data has none, and then
    /// no row is read again.
    async fn count_odd_numbers(&self, frame: &DataFrame, report: &mut PreflightReport) -> Result<()> {
        let weight = self.weight.as_ref();
        let mut odd: Vec<&mut ColumnCounts> =
            report.columns.iter_mut().filter(|counts| counts.is_odd(weight == Some(&counts.name))).collect();
        for chunk in odd.chunks_mut(TOGETHER) {
            let details = chunk.iter().flat_map(|counts| details(&counts.name)).collect::<Vec<_>>();
            let Some(batch) = aggregated(frame, details).await? else { continue };
            for (counts, columns) in chunk.iter_mut().zip(batch.columns().chunks(DETAILS)) {
                let number = |i: usize| long(&columns[i], 0).max(0) as u64;
                (counts.nans, counts.infinities, counts.negatives) = (number(0), number(1), number(2));
                counts.range = double(&columns[3], 0).zip(double(&columns[4], 0));
            }
        }
        Ok(())
    }

    fn kind(&self, schema: &Schema, name: &str) -> Result<NumberLayout> {
        let data_type = &schema.require(name)?.data_type;
        let expected = "numbers, booleans, a vector or an array of numbers";
        numbers(data_type).ok_or_else(|| Error::schema(name, expected, data_type.simple_string()))
    }

    fn single(&self, schema: &Schema, name: &str) -> Result<()> {
        match self.kind(schema, name) {
            Ok(NumberLayout::Whole | NumberLayout::Real) => Ok(()),
            _ => {
                let expected = "class labels 0, 1, 2 … (a StringIndexer makes them)";
                Err(Error::schema(name, expected, schema.require(name)?.data_type.simple_string()))
            }
        }
    }
}

/// Returns the class as a whole number, or a negative key of what is wrong with it.
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

/// Rows that are not null; smallest and largest number, or shortest and longest vector; rows with NaN, with infinity.
///
/// Of a column of numbers only the first three are queried: a NaN is larger than every number, so the largest and the
/// smallest number show whether there is a NaN or an infinity, and [`details`] counts them where there are any. The
/// plan of a thousand columns stays small enough to be compiled.
fn first_look(name: &str, kind: NumberLayout) -> Vec<Column> {
    let value = column(name);
    match kind {
        NumberLayout::Whole | NumberLayout::Real => {
            let double = value.clone().cast(DataType::Double);
            vec![functions::count(value), functions::min(double.clone()), functions::max(double)]
        }
        NumberLayout::Vector | NumberLayout::Array => {
            let values = as_array(value, kind);
            let size = function("size", [values.clone()]);
            let size = || function("if", [values.clone().is_not_null(), size.clone(), no_number()]);
            let odd = |x: &Column| x.clone().is_null().or(x.clone().is_nan());
            vec![
                functions::count(values.clone()),
                function("min", [size()]),
                function("max", [size()]),
                functions::count_if(functions::exists(values.clone(), move |x| odd(&x[0]))),
                functions::count_if(functions::exists(values.clone(), |x| infinite(x[0].clone()))),
            ]
        }
    }
}

/// Rows of a column of numbers with NaN, with infinity, below 0; the smallest and the largest number, NaN passed over.
fn details(name: &str) -> [Column; DETAILS] {
    let double = column(name).cast(DataType::Double);
    let number = function("nullif", [double.clone(), lit_double(f64::NAN)]);
    [
        functions::count_if(double.clone().is_nan()),
        functions::count_if(infinite(double.clone())),
        functions::count_if(double.lt(lit_double(0.0))),
        functions::min(number.clone()),
        functions::max(number),
    ]
}

const DETAILS: usize = 5;

/// Returns the one row of these aggregates.
async fn aggregated(frame: &DataFrame, aggregates: impl IntoIterator<Item = Column>) -> Result<Option<RecordBatch>> {
    let aggregates = aggregates.into_iter().enumerate();
    let batches = frame.agg(aggregates.map(|(i, aggregate)| aggregate.alias(&format!("a{i}")))).collect().await?;
    Ok(batches.into_iter().find(|batch| batch.num_rows() > 0))
}

fn infinite(number: Column) -> Column {
    functions::abs(number).eq(lit_double(f64::INFINITY))
}

fn no_number() -> Column {
    let null = spark_connect::expression::LiteralExpression::Null(DataType::Integer);
    Column::new(spark_connect::Expression::Literal(null))
}

fn long(column: &ArrayRef, row: usize) -> i64 {
    column.as_primitive_opt::<Int64Type>().filter(|c| c.is_valid(row)).map_or(0, |c| c.value(row))
}

fn double(column: &ArrayRef, row: usize) -> Option<f64> {
    column.as_primitive_opt::<Float64Type>().filter(|c| c.is_valid(row)).map(|c| c.value(row))
}

fn length(column: &ArrayRef, row: usize) -> Option<usize> {
    let lengths = column.as_primitive_opt::<Int32Type>().filter(|c| c.is_valid(row))?;
    usize::try_from(lengths.value(row)).ok()
}

impl PreflightReport {
    /// Adds the rows of one class, or of one kind of wrong label.
    fn add_class(&mut self, batch: &RecordBatch, row: usize) {
        let key = long(batch.column(0), row);
        let rows = long(batch.column(1), row).max(0) as u64;
        self.rows += rows;
        if self.label.is_none() {
            return;
        }
        match usize::try_from(key) {
            Ok(label) => self.classes.push(ClassCount { label, rows }),
            Err(_) => {
                let example = batch.column(2).as_primitive_opt::<Float64Type>();
                let example = example.filter(|e| e.is_valid(row)).map(|e| e.value(row));
                self.bad_labels.push((WRONG[(-1 - key) as usize % WRONG.len()], rows, example));
            }
        }
    }

    /// Returns the number of classes: by the label's metadata, else by the largest label.
    pub fn num_classes(&self) -> usize {
        let largest = self.classes.last().map_or(0, |class| class.label + 1);
        self.class_names.as_ref().map_or(largest, Vec::len)
    }

    /// Returns the number of rows of each class, by label.
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

    /// Returns warnings about data that can be used but may be a mistake: a column of one number only, a class with
    /// hardly any row or none.
    pub fn warnings(&self) -> Vec<String> {
        /// A class with so many rows fewer than the largest is easily overlooked by a network.
        const RARE: u64 = 100;
        let constant = |counts: &&ColumnCounts| counts.range.is_some_and(|(least, most)| least == most);
        let constant = self.columns.iter().filter(|counts| self.weight.as_ref() != Some(&counts.name)).filter(constant);
        let constant = constant.map(|counts| {
            let number = counts.range.map_or(f64::NAN, |(least, _)| least);
            format!("column `{}`: every number is {number}, so it cannot help a network", counts.name)
        });
        let counts = self.class_counts();
        let most = counts.iter().copied().max().unwrap_or_default();
        let rare = counts.iter().enumerate().filter(|(_, rows)| **rows < most / RARE || **rows == 0);
        let rare = rare.map(|(label, rows)| {
            let name = self.class_names.as_ref().and_then(|names| names.get(label));
            let name = name.map(|name| format!(" (`{name}`)")).unwrap_or_default();
            let label_col = self.label.as_deref().unwrap_or_default();
            let advice = "weights by class may help, or leaving it out";
            format!("column `{label_col}`: class {label}{name} has {rows} of {} rows; {advice}", self.rows)
        });
        let features =
            self.columns.iter().filter(|counts| !counts.is_target && self.weight.as_ref() != Some(&counts.name));
        constant.chain(features.filter_map(ColumnCounts::lost_precision)).chain(rare).collect()
    }

    /// Refuses data that cannot be trained on: no row; nulls, NaN or infinities; vectors of several lengths; weights
    /// below 0, or none above; labels that are no classes, or all the same. [`check_rows`](Self::check_rows) shows a
    /// row too.
    ///
    /// # Errors
    /// [`Error::Data`], with the column, the counts and a remedy.
    pub fn check(&self) -> Result<()> {
        if self.rows == 0 {
            return Err(Error::rows(DataProblem::NoRows));
        }
        self.columns.iter().try_for_each(|counts| counts.check(self.rows))?;
        if let Some(counts) = self.columns.iter().rfind(|counts| self.weight.as_ref() == Some(&counts.name)) {
            counts.check_weights(self.rows)?;
        }
        match &self.label {
            Some(label) => self.check_label(label),
            None => Ok(()),
        }
    }

    fn check_label(&self, label: &str) -> Result<()> {
        if !self.bad_labels.is_empty() {
            let wrong = self.bad_labels.iter().map(|(wrong, rows, example)| match example {
                Some(example) => format!("{wrong} in {rows} rows (such as {example})"),
                None => format!("{wrong} in {rows} rows"),
            });
            let wrong = wrong.collect::<Vec<_>>().join(", ");
            return Err(Error::values(label, "classes 0, 1, 2 … (a StringIndexer makes them)", wrong));
        }
        if let (Some(names), Some(last)) = (&self.class_names, self.classes.last())
            && last.label >= names.len()
        {
            let expected = format!("one of the {} classes that the column's metadata names, from 0", names.len());
            return Err(Error::values(label, expected, format!("{} in {} rows", last.label, last.rows)));
        }
        match self.classes.as_slice() {
            [only] => {
                let name = self.class_names.as_ref().and_then(|names| names.get(only.label));
                let name = name.map(|name| format!(" (`{name}`)")).unwrap_or_default();
                Err(Error::data(label, DataProblem::OneClass { class: Some(format!("{}{name}", only.label)) }))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
