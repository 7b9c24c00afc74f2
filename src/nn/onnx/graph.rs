//! A graph that grows node by node.

use super::message::{
    AttributeProto, Dimension, GraphProto, NodeProto, TensorProto, TensorShape, TensorTypeProto, TypeProto, ValueInfo,
    attribute_type, data_type,
};
use crate::{
    Result,
    nn::{InputShape, NamedTensor, Weights, spec::missing},
};

/// The value of an attribute.
#[derive(Debug)]
pub(crate) enum OnnxAttribute {
    Int(usize),
    Float(f64),
    Text(&'static str),
    Ints(Vec<usize>),
    Texts(Vec<&'static str>),
}

/// One side of a value's shape.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Side {
    Of(usize),
    Any(&'static str),
}

/// Rows on their way through the layers.
#[derive(Debug, Clone)]
pub(crate) struct OnnxRows {
    /// The value's name: `(rows, …)`, or `(rows, steps, …)` of sequences.
    pub(crate) name: String,
    /// The name of the sequences' lengths, `(rows)`.
    pub(crate) lengths: Option<String>,
}

/// Nodes, constants and weights.
#[derive(Debug)]
pub(crate) struct Graph<'a> {
    weights: &'a Weights,
    graph: GraphProto,
}

impl<'a> Graph<'a> {
    pub(super) fn new(weights: &'a Weights) -> Self {
        Self { weights, graph: GraphProto { name: "network".into(), ..Default::default() } }
    }

    pub(super) fn finish(self) -> GraphProto {
        self.graph
    }

    /// Adds a node of one output, and returns that.
    pub(crate) fn node(&mut self, operator: &str, inputs: &[&str], attributes: Vec<(&str, OnnxAttribute)>) -> String {
        let [output] = self.node_of(operator, inputs, attributes);
        output
    }

    /// Adds a node of several outputs, and returns those. An input of an empty name is left out.
    pub(crate) fn node_of<const N: usize>(
        &mut self,
        operator: &str,
        inputs: &[&str],
        attributes: Vec<(&str, OnnxAttribute)>,
    ) -> [String; N] {
        let name = format!("{operator}_{}", self.graph.node.len());
        let outputs = std::array::from_fn(|i| if i == 0 { name.clone() } else { format!("{name}:{i}") });
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: outputs.to_vec(),
            name,
            op_type: operator.to_owned(),
            attribute: attributes.into_iter().map(attribute).collect(),
        });
        outputs
    }

    /// Adds a parameter or statistic by its name, unchanged.
    pub(crate) fn weight(&mut self, name: &str) -> Result<String> {
        if self.graph.initializer.iter().all(|known| known.name != name) {
            let NamedTensor { shape, values, .. } = self.tensor(name)?;
            self.push(name.to_owned(), data_type::FLOAT, shape, bytes(values));
        }
        Ok(name.to_owned())
    }

    /// Returns a parameter's shape and values.
    pub(crate) fn tensor(&self, name: &str) -> Result<&'a NamedTensor> {
        self.weights.get(name).ok_or_else(|| missing(name))
    }

    /// Returns a constant of single precision.
    pub(crate) fn floats(&mut self, shape: &[usize], values: &[f32]) -> String {
        self.constant(data_type::FLOAT, shape, bytes(values))
    }

    /// Returns a constant of double precision.
    pub(crate) fn doubles(&mut self, shape: &[usize], values: &[f64]) -> String {
        self.constant(data_type::DOUBLE, shape, values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    /// Returns a constant list of integers.
    pub(crate) fn ints(&mut self, values: &[i64]) -> String {
        self.constant(data_type::INT64, &[values.len()], values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    /// Returns a constant integer.
    pub(crate) fn int(&mut self, value: i64) -> String {
        self.constant(data_type::INT64, &[], value.to_le_bytes().to_vec())
    }

    /// Returns a constant list of texts.
    pub(crate) fn texts(&mut self, values: &[String]) -> String {
        let name = self.constant(data_type::STRING, &[values.len()], Vec::new());
        if let Some(tensor) = self.graph.initializer.last_mut() {
            tensor.raw_data = None;
            tensor.string_data = values.iter().map(|text| text.as_bytes().to_vec()).collect();
        }
        name
    }

    /// Returns the value in another element type.
    pub(crate) fn cast(&mut self, value: &str, data_type: i32) -> String {
        self.node("Cast", &[value], vec![("to", OnnxAttribute::Int(data_type.unsigned_abs() as usize))])
    }

    /// Reshapes the value; a side of 0 is kept.
    pub(crate) fn reshape(&mut self, value: &str, sides: &[usize]) -> String {
        let sides = self.ints(&sides.iter().map(|&side| side as i64).collect::<Vec<_>>());
        self.node("Reshape", &[value, &sides], Vec::new())
    }

    /// Returns the value with its axes in another order.
    pub(crate) fn transpose(&mut self, value: &str, order: &[usize]) -> String {
        self.node("Transpose", &[value], vec![("perm", OnnxAttribute::Ints(order.to_vec()))])
    }

    /// Returns the value with an axis of 1 more.
    pub(crate) fn unsqueeze(&mut self, value: &str, axis: i64) -> String {
        let axes = self.ints(&[axis]);
        self.node("Unsqueeze", &[value, &axes], Vec::new())
    }

    /// Returns the value reduced along one axis, which goes.
    pub(crate) fn reduce(&mut self, operator: &str, value: &str, axis: i64) -> String {
        let axes = self.ints(&[axis]);
        self.node(operator, &[value, &axes], vec![("keepdims", OnnxAttribute::Int(0))])
    }

    /// Returns a linear layer over the last of any number of axes.
    pub(crate) fn project(&mut self, value: &str, weight: &str, bias: &str) -> Result<String> {
        let weight = self.weight(weight)?;
        let turned = self.transpose(&weight, &[1, 0]);
        let product = self.node("MatMul", &[value, &turned], Vec::new());
        let bias = self.weight(bias)?;
        Ok(self.node("Add", &[&product, &bias], Vec::new()))
    }

    /// `(rows, steps, 1)`: whether a sequence has the step.
    pub(crate) fn inside(&mut self, steps: &str, lengths: &str) -> String {
        let at = self.steps(steps);
        let lengths = self.unsqueeze(lengths, 1);
        let inside = self.node("Less", &[&at, &lengths], Vec::new());
        self.unsqueeze(&inside, 2)
    }

    /// Returns the numbers of the steps of a value, from 0: `(steps)`.
    pub(crate) fn steps(&mut self, value: &str) -> String {
        let shape = self.node("Shape", &[value], Vec::new());
        let [zero, one] = [0, 1].map(|number| self.int(number));
        let time = self.node("Gather", &[&shape, &one], vec![("axis", OnnxAttribute::Int(0))]);
        self.node("Range", &[&zero, &time, &one], Vec::new())
    }

    /// Declares what goes in.
    pub(crate) fn input(&mut self, name: &str, data_type: i32, sides: &[Side]) {
        self.graph.input.push(value_info(name, data_type, sides));
    }

    /// Declares an output: a value under an output name.
    pub(crate) fn output(&mut self, name: &str, value: &str, data_type: i32, sides: &[Side]) {
        self.node("Identity", &[value], Vec::new());
        if let Some(node) = self.graph.node.last_mut() {
            node.output = vec![name.to_owned()];
        }
        self.graph.output.push(value_info(name, data_type, sides));
    }

    fn constant(&mut self, data_type: i32, shape: &[usize], data: Vec<u8>) -> String {
        let name = format!("constant_{}", self.graph.initializer.len());
        self.push(name.clone(), data_type, shape, data);
        name
    }

    fn push(&mut self, name: String, data_type: i32, shape: &[usize], data: Vec<u8>) {
        let dims = shape.iter().map(|&side| side as i64).collect();
        let tensor = TensorProto { dims, data_type, name, raw_data: Some(data), ..Default::default() };
        self.graph.initializer.push(tensor);
    }
}

impl Side {
    /// Returns the sides of rows of a shape.
    pub(crate) fn of_rows(shape: &InputShape) -> Vec<Side> {
        let steps = shape.ragged.then_some(Side::Any("steps"));
        let own = shape.dims.iter().map(|&side| Side::Of(side));
        std::iter::once(Side::Any("rows")).chain(steps).chain(own).collect()
    }
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn attribute((name, value): (&str, OnnxAttribute)) -> AttributeProto {
    let empty = AttributeProto { name: name.to_owned(), ..Default::default() };
    match value {
        OnnxAttribute::Int(i) => AttributeProto { i: Some(i as i64), r#type: attribute_type::INT, ..empty },
        OnnxAttribute::Float(f) => AttributeProto { f: Some(f as f32), r#type: attribute_type::FLOAT, ..empty },
        OnnxAttribute::Text(s) => {
            AttributeProto { s: Some(s.as_bytes().to_vec()), r#type: attribute_type::STRING, ..empty }
        }
        OnnxAttribute::Ints(ints) => {
            let ints = ints.into_iter().map(|i| i as i64).collect();
            AttributeProto { ints, r#type: attribute_type::INTS, ..empty }
        }
        OnnxAttribute::Texts(texts) => {
            let strings = texts.into_iter().map(|text| text.as_bytes().to_vec()).collect();
            AttributeProto { strings, r#type: attribute_type::STRINGS, ..empty }
        }
    }
}

fn value_info(name: &str, elem_type: i32, sides: &[Side]) -> ValueInfo {
    let dim = sides.iter().map(|side| match side {
        Side::Of(size) => Dimension { dim_value: Some(*size as i64), dim_param: None },
        Side::Any(name) => Dimension { dim_value: None, dim_param: Some((*name).to_owned()) },
    });
    let shape = Some(TensorShape { dim: dim.collect() });
    let r#type = Some(TypeProto { tensor_type: Some(TensorTypeProto { elem_type, shape }) });
    ValueInfo { name: name.to_owned(), r#type }
}
