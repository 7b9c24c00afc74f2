//! Recurrent layers: the settings, the shapes they give, and how any device computes them.

use candle_core::{DType, Result, Tensor, bail};
use serde::{Deserialize, Serialize};

use crate::{
    Error, Result as Checked,
    nn::{
        InputShape,
        onnx::{Graph, OnnxAttribute, OnnxRows, data_type},
        op::rnn::{CellKind, Shape},
    },
};

/// Output of a recurrent layer for a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "job", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum SequenceOutput {
    /// Each direction's hidden state after its last step, of the topmost layer: PyTorch's `h_n`.
    #[default]
    Last,
    /// The mean over the steps.
    Mean,
    /// The largest value over the steps.
    Max,
    /// The outputs of all steps, another sequence.
    All,
}

/// The settings of PyTorch's `nn.LSTM`, `nn.GRU` and `nn.RNN`. Takes rows of steps × values; the state before the first
/// step is 0. A row becomes `hidden_size` values, twice as many when bidirectional, or that many a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "job", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Recurrent {
    /// Units of each layer and direction.
    pub hidden_size: usize,
    /// Layers on top of each other; 1 unless set.
    #[serde(default = "one")]
    pub num_layers: usize,
    /// True if each layer also reads the sequence from its end; not unless set.
    #[serde(default)]
    pub bidirectional: bool,
    /// Output; the last hidden state unless set.
    #[serde(default)]
    pub output: SequenceOutput,
}

fn one() -> usize {
    1
}

impl Recurrent {
    /// Creates one layer in one direction, which gives its last hidden state.
    pub fn new(hidden_size: usize) -> Self {
        Self { hidden_size, num_layers: 1, bidirectional: false, output: SequenceOutput::Last }
    }

    /// Returns its output shape for a row, and the stack; or the shape found and the one expected.
    pub(crate) fn shape(
        &self,
        kind: CellKind,
        input: &InputShape,
    ) -> std::result::Result<(InputShape, Shape), (String, String)> {
        // Far beyond use, far below overflow.
        const MOST: (usize, usize) = (1 << 20, 1 << 8);
        let Self { hidden_size: hidden, num_layers: layers, bidirectional, output } = *self;
        if !(1..=MOST.0).contains(&hidden) || !(1..=MOST.1).contains(&layers) {
            let fits = format!("hidden_size is 1 to {}, num_layers 1 to {}", MOST.0, MOST.1);
            return Err((format!("hidden_size = {hidden}, num_layers = {layers}"), fits));
        }
        let (&[.., inputs], 2) = (&input.dims[..], input.dims.len() + usize::from(input.ragged)) else {
            return Err((format!("rows of shape {input}"), "it takes steps × values".into()));
        };
        let shape = Shape { kind, inputs, hidden, layers, bidirectional, readout: output };
        let mut given = InputShape::from(shape.outputs());
        if output == SequenceOutput::All {
            given = InputShape { dims: input.dims.clone(), ragged: input.ragged };
            given.dims.pop();
            given.dims.push(shape.outputs());
        }
        Ok((given, shape))
    }
}

impl Recurrent {
    /// Returns the layers as ONNX's operators have them, one a layer; `own` is what the parameters' names begin with.
    pub(in crate::nn) fn onnx(
        &self,
        kind: CellKind,
        graph: &mut Graph<'_>,
        rows: &OnnxRows,
        own: &str,
    ) -> Checked<String> {
        // Where ONNX looks for each gate of ours, which are in PyTorch's order.
        let (operator, gates): (_, &[usize]) = match kind {
            CellKind::Lstm => ("LSTM", &[0, 3, 1, 2]),
            CellKind::Gru => ("GRU", &[1, 0, 2]),
            CellKind::Tanh | CellKind::Relu => ("RNN", &[0]),
        };
        let sides: &[&str] = if self.bidirectional { &["", "_reverse"] } else { &[""] };
        let lengths = rows.lengths.as_ref().map(|lengths| graph.cast(lengths, data_type::INT32)).unwrap_or_default();
        let (mut steps, mut last) = (rows.name.clone(), String::new());
        for layer in 0..self.num_layers {
            let ordered = |graph: &Graph<'_>, name: &str, side: &str| {
                let tensor = graph.tensor(&format!("{own}{name}_l{layer}{side}"))?;
                let gate = self.hidden_size * tensor.shape.get(1).copied().unwrap_or(1);
                let values: Vec<f32> =
                    gates.iter().flat_map(|&from| &tensor.values[from * gate..(from + 1) * gate]).copied().collect();
                Ok::<_, Error>(values)
            };
            let mut constant = |names: &[&str]| {
                let mut values = Vec::new();
                for (side, name) in sides.iter().flat_map(|side| names.iter().map(move |name| (side, name))) {
                    values.extend(ordered(graph, name, side)?);
                }
                // Weights are `(sides, gates, inputs)`, biases `(sides, both biases' gates)`.
                let rows = gates.len() * self.hidden_size * names.len();
                let columns = values.len() / sides.len() / rows;
                let shape = if names.len() == 1 { vec![sides.len(), rows, columns] } else { vec![sides.len(), rows] };
                Ok::<_, Error>(graph.floats(&shape, &values))
            };
            let input_weight = constant(&["weight_ih"])?;
            let hidden_weight = constant(&["weight_hh"])?;
            let bias = constant(&["bias_ih", "bias_hh"])?;
            let mut attributes = vec![("hidden_size", OnnxAttribute::Int(self.hidden_size))];
            if self.bidirectional {
                attributes.push(("direction", OnnxAttribute::Text("bidirectional")));
            }
            match kind {
                CellKind::Gru => attributes.push(("linear_before_reset", OnnxAttribute::Int(1))),
                CellKind::Relu => attributes.push(("activations", OnnxAttribute::Texts(vec!["Relu"; sides.len()]))),
                CellKind::Lstm | CellKind::Tanh => {}
            }
            let turned = graph.transpose(&steps, &[1, 0, 2]);
            let inputs = [&*turned, &input_weight, &hidden_weight, &bias, &lengths];
            // All outputs `(steps, sides, rows, hidden)`, and the last `(sides, rows, hidden)`.
            let [all, end] = graph.node_of(operator, &inputs, attributes);
            let all = graph.transpose(&all, &[2, 0, 1, 3]);
            steps = graph.reshape(&all, &[0, 0, sides.len() * self.hidden_size]);
            last = end;
        }
        if self.output == SequenceOutput::Last {
            let last = graph.transpose(&last, &[1, 0, 2]);
            return Ok(graph.reshape(&last, &[0, sides.len() * self.hidden_size]));
        }
        Ok(self.output.onnx(graph, &steps, rows.lengths.as_deref()))
    }
}

impl SequenceOutput {
    /// Reduces steps `(rows, steps, values)` by ONNX's operators.
    pub(super) fn onnx(self, graph: &mut Graph<'_>, steps: &str, lengths: Option<&str>) -> String {
        let (outside, reduce) = match self {
            SequenceOutput::All => return steps.to_owned(),
            SequenceOutput::Last => {
                let Some(lengths) = lengths else {
                    let last = graph.int(-1);
                    return graph.node("Gather", &[steps, &last], vec![("axis", OnnxAttribute::Int(1))]);
                };
                let one = graph.int(1);
                let at = graph.node("Sub", &[lengths, &one], Vec::new());
                let at = graph.unsqueeze(&at, 1);
                return graph.node("GatherND", &[steps, &at], vec![("batch_dims", OnnxAttribute::Int(1))]);
            }
            SequenceOutput::Mean => (0.0, if lengths.is_some() { "ReduceSum" } else { "ReduceMean" }),
            SequenceOutput::Max => (f32::NEG_INFINITY, "ReduceMax"),
        };
        let Some(lengths) = lengths else { return graph.reduce(reduce, steps, 1) };
        let inside = graph.inside(steps, lengths);
        let outside = graph.floats(&[], &[outside]);
        let seen = graph.node("Where", &[&inside, steps, &outside], Vec::new());
        let reduced = graph.reduce(reduce, &seen, 1);
        if self == SequenceOutput::Max {
            return reduced;
        }
        let count = graph.cast(lengths, data_type::FLOAT);
        let count = graph.unsqueeze(&count, 1);
        graph.node("Div", &[&reduced, &count], Vec::new())
    }
}

/// `x` is `(rows, time, values)`, padded behind the rows' lengths where those are given; `params` as
/// [`Shape::parameters`] lists them.
pub(crate) fn forward(
    settings: &Recurrent,
    kind: CellKind,
    x: &Tensor,
    params: &[&Tensor],
    lengths: Option<&[u32]>,
) -> Result<Tensor> {
    let input = InputShape::from(x.dims()[1..].to_vec());
    let (_, shape) =
        settings.shape(kind, &input).map_err(|(got, fits)| candle_core::Error::msg(format!("{got}; {fits}")))?;
    let masks = lengths.map(|lengths| masks(lengths, x.dim(1)?, x)).transpose()?;
    let (mut steps, mut last) = (x.clone(), Vec::new());
    for directions in params.chunks(4 * if shape.bidirectional { 2 } else { 1 }) {
        let mut sides = Vec::new();
        last.clear();
        for (direction, own) in directions.chunks(4).enumerate() {
            let &[input_weight, hidden_weight, input_bias, hidden_bias] = own else {
                bail!("{} parameters for a direction, which has 4", own.len())
            };
            let time = steps.dim(1)?;
            let (mut hidden, mut cells) = (Tensor::zeros((x.dim(0)?, shape.hidden), x.dtype(), x.device())?, None);
            let mut all = Vec::with_capacity(time);
            for step in 0..time {
                let at = if direction == 0 { step } else { time - 1 - step };
                let now = steps.narrow(1, at, 1)?.squeeze(1)?.contiguous()?;
                let from_input = now.matmul(&input_weight.t()?)?.broadcast_add(input_bias)?;
                let from_hidden = hidden.matmul(&hidden_weight.t()?)?.broadcast_add(hidden_bias)?;
                let before = (hidden.clone(), cells.clone());
                hidden = cell(kind, &from_input, &from_hidden, &hidden, &mut cells)?;
                let Some(mask) = masks.as_ref().map(|masks| &masks[at]) else {
                    all.push(hidden.clone());
                    continue;
                };
                // Behind a sequence's end nothing changes, and nothing comes out.
                let blend = |now: &Tensor, before: &Tensor| before + now.sub(before)?.broadcast_mul(mask)?;
                hidden = blend(&hidden, &before.0)?;
                if let Some(now) = &cells {
                    let before = before.1.map_or_else(|| now.zeros_like(), Ok)?;
                    cells = Some(blend(now, &before)?);
                }
                all.push(hidden.broadcast_mul(mask)?);
            }
            if direction == 1 {
                all.reverse();
            }
            last.push(hidden);
            sides.push(Tensor::stack(&all, 1)?);
        }
        steps = Tensor::cat(&sides, 2)?;
    }
    match settings.output {
        SequenceOutput::All => Ok(steps),
        SequenceOutput::Last => Tensor::cat(&last, 1),
        SequenceOutput::Mean => match lengths {
            None => steps.mean(1),
            Some(lengths) => {
                let counts: Vec<f32> = lengths.iter().map(|&length| length as f32).collect();
                let counts = Tensor::from_vec(counts, (lengths.len(), 1), x.device())?.to_dtype(steps.dtype())?;
                steps.sum(1)?.broadcast_div(&counts)
            }
        },
        SequenceOutput::Max => match masks {
            None => steps.max(1),
            Some(masks) => {
                let highest = if steps.dtype() == DType::F16 { 65504.0 } else { f64::from(f32::MAX) };
                let none = ((Tensor::stack(&masks, 1)? - 1.0)? * highest)?;
                steps.broadcast_add(&none)?.max(1)
            }
        },
    }
}

/// For every step `(rows, 1)`: 1 where a row has it, else 0.
fn masks(lengths: &[u32], time: usize, like: &Tensor) -> Result<Vec<Tensor>> {
    let one = |step: usize| {
        let has: Vec<f32> = lengths.iter().map(|&length| f32::from(u8::from(step < length as usize))).collect();
        Tensor::from_vec(has, (lengths.len(), 1), like.device())?.to_dtype(like.dtype())
    };
    (0..time).map(one).collect()
}

/// Returns the next hidden state.
fn cell(
    kind: CellKind,
    input: &Tensor,
    hidden: &Tensor,
    before: &Tensor,
    cells: &mut Option<Tensor>,
) -> Result<Tensor> {
    let sigmoid = candle_nn::ops::sigmoid;
    let part = |of: &Tensor, i: usize| {
        let h = before.dim(1)?;
        of.narrow(1, i * h, h)
    };
    match kind {
        CellKind::Lstm => {
            let sums = (input + hidden)?;
            let fresh = (sigmoid(&part(&sums, 0)?)? * part(&sums, 2)?.tanh()?)?;
            let now = match cells.take() {
                Some(cells) => ((sigmoid(&part(&sums, 1)?)? * cells)? + fresh)?,
                None => fresh,
            };
            let out = sigmoid(&part(&sums, 3)?)? * now.tanh()?;
            *cells = Some(now);
            out
        }
        CellKind::Gru => {
            let reset = sigmoid(&(part(input, 0)? + part(hidden, 0)?)?)?;
            let keep = sigmoid(&(part(input, 1)? + part(hidden, 1)?)?)?;
            let new = (part(input, 2)? + (reset * part(hidden, 2)?)?)?.tanh()?;
            &new + (keep * (before - &new)?)?
        }
        CellKind::Tanh => (input + hidden)?.tanh(),
        CellKind::Relu => (input + hidden)?.relu(),
    }
}
