//! Learning by aggregates: stages say what they ask of the rows, so that several can ask in one query.

use std::{collections::HashMap, fmt};

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    datatypes::{DataType as ArrowType, Float64Type, Int32Type, Int64Type},
};
use spark_connect::{column::Column, expression::LiteralExpression, functions, lit, lit_string, types::DataType};

use super::{
    attribute::AttributeGroup,
    feature::{as_array, numbers},
    stage::{Model, Transformer},
};
use crate::{
    Error, Result,
    dataframe::{DataFrame, NestedFields, Schema, column, function, texts},
};

/// An aggregate over a column of values, such as `avg`. It must pass over nulls.
pub type Aggregate = Box<dyn Fn(Column) -> Column + Send + Sync>;

/// Turns the answers into a fitted model, or into further queries.
type LearnFn = Box<dyn FnOnce(AggregateResults) -> Result<FitStep> + Send>;

/// Outcome of the answers.
#[derive(Debug)]
pub enum FitStep {
    /// All there is to know.
    Model(Box<dyn Model>),
    /// Another query is needed.
    Asks(AggregateFit),
}

/// Queries of an estimator about the rows of a frame, and the function that turns the answers into a model.
pub struct AggregateFit {
    classes: Vec<Column>,
    /// Aggregates over expressions of the frame's columns. They stay one expression: a projection that computes a
    /// hundred values for them is too long a method for the JVM's compiler.
    statistics: Vec<Column>,
    learn: LearnFn,
}

/// Results of the queries, in their order.
#[derive(Debug, Default)]
pub struct AggregateResults {
    /// For each column of classes, those that occur and how often, in no order.
    pub classes: Vec<Vec<(String, i64)>>,
    /// For each aggregate, its one value.
    pub statistics: Vec<ArrayRef>,
}

impl fmt::Debug for AggregateFit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = (self.classes.len(), self.statistics.len());
        f.debug_struct("AggregateFit").field("classes, statistics", &counts).finish_non_exhaustive()
    }
}

impl AggregateFit {
    /// Asks nothing yet; `learn` makes a model of the answers.
    pub fn new(learn: impl FnOnce(AggregateResults) -> Result<Box<dyn Model>> + Send + 'static) -> Self {
        Self::in_rounds(|answers| learn(answers).map(FitStep::Model))
    }

    /// Asks nothing yet; `learn` makes a model of the answers if they suffice, else asks again.
    pub fn in_rounds(learn: impl FnOnce(AggregateResults) -> Result<FitStep> + Send + 'static) -> Self {
        Self { classes: Vec::new(), statistics: Vec::new(), learn: Box::new(learn) }
    }

    /// Asks which texts occur in a column, and how often. Nulls are passed over.
    pub fn classes(mut self, text: Column) -> Self {
        self.classes.push(text);
        self
    }

    /// Asks aggregates of a column of values.
    pub fn statistics(mut self, value: Column, aggregates: impl IntoIterator<Item = Aggregate>) -> Self {
        self.statistics.extend(aggregates.into_iter().map(|aggregate| aggregate(value.clone())));
        self
    }
}

/// A number of a column, as expressions of other columns.
#[derive(Debug, Clone)]
pub struct ElementExpr {
    /// The number; null or NaN too where the vector would be refused for it.
    pub value: Column,
    /// The number, or the error that the vector would be.
    pub checked: Column,
}

impl ElementExpr {
    /// Creates an element for which no row is refused.
    pub fn unchecked(value: Column) -> Self {
        Self { checked: value.clone(), value }
    }
}

/// The numbers that columns are made of, where they are known: a vector need not be put together to ask about its
/// elements, nor a number that a stage computes from others.
#[derive(Debug, Clone, Default)]
pub struct ElementExprs(HashMap<String, Vec<ElementExpr>>);

/// Vectors that are longer are taken apart row by row, in place of an aggregate for each element.
const LONGEST: usize = 256;

impl ElementExprs {
    /// Adds the expressions of a stage's output, if the stage knows them.
    pub(super) fn learn_from(&mut self, stage: &dyn Transformer, schema: &Schema) {
        let found = stage.elements(schema, self);
        self.0.extend(found);
    }

    /// Forgets all, since columns may have changed their meaning.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Returns the one number of a column, as a double.
    pub fn number(&self, name: &str) -> Column {
        match self.0.get(name).map(Vec::as_slice) {
            Some([number]) => number.value.clone(),
            _ => column(name).cast(DataType::Double),
        }
    }

    /// Returns the elements of a vector or array column: `None` when their number is unknown or large.
    pub fn of(&self, name: &str, schema: &Schema) -> Option<Vec<ElementExpr>> {
        let known = match self.0.get(name) {
            Some(elements) => elements.clone(),
            None => {
                let field = schema.get(name)?;
                let size = AttributeGroup::from_metadata(&field.metadata)?.size();
                let values = as_array(column(name), numbers(&field.data_type)?);
                let element = |i| ElementExpr::unchecked(function("get", [values.clone(), lit(i as i64)]));
                (0..size.min(LONGEST + 1)).map(element).collect()
            }
        };
        (1..=LONGEST).contains(&known.len()).then_some(known)
    }
}

/// Runs all queries as one over a frame, or none when there are none; then those that follow from the answers.
pub(super) async fn learn(frame: &DataFrame, schema: &Schema, all: Vec<AggregateFit>) -> Result<Vec<Box<dyn Model>>> {
    let frame = &NestedFields::of(schema).open(frame, schema).0;
    let mut models: Vec<_> = all.iter().map(|_| None).collect();
    let mut waiting: Vec<_> = all.into_iter().enumerate().collect();
    while !waiting.is_empty() {
        let (places, asked): (Vec<_>, Vec<_>) = waiting.into_iter().unzip();
        waiting = Vec::new();
        for (place, learnt) in places.into_iter().zip(ask(frame, asked).await?) {
            match learnt {
                FitStep::Model(model) => models[place] = Some(model),
                FitStep::Asks(next) => waiting.push((place, next)),
            }
        }
    }
    Ok(models.into_iter().flatten().collect())
}

/// Returns one query: statistics are one aggregate of all rows, and classes are counted by one group for each; the
/// query is the union of both.
async fn ask(frame: &DataFrame, all: Vec<AggregateFit>) -> Result<Vec<FitStep>> {
    let classes: Vec<_> = all.iter().flat_map(|one| one.classes.iter().cloned()).collect();
    let statistics: Vec<_> = all.iter().flat_map(|one| one.statistics.iter().cloned()).collect();
    let mut answers = match (classes.is_empty(), statistics.is_empty()) {
        (true, true) => AggregateResults::default(),
        (true, false) => all_rows(frame, statistics).await?,
        (false, _) => with_classes(frame, classes, statistics).await?,
    };
    let learnt = all.into_iter().map(|one| {
        let rest = answers.classes.split_off(one.classes.len().min(answers.classes.len()));
        let classes = std::mem::replace(&mut answers.classes, rest);
        let rest = answers.statistics.split_off(one.statistics.len().min(answers.statistics.len()));
        let statistics = std::mem::replace(&mut answers.statistics, rest);
        (one.learn)(AggregateResults { classes, statistics })
    });
    learnt.collect()
}

/// Asks for one estimator alone.
pub(super) async fn learn_one(frame: &DataFrame, schema: &Schema, learning: AggregateFit) -> Result<Box<dyn Model>> {
    learn(frame, schema, vec![learning]).await?.pop().ok_or_else(no_answer)
}

fn answer(i: usize) -> String {
    format!("a{i}")
}

/// Returns one row: the statistics.
fn statistics_row(frame: &DataFrame, statistics: Vec<Column>) -> DataFrame {
    frame.agg(statistics.into_iter().enumerate().map(|(i, statistic)| statistic.alias(&answer(i))))
}

async fn all_rows(frame: &DataFrame, statistics: Vec<Column>) -> Result<AggregateResults> {
    let batches = statistics_row(frame, statistics).collect().await?;
    let row = batches.iter().find(|batch| batch.num_rows() == 1).ok_or_else(no_answer)?;
    Ok(AggregateResults { classes: Vec::new(), statistics: row.columns().to_vec() })
}

async fn with_classes(frame: &DataFrame, classes: Vec<Column>, statistics: Vec<Column>) -> Result<AggregateResults> {
    let mut found = vec![Vec::new(); classes.len()];
    let pair = |(i, class): (i64, Column)| {
        function("named_struct", [lit_string("column"), lit(i), lit_string("class"), class])
    };
    let pairs = functions::explode(function("array", (0..).zip(classes).map(pair))).alias("pair");
    let (which, class) = (spark_connect::col("pair.column"), spark_connect::col("pair.class"));
    let mut asked = frame
        .select([pairs])
        .filter(class.clone().is_not_null())
        .group_by([which.alias("column"), class.alias("class")])
        .agg([functions::count(lit(1)).alias("rows")]);
    let asks_figures = !statistics.is_empty();
    if asks_figures {
        // A separate branch: rows repeated for their classes would carry all values along.
        let count = statistics.len();
        let names = || (0..count).map(answer);
        let none = || null(DataType::Null);
        let statistics = statistics_row(frame, statistics);
        let columns = [lit(-1).alias("column"), no_text().alias("class"), lit(0).cast(DataType::Long).alias("rows")];
        let statistics = statistics.select(columns.into_iter().chain(names().map(|name| column(&name))));
        let classes = ["column", "class", "rows"].map(column).into_iter();
        asked = statistics.union(&asked.select(classes.chain(names().map(|name| none().alias(&name)))));
    }
    let mut statistics_row: Option<Vec<ArrayRef>> = None;
    for batch in asked.collect().await? {
        let columns = whole(&batch, 0)?;
        let (texts, rows) = (texts(&batch, 1)?, batch.column(2).as_primitive::<Int64Type>());
        for (row, column) in columns.into_iter().enumerate() {
            match usize::try_from(column) {
                Ok(column) => found[column].push((texts.value(row).to_owned(), rows.value(row))),
                Err(_) => statistics_row = Some(batch.columns()[3..].iter().map(|c| c.slice(row, 1)).collect()),
            }
        }
    }
    let statistics = if asks_figures { statistics_row.ok_or_else(no_answer)? } else { Vec::new() };
    Ok(AggregateResults { classes: found, statistics })
}

/// Returns whole numbers, as the server's version types its literals.
fn whole(batch: &RecordBatch, column: usize) -> Result<Vec<i64>> {
    let found = batch.column(column);
    match found.data_type() {
        ArrowType::Int64 => Ok(found.as_primitive::<Int64Type>().values().to_vec()),
        ArrowType::Int32 => Ok(found.as_primitive::<Int32Type>().values().iter().map(|i| i64::from(*i)).collect()),
        other => Err(Error::schema("column", "whole numbers", other.to_string())),
    }
}

fn no_answer() -> Error {
    Error::Incomplete { operation: "aggregating".into(), reason: "an aggregate over all rows gave no row".into() }
}

/// Returns a null of text.
pub(super) fn no_text() -> Column {
    null(DataType::String { collation: "UTF8_BINARY".into() })
}

fn null(data_type: DataType) -> Column {
    Column::new(spark_connect::Expression::Literal(LiteralExpression::Null(data_type)))
}

/// Returns the numbers of an answer: of a list all of them; NaN for null.
pub(super) fn doubles(statistic: &dyn Array) -> Result<Vec<f64>> {
    match statistic.data_type() {
        ArrowType::Float64 => {
            Ok(statistic.as_primitive::<Float64Type>().iter().map(|x| x.unwrap_or(f64::NAN)).collect())
        }
        ArrowType::Int64 => {
            Ok(statistic.as_primitive::<Int64Type>().iter().map(|x| x.map_or(f64::NAN, |x| x as f64)).collect())
        }
        ArrowType::List(_) if statistic.len() == 1 && statistic.is_valid(0) => {
            doubles(&statistic.as_list::<i32>().value(0))
        }
        ArrowType::List(_) => Ok(Vec::new()),
        other => Err(Error::schema("statistic", "numbers", other.to_string())),
    }
}
