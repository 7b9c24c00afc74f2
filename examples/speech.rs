//! Speaker recognition: recurrent networks on sequences of several lengths.
//!
//! `cargo run --release --example speech -- --data FOLDER` learns the Japanese Vowels of the UCI archive from
//! `JapaneseVowels_TRAIN.ts` and `JapaneseVowels_TEST.ts` there: 12 coefficients a step, 7 to 29 steps, nine speakers.
//! Without `--data` it makes up speakers: hums whose pitches glide. `--seeds N` trains N times each.

#[path = "support/arguments.rs"]
mod arguments;

use std::{error, fs, path::Path, sync::Arc};

use arguments::Arguments;
use arrow::array::{ArrayRef, BooleanArray, Float32Builder, ListBuilder, RecordBatch, StringArray};
use tinderbox::prelude::*;

type Failure = Box<dyn error::Error>;

/// One utterance: steps of as many values each, who speaks, and whether it is held out.
struct Utterance {
    steps: Vec<Vec<f32>>,
    speaker: String,
    held_out: bool,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments = Arguments::read(include_str!("speech.rs"));
    let utterances = match arguments.value("--data") {
        Some(folder) => {
            let mut all = read(&Path::new(&folder).join("JapaneseVowels_TRAIN.ts"), false)?;
            all.extend(read(&Path::new(&folder).join("JapaneseVowels_TEST.ts"), true)?);
            all
        }
        None => made_up(),
    };
    let seeds = arguments.number("--seeds", 1u64);
    let lengths = || utterances.iter().map(|utterance| utterance.steps.len());
    let spark = Session::builder().get_or_create().await?;
    println!(
        "{} utterances of {} to {} steps, on Spark {}\n",
        utterances.len(),
        lengths().min().unwrap_or(0),
        lengths().max().unwrap_or(0),
        spark.version()
    );
    let frame = spark.create_dataframe(&[rows(&utterances)]).await?;
    // Found by five folds of the training utterances, never on those held out.
    let gru = Network::gru(128).dropout(0.3);
    for (name, network, smoothing) in [("LSTM", Network::lstm(64), 0.0), ("GRU", gru, 0.1)] {
        let mut reached = Vec::new();
        for seed in 1..=seeds {
            let classifier = NeuralClassifier::new(network.clone())
                .sequence_col("steps")
                .validation_indicator_col("held_out")
                .learning_rate(5e-3)
                .label_smoothing(smoothing)
                .batch_size(32)
                .epochs(60)
                .tol(0.0)
                .seed(seed);
            let pipeline = Pipeline::new().stage(StringIndexer::new("speaker", "label")).stage(classifier.progress());
            let model = pipeline.fit(&frame).await?;
            let history = model.network()?.model().history();
            let accuracy = 100.0 * history.held_out_accuracy().unwrap_or(f64::NAN);
            let seconds: f64 = history.epochs.iter().map(|epoch| epoch.seconds).sum();
            println!("{name}, seed {seed}: {accuracy:.2} % of {} held out, {seconds:.1} s", history.rows.held_out);
            reached.push(accuracy);
            if seed == seeds {
                if seeds > 1 {
                    println!("{name}, mean of {seeds}: {:.2} %", reached.iter().sum::<f64>() / reached.len() as f64);
                }
                let wrong = model.transform(&frame).await?.filter_expr("held_out AND speaker != predictedLabel");
                let pairs = wrong.group_by(["speaker", "predictedLabel"]).count().order_by([col("count").desc()]);
                match pairs.count().await? {
                    0 => println!("every held-out utterance is classified correctly\n"),
                    _ => pairs.show(5).await?,
                }
            }
        }
    }
    Ok(spark.stop().await?)
}

fn rows(utterances: &[Utterance]) -> RecordBatch {
    let mut steps = ListBuilder::new(ListBuilder::new(Float32Builder::new()));
    for utterance in utterances {
        for step in &utterance.steps {
            steps.values().values().append_slice(step);
            steps.values().append(true);
        }
        steps.append(true);
    }
    let columns: [(&str, ArrayRef); 3] = [
        ("steps", Arc::new(steps.finish())),
        ("speaker", Arc::new(StringArray::from_iter_values(utterances.iter().map(|u| &u.speaker)))),
        ("held_out", Arc::new(utterances.iter().map(|u| Some(u.held_out)).collect::<BooleanArray>())),
    ];
    RecordBatch::try_from_iter(columns).expect("the columns are equally long")
}

/// Reads a `.ts` file: a line per utterance, its coefficients apart by colons, their steps by commas, the speaker last.
fn read(path: &Path, held_out: bool) -> Result<Vec<Utterance>, Failure> {
    let text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with(['#', '@']));
    let one = |line: &str| {
        let (series, speaker) = line.rsplit_once(':').ok_or("a line without a speaker")?;
        let series: Vec<Vec<f32>> =
            series.split(':').map(|values| values.split(',').map(str::parse).collect()).collect::<Result<_, _>>()?;
        let length = series.iter().map(Vec::len).min().unwrap_or(0);
        let steps = (0..length).map(|step| series.iter().map(|values| values[step]).collect()).collect();
        Ok(Utterance { steps, speaker: speaker.trim().to_owned(), held_out })
    };
    lines.map(one).collect()
}

/// Four speakers who hum: two waves a step whose pitches glide, each speaker in a way of its own.
fn made_up() -> Vec<Utterance> {
    let one = |i: usize| {
        let speaker = i % 4;
        let (pitch, glide) = (0.3 + 0.4 * (speaker / 2) as f32, if speaker.is_multiple_of(2) { 0.03 } else { -0.03 });
        // The length tells nothing of the speaker.
        let (start, length) = ((i as f32 * 1.7).sin(), 8 + (i.wrapping_mul(2_654_435_761) >> 7) % 20);
        let wave = |step: usize| start + pitch * step as f32 + glide * (step * step) as f32;
        let steps = (0..length).map(|step| vec![wave(step).sin(), wave(step).cos()]).collect();
        Utterance {
            steps,
            speaker: ["Ada", "Ben", "Cleo", "Dan"][speaker].to_owned(),
            held_out: (i / 4).is_multiple_of(5),
        }
    };
    (0..400).map(one).collect()
}
