//! Decodes features, label, weight and mark.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BooleanArray, FixedSizeListArray, Float32Array, Float64Array, RecordBatch,
        UInt8Array, UInt32Array,
    },
    compute::cast,
    datatypes::{DataType, Field, Float64Type, Schema, SchemaRef},
};

use super::{
    Cells, Columns, FeatureReader, LabelKind, OnInvalid, SparseBlock, Values,
    columns::typed,
    convert::{Fault, is_number},
    decode::{Decoded, Decoder},
    features::{Faults, compact},
    field::{ElementType, HELD_OUT, LABEL, RowShape, TensorField, WEIGHT},
};
use crate::{DataProblem, Error, Result};

/// The name of the one input that [`ExampleDecoder`] makes.
pub const FEATURES: &str = "features";

/// Labels count classes; more than this are surely no classes.
const MAX_CLASSES: f64 = (1 << 20) as f64;

/// Decodes [`Columns`]: the features side by side as one input of single precision named [`FEATURES`], the label as a
/// class or as numbers, the weight and the mark where the columns name them.
#[derive(Debug)]
pub struct ExampleDecoder {
    features: FeatureReader,
    label: Label,
    weight: Option<Scalar>,
    held_out: Option<Scalar>,
    on_invalid: OnInvalid,
    /// True if features stay sparse.
    sparse: bool,
    rows_read: u64,
    skipped: u64,
    /// The dimensions of a row, when the one column of features says them.
    dims: Option<Vec<usize>>,
    fields: Vec<TensorField>,
    schema: SchemaRef,
}

/// Where labels come from.
#[derive(Debug)]
enum Label {
    None,
    Class(Scalar),
    Numbers { reader: FeatureReader, name: String, kind: LabelKind },
}

#[derive(Debug, Clone)]
struct Scalar {
    name: String,
    index: usize,
}

impl Scalar {
    /// Refuses values of the column that are numbers but not legal ones; `rows` are theirs, of `total` read so far.
    fn check(&self, values: &[f64], rows: &[u64], total: u64, legal: fn(f64) -> bool, expected: &str) -> Result<()> {
        let mut bad = values.iter().zip(rows).filter(|(value, _)| !legal(**value));
        let Some((value, row)) = bad.next() else { return Ok(()) };
        let count = 1 + bad.count();
        let found = format!("{value} (or the like in {count} of {total} rows)");
        let problem = DataProblem::Values { expected: expected.to_owned(), found, example: None };
        Err(Error::cell(&self.name, *row, problem))
    }
}

impl ExampleDecoder {
    /// Finds the columns of a classifier and checks their types.
    ///
    /// # Errors
    /// As [`bind_as`](Self::bind_as).
    pub fn bind(schema: &Schema, columns: &Columns, on_invalid: OnInvalid) -> Result<Self> {
        Self::bind_as(schema, columns, LabelKind::Class, on_invalid)
    }

    /// Finds the columns and checks their types, the label's as its kind asks for.
    ///
    /// # Errors
    /// [`Error::Schema`] with the column, expected and found type; [`Error::Param`] when no feature is named or
    /// `on_invalid` would keep rows that training cannot use.
    pub fn bind_as(schema: &Schema, columns: &Columns, kind: LabelKind, on_invalid: OnInvalid) -> Result<Self> {
        if on_invalid == OnInvalid::Keep {
            return Err(Error::param("handleInvalid", "keep", "`error` or `skip` while training"));
        }
        let scalar = |name: &String, expected, fits| {
            Ok::<_, Error>(Scalar { name: name.clone(), index: typed(schema, name, expected, fits)? })
        };
        let is_boolean: fn(&DataType) -> bool = |data_type| *data_type == DataType::Boolean;
        Ok(Self {
            features: FeatureReader::bind(schema, &columns.features)?,
            label: match kind {
                LabelKind::None => Label::None,
                LabelKind::Class => {
                    Label::Class(scalar(&columns.label, "a number (the class, counted from 0)", is_number)?)
                }
                kind => {
                    let name = columns.label.clone();
                    Label::Numbers { reader: FeatureReader::bind(schema, std::slice::from_ref(&name))?, name, kind }
                }
            },
            weight: columns.weight.as_ref().map(|name| scalar(name, "a number", is_number)).transpose()?,
            held_out: columns.validation.as_ref().map(|name| scalar(name, "a boolean", is_boolean)).transpose()?,
            on_invalid,
            sparse: columns.sparse,
            rows_read: 0,
            skipped: 0,
            dims: dims(schema, &columns.features),
            fields: Vec::new(),
            schema: Arc::new(Schema::empty()),
        })
    }

    /// Reads the features of a batch, dense or sparse.
    fn features(&mut self, batch: &RecordBatch) -> Result<(Values, Option<Faults>)> {
        if self.sparse {
            let SparseBlock { rows, faults } = self.features.read_sparse(batch)?;
            return Ok((Values::Sparse(rows), faults));
        }
        let mut values = Vec::new();
        let faults = self.features.append(batch, &mut values)?;
        Ok((Values::F32(values), faults))
    }

    /// Lays out the canonical columns, once a row has shown its width.
    fn lay_out(&mut self, width: usize) -> Result<()> {
        if i32::try_from(width).is_err() || width == 0 {
            return Err(Error::data(&self.features.names(), DataProblem::width(width)));
        }
        let scalar = |name, element| TensorField::new(name, element, RowShape::scalar());
        let dims = self.dims.take().filter(|dims| dims.iter().product::<usize>() == width);
        let shape = RowShape::fixed(dims.unwrap_or_else(|| vec![width]));
        self.fields.push(match self.sparse {
            true => TensorField::sparse(FEATURES, width),
            false => TensorField::new(FEATURES, ElementType::F32, shape),
        });
        match &self.label {
            Label::None => {}
            Label::Class(_) => self.fields.push(scalar(LABEL, ElementType::U32)),
            Label::Numbers { reader, .. } => {
                let shape = match reader.width().unwrap_or(0) {
                    1 => RowShape::scalar(),
                    width => RowShape::fixed([width]),
                };
                self.fields.push(TensorField::new(LABEL, ElementType::F64, shape));
            }
        }
        self.fields.extend(self.weight.as_ref().map(|_| scalar(WEIGHT, ElementType::F32)));
        self.fields.extend(self.held_out.as_ref().map(|_| scalar(HELD_OUT, ElementType::U8)));
        self.schema = Arc::new(Schema::new(self.fields.iter().map(TensorField::to_arrow).collect::<Vec<_>>()));
        Ok(())
    }
}

/// Returns the dimensions that a single column of features declares, those of an image for one.
pub(super) fn dims(schema: &Schema, features: &[String]) -> Option<Vec<usize>> {
    let [name] = features else { return None };
    let shape = TensorField::from_arrow(schema.field_with_name(name).ok()?).ok()?.shape;
    (!shape.ragged && shape.dims.len() > 1).then_some(shape.dims)
}

impl Decoder for ExampleDecoder {
    fn fields(&self) -> &[TensorField] {
        &self.fields
    }

    fn decode(&mut self, batch: &RecordBatch) -> Result<Decoded> {
        let (rows, start) = (batch.num_rows(), self.rows_read);
        self.rows_read += rows as u64;
        let (weight, held_out) = (self.weight.clone(), self.held_out.clone());
        let (mut values, mut faults) = self.features(batch)?;
        let mut targets = Vec::new();
        let classes = match &mut self.label {
            Label::None => None,
            Label::Class(label) => Some((label.clone(), doubles(batch.column(label.index))?)),
            Label::Numbers { reader, name, kind } => {
                let found = reader.append(batch, &mut targets)?;
                merge(&mut faults, found);
                let width = reader.width().unwrap_or(1).max(1);
                let bad = |(row, line): (usize, &[f64])| Some((row, line.iter().find_map(|v| kind.refuses(*v))?));
                for (row, words) in targets.chunks_exact(width).enumerate().filter_map(bad) {
                    Faults::mark(&mut faults, rows, row, start, name, Fault::Cell(format!("is out of range: {words}")));
                }
                None
            }
        };
        let weights = weight.as_ref().map(|w| Ok::<_, Error>((w, doubles(batch.column(w.index))?))).transpose()?;
        let held_out = held_out.as_ref().map(|h| (h, batch.column(h.index)));

        let mut required: Vec<(&Scalar, &ArrayRef)> = classes.iter().map(|(label, array)| (label, array)).collect();
        required.extend(weights.as_ref().map(|(scalar, array)| (*scalar, array)));
        required.extend(held_out);
        for (scalar, array) in required.into_iter().filter(|(_, array)| array.null_count() > 0) {
            for row in (0..rows).filter(|&row| array.is_null(row)) {
                Faults::mark(&mut faults, rows, row, start, &scalar.name, Fault::Null);
            }
        }
        let skipped = faults.as_ref().map_or(0, Faults::count);
        if let Some(faults) = faults.as_ref().filter(|_| self.on_invalid == OnInvalid::Error) {
            return Err(faults.error(self.rows_read));
        }
        self.skipped += skipped;
        if skipped == rows as u64 {
            return Ok(Decoded { batch: RecordBatch::new_empty(self.schema.clone()), skipped });
        }
        let width = self.features.width().unwrap_or(0);
        if self.fields.is_empty() {
            self.lay_out(width)?;
        }
        let bad = faults.map(|faults| faults.bad);
        if let Some(bad) = &bad {
            match &mut values {
                Values::Sparse(rows) => rows.retain(|row| !bad[row]),
                Values::F32(values) => compact(values, 0, width, bad),
                _ => {}
            }
        }
        let good: Vec<usize> = (0..rows).filter(|&row| bad.as_ref().is_none_or(|bad| !bad[row])).collect();
        let at: Vec<u64> = good.iter().map(|&row| start + row as u64).collect();
        let numbers = |array: &ArrayRef| -> Vec<f64> {
            let values = array.as_primitive::<Float64Type>().values();
            good.iter().map(|&row| values[row]).collect()
        };
        let features = Cells { values, offsets: None, faults: Vec::new() }.into_array(&self.fields[0])?;
        let mut columns: Vec<ArrayRef> = vec![features];
        if let Some((label, labels)) = &classes {
            let labels = numbers(labels);
            let is_class = |label: f64| (0.0..MAX_CLASSES).contains(&label) && label.fract() == 0.0;
            let expected = "classes, integers from 0 (index the labels first)";
            label.check(&labels, &at, self.rows_read, is_class, expected)?;
            columns.push(Arc::new(UInt32Array::from_iter_values(labels.iter().map(|label| *label as u32))));
        }
        if let Label::Numbers { reader, .. } = &self.label {
            let width = reader.width().unwrap_or(1);
            if let Some(bad) = &bad {
                compact(&mut targets, 0, width, bad);
            }
            columns.push(lay_out_targets(targets, width)?);
        }
        if let Some((scalar, weights)) = weights {
            let weights = numbers(&weights);
            // What single precision cannot hold weighs infinitely much in it.
            let is_weight = |weight: f64| weight >= 0.0 && (weight as f32).is_finite();
            let expected = "weights, finite numbers of at least 0";
            scalar.check(&weights, &at, self.rows_read, is_weight, expected)?;
            columns.push(Arc::new(Float32Array::from_iter_values(weights.iter().map(|weight| *weight as f32))));
        }
        if let Some((_, held_out)) = held_out {
            let marks = held_out.as_boolean().values();
            let marks = good.iter().map(|&row| u8::from(marks.value(row)));
            columns.push(Arc::new(UInt8Array::from_iter_values(marks)));
        }
        let batch = RecordBatch::try_new(self.schema.clone(), columns);
        Ok(Decoded { batch: batch.map_err(|e| Error::arrow("laying out training rows", e))?, skipped })
    }

    fn finish(&mut self) -> Result<()> {
        let name = match &self.label {
            Label::None => self.features.names(),
            Label::Class(Scalar { name, .. }) | Label::Numbers { name, .. } => name.clone(),
        };
        match (self.rows_read, self.skipped) {
            (0, _) => Err(Error::data(&name, DataProblem::NoRows)),
            (rows, skipped) if rows == skipped => Err(Error::data(&name, DataProblem::AllSkipped { rows })),
            _ => Ok(()),
        }
    }
}

/// Targets as the canonical column of labels.
fn lay_out_targets(targets: Vec<f64>, width: usize) -> Result<ArrayRef> {
    let values = Arc::new(Float64Array::from(targets));
    let size = match i32::try_from(width) {
        Ok(1) => return Ok(values),
        Ok(size) => size,
        Err(_) => return Err(Error::data(LABEL, DataProblem::width(width))),
    };
    let item = Arc::new(Field::new_list_field(DataType::Float64, false));
    let list = FixedSizeListArray::try_new(item, size, values, None);
    Ok(Arc::new(list.map_err(|e| Error::arrow("laying out targets", e))?))
}

/// Adds the rows that cannot be used for another reason.
fn merge(faults: &mut Option<Faults>, found: Option<Faults>) {
    let Some(found) = found else { return };
    match faults {
        None => *faults = Some(found),
        Some(known) => known.merge(found),
    }
}

/// Returns a column of numbers or booleans as doubles.
fn doubles(array: &ArrayRef) -> Result<ArrayRef> {
    if let Some(booleans) = array.as_any().downcast_ref::<BooleanArray>() {
        return Ok(Arc::new(booleans.iter().map(|b| b.map(f64::from)).collect::<arrow::array::Float64Array>()));
    }
    cast(array, &DataType::Float64).map_err(|e| Error::arrow(format!("converting {} to double", array.data_type()), e))
}

#[cfg(test)]
mod tests;
