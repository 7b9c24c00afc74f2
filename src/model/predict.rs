//! Prediction columns, appended batch by batch.

use std::{collections::HashSet, sync::Arc};

use arrow::{
    array::{ArrayRef, BooleanArray, Float64Array, ListArray, RecordBatch, RecordBatchOptions, StringArray},
    buffer::{NullBuffer, OffsetBuffer},
    compute::filter_record_batch,
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use candle_core::Tensor;
use futures::{StreamExt, stream};
use serde::{Deserialize, Serialize};

use super::{Model, Task};
use crate::{
    Error, Result,
    nn::{DeviceName, Mode, Sequential},
    stream::RecordStream,
    tensor::{FeatureReader, OnInvalid},
};

/// Rows that go through the network at once, so that a large batch does not need its size in hidden values.
const ROWS_AT_ONCE: usize = 8192;

/// What the prediction columns are called; an empty name switches one off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Outputs {
    /// The scores before softmax, `array<double>`, one per class.
    pub raw_prediction: String,
    /// The chance of each class, `array<double>`.
    pub probability: String,
    /// The predicted class as a double from 0.
    pub prediction: String,
    /// The predicted class's name.
    pub predicted_label: String,
}

impl Default for Outputs {
    fn default() -> Self {
        Self {
            raw_prediction: "rawPrediction".into(),
            probability: "probability".into(),
            prediction: "prediction".into(),
            predicted_label: "predictedLabel".into(),
        }
    }
}

impl Outputs {
    /// The columns that are on, each with its type.
    pub fn columns(&self) -> Vec<(&str, DataType)> {
        let scores = || DataType::List(Arc::new(Field::new_list_field(DataType::Float64, false)));
        [
            (self.raw_prediction.as_str(), scores()),
            (self.probability.as_str(), scores()),
            (self.prediction.as_str(), DataType::Float64),
            (self.predicted_label.as_str(), DataType::Utf8),
        ]
        .into_iter()
        .filter(|(name, _)| !name.is_empty())
        .collect()
    }

    /// Refuses names that are given twice or exist already.
    ///
    /// # Errors
    /// [`Error::Schema`] with the column.
    pub fn check<'a>(&self, existing: impl IntoIterator<Item = &'a str>) -> Result<()> {
        let mut taken: HashSet<&str> = existing.into_iter().collect();
        for (name, _) in self.columns() {
            if !taken.insert(name) {
                let expected = "no column of this name: predictions go there";
                return Err(Error::schema(name, expected, "one; drop it or name the output otherwise"));
            }
        }
        Ok(())
    }
}

/// How to predict. The defaults name the columns as Spark ML does, on the processor, refusing rows that cannot be used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PredictOptions {
    /// What the columns are called.
    pub outputs: Outputs,
    /// One threshold per class: the class with the largest `probability / threshold` is predicted, as in Spark ML.
    pub thresholds: Option<Vec<f64>>,
    /// What to do with rows whose features cannot be used.
    pub on_invalid: OnInvalid,
    /// Where to compute. A model that was saved computes on the processor unless told otherwise.
    #[serde(skip)]
    pub device: DeviceName,
}

impl Default for PredictOptions {
    fn default() -> Self {
        Self {
            outputs: Outputs::default(),
            thresholds: None,
            on_invalid: OnInvalid::default(),
            device: DeviceName::Cpu,
        }
    }
}

impl PredictOptions {
    /// Checks the thresholds against the number of classes: none negative or NaN, at most one 0, and a sum above 0.
    ///
    /// # Errors
    /// [`Error::Param`] with the value and what is legal.
    pub fn check(&self, classes: usize) -> Result<()> {
        let Some(thresholds) = &self.thresholds else { return Ok(()) };
        let legal = thresholds.len() == classes
            && thresholds.iter().all(|t| *t >= 0.0 && t.is_finite())
            && thresholds.iter().filter(|t| **t == 0.0).count() <= 1
            && thresholds.iter().sum::<f64>() > 0.0;
        if legal {
            return Ok(());
        }
        let words = format!("{classes} finite numbers of at least 0, at most one of them 0, with a sum above 0");
        Err(Error::param("thresholds", format!("{thresholds:?}"), words))
    }
}

impl Model {
    /// Appends prediction columns to every batch; all other columns pass through as they are.
    ///
    /// Batches are scored one at a time on a blocking thread of the Tokio runtime, in order, so memory stays bounded by
    /// one batch. Dropping the stream stops the work and the stream behind it.
    ///
    /// # Errors
    /// [`Error::Schema`] when the feature columns are missing or mistyped or an output exists already, [`Error::Param`]
    /// for bad thresholds or a device that is not there. The stream then fails with [`Error::Data`] on the first batch
    /// that holds a row that cannot be used, unless such rows are skipped or kept.
    pub fn predict(&self, input: RecordStream, options: &PredictOptions) -> Result<RecordStream> {
        let Task::Classes { names: classes } = &self.task else {
            let value = format!("a network that learnt {}", self.task.describe());
            return Err(Error::param("model", value, "a classifier: only its outputs become columns yet"));
        };
        options.check(classes.len())?;
        let input_schema = input.schema();
        options.outputs.check(input_schema.fields().iter().map(|field| field.name().as_str()))?;
        let mut fields = input_schema.fields().to_vec();
        let nullable = options.on_invalid == OnInvalid::Keep;
        fields.extend(options.outputs.columns().into_iter().map(|(name, t)| Arc::new(Field::new(name, t, nullable))));
        let schema = Arc::new(Schema::new_with_metadata(fields, input_schema.metadata().clone()));
        let scorer = Scorer {
            network: self.network(&options.device.open()?)?,
            reader: FeatureReader::of(input_schema, &self.columns)?.with_width(self.spec.inputs.count())?,
            classes: classes.clone(),
            options: options.clone(),
            schema: schema.clone(),
        };
        let batches = stream::try_unfold((input, scorer), |(mut input, mut scorer)| async move {
            let Some(batch) = input.next().await.transpose()? else { return Ok(None) };
            let work = tokio::task::spawn_blocking(move || (scorer.score(&batch), scorer)).await;
            let (scored, scorer) = work.map_err(|e| Error::tensor("scoring a batch", e))?;
            Ok(Some((scored?, (input, scorer))))
        });
        Ok(RecordStream::new(schema, batches))
    }
}

/// Scores the batches of one stream.
struct Scorer {
    network: Sequential,
    reader: FeatureReader,
    classes: Vec<String>,
    options: PredictOptions,
    schema: SchemaRef,
}

impl Scorer {
    fn score(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        let mut block = self.reader.read(batch)?;
        let inputs = self.network.spec().inputs.count();
        if block.rows > 0 && self.reader.width().is_some_and(|width| width != inputs) {
            let found = format!("rows have {} values; the network takes {inputs}", block.width);
            return Err(Error::data(&self.reader.names(), found));
        }
        match self.options.on_invalid {
            OnInvalid::Error => {
                block.require_valid()?;
                self.append(batch, &block.values, None)
            }
            OnInvalid::Skip => {
                let Some(valid) = block.drop_invalid() else { return self.append(batch, &block.values, None) };
                let kept = filter_record_batch(batch, &BooleanArray::from(valid))
                    .map_err(|e| Error::arrow("leaving out rows that cannot be used", e))?;
                self.append(&kept, &block.values, None)
            }
            OnInvalid::Keep => {
                block.values.resize(block.rows * inputs, 0.0);
                let valid = (0..block.rows).map(|row| block.is_valid(row)).collect::<NullBuffer>();
                self.append(batch, &block.values, (valid.null_count() > 0).then_some(valid))
            }
        }
    }

    /// Runs the network over the rows and puts its columns behind those of the batch.
    fn append(&self, batch: &RecordBatch, features: &[f32], nulls: Option<NullBuffer>) -> Result<RecordBatch> {
        let classes = self.classes.len();
        let mut raw = Vec::with_capacity(batch.num_rows() * classes);
        for part in features.chunks(ROWS_AT_ONCE * self.network.spec().inputs.count()) {
            raw.extend(self.forward(part)?.into_iter().map(f64::from));
        }
        let mut probability = raw.clone();
        let mut predicted = Vec::with_capacity(batch.num_rows());
        for row in probability.chunks_exact_mut(classes) {
            softmax(row);
            predicted.push(argmax(row, self.options.thresholds.as_deref()));
        }
        let outputs = &self.options.outputs;
        let mut columns = batch.columns().to_vec();
        if !outputs.raw_prediction.is_empty() {
            columns.push(scores(raw, classes, nulls.clone())?);
        }
        if !outputs.probability.is_empty() {
            columns.push(scores(probability, classes, nulls.clone())?);
        }
        if !outputs.prediction.is_empty() {
            let values = predicted.iter().map(|&class| class as f64).collect::<Vec<_>>();
            columns.push(Arc::new(Float64Array::new(values.into(), nulls.clone())));
        }
        if !outputs.predicted_label.is_empty() {
            let is_null = |row| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
            let names = predicted.iter().enumerate();
            let names = names.map(|(row, &class)| (!is_null(row)).then_some(self.classes[class].as_str()));
            columns.push(Arc::new(names.collect::<StringArray>()));
        }
        // A batch without any column still has rows.
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .map_err(|e| Error::arrow("appending prediction columns", e))
    }

    /// `rows × inputs` features in, `rows × classes` raw scores out.
    fn forward(&self, features: &[f32]) -> Result<Vec<f32>> {
        let inputs = self.network.spec().inputs.count();
        Tensor::from_slice(features, (features.len() / inputs, inputs), self.network.device())
            .map_err(|e| Error::tensor("placing features on the device", e))
            .and_then(|x| self.network.forward(&x, Mode::Eval))?
            .flatten_all()
            .and_then(|raw| raw.to_vec1())
            .map_err(|e| Error::tensor("reading predictions from the device", e))
    }
}

/// Lists of `width` doubles each.
fn scores(values: Vec<f64>, width: usize, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
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

/// The first class with the largest probability, each divided by its threshold when there are any. A likely class with
/// threshold 0 wins, an impossible one (0 / 0) never does.
fn argmax(probability: &[f64], thresholds: Option<&[f64]>) -> usize {
    let scaled = |class: usize| probability[class] / thresholds.map_or(1.0, |t| t[class]);
    (0..probability.len())
        .fold((0, f64::NEG_INFINITY), |best, class| if scaled(class) > best.1 { (class, scaled(class)) } else { best })
        .0
}

#[cfg(test)]
mod tests;
