//! Digits from a few numbers each: codes, how well they restore the digits, and pictures that are none.
//!
//! `cargo run --release --example autoencoder` trains on the 8×8 digits that are shipped; `-- --data FOLDER` from
//! MNIST's files, with a code of 32. `--seeds 3` repeats it, `--epochs`, `--picture FILE.png`.

mod support;

use std::path::Path;

use arrow::array::{AsArray, FixedSizeListArray, Float32Array, RecordBatch};
use arrow::datatypes::{Float32Type, Float64Type};
use futures::TryStreamExt;
use image::{GrayImage, Luma};
use support::{Digits, arguments::Arguments, log};
use tinderbox::{
    Error,
    prelude::*,
    train::{Loss, Optimizer, Schedule},
};

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::read(include_str!("autoencoder.rs"));
    let path = arguments.value("--picture").unwrap_or_else(|| "autoencoder.png".into());
    log::to_stderr("tinderbox=warn");
    let digits = Digits::load(arguments.value("--data").as_deref().map(Path::new))?;
    let spark = Session::builder().get_or_create().await?;
    let train = spark.create_dataframe(std::slice::from_ref(&digits.train)).await?;
    let test = spark.create_dataframe(std::slice::from_ref(&digits.test)).await?;
    println!("{}: {} for training, {} for testing", digits.name, digits.train.num_rows(), digits.test.num_rows());

    let seeds = arguments.number("--seeds", 1u64);
    let epochs = arguments.number("--epochs", if digits.side == 28 { 40 } else { 60 });
    let mut sum = 0.0;
    let mut last = None;
    for seed in 1..=seeds {
        let model = autoencoder(&digits, epochs).seed(seed).fit_frame(&train).await?;
        let rows = encoded(&model, &test).await?;
        let errors = column_of(&rows, "reconstructionError");
        let error = errors.iter().sum::<f64>() / errors.len() as f64;
        println!(
            "seed {seed}: {} values from {}, test MSE {error:.5}",
            digits.side * digits.side,
            model.encoder().code_width()
        );
        sum += error;
        last = Some((model, rows));
    }
    if seeds > 1 {
        println!("mean test MSE over {seeds} seeds: {:.5}", sum / seeds as f64);
    }
    println!();

    let Some((model, rows)) = last else { return spark.stop().await };
    let usual = column_of(&rows, "reconstructionError");
    let shuffled = spark.create_dataframe(&[shuffled(&digits.test)]).await?;
    let strange = column_of(&encoded(&model, &shuffled).await?, "reconstructionError");
    anomalies(&usual, &strange);

    picture(&rows, digits.side)
        .save(&path)
        .map_err(|e| Error::Io { path: path.clone().into(), source: std::io::Error::other(e) })?;
    println!("{path}: ten digits of the test, and below them what the network makes of their codes\n");

    let features = Pipeline::new()
        .stage(autoencoder(&digits, epochs).seed(1).output_col("code"))
        .stage(NeuralClassifier::new(Network::new()).features_col("code").epochs(20).learning_rate(0.01).seed(1));
    let fitted = features.fit(&train).await?;
    let scored: Vec<RecordBatch> = fitted.predict(&test).await?.try_collect().await?;
    let predicted = column_of(&scored, "prediction");
    let labels =
        scored.iter().flat_map(|batch| batch["label"].as_primitive::<arrow::datatypes::Int32Type>().values().to_vec());
    let right = labels.zip(&predicted).filter(|(label, class)| f64::from(*label) == **class).count();
    let share = 100.0 * right as f64 / predicted.len() as f64;
    println!("logistic regression on the codes alone tells {share:.1} % of the test's digits right");
    spark.stop().await
}

/// Wide for MNIST, small for the digits that are shipped.
fn autoencoder(digits: &Digits, epochs: usize) -> Autoencoder {
    let large = digits.side == 28;
    let deep = if large { Autoencoder::new([512, 256], 32) } else { Autoencoder::new([128], 8) };
    deep.features_col("pixels")
        .reconstruction_col("again")
        .loss(Loss::BinaryCrossEntropy)
        .epochs(epochs)
        .batch_size(if large { 100 } else { 32 })
        .learning_rate(0.001)
        .train_params(|params| {
            params.optimizer = Optimizer::Adam;
            params.weight_decay = 0.0;
            params.tol = 0.0;
            params.schedule = Schedule::Cosine { end_factor: 0.02 };
        })
}

async fn encoded(model: &EncoderModel, frame: &DataFrame) -> Result<Vec<RecordBatch>> {
    model.encode(frame).await?.try_collect().await
}

fn column_of(rows: &[RecordBatch], name: &str) -> Vec<f64> {
    rows.iter().flat_map(|batch| batch[name].as_primitive::<Float64Type>().values().to_vec()).collect()
}

/// The same grey values in each picture, in another order: no digits any more.
fn shuffled(digits: &RecordBatch) -> RecordBatch {
    let pixels = digits["pixels"].as_fixed_size_list();
    let width = pixels.value_length() as usize;
    let values = pixels.values().as_primitive::<Float32Type>().values();
    // A step that shares no factor with the number of pixels reaches each of them once.
    let place = |i: usize| i / width * width + (i % width * 37 + 11) % width;
    let values = Float32Array::from_iter_values((0..values.len()).map(|i| values[place(i)]));
    let item = std::sync::Arc::new(arrow::datatypes::Field::new_list_field(pixels.value_type(), true));
    let pixels = FixedSizeListArray::new(item, width as i32, std::sync::Arc::new(values), None);
    let columns = vec![digits["label"].clone(), std::sync::Arc::new(pixels) as arrow::array::ArrayRef];
    RecordBatch::try_new(digits.schema(), columns).expect("as many pixels as before")
}

/// Returns the area under the ROC curve of the reconstruction error, digits against noise.
fn anomalies(usual: &[f64], strange: &[f64]) {
    let mut sorted = usual.to_vec();
    sorted.sort_by(f64::total_cmp);
    let limit = sorted[sorted.len() * 99 / 100];
    let caught = strange.iter().filter(|error| **error > limit).count();
    let share = 100.0 * caught as f64 / strange.len() as f64;
    println!(
        "anomalies: 99 % of digits have an error below {limit:.4}; {share:.1} % of pictures with shuffled pixels lie above\n"
    );
}

/// Ten digits and below each its reconstruction.
fn picture(rows: &[RecordBatch], side: usize) -> GrayImage {
    const ZOOM: usize = 6;
    let zoom = if side == 28 { ZOOM / 2 } else { ZOOM };
    let cell = (side + 1) * zoom;
    let mut picture = GrayImage::from_pixel((10 * cell) as u32, (2 * cell) as u32, Luma([64]));
    let Some(first) = rows.first() else { return picture };
    for (line, name) in ["pixels", "again"].into_iter().enumerate() {
        for column in 0..10.min(first.num_rows()) {
            let row = first[name].as_list_opt::<i32>().map(|list| list.value(column));
            let row = row.unwrap_or_else(|| first[name].as_fixed_size_list().value(column));
            let values = row.as_primitive::<Float32Type>();
            for y in 0..side * zoom {
                for x in 0..side * zoom {
                    let grey = values.value(y / zoom * side + x / zoom).clamp(0.0, 1.0);
                    picture.put_pixel(
                        (column * cell + x) as u32,
                        (line * cell + y) as u32,
                        Luma([(255.0 * grey) as u8]),
                    );
                }
            }
        }
    }
    picture
}
