//! Models as ONNX files: the network, and what its outputs mean.

use std::path::Path;

use super::{EncodeOptions, Encoder, Link, PredictOptions, Task, TrainedNetwork};
use crate::{
    Error, Result,
    nn::{FEATURES, Graph, InputShape, LENGTHS, Onnx, OnnxAttribute, Side, data_type},
    tensor::Columns,
};

impl TrainedNetwork {
    /// Writes the model to an ONNX file (operators of version 20, format 9), which `onnxruntime` and others read.
    ///
    /// | input | type | |
    /// |---|---|---|
    /// | `features` | float | `(rows, …)`, a row's features side by side in the shape of the network's inputs; sequences `(rows, steps, …)` |
    /// | `lengths` | int64 | `(rows)`, of sequences alone: their steps, at least 1 |
    ///
    /// Outputs are called as `options` call the columns; an empty name leaves one out.
    ///
    /// | output | type | |
    /// |---|---|---|
    /// | `rawPrediction`, `probability` | float | `(rows, classes)`; of classes and labels |
    /// | `prediction` | int64 | `(rows)`: the class, by the thresholds |
    /// | | int64 | `(rows, labels)`: 1 for each label that a row has |
    /// | | double | `(rows)`, or `(rows, values)` of several, in the targets' own units |
    /// | `predictedLabel` | string | `(rows)`: the class's name; of classes alone |
    ///
    /// The file's metadata name the columns (`columns`) and classes, labels or values (`names`), as JSON. Weights of
    /// more than 1 GiB go to a file `<name>.data` beside it. Files are replaced whole. Preparing stages, readers of
    /// images and texts, and what is done with invalid rows are not part of it.
    ///
    /// # Errors
    /// [`Error::Network`] for a network of a user's own; [`Error::Param`] for bad thresholds; [`Error::Schema`] for
    /// outputs of one name; [`Error::Io`] when a file cannot be written.
    pub fn write_onnx(&self, path: impl AsRef<Path>, options: &PredictOptions) -> Result<()> {
        options.check(self.task())?;
        options.outputs.check([FEATURES, LENGTHS])?;
        let (mut onnx, rows) = Onnx::of(self.spec(), self.weights());
        let layers = &self.spec().layers;
        let name = onnx.graph.layers(layers, &self.spec().shapes()?, 0..layers.len(), "", rows)?.name;
        let scores = Scores { name, count: self.spec().outputs };
        let found = OnnxHead { graph: &mut onnx.graph, options }.outputs(self.task(), scores);
        if found == 0 {
            return Err(nothing());
        }
        describe(&mut onnx, self.columns(), self.task().names());
        onnx.write(path.as_ref())
    }
}

impl Encoder {
    /// Writes the encoder to an ONNX file, as [`TrainedNetwork::write_onnx`] does. The outputs are the code, the
    /// reconstruction (both float, a row's values side by side) and the error (double), as `options` call them.
    ///
    /// # Errors
    /// As [`TrainedNetwork::write_onnx`]; [`Error::Schema`] for outputs of one name.
    pub fn write_onnx(&self, path: impl AsRef<Path>, options: &EncodeOptions) -> Result<()> {
        let outputs = &options.outputs;
        outputs.check([FEATURES, LENGTHS])?;
        let (mut onnx, rows) = Onnx::of(self.spec(), self.weights());
        let (graph, input) = (&mut onnx.graph, rows.name.clone());
        let (layers, shapes, cut) = (&self.spec().layers, self.spec().shapes()?, self.layer_index());
        let code = graph.layers(layers, &shapes, 0..cut, "", rows)?;
        if !outputs.code.is_empty() {
            let flat = graph.node("Flatten", &[&code.name], vec![("axis", OnnxAttribute::Int(1))]);
            graph.output(&outputs.code, &flat, data_type::FLOAT, &wide(self.code_width()));
        }
        let restores = [&outputs.reconstruction, &outputs.error].into_iter().any(|name| !name.is_empty());
        if restores {
            let restored = graph.layers(layers, &shapes, cut..layers.len(), "", code)?.name;
            if !outputs.reconstruction.is_empty() {
                let sides = wide(self.spec().outputs);
                graph.output(&outputs.reconstruction, &restored, data_type::FLOAT, &sides);
            }
            if !outputs.error.is_empty() {
                let flat = graph.node("Flatten", &[&input], vec![("axis", OnnxAttribute::Int(1))]);
                let [flat, restored] = [flat, restored].map(|value| graph.cast(&value, data_type::DOUBLE));
                let difference = graph.node("Sub", &[&flat, &restored], Vec::new());
                let squares = graph.node("Mul", &[&difference, &difference], Vec::new());
                let error = graph.reduce("ReduceMean", &squares, 1);
                graph.output(&outputs.error, &error, data_type::DOUBLE, &[Side::Any("rows")]);
            }
        }
        if outputs.code.is_empty() && !restores {
            return Err(nothing());
        }
        describe(&mut onnx, self.columns(), &[]);
        onnx.write(path.as_ref())
    }
}

fn nothing() -> Error {
    Error::param("outputs", "no name", "the name of at least one output, which an empty name leaves out")
}

fn describe(onnx: &mut Onnx<'_>, columns: &Columns, names: &[String]) {
    let columns = match &columns.readers {
        None => columns.features.clone(),
        Some(readers) => readers.columns().into_iter().map(str::to_owned).collect(),
    };
    onnx.property("columns", serde_json::json!(columns).to_string());
    if !names.is_empty() {
        onnx.property("names", serde_json::json!(names).to_string());
    }
}

/// `(rows, count)`.
fn wide(count: usize) -> Vec<Side> {
    Side::of_rows(&InputShape::from(count))
}

/// Output of the last layer.
struct Scores {
    name: String,
    count: usize,
}

/// Outputs made of the scores.
struct OnnxHead<'a, 'b> {
    graph: &'a mut Graph<'b>,
    options: &'a PredictOptions,
}

impl OnnxHead<'_, '_> {
    /// Adds the outputs of a task, and returns how many.
    fn outputs(&mut self, task: &Task, scores: Scores) -> usize {
        let (names, sides) = (&self.options.outputs, wide(scores.count));
        let Scores { name: scores, count } = scores;
        let mut outputs = Vec::new();
        match task {
            Task::Classes { names: classes } => {
                let probabilities = self.graph.node("Softmax", &[&scores], vec![("axis", OnnxAttribute::Int(1))]);
                let chosen = self.chosen(&probabilities);
                outputs.push((&names.raw_prediction, scores, data_type::FLOAT, sides.clone()));
                outputs.push((&names.probability, probabilities, data_type::FLOAT, sides));
                if !names.predicted_label.is_empty() {
                    let classes = self.graph.texts(classes);
                    let label = self.graph.node("Gather", &[&classes, &chosen], vec![("axis", OnnxAttribute::Int(0))]);
                    outputs.push((&names.predicted_label, label, data_type::STRING, vec![Side::Any("rows")]));
                }
                outputs.push((&names.prediction, chosen, data_type::INT64, vec![Side::Any("rows")]));
            }
            Task::Labels { .. } => {
                let probabilities = self.graph.node("Sigmoid", &[&scores], Vec::new());
                let least = self.options.thresholds.clone().unwrap_or_else(|| vec![0.5; count]);
                let least: Vec<f32> = least.iter().map(|&least| least as f32).collect();
                let least = self.graph.floats(&[count], &least);
                let has = self.graph.node("Greater", &[&probabilities, &least], Vec::new());
                let has = self.graph.cast(&has, data_type::INT64);
                outputs.push((&names.raw_prediction, scores, data_type::FLOAT, sides.clone()));
                outputs.push((&names.probability, probabilities, data_type::FLOAT, sides.clone()));
                outputs.push((&names.prediction, has, data_type::INT64, sides));
            }
            Task::Values { scaling, link, .. } => {
                let mut values = self.graph.cast(&scores, data_type::DOUBLE);
                match link {
                    Link::Identity => {}
                    Link::Exp => values = self.graph.node("Exp", &[&values], Vec::new()),
                    Link::Sigmoid => values = self.graph.node("Sigmoid", &[&values], Vec::new()),
                }
                if let Some(scaling) = scaling {
                    for (operator, numbers) in [("Mul", &scaling.std), ("Add", &scaling.mean)] {
                        let numbers = self.graph.doubles(&[count], numbers);
                        values = self.graph.node(operator, &[&values, &numbers], Vec::new());
                    }
                }
                let sides = if count == 1 {
                    values = self.graph.reshape(&values, &[0]);
                    vec![Side::Any("rows")]
                } else {
                    sides
                };
                outputs.push((&names.prediction, values, data_type::DOUBLE, sides));
            }
            Task::Input { .. } => outputs.push((&names.prediction, scores, data_type::FLOAT, sides)),
        }
        outputs.retain(|(name, ..)| !name.is_empty());
        for (name, value, data_type, sides) in &outputs {
            self.graph.output(name, value, *data_type, sides);
        }
        outputs.len()
    }

    /// Returns the class of the largest probability, or of the largest by its threshold.
    fn chosen(&mut self, probabilities: &str) -> String {
        let mut scaled = probabilities.to_owned();
        if let Some(thresholds) = &self.options.thresholds {
            let thresholds: Vec<f32> = thresholds.iter().map(|&threshold| threshold as f32).collect();
            let thresholds = self.graph.floats(&[thresholds.len()], &thresholds);
            scaled = self.graph.node("Div", &[&scaled, &thresholds], Vec::new());
            // No probability for a class whose threshold is 0.
            let lowest = self.graph.floats(&[], &[f32::NEG_INFINITY]);
            let none = self.graph.node("IsNaN", &[&scaled], Vec::new());
            scaled = self.graph.node("Where", &[&none, &lowest, &scaled], Vec::new());
        }
        self.graph.node(
            "ArgMax",
            &[&scaled],
            vec![("axis", OnnxAttribute::Int(1)), ("keepdims", OnnxAttribute::Int(0))],
        )
    }
}
