//! Glad, sorry or amazed: a folder of pictures, read by Spark as they are, becomes a convolutional network.
//!
//! `cargo run --release --example faces` draws 900 faces into a temporary folder, a folder for each mood, and damages
//! some of the files. `-- --data FOLDER` takes pictures of yours, PNG or JPEG in a folder for each class; Spark must be
//! able to read it. `--picture FILE.png` says where to put the picture of what the network sees in held-out faces.

#[path = "support/arguments.rs"]
mod arguments;

use std::{
    fs,
    path::{Path, PathBuf},
};

use arguments::Arguments;
use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::Float64Type,
};
use futures::TryStreamExt;
use image::{ImageFormat, Rgb, RgbImage, imageops};
use tinderbox::{
    Error,
    model::RowCounts,
    nn::{Conv, Pool},
    prelude::*,
    train::Schedule,
};

/// Pixels on a side of what the network sees.
const SIDE: usize = 32;

const MOODS: [&str; 3] = ["amazed", "glad", "sorry"];

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::read(include_str!("faces.rs"));
    let path = arguments.value("--picture").unwrap_or_else(|| "faces.png".into());
    let drawn = tempfile::tempdir().map_err(|e| failed(Path::new("a temporary folder"), e))?;
    let folder = match arguments.value("--data") {
        Some(folder) => PathBuf::from(folder),
        None => {
            draw_faces(drawn.path())?;
            drawn.path().to_owned()
        }
    };
    let spark = Session::builder().get_or_create().await?;
    let files = spark.read().format("binaryFile").option("recursiveFileLookup", true);
    let files = files.load([folder.display().to_string()]);
    // A quarter of the files is kept aside, whatever order they come in.
    let files = files.with_column("held_out", functions::expr("pmod(hash(substring_index(path, '/', -2)), 4) = 0"));
    println!("{} files, on Spark {}", files.count().await?, spark.version());

    // Found on a quarter of the training faces, never on those held out.
    let classifier = NeuralClassifier::new(convolutional([16, 32, 32]))
        .input(ImageReader::new("content", SIDE as u32, SIDE as u32))
        .label(PathLabel::parent("path"))
        .handle_invalid(HandleInvalid::Keep)
        .validation_indicator_col("held_out")
        .epochs(30)
        .learning_rate(2e-3)
        .tol(0.0)
        .train_params(|params| params.schedule = Schedule::Cosine { end_factor: 0.0 })
        .seed(1);
    let model = classifier.progress().fit_frame(&files).await?;
    let history = model.model().history();
    let RowCounts { trained, held_out, skipped } = history.rows;
    println!("{} pictures decoded, {skipped} files skipped that are none or damaged", trained + held_out);
    println!("\n{}", model.model().spec().summary());
    if let Some(matrix) = &history.held_out {
        println!("{:.2} % of {held_out} pictures held out\n", 100.0 * matrix.accuracy());
        println!("{}\n", matrix.table(model.model().classes()));
    }

    let scored: Vec<RecordBatch> = model.score(&files.filter_expr("held_out")).await?.try_collect().await?;
    let sheet = sheet(&scored, model.model().classes());
    sheet.save(&path).map_err(|e| failed(Path::new(&path), std::io::Error::other(e)))?;
    println!(
        "{path}: faces held out, a line for each class that the network sees in them, framed in red where it is wrong"
    );
    spark.stop().await
}

/// Three convolutions, each normalised, rectified and pooled.
fn convolutional(channels: [usize; 3]) -> Network {
    let block = |network: Network, channels| {
        let network = network.conv2d(Conv { padding: 1, ..Conv::new(channels, 3) }).batch_norm();
        network.activation(Activation::Relu).max_pool2d(Pool::new(2))
    };
    channels.into_iter().fold(Network::new(), block).flatten()
}

/// A line of faces for each class that is predicted; green borders are right ones, red borders wrong ones.
fn sheet(scored: &[RecordBatch], classes: &[String]) -> RgbImage {
    let (count, cell, border): (usize, u32, u32) = (12, 64, 3);
    let step = cell + 2 * border + 2;
    let mut sheet = RgbImage::from_pixel(count as u32 * step, classes.len() as u32 * step, Rgb([255; 3]));
    let mut lines = vec![Vec::new(); classes.len()];
    for batch in scored {
        let (contents, paths) = (batch["content"].as_binary::<i32>(), batch["path"].as_string::<i32>());
        let predicted = batch["prediction"].as_primitive::<Float64Type>();
        for row in (0..batch.num_rows()).filter(|row| predicted.is_valid(*row)) {
            let class = predicted.value(row) as usize;
            let right = Path::new(paths.value(row)).parent().is_some_and(|folder| folder.ends_with(&classes[class]));
            lines[class].push((right, contents.value(row)));
        }
    }
    for (line, mut faces) in lines.into_iter().enumerate() {
        // The wrong ones are few, and worth a look.
        faces.sort_by_key(|(right, _)| *right);
        for (column, (right, content)) in faces.into_iter().take(count).enumerate() {
            let Ok(face) = image::load_from_memory(content) else { continue };
            let color = Rgb(if right { [60, 160, 80] } else { [210, 50, 50] });
            let (x, y) = (column as u32 * step + 1, line as u32 * step + 1);
            let frame = RgbImage::from_pixel(cell + 2 * border, cell + 2 * border, color);
            imageops::replace(&mut sheet, &frame, x.into(), y.into());
            let face = face.resize_exact(cell, cell, imageops::FilterType::Triangle).to_rgb8();
            imageops::replace(&mut sheet, &face, (x + border).into(), (y + border).into());
        }
    }
    sheet
}

/// Draws 300 faces of each mood, every third a JPEG, and adds files that are no pictures.
fn draw_faces(folder: &Path) -> Result<()> {
    let mut dice = Dice(7);
    for (mood, name) in MOODS.into_iter().enumerate() {
        let folder = folder.join(name);
        fs::create_dir_all(&folder).map_err(|e| failed(&folder, e))?;
        for i in 0..300 {
            let (end, format) = if i % 3 == 0 { ("jpg", ImageFormat::Jpeg) } else { ("png", ImageFormat::Png) };
            let path = folder.join(format!("{i:03}.{end}"));
            let face = face(mood, &mut dice);
            face.save_with_format(&path, format).map_err(|e| failed(&path, std::io::Error::other(e)))?;
            // Some end in the middle, as copies of a full disk do.
            if i % 60 == 30 {
                let whole = fs::read(&path).map_err(|e| failed(&path, e))?;
                fs::write(&path, &whole[..whole.len() / 2]).map_err(|e| failed(&path, e))?;
            }
        }
        let notes = folder.join("notes.txt");
        fs::write(&notes, "no picture").map_err(|e| failed(&notes, e))?;
    }
    Ok(())
}

/// One face: somewhere, tilted, in any colours, in the light of one side.
fn face(mood: usize, dice: &mut Dice) -> RgbImage {
    const SIZE: u32 = 64;
    let color = |dice: &mut Dice, low: f32, high: f32| [0; 3].map(|_: u8| dice.between(low, high));
    let (ground, hair) = (color(dice, 60.0, 250.0), color(dice, 10.0, 130.0));
    let tone = dice.between(0.45, 1.0);
    let skin = [255.0, 205.0, 165.0].map(|part| part * tone);
    let (middle, radius) = ([dice.between(27.0, 37.0), dice.between(27.0, 37.0)], dice.between(19.0, 27.0));
    let (tilt, light) = (dice.between(-0.45, 0.45), dice.between(-0.3, 0.3));
    let (bend, open, fringe) = (dice.between(0.6, 1.4), dice.between(0.12, 0.24), dice.between(-0.75, -0.45));
    let (sin, cos) = tilt.sin_cos();
    RgbImage::from_fn(SIZE, SIZE, |x, y| {
        // Four points of a pixel, so that edges are smooth.
        let points = [(0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)].map(|(dx, dy)| {
            let (x, y) = ((x as f32 + dx - middle[0]) / radius, (y as f32 + dy - middle[1]) / radius);
            let (u, v) = (cos * x + sin * y, cos * y - sin * x);
            let within = |u0: f32, v0: f32, a: f32, b: f32| ((u - u0) / a).powi(2) + ((v - v0) / b).powi(2) < 1.0;
            // A line that bends up at its ends, or down.
            let curve = |bend: f32| u.abs() < 0.45 && (v - 0.42 - bend * (0.1 - u * u)).abs() < 0.07;
            let mouth = match mood {
                0 => within(0.0, 0.45, 0.9 * open, open + 0.05),
                1 => curve(bend),
                _ => curve(-bend),
            };
            let eye = within(-0.36, -0.2, 0.1, 0.13) || within(0.36, -0.2, 0.1, 0.13);
            let shade = 1.0 + light * u;
            match (within(0.0, 0.0, 0.85, 1.0), v < fringe) {
                (false, _) => ground,
                (true, true) => hair,
                (true, false) if eye => [25.0; 3],
                (true, false) if mouth => [140.0 * tone, 35.0, 45.0],
                (true, false) => skin.map(|part| part * shade),
            }
        });
        let sum = |part: usize| points.iter().map(|point| point[part]).sum::<f32>();
        Rgb([0, 1, 2].map(|part| (sum(part) / 4.0).clamp(0.0, 255.0) as u8))
    })
}

/// Numbers that are the same every time.
struct Dice(u64);

impl Dice {
    fn between(&mut self, low: f32, high: f32) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        low + (high - low) * (self.0 >> 40) as f32 / (1 << 24) as f32
    }
}

fn failed(path: &Path, source: std::io::Error) -> Error {
    Error::Io { path: path.to_owned(), source }
}
