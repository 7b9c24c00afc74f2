use std::sync::Mutex;

use arrow::array::{ArrayRef, FixedSizeListArray, Float32Array, RecordBatch};

use super::*;
use crate::{
    nn::random::{Philox, Purpose},
    stream::MemorySource,
    train::EarlyStopping,
};

const WIDTH: usize = 16;

/// Rows of four patterns with some noise, `per_batch` a batch.
fn rows(count: usize) -> Vec<f32> {
    let mut random = Philox::new(9, Purpose::Split, 1, 0);
    let mut values = Vec::with_capacity(count * WIDTH);
    for row in 0..count {
        values.extend((0..WIDTH).map(|i| f32::from((i / 4 == row % 4) != (random.next_f32() < 0.03))));
    }
    values
}

fn source(values: &[f32], per_batch: usize) -> MemorySource {
    let item = Arc::new(arrow::datatypes::Field::new_list_field(arrow::datatypes::DataType::Float32, true));
    let batch = |values: &[f32]| {
        let values = Arc::new(Float32Array::from(values.to_vec()));
        let list = FixedSizeListArray::try_new(item.clone(), WIDTH as i32, values, None).unwrap();
        RecordBatch::try_from_iter([("features", Arc::new(list) as ArrayRef)]).unwrap()
    };
    let batches: Vec<RecordBatch> = values.chunks(per_batch * WIDTH).map(batch).collect();
    MemorySource::new(batches[0].schema(), batches)
}

fn layers() -> Vec<RbmLayer> {
    [12, 6].map(|hidden| RbmLayer { epochs: 15, learning_rate: 0.1, ..RbmLayer::new(hidden) }).into()
}

fn params() -> TrainParams {
    TrainParams { batch_size: 20, seed: 3, shuffle_buffer: 2 << 10, ..TrainParams::default() }
}

fn pretrainer(params: TrainParams) -> Pretrainer {
    Pretrainer::new(VisibleUnits::Bernoulli, layers(), Columns::new("features", ""), params)
}

#[tokio::test]
async fn training_begins_where_another_ended() {
    let rows = source(&rows(100), 37);
    let learnt = pretrainer(params()).fit(&rows).await.unwrap().stack;
    let still = |mut pretrainer: Pretrainer| {
        for layer in &mut pretrainer.layers {
            (layer.epochs, layer.learning_rate) = (1, 1e-12);
        }
        pretrainer.initial_weights(learnt.unrolled().1)
    };
    let again = still(pretrainer(params())).fit(&rows).await.unwrap().stack;
    for (a, b) in again.machines().iter().zip(learnt.machines()) {
        let apart = a.weight().iter().zip(b.weight()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart < 1e-6, "{apart}");
    }
    let other = Pretrainer { layers: vec![RbmLayer::new(12), RbmLayer::new(7)], ..pretrainer(params()) };
    let message = still(other).fit(&rows).await.unwrap_err().to_string();
    assert!(message.contains("`2.bias`") && message.contains("[6]") && message.contains("[7]"), "{message}");
}

#[tokio::test]
async fn layers_learn_one_on_the_other_while_rows_stream() {
    let params = TrainParams { validation_fraction: 0.2, ..params() };
    let trained = pretrainer(params).expected_rows(400).fit(&source(&rows(400), 37)).await.unwrap();
    let Pretrained { stack, history } = trained;
    let sizes: Vec<(usize, usize)> = stack.machines().iter().map(|m| (m.spec().visible, m.spec().hidden)).collect();
    assert_eq!(sizes, [(16, 12), (12, 6)]);
    assert_eq!(history.epochs.len(), 30);
    assert_eq!(history.rows.trained + history.rows.held_out, 400);
    assert!(history.rows.held_out > 50, "{:?}", history.rows);
    for epochs in history.epochs.chunks(15) {
        let held_out = |at: usize| epochs[at].held_out.unwrap().loss;
        assert!(epochs[14].training.loss < 0.8 * epochs[0].training.loss, "{epochs:?}");
        assert!(held_out(14) < held_out(0));
    }
    // The features tell the patterns apart: rows of one pattern are nearer to each other than to other rows.
    let features = stack.features(&rows(8)).unwrap();
    let distance =
        |a: usize, b: usize| -> f32 { (0..6).map(|i| (features[a * 6 + i] - features[b * 6 + i]).powi(2)).sum() };
    let same: f32 = (0..4).map(|i| distance(i, i + 4)).sum();
    let other: f32 = (0..4).map(|i| distance(i, (i + 1) % 4)).sum();
    assert!(2.0 * same < other, "{same} {other}");
}

#[tokio::test]
async fn the_seed_decides_the_stack_however_rows_are_kept() {
    let values = rows(200);
    let on_disk = TrainParams { cache_memory: 0, ..params() };
    let a = pretrainer(params()).fit(&source(&values, 50)).await.unwrap();
    assert_eq!(a.stack, pretrainer(on_disk).fit(&source(&values, 50)).await.unwrap().stack);
    let other = TrainParams { seed: 4, ..params() };
    assert_ne!(a.stack, pretrainer(other).fit(&source(&values, 50)).await.unwrap().stack);
    assert_ne!(a.stack.machines()[0].weight()[..12], a.stack.machines()[1].weight()[..12]);
}

#[derive(Default)]
struct Told {
    runs: Mutex<Vec<Run>>,
    steps: Mutex<Vec<StepRecord>>,
    ends: Mutex<Vec<History>>,
    stop: Option<(usize, Stop)>,
}

impl Observer for Told {
    fn begin(&self, run: &Run) {
        self.runs.lock().unwrap().push(run.clone());
    }
    fn step(&self, step: &StepRecord) {
        self.steps.lock().unwrap().push(*step);
        if let Some((_, stop)) = self.stop.as_ref().filter(|(at, _)| *at == step.step) {
            stop.request();
        }
    }
    fn end(&self, history: &History) {
        self.ends.lock().unwrap().push(history.clone());
    }
}

#[tokio::test]
async fn observers_are_told_layer_by_layer() {
    let told = Arc::new(Told::default());
    pretrainer(params()).observe(told.clone()).fit(&source(&rows(100), 30)).await.unwrap();
    let runs = told.runs.lock().unwrap();
    assert_eq!(runs.iter().map(|run| run.parameters).collect::<Vec<_>>(), [16 * 12 + 28, 12 * 6 + 18]);
    assert_eq!((runs[1].rows, runs[1].steps), (100, 5));
    let steps = told.steps.lock().unwrap();
    assert_eq!(steps.len(), 2 * 15 * 5);
    assert!(steps.iter().enumerate().all(|(i, step)| step.step == i && step.epoch == i / 5));
    assert_eq!(told.ends.lock().unwrap().iter().map(|h| h.epochs.len()).collect::<Vec<_>>(), [15, 15]);
}

#[tokio::test]
async fn a_stop_leaves_later_layers_as_they_began() {
    let stop = Stop::default();
    let told = Arc::new(Told { stop: Some((12, stop.clone())), ..Told::default() });
    let trainer = pretrainer(params()).observe(told.clone()).stop(stop);
    let stopped = trainer.fit(&source(&rows(100), 30)).await.unwrap();
    assert_eq!(told.steps.lock().unwrap().len(), 13);
    assert_eq!(stopped.history.epochs.len(), 2);
    let spec = RbmSpec { visible: 12, hidden: 6, units: VisibleUnits::Bernoulli };
    assert_eq!(stopped.stack.machines()[1], Rbm::init_layer(spec, 3, 1).unwrap());
    let limited = pretrainer(TrainParams { max_steps: Some(13), ..params() });
    assert_eq!(limited.fit(&source(&rows(100), 30)).await.unwrap().stack, stopped.stack);
}

#[tokio::test]
async fn early_stopping_counts_for_each_layer() {
    let early_stopping = Some(EarlyStopping { patience: 1, min_delta: 1.0, restore_best: true });
    let trained = pretrainer(TrainParams { early_stopping, ..params() }).fit(&source(&rows(100), 30)).await.unwrap();
    // No epoch lowers the error by 1, so each layer ends after the second and keeps the first.
    assert_eq!(trained.history.epochs.len(), 4);
    let short = layers().into_iter().map(|layer| RbmLayer { epochs: 1, ..layer }).collect();
    let once = Pretrainer::new(VisibleUnits::Bernoulli, short, Columns::new("features", ""), params());
    let once = once.fit(&source(&rows(100), 30)).await.unwrap();
    assert_eq!(trained.stack.machines()[0], once.stack.machines()[0]);
}

#[tokio::test]
async fn what_cannot_be_learnt_from_is_named() {
    let fit = |layers: Vec<RbmLayer>, params: TrainParams, values: Vec<f32>| async move {
        let columns = Columns::new("features", "");
        let trainer = Pretrainer::new(VisibleUnits::Bernoulli, layers, columns, params);
        trainer.fit(&source(&values, 10)).await.unwrap_err().to_string()
    };
    let good = || RbmLayer::new(3);
    let mut grey = rows(40);
    grey[25 * WIDTH + 3] = 200.0;
    let message = fit(vec![good()], params(), grey).await;
    assert!(message.contains("`features`") && message.contains("row 25") && message.contains("[0, 1]"), "{message}");
    for (layers, words) in [
        (vec![], "0 layers"),
        (vec![good(), RbmLayer::new(0)], "layers[1].hidden"),
        (vec![RbmLayer { epochs: 0, ..good() }], "layers[0].epochs"),
        (vec![RbmLayer { learning_rate: f64::NAN, ..good() }], "layers[0].learning_rate"),
        (
            vec![RbmLayer { divergence: crate::nn::ContrastiveDivergence::steps(0), ..good() }],
            "layers[0].divergence.steps",
        ),
    ] {
        let message = fit(layers, params(), rows(10)).await;
        assert!(message.contains(words), "{message}");
    }
    let wild = RbmLayer { learning_rate: 1e30, ..good() };
    let columns = Columns::new("features", "");
    let gaussian = Pretrainer::new(VisibleUnits::Gaussian, vec![wild], columns, params());
    let message = gaussian.fit(&source(&rows(200), 10)).await.unwrap_err().to_string();
    assert!(message.contains("layer 0") && message.contains("learning rate"), "{message}");
    let counted = pretrainer(params()).expected_rows(99);
    let error = counted.fit(&source(&rows(100), 10)).await.unwrap_err();
    assert!(matches!(error, Error::RowsLost { expected: 99, found: 100, .. }), "{error}");
}
