use std::{sync::Mutex, time::Duration};

use arrow::{
    array::{ArrayRef, BooleanArray, FixedSizeListArray, Float32Array, Float64Array, RecordBatch},
    datatypes::Float32Type,
};
use futures::FutureExt;

use super::*;
use crate::{
    DataProblem, Error,
    model::{EpochRecord, History},
    nn::Activation,
    stream::{MemorySource, RecordStream},
    train::{ClassWeights, Clip, Optimizer, Schedule, StepRecord},
};

const SPECIES: [&str; 3] = ["setosa", "versicolor", "virginica"];

/// The 150 flowers, features standardised, in three uneven batches and an empty one.
fn iris() -> MemorySource {
    let rows: Vec<([f32; 4], f64)> = include_str!("../../../examples/data/iris.csv")
        .lines()
        .skip(1)
        .map(|line| {
            let words: Vec<&str> = line.split(',').collect();
            let label = SPECIES.iter().position(|s| *s == words[4]).unwrap();
            (std::array::from_fn(|i| words[i].parse().unwrap()), label as f64)
        })
        .collect();
    let scale: [(f32, f32); 4] = std::array::from_fn(|i| {
        let mean = rows.iter().map(|r| r.0[i]).sum::<f32>() / 150.0;
        (mean, (rows.iter().map(|r| (r.0[i] - mean).powi(2)).sum::<f32>() / 149.0).sqrt())
    });
    let features =
        rows.iter().map(|(x, _)| Some(std::array::from_fn::<_, 4, _>(|i| Some((x[i] - scale[i].0) / scale[i].1))));
    let batch = RecordBatch::try_from_iter(vec![
        ("features", Arc::new(FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(features, 4)) as ArrayRef),
        ("label", Arc::new(Float64Array::from_iter_values(rows.iter().map(|r| r.1)))),
        ("fifth", Arc::new(BooleanArray::from_iter((0..150).map(|i| Some(i % 5 == 0))))),
    ])
    .unwrap();
    let batches = vec![batch.slice(0, 70), batch.slice(70, 0), batch.slice(70, 1), batch.slice(71, 79)];
    MemorySource::new(batch.schema(), batches)
}

fn columns() -> Columns {
    Columns::new("features", "label")
}

fn trainer(params: TrainParams) -> Trainer {
    Trainer::new(Network::mlp([16, 16]), columns(), params).classes(SPECIES.map(String::from).to_vec())
}

fn quick() -> TrainParams {
    TrainParams { epochs: 3, seed: 7, ..TrainParams::default() }
}

#[tokio::test]
async fn iris_is_learnt_and_held_out_flowers_are_told_apart() {
    for seed in [1, 2, 3] {
        let params = TrainParams { epochs: 60, validation_fraction: 0.2, seed, ..TrainParams::default() };
        let model = trainer(params).fit(&iris()).await.unwrap();
        let history = model.history();
        assert_eq!(history.rows.trained + history.rows.held_out + history.rows.skipped, 150);
        let matrix = history.held_out.as_ref().unwrap();
        assert_eq!(matrix.rows(), history.rows.held_out);
        assert!(matrix.accuracy() >= 0.9, "seed {seed}: {}", matrix.accuracy());
        assert_eq!(history.last().unwrap().held_out.unwrap().metric, matrix.accuracy());
        assert!(history.epochs[0].training.loss > 2.0 * history.last().unwrap().training.loss);
    }
}

#[tokio::test]
async fn the_same_seed_gives_the_same_model_bit_for_bit() {
    let network = Network::mlp([16, 8]).with_activation(Activation::Gelu).with_dropout(0.3);
    let fit = |seed| {
        let params = TrainParams { seed, validation_fraction: 0.2, ..quick() };
        let trainer = Trainer::new(network.clone(), columns(), params);
        async move { trainer.fit(&iris()).await.unwrap() }
    };
    let (a, again, b) = (fit(7).await, fit(7).await, fit(8).await);
    assert_eq!(a.weights(), again.weights());
    assert_eq!(a.history().held_out, again.history().held_out);
    assert_ne!(a.weights(), b.weights());
}

#[tokio::test]
async fn the_seed_shuffles_the_rows_only_when_asked() {
    let fit = |shuffle| {
        let trainer = Trainer::new(Network::mlp([8]), columns(), TrainParams { shuffle, ..quick() });
        async move { trainer.fit(&iris()).await.unwrap() }
    };
    assert_ne!(fit(true).await.weights(), fit(false).await.weights());
}

#[tokio::test]
async fn two_replicas_learn_what_one_learns_up_to_rounding() {
    let network = Network::mlp([16]).with_dropout(0.2);
    let fit = |devices: &str, batch_size| {
        let class_weights = ClassWeights::Given(vec![1.0, 2.0, 0.5]);
        let params = TrainParams { devices: devices.parse().unwrap(), batch_size, class_weights, ..quick() };
        let trainer = Trainer::new(network.clone(), columns(), params);
        async move { trainer.fit(&iris()).await.unwrap() }
    };
    // The last minibatch has 150 - 149 = 1 row: fewer than replicas.
    for (batch_size, devices) in [(32, "cpu,cpu"), (149, "cpu,cpu,cpu")] {
        let (one, many) = (fit("cpu", batch_size).await, fit(devices, batch_size).await);
        let values =
            |m: &TrainedNetwork| m.weights().tensors().iter().flat_map(|t| t.values.clone()).collect::<Vec<_>>();
        let worst = values(&one).iter().zip(values(&many)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-4, "{worst}");
        assert_eq!(fit(devices, batch_size).await.weights(), many.weights());
    }
}

#[tokio::test]
async fn a_validation_column_decides_what_is_held_out() {
    let model = Trainer::new(Network::new(), columns().validation("fifth"), quick()).fit(&iris()).await.unwrap();
    assert_eq!(model.history().rows, RowCounts { trained: 120, held_out: 30, skipped: 0 });
    assert_eq!(model.classes(), ["0", "1", "2"]);
}

#[tokio::test]
async fn an_exploding_loss_stops_training_and_says_where() {
    let params = TrainParams { learning_rate: 1e30, ..quick() };
    let error = trainer(params).fit(&iris()).await.unwrap_err();
    assert!(
        matches!(error, Error::Diverged { epoch: 0, rows: 32, learning_rate: 1e30, value, .. } if !value.is_finite()),
        "{error}"
    );
}

#[tokio::test]
async fn training_stops_when_the_loss_no_longer_moves() {
    let params = TrainParams { learning_rate: 1e-12, weight_decay: 0.0, shuffle: false, epochs: 20, ..quick() };
    let model = trainer(params).fit(&iris()).await.unwrap();
    assert_eq!(model.history().epochs.len(), 2);
    let never = TrainParams { learning_rate: 1e-12, tol: 0.0, epochs: 4, ..quick() };
    assert_eq!(trainer(never).fit(&iris()).await.unwrap().history().epochs.len(), 4);
}

#[tokio::test]
async fn labels_and_class_names_must_agree() {
    let message = trainer(quick()).classes(vec!["a".into(), "b".into()]).fit(&iris()).await.unwrap_err().to_string();
    assert!(
        message.contains("`label`") && message.contains("one of 2 named classes") && message.contains("found 2"),
        "{message}"
    );
    let x: ArrayRef = Arc::new(Float32Array::from(vec![1.0, 2.0]));
    let y: ArrayRef = Arc::new(Float32Array::from(vec![0.0, 0.0]));
    let batch = RecordBatch::try_from_iter([("features", x), ("label", y)]).unwrap();
    let one_class = MemorySource::new(batch.schema(), vec![batch]);
    let error = Trainer::new(Network::new(), columns(), quick()).fit(&one_class).await.unwrap_err();
    let problem = DataProblem::OneClass { class: Some("0".into()) };
    assert!(matches!(&error, Error::Data { problem: found, .. } if *found == problem), "{error}");
}

#[tokio::test]
async fn bad_parameters_are_refused_before_a_row_is_read() {
    struct Unread;
    impl RecordSource for Unread {
        fn open(&self, _: usize) -> futures::future::BoxFuture<'_, Result<crate::stream::RecordStream>> {
            panic!("a row was read")
        }
        fn origin(&self) -> String {
            String::new()
        }
    }
    let message = trainer(TrainParams { epochs: 0, ..quick() }).fit(&Unread).await.unwrap_err().to_string();
    assert!(message.contains("epochs"), "{message}");
}

#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl Log {
    fn note(&self, text: String) {
        self.0.lock().unwrap().push(text);
    }
}

impl Observer for Log {
    fn reading(&self, rows: u64) {
        self.note(format!("reading {rows}"));
    }
    fn begin(&self, run: &Run) {
        self.note(format!("begin {} steps of {} rows, {} parameters", run.steps, run.rows, run.parameters));
    }
    fn step(&self, step: &StepRecord) {
        assert!(step.loss.is_finite());
        self.note(format!("step {} of epoch {}: {} rows", step.step, step.epoch, step.rows));
    }
    fn epoch(&self, epoch: &EpochRecord) {
        self.note(format!("epoch {}", epoch.epoch));
    }
    fn end(&self, history: &History) {
        self.note(format!("end after {}", history.epochs.len()));
    }
}

#[tokio::test]
async fn observers_are_told_in_order() {
    let log = Arc::new(Log::default());
    let params = TrainParams { epochs: 1, batch_size: 100, ..quick() };
    trainer(params).observe(log.clone()).fit(&iris()).await.unwrap();
    assert_eq!(
        *log.0.lock().unwrap(),
        [
            "reading 70",
            "reading 70",
            "reading 71",
            "reading 150",
            "begin 2 steps of 150 rows, 403 parameters",
            "step 0 of epoch 0: 100 rows",
            "step 1 of epoch 0: 50 rows",
            "epoch 0",
            "end after 1"
        ]
    );
}

#[tokio::test]
async fn dropping_the_future_stops_training() {
    struct Alive(Mutex<Option<std::sync::mpsc::Sender<()>>>);
    impl Observer for Alive {
        fn step(&self, _: &StepRecord) {
            let _ = self.0.lock().unwrap().as_ref().map(|sender| sender.send(()));
        }
    }
    let (sender, steps) = std::sync::mpsc::channel();
    let params = TrainParams { epochs: usize::MAX / 1000, tol: 0.0, ..quick() };
    let trainer = trainer(params).observe(Arc::new(Alive(Mutex::new(Some(sender)))));
    let source = iris();
    let mut training = Box::pin(trainer.fit(&source));
    while steps.try_recv().is_err() {
        assert!(training.as_mut().now_or_never().is_none());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(training);
    drop(trainer);
    // The channel closes when the training thread has let go of its observer.
    tokio::task::spawn_blocking(move || while steps.recv().is_ok() {}).await.unwrap();
}

/// Trains in blocks of two minibatches while the rows arrive.
fn streaming() -> TrainParams {
    TrainParams { batch_size: 8, shuffle_buffer: 300, validation_fraction: 0.2, ..quick() }
}

#[tokio::test]
async fn the_weights_are_the_same_wherever_rows_are_cached() {
    let fit = |cache_memory, shuffle_buffer| {
        let params = TrainParams { cache_memory, shuffle_buffer, ..streaming() };
        async move { trainer(params).fit(&iris()).await.unwrap() }
    };
    for shuffle_buffer in [300, 1 << 20] {
        let in_memory = fit(1 << 20, shuffle_buffer).await;
        for budget in [0, 2000] {
            let on_disk = fit(budget, shuffle_buffer).await;
            assert_eq!(on_disk.weights(), in_memory.weights());
            assert_eq!(on_disk.history().held_out, in_memory.history().held_out);
        }
    }
    assert_ne!(fit(0, 300).await.weights(), fit(0, 1 << 20).await.weights());
}

#[tokio::test]
async fn the_weights_are_the_same_however_rows_are_cut_into_batches() {
    let whole = iris().open(0).await.unwrap().collect().await.unwrap();
    let whole = arrow::compute::concat_batches(&whole[0].schema(), &whole).unwrap();
    let one = MemorySource::new(whole.schema(), vec![whole]);
    let fit = |source: MemorySource| async move { trainer(streaming()).fit(&source).await.unwrap() };
    let (a, b) = (fit(one).await, fit(iris()).await);
    assert_eq!(a.weights(), b.weights());
    assert_eq!(a.history().rows, b.history().rows);
}

/// Gives its last batch only when told that a step was taken.
struct WaitsForAStep(MemorySource, Arc<tokio::sync::Notify>);

impl RecordSource for WaitsForAStep {
    fn open(&self, epoch: usize) -> futures::future::BoxFuture<'_, Result<RecordStream>> {
        Box::pin(async move {
            let stream = self.0.open(epoch).await?;
            let schema = stream.schema().clone();
            let step = self.1.clone();
            let batches = stream.collect().await?;
            let last = batches.len() - 1;
            let batches = futures::stream::iter(batches.into_iter().enumerate());
            let waiting = futures::StreamExt::then(batches, move |(i, batch)| {
                let step = step.clone();
                async move {
                    if i == last {
                        step.notified().await;
                    }
                    Ok(batch)
                }
            });
            Ok(RecordStream::new(schema, waiting))
        })
    }
    fn origin(&self) -> String {
        "patient rows".into()
    }
}

struct TellsOfSteps(Arc<tokio::sync::Notify>);

impl Observer for TellsOfSteps {
    fn step(&self, _: &StepRecord) {
        self.0.notify_one();
    }
}

#[tokio::test]
async fn the_first_epoch_trains_while_rows_arrive() {
    let step = Arc::new(tokio::sync::Notify::new());
    let source = WaitsForAStep(iris(), step.clone());
    // The source ends only after a step: a trainer that waits for all rows never ends.
    let training = trainer(streaming()).observe(Arc::new(TellsOfSteps(step))).expected_rows(150);
    let model = tokio::time::timeout(Duration::from_secs(60), training.fit(&source)).await.unwrap().unwrap();
    let rows = model.history().rows;
    assert_eq!(rows.trained + rows.held_out, 150);
    assert_eq!(model.weights(), trainer(streaming()).fit(&iris()).await.unwrap().weights());
}

#[tokio::test]
async fn rows_that_are_not_as_many_as_expected_are_an_error() {
    for params in [quick(), streaming()] {
        let error = trainer(params.clone()).expected_rows(151).fit(&iris()).await.unwrap_err();
        assert!(matches!(error, Error::RowsLost { expected: 151, found: 150, .. }), "{error}");
        trainer(params).expected_rows(150).fit(&iris()).await.unwrap();
    }
}

#[tokio::test]
async fn counted_classes_balance_the_weights_as_counting_does() {
    let balanced = TrainParams { class_weights: ClassWeights::Balanced, ..quick() };
    let counting = trainer(balanced.clone()).fit(&iris()).await.unwrap();
    let counted = trainer(balanced.clone()).class_counts(vec![50; 3]).fit(&iris()).await.unwrap();
    let otherwise = trainer(balanced).class_counts(vec![50, 50, 500]).fit(&iris()).await.unwrap();
    assert_eq!(counting.weights(), counted.weights());
    assert_ne!(counting.weights(), otherwise.weights());
}

/// Gives these rows, and then an error.
struct Failing(Vec<RecordBatch>, fn() -> Error);

impl RecordSource for Failing {
    fn open(&self, _: usize) -> futures::future::BoxFuture<'_, Result<RecordStream>> {
        let batches = self.0.clone().into_iter().map(Ok).chain([Err(self.1())]);
        let stream = RecordStream::new(self.0[0].schema(), futures::stream::iter(batches));
        Box::pin(std::future::ready(Ok(stream)))
    }
    fn origin(&self) -> String {
        String::new()
    }
}

#[tokio::test]
async fn a_stream_that_fails_half_way_fails_the_training() {
    let batches = iris().open(0).await.unwrap().collect().await.unwrap();
    let lost = || Error::Incomplete { operation: "op".into(), reason: "the line was cut".into() };
    for params in [quick(), streaming()] {
        let message = trainer(params).fit(&Failing(batches.clone(), lost)).await.unwrap_err().to_string();
        assert!(message.contains("the line was cut"), "{message}");
    }
}

#[tokio::test]
async fn a_run_that_loses_its_server_names_the_checkpoint_to_continue_from() {
    let whole = iris().open(0).await.unwrap().collect().await.unwrap();
    let refused = || Error::Unauthenticated { address: "a:1".into(), reason: "the token has run out".into() };
    let undisturbed = trainer(streaming()).fit(&iris()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(folder.path()).every_steps(1);
    let run = trainer(streaming()).checkpoints(checkpoints.clone());

    let error = run.fit(&Failing(whole.clone(), refused)).await.unwrap_err();
    let Error::Interrupted { step, checkpoints: place, source } = &error else { panic!("{error:?}") };
    assert_eq!(Some(*step as u64), checkpoints.steps().unwrap().last().copied());
    assert_eq!(*place, folder.path().display().to_string());
    assert!(matches!(**source, Error::Unauthenticated { .. }), "{source:?}");
    assert_eq!(run.fit(&iris()).await.unwrap().weights(), undisturbed.weights());

    let without = trainer(streaming()).fit(&Failing(whole, refused)).await.unwrap_err();
    assert!(matches!(without, Error::Unauthenticated { .. }), "{without:?}");
}

#[tokio::test]
async fn every_optimizer_learns_iris_and_the_schedule_sets_the_rate_of_every_step() {
    #[derive(Default)]
    struct Rates(Mutex<Vec<f64>>);
    impl Observer for Rates {
        fn step(&self, step: &StepRecord) {
            self.0.lock().unwrap().push(step.learning_rate);
        }
    }
    for (optimizer, learning_rate) in [
        (Optimizer::Sgd { momentum: 0.9, nesterov: true }, 0.05),
        (Optimizer::Adam, 0.01),
        (Optimizer::Adagrad { initial: 0.0 }, 0.05),
        (Optimizer::Rmsprop { alpha: 0.99, momentum: 0.0 }, 0.005),
        (Optimizer::Lamb, 0.02),
    ] {
        let rates = Arc::new(Rates::default());
        let params = TrainParams {
            optimizer,
            learning_rate,
            schedule: Schedule::Linear { end_factor: 0.0 },
            clip: Clip::Norm(1.0),
            epochs: 30,
            ..quick()
        };
        let model = trainer(params).observe(rates.clone()).fit(&iris()).await.unwrap();
        let last = model.history().last().unwrap().training;
        assert!(last.metric > 0.93, "{optimizer:?}: {last:?}");
        let rates = rates.0.lock().unwrap();
        assert_eq!(rates[0], learning_rate);
        assert!(rates.windows(2).all(|pair| pair[1] < pair[0]), "{rates:?}");
    }
}
