//! Decodes features alone: the columns of what learns without labels.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, FixedSizeListArray, Float32Array, RecordBatch, UInt8Array},
    datatypes::{DataType, Field, Schema, SchemaRef},
};

use super::{
    Columns, FeatureReader, OnInvalid,
    columns::typed,
    convert::Fault,
    decode::{Decoded, Decoder},
    example_decoder::{FEATURES, dims},
    features::{Faults, compact},
    field::{ElementType, HELD_OUT, RowShape, TensorField},
};
use crate::{DataProblem, Error, Result};

/// Decodes the features of [`Columns`] side by side, read by their readers where they have any, as one input of single
/// precision named [`FEATURES`]; the mark too where the columns name one. Labels and weights are not looked at.
#[derive(Debug)]
pub struct InputDecoder {
    features: FeatureReader,
    held_out: Option<(String, usize)>,
    on_invalid: OnInvalid,
    range: Option<[f32; 2]>,
    rows_read: u64,
    skipped: u64,
    dims: Option<Vec<usize>>,
    fields: Vec<TensorField>,
    schema: SchemaRef,
}

impl InputDecoder {
    /// Finds the columns and checks their types.
    ///
    /// # Errors
    /// [`Error::Schema`] with the column, expected and found type; [`Error::Param`] when no feature is named or
    /// `on_invalid` would keep rows that training cannot use.
    pub fn bind(schema: &Schema, columns: &Columns, on_invalid: OnInvalid) -> Result<Self> {
        if on_invalid == OnInvalid::Keep {
            return Err(Error::param("handleInvalid", "keep", "`error` or `skip` while training"));
        }
        let is_boolean: fn(&DataType) -> bool = |data_type| *data_type == DataType::Boolean;
        let held_out = |name: &String| Ok::<_, Error>((name.clone(), typed(schema, name, "a boolean", is_boolean)?));
        let features = FeatureReader::of(schema, columns)?;
        let dims = features.dims().or_else(|| dims(schema, &columns.features));
        Ok(Self {
            features,
            held_out: columns.validation.as_ref().map(held_out).transpose()?,
            on_invalid,
            range: None,
            rows_read: 0,
            skipped: 0,
            dims,
            fields: Vec::new(),
            schema: Arc::new(Schema::empty()),
        })
    }

    /// Refuses rows with a value outside `[low, high]`, whatever the policy for invalid rows: such data is not
    /// scaled as the units need.
    pub fn within(mut self, low: f32, high: f32) -> Self {
        self.range = Some([low, high]);
        self
    }

    /// Lays out the canonical columns, once a row has shown its width.
    fn lay_out(&mut self, width: usize) -> Result<()> {
        if i32::try_from(width).is_err() || width == 0 {
            return Err(Error::data(&self.features.names(), DataProblem::width(width)));
        }
        let dims = self.dims.take().filter(|dims| dims.iter().product::<usize>() == width);
        let shape = RowShape::fixed(dims.unwrap_or_else(|| vec![width]));
        self.fields.push(TensorField::new(FEATURES, ElementType::F32, shape));
        let mark = || TensorField::new(HELD_OUT, ElementType::U8, RowShape::scalar());
        self.fields.extend(self.held_out.as_ref().map(|_| mark()));
        self.schema = Arc::new(Schema::new(self.fields.iter().map(TensorField::to_arrow).collect::<Vec<_>>()));
        Ok(())
    }

    /// Looks for values outside the range; `rows` are the numbers of the rows that hold the values.
    fn check_range(&self, values: &[f32], width: usize, rows: impl Iterator<Item = u64>) -> Result<()> {
        let Some([low, high]) = self.range else { return Ok(()) };
        for (line, row) in values.chunks_exact(width.max(1)).zip(rows) {
            if let Some(value) = line.iter().find(|value| !(low..=high).contains(*value)) {
                let expected = format!("numbers in [{low}, {high}], scaled if need be");
                let problem = DataProblem::Values { expected, found: value.to_string(), example: None };
                return Err(Error::cell(&self.features.names(), row, problem));
            }
        }
        Ok(())
    }
}

impl Decoder for InputDecoder {
    fn fields(&self) -> &[TensorField] {
        &self.fields
    }

    fn decode(&mut self, batch: &RecordBatch) -> Result<Decoded> {
        let (rows, start) = (batch.num_rows(), self.rows_read);
        self.rows_read += rows as u64;
        let mut values = Vec::new();
        let mut faults = self.features.append(batch, &mut values)?;
        let held_out = self.held_out.as_ref().map(|(name, index)| (name, batch.column(*index)));
        if let Some((name, marks)) = held_out {
            for row in (0..rows).filter(|&row| marks.is_null(row)) {
                Faults::mark(&mut faults, rows, row, start, name, Fault::Null);
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
        let marks = held_out.map(|(_, marks)| marks.as_boolean().values().clone());
        if self.fields.is_empty() {
            self.lay_out(width)?;
        }
        let bad = faults.map(|faults| faults.bad);
        if let Some(bad) = &bad {
            compact(&mut values, 0, width, bad);
        }
        let good = || (0..rows).filter(|&row| bad.as_ref().is_none_or(|bad| !bad[row]));
        self.check_range(&values, width, good().map(|row| start + row as u64))?;
        let item = Arc::new(Field::new_list_field(DataType::Float32, false));
        let features = FixedSizeListArray::try_new(item, width as i32, Arc::new(Float32Array::from(values)), None)
            .map_err(|e| Error::arrow("laying out features", e))?;
        let mut columns: Vec<ArrayRef> = vec![Arc::new(features)];
        if let Some(marks) = marks {
            columns.push(Arc::new(UInt8Array::from_iter_values(good().map(|row| u8::from(marks.value(row))))));
        }
        let batch = RecordBatch::try_new(self.schema.clone(), columns);
        Ok(Decoded { batch: batch.map_err(|e| Error::arrow("laying out training rows", e))?, skipped })
    }

    fn finish(&mut self) -> Result<()> {
        let names = self.features.names();
        match (self.rows_read, self.skipped) {
            (0, _) => Err(Error::data(&names, DataProblem::NoRows)),
            (rows, skipped) if rows == skipped => Err(Error::data(&names, DataProblem::AllSkipped { rows })),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{BooleanArray, Float64Array};

    use super::*;

    fn batch(x: Vec<Option<f64>>, marks: Vec<Option<bool>>) -> RecordBatch {
        let columns: [(&str, ArrayRef); 2] =
            [("x", Arc::new(Float64Array::from(x))), ("v", Arc::new(BooleanArray::from(marks)))];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).unwrap()
    }

    fn decoder(batch: &RecordBatch, on_invalid: OnInvalid) -> InputDecoder {
        InputDecoder::bind(&batch.schema(), &Columns::new("x", "").validation("v"), on_invalid).unwrap()
    }

    #[test]
    fn rows_are_laid_out_without_any_label() {
        let batch =
            batch(vec![Some(0.5), None, Some(1.0), Some(0.0)], [Some(true), Some(true), None, Some(false)].into());
        let mut decoder = decoder(&batch, OnInvalid::Skip);
        let Decoded { batch, skipped } = decoder.decode(&batch).unwrap();
        assert_eq!(skipped, 2);
        let values = batch.column(0).as_fixed_size_list().values();
        assert_eq!(values.as_primitive::<arrow::datatypes::Float32Type>().values(), &[0.5, 0.0]);
        assert_eq!(batch.column(1).as_primitive::<arrow::datatypes::UInt8Type>().values(), &[1, 0]);
        let names: Vec<&str> = decoder.fields().iter().map(|field| field.name.as_str()).collect();
        assert_eq!(names, [FEATURES, HELD_OUT]);
        decoder.finish().unwrap();
    }

    #[test]
    fn rows_that_cannot_be_used_are_named() {
        let holed = batch(vec![Some(0.5), None], vec![Some(false); 2]);
        let message = decoder(&holed, OnInvalid::Error).decode(&holed).unwrap_err().to_string();
        assert!(message.contains("`x`") && message.contains("row 1"), "{message}");
        let mut skipping = decoder(&holed, OnInvalid::Skip).within(0.0, 1.0);
        skipping.decode(&holed).unwrap();
        let large = batch(vec![None, Some(1.0), Some(255.0)], vec![Some(false); 3]);
        let message = skipping.decode(&large).unwrap_err().to_string();
        assert!(message.contains("`x`") && message.contains("row 4") && message.contains("255"), "{message}");
        let mut nothing = decoder(&holed, OnInvalid::Skip);
        assert!(matches!(nothing.finish(), Err(Error::Data { problem: DataProblem::NoRows, .. })));
        let nulls = batch(vec![None; 2], vec![Some(false); 2]);
        nothing.decode(&nulls).unwrap();
        assert!(nothing.finish().unwrap_err().to_string().contains("all 2 rows"));
        let keeping = InputDecoder::bind(&nulls.schema(), &Columns::new("x", ""), OnInvalid::Keep).unwrap_err();
        assert!(keeping.to_string().contains("keep"));
    }
}
