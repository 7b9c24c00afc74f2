//! A fitted stage made ready for local rows.

use std::{fmt, sync::Arc};

use arrow::{
    array::{RecordBatch, RecordBatchOptions},
    datatypes::SchemaRef,
};

use crate::{Error, Result};

type PreparedStage = Box<dyn FnMut(&RecordBatch) -> Result<RecordBatch> + Send>;

/// A fitted stage, or a whole pipeline, made ready for rows of one schema in this process: what depends on the schema
/// is done once, expressions are compiled and networks lie on their devices.
///
/// For services that score a few rows at a time. Use one per thread; making one costs about as much as scoring
/// a few thousand rows. Needs no server.
pub struct RowScorer {
    input: SchemaRef,
    output: SchemaRef,
    work: PreparedStage,
}

impl RowScorer {
    /// Returns a scorer of rows of the schema `input` by a function. What it gives of no rows tells the schema of its
    /// outputs.
    ///
    /// # Errors
    /// The error of `function` for an empty batch.
    pub fn new(
        input: &SchemaRef,
        mut work: impl FnMut(&RecordBatch) -> Result<RecordBatch> + Send + 'static,
    ) -> Result<Self> {
        let output = work(&RecordBatch::new_empty(input.clone()))?.schema();
        Ok(Self { input: input.clone(), output, work: Box::new(work) })
    }

    /// Returns the schema of scored rows.
    pub fn schema(&self) -> &SchemaRef {
        &self.output
    }

    /// Returns the rows with the columns of the stage, computed on this thread.
    ///
    /// # Errors
    /// [`Error::Schema`] for rows of another schema than the scorer was made for; else as
    /// [`Transformer::transform_batch`](super::Transformer::transform_batch). A row that cannot be used is named by how
    /// many rows the scorer was given before it. The scorer can be used again.
    pub fn score_rows(&mut self, rows: &RecordBatch) -> Result<RecordBatch> {
        self.check(rows)?;
        let scored = (self.work)(rows)?;
        if Arc::ptr_eq(scored.schema_ref(), &self.output) {
            return Ok(scored);
        }
        // Metadata that only rows tell, such as the length of arrays, may differ from batch to batch.
        let options = RecordBatchOptions::new().with_row_count(Some(scored.num_rows()));
        RecordBatch::try_new_with_options(self.output.clone(), scored.columns().to_vec(), &options)
            .map_err(|e| Error::arrow("the columns of a stage", e))
    }

    fn check(&self, rows: &RecordBatch) -> Result<()> {
        let schema = rows.schema_ref();
        if Arc::ptr_eq(schema, &self.input) {
            return Ok(());
        }
        let (known, found) = (self.input.fields(), schema.fields());
        if known.len() != found.len() {
            let expected = format!("the {} columns that the scorer was made for", known.len());
            return Err(Error::schema("(whole row)", expected, format!("{} columns", found.len())));
        }
        let odd = known
            .iter()
            .zip(found)
            .find(|(known, found)| known.name() != found.name() || known.data_type() != found.data_type());
        match odd {
            Some((known, found)) => {
                let expected = format!("Arrow {} in this place, as the scorer was made for", known.data_type());
                let found = format!("`{}`, Arrow {}", found.name(), found.data_type());
                Err(Error::schema(known.name(), expected, found))
            }
            None => Ok(()),
        }
    }
}

impl fmt::Debug for RowScorer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |schema: &SchemaRef| schema.fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>();
        f.debug_struct("RowScorer")
            .field("input", &names(&self.input))
            .field("output", &names(&self.output))
            .finish_non_exhaustive()
    }
}
