//! A network trained to reconstruct its input: codes, reconstructions and their errors, appended batch by batch.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, BooleanArray, Float32Array, Float64Array, ListArray, RecordBatch, RecordBatchOptions, StringArray,
    },
    buffer::{NullBuffer, OffsetBuffer},
    compute::filter_record_batch,
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::{History, append};
use crate::{
    DataProblem, Error, Result,
    nn::{DeviceName, Mode, NetworkSpec, Sequential, Weights},
    stream::{RecordStream, plain_schema},
    tensor::{Columns, FeatureReader, OnInvalid, rows_at_once},
};

/// Rows that go through the network at once.
const ROWS_AT_ONCE: usize = 4096;

/// A trained network whose output resembles its input, and the layer whose output is the code.
#[derive(Debug, Clone, PartialEq)]
pub struct Encoder {
    spec: NetworkSpec,
    weights: Weights,
    columns: Columns,
    layer_index: usize,
    history: History,
}

impl From<&Encoder> for Weights {
    fn from(encoder: &Encoder) -> Self {
        encoder.weights.clone()
    }
}

/// Names of the columns of an [`Encoder`]; an empty name switches one off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Encoded {
    /// The output of the code's layer, `array<float>`.
    pub code: String,
    /// Reconstruction from the code, `array<float>`, as many values as the input; off unless named.
    pub reconstruction: String,
    /// The mean squared difference of a value from its reconstruction, a double: high for rows unlike the training
    /// rows.
    pub error: String,
    /// Why a row that is [kept](OnInvalid::Keep) could not be used, such as "column `x` is null"; off unless named.
    pub invalid_reason: String,
}

impl Default for Encoded {
    fn default() -> Self {
        Self {
            code: "code".into(),
            reconstruction: String::new(),
            error: "reconstructionError".into(),
            invalid_reason: String::new(),
        }
    }
}

impl Encoded {
    /// Returns the columns that are on, each with its type.
    pub fn columns(&self) -> Vec<(&str, DataType)> {
        let list = || DataType::List(Arc::new(Field::new_list_field(DataType::Float32, false)));
        let columns = [
            (self.code.as_str(), list()),
            (self.reconstruction.as_str(), list()),
            (self.error.as_str(), DataType::Float64),
            (self.invalid_reason.as_str(), DataType::Utf8),
        ];
        columns.into_iter().filter(|(name, _)| !name.is_empty()).collect()
    }

    /// Refuses names that are given twice or exist already.
    ///
    /// # Errors
    /// [`Error::Schema`] with the column.
    pub fn check<'a>(&'a self, existing: impl IntoIterator<Item = &'a str>) -> Result<()> {
        let names = self.columns().into_iter().map(|(name, _)| name);
        append::check_names(existing, names, "an encoder's output goes")
    }
}

/// Encoding options. The defaults compute on the processor and refuse rows that cannot be used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EncodeOptions {
    /// Names of the columns.
    pub outputs: Encoded,
    /// Policy for rows whose features cannot be used; those that are kept have null outputs.
    pub on_invalid: OnInvalid,
    /// Where to compute. A model that was saved computes on the processor unless told otherwise.
    #[serde(skip)]
    pub device: DeviceName,
}

impl Default for EncodeOptions {
    fn default() -> Self {
        Self { outputs: Encoded::default(), on_invalid: OnInvalid::default(), device: DeviceName::Cpu }
    }
}

impl Encoder {
    /// Puts an encoder together. The code is what comes out of the first `layer_index` layers.
    ///
    /// # Errors
    /// [`Error::Network`] when the weights do not fit the network, or it gives another number of values than it takes;
    /// [`Error::Param`] when there are not so many layers.
    pub fn new(
        spec: NetworkSpec,
        weights: Weights,
        columns: Columns,
        layer_index: usize,
        history: History,
    ) -> Result<Self> {
        spec.check()?;
        if spec.inputs.ragged || spec.outputs != spec.inputs.count() {
            return Err(Error::Network {
                layer: "output".into(),
                got: format!("{} values a row", spec.outputs),
                fits: format!("an auto-encoder gives as many as it takes, {}", spec.inputs),
            });
        }
        spec.split(&weights, layer_index)?;
        Ok(Self { spec, weights, columns, layer_index, history })
    }

    /// Returns the network, from input to reconstruction.
    pub fn spec(&self) -> &NetworkSpec {
        &self.spec
    }

    /// Returns the weights, sorted by name.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// Returns the columns it was trained on; encoding needs its features.
    pub fn columns(&self) -> &Columns {
        &self.columns
    }

    /// Returns the number of layers up to the code.
    pub fn layer_index(&self) -> usize {
        self.layer_index
    }

    /// Returns the record of the training run.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Values of a code.
    pub fn code_width(&self) -> usize {
        self.spec.shapes().map_or(0, |shapes| shapes[self.layer_index].count())
    }

    /// Returns the layers up to the code, with their weights.
    ///
    /// # Errors
    /// As [`NetworkSpec::split`]; an encoder that was put together has no reason to fail.
    pub fn first_part(&self) -> Result<(NetworkSpec, Weights)> {
        let [first, _] = self.spec.split(&self.weights, self.layer_index)?;
        Ok(first)
    }

    /// Sets another layer's output as the code.
    ///
    /// # Errors
    /// [`Error::Param`] when there are not so many layers.
    pub fn with_layer_index(self, layer_index: usize) -> Result<Self> {
        self.spec.split(&self.weights, layer_index)?;
        Ok(Self { layer_index, ..self })
    }

    /// Appends the columns of `options` to every batch; all other columns pass through as they are.
    ///
    /// Batches are encoded one at a time on a blocking thread of the Tokio runtime, in order, so memory stays bounded
    /// by one batch. Dropping the stream stops the work and the stream behind it.
    ///
    /// # Errors
    /// [`Error::Schema`] when the feature columns are missing or mistyped or an output exists already, [`Error::Param`]
    /// for a missing device. The stream then fails with [`Error::Data`] on the first batch that holds a row that
    /// cannot be used, unless such rows are skipped or kept.
    pub fn encode(&self, input: RecordStream, options: &EncodeOptions) -> Result<RecordStream> {
        let (schema, work) = self.work(input.schema(), options)?;
        let input = input.in_slices(self.rows_at_once());
        Ok(append::batch_by_batch(schema, input, work, BatchEncoder::batch))
    }

    /// Appends the columns to one batch, on this thread. The network is put on its device for this batch alone: many
    /// small batches are better [streamed](Self::encode), or encoded by a [`RowScorer`](crate::ml::RowScorer).
    ///
    /// # Errors
    /// As [`encode`](Self::encode) and its stream.
    pub fn encode_batch(&self, batch: &RecordBatch, options: &EncodeOptions) -> Result<RecordBatch> {
        self.batch_encoder(batch.schema_ref(), options)?(batch)
    }

    /// Appends the columns to batches of a schema, with the network on its device once for all of them.
    pub(crate) fn batch_encoder(
        &self,
        input: &SchemaRef,
        options: &EncodeOptions,
    ) -> Result<impl FnMut(&RecordBatch) -> Result<RecordBatch> + Send + 'static> {
        let plain = plain_schema(input);
        let (schema, work) = self.work(&plain, options)?;
        Ok(append::batches(plain != *input, schema, self.rows_at_once(), work, BatchEncoder::batch))
    }

    fn rows_at_once(&self) -> usize {
        rows_at_once(4 * self.spec.inputs.count())
    }

    /// Returns the worker that encodes batches of a schema, and the schema of the encoded ones.
    fn work(&self, before: &Schema, options: &EncodeOptions) -> Result<(SchemaRef, BatchEncoder)> {
        options.outputs.check(before.fields().iter().map(|field| field.name().as_str()))?;
        let schema = append::appended(before, options.outputs.columns(), options.on_invalid == OnInvalid::Keep);
        let device = options.device.open()?;
        let [first, second] = self.spec.split(&self.weights, self.layer_index)?;
        let outputs = &options.outputs;
        let decodes = !(outputs.reconstruction.is_empty() && outputs.error.is_empty());
        let work = BatchEncoder {
            encoder: Sequential::load(&first.0, &first.1, &device)?,
            decoder: decodes.then(|| Sequential::load(&second.0, &second.1, &device)).transpose()?,
            reader: FeatureReader::of(before, &self.columns)?.with_width(self.spec.inputs.count())?,
            options: options.clone(),
            schema: schema.clone(),
            device,
        };
        Ok((schema, work))
    }
}

/// Encodes the batches of one stream.
struct BatchEncoder {
    encoder: Sequential,
    decoder: Option<Sequential>,
    reader: FeatureReader,
    options: EncodeOptions,
    schema: SchemaRef,
    device: Device,
}

/// Outputs for some rows.
#[derive(Default)]
struct Made {
    codes: Vec<f32>,
    reconstructions: Vec<f32>,
    errors: Vec<f64>,
}

impl BatchEncoder {
    fn batch(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        let mut block = self.reader.read(batch)?;
        let inputs = self.encoder.spec().inputs.count();
        if block.rows > 0 && self.reader.width().is_some_and(|width| width != inputs) {
            return Err(Error::data(
                &self.reader.names(),
                DataProblem::Length { expected: inputs, found: block.width },
            ));
        }
        match self.options.on_invalid {
            OnInvalid::Error => {
                block.require_valid()?;
                self.append(batch, &block.values, None, Vec::new())
            }
            OnInvalid::Skip => {
                let Some(valid) = block.drop_invalid() else {
                    return self.append(batch, &block.values, None, Vec::new());
                };
                let kept = filter_record_batch(batch, &BooleanArray::from(valid))
                    .map_err(|e| Error::arrow("leaving out rows that cannot be used", e))?;
                self.append(&kept, &block.values, None, Vec::new())
            }
            OnInvalid::Keep => {
                block.values.resize(block.rows * inputs, 0.0);
                let valid = (0..block.rows).map(|row| block.is_valid(row)).collect::<NullBuffer>();
                self.append(batch, &block.values, (valid.null_count() > 0).then_some(valid), block.reasons())
            }
        }
    }

    fn append(
        &self,
        batch: &RecordBatch,
        rows: &[f32],
        nulls: Option<NullBuffer>,
        mut reasons: Vec<Option<String>>,
    ) -> Result<RecordBatch> {
        let inputs = self.encoder.spec().inputs.count();
        let mut made = Made::default();
        for part in rows.chunks(ROWS_AT_ONCE * inputs) {
            self.make(part, &mut made)?;
        }
        let outputs = &self.options.outputs;
        let mut columns = batch.columns().to_vec();
        if !outputs.code.is_empty() {
            columns.push(lists(made.codes, self.encoder.spec().outputs, nulls.clone())?);
        }
        if !outputs.reconstruction.is_empty() {
            columns.push(lists(made.reconstructions, inputs, nulls.clone())?);
        }
        if !outputs.error.is_empty() {
            columns.push(Arc::new(Float64Array::new(made.errors.into(), nulls)));
        }
        if !outputs.invalid_reason.is_empty() {
            reasons.resize(batch.num_rows(), None);
            columns.push(Arc::new(StringArray::from(reasons)));
        }
        // A batch without any column still has rows.
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .map_err(|e| Error::arrow("appending an encoder's columns", e))
    }

    fn make(&self, rows: &[f32], made: &mut Made) -> Result<()> {
        let inputs = self.encoder.spec().inputs.count();
        let x = Tensor::from_slice(rows, (rows.len() / inputs, inputs), &self.device)
            .map_err(|e| Error::tensor("placing features on the device", e))?;
        let code = self.encoder.forward(&x, Mode::Eval)?;
        let host = |tensor: &Tensor| {
            let values = tensor.flatten_all().and_then(|values| values.to_vec1::<f32>());
            values.map_err(|e| Error::tensor("reading codes from the device", e))
        };
        if !self.options.outputs.code.is_empty() {
            made.codes.extend(host(&code)?);
        }
        let Some(decoder) = &self.decoder else { return Ok(()) };
        let back = host(&decoder.forward(&code, Mode::Eval)?)?;
        let errors = rows.chunks_exact(inputs).zip(back.chunks_exact(inputs)).map(|(x, y)| {
            let squares = x.iter().zip(y).map(|(&x, &y)| (f64::from(x) - f64::from(y)).powi(2));
            squares.sum::<f64>() / inputs as f64
        });
        made.errors.extend(errors);
        if !self.options.outputs.reconstruction.is_empty() {
            made.reconstructions.extend(back);
        }
        Ok(())
    }
}

/// Lists of `width` numbers each.
fn lists(values: Vec<f32>, width: usize, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
    let offsets = OffsetBuffer::from_repeated_length(width, values.len() / width.max(1));
    let field = Arc::new(Field::new_list_field(DataType::Float32, false));
    let list = ListArray::try_new(field, offsets, Arc::new(Float32Array::from(values)), nulls);
    Ok(Arc::new(list.map_err(|e| Error::arrow("building a column of codes", e))?))
}

#[cfg(test)]
mod tests;
