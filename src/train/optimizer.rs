//! AdamW, in place and with a state that can be taken out and put back.

use std::cell::RefCell;

use candle_core::{CpuStorage, InplaceOp2, Layout, Tensor};
use rayon::prelude::*;

use super::TrainParams;
use crate::{
    Error, Result,
    nn::{Parameter, wide},
};

/// Values of a parameter that one thread updates at a time.
const AT_ONCE: usize = 1 << 14;

/// AdamW with decoupled weight decay (Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019), as
/// PyTorch's `AdamW` computes it.
///
/// On the processor each parameter is updated in one pass over its memory; elsewhere by tensor operations on the device.
#[derive(Debug)]
pub struct AdamW {
    learning_rate: f64,
    weight_decay: f64,
    betas: (f64, f64),
    eps: f64,
    step: u64,
    moments: Vec<Place>,
}

/// The moments of one parameter, where they are used.
#[derive(Debug)]
enum Place {
    Host(Moments),
    Device { first: Tensor, second: Tensor },
}

/// An optimizer's state on the host: with the weights, all it takes to go on as if never stopped.
#[derive(Debug, Clone, PartialEq)]
pub struct AdamWState {
    /// Steps taken.
    pub step: u64,
    /// The moments of every parameter, in the parameters' order.
    pub moments: Vec<Moments>,
}

/// Running means for one parameter, laid out as the parameter is.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    /// Of the gradient.
    pub first: Vec<f32>,
    /// Of its square.
    pub second: Vec<f32>,
}

impl AdamW {
    /// Starts with moments of zero. The settings are those of the parameters' table.
    ///
    /// # Errors
    /// [`Error::Tensor`] when a device has no room for the moments.
    pub fn new(params: &TrainParams, parameters: &[Parameter]) -> Result<Self> {
        let zeros = |parameter: &Parameter| {
            let count = parameter.var.elem_count();
            Moments { first: vec![0.0; count], second: vec![0.0; count] }
        };
        let state = AdamWState { step: 0, moments: parameters.iter().map(zeros).collect() };
        Self::resume(params, parameters, state)
    }

    /// Goes on from a state that [`AdamW::state`] gave.
    ///
    /// # Errors
    /// [`Error::Param`] when the state is that of other parameters, [`Error::Tensor`] when a device has no room for it.
    pub fn resume(params: &TrainParams, parameters: &[Parameter], state: AdamWState) -> Result<Self> {
        let fits = |(p, m): (&Parameter, &Moments)| [m.first.len(), m.second.len()] == [p.var.elem_count(); 2];
        if state.moments.len() != parameters.len() || !parameters.iter().zip(&state.moments).all(fits) {
            let found = format!("moments of {} parameters", state.moments.len());
            return Err(Error::param("optimizer state", found, "that of the network being trained"));
        }
        let mut moments = Vec::with_capacity(parameters.len());
        for (parameter, Moments { first, second }) in parameters.iter().zip(state.moments) {
            moments.push(if parameter.var.device().is_cpu() {
                Place::Host(Moments { first, second })
            } else {
                let place = |values| Tensor::from_vec(values, parameter.var.shape(), parameter.var.device());
                let placed = place(first).and_then(|first| Ok((first, place(second)?)));
                let (first, second) = placed.map_err(|e| Error::tensor("placing moments on the device", e))?;
                Place::Device { first, second }
            });
        }
        let TrainParams { learning_rate, weight_decay, betas, eps, .. } = *params;
        Ok(Self { learning_rate, weight_decay, betas, eps, step: state.step, moments })
    }

    /// Copies the state to the host.
    ///
    /// # Errors
    /// [`Error::Tensor`] when a device fails.
    pub fn state(&self) -> Result<AdamWState> {
        let read = |place: &Place| match place {
            Place::Host(moments) => Ok(moments.clone()),
            Place::Device { first, second } => {
                let read = |t: &Tensor| t.flatten_all().and_then(|t| t.to_vec1());
                let moments = read(first).and_then(|first| Ok(Moments { first, second: read(second)? }));
                moments.map_err(|e| Error::tensor("reading moments from the device", e))
            }
        };
        Ok(AdamWState { step: self.step, moments: self.moments.iter().map(read).collect::<Result<_>>()? })
    }

    /// Changes the step size for the steps to come.
    pub fn set_learning_rate(&mut self, learning_rate: f64) {
        self.learning_rate = learning_rate;
    }

    /// Takes one step: moves every parameter against its gradient.
    ///
    /// # Errors
    /// [`Error::Tensor`] when a gradient is not shaped as its parameter or a device fails.
    pub fn step(&mut self, parameters: &[Parameter], gradients: &[Tensor]) -> Result<()> {
        self.step += 1;
        let now = i32::try_from(self.step).unwrap_or(i32::MAX);
        let corrections = (1.0 - self.betas.0.powi(now), 1.0 - self.betas.1.powi(now));
        for ((parameter, gradient), place) in parameters.iter().zip(gradients).zip(&mut self.moments) {
            let update = Update {
                keep: 1.0 - self.learning_rate * self.weight_decay,
                betas: self.betas,
                step_size: self.learning_rate / corrections.0,
                second_scale: corrections.1.sqrt(),
                eps: self.eps,
            };
            let done = match place {
                Place::Host(moments) => update.on_host(parameter, gradient, moments),
                Place::Device { first, second } => update.on_device(parameter, gradient, first, second),
            };
            done.map_err(|e| Error::tensor(format!("stepping `{}`", parameter.name), e))?;
        }
        Ok(())
    }
}

/// The numbers of one step.
struct Update {
    keep: f64,
    betas: (f64, f64),
    step_size: f64,
    second_scale: f64,
    eps: f64,
}

impl Update {
    fn on_host(&self, parameter: &Parameter, gradient: &Tensor, moments: &mut Moments) -> candle_core::Result<()> {
        let pass = OnePass { update: self, moments: RefCell::new(moments) };
        parameter.var.inplace_op2(&gradient.contiguous()?, &pass)
    }

    fn on_device(
        &self,
        parameter: &Parameter,
        gradient: &Tensor,
        first: &mut Tensor,
        second: &mut Tensor,
    ) -> candle_core::Result<()> {
        *first = ((&*first * self.betas.0)? + (gradient * (1.0 - self.betas.0))?)?;
        *second = ((&*second * self.betas.1)? + (gradient.sqr()? * (1.0 - self.betas.1))?)?;
        let root = ((second.sqrt()? / self.second_scale)? + self.eps)?;
        let moved = (((&*first / root)?) * self.step_size)?;
        parameter.var.set(&((parameter.var.as_detached_tensor() * self.keep)? - moved)?)
    }
}

/// The whole update of one parameter in one pass over the processor's memory.
struct OnePass<'a> {
    update: &'a Update,
    moments: RefCell<&'a mut Moments>,
}

impl InplaceOp2 for OnePass<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(
        &self,
        parameter: &mut CpuStorage,
        parameter_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> candle_core::Result<()> {
        let (CpuStorage::F32(theta), CpuStorage::F32(gradient)) = (parameter, gradient) else {
            candle_core::bail!("parameters and gradients are single precision")
        };
        let (Some((start, end)), Some((from, to))) =
            (parameter_layout.contiguous_offsets(), gradient_layout.contiguous_offsets())
        else {
            candle_core::bail!("parameters and gradients are contiguous")
        };
        let (theta, gradient) = (&mut theta[start..end], &gradient[from..to]);
        let mut moments = self.moments.borrow_mut();
        let Moments { first, second } = &mut **moments;
        if [gradient.len(), first.len(), second.len()] != [theta.len(); 3] {
            candle_core::bail!("a gradient of {} values for a parameter of {}", gradient.len(), theta.len())
        }
        let (beta1, beta2) = (self.update.betas.0 as f32, self.update.betas.1 as f32);
        let (rest1, rest2) = ((1.0 - self.update.betas.0) as f32, (1.0 - self.update.betas.1) as f32);
        let (keep, step_size) = (self.update.keep as f32, self.update.step_size as f32);
        let (second_scale, eps) = ((1.0 / self.update.second_scale) as f32, self.update.eps as f32);
        let pass = |theta: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32]| {
            wide(|| {
                for (((theta, &g), m), v) in theta.iter_mut().zip(gradient).zip(first).zip(second) {
                    *m = beta1 * *m + rest1 * g;
                    *v = beta2 * *v + rest2 * g * g;
                    *theta = keep * *theta - step_size * *m / (v.sqrt() * second_scale + eps);
                }
            });
        };
        if theta.len() < 2 * AT_ONCE {
            pass(theta, gradient, first, second);
        } else {
            let parts = theta.par_chunks_mut(AT_ONCE).zip(gradient.par_chunks(AT_ONCE));
            let moments = first.par_chunks_mut(AT_ONCE).zip(second.par_chunks_mut(AT_ONCE));
            parts.zip(moments).for_each(|((theta, gradient), (first, second))| pass(theta, gradient, first, second));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};
    use serde::Deserialize;

    use super::*;

    /// Written by `reference/adamw.py`.
    #[derive(Deserialize)]
    struct Reference {
        start: Vec<f32>,
        target: Vec<f32>,
        steps: Vec<Vec<f32>>,
    }

    fn reference() -> (Reference, TrainParams, Vec<Parameter>) {
        let reference: Reference = serde_json::from_str(include_str!("reference/adamw.json")).unwrap();
        let params = TrainParams {
            learning_rate: 0.05,
            betas: (0.8, 0.95),
            eps: 1e-6,
            weight_decay: 0.1,
            ..TrainParams::default()
        };
        let var = Var::from_slice(&reference.start, (3, 4), &Device::Cpu).unwrap();
        (reference, params, vec![Parameter { name: "theta".into(), var }])
    }

    /// The gradient of the summed square of the distance to the target.
    fn gradient(parameters: &[Parameter], target: &[f32]) -> Vec<Tensor> {
        let target = Tensor::from_slice(target, (3, 4), &Device::Cpu).unwrap();
        vec![((parameters[0].var.as_detached_tensor() - target).unwrap() * 2.0).unwrap()]
    }

    fn close(var: &Var, values: &[f32]) -> bool {
        let var = var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        var.iter().zip(values).all(|(a, b)| (a - b).abs() < 2e-6)
    }

    #[test]
    fn ten_steps_go_where_pytorch_goes() {
        let (reference, params, parameters) = reference();
        let mut optimizer = AdamW::new(&params, &parameters).unwrap();
        assert_eq!(reference.steps.len(), 10);
        for expected in &reference.steps {
            optimizer.step(&parameters, &gradient(&parameters, &reference.target)).unwrap();
            assert!(close(&parameters[0].var, expected));
        }
    }

    #[test]
    fn tensor_operations_take_the_same_steps_as_the_one_pass() {
        let (reference, params, parameters) = reference();
        let zeros = || parameters[0].var.zeros_like().unwrap();
        let mut optimizer = AdamW::new(&params, &parameters).unwrap();
        optimizer.moments = vec![Place::Device { first: zeros(), second: zeros() }];
        for expected in &reference.steps {
            optimizer.step(&parameters, &gradient(&parameters, &reference.target)).unwrap();
            assert!(close(&parameters[0].var, expected));
        }
    }

    #[test]
    fn a_state_taken_out_and_put_back_goes_on_as_if_never_stopped() {
        let (reference, params, parameters) = reference();
        let mut optimizer = AdamW::new(&params, &parameters).unwrap();
        for _ in 0..4 {
            optimizer.step(&parameters, &gradient(&parameters, &reference.target)).unwrap();
        }
        let state = optimizer.state().unwrap();
        assert_eq!(state.step, 4);
        let mut resumed = AdamW::resume(&params, &parameters, state.clone()).unwrap();
        assert_eq!(resumed.state().unwrap(), state);
        resumed.step(&parameters, &gradient(&parameters, &reference.target)).unwrap();
        assert!(close(&parameters[0].var, &reference.steps[4]));

        let other = AdamWState { step: 1, moments: vec![Moments { first: vec![0.0], second: vec![0.0] }] };
        assert!(AdamW::resume(&params, &parameters, other).unwrap_err().to_string().contains("optimizer state"));
    }

    #[test]
    fn a_transposed_gradient_is_read_in_its_own_order() {
        let (reference, params, parameters) = reference();
        let mut optimizer = AdamW::new(&params, &parameters).unwrap();
        let gradient = gradient(&parameters, &reference.target).remove(0);
        let transposed = gradient.t().unwrap().contiguous().unwrap().t().unwrap();
        optimizer.step(&parameters, &[transposed]).unwrap();
        assert!(close(&parameters[0].var, &reference.steps[0]));
    }
}
