//! From a network's outputs to the columns that say what they mean.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Float64Array, ListArray, ListBuilder, StringArray, StringBuilder},
    buffer::{NullBuffer, OffsetBuffer},
    datatypes::{DataType, Field},
};

use super::{Outputs, PredictOptions};
use crate::{
    Error, Result,
    model::{Link, Scaling, Task},
};

/// Probability above which a label is predicted, unless thresholds say otherwise.
const EVEN: f64 = 0.5;

impl Outputs {
    /// Returns the columns that are on, each with its type.
    pub fn columns(&self, task: &Task) -> Vec<(&str, DataType)> {
        let list = |item| DataType::List(Arc::new(Field::new_list_field(item, false)));
        let scores = || list(DataType::Float64);
        let (several, labels) = match task {
            Task::Classes { .. } => (false, Some(DataType::Utf8)),
            Task::Labels { .. } => (true, Some(list(DataType::Utf8))),
            Task::Values { names, .. } => (names.len() != 1, None),
            Task::Input { .. } => (true, None),
        };
        let mut columns = Vec::new();
        if let Some(labels) = labels {
            columns.push((self.raw_prediction.as_str(), scores()));
            columns.push((self.probability.as_str(), scores()));
            columns.push((self.prediction.as_str(), if several { scores() } else { DataType::Float64 }));
            columns.push((self.predicted_label.as_str(), labels));
        } else {
            columns.push((self.prediction.as_str(), if several { scores() } else { DataType::Float64 }));
        }
        columns.push((self.invalid_reason.as_str(), DataType::Utf8));
        columns.retain(|(name, _)| !name.is_empty());
        columns
    }
}

/// Returns the columns that are on, in the order of [`Outputs::columns`]; `raw` holds `rows × outputs` values,
/// `reasons` why rows could not be used.
pub(super) fn columns(
    task: &Task,
    options: &PredictOptions,
    mut raw: Vec<f64>,
    width: usize,
    nulls: Option<NullBuffer>,
    mut reasons: Vec<Option<String>>,
) -> Result<Vec<ArrayRef>> {
    let rows = raw.len() / width;
    let outputs = &options.outputs;
    let thresholds = options.thresholds.as_deref();
    let numbers = |values: Vec<f64>| Arc::new(Float64Array::new(values.into(), nulls.clone())) as ArrayRef;
    let is_valid = |row| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
    let mut columns = Vec::new();
    match task {
        Task::Classes { names } => {
            let mut probabilities = raw.clone();
            probabilities.chunks_exact_mut(width).for_each(softmax);
            let predicted: Vec<usize> = probabilities.chunks_exact(width).map(|row| argmax(row, thresholds)).collect();
            if !outputs.raw_prediction.is_empty() {
                columns.push(lists(raw, width, nulls.clone())?);
            }
            if !outputs.probability.is_empty() {
                columns.push(lists(probabilities, width, nulls.clone())?);
            }
            if !outputs.prediction.is_empty() {
                columns.push(numbers(predicted.iter().map(|&class| class as f64).collect()));
            }
            if !outputs.predicted_label.is_empty() {
                let name = |(row, &class): (usize, &usize)| is_valid(row).then_some(names[class].as_str());
                columns.push(Arc::new(predicted.iter().enumerate().map(name).collect::<StringArray>()));
            }
        }
        Task::Labels { names } => {
            let probabilities: Vec<f64> = raw.iter().map(|score| Link::Sigmoid.value(*score)).collect();
            let threshold = |label: usize| thresholds.map_or(EVEN, |t| t[label]);
            let has = |(i, probability): (usize, &f64)| f64::from(u8::from(*probability > threshold(i % width)));
            let predicted: Vec<f64> = probabilities.iter().enumerate().map(has).collect();
            if !outputs.raw_prediction.is_empty() {
                columns.push(lists(raw, width, nulls.clone())?);
            }
            if !outputs.probability.is_empty() {
                columns.push(lists(probabilities, width, nulls.clone())?);
            }
            let of_names = (!outputs.predicted_label.is_empty()).then(|| label_lists(&predicted, names, is_valid));
            if !outputs.prediction.is_empty() {
                columns.push(lists(predicted, width, nulls.clone())?);
            }
            columns.extend(of_names);
        }
        Task::Values { scaling, link, .. } => {
            undo(&mut raw, width, *link, scaling.as_ref());
            if !outputs.prediction.is_empty() {
                columns.push(if width == 1 { numbers(raw) } else { lists(raw, width, nulls.clone())? });
            }
        }
        Task::Input { link } => {
            undo(&mut raw, width, *link, None);
            if !outputs.prediction.is_empty() {
                columns.push(lists(raw, width, nulls.clone())?);
            }
        }
    }
    if !outputs.invalid_reason.is_empty() {
        reasons.resize(rows, None);
        columns.push(Arc::new(StringArray::from(reasons)));
    }
    Ok(columns)
}

/// Outputs as values in the targets' own units.
fn undo(raw: &mut [f64], width: usize, link: Link, scaling: Option<&Scaling>) {
    for (i, value) in raw.iter_mut().enumerate() {
        *value = link.value(*value);
        if let Some(scaling) = scaling {
            *value = scaling.undo(i % width, *value);
        }
    }
}

/// Returns the names of the labels that each row has.
fn label_lists(predicted: &[f64], names: &[String], is_valid: impl Fn(usize) -> bool) -> ArrayRef {
    let item = Arc::new(Field::new_list_field(DataType::Utf8, false));
    let mut lists = ListBuilder::new(StringBuilder::new()).with_field(item);
    for (row, labels) in predicted.chunks_exact(names.len().max(1)).enumerate() {
        let had = names.iter().zip(labels).filter(|(_, has)| **has > 0.0 && is_valid(row));
        had.for_each(|(name, _)| lists.values().append_value(name));
        lists.append(is_valid(row));
    }
    Arc::new(lists.finish())
}

/// Lists of `width` doubles each.
fn lists(values: Vec<f64>, width: usize, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
    let offsets = OffsetBuffer::from_repeated_length(width, values.len() / width);
    let field = Arc::new(Field::new_list_field(DataType::Float64, false));
    let list = ListArray::try_new(field, offsets, Arc::new(Float64Array::from(values)), nulls);
    Ok(Arc::new(list.map_err(|e| Error::arrow("building a column of scores", e))?))
}

fn softmax(row: &mut [f64]) {
    let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    row.iter_mut().for_each(|v| *v = (*v - max).exp());
    let sum: f64 = row.iter().sum();
    row.iter_mut().for_each(|v| *v /= sum);
}

/// Returns the first class with the largest probability, each divided by its threshold when there are any. A likely
/// class with threshold 0 wins, an impossible one (0 / 0) never does.
pub(super) fn argmax(probability: &[f64], thresholds: Option<&[f64]>) -> usize {
    let scaled = |class: usize| probability[class] / thresholds.map_or(1.0, |t| t[class]);
    (0..probability.len())
        .fold((0, f64::NEG_INFINITY), |best, class| if scaled(class) > best.1 { (class, scaled(class)) } else { best })
        .0
}
