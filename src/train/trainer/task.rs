//! The task of a run, from its parameters and the first rows.

use super::Trainer;
use crate::{
    DataProblem, Error, Result,
    model::Task,
    nn::{InputColumn, InputShape, NetworkSpec},
    tensor::{LabelKind, TensorField, field::LABEL},
    train::{
        CrossEntropy,
        feed::{Everything, TrainingBlock},
        loss::Objective,
    },
};

impl Trainer {
    /// Returns the kind of labels: none where the columns name no label.
    pub(super) fn label_kind(&self) -> LabelKind {
        match self.params.loss.label_kind() {
            LabelKind::Class => LabelKind::Class,
            _ if self.columns.label.is_empty() => LabelKind::None,
            LabelKind::Numbers if self.scaling.is_some() => LabelKind::Scaled,
            kind => kind,
        }
    }

    /// Returns the meaning of the outputs, and their number.
    pub(super) fn task(&self, first: &TrainingBlock, inputs: &InputShape) -> Result<(Task, usize)> {
        let (loss, kind) = (self.params.loss, self.label_kind());
        let link = loss.link();
        if self.scaling.is_some() && kind != LabelKind::Scaled {
            let value = format!("{:?}", self.scaling);
            return Err(Error::param("scaling", value, "none: only targets of a loss over plain numbers are scaled"));
        }
        if kind == LabelKind::Class {
            let names = self.class_names(first.end.as_ref())?;
            let count = names.len();
            return Ok((Task::Classes { names }, count));
        }
        let label = |field: &&TensorField| field.name == LABEL;
        let Some(label) = first.rows.fields().iter().find(label) else {
            return Ok((Task::Input { link }, inputs.count()));
        };
        let (width, name) = (label.count(), &self.columns.label);
        let numbered = || (0..width).map(|i| if width == 1 { name.clone() } else { format!("{name}_{i}") }).collect();
        let names: Vec<String> = self.names.clone().unwrap_or_else(numbered);
        if names.len() != width {
            return Err(Error::data(name, DataProblem::Length { expected: names.len(), found: width }));
        }
        Ok(match kind {
            LabelKind::Probabilities => (Task::Labels { names }, width),
            _ => (Task::Values { names, scaling: self.scaling.clone(), link }, width),
        })
    }

    /// Returns the network for rows of this shape.
    pub(super) fn resolve(&self, inputs: InputShape, outputs: usize) -> Result<NetworkSpec> {
        let names = &self.columns.features;
        let named = || match names.as_slice() {
            [only] => InputColumn::side_by_side([(only, inputs.dims.clone())]),
            several if inputs.flat() == Some(several.len()) => {
                InputColumn::side_by_side(several.iter().map(|name| (name, Vec::new())))
            }
            _ => Vec::new(),
        };
        let columns = if self.inputs.is_empty() { named() } else { self.inputs.clone() };
        self.network.resolve_columns(&columns, inputs, outputs)
    }

    pub(super) fn objective(&self, task: &Task, everything: Option<&Everything>, outputs: usize) -> Result<Objective> {
        let params = &self.params;
        task.check(outputs, outputs)?;
        let objective = match task {
            Task::Classes { .. } => {
                let class_weights = params.class_weights.resolve(&self.counts(everything, outputs))?;
                Objective::classes(CrossEntropy::new(class_weights, params.label_smoothing))
            }
            task => Objective::values(params.loss, task, outputs),
        };
        Ok(objective.corrupted(params.corruption, params.seed))
    }

    fn class_names(&self, everything: Option<&Everything>) -> Result<Vec<String>> {
        let counted = || self.class_counts.as_ref().map(Vec::len).or(everything.map(|all| all.labels)).unwrap_or(0);
        let names = self.names.clone().unwrap_or_else(|| (0..counted()).map(|class| class.to_string()).collect());
        if names.len() < 2 {
            return Err(Error::data(&self.columns.label, DataProblem::OneClass { class: names.into_iter().next() }));
        }
        Ok(names)
    }

    /// Returns the number of rows of each class: as counted before, else among the training rows. Zeros when neither is
    /// known.
    fn counts(&self, everything: Option<&Everything>, classes: usize) -> Vec<u64> {
        let counted = self.class_counts.as_deref().or(everything.map(|all| all.classes.as_slice()));
        let mut counts = counted.unwrap_or_default().to_vec();
        counts.resize(classes, 0);
        counts
    }
}

#[cfg(test)]
mod tests;
