//! Common parts of the scalers of vectors: statistics of every element, and a formula for every element.

use arrow::{
    array::{Array, AsArray},
    datatypes::{Int32Type, Int64Type},
};
use spark_connect::{
    column::Column,
    functions, lit, lit_double,
    types::{DataType, StructField},
};

use super::{NumberLayout, as_array, numbers, raise, text};
use crate::{
    DataProblem, Error, Result,
    dataframe::{DataFrame, Schema, column, function, with_metadata},
    ml::{
        attribute::AttributeGroup,
        learning::{Aggregate, AggregateFit, AggregateResults, ElementExpr, ElementExprs, FitStep, doubles},
        stage::Model,
        step::Step,
    },
};

/// Builds the model of a scaler from the statistics of all elements.
type BuildModel = Box<dyn FnOnce(Vec<Vec<f64>>) -> Result<Box<dyn Model>> + Send>;

/// A scaler that learns some statistics of every element of a vector.
pub(super) struct ElementStatistics {
    pub(super) input_col: String,
    pub(super) aggregates: fn(f64, f64) -> Vec<Aggregate>,
    /// Arguments of `aggregates`.
    pub(super) settings: (f64, f64),
    /// Other aggregates that give the same statistics, where rounding allows, for less.
    pub(super) shortcut: Option<Shortcut>,
    /// True if NaN is ignored, false if it is refused.
    pub(super) passes_nan: bool,
    pub(super) learn: BuildModel,
}

/// Aggregates that cost the cluster less, and what they say.
pub(super) struct Shortcut {
    pub(super) aggregates: fn() -> Vec<Aggregate>,
    /// The statistics, of the number of rows and the answers; `None` where rounding has spoilt them.
    pub(super) statistics: fn(f64, &[f64]) -> Option<Vec<f64>>,
}

/// Statistics of one element.
struct Findings {
    place: i64,
    rows: f64,
    /// Number of values that are not null.
    values: f64,
    /// Number of values that are neither null nor NaN.
    numbers: f64,
    statistics: Vec<f64>,
}

fn not_nan(value: Column) -> Column {
    function("nullif", [value, lit_double(f64::NAN)])
}

impl ElementStatistics {
    /// Returns the counts of values and of numbers, then the statistics.
    fn asked(&self) -> Vec<Aggregate> {
        let counts: [Aggregate; 2] = [Box::new(functions::count), Box::new(|v| functions::count(not_nan(v)))];
        let statistics = (self.aggregates)(self.settings.0, self.settings.1);
        counts.into_iter().chain(self.of_numbers(statistics)).collect()
    }

    fn of_numbers(&self, statistics: Vec<Aggregate>) -> impl Iterator<Item = Aggregate> + use<> {
        let passes_nan = self.passes_nan;
        statistics.into_iter().map(move |ask| -> Aggregate {
            Box::new(move |value| ask(if passes_nan { not_nan(value) } else { value }))
        })
    }

    /// Asks for each element by itself; `None` if their number is not known.
    ///
    /// One count over all elements finds missing ones. Elements that it and the statistics leave in doubt are queried
    /// again, with separate counts.
    pub(super) fn learning(self, schema: &Schema, elements: &ElementExprs) -> Option<AggregateFit> {
        let elements = elements.of(&self.input_col, schema)?;
        let asked_of_each = self.quick().len();
        let telling = elements.iter().map(|element| match self.passes_nan {
            // A NaN that is passed over shows in no statistic.
            true => element.checked.clone(),
            false => element.value.clone(),
        });
        let queries: Vec<_> =
            telling.map(|element| (element, self.of_numbers(self.quick()).collect::<Vec<_>>())).collect();
        let numbers = elements.iter().map(|element| element.value.clone().cast(DataType::Double));
        let whole = numbers.reduce(Column::add)?;
        let learning = AggregateFit::in_rounds(move |answers: AggregateResults| {
            let count =
                |i: usize| Ok::<_, Error>(doubles(&answers.statistics[i])?.first().copied().unwrap_or_default());
            let (rows, complete) = (count(0)?, count(1)?);
            let mut found = Vec::new();
            for answer in answers.statistics[2..].chunks(asked_of_each) {
                let answer = answer.iter().map(|statistic| doubles(statistic)).collect::<Result<Vec<_>>>()?.concat();
                let sound = rows > 0.0 && complete == rows && answer.iter().all(|statistic| statistic.is_finite());
                found.push(if sound { self.conclude(rows, answer) } else { None });
            }
            if found.iter().all(Option::is_some) {
                return (self.learn)(found.into_iter().flatten().collect()).map(FitStep::Model);
            }
            Ok(FitStep::Asks(self.closer(elements, found)))
        });
        let learning = learning.statistics(lit(1), [Box::new(functions::count) as Aggregate]);
        let learning = learning.statistics(whole, [Box::new(functions::count) as Aggregate]);
        Some(queries.into_iter().fold(learning, |learning, (element, asked)| learning.statistics(element, asked)))
    }

    fn quick(&self) -> Vec<Aggregate> {
        match &self.shortcut {
            Some(shortcut) => (shortcut.aggregates)(),
            None => (self.aggregates)(self.settings.0, self.settings.1),
        }
    }

    fn conclude(&self, rows: f64, answer: Vec<f64>) -> Option<Vec<f64>> {
        match &self.shortcut {
            Some(shortcut) => (shortcut.statistics)(rows, &answer),
            None => Some(answer),
        }
    }

    /// Asks for the elements whose statistics are not known yet.
    fn closer(self, elements: Vec<ElementExpr>, known: Vec<Option<Vec<f64>>>) -> AggregateFit {
        let asked_of_each = self.asked().len();
        let unknown = elements.into_iter().zip(&known).filter(|(_, known)| known.is_none());
        let queries: Vec<_> = unknown.map(|(element, _)| (element.checked, self.asked())).collect();
        let learning = AggregateFit::new(move |answers: AggregateResults| {
            let rows = doubles(&answers.statistics[0])?.first().copied().unwrap_or_default();
            let mut answers = answers.statistics[1..].chunks(asked_of_each);
            let mut found = Vec::new();
            for (place, known) in (0..).zip(known) {
                found.push(match known {
                    Some(statistics) => Findings { place, rows, values: rows, numbers: rows, statistics },
                    None => {
                        let answer = answers.next().unwrap_or_default().iter().map(|statistic| doubles(statistic));
                        Findings::new(place, rows, &answer.collect::<Result<Vec<_>>>()?.concat())
                    }
                });
            }
            self.finish(found)
        });
        let learning = learning.statistics(lit(1), [Box::new(functions::count) as Aggregate]);
        queries.into_iter().fold(learning, |learning, (element, asked)| learning.statistics(element, asked))
    }

    /// Takes the vectors apart row by row, whatever their length.
    pub(super) async fn fit(self, frame: &DataFrame, schema: &Schema) -> Result<Box<dyn Model>> {
        let kind = vector_input(&self.input_col, schema)?;
        let elements = function("posexplode", [as_array(column(&self.input_col), kind)]);
        let asked = self.asked().into_iter().enumerate().map(|(i, ask)| ask(column("col")).alias(&format!("a{i}")));
        let statistics = [functions::count(lit(1)).alias("rows")].into_iter().chain(asked);
        let mut found = Vec::new();
        for batch in frame.select([elements]).group_by(["pos"]).agg(statistics).collect().await? {
            let places = batch.column(0).as_primitive::<Int32Type>();
            let rows = batch.column(1).as_primitive::<Int64Type>();
            for row in 0..batch.num_rows() {
                let statistics = batch.columns()[2..].iter().map(|statistic| doubles(&statistic.slice(row, 1)));
                let statistics = statistics.collect::<Result<Vec<_>>>()?.concat();
                found.push(Findings::new(places.value(row).into(), rows.value(row) as f64, &statistics));
            }
        }
        found.sort_by_key(|element| element.place);
        self.finish(found)
    }

    fn finish(self, found: Vec<Findings>) -> Result<Box<dyn Model>> {
        check(&self.input_col, self.passes_nan, &found)?;
        (self.learn)(found.into_iter().map(|element| element.statistics).collect())
    }
}

impl Findings {
    fn new(place: i64, rows: f64, answer: &[f64]) -> Self {
        let at = |i: usize| answer.get(i).copied().unwrap_or(f64::NAN);
        let statistics = answer.get(2..).unwrap_or_default().to_vec();
        Self { place, rows, values: at(0), numbers: at(1), statistics }
    }
}

fn check(input_col: &str, passes_nan: bool, found: &[Findings]) -> Result<()> {
    let refuse = |expected: &str, found: String| Err(Error::values(input_col, expected, found));
    let Some(rows) = found.first().map(|element| element.rows).filter(|rows| *rows > 0.0) else {
        return Err(Error::data(input_col, DataProblem::NoValues { what: "vector" }));
    };
    for Findings { place, rows: present, values, numbers, statistics } in found {
        if *present != rows {
            let found = format!("element 0 in {rows} rows and element {place} in {present}");
            return refuse("vectors of one length", found);
        }
        if values != present {
            return refuse("numbers", format!("element {place} null in {} rows", present - values));
        }
        if passes_nan && *numbers == 0.0 {
            return refuse("numbers", format!("element {place} NaN in every row"));
        }
        if !passes_nan && (numbers != values || statistics.iter().any(|statistic| !statistic.is_finite())) {
            let nan = values - numbers;
            return refuse("finite numbers", format!("element {place} NaN or infinite in some rows (NaN in {nan})"));
        }
    }
    Ok(())
}

/// Returns how a column gives a vector.
pub(super) fn vector_input(name: &str, schema: &Schema) -> Result<NumberLayout> {
    let field = schema.require(name)?;
    match numbers(&field.data_type) {
        Some(kind @ (NumberLayout::Vector | NumberLayout::Array)) => Ok(kind),
        _ => Err(Error::schema(name, "a vector (a VectorAssembler makes one)", field.data_type.simple_string())),
    }
}

/// Returns a column of vectors of a size, if it is known, beside those of a schema.
pub(super) fn vector_field(schema: &Schema, name: &str, size: Option<usize>) -> StructField {
    let metadata = size.map(|size| AttributeGroup::Size(size).to_metadata()).unwrap_or_default();
    let metadata = metadata.into_iter().collect();
    StructField { name: name.to_owned(), data_type: schema.vector_type(), nullable: true, metadata }
}

/// Returns the number of elements that a column's metadata tells of.
pub(super) fn size_of(name: &str, schema: &Schema) -> Result<Option<usize>> {
    Ok(AttributeGroup::from_metadata(&schema.require(name)?.metadata).map(|group| group.size()))
}

/// Returns the schema with the output of an estimator of vectors.
pub(super) fn estimator_schema(input: &str, output: &str, schema: &Schema) -> Result<Schema> {
    vector_input(input, schema)?;
    schema.with(vector_field(schema, output, size_of(input, schema)?))
}

/// A fitted scaler's columns, and the number of elements it was fitted to.
pub(super) struct Fitted<'a> {
    pub(super) stage: &'static str,
    pub(super) input_col: &'a str,
    pub(super) output_col: &'a str,
    pub(super) size: usize,
}

impl Fitted<'_> {
    /// Returns the schema with the output column; refuses vectors that are known to be of another length.
    pub(super) fn schema(&self, schema: &Schema) -> Result<Schema> {
        vector_input(self.input_col, schema)?;
        if let Some(size) = size_of(self.input_col, schema)?
            && size != self.size
        {
            let expected = format!("vectors of {} elements, as fitted", self.size);
            return Err(Error::schema(self.input_col, expected, format!("vectors of {size} elements")));
        }
        schema.with(vector_field(schema, self.output_col, Some(self.size)))
    }

    /// Adds what a formula makes of each row's array; a row whose vector has another length fails.
    pub(super) fn steps(&self, schema: &Schema, formula: impl FnOnce(Column) -> Column) -> Result<Vec<Step>> {
        let values = as_array(column(self.input_col), vector_input(self.input_col, schema)?);
        let size = function("size", [values.clone()]);
        let length = format!("; the {} was fitted to vectors of {} elements.", self.stage, self.size);
        let found = function("coalesce", [size.clone().cast_str("string"), text("no")]);
        let column_text = text(&format!("The vector in column `{}` has ", self.input_col));
        let wrong = raise([column_text, found, text(" elements"), text(&length)]);
        let fits = size.eq(lit(self.size as i64));
        let checked = functions::when(fits, formula(values)).otherwise(wrong);
        let vector = schema.vector(checked);
        let metadata = AttributeGroup::Size(self.size).to_metadata();
        Ok(vec![Step::with_column(self.output_col, with_metadata(vector, self.output_col, &metadata))])
    }
}

/// `(x - shift) * scale` for every element, in this order, as Spark computes it.
pub(super) fn shifted_and_scaled(values: Column, shift: Option<&[f64]>, scale: Option<Vec<f64>>) -> Column {
    if shift.is_none() && scale.is_none() {
        return values;
    }
    let at = |list: Vec<f64>, i: &Column| function("get", [super::double_literals(list), i.clone()]);
    functions::transform_idx(values, |x| {
        let moved = match shift {
            Some(shift) => x[0].clone().sub(at(shift.to_vec(), &x[1])),
            None => x[0].clone(),
        };
        match scale {
            Some(scale) => moved.mul(at(scale, &x[1])),
            None => moved,
        }
    })
}

/// Returns one over each, and 0 where it is 0.
pub(super) fn reciprocals(of: &[f64]) -> Vec<f64> {
    of.iter().map(|x| if *x == 0.0 { 0.0 } else { 1.0 / x }).collect()
}

/// Returns the i-th statistic of every element.
pub(super) fn statistic(found: &[Vec<f64>], i: usize) -> Vec<f64> {
    found.iter().map(|statistics| statistics.get(i).copied().unwrap_or(f64::NAN)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_that_cannot_be_used_are_refused_with_their_element() {
        let element = |place, rows, values, numbers, statistic| Findings {
            place,
            rows,
            values,
            numbers,
            statistics: vec![statistic],
        };
        let problem = |found: &[Findings]| match check("raw", false, found).unwrap_err() {
            Error::Data { problem, .. } => problem,
            other => panic!("{other}"),
        };
        let refused = |elements: &[Findings]| match problem(elements) {
            DataProblem::Values { found, .. } => found,
            other => panic!("{other}"),
        };
        for none in [&[][..], &[element(0, 0.0, 0.0, 0.0, f64::NAN)]] {
            assert_eq!(problem(none), DataProblem::NoValues { what: "vector" });
        }
        let shorter = [element(0, 5.0, 5.0, 5.0, 0.0), element(1, 4.0, 4.0, 4.0, 0.0)];
        assert_eq!(refused(&shorter), "element 0 in 5 rows and element 1 in 4");
        assert!(refused(&[element(0, 5.0, 3.0, 3.0, 0.0)]).contains("element 0 null in 2 rows"));
        assert!(refused(&[element(0, 5.0, 5.0, 4.0, 0.0)]).contains("NaN in 1"));
        assert!(refused(&[element(0, 5.0, 5.0, 5.0, f64::INFINITY)]).contains("NaN or infinite"));
        assert!(check("raw", true, &[element(0, 5.0, 5.0, 4.0, 0.0)]).is_ok());
        assert!(check("raw", true, &[element(0, 5.0, 5.0, 0.0, 0.0)]).is_err());
        assert!(check("raw", false, &[element(0, 5.0, 5.0, 5.0, 0.0)]).is_ok());
    }
}
