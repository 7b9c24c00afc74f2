//! Rows of mostly zeros on their way through a step.

use std::sync::Arc;

use crate::{nn::Csr, tensor::SparseRows};

/// Rows of a minibatch, and the columns that occur in all of it.
#[derive(Debug, Clone)]
pub(super) struct SparseShard {
    rows: SparseRows,
    columns: Arc<Vec<u32>>,
    /// Place of each value's column among `columns`.
    places: Vec<u32>,
}

impl SparseShard {
    /// Finds the columns that occur in the rows.
    pub(super) fn new(rows: SparseRows) -> Self {
        let mut columns = rows.indices.clone();
        columns.sort_unstable();
        columns.dedup();
        let place = |index: &u32| columns.partition_point(|column| column < index) as u32;
        let places = rows.indices.iter().map(place).collect();
        Self { rows, columns: Arc::new(columns), places }
    }

    /// Returns the columns that occur in the minibatch, in increasing order.
    pub(super) fn columns(&self) -> &Arc<Vec<u32>> {
        &self.columns
    }

    /// Returns the rows from `begin` to `end`, with the columns of all.
    pub(super) fn slice(&self, begin: usize, end: usize) -> Self {
        let values = self.rows.offsets[begin] as usize..self.rows.offsets[end] as usize;
        let (rows, places) = (self.rows.slice(begin, end), self.places[values].to_vec());
        Self { rows, places, columns: self.columns.clone() }
    }

    /// Returns what kernels read.
    pub(super) fn csr(&self) -> Csr<'_> {
        let Self { rows: SparseRows { offsets, indices, values, .. }, columns, places } = self;
        Csr { offsets, indices, values, columns, places }
    }
}
