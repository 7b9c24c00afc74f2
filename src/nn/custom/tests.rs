use candle_nn::{Module, func_t, linear};
use serde_json::json;

use super::*;
use crate::nn::{Network, Sequential, Tape};

/// Two linear layers, the second over the first and the input.
struct Skip;

impl CustomNetwork for Skip {
    fn build(&self, settings: &Value, inputs: &InputShape, weights: VarBuilder<'_>) -> Candle<Box<dyn ModuleT>> {
        let units = settings["units"].as_u64().unwrap_or(4) as usize;
        let first = linear(inputs.count(), units, weights.pp("first"))?;
        let second = linear(inputs.count() + units, 5, weights.pp("second"))?;
        Ok(Box::new(func_t(move |x, _| second.forward(&Tensor::cat(&[x, &first.forward(x)?.relu()?], 1)?))))
    }
}

/// One that gives what nobody can use.
struct Wrong;

impl CustomNetwork for Wrong {
    fn build(&self, settings: &Value, _: &InputShape, _: VarBuilder<'_>) -> Candle<Box<dyn ModuleT>> {
        let whole = settings["whole"].as_bool() == Some(true);
        Ok(Box::new(func_t(move |x, _| if whole { x.sum_all()?.reshape((1, 1)) } else { x.reshape((2, ())) })))
    }
}

#[test]
fn a_network_of_ones_own_is_sized_initialised_and_run() {
    register("test skip", Skip);
    let spec = Network::new().custom("test skip", json!({"units": 6})).resolve(3, 2).unwrap();
    assert_eq!(spec.trained(), 4 * 6 + 10 * 5 + 6 * 2);
    let names: Vec<String> = spec.parameters().into_iter().map(|p| p.name).collect();
    assert_eq!(names[..4], ["0.first.bias", "0.first.weight", "0.second.bias", "0.second.weight"]);
    let json = serde_json::to_string(&spec).unwrap();
    assert_eq!(serde_json::from_str::<crate::nn::NetworkSpec>(&json).unwrap(), spec);

    let network = Sequential::init(&spec, 5, &Device::Cpu).unwrap();
    assert_eq!(network.weights().unwrap(), Sequential::init(&spec, 5, &Device::Cpu).unwrap().weights().unwrap());
    let first = network.weights().unwrap().get("0.first.weight").unwrap().values.clone();
    assert!(first.iter().any(|v| *v != 0.0) && first.iter().all(|v| v.abs() < 4.0), "{first:?}");
    let x = Tensor::new(&[[1f32, 2.0, 3.0], [-1.0, 0.5, 0.0]], &Device::Cpu).unwrap();
    let y = network.forward(&x, Mode::Eval).unwrap();
    assert_eq!(y.dims(), [2, 2]);
    let gradients = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
    assert!(network.parameters().iter().all(|p| gradients.get(&p.var).is_some()));
    assert!(Tape::new(&network).unwrap_err().to_string().contains("custom"));
}

/// One that gives another shape as soon as it learns.
struct Fickle;

impl CustomNetwork for Fickle {
    fn build(&self, _: &Value, inputs: &InputShape, weights: VarBuilder<'_>) -> Candle<Box<dyn ModuleT>> {
        let layer = linear(inputs.count(), 5, weights)?;
        Ok(Box::new(func_t(move |x, learns| layer.forward(x)?.narrow(1, 0, if learns { 4 } else { 5 }))))
    }
}

#[test]
fn another_shape_than_before_is_refused_with_the_layer() {
    register("test fickle", Fickle);
    let spec = Network::new().linear(3).custom("test fickle", json!(null)).resolve(3, 2).unwrap();
    let network = Sequential::init(&spec, 5, &Device::Cpu).unwrap();
    let x = Tensor::zeros((2, 3), DType::F32, &Device::Cpu).unwrap();
    network.forward(&x, Mode::Eval).unwrap();
    let message = network.forward(&x, Mode::Train { seed: 1, step: 0, first_row: 0 }).unwrap_err().to_string();
    for words in ["layer 1 (custom", "[2, 3]", "gives [2, 4] in place of [2, 5]"] {
        assert!(message.contains(words), "{words}: {message}");
    }
}

#[test]
fn what_cannot_work_is_refused_before_training() {
    register("test wrong", Wrong);
    for (settings, words) in [(json!({"whole": true}), "for 3 rows"), (json!({}), "it failed")] {
        let message = Network::new().custom("test wrong", settings).resolve(3, 2).unwrap_err().to_string();
        assert!(message.contains("custom `test wrong`") && message.contains(words), "{message}");
    }
    let message = Network::new().custom("test nobody", json!(null)).resolve(3, 2).unwrap_err().to_string();
    assert!(message.contains("no network is registered as `test nobody`"), "{message}");
}
