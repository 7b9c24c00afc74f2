use super::*;
use crate::nn::LayerSpec;

#[test]
fn a_description_reads_back_as_written() {
    let net = Network::mlp([16]).with_activation(Activation::Gelu).with_dropout(0.5);
    let json = serde_json::to_string(&net).unwrap();
    assert_eq!(
        json,
        r#"{"layers":[{"kind":"linear","out_features":16},{"kind":"activation","function":"gelu"},{"kind":"dropout","p":0.5}]}"#
    );
    assert_eq!(serde_json::from_str::<Network>(&json).unwrap(), net);
    assert!(serde_json::from_str::<Network>(&json.replace("out_features", "units")).is_err());

    let images = r#"{"layers":[{"kind":"conv2d","out_channels":8,"kernel_size":3},{"kind":"batch_norm"},{"kind":"max_pool2d","kernel_size":2}]}"#;
    let read: Network = serde_json::from_str(images).unwrap();
    assert_eq!(read, Network::new().conv2d(Conv::new(8, 3)).batch_norm().max_pool2d(Pool::new(2)));
    assert_eq!(serde_json::from_str::<Network>(&serde_json::to_string(&read).unwrap()).unwrap(), read);
    assert!(serde_json::from_str::<Network>(&images.replace("8,", "8,\"strides\":2,")).is_err());
}

#[test]
fn rows_with_dimensions_are_flattened_before_a_linear_layer() {
    let spec = Network::mlp([8]).resolve([1, 4, 4], 3).unwrap();
    assert_eq!(spec.layers[..2], [LayerSpec::Flatten, LayerSpec::Linear { in_features: 16, out_features: 8 }]);
}
