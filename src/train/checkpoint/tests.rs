use std::{env, fs, io::Write, path::PathBuf, process::Command, sync::Arc};

use arrow::array::{ArrayRef, FixedSizeListArray, Float64Array, RecordBatch};
use arrow::datatypes::Float32Type;

use super::*;
use crate::{
    model::TrainedNetwork,
    nn::{
        NamedTensor, Network,
        random::{Philox, Purpose},
    },
    stream::MemorySource,
    tensor::Columns,
    train::{EarlyStopping, Observer, Schedule, StepRecord, Stop, TrainParams, Trainer},
};

fn rows() -> MemorySource {
    let batch = batch();
    MemorySource::new(batch.schema(), vec![batch.slice(0, 50), batch.slice(50, 40)])
}

fn batch() -> RecordBatch {
    let values = |i: usize| (0..4).map(move |k| Some(((i * (k + 3)) as f32 * 0.7).sin()));
    let features = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>((0..90).map(|i| Some(values(i))), 4);
    let label = Float64Array::from_iter_values((0..90).map(|i| f64::from(u8::from((i as f32 * 2.1).sin() > 0.0))));
    let columns: [(&str, ArrayRef); 2] = [("features", Arc::new(features)), ("label", Arc::new(label))];
    RecordBatch::try_from_iter(columns).unwrap()
}

fn params() -> TrainParams {
    TrainParams {
        epochs: 60,
        batch_size: 16,
        tol: 0.0,
        validation_fraction: 0.2,
        schedule: Schedule::Cosine { end_factor: 0.1 },
        early_stopping: Some(EarlyStopping { patience: 60, min_delta: 0.0, restore_best: true }),
        ..TrainParams::default()
    }
}

fn trainer(params: TrainParams) -> Trainer {
    Trainer::new(Network::mlp([8]).with_dropout(0.2), Columns::new("features", "label"), params)
}

fn bytes(model: &TrainedNetwork) -> Vec<u8> {
    model.weights().tensors().iter().flat_map(|t| t.values.iter().flat_map(|v| v.to_le_bytes())).collect()
}

async fn undisturbed() -> TrainedNetwork {
    trainer(params()).fit(&rows()).await.unwrap()
}

fn checkpoint() -> Checkpoint {
    let tensor = |name: &str, values: Vec<f32>| NamedTensor { name: name.into(), shape: vec![values.len()], values };
    Checkpoint {
        run: "a run".into(),
        course: RunProgress { epoch: 3, step: 17, seconds: 0.1, ..RunProgress::default() },
        weights: Weights::new(vec![tensor("a", vec![1.0, -0.0]), tensor("b", vec![f32::MIN_POSITIVE])]).unwrap(),
        optimizer: OptimizerState { step: 17, slots: vec![vec![vec![0.5, 0.25]], vec![]] },
        best: Some(Weights::new(vec![tensor("a", vec![3.0])]).unwrap()),
    }
}

fn write(path: &Path, checkpoint: &Checkpoint) {
    let (folder, name) = (path.parent().unwrap(), path.file_name().unwrap().to_str().unwrap());
    Folder(folder.into()).write(name, encode(checkpoint).unwrap()).unwrap();
}

fn read(path: &Path) -> Result<Checkpoint> {
    decode(&path.display().to_string(), &fs::read(path).unwrap())
}

#[test]
fn what_is_written_is_read_and_nothing_else_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("step-1.tinder");
    write(&path, &checkpoint());
    assert_eq!(read(&path).unwrap(), checkpoint());
    let whole = fs::read(&path).unwrap();
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("step-1.tinder"), "{length}");
    }
    for place in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[place] ^= 4;
        fs::write(&path, &damaged).unwrap();
        assert!(read(&path).is_err(), "{place}");
    }
}

#[test]
fn a_header_that_lies_is_refused_though_its_checksum_is_right() {
    use sha2::{Digest, Sha256};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lie.tinder");
    write(&path, &checkpoint());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let whole = fs::read(&path).unwrap();
    for (from, to) in [("[\"b\",[1]]", "[\"b\",[9]]"), ("[\"b\",[1]]", "[\"a\",[1]]"), ("[\"b\",[1]]", "[\"b\",[0]]")] {
        let mut lying = whole[..whole.len() - 32].to_vec();
        let at = text(&lying).find(from).map(|at| text(&lying)[..at].len()).unwrap();
        let at = lying.windows(from.len()).position(|w| w == from.as_bytes()).unwrap_or(at);
        lying[at..at + to.len()].copy_from_slice(to.as_bytes());
        let sum = Sha256::digest(&lying);
        lying.extend(sum);
        fs::write(&path, &lying).unwrap();
        assert!(read(&path).is_err(), "{to}");
    }
    let mut endless = whole[..whole.len() - 32].to_vec();
    endless[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    let sum = Sha256::digest(&endless);
    endless.extend(sum);
    fs::write(&path, &endless).unwrap();
    assert!(read(&path).unwrap_err().to_string().contains("longer than the file"));
}

#[tokio::test]
async fn only_the_latest_are_kept_and_a_damaged_one_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(folder.path()).keep(3);
    let few = TrainParams { epochs: 5, ..params() };
    trainer(few.clone()).checkpoints(checkpoints.clone()).fit(&rows()).await.unwrap();
    let steps = checkpoints.steps().unwrap();
    assert_eq!(steps.len(), 3);
    let damaged = folder.path().join(name(steps[2]));
    fs::OpenOptions::new().append(true).open(damaged).unwrap().write_all(b"x").unwrap();
    fs::write(folder.path().join("step-x.tinder"), "not one of ours").unwrap();
    let model = trainer(params()).checkpoints(checkpoints.clone()).fit(&rows()).await.unwrap();
    assert_eq!(model.history().epochs.len(), 60);

    let other = TrainParams { learning_rate: 0.5, ..few };
    let message = trainer(other).checkpoints(checkpoints.clone()).fit(&rows()).await.unwrap_err().to_string();
    assert!(message.contains("checkpoints") && message.contains("other parameters"), "{message}");
}

#[tokio::test]
async fn a_run_that_begins_elsewhere_is_another_run() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(folder.path());
    let few = || TrainParams { epochs: 4, early_stopping: None, ..params() };
    let beginning = |value: f32, params| {
        let tensor = NamedTensor { name: "0.bias".into(), shape: vec![8], values: vec![value; 8] };
        trainer(params).initial_weights(Weights::new(vec![tensor]).unwrap())
    };
    let expected = beginning(0.5, few()).fit(&rows()).await.unwrap();
    let stopped = TrainParams { max_steps: Some(7), ..few() };
    beginning(0.5, stopped).checkpoints(checkpoints.clone()).fit(&rows()).await.unwrap();
    for other in [beginning(0.25, few()), trainer(few())] {
        let message = other.checkpoints(checkpoints.clone()).fit(&rows()).await.unwrap_err().to_string();
        assert!(message.contains("initial weights"), "{message}");
    }
    let resumed = beginning(0.5, few()).checkpoints(checkpoints).fit(&rows()).await.unwrap();
    assert_eq!(bytes(&resumed), bytes(&expected));
}

#[tokio::test]
async fn run_resumed_on_other_rows_is_refused_unless_they_are_accepted() {
    let source = |batches: Vec<RecordBatch>| MemorySource::new(batches[0].schema(), batches);
    let whole = batch();
    for at in [1, 7] {
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::new(folder.path()).every_steps(1);
        let run = |checkpoints: &Checkpoints, most| {
            trainer(TrainParams { epochs: 3, max_steps: most, ..params() }).checkpoints(checkpoints.clone())
        };
        // Within the first epoch nothing is known of rows that had not come.
        run(&checkpoints, Some(at)).fit(&source(vec![whole.slice(0, 80)])).await.unwrap();
        let rows_are_known = at > 4;
        let others = [vec![whole.clone()], vec![whole.slice(40, 40), whole.slice(0, 40)], vec![whole.slice(10, 80)]];
        for other in others.into_iter().filter(|_| rows_are_known) {
            let error = run(&checkpoints, None).fit(&source(other)).await.unwrap_err();
            assert!(matches!(&error, Error::Param { name, .. } if name == "checkpoints"), "{error}");
        }
        let accepting = checkpoints.clone().accept_other_rows();
        let model = run(&accepting, None).fit(&source(vec![whole.clone()])).await.unwrap();
        assert_eq!(model.history().epochs.len(), 3);
    }
}

#[tokio::test]
async fn run_that_stopped_early_stays_over_when_more_epochs_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(folder.path());
    let early = |epochs| TrainParams {
        epochs,
        learning_rate: 0.3,
        schedule: Schedule::Constant,
        early_stopping: Some(EarlyStopping { patience: 2, min_delta: 0.0, restore_best: true }),
        ..params()
    };
    let first = trainer(early(100)).checkpoints(checkpoints.clone()).fit(&rows()).await.unwrap();
    assert!(first.history().epochs.len() < 100);
    // As an undisturbed run of so many epochs would have ended.
    let more = trainer(early(300)).checkpoints(checkpoints).fit(&rows()).await.unwrap();
    assert_eq!(bytes(&more), bytes(&trainer(early(300)).fit(&rows()).await.unwrap()));
    assert_eq!(bytes(&more), bytes(&first));
}

#[tokio::test]
async fn figures_that_are_not_finite_read_back_from_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("step-1.tinder");
    let mut odd = checkpoint();
    odd.course.best = vec![(f64::INFINITY, 3)];
    odd.course.tally.loss = f64::INFINITY;
    odd.course.history.epochs = vec![crate::model::EpochRecord {
        held_out: Some(crate::model::Evaluation { loss: f64::INFINITY, metric: f64::NEG_INFINITY }),
        ..Default::default()
    }];
    write(&path, &odd);
    assert_eq!(read(&path).unwrap(), odd);
}

#[tokio::test]
async fn the_best_epochs_are_kept_beside_the_latest() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(folder.path()).every_epochs(0).keep(1).keep_best(3);
    let params = TrainParams { learning_rate: 0.3, epochs: 20, early_stopping: None, ..params() };
    let model = trainer(params).checkpoints(checkpoints.clone()).fit(&rows()).await.unwrap();
    let loss = |e: &crate::model::EpochRecord| e.held_out.unwrap().loss;
    let mut losses: Vec<f64> = model.history().epochs.iter().map(loss).collect();
    let steps = checkpoints.steps().unwrap();
    let kept: Vec<CheckpointNetwork> = steps.iter().map(|step| checkpoints.open(*step).unwrap()).collect();
    assert_eq!(&kept.last().unwrap().weights, model.weights());
    let mut best: Vec<f64> = kept.iter().map(|saved| loss(saved.history.last().unwrap())).collect();
    best.sort_by(f64::total_cmp);
    losses.sort_by(f64::total_cmp);
    assert_eq!(best[..3], losses[..3]);
    assert!(steps.len() <= 4, "{steps:?}");
    assert!(checkpoints.open(7).unwrap_err().to_string().contains("step-000000000007.tinder"));
}

#[tokio::test]
async fn a_run_stopped_at_any_step_goes_on_to_the_same_weights() {
    let expected = undisturbed().await;
    for at in [1, 3, 5, 6, 137] {
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::new(folder.path()).every_epochs(0);
        let stop = Stop::default();
        struct StopAt(usize, Stop);
        impl Observer for StopAt {
            fn step(&self, step: &StepRecord) {
                if step.step + 1 == self.0 {
                    self.1.request();
                }
            }
        }
        let first = trainer(params()).checkpoints(checkpoints.clone()).stop(stop.clone());
        let stopped = first.observe(Arc::new(StopAt(at, stop))).fit(&rows()).await.unwrap();
        assert!(stopped.history().epochs.len() < 60);
        let model = trainer(params()).checkpoints(checkpoints.clone()).fit(&rows()).await.unwrap();
        assert_eq!(bytes(&model), bytes(&expected), "stopped after {at} steps");
        assert_eq!(model.history().held_out, expected.history().held_out);
        let losses =
            |m: &TrainedNetwork| m.history().epochs.iter().map(|e| (e.training, e.held_out)).collect::<Vec<_>>();
        assert_eq!(losses(&model), losses(&expected));
        // What is over stays as it is.
        let again = trainer(params()).checkpoints(checkpoints).fit(&rows()).await.unwrap();
        assert_eq!(bytes(&again), bytes(&expected));
    }
}

#[tokio::test]
async fn steps_and_time_end_a_run() {
    let steps = TrainParams { max_steps: Some(7), ..params() };
    assert_eq!(trainer(steps).fit(&rows()).await.unwrap().history().epochs.len(), 1);
    let time = TrainParams { max_seconds: Some(1e-9), ..params() };
    assert!(trainer(time).fit(&rows()).await.unwrap().history().epochs.is_empty());
}

#[tokio::test]
async fn early_stopping_gives_the_weights_of_the_lowest_loss() {
    // So large a step size that the loss does not keep falling.
    let early = |epochs, patience| TrainParams {
        epochs,
        learning_rate: 0.3,
        schedule: Schedule::Constant,
        early_stopping: Some(EarlyStopping { patience, min_delta: 0.0, restore_best: true }),
        ..params()
    };
    let model = trainer(early(200, 4)).fit(&rows()).await.unwrap();
    let losses: Vec<f64> = model.history().epochs.iter().map(|e| e.held_out.unwrap().loss).collect();
    let best = losses.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
    assert_eq!(losses.len(), best + 5);
    let until_best = trainer(early(best + 1, 200)).fit(&rows()).await.unwrap();
    assert_eq!(bytes(&model), bytes(&until_best));
}

const FOLDER: &str = "TINDERBOX_TEST_CHECKPOINTS";

/// What the killed process does, and what an undisturbed one does when no folder is given.
#[tokio::test]
async fn a_run_in_a_process_of_its_own() {
    let Some(folder) = env::var_os(FOLDER) else {
        assert_eq!(bytes(&undisturbed().await), bytes(&undisturbed().await));
        return;
    };
    let checkpoints = Checkpoints::new(&folder).every_steps(1);
    let model = trainer(params()).checkpoints(checkpoints).fit(&rows()).await.unwrap();
    fs::write(PathBuf::from(folder).join("weights"), bytes(&model)).unwrap();
}

#[tokio::test]
async fn killed_twenty_times_it_ends_with_the_weights_of_an_undisturbed_run() {
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", "train::checkpoint::tests::a_run_in_a_process_of_its_own"]);
        command.env(FOLDER, folder.path()).stdout(std::process::Stdio::null()).spawn().unwrap()
    };
    let latest = || Checkpoints::new(folder.path()).steps().unwrap().last().copied().unwrap_or(0);
    let mut random = Philox::new(std::process::id().into(), Purpose::Split, 0, 0);
    for kill in 0..20 {
        let mut child = start();
        // Some steps further on than the last time, and then at any moment of a step.
        let until = latest() + 1 + u64::from(random.below(8));
        while latest() < until {
            assert!(child.try_wait().unwrap().is_none(), "it ended before kill {kill}");
            std::thread::sleep(Duration::from_micros(200));
        }
        std::thread::sleep(Duration::from_micros(random.below(3000).into()));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(start().wait().unwrap().success());
    assert_eq!(fs::read(folder.path().join("weights")).unwrap(), bytes(&undisturbed().await));
}
