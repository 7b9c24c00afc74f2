use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use serde::Deserialize;

use super::*;
use crate::nn::{Activation, Network};

/// Written by `reference/network.py`.
#[derive(Deserialize)]
struct Case {
    function: Activation,
    x: Vec<Vec<f32>>,
    y: Vec<Vec<f32>>,
    weights: BTreeMap<String, Vec<f32>>,
    gradients: BTreeMap<String, Vec<f32>>,
}

fn close(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-5 * (1.0 + b.abs()))
}

#[test]
fn outputs_and_gradients_are_those_of_pytorch() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("../reference/network.json")).unwrap();
    assert_eq!(cases.len(), 5);
    for case in cases {
        let spec = Network::new().linear(5).activation(case.function).resolve(4, 3).unwrap();
        let tensors = spec.parameters().into_iter().map(|p| NamedTensor {
            values: case.weights[&p.name].clone(),
            name: p.name,
            shape: p.shape,
        });
        let net = Sequential::load(&spec, &Weights::new(tensors.collect()).unwrap(), &Device::Cpu).unwrap();
        let x = Tensor::from_vec(case.x.concat(), (6, 4), &Device::Cpu).unwrap();
        let y = net.forward(&x, Mode::Eval).unwrap();
        assert!(close(&y.flatten_all().unwrap().to_vec1().unwrap(), &case.y.concat()), "{:?}", case.function);
        let grads = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        for parameter in net.parameters() {
            let grad = grads.get(&parameter.var).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            assert!(close(&grad, &case.gradients[&parameter.name]), "{:?} {}", case.function, parameter.name);
        }
    }
}

#[test]
fn weights_come_back_as_they_were_given() {
    let spec = Network::mlp([8]).resolve(4, 3).unwrap();
    let net = Sequential::init(&spec, 5, &Device::Cpu).unwrap();
    let again = Sequential::load(&spec, &net.weights().unwrap(), &Device::Cpu).unwrap();
    assert_eq!(again.weights().unwrap(), net.weights().unwrap());
}

#[test]
fn weights_that_do_not_fit_are_refused_by_name() {
    let spec = Network::mlp([8]).resolve(4, 3).unwrap();
    let tensors = Sequential::init(&spec, 5, &Device::Cpu).unwrap().weights().unwrap().tensors().to_vec();
    let refusal = |change: &dyn Fn(&mut Vec<NamedTensor>)| {
        let mut tensors = tensors.clone();
        change(&mut tensors);
        Sequential::load(&spec, &Weights::new(tensors).unwrap(), &Device::Cpu).unwrap_err().to_string()
    };
    let message = refusal(&|t| t.retain(|t| t.name != "2.bias"));
    assert!(message.contains("`2.bias`") && message.contains("nothing"), "{message}");
    let message = refusal(&|t| t[1].shape.reverse());
    assert!(message.contains("[4, 8]") && message.contains("[8, 4]"), "{message}");
    let message = refusal(&|t| t.push(NamedTensor { name: "9.bias".into(), shape: vec![0], values: vec![] }));
    assert!(message.contains("`9.bias`"), "{message}");
}

#[test]
fn zero_rows_pass_and_a_wrong_width_names_the_layer() {
    let net = Sequential::init(&Network::mlp([8]).resolve(4, 3).unwrap(), 5, &Device::Cpu).unwrap();
    let none = Tensor::zeros((0, 4), DType::F32, &Device::Cpu).unwrap();
    assert_eq!(net.forward(&none, Mode::Eval).unwrap().dims(), [0, 3]);
    let wide = Tensor::zeros((2, 5), DType::F32, &Device::Cpu).unwrap();
    let message = net.forward(&wide, Mode::Eval).unwrap_err().to_string();
    assert!(message.contains("0 (linear)") && message.contains("[2, 5]"), "{message}");
}
