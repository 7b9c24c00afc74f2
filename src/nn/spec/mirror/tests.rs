use candle_core::{Device, Tensor};

use crate::nn::{
    Activation, Conv, ConvTranspose, InputShape, LayerSpec, Mode, Network, NetworkSpec, Pool, Sequential, Tape,
    slopes::flat,
};

/// Convolutions, one of which leaves a line out, and pooling, down to a code of three.
fn encoder() -> Network {
    Network::new()
        .conv2d(Conv { padding: 1, stride: 2, ..Conv::new(4, 3) })
        .batch_norm()
        .activation(Activation::Relu)
        .max_pool2d(Pool::new(2))
        .conv2d(Conv::new(5, 2))
        .activation(Activation::Tanh)
        .dropout(0.1)
        .linear(6)
        .activation(Activation::Relu)
        .linear(3)
}

fn far(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn values(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 37 % 101) as f32 - 50.0) / 40.0).collect()
}

#[test]
fn a_decoder_leads_back_through_the_shapes_of_its_encoder() {
    let network = encoder().mirror(false);
    let spec = network.resolve([2, 12, 12], 288).unwrap();
    let shapes: Vec<String> = spec.shapes().unwrap().iter().map(InputShape::to_string).collect();
    let down = ["2×12×12", "4×6×6", "4×6×6", "4×6×6", "4×3×3", "5×2×2", "5×2×2", "5×2×2", "20", "6", "6", "3"];
    let up = ["6", "6", "20", "5×2×2", "5×2×2", "4×3×3", "4×6×6", "4×6×6", "4×6×6", "2×12×12", "288"];
    assert_eq!(shapes, [&down[..], &up[..]].concat());
    let last = LayerSpec::ConvTranspose2d(ConvTranspose {
        stride: 2,
        padding: 1,
        output_padding: 1,
        ..ConvTranspose::new(2, 3)
    });
    assert_eq!(spec.layers[20..], [last, LayerSpec::Flatten]);
    assert_eq!(network.mirrored(&[2, 12, 12].into()).unwrap(), Some(11));
    let written = serde_json::to_string(&network).unwrap();
    assert!(written.ends_with(r#"{"kind":"mirror","tied":false}]}"#), "{written}");
    assert_eq!(serde_json::from_str::<Network>(&written).unwrap(), network);
    assert_eq!(serde_json::from_str::<NetworkSpec>(&serde_json::to_string(&spec).unwrap()).unwrap(), spec);
    // What was written out layer by layer is closed where nothing is to be put behind it.
    let by_layer = Network { closed: true, ..Network::new().linear(3).layer(crate::nn::NetworkLayer::Tied { of: 0 }) };
    let tied = by_layer.resolve(7, 7).unwrap();
    assert_eq!(tied, Network::new().linear(3).mirror(true).resolve(7, 7).unwrap());
    assert_eq!(tied.trained(), 21 + 3 + 7);
    assert!(tied.summary().contains("1 tied to 0 "), "{}", tied.summary());
}

#[test]
fn tied_layers_share_a_weight_and_its_gradient() {
    let spec = encoder().mirror(true).resolve([2, 12, 12], 288).unwrap();
    let names: Vec<String> = spec.parameters().into_iter().map(|p| p.name).filter(|n| n.ends_with("weight")).collect();
    // Normalisation and what undoes pooling have their own.
    assert_eq!(names, ["0.weight", "1.weight", "10.weight", "17.weight", "19.weight", "4.weight", "8.weight"]);
    let network = Sequential::init(&spec, 5, &Device::Cpu).unwrap();
    let (rows, mode) = (5, Mode::Train { seed: 3, step: 1, first_row: 0 });
    let x = values(rows * 288);
    let placed = Tensor::from_slice(&x, (rows, 288), &Device::Cpu).unwrap();
    let mut tape = Tape::new(&network).unwrap();
    let fill = |y: &[f32], dy: &mut [f32]| {
        dy.iter_mut().zip(y).for_each(|(d, y)| *d = 2.0 * y);
        y.to_vec()
    };
    tape.learn(&network, &x, rows, mode, fill).unwrap();
    let y = tape.learn(&network, &x, rows, mode, fill).unwrap();
    for portable in [true, false] {
        let other = if portable { network.portably(&placed, rows, mode) } else { network.forward(&placed, mode) };
        let other = other.unwrap();
        assert!(far(&y, &flat(&other)) < 1e-4);
        let store = other.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        for (parameter, own) in network.parameters().iter().zip(tape.gradients()) {
            let other = flat(store.get(&parameter.var).unwrap());
            let most = other.iter().fold(1f32, |most, v| most.max(v.abs()));
            let far = far(&flat(own), &other);
            assert!(far < 1e-4 * most, "{} {portable}: {far} of {most}", parameter.name);
        }
    }
    // The code's layer and what leads back from it are one matrix, seen from both sides.
    let code = network.parameters().iter().find(|p| p.name == "10.weight").unwrap();
    let tape_gradient =
        flat(&tape.gradients()[network.parameters().iter().position(|p| p.name == "10.weight").unwrap()]);
    let start = flat(&code.var);
    let mut moved = |by: f32| {
        let mut values = start.clone();
        values[4] += by;
        code.var.set(&Tensor::from_vec(values, code.var.shape(), &Device::Cpu).unwrap()).unwrap();
        tape.forward(&network, &x, rows, mode).unwrap().iter().map(|y| f64::from(y * y)).sum::<f64>()
    };
    let slope = ((moved(1e-2) - moved(-1e-2)) / 2e-2) as f32;
    assert!((slope - tape_gradient[4]).abs() < 2e-2 * (1.0 + slope.abs()), "{slope} {}", tape_gradient[4]);
}

#[test]
fn the_parts_of_a_network_that_ties_weights_compute_what_the_whole_does() {
    let spec = encoder().mirror(true).resolve([2, 12, 12], 288).unwrap();
    let whole = Sequential::init(&spec, 3, &Device::Cpu).unwrap();
    let weights = whole.weights().unwrap();
    let x = Tensor::from_vec(values(2 * 288), (2, 288), &Device::Cpu).unwrap();
    let want = flat(&whole.forward(&x, Mode::Eval).unwrap());
    for layer in [1, 5, 9, 11, 12, 14, 20, spec.layers.len()] {
        let [first, second] = spec.split(&weights, layer).unwrap();
        let between = Sequential::load(&first.0, &first.1, &Device::Cpu).unwrap().forward(&x, Mode::Eval).unwrap();
        let second = Sequential::load(&second.0, &second.1, &Device::Cpu).unwrap();
        assert!(far(&flat(&second.forward(&between, Mode::Eval).unwrap()), &want) < 1e-5, "before layer {layer}");
    }
}

#[test]
fn what_has_no_opposite_is_refused_by_name() {
    let refused = |network: Network, inputs: InputShape, words: &[&str]| {
        let outputs = inputs.count();
        let message = network.resolve(inputs, outputs).unwrap_err().to_string();
        assert!(words.iter().all(|w| message.contains(w)), "{message}");
    };
    let picture = InputShape::from([1, 9, 9]);
    refused(Network::new().global_avg_pool().mirror(false), picture.clone(), &["1 (mirror)", "0 (global_avg_pool)"]);
    let groups = Conv { groups: 2, ..Conv::new(2, 3) };
    refused(Network::new().conv2d(groups).mirror(false), [2, 9, 9].into(), &["0 (conv2d)", "without groups"]);
    let odd = Network::new().max_pool2d(Pool::new(2)).mirror(false);
    refused(odd, [1, 9, 8].into(), &["1 (mirror)", "0 (max_pool2d)", "1 lines", "0 columns"]);
    let tied = |of| Network::new().flatten().linear(4).layer(crate::nn::NetworkLayer::Tied { of });
    refused(tied(0), picture.clone(), &["2 (tied)", "0 (flatten)", "linear layers and convolutions"]);
    refused(tied(5), picture.clone(), &["2 (tied)", "layer 5", "an earlier layer"]);
    let wide = ConvTranspose { padding: 5, ..ConvTranspose::new(1, 2) };
    refused(Network::new().conv_transpose2d(wide), picture.clone(), &["0 (conv_transpose2d)", "leaves nothing of 10"]);
    let edge = ConvTranspose { output_padding: 1, ..ConvTranspose::new(1, 2) };
    refused(
        Network::new().conv_transpose2d(edge),
        picture,
        &["0 (conv_transpose2d)", "output_padding 1", "below stride"],
    );
    let spec = |layers: &str| format!(r#"{{"inputs":4,"outputs":4,"layers":[{layers}]}}"#);
    for (layers, words) in [
        (
            r#"{"kind":"tied","of":0,"layer":{"kind":"linear","in_features":4,"out_features":4}}"#,
            "the weight of layer 0",
        ),
        (
            r#"{"kind":"linear","in_features":4,"out_features":3},{"kind":"linear","in_features":3,"out_features":2},{"kind":"tied","of":0,"layer":{"kind":"linear","in_features":2,"out_features":4}}"#,
            "transposed [4, 3]",
        ),
        (
            r#"{"kind":"activation","function":"relu"},{"kind":"tied","of":0,"layer":{"kind":"linear","in_features":4,"out_features":4}}"#,
            "layer 0 (activation)",
        ),
        (
            r#"{"kind":"residual","layers":[{"kind":"tied","of":0,"layer":{"kind":"linear","in_features":4,"out_features":4}}]}"#,
            "inside of another",
        ),
        (r#"{"kind":"unflatten","dims":[3,2]}"#, "flat rows into 3×2"),
    ] {
        let message = serde_json::from_str::<NetworkSpec>(&spec(layers)).unwrap().check().unwrap_err().to_string();
        assert!(message.contains(words), "{words}: {message}");
    }
}
