//! Record readers over the cluster's rows: fitted on the cluster, and fed exactly the columns that they declare.

use arrow::{
    array::{Array, AsArray},
    datatypes::Int64Type,
};
use spark_connect::{Column, column::lit, lit_string, types::DataType};

use crate::{
    DataProblem, Error, Result,
    dataframe::{DataFrame, Schema, column, function, is_vector, texts, vector_to_array},
    ml::attribute::AttributeGroup,
    tensor::{
        Columns,
        codec::{Dtype, TensorType},
        reader::{ColumnReader, Input, OneHotReader, PathLabel, Reader, Readers, TensorReader, TextReader},
    },
};

/// Names more than this are surely no classes or categories.
const MOST_NAMES: usize = 10_000;

/// Pattern by which Spark finds words; in Java's patterns `\w` is ASCII unless set otherwise.
const WORDS: &str = r"(?U)\w+";

/// Checks that the columns exist, before anything runs.
pub(super) fn check(schema: &Schema, needed: &[&str]) -> Result<()> {
    needed.iter().try_for_each(|name| schema.require(name).map(drop))
}

/// Returns the readers with what they were not given: classes, words, categories and sizes, by one aggregate each.
pub(super) async fn fit(frame: &DataFrame, schema: &Schema, readers: &Readers) -> Result<Readers> {
    let mut fitted = Readers { inputs: Vec::new(), label: None, origin: readers.origin.clone() };
    for Input { name, reader } in &readers.inputs {
        fitted.inputs.push(Input { name: name.clone(), reader: fit_one(frame, schema, reader).await? });
    }
    if let Some(label) = &readers.label {
        fitted.label = Some(fit_one(frame, schema, label).await?);
    }
    Ok(fitted)
}

async fn fit_one(frame: &DataFrame, schema: &Schema, reader: &Reader) -> Result<Reader> {
    let source = reader.columns().first().copied().unwrap_or_default().to_owned();
    Ok(match reader {
        Reader::PathLabel(label) if label.names().is_empty() => {
            let found = classes(frame, &source, label)?;
            let names = names(&found, &source, "names of classes in its paths").await?;
            label.clone().classes(names).into()
        }
        Reader::OneHot(one_hot) if one_hot.names().is_empty() => {
            let found = categories(frame, &source);
            let names = names(&found, &source, "category").await?;
            OneHotReader::clone(one_hot).categories(names).into()
        }
        Reader::Text(text) if text.words().is_empty() => {
            let words = collect(&vocabulary(frame, &source, text)).await?;
            if words.is_empty() {
                return Err(Error::data(&source, DataProblem::NoValues { what: "word" }));
            }
            text.clone().vocabulary(words).into()
        }
        Reader::Tensor(tensor) if tensor.declared().is_none() => match tensor_type(frame, schema, &source).await? {
            Some(found) => tensor.clone().of(found).into(),
            None => reader.clone(),
        },
        fitted => fitted.clone(),
    })
}

fn classes(frame: &DataFrame, source: &str, label: &PathLabel) -> Result<DataFrame> {
    label.regex()?;
    let name = function("regexp_extract", [column(source), lit_string(label.expression()), lit(1)]);
    Ok(frame.select([name.alias("name")]).filter_expr("name != ''").distinct())
}

fn categories(frame: &DataFrame, source: &str) -> DataFrame {
    frame.select([column(source).cast_str("string").alias("name")]).filter_expr("name IS NOT NULL").distinct()
}

fn vocabulary(frame: &DataFrame, source: &str, text: &TextReader) -> DataFrame {
    let words = function("regexp_extract_all", [function("lower", [column(source)]), lit_string(WORDS), lit(0)]);
    let words = frame.select([function("explode", [words]).alias("word")]).group_by(["word"]).count();
    let most = i32::try_from(text.limit()).unwrap_or(i32::MAX);
    words.order_by([column("count").desc(), column("word").asc()]).limit(most).select(["word"])
}

/// Returns a few names, sorted.
async fn names(found: &DataFrame, source: &str, what: &'static str) -> Result<Vec<String>> {
    let names = collect(&found.order_by(["name"]).limit(MOST_NAMES as i32 + 1)).await?;
    match names.len() {
        0 => Err(Error::data(source, DataProblem::NoValues { what })),
        n if n > MOST_NAMES => {
            let what = format!("different values as {what}");
            let remedy = "hash them, or group the rare ones";
            Err(Error::data(source, DataProblem::TooLarge { what, size: n as u64, limit: MOST_NAMES as u64, remedy }))
        }
        _ => Ok(names),
    }
}

async fn collect(words: &DataFrame) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for batch in words.collect().await? {
        all.extend(texts(&batch, 0)?.iter().flatten().map(str::to_owned));
    }
    Ok(all)
}

/// Returns the tensor type of a column by its metadata or its type, or else by the length of its longest row.
async fn tensor_type(frame: &DataFrame, schema: &Schema, source: &str) -> Result<Option<TensorType>> {
    let field = schema.require(source)?;
    let metadata = field.metadata.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    if let Some(declared) = TensorType::from_metadata(source, &metadata)? {
        return Ok(Some(declared));
    }
    let array = match &field.data_type {
        vector if is_vector(vector) => match AttributeGroup::from_metadata(&field.metadata) {
            Some(group) => return Ok(Some(TensorType::new(Dtype::Float32, [group.size()]))),
            None => vector_to_array(column(source), "float64"),
        },
        DataType::Array { element_type, .. } if is_number(element_type) => column(source),
        number if is_number(number) => return Ok(Some(TensorType::new(Dtype::Float32, []))),
        DataType::Array { element_type, .. } => return steps(frame, source, element_type).await,
        _ => return Ok(None),
    };
    let longest = function("max", [function("size", [array])]).cast_str("bigint").alias("n");
    let batches = frame.agg([longest]).collect().await?;
    let lengths = batches.iter().filter(|batch| batch.num_rows() > 0).map(|batch| batch.column(0));
    let length = lengths.filter(|n| n.is_valid(0)).map(|n| n.as_primitive::<Int64Type>().value(0)).max();
    match length.and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0) {
        Some(length) => Ok(Some(TensorType::new(Dtype::Float32, [length]))),
        None => Err(Error::data(source, DataProblem::UnknownShape { reason: "no row has a value".into() })),
    }
}

/// Returns the tensor type of an array of arrays or of structs of numbers: sequences, whose steps are as long as the
/// longest.
async fn steps(frame: &DataFrame, source: &str, step: &DataType) -> Result<Option<TensorType>> {
    let width = match step {
        DataType::Struct { fields } if fields.iter().all(|field| is_number(&field.data_type)) => fields.len(),
        DataType::Array { element_type, .. } if is_number(element_type) => {
            let longest = spark_connect::functions::transform(column(source), |x| function("size", [x[0].clone()]));
            let longest = function("max", [function("array_max", [longest])]).cast_str("bigint").alias("n");
            let batches = frame.agg([longest]).collect().await?;
            let lengths = batches.iter().filter(|batch| batch.num_rows() > 0).map(|batch| batch.column(0));
            let length = lengths.filter(|n| n.is_valid(0)).map(|n| n.as_primitive::<Int64Type>().value(0)).max();
            match length.and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0) {
                Some(length) => length,
                None => {
                    let reason = "no row has a step with a value".into();
                    return Err(Error::data(source, DataProblem::UnknownShape { reason }));
                }
            }
        }
        _ => return Ok(None),
    };
    Ok(Some(TensorType::ragged(Dtype::Float32, [width])))
}

fn is_number(data_type: &DataType) -> bool {
    use DataType::{Boolean, Byte, Decimal, Double, Float, Integer, Long, Short};
    matches!(data_type, Boolean | Byte | Short | Integer | Long | Float | Double | Decimal { .. })
}

/// Selects exactly the columns that the readers declare, the label, the weight and the mark; numbers that are wider
/// than single precision are cast on the cluster.
pub(super) fn select(
    frame: &DataFrame,
    schema: &Schema,
    columns: &Columns,
    readers: &Readers,
    others: impl Iterator<Item = Column>,
) -> Result<DataFrame> {
    let mut selected = Vec::new();
    let mut names = readers.columns();
    for name in columns.weight.as_deref().into_iter().chain(columns.validation.as_deref()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    for name in names {
        let field = schema.require(name)?;
        let reads = |reader: &&Reader| reader.columns().contains(&name);
        let mut readers =
            readers.inputs.iter().map(|input| &input.reader).chain(&readers.label).filter(reads).peekable();
        // Ids beyond single precision, and columns that other readers take uncast, travel uncast.
        let castable = readers.peek().is_some()
            && readers.all(|reader| matches!(reader, Reader::Tensor(tensor) if castable(tensor)));
        let value = if castable { narrowed(name, &field.data_type) } else { column(name) };
        selected.push(value.alias(name));
    }
    selected.extend(others);
    Ok(frame.select(selected))
}

fn castable(tensor: &TensorReader) -> bool {
    tensor.gives_single()
}

/// Doubles, longs and decimals as single precision; vectors as arrays of it.
fn narrowed(name: &str, data_type: &DataType) -> Column {
    match single(data_type) {
        _ if is_vector(data_type) => vector_to_array(column(name), "float32"),
        Some(single) => column(name).cast_str(&single),
        None => column(name),
    }
}

/// Returns the narrower type, for numbers and arrays of them however deep.
fn single(data_type: &DataType) -> Option<String> {
    match data_type {
        DataType::Double | DataType::Long | DataType::Decimal { .. } => Some("float".into()),
        DataType::Array { element_type, .. } => single(element_type).map(|item| format!("array<{item}>")),
        _ => None,
    }
}
