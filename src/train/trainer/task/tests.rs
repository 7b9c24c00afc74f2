use std::sync::Arc;

use arrow::{
    array::{ArrayRef, FixedSizeListArray, Float32Array, Float64Array, ListArray, RecordBatch},
    datatypes::{Float32Type, Float64Type},
};

use super::*;
use crate::{
    model::{Link, Metric, Scaling, TrainedNetwork},
    nn::{Branch, Embedding, Mode, Network},
    stream::MemorySource,
    tensor::{Columns, OnInvalid},
    train::{Corruption, Loss, TrainParams},
};

/// 240 rows of two features; `y = 1000 + 50 (a - 2 b)`, `pair = [y, a + b]`, `count ≈ exp(a)`, `flags = [a > 0, b >
/// a]`.
fn rows() -> MemorySource {
    let x: Vec<(f32, f32)> = (0..240).map(|i| ((i as f32 * 0.7).sin(), (i as f32 * 1.3).cos())).collect();
    let lists = |row: &dyn Fn(f32, f32) -> [f64; 2]| -> ArrayRef {
        let rows = x.iter().map(|&(a, b)| Some(row(a, b).map(Some)));
        Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(rows))
    };
    let scalar = |value: &dyn Fn(f32, f32) -> f64| -> ArrayRef {
        Arc::new(Float64Array::from_iter_values(x.iter().map(|&(a, b)| value(a, b))))
    };
    let y = |a: f32, b: f32| f64::from(1000.0 + 50.0 * (a - 2.0 * b));
    let features = x.iter().map(|&(a, b)| Some([Some(a), Some(b)]));
    let batch = RecordBatch::try_from_iter([
        ("x", Arc::new(FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(features, 2)) as ArrayRef),
        ("y", scalar(&y)),
        ("pair", lists(&|a, b| [y(a, b), f64::from(a + b)])),
        ("count", scalar(&|a, _| f64::from(a.exp()).round())),
        ("flags", lists(&|a, b| [f64::from(u8::from(a > 0.0)), f64::from(u8::from(b > a))])),
    ])
    .unwrap();
    MemorySource::new(batch.schema(), vec![batch.slice(0, 100), batch.slice(100, 140)])
}

fn params(loss: Loss) -> TrainParams {
    TrainParams { loss, epochs: 60, validation_fraction: 0.2, learning_rate: 0.01, tol: 0.0, ..TrainParams::default() }
}

async fn fit(columns: Columns, params: TrainParams, change: impl FnOnce(Trainer) -> Trainer) -> TrainedNetwork {
    change(Trainer::new(Network::mlp([16]), columns, params)).fit(&rows()).await.unwrap()
}

fn held_out(model: &TrainedNetwork) -> f64 {
    model.history().last().unwrap().held_out.unwrap().metric
}

#[tokio::test]
async fn scaled_targets_are_learnt_and_measured_in_their_own_units() {
    let scaling = Scaling { mean: vec![1000.0, 0.0], std: vec![80.0, 1.0] };
    let names = vec!["price".to_owned(), "sum".to_owned()];
    for loss in [Loss::SquaredError, Loss::Huber { delta: 1.0 }] {
        let model =
            fit(Columns::new("x", "pair"), params(loss), |t| t.scaling(scaling.clone()).targets(names.clone())).await;
        assert_eq!(model.history().metric, Metric::Rmse);
        // The first target alone deviates by 80 from its mean.
        assert!(held_out(&model) < 8.0, "{loss:?}: {}", held_out(&model));
        let task = Task::Values { names: names.clone(), scaling: Some(scaling.clone()), link: Link::Identity };
        assert_eq!(*model.task(), task);
        assert!(model.history().held_out.is_none() && model.classes().is_empty());
    }
}

#[tokio::test]
async fn a_quantile_lies_above_its_share_of_targets() {
    let model = fit(Columns::new("x", "y"), params(Loss::Quantile { quantile: 0.9 }), |t| {
        t.scaling(Scaling { mean: vec![1000.0], std: vec![80.0] })
    })
    .await;
    assert_eq!(model.task().names(), ["y"]);
    assert_eq!(model.history().metric, Metric::Mae);
    assert!(held_out(&model) < 15.0, "{}", held_out(&model));
}

#[tokio::test]
async fn counts_have_a_rate_and_labels_a_chance_each() {
    let counts = fit(Columns::new("x", "count"), params(Loss::Poisson), |t| t).await;
    assert!(matches!(counts.task(), Task::Values { link: Link::Exp, .. }));
    assert!(held_out(&counts) < 0.5, "{}", held_out(&counts));

    let flags = fit(Columns::new("x", "flags"), params(Loss::BinaryCrossEntropy), |t| t).await;
    assert_eq!(*flags.task(), Task::Labels { names: vec!["flags_0".into(), "flags_1".into()] });
    assert_eq!(flags.history().metric, Metric::LabelAccuracy);
    assert!(held_out(&flags) > 0.9, "{}", held_out(&flags));
}

#[tokio::test]
async fn without_a_label_the_input_is_restored_and_corruption_follows_the_seed() {
    let denoising = |seed| {
        let corruption = Some(Corruption::Noise(0.1));
        let params = TrainParams { corruption, seed, epochs: 40, ..params(Loss::SquaredError) };
        fit(Columns::unlabelled("x"), params, |t| t)
    };
    let (a, again, b) = (denoising(1).await, denoising(1).await, denoising(2).await);
    assert_eq!(*a.task(), Task::Input { link: Link::Identity });
    assert_eq!(a.spec().outputs, 2);
    assert!(held_out(&a) < 0.1, "{}", held_out(&a));
    assert_eq!(a.weights(), again.weights());
    assert_ne!(a.weights(), b.weights());
    let clean = TrainParams { seed: 1, epochs: 40, ..params(Loss::SquaredError) };
    assert_ne!(a.weights(), fit(Columns::unlabelled("x"), clean, |t| t).await.weights());

    let network = a.network(&candle_core::Device::Cpu).unwrap();
    let x = candle_core::Tensor::new(&[[0.5f32, -0.25]], network.device()).unwrap();
    let restored = network.forward(&x, Mode::Eval).unwrap().to_vec2::<f32>().unwrap();
    assert!((restored[0][0] - 0.5).abs() < 0.2 && (restored[0][1] + 0.25).abs() < 0.2, "{restored:?}");
}

#[tokio::test]
async fn one_replica_and_two_learn_values_alike() {
    let fit = |devices: &str| {
        let params = TrainParams { devices: devices.parse().unwrap(), epochs: 3, ..params(Loss::SquaredError) };
        fit(Columns::unlabelled("x"), params, |t| t)
    };
    let (one, two) = (fit("cpu").await, fit("cpu,cpu").await);
    let values = |m: &TrainedNetwork| m.weights().tensors().iter().flat_map(|t| t.values.clone()).collect::<Vec<_>>();
    let worst = values(&one).iter().zip(values(&two)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-5, "{worst}");
}

async fn refused(y: Vec<Option<f64>>, loss: Loss, change: impl FnOnce(Trainer) -> Trainer) -> String {
    let x: ArrayRef = Arc::new(Float32Array::from_iter_values((0..y.len()).map(|i| i as f32)));
    let batch = RecordBatch::try_from_iter([("x", x), ("y", Arc::new(Float64Array::from(y)) as ArrayRef)]).unwrap();
    let source = MemorySource::new(batch.schema(), vec![batch]);
    let params = TrainParams { loss, epochs: 1, ..TrainParams::default() };
    let trainer = change(Trainer::new(Network::new(), Columns::new("x", "y"), params));
    trainer.fit(&source).await.unwrap_err().to_string()
}

#[tokio::test]
async fn targets_that_cannot_be_learnt_are_refused_with_column_and_row() {
    let same = |t: Trainer| t;
    for (y, loss, words) in [
        (vec![Some(1.0), None], Loss::SquaredError, "is null"),
        (vec![Some(1.0), Some(f64::NAN)], Loss::SquaredError, "NaN"),
        (vec![Some(1.0), Some(1e300)], Loss::AbsoluteError, "too large"),
        (vec![Some(1.0), Some(-1.0)], Loss::Poisson, "at least 0"),
        (vec![Some(1.0), Some(1.5)], Loss::BinaryCrossEntropy, "0 or 1"),
    ] {
        let message = refused(y, loss, same).await;
        assert!(message.contains("`y`") && message.contains("row 1") && message.contains(words), "{message}");
    }
    let two = |t: Trainer| t.targets(vec!["a".into(), "b".into()]);
    let message = refused(vec![Some(1.0)], Loss::SquaredError, two).await;
    assert!(message.contains("expected 2 values a row, found 1"), "{message}");
    let scaled = |t: Trainer| t.scaling(Scaling { mean: vec![0.0], std: vec![1.0] });
    let message = refused(vec![Some(1.0)], Loss::Poisson, scaled).await;
    assert!(message.contains("scaling"), "{message}");
}

#[tokio::test]
async fn rows_without_a_target_can_be_skipped() {
    let x: ArrayRef = Arc::new(Float32Array::from(vec![1.0, 2.0, 3.0]));
    let y: ArrayRef = Arc::new(Float64Array::from(vec![None, Some(2.0), Some(3.0)]));
    let batch = RecordBatch::try_from_iter([("x", x), ("y", y)]).unwrap();
    let source = MemorySource::new(batch.schema(), vec![batch]);
    let on_invalid = OnInvalid::Skip;
    let params = TrainParams { loss: Loss::SquaredError, epochs: 1, on_invalid, ..TrainParams::default() };
    let model = Trainer::new(Network::new(), Columns::new("x", "y"), params).fit(&source).await.unwrap();
    assert_eq!((model.history().rows.trained, model.history().rows.skipped), (2, 1));
}

#[tokio::test]
async fn categories_are_embedded_and_unknown_ones_refused_with_column_and_row() {
    // The label follows the category alone, in an order that no line tells.
    let rows = |largest: i32| {
        let category = (0..200).map(|i| if i == 150 { largest } else { (i * 7) % 5 });
        let x = category.clone().enumerate().map(|(i, c)| Some([Some(c as f32), Some((i as f32).sin())]));
        let label = category.map(|c| f64::from(u8::from(c == 1 || c == 3)));
        let batch = RecordBatch::try_from_iter([
            ("x", Arc::new(FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(x, 2)) as ArrayRef),
            ("y", Arc::new(Float64Array::from_iter_values(label))),
        ])
        .unwrap();
        MemorySource::new(batch.schema(), vec![batch])
    };
    let params = TrainParams { epochs: 30, learning_rate: 0.02, ..TrainParams::default() };
    let trainer = Trainer::new(Network::new().categories([Embedding::new(5, 3)]), Columns::new("x", "y"), params);
    let model = trainer.fit(&rows(2)).await.unwrap();
    assert!(model.history().last().unwrap().training.metric > 0.99);

    let message = trainer.fit(&rows(5)).await.unwrap_err().to_string();
    for words in ["`features`", "row 150", "found 5 as value 0", "from 0 to 4"] {
        assert!(message.contains(words), "{words}: {message}");
    }
    let stream = crate::stream::RecordSource::open(&rows(7), 0).await.unwrap();
    let scored = model.predict(stream, &Default::default()).unwrap().collect().await;
    let message = scored.unwrap_err().to_string();
    assert!(message.contains("`x`") && message.contains("row 150") && message.contains("found 7"), "{message}");
}

#[tokio::test]
async fn columns_are_joined_by_name_and_an_unknown_category_names_its_own() {
    let rows = |largest: i32| {
        let city = (0..200).map(|i| if i == 150 { largest } else { (i * 7) % 5 });
        let figure = (0..200).map(|i| f64::from(i).sin());
        let label = city.clone().zip(figure.clone());
        let label = label.map(|(c, x)| f64::from(u8::from((c == 1 || c == 3) == (x > 0.0))));
        let batch = RecordBatch::try_from_iter([
            ("figure", Arc::new(Float64Array::from_iter_values(figure)) as ArrayRef),
            ("city", Arc::new(Float64Array::from_iter_values(city.clone().map(f64::from)))),
            ("y", Arc::new(Float64Array::from_iter_values(label))),
        ])
        .unwrap();
        MemorySource::new(batch.schema(), vec![batch])
    };
    let mut cities = Branch::categories(["city"]);
    cities.embed = Some(crate::nn::CategoryEmbedding { num_embeddings: Some(5), embedding_dim: None });
    let network = Network::new().join([cities, Branch::rest()]).linear(16).activation(crate::nn::Activation::Relu);
    let params = TrainParams { epochs: 60, learning_rate: 0.02, ..TrainParams::default() };
    let trainer = Trainer::new(network, Columns::side_by_side(["figure", "city"], "y"), params);
    let model = trainer.fit(&rows(2)).await.unwrap();
    assert!(model.history().last().unwrap().training.metric > 0.95, "{:?}", model.history().last());

    let message = trainer.fit(&rows(5)).await.unwrap_err().to_string();
    for words in ["`city`, row 150", "found 5", "from 0 to 4"] {
        assert!(message.contains(words), "{words}: {message}");
    }
    let stream = crate::stream::RecordSource::open(&rows(7), 0).await.unwrap();
    let message = model.predict(stream, &Default::default()).unwrap().collect().await.unwrap_err().to_string();
    assert!(message.contains("`city`") && message.contains("row 150") && message.contains("found 7"), "{message}");
}

#[tokio::test]
async fn frozen_layers_stay_and_slow_ones_move_less() {
    let params = |rates: &[(&str, f64)]| TrainParams {
        layer_rates: rates.iter().map(|(name, share)| ((*name).to_owned(), *share)).collect(),
        epochs: 2,
        ..params(Loss::SquaredError)
    };
    let start = fit(Columns::unlabelled("x"), params(&[("", 0.0)]), |t| t).await;
    let moved = |model: &TrainedNetwork, name: &str| -> f32 {
        let (a, b) = (model.weights().get(name).unwrap(), start.weights().get(name).unwrap());
        a.values.iter().zip(&b.values).map(|(a, b)| (a - b).abs()).sum()
    };
    let frozen = fit(Columns::unlabelled("x"), params(&[("0.", 0.0)]), |t| t).await;
    assert!(moved(&frozen, "0.weight") == 0.0 && moved(&frozen, "2.weight") > 0.0);
    let slow = fit(Columns::unlabelled("x"), params(&[("0.", 0.01), ("0.bias", 0.0)]), |t| t).await;
    let usual = fit(Columns::unlabelled("x"), params(&[]), |t| t).await;
    assert!(0.0 < moved(&slow, "0.weight") && moved(&slow, "0.weight") < 0.1 * moved(&usual, "0.weight"));
    assert_eq!(moved(&slow, "0.bias"), 0.0);

    let wrong = Trainer::new(Network::mlp([16]), Columns::unlabelled("x"), params(&[("7.", 0.5)]));
    let message = wrong.fit(&rows()).await.unwrap_err().to_string();
    assert!(message.contains("layer_rates") && message.contains("0.bias, 0.weight"), "{message}");
}
