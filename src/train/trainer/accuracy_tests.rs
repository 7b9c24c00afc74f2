//! How well networks learn the data that is shipped; means of three seeds, the settings as they stand here.

use arrow::{
    array::{ArrayRef, BooleanArray, FixedSizeListArray, Float32Array, Float64Array, RecordBatch},
    datatypes::{DataType, Field, Float32Type},
};

use super::*;
use crate::{
    nn::{Activation, VisibleUnits},
    stream::MemorySource,
    tensor::{
        codec::{Dtype, TensorType},
        reader::Readers,
    },
    train::{Loss, Pretrainer, RbmLayer, Schedule},
};

const SEEDS: [u64; 3] = [1, 2, 3];

/// The 1,797 digits of 8×8: `pixels` from 0 to 1, `label`, and `aside`, the last fifth, whose writers are others.
fn digits() -> RecordBatch {
    let lines = || include_str!("../../../examples/data/digits.csv").lines().filter_map(|line| line.split_once(','));
    let grey = |letter: char| letter.to_digit(17).unwrap() as f32 / 16.0;
    let pixels = Float32Array::from_iter_values(lines().flat_map(|(letters, _)| letters.chars().map(grey)));
    let item = Arc::new(Field::new_list_field(DataType::Float32, true));
    let count = lines().count();
    RecordBatch::try_from_iter([
        ("pixels", Arc::new(FixedSizeListArray::new(item, 64, Arc::new(pixels), None)) as ArrayRef),
        ("label", Arc::new(Float64Array::from_iter_values(lines().map(|(_, label)| label.parse().unwrap())))),
        ("aside", Arc::new((0..count).map(|row| Some(row >= count * 4 / 5)).collect::<BooleanArray>())),
    ])
    .unwrap()
}

fn source(rows: RecordBatch) -> MemorySource {
    MemorySource::new(rows.schema(), vec![rows])
}

/// The share of rows held out that are told right.
async fn accuracy(trainer: Trainer, rows: &MemorySource) -> f64 {
    trainer.fit(rows).await.unwrap().history().held_out_accuracy().unwrap()
}

fn mean(each: &[f64]) -> f64 {
    println!("{each:?}");
    each.iter().sum::<f64>() / each.len() as f64
}

#[tokio::test]
async fn a_convolutional_network_tells_98_in_100_digits_of_8x8() {
    let rows = source(digits());
    let image = TensorReader::new("pixels").of(TensorType::new(Dtype::Float32, [1, 8, 8]));
    let columns = Columns::new("pixels", "label").read_by(Readers::new().input(image));
    let mut reached = Vec::new();
    for seed in SEEDS {
        let params = TrainParams {
            epochs: 15,
            learning_rate: 3e-3,
            schedule: Schedule::Cosine { end_factor: 0.0 },
            validation_fraction: 0.2,
            tol: 0.0,
            seed,
            ..TrainParams::default()
        };
        let trainer = Trainer::new(Network::cnn([32, 64], [64]), columns.clone(), params);
        reached.push(accuracy(trainer, &rows).await);
    }
    assert!(mean(&reached) >= 0.98, "{reached:?}");
}

/// The flowers, their features at mean 0 and deviation 1 of those to learn from; every fifth is `aside`, from the
/// `fold`th on.
fn flowers(fold: usize) -> RecordBatch {
    let species = ["setosa", "versicolor", "virginica"];
    let rows: Vec<Vec<&str>> =
        include_str!("../../../examples/data/iris.csv").lines().skip(1).map(|line| line.split(',').collect()).collect();
    let aside = |row: usize| row % 5 == fold;
    let value = |row: usize, i: usize| rows[row][i].parse::<f32>().unwrap();
    let learnt: Vec<usize> = (0..rows.len()).filter(|row| !aside(*row)).collect();
    let scale: [(f32, f32); 4] = std::array::from_fn(|i| {
        let mean = learnt.iter().map(|row| value(*row, i)).sum::<f32>() / learnt.len() as f32;
        let squares = learnt.iter().map(|row| (value(*row, i) - mean).powi(2)).sum::<f32>();
        (mean, (squares / (learnt.len() - 1) as f32).sqrt())
    });
    let features = (0..rows.len())
        .map(|row| Some(std::array::from_fn::<_, 4, _>(|i| Some((value(row, i) - scale[i].0) / scale[i].1))));
    let label = rows.iter().map(|words| species.iter().position(|s| *s == words[4]).unwrap() as f64);
    RecordBatch::try_from_iter([
        ("features", Arc::new(FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(features, 4)) as ArrayRef),
        ("label", Arc::new(Float64Array::from_iter_values(label))),
        ("aside", Arc::new((0..rows.len()).map(|row| Some(aside(row))).collect::<BooleanArray>())),
    ])
    .unwrap()
}

#[tokio::test]
async fn a_perceptron_tells_95_in_100_flowers_over_five_folds() {
    let mut reached = Vec::new();
    for fold in 0..5 {
        let rows = source(flowers(fold));
        for seed in SEEDS {
            let params = TrainParams {
                epochs: 60,
                schedule: Schedule::Cosine { end_factor: 0.0 },
                tol: 0.0,
                seed,
                ..TrainParams::default()
            };
            let columns = Columns::new("features", "label").validation("aside");
            reached.push(accuracy(Trainer::new(Network::mlp([16, 16]), columns, params), &rows).await);
        }
    }
    assert!(mean(&reached) >= 0.95, "{reached:?}");
}

#[tokio::test]
async fn an_auto_encoder_restores_digits_better_than_as_many_principal_components() {
    // NumPy's singular value decomposition of the first four fifths, eight components, on the last fifth.
    const COMPONENTS: f64 = 0.02489;
    let rows = source(digits());
    let layers =
        Network::new().linear(128).activation(Activation::Relu).linear(8).linear(128).activation(Activation::Relu);
    let mut left = Vec::new();
    for seed in SEEDS {
        let params = TrainParams {
            loss: Loss::SquaredError,
            epochs: 40,
            schedule: Schedule::Cosine { end_factor: 0.0 },
            weight_decay: 0.0,
            tol: 0.0,
            seed,
            ..TrainParams::default()
        };
        let columns = Columns::unlabelled("pixels").validation("aside");
        let model = Trainer::new(layers.clone(), columns, params).fit(&rows).await.unwrap();
        // The metric is the root of the mean squared difference of a value.
        left.push(model.history().last().unwrap().held_out.unwrap().metric.powi(2));
    }
    assert!(mean(&left) < 0.9 * COMPONENTS, "{left:?}");
}

#[tokio::test]
async fn pre_training_without_labels_helps_where_labels_are_few() {
    let all = digits();
    let unlabelled = source(all.slice(0, all.num_rows() * 4 / 5));
    let test = all.slice(all.num_rows() * 4 / 5, all.num_rows() - all.num_rows() * 4 / 5);
    let few = MemorySource::new(all.schema(), vec![all.slice(0, 100), test]);
    let network = Network::new().linear(128).activation(Activation::Sigmoid).linear(64).activation(Activation::Sigmoid);
    let (mut random, mut trained) = (Vec::new(), Vec::new());
    for seed in SEEDS {
        let layers = [128, 64].map(|hidden| RbmLayer { epochs: 30, ..RbmLayer::new(hidden) });
        let params = TrainParams { batch_size: 20, seed, ..TrainParams::default() };
        let columns = Columns::unlabelled("pixels");
        let pretrainer = Pretrainer::new(VisibleUnits::Bernoulli, layers.into(), columns, params);
        let (_, weights) = pretrainer.fit(&unlabelled).await.unwrap().stack.encoder();
        let params = TrainParams {
            epochs: 200,
            batch_size: 20,
            learning_rate: 1e-3,
            weight_decay: 1e-4,
            tol: 0.0,
            seed,
            ..TrainParams::default()
        };
        let trainer = Trainer::new(network.clone(), Columns::new("pixels", "label").validation("aside"), params);
        random.push(accuracy(trainer.clone(), &few).await);
        trained.push(accuracy(trainer.initial_weights(weights), &few).await);
    }
    assert!(mean(&trained) > mean(&random), "{trained:?} {random:?}");
}
