//! Batches through the network: features read, outputs computed, columns appended.

use arrow::{
    array::{BooleanArray, RecordBatch, RecordBatchOptions},
    buffer::NullBuffer,
    compute::filter_record_batch,
    datatypes::{Schema, SchemaRef},
};
use candle_core::Tensor;

use super::{PredictOptions, columns};
use crate::{
    DataProblem, Error, Result,
    model::{Task, TrainedNetwork},
    nn::{Csr, Mode, Sequential, Tape},
    tensor::{
        FeatureReader, OnInvalid, SparseBlock, SparseRows,
        reader::{ReadRows, RecordReader},
        rows_at_once,
    },
};

/// Rows that go through the network at once, so that a large batch does not need its size in hidden values.
pub(super) const ROWS_AT_ONCE: usize = 8192;

/// Sequences likewise, each padded to the longest of them.
const SEQUENCES_AT_ONCE: usize = 256;

/// Scores the batches of one stream.
pub(super) struct Scorer {
    network: Sequential,
    tape: Tape,
    reader: FeatureInput,
    task: Task,
    options: PredictOptions,
    schema: SchemaRef,
}

/// Reader of the features.
enum FeatureInput {
    /// Rows of one shape.
    Rows(FeatureReader),
    /// Rows of mostly zeros.
    Sparse(FeatureReader),
    /// Sequences of any length.
    Sequences(RecordReader),
}

impl Scorer {
    /// Scores batches of schema `input` into ones of `schema`.
    pub(super) fn new(
        model: &TrainedNetwork,
        options: &PredictOptions,
        input: &Schema,
        schema: SchemaRef,
    ) -> Result<Self> {
        let inputs = &model.spec.inputs;
        let network = model.network(&options.device.open()?)?;
        let reader = match (&model.columns.readers, inputs.ragged) {
            (_, false) => {
                let rows = FeatureReader::of(input, &model.columns)?.with_width(inputs.count())?;
                let sparse = model.columns.sparse && network.takes_sparse();
                if sparse { FeatureInput::Sparse(rows) } else { FeatureInput::Rows(rows) }
            }
            (Some(readers), true) => {
                let reader = RecordReader::inputs(input, readers)?;
                match reader.fields() {
                    [only] if only.shape.ragged && only.count() == inputs.count() => FeatureInput::Sequences(reader),
                    fields => {
                        let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
                        let found = "rows of another shape, or several columns";
                        return Err(Error::schema(names.join(", "), format!("sequences of shape {inputs}"), found));
                    }
                }
            }
            (None, true) => {
                let expected = "a reader of the column of sequences, which the model lacks";
                return Err(Error::schema(model.columns.features.join(", "), expected, "none"));
            }
        };
        Ok(Self { network, tape: Tape::default(), reader, task: model.task.clone(), options: options.clone(), schema })
    }

    pub(super) fn score(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        match &mut self.reader {
            FeatureInput::Sequences(reader) => {
                let rows = reader.read(batch)?;
                self.sequences(batch, rows)
            }
            FeatureInput::Rows(_) => self.rows(batch),
            FeatureInput::Sparse(reader) => {
                let block = reader.read_sparse(batch)?;
                self.sparse(batch, block)
            }
        }
    }

    /// Returns the number of rows scored at a time: as many as are decoded in bounded memory.
    pub(super) fn rows_at_once(&self) -> usize {
        match self.reader {
            FeatureInput::Sparse(_) => ROWS_AT_ONCE,
            _ => rows_at_once(4 * self.network.spec().inputs.count()),
        }
    }

    fn sparse(&mut self, batch: &RecordBatch, block: SparseBlock) -> Result<RecordBatch> {
        let inputs = self.network.spec().inputs.count();
        let FeatureInput::Sparse(reader) = &self.reader else { return Ok(batch.clone()) };
        if block.rows.rows() > 0 && reader.width().is_some_and(|width| width != inputs) {
            let problem = DataProblem::Length { expected: inputs, found: block.rows.width };
            return Err(Error::data(&reader.names(), problem));
        }
        let SparseRows { offsets, indices, values, .. } = &block.rows;
        let csr = Csr { offsets, indices, values, columns: &[], places: &[] };
        let outputs = self.network.spec().outputs;
        let policy = self.options.on_invalid;
        if policy == OnInvalid::Error {
            block.require_valid()?;
        }
        let raw = self.tape.forward_sparse(&self.network, csr)?.iter().map(|v| f64::from(*v));
        match (policy, block.valid()) {
            (OnInvalid::Skip, Some(valid)) => {
                let raw = raw.enumerate().filter(|(i, _)| valid[i / outputs]).map(|(_, v)| v).collect();
                self.append(&only(batch, valid)?, raw, None, Vec::new())
            }
            (_, valid) => {
                let raw = raw.collect();
                self.append(batch, raw, valid.map(Into::into), block.reasons())
            }
        }
    }

    fn rows(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        let FeatureInput::Rows(reader) = &mut self.reader else { return Ok(batch.clone()) };
        let mut block = reader.read(batch)?;
        let inputs = self.network.spec().inputs.count();
        if block.rows > 0 && reader.width().is_some_and(|width| width != inputs) {
            return Err(Error::data(&reader.names(), DataProblem::Length { expected: inputs, found: block.width }));
        }
        let (mut nulls, mut reasons) = (None, Vec::new());
        let mut kept = batch.clone();
        let mut places: Vec<usize> = (0..batch.num_rows()).collect();
        match self.options.on_invalid {
            OnInvalid::Error => block.require_valid()?,
            OnInvalid::Skip => {
                if let Some(valid) = block.drop_invalid() {
                    places.retain(|row| valid[*row]);
                    kept = only(batch, valid)?;
                }
            }
            OnInvalid::Keep => {
                block.values.resize(block.rows * inputs, 0.0);
                let valid = (0..block.rows).map(|row| block.is_valid(row)).collect::<NullBuffer>();
                nulls = (valid.null_count() > 0).then_some(valid);
                reasons = block.reasons();
            }
        }
        let ids = self.network.spec().ids();
        if !ids.is_empty() {
            let missing =
                |(row, values): (usize, &[f32])| ids.iter().find_map(|id| Some((row, id, id.missing(values)?)));
            let usable = |(row, _): &(usize, _)| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(*row));
            let rows = block.values.chunks_exact(inputs).enumerate().filter(usable);
            if let Some((row, id, value)) = rows.into_iter().find_map(missing) {
                return Err(id.refusal(&reader.names(), places[row] as u64, value, id.place));
            }
        }
        let mut raw = Vec::with_capacity(kept.num_rows() * self.network.spec().outputs);
        for part in block.values.chunks(ROWS_AT_ONCE * inputs) {
            raw.extend(self.forward(part, None)?.into_iter().map(f64::from));
        }
        self.append(&kept, raw, nulls, reasons)
    }

    fn sequences(&mut self, batch: &RecordBatch, rows: ReadRows) -> Result<RecordBatch> {
        rows.check(self.options.on_invalid)?;
        let mut valid = vec![true; rows.rows];
        let mut reasons = vec![None; rows.rows];
        for fault in rows.faults.iter().rev() {
            valid[fault.row] = false;
            reasons[fault.row] = Some(fault.reason());
        }
        let skip = self.options.on_invalid == OnInvalid::Skip;
        let step = self.network.spec().inputs.count();
        let mut raw = Vec::with_capacity(batch.num_rows() * self.network.spec().outputs);
        let cells = rows.cells.into_iter().next();
        let Some((values, offsets)) = cells.and_then(|cells| Some((cells.values, cells.offsets?))) else {
            return Err(Error::data("features", DataProblem::Malformed { reason: "expected sequences".into() }));
        };
        let usable: Vec<usize> = (0..rows.rows).filter(|&row| valid[row] || !skip).collect();
        for part in usable.chunks(SEQUENCES_AT_ONCE) {
            // A row that is kept though it cannot be used is one step of zeros, whose outputs are discarded.
            let bounds = |row: usize| match valid[row] {
                true => offsets[row] as usize..offsets[row + 1] as usize,
                false => 0..0,
            };
            let lengths: Vec<u32> = part.iter().map(|&row| (bounds(row).len() / step).max(1) as u32).collect();
            let longest = lengths.iter().copied().max().unwrap_or(1) as usize;
            let mut padded = Vec::with_capacity(part.len() * longest * step);
            for (i, &row) in part.iter().enumerate() {
                values.extend_real(bounds(row), &mut padded);
                padded.resize((i + 1) * longest * step, 0.0);
            }
            raw.extend(self.forward(&padded, Some(&lengths))?.into_iter().map(f64::from));
        }
        if skip {
            return self.append(&only(batch, valid)?, raw, None, Vec::new());
        }
        let nulls = NullBuffer::from(valid);
        self.append(batch, raw, (nulls.null_count() > 0).then_some(nulls), reasons)
    }

    /// Puts what the outputs mean behind the columns of a batch.
    fn append(
        &self,
        batch: &RecordBatch,
        raw: Vec<f64>,
        nulls: Option<NullBuffer>,
        reasons: Vec<Option<String>>,
    ) -> Result<RecordBatch> {
        let width = self.network.spec().outputs;
        let mut columns = batch.columns().to_vec();
        columns.extend(columns::columns(&self.task, &self.options, raw, width, nulls, reasons)?);
        // A batch without any column still has rows.
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .map_err(|e| Error::arrow("appending prediction columns", e))
    }

    /// `rows × inputs` features in, `rows × outputs` raw scores out; of sequences with their lengths.
    fn forward(&mut self, features: &[f32], lengths: Option<&[u32]>) -> Result<Vec<f32>> {
        let inputs = self.network.spec().inputs.count();
        if self.network.has_kernels() {
            return match lengths {
                Some(lengths) => self.tape.forward_sequences(&self.network, features, lengths, Mode::Eval),
                None => self.tape.forward(&self.network, features, features.len() / inputs, Mode::Eval),
            }
            .map(<[f32]>::to_vec);
        }
        let rows = lengths.map_or(features.len() / inputs, <[u32]>::len);
        let shape = (rows, features.len() / (rows * inputs).max(1), inputs);
        let placed = Tensor::from_slice(features, shape, self.network.device());
        let x = placed.map_err(|e| Error::tensor("placing features on the device", e))?;
        let raw = match lengths {
            Some(lengths) => self.network.forward_sequences(&x, lengths, Mode::Eval),
            None => self.network.forward(&x, Mode::Eval),
        }?;
        raw.flatten_all()
            .and_then(|raw| raw.to_vec1())
            .map_err(|e| Error::tensor("reading predictions from the device", e))
    }
}

/// Returns the rows of a batch that can be used.
fn only(batch: &RecordBatch, valid: Vec<bool>) -> Result<RecordBatch> {
    filter_record_batch(batch, &BooleanArray::from(valid))
        .map_err(|e| Error::arrow("leaving out rows that cannot be used", e))
}
