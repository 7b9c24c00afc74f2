//! Which of a row's values are ids that a table must have.

use super::{ColumnRange, LayerSpec, NetworkSpec};
use crate::{
    DataProblem, Error,
    nn::{layer::Embedding, op},
};

/// A value that is an id of an embedding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Id {
    /// Its place in a row; in a sequence, in a step.
    pub(crate) place: usize,
    /// The column that it comes from, where the network knows.
    pub(crate) column: Option<String>,
    /// Number of rows of the embedding.
    count: usize,
}

impl Id {
    /// Returns the number of ids.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Returns the row's value, if the table lacks it.
    pub(crate) fn missing(&self, row: &[f32]) -> Option<f32> {
        row.get(self.place).copied().filter(|value| !op::has_line(*value, self.count))
    }

    /// Returns the refusal of a row that holds such a value, at `place` in the row; `features` names the column unless
    /// the id has its own.
    pub(crate) fn refusal(&self, features: &str, row: u64, value: f32, place: usize) -> Error {
        let place = self.column.is_none().then_some(place);
        let problem = DataProblem::UnknownCategory { value, categories: self.count, place };
        Error::cell(self.column.as_deref().unwrap_or(features), row, problem)
    }
}

impl NetworkSpec {
    /// Returns the values that its first layer looks up.
    pub(crate) fn ids(&self) -> Vec<Id> {
        let inputs = self.inputs.count();
        match self.layers.first() {
            Some(LayerSpec::Join { branches }) => {
                let of = |branch: &super::BranchSpec| {
                    let parts = &branch.columns;
                    let place = |part: &ColumnRange| {
                        let name = part.name.clone();
                        (part.begin..part.begin + part.count).map(move |at| (at, name.clone()))
                    };
                    let places: Vec<(usize, String)> = parts.iter().flat_map(place).collect();
                    let found = branch.layers.first().map(|layer| counts(layer, places.len())).unwrap_or_default();
                    found
                        .into_iter()
                        .zip(places)
                        .map(|(count, (place, name))| Id { place, column: Some(name), count })
                        .collect::<Vec<_>>()
                };
                branches.iter().flat_map(of).collect()
            }
            Some(layer) => {
                let id = |(place, count)| Id { place, column: None, count };
                counts(layer, inputs).into_iter().enumerate().map(id).collect()
            }
            None => Vec::new(),
        }
    }
}

/// Returns the numbers of rows of a layer's embeddings, one for each of the first of `values` values.
fn counts(layer: &LayerSpec, values: usize) -> Vec<usize> {
    match layer {
        LayerSpec::Embedding(Embedding { num_embeddings: count, .. }) => vec![*count; values],
        LayerSpec::Categories { tables } => tables.iter().map(|table| table.num_embeddings).collect(),
        _ => Vec::new(),
    }
}
