//! Convolutions and pooling: the settings, and the shapes they give.

use serde::{Deserialize, Serialize};

use crate::nn::{
    InputShape,
    onnx::{Graph, OnnxAttribute},
    op::Window,
};

/// The largest kernel, stride, padding or dilation: far beyond use, far below overflow.
const MOST: usize = 1 << 15;

/// The settings of a convolution, PyTorch's `nn.Conv1d` and `nn.Conv2d` with a bias; in two dimensions each number
/// holds for both. A value outside the input counts as 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "job", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Conv {
    /// Channels that come out.
    pub out_channels: usize,
    /// The kernel's side.
    pub kernel_size: usize,
    /// Between two places of the kernel; 1 unless set.
    #[serde(default = "one")]
    pub stride: usize,
    /// Around the input, on every side; 0 unless set.
    #[serde(default)]
    pub padding: usize,
    /// Between two values under the kernel; 1 unless set.
    #[serde(default = "one")]
    pub dilation: usize,
    /// Groups of channels that do not see each other; 1 unless set. Divides the channels that go in and come out.
    #[serde(default = "one")]
    pub groups: usize,
}

impl Conv {
    /// The convolution as ONNX's operator has it, of rows, weight and bias.
    pub(in crate::nn) fn onnx(&self, axes: usize, graph: &mut Graph<'_>, inputs: [&str; 3]) -> String {
        let mut attributes = sliding(axes, self.kernel_size, self.stride, self.padding);
        attributes.push(("dilations", OnnxAttribute::Ints(vec![self.dilation; axes])));
        attributes.push(("group", OnnxAttribute::Int(self.groups)));
        graph.node("Conv", &inputs, attributes)
    }

    /// Stride, dilation and groups of 1, no padding.
    pub fn new(out_channels: usize, kernel_size: usize) -> Self {
        Self { out_channels, kernel_size, stride: 1, padding: 0, dilation: 1, groups: 1 }
    }

    /// Returns its output shape for a row, and the window; or the shape found and the one expected.
    pub(crate) fn shape(&self, axes: usize, input: &InputShape) -> Result<(InputShape, Window), (String, String)> {
        let channels = channels(axes, input)?;
        let Self { out_channels: outputs, groups, .. } = *self;
        if outputs == 0 || groups == 0 || outputs % groups != 0 || channels % groups != 0 {
            let got = format!("{channels} channels in, {outputs} out, groups = {groups}");
            return Err((got, "groups must divide both, and neither may be 0".into()));
        }
        slide(axes, input, [self.kernel_size, self.stride, self.padding, self.dilation]).map(|(mut dims, window)| {
            dims[0] = outputs;
            (dims.into(), window)
        })
    }
}

/// The settings of a transposed convolution, PyTorch's `nn.ConvTranspose2d` with a bias; each number holds for both
/// sides. A side of `n` becomes `(n - 1) × stride - 2 × padding + kernel + output_padding`: what leads back from a
/// convolution of the same settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "job", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ConvTranspose {
    /// Channels that come out.
    pub out_channels: usize,
    /// The kernel's side.
    pub kernel_size: usize,
    /// Between two places of the kernel in what comes out; 1 unless set.
    #[serde(default = "one")]
    pub stride: usize,
    /// Cut off what comes out, on every side; 0 unless set.
    #[serde(default)]
    pub padding: usize,
    /// Added to what comes out at the far edges, less than the stride; 0 unless set.
    #[serde(default)]
    pub output_padding: usize,
}

impl ConvTranspose {
    /// The transposed convolution as ONNX's operator has it, of rows, weight and bias.
    pub(in crate::nn) fn onnx(&self, graph: &mut Graph<'_>, inputs: [&str; 3]) -> String {
        let mut attributes = sliding(2, self.kernel_size, self.stride, self.padding);
        attributes.push(("output_padding", OnnxAttribute::Ints(vec![self.output_padding; 2])));
        graph.node("ConvTranspose", &inputs, attributes)
    }

    /// Creates the settings with a stride of 1 and no padding.
    pub fn new(out_channels: usize, kernel_size: usize) -> Self {
        Self { out_channels, kernel_size, stride: 1, padding: 0, output_padding: 0 }
    }

    /// Returns its output shape for a row, and the window of the inverse convolution; or the shape found and the one
    /// expected.
    pub(crate) fn shape(&self, input: &InputShape) -> Result<(InputShape, Window), (String, String)> {
        channels(2, input)?;
        let Self { out_channels: outputs, kernel_size: kernel, stride, padding, output_padding } = *self;
        let settings = [kernel, stride, padding, output_padding];
        if [outputs, kernel, stride].contains(&0) || settings.iter().any(|&n| n > MOST) || output_padding >= stride {
            let got =
                format!("{outputs} channels out, kernel {kernel}, stride {stride}, output_padding {output_padding}");
            let fits = format!(
                "channels, kernel and stride are at least 1, each is at most {MOST}, output_padding is below stride"
            );
            return Err((got, fits));
        }
        let mut dims = vec![outputs];
        for &size in &input.dims[1..] {
            let whole = (size - 1).saturating_mul(stride).saturating_add(kernel + output_padding);
            match whole.checked_sub(2 * padding).filter(|n| *n > 0) {
                Some(n) => dims.push(n),
                None => {
                    let got = format!("rows of shape {input}");
                    return Err((got, format!("padding of {padding} on both sides leaves nothing of {whole} values")));
                }
            }
        }
        let window = Window {
            input: [dims[1], dims[2]],
            output: [input.dims[1], input.dims[2]],
            kernel: [kernel; 2],
            stride: [stride; 2],
            padding: [padding; 2],
            dilation: [1; 2],
        };
        Ok((dims.into(), window))
    }
}

/// The settings of max or average pooling, PyTorch's `nn.MaxPool2d` and so on; in two dimensions each number holds for
/// both. Padding counts as the lowest number in max pooling, as 0 in average pooling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "job", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// The kernel's side.
    pub kernel_size: usize,
    /// Between two places of the kernel; as large as the kernel unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stride: Option<usize>,
    /// Around the input, on every side, at most half the kernel; 0 unless set.
    #[serde(default)]
    pub padding: usize,
}

impl Pool {
    /// Returns the pooling as ONNX's operators have it.
    pub(in crate::nn) fn onnx(&self, axes: usize, operator: &str, graph: &mut Graph<'_>, x: &str) -> String {
        let mut attributes = sliding(axes, self.kernel_size, self.stride.unwrap_or(self.kernel_size), self.padding);
        if operator == "AveragePool" {
            attributes.push(("count_include_pad", OnnxAttribute::Int(1)));
        }
        graph.node(operator, &[x], attributes)
    }

    /// Kernels side by side, no padding.
    pub fn new(kernel_size: usize) -> Self {
        Self { kernel_size, stride: None, padding: 0 }
    }

    /// Returns its output shape for a row, and the window; or the shape found and the one expected.
    pub(crate) fn shape(&self, axes: usize, input: &InputShape) -> Result<(InputShape, Window), (String, String)> {
        channels(axes, input)?;
        if self.padding > self.kernel_size / 2 {
            let fits = format!("at most {}, half the kernel", self.kernel_size / 2);
            return Err((format!("padding = {}", self.padding), fits));
        }
        slide(axes, input, [self.kernel_size, self.stride.unwrap_or(self.kernel_size), self.padding, 1])
            .map(|(dims, window)| (dims.into(), window))
    }
}

fn one() -> usize {
    1
}

/// Common attributes of ONNX's operators that slide a kernel.
fn sliding(axes: usize, kernel: usize, stride: usize, padding: usize) -> Vec<(&'static str, OnnxAttribute)> {
    let sides = |of: usize, count: usize| OnnxAttribute::Ints(vec![of; count]);
    vec![("kernel_shape", sides(kernel, axes)), ("strides", sides(stride, axes)), ("pads", sides(padding, 2 * axes))]
}

/// Returns the channels of a row that has as many other dimensions as the layer slides along.
pub(crate) fn channels(axes: usize, input: &InputShape) -> Result<usize, (String, String)> {
    if input.dims.len() != axes + 1 || input.ragged {
        let wanted = if axes == 1 { "channels × length" } else { "channels × height × width" };
        return Err((format!("rows of shape {input}"), format!("it takes {wanted}")));
    }
    Ok(input.dims[0])
}

fn slide(axes: usize, input: &InputShape, settings: [usize; 4]) -> Result<(Vec<usize>, Window), (String, String)> {
    let [kernel, stride, padding, dilation] = settings;
    if [kernel, stride, dilation].contains(&0) || settings.iter().any(|&n| n > MOST) {
        let got = format!("kernel {kernel}, stride {stride}, padding {padding}, dilation {dilation}");
        return Err((got, format!("each is at most {MOST}, and only padding may be 0")));
    }
    let reach = dilation * (kernel - 1) + 1;
    let mut dims = input.dims.clone();
    for size in &mut dims[1..] {
        let padded = size.saturating_add(2 * padding);
        if padded < reach {
            let got = format!("rows of shape {input}");
            return Err((got, format!("its kernel reaches over {reach} values; each side must have as many")));
        }
        *size = (padded - reach) / stride + 1;
    }
    let both = |n: usize, along: usize| if axes == 1 { [along, n] } else { [n; 2] };
    let plane = |dims: &[usize]| if axes == 1 { [1, dims[1]] } else { [dims[1], dims[2]] };
    let window = Window {
        input: plane(&input.dims),
        output: plane(&dims),
        kernel: both(kernel, 1),
        stride: both(stride, 1),
        padding: both(padding, 0),
        dilation: both(dilation, 1),
    };
    Ok((dims, window))
}
