//! Self-attention over the steps of a sequence: the settings, the shapes they give, and how any device computes it.

use candle_core::{D, DType, Result, Tensor, bail};
use serde::{Deserialize, Serialize};

use super::SequenceOutput;
use crate::{
    Result as Checked,
    nn::{
        InputShape,
        onnx::{Graph, OnnxAttribute, OnnxRows, data_type},
        op,
        spec::Initial,
    },
};

/// A block of self-attention over rows of steps × values (Vaswani et al., "Attention is all you need", 2017), put
/// together like PyTorch's `nn.TransformerEncoderLayer` without dropout: `y = norm1(x + attention(x))`, and with a
/// feed-forward part `norm2(y + linear2(relu(linear1(y))))`. Steps behind a sequence's end are never looked at.
///
/// As JSON: `{"kind": "attention", "num_heads": 4, "width": 32, "positions": true, "feed_forward": 64, "output":
/// "mean"}`.
///
/// ```
/// use tinderbox::nn::{Attention, InputShape, Network, SequenceOutput};
///
/// let first = Attention { width: Some(32), positions: true, feed_forward: Some(64), ..Attention::new(4) };
/// let last = Attention { feed_forward: Some(64), output: SequenceOutput::Mean, ..Attention::new(4) };
/// let network = Network::new().attention(first).attention(last);
/// network.resolve(InputShape::sequence([12]), 9)?;
/// # Ok::<(), tinderbox::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "job", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Attention {
    /// Heads that look on their own; they share the values of a step evenly.
    pub num_heads: usize,
    /// Values of a step inside of the block and behind it, made by a linear layer; those that come in, as they are,
    /// unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<usize>,
    /// Adds sines and cosines of the position to every step, which otherwise have no order; not unless set. Meant for
    /// the first of several blocks.
    #[serde(default)]
    pub positions: bool,
    /// Hidden units of the feed-forward part; none unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feed_forward: Option<usize>,
    /// Output; all steps unless set.
    #[serde(default = "all")]
    pub output: SequenceOutput,
}

fn all() -> SequenceOutput {
    SequenceOutput::All
}

/// Added to a variance.
const EPS: f64 = 1e-5;

/// A block with its sizes filled in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AttentionBlock {
    /// Values of a step going in.
    pub(crate) inputs: usize,
    /// Values of a step inside.
    pub(crate) width: usize,
    /// Steps of a row; 1 where the lengths of sequences tell.
    pub(crate) time: usize,
    pub(crate) eps: f64,
}

impl Attention {
    /// Nothing but attention, the sum and its normalisation; all steps come out.
    pub fn new(num_heads: usize) -> Self {
        Self { num_heads, width: None, positions: false, feed_forward: None, output: SequenceOutput::All }
    }

    /// Returns its output shape for a row, and the block; or the shape found and the one expected.
    pub(crate) fn shape(
        &self,
        input: &InputShape,
    ) -> std::result::Result<(InputShape, AttentionBlock), (String, String)> {
        const MOST: usize = 1 << 20;
        let (time, inputs) = match (&input.dims[..], input.ragged) {
            (&[inputs], true) => (1, inputs),
            (&[time, inputs], false) => (time, inputs),
            _ => return Err((format!("rows of shape {input}"), "it takes steps × values".into())),
        };
        let (width, hidden) = (self.width.unwrap_or(inputs), self.feed_forward.unwrap_or(1));
        if !(1..=MOST).contains(&width) || !(1..=MOST).contains(&hidden) {
            let got = format!("width = {width}, feed_forward = {hidden}");
            return Err((got, format!("each is 1 to {MOST}")));
        }
        if self.num_heads == 0 || width % self.num_heads != 0 {
            let got = format!("steps of {width} values for {} heads", self.num_heads);
            return Err((got, "num_heads must divide the values of a step, which `width` sets".into()));
        }
        let dims = match (self.output, input.ragged) {
            (SequenceOutput::All, false) => vec![time, width],
            _ => vec![width],
        };
        let output = InputShape { dims, ragged: input.ragged && self.output == SequenceOutput::All };
        Ok((output, AttentionBlock { inputs, width, time, eps: EPS }))
    }

    /// Returns its parameters, named as PyTorch's modules have them, in the order in which kernels take them.
    pub(in crate::nn) fn parameters(&self, block: AttentionBlock) -> Vec<(&'static str, Vec<usize>, Initial)> {
        let AttentionBlock { inputs, width, .. } = block;
        let mut all = Vec::new();
        let mut linear = |[weight, bias]: [&'static str; 2], inputs: usize, outputs: usize| {
            let bound = Initial::Uniform(1.0 / (inputs as f32).sqrt());
            all.extend([(weight, vec![outputs, inputs], bound), (bias, vec![outputs], bound)]);
        };
        if self.width.is_some() {
            linear(["project.weight", "project.bias"], inputs, width);
        }
        linear(["self_attn.in_proj_weight", "self_attn.in_proj_bias"], width, 3 * width);
        linear(["self_attn.out_proj.weight", "self_attn.out_proj.bias"], width, width);
        let norm = |[weight, bias]: [&'static str; 2]| {
            [(weight, vec![width], Initial::Constant(1.0)), (bias, vec![width], Initial::Constant(0.0))]
        };
        all.extend(norm(["norm1.weight", "norm1.bias"]));
        if let Some(hidden) = self.feed_forward {
            let bounds = [width, hidden].map(|inputs| Initial::Uniform(1.0 / (inputs as f32).sqrt()));
            all.extend([
                ("linear1.weight", vec![hidden, width], bounds[0]),
                ("linear1.bias", vec![hidden], bounds[0]),
                ("linear2.weight", vec![width, hidden], bounds[1]),
                ("linear2.bias", vec![width], bounds[1]),
            ]);
            all.extend(norm(["norm2.weight", "norm2.bias"]));
        }
        for (name, _, initial) in &mut all {
            match *name {
                // Glorot and Bengio's bound, which PyTorch's attention starts from.
                "self_attn.in_proj_weight" => *initial = Initial::Uniform((6.0 / (4 * width) as f32).sqrt()),
                "self_attn.in_proj_bias" | "self_attn.out_proj.bias" => *initial = Initial::Constant(0.0),
                _ => {}
            }
        }
        all
    }

    /// Operations of a row; of sequences, those of a step that sees itself alone.
    pub(crate) fn flops(&self, block: AttentionBlock) -> u64 {
        let [inputs, width, time] = [block.inputs, block.width, block.time].map(|n| n as u64);
        let hidden = self.feed_forward.unwrap_or(0) as u64;
        let project = if self.width.is_some() { 2 * inputs * width } else { 0 };
        let rest = width * (2 + u64::from(self.positions)) + if hidden > 0 { hidden + 2 * width } else { 0 };
        let step = project + 8 * width * width + 4 * time * width + 4 * width * hidden + rest;
        time.saturating_mul(step)
    }
}

impl Attention {
    /// Returns the block by ONNX's operators; `own` is what the parameters' names begin with.
    pub(in crate::nn) fn onnx(
        &self,
        graph: &mut Graph<'_>,
        rows: &OnnxRows,
        own: &str,
        input: &InputShape,
    ) -> Checked<String> {
        let width = self.width.or(input.dims.last().copied()).unwrap_or(1);
        let each = width / self.num_heads.max(1);
        let project = |graph: &mut Graph<'_>, x: &str, name: &str| {
            graph.project(x, &format!("{own}{name}weight"), &format!("{own}{name}bias"))
        };
        let norm = |graph: &mut Graph<'_>, x: &str, more: &str, name: &str| -> Checked<String> {
            let sum = graph.node("Add", &[x, more], Vec::new());
            let [weight, bias] = ["weight", "bias"].map(|part| graph.weight(&format!("{own}{name}.{part}")));
            let attributes = vec![("axis", OnnxAttribute::Int(2)), ("epsilon", OnnxAttribute::Float(EPS))];
            Ok(graph.node("LayerNormalization", &[&sum, &weight?, &bias?], attributes))
        };
        let mut x = rows.name.clone();
        if self.width.is_some() {
            x = project(graph, &x, "project.")?;
        }
        if self.positions {
            let positions = positions_onnx(graph, &x, width);
            x = graph.node("Add", &[&x, &positions], Vec::new());
        }
        let all = project(graph, &x, "self_attn.in_proj_")?;
        let all = graph.reshape(&all, &[0, 0, 3, self.num_heads, each]);
        let all = graph.transpose(&all, &[2, 0, 3, 1, 4]);
        let [query, key, value] = [0, 1, 2].map(|part| {
            let part = graph.int(part);
            graph.node("Gather", &[&all, &part], vec![("axis", OnnxAttribute::Int(0))])
        });
        let key = graph.transpose(&key, &[0, 1, 3, 2]);
        let scores = graph.node("MatMul", &[&query, &key], Vec::new());
        let scale = graph.floats(&[], &[(each as f32).sqrt()]);
        let mut scores = graph.node("Div", &[&scores, &scale], Vec::new());
        if let Some(lengths) = &rows.lengths {
            let inside = graph.inside(&x, lengths);
            let inside = graph.transpose(&inside, &[0, 2, 1]);
            let inside = graph.unsqueeze(&inside, 1);
            let none = graph.floats(&[], &[-1e30]);
            scores = graph.node("Where", &[&inside, &scores, &none], Vec::new());
        }
        // Of the last axis, unless told otherwise.
        let shares = graph.node("Softmax", &[&scores], Vec::new());
        let mixed = graph.node("MatMul", &[&shares, &value], Vec::new());
        let mixed = graph.transpose(&mixed, &[0, 2, 1, 3]);
        let mixed = graph.reshape(&mixed, &[0, 0, width]);
        let mixed = project(graph, &mixed, "self_attn.out_proj.")?;
        let mut y = norm(graph, &x, &mixed, "norm1")?;
        if self.feed_forward.is_some() {
            let inner = project(graph, &y, "linear1.")?;
            let inner = graph.node("Relu", &[&inner], Vec::new());
            let inner = project(graph, &inner, "linear2.")?;
            y = norm(graph, &y, &inner, "norm2")?;
        }
        Ok(self.output.onnx(graph, &y, rows.lengths.as_deref()))
    }
}

/// Sines and cosines for each step, `(steps, width)`. A cosine is a sine a quarter further on.
fn positions_onnx(graph: &mut Graph<'_>, x: &str, width: usize) -> String {
    let steps = graph.steps(x);
    let steps = graph.cast(&steps, data_type::DOUBLE);
    let steps = graph.unsqueeze(&steps, 1);
    let pace = |at: usize| 10_000f64.powf(-((at - at % 2) as f64) / width as f64);
    let paces = graph.doubles(&[width], &(0..width).map(pace).collect::<Vec<_>>());
    let shift = |at: usize| if at.is_multiple_of(2) { 0.0 } else { std::f64::consts::FRAC_PI_2 };
    let shifts = graph.doubles(&[width], &(0..width).map(shift).collect::<Vec<_>>());
    let angles = graph.node("Mul", &[&steps, &paces], Vec::new());
    let angles = graph.node("Add", &[&angles, &shifts], Vec::new());
    let sines = graph.node("Sin", &[&angles], Vec::new());
    graph.cast(&sines, data_type::FLOAT)
}

/// `x` is `(rows, time, values)`, padded behind the rows' lengths where those are given; `params` as
/// [`Attention::parameters`] lists them.
pub(crate) fn forward(settings: &Attention, x: &Tensor, params: &[&Tensor], lengths: Option<&[u32]>) -> Result<Tensor> {
    let input = InputShape::sequence(x.dims()[2..].to_vec());
    let (_, block) = settings.shape(&input).map_err(|(got, fits)| candle_core::Error::msg(format!("{got}; {fits}")))?;
    let (rows, time, width) = (x.dim(0)?, x.dim(1)?, block.width);
    let mut params = params.iter();
    let mut two = || match (params.next(), params.next()) {
        (Some(weight), Some(bias)) => Ok((*weight, *bias)),
        _ => bail!("parameters are missing"),
    };
    let linear = |x: &Tensor, (weight, bias): (&Tensor, &Tensor)| {
        let flat = x.reshape((rows * time, weight.dim(1)?))?;
        flat.matmul(&weight.t()?)?.broadcast_add(bias)?.reshape((rows, time, weight.dim(0)?))
    };
    let norm = |x: &Tensor, (weight, bias): (&Tensor, &Tensor)| {
        let wide = x.to_dtype(DType::F32)?;
        let centred = wide.broadcast_sub(&wide.mean_keepdim(2)?)?;
        let scale = (centred.sqr()?.mean_keepdim(2)? + block.eps)?.sqrt()?;
        let normal = centred.broadcast_div(&scale)?.to_dtype(x.dtype())?;
        normal.broadcast_mul(weight)?.broadcast_add(bias)
    };
    let mut x = if settings.width.is_some() { linear(x, two()?)? } else { x.clone() };
    if settings.positions {
        let mut table = Vec::new();
        op::positions(0..time, width, &mut table);
        x = x.broadcast_add(&Tensor::from_vec(table, (1, time, width), x.device())?.to_dtype(x.dtype())?)?;
    }
    let each = width / settings.num_heads;
    let all = linear(&x, two()?)?.reshape((rows, time, 3, settings.num_heads, each))?;
    let part = |i: usize| all.narrow(2, i, 1)?.squeeze(2)?.transpose(1, 2)?.contiguous();
    let scores = part(0)?.matmul(&part(1)?.transpose(2, 3)?.contiguous()?)?.to_dtype(DType::F32)?;
    let mut scores = (scores / (each as f64).sqrt())?;
    if let Some(lengths) = lengths {
        let none = |&length: &u32| (0..time).map(move |step| if step < length as usize { 0.0 } else { -1e30f32 });
        let mask: Vec<f32> = lengths.iter().flat_map(none).collect();
        scores = scores.broadcast_add(&Tensor::from_vec(mask, (rows, 1, 1, time), x.device())?)?;
    }
    let weights = candle_nn::ops::softmax(&scores, D::Minus1)?.to_dtype(x.dtype())?;
    let mixed = weights.matmul(&part(2)?)?.transpose(1, 2)?.contiguous()?.reshape((rows, time, width))?;
    let mut y = norm(&(x + linear(&mixed, two()?)?)?, two()?)?;
    if settings.feed_forward.is_some() {
        let inner = linear(&linear(&y, two()?)?.relu()?, two()?)?;
        y = norm(&(y + inner)?, two()?)?;
    }
    read(settings.output, &y, lengths)
}

/// Reduces steps to the output.
fn read(readout: SequenceOutput, y: &Tensor, lengths: Option<&[u32]>) -> Result<Tensor> {
    let (rows, time) = (y.dim(0)?, y.dim(1)?);
    let Some(lengths) = lengths else {
        return match readout {
            SequenceOutput::All => Ok(y.clone()),
            SequenceOutput::Last => y.narrow(1, time - 1, 1)?.squeeze(1),
            SequenceOutput::Mean => y.mean(1),
            SequenceOutput::Max => y.max(1),
        };
    };
    // A number for each step of each row.
    let each = |f: &dyn Fn(usize, usize) -> f32| {
        let values: Vec<f32> = lengths
            .iter()
            .flat_map(|&length| (0..time).map(move |step| (step, length as usize)))
            .map(|(s, l)| f(s, l))
            .collect();
        Tensor::from_vec(values, (rows, time, 1), y.device())?.to_dtype(y.dtype())
    };
    match readout {
        SequenceOutput::All => Ok(y.clone()),
        SequenceOutput::Last => {
            y.broadcast_mul(&each(&|step, length| f32::from(u8::from(step + 1 == length)))?)?.sum(1)
        }
        SequenceOutput::Mean => {
            y.broadcast_mul(&each(&|step, length| if step < length { 1.0 / length as f32 } else { 0.0 })?)?.sum(1)
        }
        // Normalised values are far above this.
        SequenceOutput::Max => y.broadcast_add(&each(&|step, length| if step < length { 0.0 } else { -6e4 })?)?.max(1),
    }
}

#[cfg(test)]
mod tests;
