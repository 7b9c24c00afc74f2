//! Counts of a frame's columns, taken on the cluster.

use std::collections::BTreeMap;

use arrow::{
    array::{Array, AsArray, RecordBatch},
    compute::cast,
    datatypes::{DataType as ArrowType, Float64Type, Int64Type},
};
use spark_connect::{
    Column, functions, lit, lit_double, lit_string,
    types::{DataType, StructField},
};

use super::attribute::{Attribute, AttributeGroup};
use crate::{
    Error, Result,
    dataframe::{DataFrame, column, function, is_vector},
};

/// Columns of one query.
const TOGETHER: usize = 100;

/// Most distinct values that are counted one by one.
const FEW: u64 = 20;

/// Bars of a histogram.
const BINS: usize = 20;

/// Counts of all columns of a frame.
///
/// ```no_run
/// # async fn run(spark: tinderbox::session::Session) -> tinderbox::Result<()> {
/// let profile = tinderbox::ml::TableProfile::of(&spark.table("iris")).await?;
/// for column in &profile.columns {
///     println!("{}: {} nulls, about {:?} distinct values", column.name, column.nulls, column.distinct);
/// }
/// # Ok(()) }
/// ```
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq)]
pub struct TableProfile {
    /// All rows.
    pub rows: u64,
    /// The columns, in order.
    pub columns: Vec<ColumnProfile>,
}

/// Counts of a column.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnProfile {
    /// Its name.
    pub name: String,
    /// Its type.
    pub data_type: DataType,
    /// Its ML attribute, of a single value.
    pub attribute: Option<Attribute>,
    /// Its ML attributes, of a vector.
    pub attributes: Option<AttributeGroup>,
    /// Rows without a value.
    pub nulls: u64,
    /// Rows that are NaN; 0 where the type has none.
    pub nans: u64,
    /// Distinct values, within about 2 %; `None` for types that are not counted: maps and what holds them.
    pub distinct: Option<u64>,
    /// The smallest value as text; of texts, binaries and arrays the smallest length.
    pub min: Option<String>,
    /// The largest value as text; of texts, binaries and arrays the largest length.
    pub max: Option<String>,
    /// The mean of numbers that are not NaN.
    pub mean: Option<f64>,
    /// The standard deviation of numbers that are not NaN, of the sample.
    pub stddev: Option<f64>,
    /// The distribution, where it can be shown.
    pub histogram: Option<Histogram>,
}

/// Distribution of a column's values.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq)]
pub enum Histogram {
    /// Numbers, in bins of one width.
    Numbers {
        /// The smallest value.
        min: f64,
        /// The largest value.
        max: f64,
        /// Rows of each bin.
        counts: Vec<u64>,
    },
    /// Values that are few, the most common first.
    Values(Vec<(String, u64)>),
}

/// Form of a column, for counting.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Form {
    Number { fractional: bool },
    Text,
    Boolean,
    Time,
    Sized,
    Vector,
    Opaque,
}

impl Form {
    fn of(data_type: &DataType) -> Self {
        match data_type {
            DataType::Float | DataType::Double => Form::Number { fractional: true },
            DataType::Byte | DataType::Short | DataType::Integer | DataType::Long | DataType::Decimal { .. } => {
                Form::Number { fractional: false }
            }
            DataType::String { .. } | DataType::Char { .. } | DataType::Varchar { .. } => Form::Text,
            DataType::Boolean => Form::Boolean,
            DataType::Date | DataType::Timestamp | DataType::TimestampNtz => Form::Time,
            DataType::Binary | DataType::Array { .. } => Form::Sized,
            vector if is_vector(vector) => Form::Vector,
            _ => Form::Opaque,
        }
    }
}

/// Returns whether values of a type can be counted as distinct ones.
fn is_countable(data_type: &DataType) -> bool {
    match data_type {
        DataType::Array { element_type, .. } => is_countable(element_type),
        DataType::Struct { fields } => fields.iter().all(|field| is_countable(&field.data_type)),
        DataType::Map { .. } | DataType::Variant => false,
        other => !is_vector(other),
    }
}

impl TableProfile {
    /// Counts in all columns of a frame: one query per 100 columns, and one more for the distributions.
    ///
    /// Dropping the future interrupts the work on the cluster.
    ///
    /// # Errors
    /// [`Error::Server`], [`Error::Unreachable`].
    pub async fn of(frame: &DataFrame) -> Result<Self> {
        let schema = frame.schema().await?;
        let mut profile = Self { rows: 0, columns: Vec::with_capacity(schema.fields().len()) };
        // Several columns may share a name.
        let names = (0..schema.fields().len()).map(|place| format!("c{place}"));
        let frame = &frame.to_df(names);
        for (part, fields) in schema.fields().chunks(TOGETHER).enumerate() {
            let places = part * TOGETHER..;
            let aggregates = fields.iter().zip(places).flat_map(|(field, place)| aggregates(field, place));
            let all = functions::count(lit(1)).cast_str("bigint").alias("rows");
            let batch = one_row(frame, [all].into_iter().chain(aggregates)).await?;
            profile.rows = whole(&batch, 0).unwrap_or(0);
            for (place, field) in fields.iter().enumerate() {
                profile.columns.push(ColumnProfile::read(field, &batch, 1 + place * AGGREGATES));
            }
        }
        if schema.fields().is_empty() {
            profile.rows = frame.count().await?;
        }
        for part in (0..profile.columns.len()).step_by(TOGETHER) {
            profile.count_values(frame, part..(part + TOGETHER).min(profile.columns.len())).await?;
        }
        Ok(profile)
    }

    /// Returns the column of a name, as a schema finds it.
    pub fn column(&self, name: &str) -> Option<&ColumnProfile> {
        let exact = self.columns.iter().find(|column| column.name == name);
        exact.or_else(|| self.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name)))
    }

    /// Counts the values or bins of those columns in one query: a row becomes a pair of column and bin for each.
    async fn count_values(&mut self, frame: &DataFrame, places: std::ops::Range<usize>) -> Result<()> {
        let rows = self.rows;
        let cells = places.clone().filter_map(|place| {
            let value = self.columns[place].bin(rows, &format!("c{place}"))?;
            let named = [lit_string("place"), lit(place as i64), lit_string("value"), value];
            Some(function("named_struct", named))
        });
        let cells: Vec<Column> = cells.collect();
        if cells.is_empty() || rows == 0 {
            return Ok(());
        }
        let cells = frame.select([function("explode", [function("array", cells)]).alias("cell")]);
        let cells = cells.select_expr(["cell.place AS place", "cell.value AS value"]);
        let counted = cells.filter_expr("value IS NOT NULL").group_by([column("place"), column("value")]);
        let counted = counted.agg([functions::count(lit(1)).cast_str("bigint").alias("rows")]);
        let mut found: BTreeMap<usize, Vec<(String, u64)>> = BTreeMap::new();
        for batch in counted.collect().await? {
            let places = cast(batch.column(0), &ArrowType::Int64).map_err(|e| Error::arrow("a profile", e))?;
            let places = places.as_primitive::<Int64Type>();
            for row in 0..batch.num_rows() {
                if let (Some(value), Some(count)) = (text_at(&batch, 1, row), whole_at(&batch, 2, row)) {
                    found.entry(places.value(row) as usize).or_default().push((value, count));
                }
            }
        }
        for place in places {
            let counted = found.remove(&place).unwrap_or_default();
            self.columns[place].histogram = self.columns[place].distribution(rows, counted);
        }
        Ok(())
    }
}

/// Aggregates of a column.
const AGGREGATES: usize = 7;

/// Returns the aggregates of a column: nulls, NaNs, distinct, min, max, mean, standard deviation.
fn aggregates(field: &StructField, place: usize) -> [Column; AGGREGATES] {
    let value = column(&format!("c{place}"));
    let form = Form::of(&field.data_type);
    let none = |data_type: &str| functions::expr(&format!("CAST(NULL AS {data_type})"));
    let count_if = |condition: Column| function("count_if", [condition]).cast_str("bigint");
    let nulls = count_if(value.clone().is_null());
    let nans = match form {
        Form::Number { fractional: true } => count_if(function("isnan", [value.clone()])),
        _ => lit(0).cast_str("bigint"),
    };
    let distinct = match is_countable(&field.data_type) {
        true => function("approx_count_distinct", [value.clone(), lit_double(0.02)]).cast_str("bigint"),
        false => function("max", [none("bigint")]),
    };
    let number = match form {
        Form::Number { fractional: true } => function("nanvl", [value.clone(), none("double")]).cast_str("double"),
        Form::Number { fractional: false } => value.clone().cast_str("double"),
        _ => none("double"),
    };
    let ordered = match form {
        Form::Number { fractional: true } => function("nanvl", [value.clone(), none("double")]),
        Form::Number { .. } | Form::Boolean | Form::Time => value.clone(),
        Form::Text | Form::Sized => match field.data_type {
            DataType::Array { .. } => function("size", [value.clone()]),
            _ => function("length", [value.clone()]),
        },
        Form::Vector | Form::Opaque => none("string"),
    };
    [
        nulls,
        nans,
        distinct,
        function("min", [ordered.clone()]).cast_str("string"),
        function("max", [ordered]).cast_str("string"),
        function("avg", [number.clone()]),
        function("stddev_samp", [number]),
    ]
    .map(|aggregate| aggregate.alias("a"))
}

impl ColumnProfile {
    fn read(field: &StructField, batch: &RecordBatch, at: usize) -> Self {
        let double = |column: usize| {
            let numbers = batch.column(column).as_primitive_opt::<Float64Type>()?;
            (!numbers.is_empty() && numbers.is_valid(0)).then(|| numbers.value(0))
        };
        Self {
            name: field.name.clone(),
            data_type: field.data_type.clone(),
            attribute: Attribute::from_metadata(&field.metadata),
            attributes: AttributeGroup::from_metadata(&field.metadata).filter(|_| is_vector(&field.data_type)),
            nulls: whole(batch, at).unwrap_or(0),
            nans: whole(batch, at + 1).unwrap_or(0),
            distinct: whole(batch, at + 2),
            min: text_at(batch, at + 3, 0),
            max: text_at(batch, at + 4, 0),
            mean: double(at + 5),
            stddev: double(at + 6),
            histogram: None,
        }
    }

    /// Returns whether every row has another value, as those of an identifier have; the count of distinct values is
    /// within 2 %.
    pub fn is_unique(&self, rows: u64) -> bool {
        self.nulls == 0 && rows > 1 && self.distinct.is_some_and(|distinct| distinct as f64 >= 0.96 * rows as f64)
    }

    /// Returns whether all rows have one value, or none.
    pub fn is_constant(&self, rows: u64) -> bool {
        self.nulls == rows || (self.nulls == 0 && self.distinct.is_some_and(|distinct| distinct <= 1))
    }

    /// Returns whether values are counted one by one.
    fn are_few(&self) -> bool {
        self.distinct.is_some_and(|distinct| distinct <= FEW)
    }

    /// Returns the range of numbers, if it has a width.
    fn range(&self) -> Option<(f64, f64)> {
        let range = (self.min.as_ref()?.parse().ok()?, self.max.as_ref()?.parse().ok()?);
        (f64::is_finite(range.1 - range.0) && range.1 > range.0).then_some(range)
    }

    /// Returns the expression of a value's bin as text; `None` if the column has no distribution to show.
    fn bin(&self, rows: u64, name: &str) -> Option<Column> {
        let value = column(name);
        match Form::of(&self.data_type) {
            Form::Boolean => Some(value.cast_str("string")),
            Form::Number { .. } | Form::Text if self.are_few() && self.distinct? < rows => {
                Some(value.cast_str("string"))
            }
            Form::Number { .. } => {
                let (min, max) = self.range()?;
                let value = value.cast_str("double");
                let place = functions::floor((value.clone() - lit_double(min)) / lit_double((max - min) / BINS as f64));
                let place = function("least", [place.cast_str("bigint"), lit(BINS as i64 - 1)]);
                Some(functions::when(value.between(lit_double(min), lit_double(max)), place.cast_str("string")))
            }
            _ => None,
        }
    }

    fn distribution(&self, rows: u64, mut counted: Vec<(String, u64)>) -> Option<Histogram> {
        self.bin(rows, "c")?;
        let by_value =
            matches!(Form::of(&self.data_type), Form::Boolean | Form::Text) || self.are_few() && self.distinct? < rows;
        if by_value {
            counted.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            return Some(Histogram::Values(counted));
        }
        let (min, max) = self.range()?;
        let mut counts = vec![0; BINS];
        for (bin, rows) in counted {
            if let Some(count) = bin.parse::<usize>().ok().and_then(|bin| counts.get_mut(bin)) {
                *count += rows;
            }
        }
        Some(Histogram::Numbers { min, max, counts })
    }
}

async fn one_row(frame: &DataFrame, aggregates: impl IntoIterator<Item = Column>) -> Result<RecordBatch> {
    let batches = frame.agg(aggregates).collect().await?;
    batches.into_iter().find(|batch| batch.num_rows() > 0).ok_or_else(|| Error::Incomplete {
        operation: "a profile".into(),
        reason: "the server sent no row for an aggregate".into(),
    })
}

fn whole(batch: &RecordBatch, column: usize) -> Option<u64> {
    whole_at(batch, column, 0)
}

fn whole_at(batch: &RecordBatch, column: usize, row: usize) -> Option<u64> {
    let numbers = batch.column(column).as_primitive_opt::<Int64Type>()?;
    (row < numbers.len() && numbers.is_valid(row)).then(|| numbers.value(row).max(0) as u64)
}

fn text_at(batch: &RecordBatch, column: usize, row: usize) -> Option<String> {
    let texts = cast(batch.column(column), &ArrowType::Utf8).ok()?;
    let texts = texts.as_string_opt::<i32>()?;
    (row < texts.len() && texts.is_valid(row)).then(|| texts.value(row).to_owned())
}
