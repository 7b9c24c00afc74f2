//! Optimizers: in place, with a state that can be taken out and put back.
//!
//! [`Optimizer`] says which and with what settings; [`Updater`] takes the steps. On the processor each parameter is
//! updated in one pass over its memory, shared between threads when it is large; elsewhere by tensor operations on the
//! device.

mod device;
mod host;
mod lazy;
mod rule;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

pub use self::rule::{DecayScope, Optimizer};
use self::{
    lazy::Lazy,
    rule::{Rule, StepSize},
};
use super::{TrainParams, clip::Clip};
use crate::{Error, Result, nn::Parameter};

/// Takes the steps of one [`Optimizer`] over a network's parameters.
#[derive(Debug)]
pub struct Updater {
    rule: Rule,
    clip: Clip,
    decayed: DecayScope,
    learning_rate: f64,
    weight_decay: f64,
    step: u64,
    /// Of each parameter.
    shares: Vec<f64>,
    slots: Vec<StateSlot>,
    /// The weight that sparse rows go into, once there were any.
    lazy: Option<(usize, Lazy)>,
}

/// Columns of a weight `(outputs, inputs)` on the processor that rows of mostly zeros have something in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Touched<'a> {
    /// Position of the weight among the parameters.
    pub(crate) parameter: usize,
    /// The columns, in increasing order.
    pub(crate) columns: &'a [u32],
}

/// The state of one parameter, where it is used.
#[derive(Debug)]
enum StateSlot {
    Host(Vec<Vec<f32>>),
    Device(Vec<Tensor>),
}

/// An optimizer's state on the host: with the weights, all it takes to resume exactly.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct OptimizerState {
    /// Steps taken.
    pub step: u64,
    /// For every parameter, in the parameters' order, the optimizer's values, each laid out as the parameter is; which
    /// they are, [`Optimizer::slots`] says.
    pub slots: Vec<Vec<Vec<f32>>>,
}

impl Updater {
    /// Starts anew. The settings are those of the parameters' table.
    ///
    /// # Errors
    /// [`Error::Tensor`] when a device has no room for the state.
    pub fn new(params: &TrainParams, parameters: &[Parameter]) -> Result<Self> {
        let start = params.optimizer.initial();
        let count = params.optimizer.slots().len();
        let slots = parameters.iter().map(|p| vec![vec![start; p.var.elem_count()]; count]).collect();
        Self::resume(params, parameters, OptimizerState { step: 0, slots })
    }

    /// Resumes from a state that [`Updater::state`] gave.
    ///
    /// # Errors
    /// [`Error::Param`] when the state is that of other parameters or of another optimizer, [`Error::Tensor`] when a
    /// device has no room for it.
    pub fn resume(params: &TrainParams, parameters: &[Parameter], state: OptimizerState) -> Result<Self> {
        let names = params.optimizer.slots();
        let fits = |(p, slots): (&Parameter, &Vec<Vec<f32>>)| {
            slots.len() == names.len() && slots.iter().all(|slot| slot.len() == p.var.elem_count())
        };
        if state.slots.len() != parameters.len() || !parameters.iter().zip(&state.slots).all(fits) {
            let found = format!("the state of {} parameters", state.slots.len());
            let legal = format!("that of the {} parameters being trained, each with {names:?}", parameters.len());
            return Err(Error::param("optimizer state", found, legal));
        }
        let mut slots = Vec::with_capacity(parameters.len());
        for (parameter, values) in parameters.iter().zip(state.slots) {
            slots.push(if parameter.var.device().is_cpu() {
                StateSlot::Host(values)
            } else {
                let place = |values| Tensor::from_vec(values, parameter.var.shape(), parameter.var.device());
                let placed = values.into_iter().map(place).collect::<candle_core::Result<_>>();
                StateSlot::Device(placed.map_err(|e| Error::tensor("placing an optimizer's state on the device", e))?)
            });
        }
        let TrainParams { learning_rate, weight_decay, decayed, clip, .. } = *params;
        let rule = params.optimizer.rule(params.betas, params.eps);
        for (name, share) in &params.layer_rates {
            if !parameters.iter().any(|parameter| parameter.name.starts_with(name.as_str())) {
                let names: Vec<&str> = parameters.iter().map(|parameter| parameter.name.as_str()).collect();
                let legal = format!("the beginning of a parameter's name: {}", names.join(", "));
                return Err(Error::param("layer_rates", format!("`{name}`, {share}"), legal));
            }
        }
        let shares = parameters.iter().map(|parameter| params.layer_rate(&parameter.name)).collect();
        let step = state.step;
        Ok(Self { rule, clip, decayed, learning_rate, weight_decay, step, shares, slots, lazy: None })
    }

    /// Copies the state to the host.
    ///
    /// # Errors
    /// [`Error::Tensor`] when a device fails.
    pub fn state(&self) -> Result<OptimizerState> {
        let read = |place: &StateSlot| match place {
            StateSlot::Host(slots) => Ok(slots.clone()),
            StateSlot::Device(slots) => {
                let read = |slot: &Tensor| slot.flatten_all().and_then(|t| t.to_vec1());
                let slots = slots.iter().map(read).collect::<candle_core::Result<_>>();
                slots.map_err(|e| Error::tensor("reading an optimizer's state from the device", e))
            }
        };
        Ok(OptimizerState { step: self.step, slots: self.slots.iter().map(read).collect::<Result<_>>()? })
    }

    /// Changes the step size for the steps to come.
    pub fn set_learning_rate(&mut self, learning_rate: f64) {
        self.learning_rate = learning_rate;
    }

    /// Takes one step: limits the gradients and moves every parameter against its own.
    ///
    /// # Errors
    /// [`Error::Tensor`] when a gradient is not shaped as its parameter or a device fails.
    pub fn step(&mut self, parameters: &[Parameter], gradients: &[Tensor]) -> Result<()> {
        self.settle(parameters)?;
        self.step_by(parameters, gradients, None)
    }

    /// Takes the steps that columns of a weight have missed, before they are read.
    pub(crate) fn catch_up(&mut self, parameters: &[Parameter], touched: Touched<'_>) -> Result<()> {
        let Self { rule, shares, slots, step, lazy, .. } = self;
        let Touched { parameter, columns } = touched;
        let (&[outputs, inputs], StateSlot::Host(slots)) = (parameters[parameter].var.dims(), &mut slots[parameter])
        else {
            return Ok(());
        };
        if !rule.is_elementwise() || shares[parameter] <= 0.0 {
            return Ok(());
        }
        let (_, lazy) = lazy.get_or_insert_with(|| (parameter, Lazy::new((outputs, inputs), *step, slots)));
        let done = host::with_values(&parameters[parameter], |theta| lazy.catch_up(rule, columns, theta, slots));
        done.map_err(|e| Error::tensor(format!("stepping `{}`", parameters[parameter].name), e))
    }

    /// Takes one step as [`step`](Self::step), where the gradient of one weight is `(columns, outputs)` of the columns
    /// that were [caught up](Self::catch_up). The other columns take it when they are next needed.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub(crate) fn step_sparse(
        &mut self,
        parameters: &[Parameter],
        gradients: &[Tensor],
        touched: Touched<'_>,
    ) -> Result<()> {
        if self.lazy.is_some() || self.shares[touched.parameter] <= 0.0 {
            return self.step_by(parameters, gradients, Some(touched));
        }
        let mut dense = gradients.to_vec();
        dense[touched.parameter] =
            spread(&parameters[touched.parameter], &gradients[touched.parameter], touched.columns)
                .map_err(|e| Error::tensor("spreading a sparse gradient", e))?;
        self.step_by(parameters, &dense, None)
    }

    /// Takes all steps that columns have missed, so that parameters and state can be read.
    ///
    /// # Errors
    /// [`Error::Tensor`] when a parameter is not on the processor.
    pub fn settle(&mut self, parameters: &[Parameter]) -> Result<()> {
        let Self { rule, slots, lazy: Some((parameter, lazy)), .. } = self else { return Ok(()) };
        let StateSlot::Host(slots) = &mut slots[*parameter] else { return Ok(()) };
        let done = host::with_values(&parameters[*parameter], |theta| lazy.settle(rule, theta, slots));
        done.map_err(|e| Error::tensor(format!("stepping `{}`", parameters[*parameter].name), e))
    }

    fn step_by(&mut self, parameters: &[Parameter], gradients: &[Tensor], touched: Option<Touched<'_>>) -> Result<()> {
        self.step += 1;
        let clipping = self.clip.resolve(gradients).map_err(|e| Error::tensor("the norm of the gradients", e))?;
        let Self { lazy, rule, shares, slots, .. } = self;
        let shares = parameters.iter().zip(gradients).zip(slots).zip(shares).enumerate();
        for (i, (((parameter, gradient), place), &mut share)) in shares.filter(|(_, (_, share))| **share > 0.0) {
            let decays = self.decayed.includes(parameter.var.rank());
            let size = StepSize {
                step: self.step,
                learning_rate: share * self.learning_rate,
                weight_decay: if decays { self.weight_decay } else { 0.0 },
                clipping,
            };
            let columns = touched.filter(|touched| touched.parameter == i).map(|touched| touched.columns);
            let done = match (place, columns, &mut *lazy) {
                (StateSlot::Host(slots), Some(columns), Some((_, lazy))) => {
                    let mut step = |gradient: &[f32]| {
                        let step = |theta: &mut [f32]| lazy.step(rule, size, (columns, gradient), theta, slots);
                        host::with_values(parameter, step)
                    };
                    gradient.flatten_all().and_then(|gradient| gradient.to_vec1()).and_then(|g: Vec<f32>| step(&g))
                }
                (StateSlot::Host(slots), ..) => host::update(rule, size, parameter, gradient, slots),
                (StateSlot::Device(slots), ..) => device::update(rule, size, parameter, gradient, slots),
            };
            done.map_err(|e| Error::tensor(format!("stepping `{}`", parameter.name), e))?;
        }
        Ok(())
    }
}

/// Returns a gradient of some columns, `(columns, outputs)`, as one of the whole weight.
fn spread(parameter: &Parameter, gradient: &Tensor, columns: &[u32]) -> candle_core::Result<Tensor> {
    let (outputs, inputs) = parameter.var.dims2()?;
    let own: Vec<f32> = gradient.flatten_all()?.to_vec1()?;
    let mut all = vec![0.0; outputs * inputs];
    for (&column, own) in columns.iter().zip(own.chunks_exact(outputs)) {
        own.iter().enumerate().for_each(|(output, value)| all[output * inputs + column as usize] = *value);
    }
    Tensor::from_vec(all, (outputs, inputs), parameter.var.device())
}

#[cfg(test)]
mod tests;
