//! Networks of a user's own, written in plain candle code.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use candle_core::{DType, Device, Result as Candle, Shape, Tensor};
use candle_nn::{
    Init, ModuleT, VarBuilder,
    init::{FanInOut, NormalOrUniform},
    var_builder::SimpleBackend,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{InputShape, LayerSpec, Mode, spec::Initial};
use crate::{Error, Result};

/// A network, or a part of one, in plain candle code. [`register`] makes it known under a name, by which
/// [`Network::custom`](super::Network::custom) uses it: in estimators, the trainer, model tables and scoring, on any
/// device.
///
/// ```
/// use candle_core::{Result, Tensor};
/// use candle_nn::{Module, ModuleT, VarBuilder, func_t, linear};
/// use serde_json::{Value, json};
/// use tinderbox::nn::{CustomNetwork, InputShape, Network, register};
///
/// /// A layer whose output is added to its input.
/// struct Beside;
///
/// impl CustomNetwork for Beside {
///     fn build(&self, settings: &Value, inputs: &InputShape, weights: VarBuilder<'_>) -> Result<Box<dyn ModuleT>> {
///         let units = settings["units"].as_u64().unwrap_or(8) as usize;
///         let layer = linear(inputs.count(), units, weights.pp("beside"))?;
///         Ok(Box::new(func_t(move |x, _| Tensor::cat(&[x, &layer.forward(x)?.relu()?], 1))))
///     }
/// }
///
/// register("beside", Beside);
/// let network = Network::new().custom("beside", json!({"units": 4})).resolve(3, 2)?;
/// assert_eq!(network.trained(), (3 + 1) * 4 + (7 + 1) * 2);
/// # Ok::<(), tinderbox::Error>(())
/// ```
pub trait CustomNetwork: Send + Sync {
    /// Builds it for rows of this shape from weights, which it asks for by name, shape and initialisation as candle's
    /// own layers do. The module takes `(rows, …)` and gives `(rows, …)`; its `train` flag is set while training. It is
    /// built anew for every step: keep nothing in it. Its own dropout should draw from somewhere that can be seeded;
    /// candle's cannot on the processor.
    ///
    /// # Errors
    /// Whatever candle fails with; settings that cannot work.
    fn build(&self, settings: &Value, inputs: &InputShape, weights: VarBuilder<'_>) -> Candle<Box<dyn ModuleT>>;
}

static KNOWN: RwLock<BTreeMap<String, Arc<dyn CustomNetwork>>> = RwLock::new(BTreeMap::new());

/// Makes a network known under a name, for this process. Another of that name is replaced. A model that was saved with
/// one can be loaded again once it is registered.
pub fn register(name: impl Into<String>, network: impl CustomNetwork + 'static) {
    KNOWN.write().unwrap_or_else(PoisonError::into_inner).insert(name.into(), Arc::new(network));
}

fn known(name: &str) -> Candle<Arc<dyn CustomNetwork>> {
    let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner);
    known.get(name).cloned().ok_or_else(|| {
        let names = known.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        candle_core::Error::msg(format!("no network is registered as `{name}`; known are [{names}]"))
    })
}

/// A user's network with its sizes filled in: what it makes of a row, and the weights that it asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Custom {
    /// Registered name.
    pub name: String,
    /// Settings that it is built from.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub settings: Value,
    /// The shape of a row going in.
    pub inputs: InputShape,
    /// The shape of a row coming out.
    pub output: InputShape,
    /// Its weights, in the order in which it asks for them.
    pub weights: Vec<CustomWeight>,
}

/// One of the weights that a user's network asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CustomWeight {
    /// Its name within the network.
    pub name: String,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// The middle of what it starts as.
    #[serde(default)]
    pub middle: f32,
    /// Half-width of the initial distribution; 0 for a constant.
    #[serde(default)]
    pub spread: f32,
    /// True if it starts normally distributed with `spread` as deviation, in place of evenly within `spread`.
    #[serde(default)]
    pub normal: bool,
}

impl CustomWeight {
    fn new(name: &str, shape: &Shape, init: Init) -> Self {
        let (middle, spread, normal) = match init {
            Init::Const(value) => (value, 0.0, false),
            Init::Randn { mean, stdev } => (mean, stdev, true),
            Init::Uniform { lo, up } => (0.5 * (lo + up), 0.5 * (up - lo), false),
            Init::Kaiming { dist, fan, non_linearity } => {
                let values = match (fan, shape.dims()) {
                    (FanInOut::FanIn, dims) => dims.iter().skip(1).product::<usize>(),
                    (FanInOut::FanOut, dims) => {
                        dims.first().copied().unwrap_or(1) * dims.iter().skip(2).product::<usize>()
                    }
                };
                let std = non_linearity.gain() / (values.max(1) as f64).sqrt();
                match dist {
                    NormalOrUniform::Normal => (0.0, std, true),
                    NormalOrUniform::Uniform => (0.0, 3f64.sqrt() * std, false),
                }
            }
        };
        let shape = shape.dims().to_vec();
        Self { name: name.to_owned(), shape, middle: middle as f32, spread: spread as f32, normal }
    }

    pub(super) fn initial(&self) -> Initial {
        Initial::Around { middle: self.middle, spread: self.spread, normal: self.normal }
    }
}

/// Records the requested weights, and gives zeros.
struct Recorder(Arc<Mutex<Vec<CustomWeight>>>);

impl SimpleBackend for Recorder {
    fn get(&self, shape: Shape, name: &str, init: Init, dtype: DType, device: &Device) -> Candle<Tensor> {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match asked.iter().find(|weight| weight.name == name) {
            Some(known) if known.shape != shape.dims() => {
                candle_core::bail!("weight `{name}` is requested as {:?} and as {shape:?}", known.shape)
            }
            Some(_) => {}
            None => asked.push(CustomWeight::new(name, &shape, init)),
        }
        Tensor::zeros(shape, dtype, device)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> Candle<Tensor> {
        candle_core::bail!("weight `{name}` is requested without a shape")
    }

    fn contains_tensor(&self, _: &str) -> bool {
        true
    }
}

/// Gives the weights that there are.
struct Given(BTreeMap<String, Tensor>);

impl SimpleBackend for Given {
    fn get(&self, shape: Shape, name: &str, _: Init, dtype: DType, device: &Device) -> Candle<Tensor> {
        let tensor = self.get_unchecked(name, dtype, device)?;
        match *tensor.shape() == shape {
            true => Ok(tensor),
            false => candle_core::bail!("weight `{name}` is {:?} and is requested as {shape:?}", tensor.shape()),
        }
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> Candle<Tensor> {
        self.0.get(name).cloned().ok_or_else(|| {
            candle_core::Error::msg(format!("weight `{name}` was not asked for when the network was described"))
        })
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

/// Builds it once over rows of zeros, to see what it asks for and what it gives.
pub(super) fn probe(name: &str, settings: &Value, inputs: &InputShape) -> Result<LayerSpec> {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let tried = || -> Candle<Vec<usize>> {
        let weights = VarBuilder::from_backend(Box::new(Recorder(asked.clone())), DType::F32, Device::Cpu);
        let module = known(name)?.build(settings, inputs, weights)?;
        // Two numbers of rows, so that one that is built in shows.
        let mut given = Vec::new();
        for rows in [3, 1] {
            let dims: Vec<usize> = [rows].iter().chain(&inputs.dims).copied().collect();
            let y = module.forward_t(&Tensor::zeros(dims, DType::F32, &Device::Cpu)?, false)?;
            if y.rank() < 2 || y.dim(0)? != rows || y.elem_count() == 0 || y.dtype() != DType::F32 {
                let (shape, dtype) = (y.shape(), y.dtype());
                candle_core::bail!("it gives {shape:?} of {dtype:?} for {rows} rows, where rows of F32 are wanted")
            }
            given = y.dims()[1..].to_vec();
        }
        Ok(given)
    };
    let refused =
        |got: String, fits: &str| Error::Network { layer: format!("custom `{name}`"), got, fits: fits.into() };
    if inputs.ragged {
        return Err(refused(format!("sequences of shape {inputs}"), "it takes rows of a fixed shape"));
    }
    let output = tried().map_err(|e| refused(format!("rows of shape {inputs}"), &format!("it failed: {e}")))?;
    let weights = std::mem::take(&mut *asked.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(LayerSpec::Custom(Custom {
        name: name.to_owned(),
        settings: settings.clone(),
        inputs: inputs.clone(),
        output: output.into(),
        weights,
    }))
}

/// Applies it; `params` are its weights in their order.
pub(super) fn forward(custom: &Custom, x: &Tensor, params: &[&Tensor], mode: Mode) -> Candle<Tensor> {
    let named = custom.weights.iter().zip(params).map(|(weight, tensor)| (weight.name.clone(), (*tensor).clone()));
    let weights = VarBuilder::from_backend(Box::new(Given(named.collect())), DType::F32, x.device().clone());
    let module = known(&custom.name)?.build(&custom.settings, &custom.inputs, weights)?;
    let y = module.forward_t(x, matches!(mode, Mode::Train { .. }))?;
    let wanted: Vec<usize> = [x.dim(0)?].iter().chain(&custom.output.dims).copied().collect();
    if y.dims() != wanted {
        candle_core::bail!("it gives {:?} in place of {wanted:?}", y.dims())
    }
    Ok(y)
}

#[cfg(test)]
mod tests;
