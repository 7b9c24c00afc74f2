//! The client itself: small rows, many short queries, queries at once, local rows sent up.

use std::{env, sync::Arc, time::Instant};

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use tinderbox::prelude::*;

use super::support::{Outcome, Reading, alternate, median, number, own, python, server, session};

/// Name, and the unit of the reading's seconds and its proof.
const TASKS: [(&str, &str); 4] = [
    ("rows", "1,000,000 rows of a number, a float and a text"),
    ("latency", "queries of one row, one after the other; ms: median, and 99th percentile"),
    ("concurrent", "100 queries at once in one session"),
    ("upload", "a frame of local rows: two columns of 8 bytes; counted on the server"),
];

const SMALL: [&str; 3] = ["id", "id / 7D AS half", "concat('row ', id) AS name"];

pub(crate) fn compare() -> Outcome<()> {
    let rounds = number("ROUNDS", 5)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let (_spark, remote) = runtime.block_on(server("4g"))?;
    for (task, what) in TASKS {
        let mut ways = vec![
            ("tinderbox".to_owned(), own(["client", task, "tinderbox"])?),
            ("Apache crate".to_owned(), own(["client", task, "apache"])?),
            ("PySpark, Arrow".to_owned(), python("client.py", [task, "arrow"])?),
        ];
        if task == "rows" {
            ways.insert(1, ("tinderbox, collect_as".to_owned(), own(["client", "values", "tinderbox"])?));
            ways.push(("PySpark, collect".to_owned(), python("client.py", [task, "rows"])?));
        }
        let readings = alternate(&ways, &remote, rounds);
        println!("\n{task}: {what}; medians of {rounds} alternating rounds");
        let scale = if task == "latency" { 1e3 } else { 1.0 };
        println!(
            "{:<24} {:>9} {:>9} {:>9} {:>9}",
            "",
            if scale > 1.0 { "ms" } else { "seconds" },
            "÷ first",
            "peak MiB",
            "proof"
        );
        let base = median(readings[0].iter().map(|r| r.seconds));
        for ((name, _), readings) in ways.iter().zip(&readings) {
            if readings.is_empty() {
                println!("{name:<24} could not be run");
                continue;
            }
            let seconds = median(readings.iter().map(|r| r.seconds));
            let (peak, sum) = (median(readings.iter().map(|r| r.peak_mib)), median(readings.iter().map(|r| r.sum)));
            println!("{name:<24} {:>9.3} {:>9.2} {peak:>9.0} {sum:>9.1}", seconds * scale, seconds / base);
        }
    }
    Ok(())
}

#[derive(serde::Deserialize)]
struct Small {
    id: i64,
    #[expect(dead_code, reason = "read like the others")]
    half: f64,
    #[expect(dead_code, reason = "read like the others")]
    name: String,
}

pub(crate) fn run(task: &str, way: &str) -> Outcome<Reading> {
    let remote = env::var("SPARK_REMOTE")?;
    match way {
        "tinderbox" => tokio::runtime::Runtime::new()?.block_on(tinderbox(&remote, task)),
        _ => apache(&remote, task),
    }
}

fn reading(seconds: f64, rows: u64, sum: f64) -> Reading {
    Reading { seconds, rows, sum, peak_mib: 0.0 }
}

/// Median and 99th percentile, which is the proof, in milliseconds.
fn latencies(mut seconds: Vec<f64>) -> Reading {
    seconds.sort_by(f64::total_cmp);
    let at = |part: f64| seconds[((seconds.len() - 1) as f64 * part) as usize];
    reading(at(0.5), seconds.len() as u64, at(0.99) * 1e3)
}

/// About 64 MB (16 MB for each of `BATCHES`), in batches of a million rows.
fn local_rows() -> Vec<RecordBatch> {
    let batch = |number: i64| {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values((0..1_000_000).map(|i| number * 1_000_000 + i)));
        let halves: ArrayRef = Arc::new(Float64Array::from_iter_values((0..1_000_000).map(|i| i as f64 / 7.0)));
        RecordBatch::try_from_iter([("id", ids), ("half", halves)]).expect("columns of one length")
    };
    (0..number("BATCHES", 4).unwrap_or(4) as i64).map(batch).collect()
}

fn firsts(batches: &[RecordBatch]) -> f64 {
    use arrow::{array::AsArray, datatypes::Int64Type};
    let sum = |batch: &RecordBatch| batch.column(0).as_primitive::<Int64Type>().values().iter().sum::<i64>();
    batches.iter().map(sum).sum::<i64>() as f64 / 1e6
}

async fn tinderbox(remote: &str, task: &str) -> Outcome<Reading> {
    let spark = session(remote).await?;
    let small = spark.range(0, 1_000_000).select_expr(SMALL);
    spark.range(0, 1).collect().await?;
    let started = Instant::now();
    let reading = match task {
        "rows" => {
            let batches = small.collect().await?;
            reading(
                started.elapsed().as_secs_f64(),
                batches.iter().map(|b| b.num_rows() as u64).sum(),
                firsts(&batches),
            )
        }
        "values" => {
            let rows: Vec<Small> = small.collect_as().await?;
            let sum = rows.iter().map(|row| row.id).sum::<i64>() as f64 / 1e6;
            reading(started.elapsed().as_secs_f64(), rows.len() as u64, sum)
        }
        "latency" => {
            let mut seconds = Vec::new();
            for i in 0..number("QUERIES", 1000)? as i64 {
                let started = Instant::now();
                spark.range(i, i + 1).collect().await?;
                seconds.push(started.elapsed().as_secs_f64());
            }
            latencies(seconds)
        }
        "concurrent" => {
            let frames: Vec<DataFrame> = (0..100).map(|i| spark.range(i, i + 1000)).collect();
            let batches = futures::future::try_join_all(frames.iter().map(DataFrame::collect)).await?;
            let sum = batches.iter().map(|batches| firsts(batches)).sum();
            reading(started.elapsed().as_secs_f64(), 100, sum)
        }
        _ => {
            let rows = local_rows();
            let started = Instant::now();
            let count = spark.create_dataframe(&rows).await?.count().await?;
            reading(started.elapsed().as_secs_f64(), count, count as f64 / 1e6)
        }
    };
    spark.stop().await?;
    Ok(reading)
}

fn apache(remote: &str, task: &str) -> Outcome<Reading> {
    let spark = spark_connect::SparkSession::builder().remote(remote).get_or_create()?;
    spark.range(1)?.collect_record_batches()?;
    let started = Instant::now();
    Ok(match task {
        "rows" => {
            let columns = SMALL.map(spark_connect::functions::expr);
            let batches = spark.range(1_000_000)?.select(columns).collect_record_batches()?;
            reading(
                started.elapsed().as_secs_f64(),
                batches.iter().map(|b| b.num_rows() as u64).sum(),
                firsts(&batches),
            )
        }
        "latency" => {
            let mut seconds = Vec::new();
            for i in 0..number("QUERIES", 1000)? as i64 {
                let started = Instant::now();
                spark.range_full(i, i + 1, 1, None)?.collect_record_batches()?;
                seconds.push(started.elapsed().as_secs_f64());
            }
            latencies(seconds)
        }
        "concurrent" => {
            let sum = std::thread::scope(|scope| {
                let query = |i: i64| {
                    let spark = &spark;
                    scope.spawn(move || {
                        let frame = spark.range_full(i, i + 1000, 1, None).map_err(|e| e.to_string())?;
                        frame.collect_record_batches().map(|batches| firsts(&batches)).map_err(|e| e.to_string())
                    })
                };
                let queries: Vec<_> = (0..100).map(query).collect();
                queries
                    .into_iter()
                    .map(|query| query.join().expect("no panic"))
                    .sum::<std::result::Result<f64, String>>()
            })?;
            reading(started.elapsed().as_secs_f64(), 100, sum)
        }
        _ => return Err("it takes local rows cell by cell".into()),
    })
}
