//! Rows of embeddings in place of ids.

use super::{Gradients, Kernel, Pass, SavedState, over_rows};
use crate::nn::layer::Embedding;

/// Replaces each of a row's first `ids` values by a row of an embedding, and copies the `rest`.
///
/// One table serves all ids, or each has its own. An id that a table lacks is a line of zeros; see [`has_line`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lookup {
    pub(crate) tables: Vec<Embedding>,
    pub(crate) ids: usize,
    pub(crate) rest: usize,
}

impl Lookup {
    fn table(&self, id: usize) -> (usize, Embedding) {
        let table = if self.tables.len() == 1 { 0 } else { id };
        (table, self.tables[table])
    }

    /// Returns the places of the tables' lines in a row going out, with their place in a row coming in.
    fn places(&self) -> impl Iterator<Item = (usize, usize, usize, Embedding)> + '_ {
        let mut at = 0;
        (0..self.ids).map(move |id| {
            let (index, table) = self.table(id);
            at += table.embedding_dim;
            (id, at - table.embedding_dim, index, table)
        })
    }

    fn wide(&self) -> usize {
        self.places().map(|(.., table)| table.embedding_dim).sum()
    }
}

/// Returns whether an embedding of `count` rows has the row of a value.
pub(crate) fn has_line(value: f32, count: usize) -> bool {
    line(value, count).is_some()
}

/// Returns the row, of an embedding of `count`, of a value.
fn line(value: f32, count: usize) -> Option<usize> {
    (value >= 0.0 && value.fract() == 0.0 && (value as usize) < count).then_some(value as usize)
}

impl Kernel for Lookup {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn inputs(&self) -> usize {
        self.ids + self.rest
    }

    fn outputs(&self) -> usize {
        self.wide() + self.rest
    }

    fn forward(&self, pass: Pass<'_>, y: &mut [f32], _: &mut SavedState) {
        let (inputs, outputs, wide) = (self.inputs(), self.outputs(), self.wide());
        over_rows(y, outputs, |first, y| {
            for (row, y) in y.chunks_exact_mut(outputs).enumerate() {
                let x = &pass.x[(first + row) * inputs..][..inputs];
                for (id, at, table, Embedding { num_embeddings: count, embedding_dim: dims }) in self.places() {
                    let to = &mut y[at..at + dims];
                    match line(x[id], count) {
                        Some(line) => to.copy_from_slice(&pass.params[table][line * dims..][..dims]),
                        None => to.fill(0.0),
                    }
                }
                y[wide..].copy_from_slice(&x[self.ids..]);
            }
        });
    }

    fn backward(&self, pass: Pass<'_>, _: &[f32], dy: &mut [f32], _: &mut SavedState, gradients: Gradients<'_, '_>) {
        let (inputs, outputs, wide) = (self.inputs(), self.outputs(), self.wide());
        gradients.params.iter_mut().for_each(|d| d.fill(0.0));
        for (x, dy) in pass.x.chunks_exact(inputs).zip(dy.chunks_exact(outputs)) {
            for (id, at, table, Embedding { num_embeddings: count, embedding_dim: dims }) in self.places() {
                let Some(line) = line(x[id], count) else { continue };
                let to = &mut gradients.params[table][line * dims..][..dims];
                to.iter_mut().zip(&dy[at..at + dims]).for_each(|(sum, d)| *sum += d);
            }
        }
        if let Some(dx) = gradients.x {
            for (dx, dy) in dx.chunks_exact_mut(inputs).zip(dy.chunks_exact(outputs)) {
                dx[..self.ids].fill(0.0);
                dx[self.ids..].copy_from_slice(&dy[wide..]);
            }
        }
    }
}
