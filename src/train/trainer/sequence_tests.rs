use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, Float64Array, Float64Builder, ListBuilder, RecordBatch},
    datatypes::Float64Type,
};

use super::*;
use crate::{
    model::{Outputs, PredictOptions},
    nn::{Attention, Recurrent, SequenceOutput},
    stream::MemorySource,
    tensor::reader::Readers,
    train::Loss,
};

/// Sequences of 1 to 9 steps of two values; the class is whether the first rises, `sum` the sum of the second.
fn rows(empty: Option<usize>) -> MemorySource {
    let mut frames = ListBuilder::new(ListBuilder::new(Float64Builder::new()));
    let (mut label, mut sum) = (Vec::new(), Vec::new());
    for row in 0..160usize {
        let (length, rises) = (2 + row % 8, row % 3 == 0);
        let mut all = 0.0;
        for step in 0..if empty == Some(row) { 0 } else { length } {
            let slope = if rises { 0.3 } else { -0.3 };
            let (a, b) = ((row as f64).sin() + slope * step as f64, ((row * 7 + step) as f64 * 0.9).cos());
            all += b;
            frames.values().values().append_slice(&[a, b]);
            frames.values().append(true);
        }
        frames.append(true);
        label.push(f64::from(u8::from(rises)));
        sum.push(all);
    }
    let batch = RecordBatch::try_from_iter([
        ("frames", Arc::new(frames.finish()) as ArrayRef),
        ("label", Arc::new(Float64Array::from(label))),
        ("sum", Arc::new(Float64Array::from(sum))),
    ])
    .unwrap();
    MemorySource::new(batch.schema(), vec![batch.slice(0, 70), batch.slice(70, 90)])
}

fn columns(label: &str) -> Columns {
    Columns::new("frames", label).read_by(Readers::new().input(TensorReader::sequence("frames", [2])))
}

fn params() -> TrainParams {
    TrainParams { epochs: 40, learning_rate: 0.01, validation_fraction: 0.2, tol: 0.0, ..TrainParams::default() }
}

#[tokio::test]
async fn sequences_of_any_length_are_told_apart_and_predicted() {
    for network in [Network::lstm(12), Network::gru(12)] {
        let model = Trainer::new(network, columns("label"), params()).fit(&rows(None)).await.unwrap();
        assert!(model.spec().inputs.ragged);
        let held_out = model.history().held_out_accuracy().unwrap();
        assert!(held_out > 0.9, "{held_out}");

        let stream = rows(None).open(0).await.unwrap();
        let scored: Vec<RecordBatch> =
            model.predict(stream, &PredictOptions::default()).unwrap().collect().await.unwrap();
        let double = |batch: &RecordBatch, name: &str| {
            batch.column_by_name(name).unwrap().as_primitive::<Float64Type>().values().to_vec()
        };
        let right: usize = scored
            .iter()
            .map(|batch| {
                double(batch, "label").iter().zip(double(batch, "prediction")).filter(|(a, b)| **a == *b).count()
            })
            .sum();
        assert!(right > 150, "{right}");
    }
}

#[tokio::test]
async fn attention_tells_sequences_apart_by_the_order_of_their_steps() {
    let first = Attention { width: Some(16), positions: true, feed_forward: Some(32), ..Attention::new(4) };
    let last = Attention { feed_forward: Some(32), output: SequenceOutput::Mean, ..Attention::new(4) };
    let network = Network::new().attention(first).attention(last);
    let params = TrainParams { epochs: 60, learning_rate: 5e-3, ..params() };
    let model = Trainer::new(network, columns("label"), params).fit(&rows(None)).await.unwrap();
    let held_out = model.history().held_out_accuracy().unwrap();
    assert!(held_out > 0.9, "{held_out}");
}

#[tokio::test]
async fn values_are_learnt_from_sequences_by_any_number_of_replicas() {
    let settings = Recurrent { output: SequenceOutput::Mean, bidirectional: true, ..Recurrent::new(8) };
    let fit = |devices: &str| {
        let params = TrainParams { loss: Loss::Huber { delta: 1.0 }, devices: devices.parse().unwrap(), ..params() };
        let trainer = Trainer::new(Network::new().lstm_layer(settings), columns("sum"), params);
        async move { trainer.fit(&rows(None)).await.unwrap() }
    };
    let (one, two) = (fit("cpu").await, fit("cpu,cpu").await);
    let values = |m: &TrainedNetwork| m.weights().tensors().iter().flat_map(|t| t.values.clone()).collect::<Vec<_>>();
    let worst = values(&one).iter().zip(values(&two)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-2, "{worst}");
    let first = one.history().epochs[0].training.metric;
    let last = one.history().last().unwrap().training.metric;
    assert!(last < 0.6 * first, "{first} {last}");
}

#[tokio::test]
async fn a_sequence_of_no_steps_is_refused_skipped_or_kept() {
    let message =
        Trainer::new(Network::lstm(4), columns("label"), params()).fit(&rows(Some(75))).await.unwrap_err().to_string();
    for words in ["`frames`", "row 75", "length 0"] {
        assert!(message.contains(words), "{words}: {message}");
    }
    let skip = TrainParams { on_invalid: OnInvalid::Skip, epochs: 1, ..params() };
    let model = Trainer::new(Network::lstm(4), columns("label"), skip).fit(&rows(Some(75))).await.unwrap();
    assert_eq!(model.history().rows.skipped, 1);

    let keep = PredictOptions { on_invalid: OnInvalid::Keep, outputs: Outputs::values(), ..Default::default() };
    let stream = rows(Some(75)).open(0).await.unwrap();
    let kept: Vec<RecordBatch> = model.predict(stream, &keep).unwrap().collect().await.unwrap();
    let prediction = kept[1].column_by_name("prediction").unwrap();
    assert_eq!((prediction.null_count(), prediction.is_null(5)), (1, true));
    let skip = PredictOptions { on_invalid: OnInvalid::Skip, ..keep };
    let stream = rows(Some(75)).open(0).await.unwrap();
    let left: Vec<RecordBatch> = model.predict(stream, &skip).unwrap().collect().await.unwrap();
    assert_eq!(left.iter().map(RecordBatch::num_rows).sum::<usize>(), 159);
}
