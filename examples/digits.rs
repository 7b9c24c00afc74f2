//! Handwritten digits: a convolutional network beside a plain one, on images that are rows of a table.
//!
//! `cargo run --release --example digits` trains on the 1,797 digits of 8×8 that are shipped, a fifth of them held out.
//! `… -- --data FOLDER` trains on MNIST, from the IDX files `images-idx3-ubyte` and `labels-idx1-ubyte` there (with
//! `.gz`, if `gzip` is installed): the network is trained on the first eight tenths, the rest is held out. `--seeds N`
//! trains N times each. `--curves FILE.svg` draws the convolutional network's last run.

#[path = "support/arguments.rs"]
mod arguments;

use std::{error, fs, path::Path, process::Command, sync::Arc};

use arguments::Arguments;
use arrow::array::{ArrayRef, BooleanArray, FixedSizeListArray, Int32Array, RecordBatch};
use arrow::datatypes::Float32Type;
use tinderbox::{
    prelude::*,
    tensor::codec::{Dtype, TensorType},
    train::{Plot, Schedule},
};

type Failure = Box<dyn error::Error>;

/// Images side by side, each of `side × side` values from 0 to 1, and what they show.
struct Digits {
    pixels: Vec<f32>,
    labels: Vec<i32>,
    side: usize,
    /// From this row on they are held out; a random fifth is where it is none.
    held_out_from: Option<usize>,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments = Arguments::read(include_str!("digits.rs"));
    let digits = match arguments.value("--data") {
        Some(folder) => mnist(Path::new(&folder))?,
        None => shipped(),
    };
    let seeds = arguments.number("--seeds", 1u64);
    let curves = arguments.value("--curves");
    let spark = Session::builder().get_or_create().await?;
    println!("{} digits of {1}×{1}, on Spark {2}\n", digits.labels.len(), digits.side, spark.version());
    let frame = spark.create_dataframe(&[rows(&digits)]).await?;
    frame.create_or_replace_temp_view("digits").await?;
    let frame = spark.table("digits");

    let small = digits.side < 20;
    let convolutional = if small { Network::cnn([32, 64], [64]) } else { Network::cnn([32, 64], [128]) };
    let plain = if small { Network::mlp([64]) } else { Network::mlp([512, 256]).with_dropout(0.5) };
    println!("{}", convolutional.resolve([1, digits.side, digits.side], 10)?.summary());
    // The plain network's for MNIST were found on the last thousand training digits, never on those held out.
    let settings = match small {
        true => [("plain", plain, 3e-3, 30, 32), ("convolutional", convolutional, 3e-3, 30, 32)],
        false => [("plain", plain, 1e-3, 30, 128), ("convolutional", convolutional, 1e-3, 10, 64)],
    };
    for (name, network, rate, epochs, batch) in settings {
        let (mut reached, mut matrix) = (Vec::new(), None);
        for seed in 1..=seeds {
            let shape = TensorType::new(Dtype::Float32, [1, digits.side, digits.side]);
            let classifier = NeuralClassifier::new(network.clone())
                .input(TensorReader::new("pixels").of(shape))
                .learning_rate(rate)
                .batch_size(batch)
                .epochs(epochs)
                .tol(0.0)
                .train_params(|params| params.schedule = Schedule::Cosine { end_factor: 0.0 })
                .seed(seed);
            let classifier = match digits.held_out_from {
                Some(_) => classifier.validation_indicator_col("held_out"),
                None => classifier.validation_fraction(0.2),
            };
            let model = classifier.progress().fit_frame(&frame).await?;
            let history = model.model().history();
            let accuracy = 100.0 * history.held_out_accuracy().unwrap_or(f64::NAN);
            let seconds: f64 = history.epochs.iter().map(|epoch| epoch.seconds).sum();
            println!("{name}, seed {seed}: {accuracy:.2} % of {} held out, {seconds:.1} s", history.rows.held_out);
            reached.push(accuracy);
            if let Some(file) = curves.as_ref().filter(|_| name == "convolutional") {
                Plot::curves(history).save(file)?;
            }
            matrix = history.held_out.as_ref().map(|matrix| matrix.table(model.model().classes()));
        }
        if seeds > 1 {
            println!("{name}, mean of {seeds}: {:.2} %", reached.iter().sum::<f64>() / reached.len() as f64);
        }
        if name == "convolutional" {
            println!("\n{}", matrix.unwrap_or_default());
        }
    }
    Ok(spark.stop().await?)
}

fn rows(digits: &Digits) -> RecordBatch {
    let size = digits.side * digits.side;
    let images = digits.pixels.chunks_exact(size).map(|image| Some(image.iter().copied().map(Some)));
    let held_out = |row: usize| Some(digits.held_out_from.is_some_and(|from| row >= from));
    let columns: [(&str, ArrayRef); 3] = [
        ("pixels", Arc::new(FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(images, size as i32))),
        ("label", Arc::new(Int32Array::from(digits.labels.clone()))),
        ("held_out", Arc::new((0..digits.labels.len()).map(held_out).collect::<BooleanArray>())),
    ];
    RecordBatch::try_from_iter(columns).expect("the columns are equally long")
}

/// The digits of 8×8: a character per pixel from 0 to g (16), a comma, and the digit.
fn shipped() -> Digits {
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for line in include_str!("data/digits.csv").lines() {
        let (image, label) = line.split_once(',').expect("an image and a digit");
        pixels.extend(image.chars().map(|c| c.to_digit(17).expect("a pixel from 0 to g") as f32 / 16.0));
        labels.push(label.parse().expect("a digit"));
    }
    Digits { pixels, labels, side: 8, held_out_from: None }
}

fn mnist(folder: &Path) -> Result<Digits, Failure> {
    let images = idx(&folder.join("images-idx3-ubyte"))?;
    let labels = idx(&folder.join("labels-idx1-ubyte"))?;
    let number = |at: usize| images.get(at..at + 4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]) as usize);
    let (count, side) = (number(4).ok_or("the images end early")?, number(8).ok_or("the images end early")?);
    let (pixels, labels) = (images.get(16..).unwrap_or_default(), labels.get(8..).unwrap_or_default());
    if pixels.len() != count * side * side || labels.len() != count {
        return Err(
            format!("{} pixels and {} labels for {count} images of {side}×{side}", pixels.len(), labels.len()).into()
        );
    }
    Ok(Digits {
        pixels: pixels.iter().map(|pixel| f32::from(*pixel) / 255.0).collect(),
        labels: labels.iter().map(|label| i32::from(*label)).collect(),
        side,
        held_out_from: Some(count * 8 / 10),
    })
}

/// The bytes of an IDX file, unpacked if it is packed.
fn idx(path: &Path) -> Result<Vec<u8>, Failure> {
    let packed = path.with_extension("gz");
    if path.exists() || !packed.exists() {
        return fs::read(path).map_err(|e| format!("{}: {e}", path.display()).into());
    }
    let unpacked = Command::new("gzip").arg("-dc").arg(&packed).output()?;
    if unpacked.status.success() {
        Ok(unpacked.stdout)
    } else {
        Err(format!("gzip fails on {}", packed.display()).into())
    }
}
