//! Fits StringIndexer, Imputer, VectorAssembler and StandardScaler to a table of 1,000,000 rows × 50 columns, here and by
//! `pyspark.ml.Pipeline` over Connect, on the same server: Spark jobs and time.
//!
//! `make bench-pipeline` starts a local Spark with 4 GiB, writes the table, and runs both alternately. Jobs are counted in
//! the server's event log. What both have learnt is compared.
//!
//! `cargo bench --bench pipeline -- score` scores a table of 5,000,000 rows into another, beside PySpark with PyTorch and with
//! NumPy.
//!
//! `cargo bench --bench pipeline -- rows` scores single rows and batches of 1,000 in process, beside PyTorch.
//!
//! `cargo bench --bench pipeline -- wide` trains on 100, 400 and 2,000 plain columns beside PySpark's classifier.
//!
//! `cargo bench --bench pipeline -- bounds [WAY…]` trains on 1 GB and scores 5,000,000 rows through a server of 1 GiB, and
//! prints its heap; a way is `train-table`, `train-computed`, `predict-cluster`, `predict-here` or `pyspark`.
//!
//! `cargo bench --bench pipeline -- command` runs `tinderbox train` beside a program of the same steps.
//!
//! Environment: `ROUNDS` (3), `ROWS` (1000000), `PYTHON` (a Python with PySpark's Connect client and NumPy, installed into
//! the cache when unset).

mod bounds;
mod command;
mod rows;
mod score;
mod wide;

use std::{
    env,
    error::Error,
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use serde::{Deserialize, Serialize};
use tinderbox::{
    connect::LocalSpark,
    ml::feature::{Imputer, StandardScalerModel, StringIndexerModel},
    prelude::*,
};

type Outcome<T> = Result<T, Box<dyn Error>>;

const NUMBERS: usize = 49;
const TABLE: &str = "tinderbox_bench_pipeline";

/// One fit: how long it took and what was learnt.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Reading {
    seconds: f64,
    labels: Vec<String>,
    /// The sum of the standard deviations.
    spread: f64,
    #[serde(default)]
    jobs: usize,
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let number = |name: &str, default: usize| env::var(name).map_or(Ok(default), |n| n.parse());
    let (rounds, rows) = (number("ROUNDS", 3)?, number("ROWS", 1_000_000)?);
    if env::args().any(|argument| argument == "score") {
        return score::run(rounds).await;
    }
    let arguments: Vec<String> = env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "bounds") {
        let ways: Vec<String> = arguments[at + 1..].iter().filter(|way| !way.starts_with('-')).cloned().collect();
        return bounds::run(rounds, &ways).await;
    }
    if env::args().any(|argument| argument == "rows") {
        return rows::run(rounds).await;
    }
    if env::args().any(|argument| argument == "command-program") {
        return command::program().await;
    }
    if env::args().any(|argument| argument == "command") {
        return command::run(rounds).await;
    }
    let finder = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/stream/python.sh");
    let python = Command::new(finder).stderr(Stdio::inherit()).output()?;
    let python = String::from_utf8(python.stdout)?.trim().to_owned();
    if env::args().any(|argument| argument == "wide") {
        return wide::run(&python, rounds).await;
    }
    let events = tempfile::tempdir()?;
    let local = LocalSpark::builder()
        .driver_memory("4g")
        .conf("spark.eventLog.enabled", "true")
        .conf("spark.eventLog.compress", "false")
        .conf("spark.eventLog.dir", events.path().display().to_string())
        .start()
        .await?;
    let spark = Session::builder().remote(local.remote()).create().await?;
    make_table(&spark, rows).await?;

    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let before = jobs(events.path())?;
        let reading = fit(&spark).await?;
        let between = jobs(events.path())?;
        ours.push(Reading { jobs: between - before, ..reading });
        let reading = peer(&python, &local.remote())?;
        theirs.push(Reading { jobs: jobs(events.path())? - between, ..reading });
    }
    let (first, other) = (&ours[0], &theirs[0]);
    if first.labels != other.labels || (first.spread - other.spread).abs() > 1e-9 * other.spread {
        return Err(format!("not the same was learnt: {first:?} and {other:?}").into());
    }
    println!("fitting to {rows} rows x {} columns, medians of {rounds} alternating rounds", NUMBERS + 1);
    println!("{:<32} {:>9} {:>11} {:>7}", "", "seconds", "Spark jobs", "ratio");
    let base = median(&theirs);
    for (name, readings) in [("tinderbox", &ours), ("pyspark.ml.Pipeline", &theirs)] {
        let seconds = median(readings);
        println!("{name:<32} {seconds:>9.2} {:>11} {:>7.2}", readings[0].jobs, seconds / base);
    }
    Ok(())
}

/// A column of words and 49 of numbers, one in twenty missing.
async fn make_table(spark: &Session, rows: usize) -> Outcome<()> {
    spark.sql(&format!("DROP TABLE IF EXISTS {TABLE}")).await?;
    let numbers = (0..NUMBERS)
        .map(|i| format!("IF(pmod(hash(id, {i}), 20) = 0, NULL, pmod(hash(id, {i}, 1), 10007) / 97D) AS x{i}"))
        .collect::<Vec<_>>();
    let word = "concat('class ', CAST(sqrt(pmod(hash(id), 400)) AS INT)) AS word";
    let text = format!(
        "CREATE TABLE {TABLE} USING parquet AS SELECT {word}, {} FROM range(0, {rows}, 1, 8)",
        numbers.join(", ")
    );
    spark.sql(&text).await?;
    Ok(())
}

async fn fit(spark: &Session) -> Outcome<Reading> {
    let names = |prefix: &str| (0..NUMBERS).map(|i| format!("{prefix}{i}")).collect::<Vec<_>>();
    let frame = spark.table(TABLE);
    let started = Instant::now();
    let pipeline = Pipeline::new()
        .stage(StringIndexer::new("word", "label"))
        .stage(Imputer::new(names("x"), names("y")))
        .stage(VectorAssembler::new(names("y"), "raw"))
        .stage(StandardScaler::new("raw", "features").with_mean(true));
    let model = pipeline.fit(&frame).await?;
    let seconds = started.elapsed().as_secs_f64();
    let stage = |place: usize| model.stages()[place].as_any();
    let indexer = stage(0).downcast_ref::<StringIndexerModel>().ok_or("a fitted indexer")?;
    let scaler = stage(3).downcast_ref::<StandardScalerModel>().ok_or("a fitted scaler")?;
    Ok(Reading { seconds, labels: indexer.labels()[0].clone(), spread: scaler.std().iter().sum(), jobs: 0 })
}

fn peer(python: &str, remote: &str) -> Outcome<Reading> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/pipeline/peer.py");
    let mut command = Command::new(python);
    command.args([script, TABLE, &NUMBERS.to_string()]).env("SPARK_REMOTE", remote).stderr(Stdio::inherit());
    let output = command.output()?;
    let text = String::from_utf8(output.stdout)?;
    let last = text.lines().last().ok_or_else(|| format!("no reading ({})", output.status))?;
    Ok(serde_json::from_str(last)?)
}

/// How many jobs the server has started.
fn jobs(folder: &Path) -> Outcome<usize> {
    let mut found = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found += jobs(&path)?;
        } else {
            found += fs::read_to_string(&path)?.matches("\"Event\":\"SparkListenerJobStart\"").count();
        }
    }
    Ok(found)
}

fn median(readings: &[Reading]) -> f64 {
    let mut seconds: Vec<f64> = readings.iter().map(|reading| reading.seconds).collect();
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}
