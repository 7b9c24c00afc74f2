//! Rows composed from column-level readers.

use std::sync::Arc;

use arrow::{
    array::{Array, BooleanArray, RecordBatch},
    compute::filter_record_batch,
    datatypes::Schema,
};
use serde::{Deserialize, Serialize};

use super::{
    super::{
        Decoded, Decoder, ElementType, OnInvalid, TensorField, cells::Cells, columns::position, fixed_bytes,
        rows_at_once,
    },
    ColumnReader, Reader, TensorReader,
    text::texts,
};
use crate::{DataProblem, Error, Result};

/// Problem of a sequence that cannot be trained on.
const NO_STEPS: &str = "is a sequence of length 0";

/// A network's input: a name, and how it is read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// Name of the tensor.
    pub name: String,
    /// Where it comes from.
    pub reader: Reader,
}

/// Readers of the inputs, and of the label.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Readers {
    /// The network's inputs, in order.
    pub inputs: Vec<Input>,
    /// The label; a column of numbers when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<Reader>,
    /// A column that says where a row comes from, such as the path of a file, for errors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
}

impl Readers {
    /// No reader yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an input, named after the first column it is read from.
    pub fn input(mut self, reader: impl Into<Reader>) -> Self {
        let reader = reader.into();
        let name = reader.columns().first().copied().unwrap_or_default().to_owned();
        self.inputs.push(Input { name, reader });
        self
    }

    /// Reads the label; a path that it is read from also names rows in errors.
    pub fn label(mut self, reader: impl Into<Reader>) -> Self {
        let reader = reader.into();
        if let (Reader::PathLabel(path), None) = (&reader, &self.origin) {
            self.origin = path.columns().first().map(|column| (*column).to_owned());
        }
        self.label = Some(reader);
        self
    }

    /// Names the column that says where a row comes from.
    pub fn origin(mut self, column: impl Into<String>) -> Self {
        self.origin = Some(column.into());
        self
    }

    /// Returns whether an input's rows vary in length.
    pub fn has_sequences(&self) -> bool {
        self.inputs.iter().any(|input| match &input.reader {
            Reader::Tensor(tensor) => tensor.declared().is_some_and(|tensor| tensor.shape.first() == Some(&None)),
            Reader::Text(text) => text.is_ragged(),
            _ => false,
        })
    }

    /// Returns the source columns that prediction needs, each once.
    pub fn input_columns(&self) -> Vec<&str> {
        unique(self.inputs.iter().flat_map(|input| input.reader.columns()))
    }

    /// Returns the source columns that training needs, each once.
    pub fn columns(&self) -> Vec<&str> {
        let inputs = self.inputs.iter().flat_map(|input| input.reader.columns());
        let label = self.label.iter().flat_map(ColumnReader::columns);
        unique(inputs.chain(label).chain(self.origin.as_deref()))
    }
}

fn unique<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut unique = Vec::new();
    names.for_each(|name| {
        if !unique.contains(&name) {
            unique.push(name);
        }
    });
    unique
}

/// Reads whole rows: the tensors of several readers, side by side.
#[derive(Debug, Clone)]
pub struct RecordReader {
    readers: Arc<[Reader]>,
    fields: Vec<TensorField>,
    origin: Option<String>,
    rows_read: u64,
}

/// The rows of one batch, as they were read.
#[derive(Debug, Clone)]
pub struct ReadRows {
    /// The cells, one column a reader; rows with a fault hold nothing of use.
    pub cells: Vec<Cells>,
    /// The rows that cannot be used, in order, each once.
    pub faults: Vec<RowFault>,
    /// Rows in the batch.
    pub rows: usize,
}

/// A row that cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowFault {
    /// Its place in the batch, from 0.
    pub row: usize,
    /// Its place in the stream, from 0.
    pub at: u64,
    /// Where it comes from, if a column says so.
    pub origin: Option<String>,
    /// The column that is to blame.
    pub column: String,
    /// Problem of its cell.
    pub reason: String,
}

impl RowFault {
    /// Returns the problem, in words that follow "row 7 of the stream".
    pub(in crate::tensor) fn describe(&self) -> String {
        let origin = self.origin.as_ref().map(|origin| format!("({origin}) ")).unwrap_or_default();
        format!("{origin}{}", self.reason)
    }

    /// Why the row cannot be used: "column `x` is null".
    pub(crate) fn reason(&self) -> String {
        format!("column `{}` {}", self.column, self.describe())
    }

    /// Returns the refusal of data of which this row is the first of `count` that cannot be used.
    pub fn error(&self, count: u64) -> Error {
        let Self { at, column, .. } = self;
        Error::cell(column, *at, DataProblem::Unusable { rows: count, of: None, reason: self.describe() })
    }
}

impl RecordReader {
    /// Reads what a network is given to predict from.
    ///
    /// # Errors
    /// As [`ColumnReader::bind`]; [`Error::Param`] too when there is no input.
    pub fn inputs(schema: &Schema, readers: &Readers) -> Result<Self> {
        let inputs = readers.inputs.iter().map(|input| (input.name.as_str(), input.reader.clone()));
        let origin = readers.origin.clone().filter(|name| position(schema, name).is_ok());
        Self::bind(schema, inputs.collect(), origin)
    }

    /// Reads what a network is trained on: the inputs, then `label`, `weight` and `held_out`, as far as there are any.
    ///
    /// `label` reads the label.
    ///
    /// # Errors
    /// As [`ColumnReader::bind`]; [`Error::Param`] too when there is no input.
    pub fn examples(
        schema: &Schema,
        readers: &Readers,
        label: Option<Reader>,
        weight: Option<&str>,
        held_out: Option<&str>,
    ) -> Result<Self> {
        let inputs = readers.inputs.iter().map(|input| (input.name.as_str(), input.reader.clone()));
        let label = label.map(|reader| ("label", reader));
        let weight = weight.map(|column| ("weight", TensorReader::number(column).into()));
        let held_out =
            held_out.map(|column| ("held_out", TensorReader::number(column).element(ElementType::U8).into()));
        let all = inputs.chain(label).chain(weight).chain(held_out).collect();
        Self::bind(schema, all, readers.origin.clone())
    }

    fn bind(schema: &Schema, named: Vec<(&str, Reader)>, origin: Option<String>) -> Result<Self> {
        if named.first().is_none_or(|(name, _)| ["label", "weight", "held_out"].contains(name)) {
            return Err(Error::param("inputs", "[]", "at least one reader"));
        }
        let mut names: Vec<&str> = named.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Error::param("inputs", format!("two of the name `{}`", twice[0]), "inputs of different names"));
        }
        if let Some(origin) = &origin {
            position(schema, origin)?;
        }
        let fields = named.iter().map(|(name, reader)| reader.bind(name, schema)).collect::<Result<_>>()?;
        Ok(Self { readers: named.into_iter().map(|(_, reader)| reader).collect(), fields, origin, rows_read: 0 })
    }

    /// Returns the tensors that come of a row, in order.
    pub fn fields(&self) -> &[TensorField] {
        &self.fields
    }

    /// Values a row in all, where no row varies in length.
    pub fn width(&self) -> usize {
        self.fields.iter().map(TensorField::count).sum()
    }

    /// Returns the number of rows to read at a time, so that the decoded rows stay small. Rows that vary in length are
    /// about as large decoded as they arrive.
    pub fn rows_at_once(&self) -> usize {
        rows_at_once(fixed_bytes(&self.fields))
    }

    /// Counts rows from `row` on, as for a batch within a stream.
    pub fn starting_at(mut self, row: u64) -> Self {
        self.rows_read = row;
        self
    }

    /// Refuses inputs whose rows vary in length.
    ///
    /// # Errors
    /// [`Error::Schema`] with the input.
    pub fn require_fixed(&self) -> Result<()> {
        match self.fields.iter().find(|field| field.shape.ragged) {
            None => Ok(()),
            Some(field) => Err(Error::schema(&field.name, "rows of one length", "sequences; read them with a length")),
        }
    }

    /// Reads the next batch of the stream.
    ///
    /// # Errors
    /// As [`ColumnReader::read`].
    pub fn read(&mut self, batch: &RecordBatch) -> Result<ReadRows> {
        let cells = self.readers.iter().map(|reader| reader.read(batch)).collect::<Result<Vec<_>>>()?;
        let mut faults: Vec<(usize, usize, &str)> = Vec::new();
        for (column, cells) in cells.iter().enumerate() {
            faults.extend(cells.faults.iter().map(|fault| (fault.row, column, fault.reason.as_str())));
            let ends = cells.offsets.iter().flat_map(|offsets| offsets.windows(2)).enumerate();
            faults.extend(ends.filter(|(_, ends)| ends[0] == ends[1]).map(|(row, _)| (row, column, NO_STEPS)));
        }
        // Stable, so that a reader's own problem precedes that of the value it left out.
        faults.sort_by_key(|(row, column, _)| (*row, *column));
        faults.dedup_by_key(|(row, _, _)| *row);
        let origins = match (&self.origin, faults.is_empty()) {
            (Some(column), false) => Some(texts(batch, column)?),
            _ => None,
        };
        let fault = |(row, column, reason): (usize, usize, &str)| RowFault {
            row,
            at: self.rows_read + row as u64,
            origin: origins.as_ref().filter(|o| o.is_valid(row)).map(|o| o.value(row).to_owned()),
            column: self.readers[column].columns().first().copied().unwrap_or_default().to_owned(),
            reason: reason.to_owned(),
        };
        let faults = faults.into_iter().map(fault).collect();
        self.rows_read += batch.num_rows() as u64;
        Ok(ReadRows { cells, faults, rows: batch.num_rows() })
    }
}

impl ReadRows {
    /// Refuses the rows when one cannot be used and `on_invalid` says so.
    ///
    /// # Errors
    /// [`Error::Data`] with the column, the row, where it comes from and what is wrong.
    pub fn check(&self, on_invalid: OnInvalid) -> Result<()> {
        match self.faults.first() {
            Some(first) if on_invalid == OnInvalid::Error => Err(first.error(self.faults.len() as u64)),
            _ => Ok(()),
        }
    }
}

/// A [`RecordReader`] as the decoder of a stream.
#[derive(Debug, Clone)]
pub struct RecordDecoder {
    reader: RecordReader,
    on_invalid: OnInvalid,
    /// Rows read, and those of them left out.
    rows: (u64, u64),
}

impl RecordDecoder {
    /// Decodes with `reader`; rows that cannot be used are refused or left out.
    ///
    /// # Errors
    /// [`Error::Param`] when such rows are to be kept: a canonical batch has no place for them.
    pub fn new(reader: RecordReader, on_invalid: OnInvalid) -> Result<Self> {
        match on_invalid {
            OnInvalid::Keep => Err(Error::param("handleInvalid", "keep", "`error` or `skip` where rows are decoded")),
            _ => Ok(Self { reader, on_invalid, rows: (0, 0) }),
        }
    }
}

impl Decoder for RecordDecoder {
    fn fields(&self) -> &[TensorField] {
        self.reader.fields()
    }

    fn decode(&mut self, batch: &RecordBatch) -> Result<Decoded> {
        let rows = self.reader.read(batch)?;
        rows.check(self.on_invalid)?;
        let (faults, count) = (rows.faults, rows.rows);
        self.rows = (self.rows.0 + count as u64, self.rows.1 + faults.len() as u64);
        let fields = self.reader.fields();
        let columns = rows.cells.into_iter().zip(fields).map(|(cells, field)| cells.into_array(field));
        let schema = Arc::new(Schema::new(fields.iter().map(TensorField::to_arrow).collect::<Vec<_>>()));
        let fail = |e| Error::arrow("putting decoded columns together", e);
        let whole = RecordBatch::try_new(schema, columns.collect::<Result<_>>()?).map_err(fail)?;
        if faults.is_empty() {
            return Ok(Decoded { batch: whole, skipped: 0 });
        }
        let mut good = vec![true; count];
        faults.iter().for_each(|fault| good[fault.row] = false);
        let batch = filter_record_batch(&whole, &BooleanArray::from(good)).map_err(fail)?;
        Ok(Decoded { batch, skipped: faults.len() as u64 })
    }

    fn finish(&mut self) -> Result<()> {
        let name = self.reader.fields.first().map_or("(all)", |field| &field.name);
        match self.rows {
            (0, _) => Err(Error::data(name, DataProblem::NoRows)),
            (rows, skipped) if rows == skipped => Err(Error::data(name, DataProblem::AllSkipped { rows })),
            _ => Ok(()),
        }
    }
}
