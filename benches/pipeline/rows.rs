//! Scores a few flowers in this process, by the pipeline of `examples/iris.rs`: microseconds a row of single rows and of batches
//! of 1,000, beside the same steps in Python with PyTorch.

use std::{
    hint::black_box,
    process::{Command, Stdio},
    sync::Arc,
    time::Instant,
};

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use tinderbox::{connect::LocalSpark, ml::RowScorer, prelude::*};

use super::Outcome;

const MEASURES: [&str; 4] = ["sepal_length", "sepal_width", "petal_length", "petal_width"];

/// The rows of a call, and how many calls are timed at once.
const SIZES: [(usize, usize); 2] = [(1, 20_000), (1000, 200)];

pub async fn run(rounds: usize) -> Outcome<()> {
    let packages = ["bench-score", "pyspark[connect]==4.2.1", "torch==2.15.0", "numpy==2.4.6"];
    let finder = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/stream/python.sh");
    let python = Command::new(finder).args(packages).stderr(Stdio::inherit()).output()?;
    let python = String::from_utf8(python.stdout)?.trim().to_owned();
    let server = LocalSpark::builder().start().await?;
    let spark = Session::builder().remote(server.remote()).create().await?;
    let flowers = flowers(150)?;
    let model = Pipeline::new()
        .stage(StringIndexer::new("species", "label"))
        .stage(VectorAssembler::new(MEASURES, "raw"))
        .stage(StandardScaler::new("raw", "features").with_mean(true))
        .stage(NeuralClassifier::new(Network::mlp([16, 16])).epochs(20).seed(7))
        .fit(&spark.create_dataframe(std::slice::from_ref(&flowers)).await?)
        .await?;
    spark.stop().await?;
    server.stop().await;

    println!("microseconds a row; medians of {rounds} alternating rounds");
    for (rows, calls) in SIZES {
        let batch = self::flowers(rows)?.project(&[0, 1, 2, 3])?;
        let made = Instant::now();
        let mut scorer = model.row_scorer(batch.schema_ref())?;
        let made = made.elapsed();
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            ours.push(time(&mut scorer, &batch, calls)?);
            let told = Command::new(&python)
                .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/pipeline/rows_peer.py"))
                .args([rows.to_string(), calls.to_string()])
                .stderr(Stdio::inherit())
                .output()?;
            theirs.push(String::from_utf8(told.stdout)?.trim().parse::<f64>()?);
        }
        let median = |mut of: Vec<f64>| {
            of.sort_by(f64::total_cmp);
            of[of.len() / 2]
        };
        let (ours, theirs) = (median(ours), median(theirs));
        println!(
            "batches of {rows:4}: {ours:8.3} here (made ready in {} us), {theirs:8.3} PyTorch: {:.1} x as fast",
            made.as_micros(),
            theirs / ours
        );
    }
    Ok(())
}

fn time(scorer: &mut RowScorer, batch: &RecordBatch, calls: usize) -> Outcome<f64> {
    for _ in 0..calls / 10 {
        scorer.score_rows(batch)?;
    }
    let start = Instant::now();
    for _ in 0..calls {
        black_box(scorer.score_rows(black_box(batch))?);
    }
    Ok(start.elapsed().as_secs_f64() * 1e6 / (calls * batch.num_rows()) as f64)
}

/// So many flowers, those of the example over and over.
fn flowers(rows: usize) -> Outcome<RecordBatch> {
    let known: Vec<Vec<&str>> =
        include_str!("../../examples/data/iris.csv").lines().skip(1).map(|line| line.split(',').collect()).collect();
    let mut columns = Vec::new();
    for (i, name) in MEASURES.iter().enumerate() {
        let values = known.iter().cycle().take(rows).map(|row| row[i].parse::<f64>());
        columns.push((*name, Arc::new(values.collect::<std::result::Result<Float64Array, _>>()?) as ArrayRef));
    }
    let species = StringArray::from_iter_values(known.iter().cycle().take(rows).map(|row| row[4]));
    columns.push(("species", Arc::new(species)));
    Ok(RecordBatch::try_from_iter(columns)?)
}
