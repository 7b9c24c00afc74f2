//! Layers by candle's own operations: for devices other than the processor, and to hold the processor's kernels
//! against.

use candle_core::{D, Result, Tensor, bail};

use super::{Conv, Mode, Pool, attention, lookup, recurrent};
use crate::nn::{InputShape, LayerSpec, custom, op};

/// Applies one layer. `x` is `(rows, …)`, or `(rows, time, …)` with the rows' lengths where they are sequences;
/// `params` are its parameters, then its statistics, as the specification has them.
pub(crate) fn forward(
    layer: &LayerSpec,
    position: u32,
    x: &Tensor,
    params: &[&Tensor],
    mode: Mode,
    lengths: Option<&[u32]>,
) -> Result<Tensor> {
    if lengths.is_some() && !layer.takes_sequences() {
        // Each step by itself, as if it were a row.
        let (rows, time) = (x.dim(0)?, x.dim(1)?);
        let mode = match mode {
            Mode::Train { seed, step, first_row } => Mode::Train { seed, step, first_row: first_row * time },
            Mode::Eval => Mode::Eval,
        };
        let mut y = forward(layer, position, &x.flatten(0, 1)?, params, mode, None)?;
        if let LayerSpec::Embedding(_) = layer {
            // A step is one id, and becomes the numbers that stand for it.
            y = y.flatten_from(1)?;
        }
        let dims: Vec<usize> = [rows, time].iter().chain(&y.dims()[1..]).copied().collect();
        return y.reshape(dims);
    }
    match (layer, params) {
        (LayerSpec::Linear { .. }, [weight, bias]) => x.matmul(&weight.t()?)?.broadcast_add(bias),
        (LayerSpec::Activation { function }, []) => function.forward(x),
        (LayerSpec::Dropout { p }, []) => dropout(*p, position, x, mode),
        (LayerSpec::Flatten, []) => x.flatten_from(1),
        (LayerSpec::Embedding(table), [_]) => {
            let input = InputShape::from(x.dims()[1..].to_vec());
            let (shape, lookup) = lookup::embedding(*table, &input).map_err(misfit)?;
            let dims: Vec<usize> = [x.dim(0)?].iter().chain(&shape.dims).copied().collect();
            lookup::forward(&lookup, x, params)?.reshape(dims)
        }
        (LayerSpec::Custom(settings), params) => custom::forward(settings, x, params, mode),
        (LayerSpec::Categories { tables }, _) if tables.len() == params.len() => {
            let input = InputShape::from(x.dims()[1..].to_vec());
            lookup::forward(&lookup::categories(tables, &input).map_err(misfit)?.1, x, params)
        }
        (LayerSpec::Conv1d(c), [weight, bias]) => {
            x.conv1d(weight, c.padding, c.stride, c.dilation, c.groups)?.broadcast_add(&bias.reshape((1, (), 1))?)
        }
        (LayerSpec::Conv2d(c), [weight, bias]) => {
            let (x, padding) = fitted(c, x)?;
            x.conv2d(weight, padding, c.stride, c.dilation, c.groups)?.broadcast_add(&bias.reshape((1, (), 1, 1))?)
        }
        (LayerSpec::ConvTranspose2d(c), [weight, bias]) => {
            let y = x.conv_transpose2d(weight, c.padding, c.output_padding, c.stride, 1)?;
            y.broadcast_add(&bias.reshape((1, (), 1, 1))?)
        }
        (LayerSpec::Tied { layer, .. }, [weight, bias]) => match &**layer {
            LayerSpec::Linear { .. } => x.matmul(weight)?.broadcast_add(bias),
            layer => forward(layer, position, x, params, mode, lengths),
        },
        (LayerSpec::Unflatten { dims }, []) => {
            x.reshape([x.dim(0)?].iter().chain(dims).copied().collect::<Vec<usize>>())
        }
        (LayerSpec::MaxPool1d(pool), []) => max_pool(pool, &x.unsqueeze(2)?, 1)?.squeeze(2),
        (LayerSpec::MaxPool2d(pool), []) => max_pool(pool, x, pool.kernel_size),
        (LayerSpec::AvgPool1d(pool), []) => mean_pool(pool, &x.unsqueeze(2)?, 1)?.squeeze(2),
        (LayerSpec::AvgPool2d(pool), []) => mean_pool(pool, x, pool.kernel_size),
        (LayerSpec::GlobalMaxPool, []) => x.flatten_from(2)?.max(D::Minus1),
        (LayerSpec::GlobalAvgPool, []) => x.flatten_from(2)?.mean(D::Minus1),
        (LayerSpec::BatchNorm { eps, .. }, [weight, bias, mean, variance]) => {
            let (mean, variance) = match mode {
                Mode::Train { .. } => statistics(x)?,
                Mode::Eval => ((*mean).clone(), (*variance).clone()),
            };
            // Per channel, the second dimension.
            let mut shape = vec![1; x.rank()];
            shape[1] = mean.elem_count();
            let shaped = |t: &Tensor| t.reshape(shape.as_slice());
            let scale = (shaped(&variance)? + *eps)?.sqrt()?;
            let normal = x.broadcast_sub(&shaped(&mean)?)?.broadcast_div(&scale)?;
            normal.broadcast_mul(&shaped(weight)?)?.broadcast_add(&shaped(bias)?)
        }
        (LayerSpec::LayerNorm { eps }, [weight, bias]) => {
            let flat = x.flatten_from(1)?;
            let centred = flat.broadcast_sub(&flat.mean_keepdim(1)?)?;
            let scale = (centred.sqr()?.mean_keepdim(1)? + *eps)?.sqrt()?;
            let normal = centred.broadcast_div(&scale)?.broadcast_mul(&weight.flatten_all()?)?;
            normal.broadcast_add(&bias.flatten_all()?)?.reshape(x.shape())
        }
        (LayerSpec::Lstm(_) | LayerSpec::Gru(_) | LayerSpec::Rnn(_) | LayerSpec::RnnRelu(_), params) => {
            match layer.recurrent() {
                Some((kind, settings)) => recurrent::forward(settings, kind, x, params, lengths),
                None => bail!("{} is not recurrent", layer.kind()),
            }
        }
        (LayerSpec::Attention(settings), params) => attention::forward(settings, x, params, lengths),
        (LayerSpec::Residual { .. } | LayerSpec::Join { .. }, _) => bail!("a block is applied layer by layer"),
        _ => bail!("{} parameters reach it, which are not its own", params.len()),
    }
}

fn misfit((got, fits): (String, String)) -> candle_core::Error {
    candle_core::Error::msg(format!("{got}; {fits}"))
}

/// Returns the mean and the (biased) variance of each channel over the minibatch.
pub(super) fn statistics(x: &Tensor) -> Result<(Tensor, Tensor)> {
    let channels = x.dim(1)?;
    let by_channel = x.transpose(0, 1)?.reshape((channels, ()))?;
    let mean = by_channel.mean(1)?;
    let variance = by_channel.broadcast_sub(&mean.unsqueeze(1)?)?.sqr()?.mean(1)?;
    Ok((mean, variance))
}

fn dropout(p: f64, layer: u32, x: &Tensor, mode: Mode) -> Result<Tensor> {
    let Mode::Train { seed, step, first_row } = mode else { return Ok(x.clone()) };
    let width = x.elem_count() / x.dim(0)?.max(1);
    let mut mask = vec![0.0; x.elem_count()];
    op::dropout_mask(p, layer, width, (seed, step), first_row, &mut mask);
    x.mul(&Tensor::from_vec(mask, x.shape(), x.device())?.to_dtype(x.dtype())?)
}

/// Returns the input of a convolution and the padding around it. The gradient of candle's convolution takes for granted
/// that as many columns as rows are left over behind the last window; where they differ, padding is put around by hand
/// and nothing is.
fn fitted(c: &Conv, x: &Tensor) -> Result<(Tensor, usize)> {
    let over = |size: usize| (size + 2 * c.padding).saturating_sub(c.dilation * (c.kernel_size - 1) + 1) % c.stride;
    if over(x.dim(2)?) == over(x.dim(3)?) {
        return Ok((x.clone(), c.padding));
    }
    let mut x = x.clone();
    for dim in [2, 3] {
        let (size, over) = (x.dim(dim)?, over(x.dim(dim)?));
        x = x.narrow(dim, 0, size - over.saturating_sub(c.padding))?;
        x = x.pad_with_zeros(dim, c.padding, c.padding.saturating_sub(over))?;
    }
    Ok((x, 0))
}

/// candle pads with nothing but 0, so the lowest number is put around by hand.
fn max_pool(pool: &Pool, x: &Tensor, height: usize) -> Result<Tensor> {
    let mut x = x.clone();
    if pool.padding > 0 {
        let beside = |x: &Tensor, dim: usize| {
            let mut shape = x.dims().to_vec();
            shape[dim] = pool.padding;
            let edge = (Tensor::zeros(shape, x.dtype(), x.device())? + f64::from(f32::MIN))?;
            Tensor::cat(&[&edge, x, &edge], dim)
        };
        x = beside(&x, 3)?;
        if height > 1 {
            x = beside(&x, 2)?;
        }
    }
    slide(pool, &x, height, |a, b| a.maximum(b))
}

fn mean_pool(pool: &Pool, x: &Tensor, height: usize) -> Result<Tensor> {
    let mut x = x.pad_with_zeros(3, pool.padding, pool.padding)?;
    if height > 1 {
        x = x.pad_with_zeros(2, pool.padding, pool.padding)?;
    }
    slide(pool, &x, height, |a, b| a + b)? / (height * pool.kernel_size) as f64
}

/// Combines what lies under a kernel, line by line and column by column. candle's own pooling has no gradient where
/// kernels overlap, and that of its max pooling is too small by the kernel's size.
fn slide(
    pool: &Pool,
    x: &Tensor,
    height: usize,
    combine: impl Fn(&Tensor, &Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let stride = pool.stride.unwrap_or(pool.kernel_size);
    let along = |x: &Tensor, dim: usize| -> Result<Tensor> {
        let count = (x.dim(dim)? - pool.kernel_size) / stride + 1;
        let under = |k: usize| {
            let places: Vec<u32> = (0..count).map(|place| (place * stride + k) as u32).collect();
            x.index_select(&Tensor::from_vec(places, count, x.device())?, dim)
        };
        (1..pool.kernel_size).try_fold(under(0)?, |found, k| -> Result<Tensor> { combine(&found, &under(k)?) })
    };
    let x = if height > 1 { along(x, 2)? } else { x.clone() };
    along(&x, 3)
}
