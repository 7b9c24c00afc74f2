use candle_core::Device;

use super::*;
use crate::nn::{Activation, Embedding, InputShape, Network, Recurrent, SequenceOutput, Sequential};

fn network() -> Sequential {
    Sequential::init(&Network::mlp([8]).resolve(4, 3).unwrap(), 5, &Device::Cpu).unwrap()
}

#[test]
fn rows_that_are_not_the_networks_are_refused() {
    let network = network();
    let message = Tape::new(&network).unwrap().forward(&network, &[0.0; 7], 2, Mode::Eval).unwrap_err().to_string();
    assert!(message.contains("7 values for 2 rows") && message.contains("rows of 4"), "{message}");
}

#[test]
fn minibatches_of_any_size_follow_each_other() {
    let network = network();
    let x: Vec<f32> = (0..40).map(|i| i as f32 / 20.0 - 1.0).collect();
    let gradients = |tape: &mut Tape, rows: usize| {
        let outputs = tape.learn(&network, &x[..4 * rows], rows, Mode::Eval, |y, dy| {
            dy.copy_from_slice(y);
            y.len()
        });
        assert_eq!(outputs.unwrap(), 3 * rows);
        tape.gradients().iter().map(|g| g.flatten_all().unwrap().to_vec1::<f32>().unwrap()).collect::<Vec<_>>()
    };
    let mut tape = Tape::new(&network).unwrap();
    for rows in [10, 3, 1, 7] {
        assert_eq!(gradients(&mut tape, rows), gradients(&mut Tape::new(&network).unwrap(), rows), "{rows} rows");
    }
    gradients(&mut tape, 0);
}

#[test]
fn a_network_without_layers_passes_rows_on() {
    let spec = crate::nn::NetworkSpec { inputs: 4.into(), outputs: 4, layers: vec![] };
    let network = Sequential::init(&spec, 5, &Device::Cpu).unwrap();
    let mut tape = Tape::new(&network).unwrap();
    assert_eq!(tape.forward(&network, &[1.0, 2.0, 3.0, 4.0], 1, Mode::Eval).unwrap(), [1.0, 2.0, 3.0, 4.0]);
}

/// Steps of three values, passed through a layer a step, two recurrent layers and a linear one.
fn of_sequences(readout: SequenceOutput) -> Sequential {
    let first = Recurrent { bidirectional: true, output: SequenceOutput::All, ..Recurrent::new(5) };
    let network = Network::new()
        .linear(4)
        .activation(Activation::Tanh)
        .layer_norm()
        .lstm_layer(first)
        .gru_layer(Recurrent { output: readout, ..Recurrent::new(6) });
    Sequential::init(&network.resolve(InputShape::sequence([3]), 2).unwrap(), 5, &Device::Cpu).unwrap()
}

const LENGTHS: [u32; 5] = [4, 1, 7, 7, 2];

fn steps(time: usize) -> Vec<f32> {
    (0..5 * time * 3).map(|i| (i as f32 * 0.7).sin()).collect()
}

/// A tape's outputs and gradients are those of candle's operations.
fn agrees(network: &Sequential, mode: Mode) {
    let x = steps(7);
    let mut tape = Tape::new(network).unwrap();
    let outputs = tape
        .learn_sequences(network, &x, &LENGTHS, mode, |y, dy| {
            dy.iter_mut().zip(y).for_each(|(d, y)| *d = 2.0 * y);
            y.to_vec()
        })
        .unwrap();
    let placed = Tensor::from_slice(&x, (5, 7, 3), &Device::Cpu).unwrap();
    let y = network.forward_sequences(&placed, &LENGTHS, mode).unwrap();
    let far = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(far(&outputs, &y.flatten_all().unwrap().to_vec1::<f32>().unwrap()) < 1e-5, "{:?}", network.spec());
    let gradients = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
    for (parameter, own) in network.parameters().iter().zip(tape.gradients()) {
        let other = gradients.get(&parameter.var).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let own = own.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let name = &parameter.name;
        assert!(far(&own, &other) < 1e-4, "{:?} {name}: {}", network.spec(), far(&own, &other));
    }
}

#[test]
fn sequences_give_what_tensor_operations_give_and_so_do_their_gradients() {
    for readout in [SequenceOutput::Last, SequenceOutput::Mean, SequenceOutput::Max] {
        agrees(&of_sequences(readout), Mode::Eval);
    }
}

#[test]
fn blocks_over_sequences_give_what_tensor_operations_give() {
    let inner = Network::new().gru_layer(Recurrent { output: SequenceOutput::All, ..Recurrent::new(5) });
    let network = Network::new()
        .residual(Network::new().linear(4).activation(Activation::Tanh).dropout(0.3).linear(3))
        .residual(inner.dropout(0.4).residual(Network::new().layer_norm()))
        .lstm_layer(Recurrent::new(4));
    let network = Sequential::init(&network.resolve(InputShape::sequence([3]), 2).unwrap(), 5, &Device::Cpu).unwrap();
    agrees(&network, Mode::Train { seed: 4, step: 2, first_row: 3 });
}

#[test]
fn what_lies_behind_a_sequences_end_counts_for_nothing() {
    let network = of_sequences(SequenceOutput::Last);
    let (x, mut other) = (steps(7), steps(7));
    for (row, &length) in LENGTHS.iter().enumerate() {
        other[(row * 7 + length as usize) * 3..(row + 1) * 21].fill(99.0);
    }
    let mut tape = Tape::new(&network).unwrap();
    let outputs = tape.forward_sequences(&network, &x, &LENGTHS, Mode::Eval).unwrap().to_vec();
    assert_eq!(tape.forward_sequences(&network, &other, &LENGTHS, Mode::Eval).unwrap(), outputs);
}

#[test]
fn lengths_that_cannot_be_are_refused() {
    let network = of_sequences(SequenceOutput::Last);
    let mut tape = Tape::new(&network).unwrap();
    for (lengths, words) in [([4, 0, 7, 7, 2], "length of 0 in row 1"), ([4, 1, 8, 7, 2], "length of 8 in row 2")] {
        let message = tape.forward_sequences(&network, &steps(7), &lengths, Mode::Eval).unwrap_err().to_string();
        assert!(message.contains(words) && message.contains("1 to 7"), "{message}");
    }
    let message = tape.forward(&network, &steps(7), 5, Mode::Eval).unwrap_err().to_string();
    assert!(message.contains("without their lengths"), "{message}");
    let placed = Tensor::from_slice(&steps(7), (5, 7, 3), &Device::Cpu).unwrap();
    assert!(network.forward_sequences(&placed, &[1, 2], Mode::Eval).is_err());
    let message = Network::mlp([4]).resolve(InputShape::sequence([3]), 2).unwrap_err().to_string();
    assert!(message.contains("output") && message.contains("steps×2"), "{message}");
    let message = Network::new().flatten().resolve(InputShape::sequence([3]), 2).unwrap_err().to_string();
    assert!(message.contains("flatten") && message.contains("recurrent"), "{message}");
}

#[test]
fn rows_that_are_predicted_apart_give_what_they_give_together() {
    let mlp = Network::mlp([40, 24]).with_activation(Activation::Tanh).with_dropout(0.3).resolve(30, 5).unwrap();
    let cnn = Network::cnn([3], [8]).resolve([1, 6, 5], 5).unwrap();
    let lstm = Network::lstm(6).resolve([5, 6], 5).unwrap();
    for spec in [mlp, cnn, lstm] {
        let network = Sequential::init(&spec, 5, &Device::Cpu).unwrap();
        let mut tape = Tape::new(&network).unwrap();
        for rows in [1, 64, 65, 200] {
            let x: Vec<f32> = (0..rows * 30).map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0).collect();
            let together = tape.learn(&network, &x, rows, Mode::Eval, |y, dy| {
                dy.fill(0.0);
                y.to_vec()
            });
            let apart = tape.forward(&network, &x, rows, Mode::Eval).unwrap();
            let gap = together.unwrap().iter().zip(apart).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(gap < 1e-6 && apart.len() == 5 * rows, "{rows} rows: {gap}");
        }
    }
}

#[test]
fn ids_are_looked_up_and_their_lines_learn() {
    // Two categories of 3 and 4 lines, and one number behind them.
    let network = Network::new().categories([Embedding::new(3, 2), Embedding::new(4, 1)]);
    let spec = network.resolve(3, 2).unwrap();
    assert_eq!(spec.shapes().unwrap()[1], InputShape::from(4));
    let network = Sequential::init(&spec, 5, &Device::Cpu).unwrap();
    let x = [2.0, 0.0, 0.5, 1.0, 3.0, -0.5, 2.0, 3.0, 1.5];
    let placed = Tensor::from_slice(&x, (3, 3), &Device::Cpu).unwrap();
    let exact = network.portably(&placed, 3, Mode::Eval).unwrap();
    let mut tape = Tape::new(&network).unwrap();
    let outputs = tape
        .learn(&network, &x, 3, Mode::Eval, |y, dy| {
            dy.iter_mut().zip(y).for_each(|(d, y)| *d = 2.0 * y);
            y.to_vec()
        })
        .unwrap();
    let far = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(far(&outputs, &exact.flatten_all().unwrap().to_vec1::<f32>().unwrap()) < 1e-6);
    let gradients = exact.sqr().unwrap().sum_all().unwrap().backward().unwrap();
    for (parameter, own) in network.parameters().iter().zip(tape.gradients()) {
        let other = gradients.get(&parameter.var).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(far(&own.flatten_all().unwrap().to_vec1::<f32>().unwrap(), &other) < 1e-5, "{}", parameter.name);
    }

    // Words of a text: the rows 0 and 2 have none of the last two steps.
    let words = Network::new().embedding(Embedding::new(5, 3)).gru_layer(Recurrent::new(4));
    let network = Sequential::init(&words.resolve(InputShape::sequence([1]), 2).unwrap(), 5, &Device::Cpu).unwrap();
    let (x, lengths) = ([1.0, 0.0, 0.0, 4.0, 2.0, 1.0, 3.0, 0.0, 0.0], [1, 3, 1]);
    let own = Tape::new(&network).unwrap().forward_sequences(&network, &x, &lengths, Mode::Eval).unwrap().to_vec();
    let placed = Tensor::from_slice(&x, (3, 3, 1), &Device::Cpu).unwrap();
    let exact = network.forward_sequences(&placed, &lengths, Mode::Eval).unwrap();
    assert!(far(&own, &exact.flatten_all().unwrap().to_vec1::<f32>().unwrap()) < 1e-5);

    let message = Network::new().linear(3).embedding(Embedding::new(5, 3)).resolve(4, 2).unwrap_err().to_string();
    assert!(message.contains("1 (embedding)") && message.contains("first layer"), "{message}");
    let message = Network::new().categories([Embedding::new(5, 3); 3]).resolve(2, 2).unwrap_err().to_string();
    assert!(message.contains("at least 3 values"), "{message}");
    assert!(Network::new().embedding(Embedding::new(0, 3)).resolve(2, 2).is_err());
}
