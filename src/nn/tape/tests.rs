use candle_core::Device;

use super::*;
use crate::nn::{Network, Sequential};

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
