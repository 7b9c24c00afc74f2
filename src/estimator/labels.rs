//! The columns that labels come from: one class, or numbers from one column or several.

use arrow::{
    array::{Array, AsArray},
    datatypes::Float64Type,
};
use spark_connect::{Column, lit, lit_double, types::DataType};

use super::features::{is_number, typed};
use crate::{
    DataProblem, Error, Result,
    dataframe::{DataFrame, Schema, column, function, is_vector, vector_to_array},
    ml::attribute::{Attribute, AttributeGroup},
    model::Scaling,
    tensor::{
        ElementType, LabelKind,
        codec::{Dtype, TensorType},
        reader::{Reader, TensorReader},
    },
};

/// Where labels come from.
#[derive(Debug, Clone)]
pub(super) struct Labels {
    /// Name of the column on the wire.
    name: String,
    sources: Vec<LabelSource>,
    kind: LabelKind,
}

#[derive(Debug, Clone)]
struct LabelSource {
    name: String,
    form: LabelForm,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum LabelForm {
    Number,
    Array,
    Vector,
}

/// Finds the columns and checks their types. Only numbers may come from several columns, or from arrays and vectors.
pub(super) fn find(schema: &Schema, name: &str, names: &[String], kind: LabelKind) -> Result<Labels> {
    let one = |source: &String| -> Result<LabelSource> {
        if kind == LabelKind::Class {
            typed(schema, source, "a number (the class, counted from 0)", is_number)?;
            return Ok(LabelSource { name: source.clone(), form: LabelForm::Number });
        }
        let alone = names.len() == 1;
        let form = match &schema.require(source)?.data_type {
            number if is_number(number) => LabelForm::Number,
            DataType::Array { element_type, .. } if alone && is_number(element_type) => LabelForm::Array,
            vector if alone && is_vector(vector) => LabelForm::Vector,
            other => {
                let fits = if alone { "a number, an array of numbers or a vector" } else { "a number" };
                return Err(Error::schema(source, fits, other.simple_string()));
            }
        };
        Ok(LabelSource { name: source.clone(), form })
    };
    let sources = names.iter().map(one).collect::<Result<Vec<_>>>()?;
    if sources.is_empty() {
        return Err(Error::param("labelCol", "[]", "at least one column"));
    }
    Ok(Labels { name: name.to_owned(), sources, kind })
}

impl Labels {
    /// Returns whether a label is several numbers.
    pub(super) fn several(&self) -> bool {
        self.sources.len() > 1 || self.sources.iter().any(|source| source.form != LabelForm::Number)
    }

    /// Returns the column that travels.
    pub(super) fn column(&self) -> Column {
        let value = match self.sources.as_slice() {
            [only] => only.value(),
            several => function("array", several.iter().map(LabelSource::value)),
        };
        value.alias(&self.name)
    }

    /// Reads that column, as readers of inputs do theirs.
    pub(super) fn reader(&self) -> Reader {
        match self.sources.as_slice() {
            _ if self.kind == LabelKind::Class => TensorReader::number(&self.name).element(ElementType::U32).into(),
            [_] if !self.several() => TensorReader::number(&self.name).element(ElementType::F64).into(),
            [_] => TensorReader::new(&self.name).element(ElementType::F64).into(),
            several => {
                let targets = TensorType::new(Dtype::Float64, [several.len()]);
                TensorReader::new(&self.name).of(targets).element(ElementType::F64).into()
            }
        }
    }

    /// Returns the names of the classes or targets, as far as columns or metadata tell.
    pub(super) fn names(&self, schema: &Schema) -> Option<Vec<String>> {
        let [only] = self.sources.as_slice() else {
            return Some(self.sources.iter().map(|source| source.name.clone()).collect());
        };
        let metadata = &schema.require(&only.name).ok()?.metadata;
        match (self.kind, only.form) {
            (LabelKind::Class, _) => Attribute::from_metadata(metadata)?.classes().map(<[String]>::to_vec),
            (_, LabelForm::Number) => Some(vec![only.name.clone()]),
            _ => match AttributeGroup::from_metadata(metadata)? {
                AttributeGroup::Attributes(all) => all.into_iter().map(|attribute| attribute.name).collect(),
                AttributeGroup::Size(_) => None,
            },
        }
    }

    /// Where the targets lie and how far apart, by one aggregate; rows that are null, NaN or infinite are left out. A
    /// target that is always the same is only moved.
    pub(super) async fn scaling(&self, frame: &DataFrame) -> Result<Scaling> {
        let values: Vec<Column> = match self.sources.as_slice() {
            [only] if self.several() => {
                let array = only.value();
                let width = self.width(frame, array.clone()).await?;
                // Rows of fewer numbers give null in this expression and are refused where they are read.
                (1..=width)
                    .map(|i| function("try_element_at", [array.clone(), lit(i.into()).cast(DataType::Integer)]))
                    .collect()
            }
            sources => sources.iter().map(LabelSource::value).collect(),
        };
        let finite = |value: &Column| {
            let size = function("abs", [value.clone()]);
            let usable = size.lt(lit_double(f64::INFINITY));
            spark_connect::functions::when(usable, value.clone())
        };
        let statistics = values.iter().enumerate().flat_map(|(i, value)| {
            let of = |name, short: &str| function(name, [finite(value)]).alias(&format!("{short}{i}"));
            [of("avg", "m"), of("stddev_pop", "s")]
        });
        let batches = frame.agg(statistics).collect().await?;
        let Some(batch) = batches.iter().find(|batch| batch.num_rows() > 0) else {
            return Err(Error::data(&self.name, DataProblem::NoRows));
        };
        let number = |i: usize| {
            let statistics = batch.column(i).as_primitive_opt::<Float64Type>();
            statistics
                .filter(|statistics| statistics.is_valid(0))
                .map(|statistics| statistics.value(0))
                .filter(|v| v.is_finite())
        };
        let (mut mean, mut std) = (Vec::new(), Vec::new());
        for i in 0..values.len() {
            mean.push(number(2 * i).unwrap_or(0.0));
            std.push(number(2 * i + 1).filter(|std| *std > 0.0).unwrap_or(1.0));
        }
        Ok(Scaling { mean, std })
    }

    /// Returns the count of numbers of the longest label.
    async fn width(&self, frame: &DataFrame, array: Column) -> Result<i32> {
        let longest = function("max", [function("size", [array])]).cast_str("double").alias("n");
        let batches = frame.agg([longest]).collect().await?;
        let found = batches.iter().filter(|batch| batch.num_rows() > 0).find_map(|batch| {
            let n = batch.column(0).as_primitive_opt::<Float64Type>()?;
            n.is_valid(0).then(|| n.value(0))
        });
        match found {
            Some(n) if (1.0..=10_000.0).contains(&n) => Ok(n as i32),
            Some(n) => {
                let what = "targets a row".into();
                let remedy = "split the array into several columns";
                Err(Error::data(&self.name, DataProblem::TooLarge { what, size: n as u64, limit: 10_000, remedy }))
            }
            None => Err(Error::data(&self.name, DataProblem::NoValues { what: "target" })),
        }
    }
}

impl LabelSource {
    fn value(&self) -> Column {
        let value = column(&self.name);
        match self.form {
            LabelForm::Number => value.cast_str("double"),
            LabelForm::Array => value.cast_str("array<double>"),
            LabelForm::Vector => vector_to_array(value, "float64"),
        }
    }
}
