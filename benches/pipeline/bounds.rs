//! Tables of 1 GB and more through a server of 1 GiB: training on them and scoring them into another table, with the
//! server's heap and this process's memory while it happens.

use std::{
    env, fs,
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tinderbox::{ScoreOptions, Scoring, connect::LocalSpark, prelude::*};

use super::Outcome;

const WIDTH: usize = 50;
const SOURCE: &str = "tinderbox_bench_bounds";
const NUMBERS: usize = 20;
const ROWS_TO_SCORE: &str = "tinderbox_bench_rows";
const SCORED: &str = "tinderbox_bench_scored";

/// Runs the ways whose names begin as an argument says, or all, `ROUNDS` times each. `ROWS` is 5,000,000 unless set: 1 GB.
pub async fn run(rounds: usize, ways: &[String]) -> Outcome<()> {
    let rows: u64 = env::var("ROWS").map_or(Ok(5_000_000), |rows| rows.parse())?;
    let finder = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/stream/python.sh");
    let packages = ["bench-peers-numpy", "pyspark[connect]==4.2.1", "numpy==2.4.6"];
    let python = Command::new(finder).args(packages).stderr(Stdio::inherit()).output()?;
    let python = String::from_utf8(python.stdout)?.trim().to_owned();
    println!("{rows} rows, a driver of 1 GiB; heap: least and most in each quarter of the run");
    println!("{:<16} {:>8} {:>12}  heap, MiB", "", "seconds", "here, MiB");
    for way in ["train-table", "train-computed", "predict-cluster", "predict-here", "pyspark"] {
        if !ways.is_empty() && !ways.iter().any(|wanted| way.starts_with(wanted.as_str())) {
            continue;
        }
        // A server for each way: what one leaves on the heap is not another's.
        let server = LocalSpark::builder().driver_memory("1g").python(&python).start().await?;
        let spark = Session::builder().remote(server.remote()).create().await?;
        for _ in 0..rounds {
            let (watch, seconds) = match way {
                "train-table" => train(&spark, &server, rows, true).await?,
                "train-computed" => train(&spark, &server, rows, false).await?,
                "predict-cluster" => score(&spark, &server, rows, Scoring::OnCluster).await?,
                "predict-here" => score(&spark, &server, rows, Scoring::Local).await?,
                _ => peer(&spark, &server, &python, rows).await?,
            };
            let (quarters, here) = watch.stop();
            println!("{way:<16} {seconds:>8.1} {here:>12}  {quarters}");
        }
        spark.stop().await?;
    }
    Ok(())
}

/// Samples of the server's heap and of this process's anonymous memory, in MiB.
struct Watch {
    stop: Arc<AtomicBool>,
    samples: Arc<Mutex<Vec<(u64, u64)>>>,
    thread: JoinHandle<()>,
}

impl Watch {
    fn start(server: &LocalSpark) -> Self {
        let (stop, samples) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (asked, kept, process) = (stop.clone(), samples.clone(), server.process_id());
        let thread = thread::spawn(move || {
            while !asked.load(Ordering::Relaxed) {
                if let Some(heap) = heap(process) {
                    kept.lock().unwrap().push((heap, anonymous()));
                }
                thread::sleep(Duration::from_secs(1));
            }
        });
        Self { stop, samples, thread }
    }

    /// The heap by quarters of the run, and this process's peak.
    fn stop(self) -> (String, u64) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        let samples = self.samples.lock().unwrap();
        let here = samples.iter().map(|(_, here)| *here).max().unwrap_or_default();
        let quarters = samples.chunks(samples.len().div_ceil(4).max(1)).map(|quarter| {
            let heap = || quarter.iter().map(|(heap, _)| *heap);
            format!("{}–{}", heap().min().unwrap_or_default(), heap().max().unwrap_or_default())
        });
        (quarters.collect::<Vec<_>>().join("  "), here)
    }
}

/// What of the heap is in use, garbage that was not collected yet included.
fn heap(process: u32) -> Option<u64> {
    let output =
        Command::new("jcmd").args([&process.to_string(), "GC.heap_info"]).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let used = text.split("used ").nth(1)?.split('K').next()?;
    used.parse::<u64>().ok().map(|kib| kib / 1024)
}

fn anonymous() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("RssAnon"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or_default() / 1024
}

/// Rows of 50 floats: 200 bytes.
async fn train(spark: &Session, server: &LocalSpark, rows: u64, table: bool) -> Outcome<(Watch, f64)> {
    let text = format!(
        "SELECT CAST(id % 3 AS DOUBLE) AS label, transform(sequence(1, {WIDTH}), i -> \
         CAST(pmod(hash(id, i), 10007) / 10007D AS FLOAT)) AS features FROM range(0, {rows}, 1, 16)"
    );
    let frame = match table {
        true => {
            spark.sql(&format!("CREATE TABLE IF NOT EXISTS {SOURCE} USING parquet AS {text}")).await?;
            spark.table(SOURCE)
        }
        false => spark.sql(&text).await?,
    };
    let classifier = NeuralClassifier::new(Network::mlp([16])).epochs(1).batch_size(4096).seed(1);
    let (watch, began) = (Watch::start(server), Instant::now());
    Pipeline::new().stage(classifier).fit(&frame).await?;
    Ok((watch, began.elapsed().as_secs_f64()))
}

/// A table of rows of 150 bytes: an id, 20 floats and some text.
async fn rows_to_score(spark: &Session, rows: u64) -> Outcome<DataFrame> {
    let numbers = (0..NUMBERS).map(|i| format!("CAST(pmod(hash(id, {i}), 10007) / 10007D AS FLOAT) AS x{i}"));
    let numbers = numbers.collect::<Vec<_>>().join(", ");
    let text = format!(
        "CREATE TABLE IF NOT EXISTS {ROWS_TO_SCORE} USING parquet AS SELECT id, CAST(id % 3 AS DOUBLE) AS label, \
         rpad(hex(id), 54, 'abcdefgh') AS word, {numbers} FROM range(0, {rows}, 1, 8)"
    );
    spark.sql(&text).await?;
    Ok(spark.table(ROWS_TO_SCORE))
}

/// The rows of the scored table, and the sum of their ids, are those of the table.
async fn check(spark: &Session, rows: u64) -> Outcome<()> {
    // PySpark writes it in a session of its own.
    spark.sql(&format!("REFRESH TABLE {SCORED}")).await?;
    let counts = format!(
        "SELECT * FROM (SELECT count(*) AS n, count(DISTINCT id) AS ids, sum(id) AS sum FROM {SCORED}) \
                          WHERE n = {rows} AND ids = {rows} AND sum = {}",
        rows * (rows - 1) / 2
    );
    match spark.sql(&counts).await?.count().await? {
        1 => Ok(()),
        _ => Err(format!("{SCORED} does not hold each of the {rows} rows once").into()),
    }
}

async fn score(spark: &Session, server: &LocalSpark, rows: u64, scoring: Scoring) -> Outcome<(Watch, f64)> {
    let table = rows_to_score(spark, rows).await?;
    let names = (0..NUMBERS).map(|i| format!("x{i}"));
    let classifier = NeuralClassifier::new(Network::mlp([64, 32])).features_cols(names).epochs(1).seed(1);
    let classifier = classifier.raw_prediction_col("").predicted_label_col("");
    let model = Pipeline::new().stage(classifier).fit(&table.limit(10_000)).await?;
    let (watch, began) = (Watch::start(server), Instant::now());
    let options = ScoreOptions::new().mode(SaveMode::Overwrite).scoring(scoring);
    model.predict_into_with(&table, SCORED, options).await?;
    let seconds = began.elapsed().as_secs_f64();
    check(spark, rows).await?;
    Ok((watch, seconds))
}

async fn peer(spark: &Session, server: &LocalSpark, python: &str, rows: u64) -> Outcome<(Watch, f64)> {
    rows_to_score(spark, rows).await?;
    let watch = Watch::start(server);
    let seconds = super::score::peer(python, &server.remote(), "numpy", ROWS_TO_SCORE, SCORED, NUMBERS)?;
    check(spark, rows).await?;
    Ok((watch, seconds))
}
