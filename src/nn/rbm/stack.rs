//! Machines one on top of another: a deep belief network, and the layers of ordinary networks that come of it.

use super::{Rbm, VisibleUnits};
use crate::{
    Error, Result,
    nn::{Activation, InputShape, LayerSpec, NamedTensor, NetworkSpec, Weights},
};

/// Machines of which each sees the hidden probabilities of the one below it (Hinton, Osindero and Teh, "A fast learning
/// algorithm for deep belief nets", 2006).
#[derive(Debug, Clone, PartialEq)]
pub struct RbmStack {
    inputs: InputShape,
    machines: Vec<Rbm>,
}

impl RbmStack {
    /// Stacks machines, the first at the bottom, over rows of a shape.
    ///
    /// # Errors
    /// [`Error::Network`] without any machine, or when one does not see as many values as there are below it.
    pub fn new(inputs: impl Into<InputShape>, machines: Vec<Rbm>) -> Result<Self> {
        let inputs = inputs.into();
        let mut below = inputs.count();
        let misfit = |i: usize, got: String, fits: &str| {
            Err(Error::Network { layer: format!("{i} (restricted Boltzmann machine)"), got, fits: fits.into() })
        };
        if machines.is_empty() || inputs.ragged {
            return misfit(
                0,
                format!("rows of shape {inputs}, {} machines", machines.len()),
                "one machine or more over rows of a fixed shape",
            );
        }
        for (i, machine) in machines.iter().enumerate() {
            if machine.spec.visible != below {
                let got = format!("{below} values");
                return misfit(i, got, &format!("it has {} visible units", machine.spec.visible));
            }
            if i > 0 && machine.spec.units != VisibleUnits::Bernoulli {
                return misfit(i, "probabilities".into(), "above the first, visible units are Bernoulli");
            }
            below = machine.spec.hidden;
        }
        Ok(Self { inputs, machines })
    }

    /// Returns the machines, the first at the bottom.
    pub fn machines(&self) -> &[Rbm] {
        &self.machines
    }

    /// Returns the shape of a row.
    pub fn inputs(&self) -> &InputShape {
        &self.inputs
    }

    /// Returns the probabilities of the topmost hidden units, `(rows, hidden)`, for `(rows, inputs)` values.
    ///
    /// # Errors
    /// [`Error::Network`] for values that are not whole rows.
    pub fn features(&self, rows: &[f32]) -> Result<Vec<f32>> {
        let (first, above) = match self.machines.split_first() {
            Some((first, above)) => (first.hidden(rows)?, above),
            None => return Ok(rows.to_vec()),
        };
        above.iter().try_fold(first, |below, machine| machine.hidden(&below))
    }

    /// Returns the stack as layers of a network: linear and sigmoid for each machine, from the bottom up. They give
    /// [`features`](Self::features).
    pub fn encoder(&self) -> (NetworkSpec, Weights) {
        let mut layers = Layers::over(&self.inputs);
        self.machines.iter().for_each(|machine| layers.up(machine));
        layers.finish(self.inputs.clone(), self.machines.last().map_or(0, |top| top.spec.hidden))
    }

    /// Returns the stack unrolled as an auto-encoder (Hinton and Salakhutdinov, "Reducing the dimensionality of data
    /// with neural networks", 2006): up through the machines, then down again by the same weights. The last layer gives
    /// the visible units' means: through a sigmoid, unless they are Gaussian.
    pub fn unrolled(&self) -> (NetworkSpec, Weights) {
        let mut layers = Layers::over(&self.inputs);
        self.machines.iter().for_each(|machine| layers.up(machine));
        self.machines.iter().rev().for_each(|machine| layers.down(machine));
        layers.finish(self.inputs.clone(), self.inputs.count())
    }

    /// Returns the machines with these weights, named as in [`unrolled`](Self::unrolled); the others stay. A machine's
    /// weights and hidden biases are those of its layer on the way up, its visible biases those of its layer on the way
    /// down, whose weights are the same ones and not looked at.
    ///
    /// # Errors
    /// As [`NetworkSpec::initial_weights`], with a network that is [`unrolled`](Self::unrolled).
    pub fn with_weights(mut self, given: &Weights) -> Result<Self> {
        self.unrolled().0.initial_weights(0, given)?;
        let (count, first) = (self.machines.len(), self.depth() - 2 * self.machines.len());
        let take = |place: &mut Vec<f32>, layer: usize, name: &str| {
            if let Some(tensor) = given.get(&format!("{layer}.{name}")) {
                place.clone_from(&tensor.values);
            }
        };
        for (i, machine) in self.machines.iter_mut().enumerate() {
            // Each is a linear layer and a sigmoid, up from the bottom and then down from the top.
            let (up, down) = (first + 2 * i, first + 2 * (2 * count - 1 - i));
            take(&mut machine.weight, up, "weight");
            take(&mut machine.hidden_bias, up, "bias");
            take(&mut machine.visible_bias, down, "bias");
        }
        Ok(self)
    }

    /// Returns the number of layers of [`encoder`](Self::encoder) and [`unrolled`](Self::unrolled) up to the features.
    pub fn depth(&self) -> usize {
        2 * self.machines.len() + usize::from(self.inputs.dims.len() > 1)
    }
}

#[derive(Default)]
struct Layers {
    layers: Vec<LayerSpec>,
    tensors: Vec<NamedTensor>,
}

impl Layers {
    fn over(inputs: &InputShape) -> Self {
        let flatten = (inputs.dims.len() > 1).then_some(LayerSpec::Flatten);
        Self { layers: flatten.into_iter().collect(), tensors: Vec::new() }
    }

    fn up(&mut self, machine: &Rbm) {
        let weight = machine.weight.clone();
        self.push([machine.spec.visible, machine.spec.hidden], weight, machine.hidden_bias.clone(), true);
    }

    fn down(&mut self, machine: &Rbm) {
        let (visible, hidden) = (machine.spec.visible, machine.spec.hidden);
        let weight = (0..visible).flat_map(|v| (0..hidden).map(move |h| machine.weight[h * visible + v])).collect();
        let squeezed = machine.spec.units == VisibleUnits::Bernoulli;
        self.push([hidden, visible], weight, machine.visible_bias.clone(), squeezed);
    }

    fn push(&mut self, [inputs, outputs]: [usize; 2], weight: Vec<f32>, bias: Vec<f32>, squeezed: bool) {
        let layer = self.layers.len();
        let tensor = |name, shape: &[usize], values| NamedTensor {
            name: format!("{layer}.{name}"),
            shape: shape.into(),
            values,
        };
        self.tensors.push(tensor("weight", &[outputs, inputs], weight));
        self.tensors.push(tensor("bias", &[outputs], bias));
        self.layers.push(LayerSpec::Linear { in_features: inputs, out_features: outputs });
        if squeezed {
            self.layers.push(LayerSpec::Activation { function: Activation::Sigmoid });
        }
    }

    fn finish(self, inputs: InputShape, outputs: usize) -> (NetworkSpec, Weights) {
        (NetworkSpec { inputs, outputs, layers: self.layers }, Weights::sorted(self.tensors))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;
    use crate::nn::{Mode, RbmSpec, Sequential};

    fn machine(visible: usize, hidden: usize, units: VisibleUnits) -> Rbm {
        let spec = RbmSpec { visible, hidden, units };
        let value = |i: usize| (i as f32 * 0.7).sin();
        let take = |n: usize, from: usize| (from..from + n).map(value).collect();
        Rbm::new(spec, take(visible * hidden, 0), take(visible, 50), take(hidden, 90)).unwrap()
    }

    #[test]
    fn a_stack_begins_with_what_another_has_learnt() {
        for (inputs, units) in [(InputShape::from(6), VisibleUnits::Gaussian), ([2, 3].into(), VisibleUnits::Bernoulli)]
        {
            let of = |sizes: [(usize, VisibleUnits); 2]| {
                let machines = vec![machine(6, sizes[0].0, sizes[0].1), machine(sizes[0].0, sizes[1].0, sizes[1].1)];
                RbmStack::new(inputs.clone(), machines).unwrap()
            };
            let learnt = of([(4, units), (3, VisibleUnits::Bernoulli)]);
            let blank = |m: &Rbm| Rbm::init(m.spec(), 1).unwrap();
            let fresh = RbmStack::new(inputs.clone(), learnt.machines().iter().map(blank).collect()).unwrap();
            let (_, weights) = learnt.unrolled();
            assert_eq!(fresh.clone().with_weights(&weights).unwrap(), learnt);
            // The way up alone brings all but the visible biases.
            let up = fresh.clone().with_weights(&learnt.encoder().1).unwrap();
            for (up, learnt) in up.machines().iter().zip(learnt.machines()) {
                assert_eq!((up.weight(), up.hidden_bias()), (learnt.weight(), learnt.hidden_bias()));
                assert!(up.visible_bias().iter().all(|bias| *bias == 0.0));
            }
            let other = of([(5, units), (3, VisibleUnits::Bernoulli)]);
            let first = format!("`{}.bias`", learnt.depth() - 4);
            let message = fresh.with_weights(&other.encoder().1).unwrap_err().to_string();
            assert!(message.contains(&first) && message.contains("[5]") && message.contains("[4]"), "{message}");
        }
    }

    fn applied((spec, weights): &(NetworkSpec, Weights), x: &[f32]) -> Vec<f32> {
        spec.check().unwrap();
        let network = Sequential::load(spec, weights, &Device::Cpu).unwrap();
        let x = Tensor::from_slice(x, (x.len() / spec.inputs.count(), spec.inputs.count()), &Device::Cpu).unwrap();
        network.forward(&x, Mode::Eval).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn networks_of_a_stack_compute_what_its_machines_do() {
        for (inputs, units) in
            [(InputShape::from(6), VisibleUnits::Gaussian), ([1, 2, 3].into(), VisibleUnits::Bernoulli)]
        {
            let machines = vec![machine(6, 4, units), machine(4, 2, VisibleUnits::Bernoulli)];
            let stack = RbmStack::new(inputs, machines).unwrap();
            let x: Vec<f32> = (0..12).map(|i| (i as f32 * 0.3).cos().abs()).collect();
            let features = stack.features(&x).unwrap();
            let close = |a: &[f32], b: &[f32]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
            assert!(close(&applied(&stack.encoder(), &x), &features));
            let [bottom, top] = stack.machines() else { panic!() };
            let down = bottom.visible(&top.visible(&features).unwrap()).unwrap();
            let unrolled = stack.unrolled();
            assert!(close(&applied(&unrolled, &x), &down));
            assert_eq!(unrolled.0.shapes().unwrap()[stack.depth()].count(), 2);
        }
    }

    #[test]
    fn machines_that_do_not_fit_on_each_other_are_named() {
        let bernoulli = VisibleUnits::Bernoulli;
        for (inputs, machines, words) in [
            (5, vec![machine(6, 4, bernoulli)], "0 (restricted Boltzmann machine): got 5 values; it has 6"),
            (6, vec![machine(6, 4, bernoulli), machine(3, 2, bernoulli)], "1 (restricted"),
            (6, vec![machine(6, 4, bernoulli), machine(4, 2, VisibleUnits::Gaussian)], "Bernoulli"),
            (6, vec![], "0 machines"),
        ] {
            let message = RbmStack::new(inputs, machines).unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
        }
    }
}
