use super::*;
use crate::nn::Network;

fn says(spec: NetworkSpec, words: &[&str]) {
    let message = spec.check().unwrap_err().to_string();
    assert!(words.iter().all(|w| message.contains(w)), "{message}");
}

fn spec(inputs: impl Into<InputShape>, outputs: usize, layers: Vec<LayerSpec>) -> NetworkSpec {
    NetworkSpec { inputs: inputs.into(), outputs, layers }
}

#[test]
fn sizes_come_from_the_data() {
    let spec = Network::mlp([16, 8]).resolve(4, 3).unwrap();
    let names: Vec<_> = spec.parameters().into_iter().map(|p| (p.name, p.shape)).collect();
    assert_eq!(
        names,
        [
            ("0.bias".to_owned(), vec![16]),
            ("0.weight".into(), vec![16, 4]),
            ("2.bias".into(), vec![8]),
            ("2.weight".into(), vec![8, 16]),
            ("4.bias".into(), vec![3]),
            ("4.weight".into(), vec![3, 8]),
        ]
    );
}

#[test]
fn shapes_of_images_follow_from_layer_to_layer() {
    let conv = Conv { stride: 2, padding: 1, dilation: 2, groups: 2, ..Conv::new(6, 3) };
    let spec = Network::new().conv2d(Conv::new(4, 5)).max_pool2d(Pool::new(2)).conv2d(conv).batch_norm();
    let spec = spec.global_avg_pool().resolve([1, 28, 20], 10).unwrap();
    let shapes: Vec<String> = spec.shapes().unwrap().iter().map(InputShape::to_string).collect();
    assert_eq!(shapes, ["1×28×20", "4×24×16", "4×12×8", "6×5×3", "6×5×3", "6", "10"]);
    let of = |name: &str| spec.parameters().into_iter().find(|p| p.name == name).unwrap();
    assert_eq!(of("2.weight").shape, [6, 2, 3, 3]);
    assert_eq!((of("3.running_var").shape, of("3.running_var").trained), (vec![6], false));
}

#[test]
fn rows_without_a_dimension_are_refused() {
    let norm = || vec![LayerSpec::BatchNorm { eps: 1e-5, momentum: 0.1 }];
    says(spec(Vec::new(), 1, norm()), &["input", "1 to"]);
    says(spec(InputShape::sequence([]), 1, norm()), &["input", "1 to"]);
}

#[test]
fn misfits_name_the_layer_what_it_got_and_what_fits() {
    let linear = |inputs, outputs| LayerSpec::Linear { in_features: inputs, out_features: outputs };
    says(spec(4, 3, vec![linear(4, 8), linear(9, 3)]), &["1 (linear)", "8", "9"]);
    says(spec(4, 3, vec![linear(4, 2)]), &["output", "2", "3"]);
    says(spec(4, 0, vec![linear(4, 0)]), &["0 (linear)", "0 outputs"]);
    says(spec(0, 0, vec![]), &["input"]);
    says(spec(4, 1 << 40, vec![linear(4, 1 << 40)]), &["at most"]);
    says(spec(4, 2, vec![linear(4, usize::MAX / 2)]), &["at most"]);
    for p in [1.0, -0.1, f64::NAN] {
        says(spec(1, 1, vec![LayerSpec::Dropout { p }]), &["0 (dropout)", "[0, 1)"]);
    }
}

#[test]
fn blocks_find_what_belongs_beside_them() {
    let block = Network::new().conv2d(Conv { stride: 2, padding: 1, ..Conv::new(6, 3) }).batch_norm();
    let spec = Network::new().residual(block).flatten().residual(Network::mlp([7])).resolve([2, 9, 12], 3).unwrap();
    let shortcut = |i: usize| match &spec.layers[i] {
        LayerSpec::Residual { shortcut, .. } => shortcut.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(shortcut(0), [LayerSpec::Conv2d(Conv { stride: 2, ..Conv::new(6, 1) })]);
    assert_eq!(shortcut(2), [LayerSpec::Linear { in_features: 180, out_features: 7 }]);
    let names: Vec<_> = spec.parameters().into_iter().map(|p| (p.name, p.trained)).collect();
    let of_first = ["0.0.bias", "0.0.weight", "0.1.bias", "0.1.running_mean", "0.1.running_var", "0.1.weight"];
    let named = of_first.iter().chain(&["0.shortcut.0.bias", "0.shortcut.0.weight", "2.0.bias", "2.0.weight"]);
    let named = named.chain(&["2.shortcut.0.bias", "2.shortcut.0.weight", "3.bias", "3.weight"]);
    let want: Vec<_> = named.map(|name| ((*name).to_owned(), !name.contains("running"))).collect();
    assert_eq!(names, want);
    let json = serde_json::to_string(&spec).unwrap();
    assert_eq!(serde_json::from_str::<NetworkSpec>(&json).unwrap(), spec);
    // Sequences step by step; masks within a block are not those of the layers behind it.
    let spec = Network::new().residual(Network::mlp([7]).with_dropout(0.1)).dropout(0.1).gru_layer(Recurrent::new(4));
    let spec = spec.resolve(InputShape::sequence([3]), 2).unwrap();
    assert_eq!((spec.shapes().unwrap()[1].clone(), spec.lane(1)), (InputShape::sequence([7]), 5));
}

#[test]
fn blocks_that_do_not_fit_are_refused() {
    let refused = |network: Network, inputs: InputShape, words: &[&str]| {
        let message = network.resolve(inputs, 2).unwrap_err().to_string();
        assert!(words.iter().all(|w| message.contains(w)), "{message}");
    };
    let on = InputShape::from([1, 5, 5]);
    refused(Network::new().residual(Network::new()), on.clone(), &["0 (residual)", "no layers"]);
    let wide = Network::new().flatten().residual(Network::mlp([3]).conv2d(Conv::new(1, 1)));
    refused(wide, on.clone(), &["1 (residual): 2 (conv2d)", "channels × height × width"]);
    let odd = Network::new().max_pool2d(Pool { stride: Some(1), ..Pool::new(4) });
    refused(Network::new().residual(odd), [1, 9, 9].into(), &["0 (residual)", "1×9×9 made into 1×6×6", "no 1×1"]);
    refused(
        Network::new().residual(Network::new().embedding(Embedding::new(4, 2))),
        3.into(),
        &["(embedding)", "first"],
    );
    let last = Network::new().residual(Network::new().gru_layer(Recurrent::new(3)));
    refused(last, InputShape::sequence([3]), &["0 (residual)", "steps×3 made into 3"]);
    let linear = LayerSpec::Linear { in_features: 4, out_features: 3 };
    let unlike = LayerSpec::Residual { layers: vec![linear], shortcut: vec![] };
    says(spec(4, 3, vec![unlike]), &["0 (residual)", "3 from its layers and 4 beside them"]);
}

#[test]
fn windows_that_do_not_fit_are_refused() {
    let conv = Conv::new(4, 3);
    let on = |shape: [usize; 3], layer| spec(shape, 1, vec![layer]);
    says(on([1, 2, 9], LayerSpec::Conv2d(conv)), &["0 (conv2d)", "1×2×9", "reaches over 3"]);
    says(on([1, 5, 5], LayerSpec::Conv2d(Conv { dilation: 3, ..conv })), &["reaches over 7"]);
    says(on([3, 9, 9], LayerSpec::Conv2d(Conv { groups: 2, ..conv })), &["3 channels in, 4 out", "groups must divide"]);
    says(on([1, 9, 9], LayerSpec::Conv2d(Conv { stride: 0, ..conv })), &["stride 0", "only padding may be 0"]);
    says(on([1, 9, 9], LayerSpec::Conv2d(Conv { kernel_size: usize::MAX, ..conv })), &["each is at most"]);
    says(on([1, 9, 9], LayerSpec::Conv1d(conv)), &["0 (conv1d)", "channels × length"]);
    says(on([1, 9, 9], LayerSpec::MaxPool2d(Pool { padding: 2, ..Pool::new(3) })), &["padding = 2", "at most 1"]);
    says(spec(9, 1, vec![LayerSpec::AvgPool2d(Pool::new(2))]), &["0 (avg_pool2d)", "channels × height × width"]);
    says(spec(9, 9, vec![LayerSpec::LayerNorm { eps: 0.0 }]), &["eps = 0", "above 0"]);
    says(spec(9, 9, vec![LayerSpec::BatchNorm { eps: 1e-5, momentum: 2.0 }]), &["momentum = 2"]);
    says(spec(InputShape::sequence([12]), 9, vec![LayerSpec::Flatten]), &["steps×12", "fixed shape"]);
    says(spec([1 << 20, 1 << 20, 1 << 20], 9, vec![]), &["input", "1 to"]);
    let wide = Conv { padding: 1 << 15, ..Conv::new(1 << 10, 1) };
    says(on([1, 1, 1], LayerSpec::Conv2d(wide)), &["0 (conv2d)", "at most"]);
}

#[test]
fn specifications_of_the_first_format_still_read() {
    let json = r#"{"inputs":4,"outputs":3,"layers":[{"kind":"linear","in_features":4,"out_features":3}]}"#;
    let read: NetworkSpec = serde_json::from_str(json).unwrap();
    assert_eq!(read, Network::new().resolve(4, 3).unwrap());
    assert_eq!(serde_json::to_string(&read).unwrap(), json);
    let images = Network::cnn([2], [4]).resolve([1, 8, 8], 3).unwrap();
    assert_eq!(serde_json::from_str::<NetworkSpec>(&serde_json::to_string(&images).unwrap()).unwrap(), images);
}
