//! Trains on many plain columns, here and by PySpark's VectorAssembler and MultilayerPerceptronClassifier over Connect, on the
//! same table of the same server.

use std::{
    env,
    process::{Command, Stdio},
    time::Instant,
};

use tinderbox::{connect::LocalSpark, prelude::*};

use super::Outcome;

const TABLE: &str = "tinderbox_bench_wide";
const ROWS: usize = 20_000;

/// Runs both alternately for each number of columns (`COLUMNS`, 100 to 2,000).
pub async fn run(python: &str, rounds: usize) -> Outcome<()> {
    let columns = env::var("COLUMNS").unwrap_or_else(|_| "100 400 2000".into());
    let local = LocalSpark::builder().driver_memory("4g").start().await?;
    let spark = Session::builder().remote(local.remote()).create().await?;
    println!("training on {ROWS} rows for 2 epochs, medians of {rounds} alternating rounds");
    println!("{:>8} {:>20} {:>20} {:>7}", "columns", "tinderbox, seconds", "PySpark, seconds", "ratio");
    for columns in columns.split_whitespace() {
        let columns: usize = columns.parse()?;
        make_table(&spark, columns).await?;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            ours.push(fit(&spark, columns).await?);
            theirs.push(peer(python, &local.remote(), columns)?);
        }
        let (ours, theirs) = (median(&mut ours), median(&mut theirs));
        println!("{columns:>8} {ours:>20.1} {theirs:>20.1} {:>7.2}", ours / theirs);
    }
    Ok(())
}

async fn make_table(spark: &Session, columns: usize) -> Outcome<()> {
    spark.sql(&format!("DROP TABLE IF EXISTS {TABLE}")).await?;
    let numbers = (0..columns).map(|i| format!("pmod(hash(id, {i}), 10007) / 10007D AS x{i}"));
    let numbers = numbers.collect::<Vec<_>>().join(", ");
    let rows = format!("SELECT CAST(id % 2 AS DOUBLE) AS label, {numbers} FROM range(0, {ROWS}, 1, 4)");
    spark.sql(&format!("CREATE TABLE {TABLE} USING parquet AS {rows}")).await?;
    Ok(())
}

async fn fit(spark: &Session, columns: usize) -> Outcome<f64> {
    let started = Instant::now();
    let names = (0..columns).map(|i| format!("x{i}"));
    let classifier = NeuralClassifier::new(Network::mlp([16])).features_cols(names).epochs(2).seed(1);
    let model = classifier.fit_frame(&spark.table(TABLE)).await?;
    let rows = &model.model().history().rows;
    assert_eq!(rows.trained + rows.held_out, ROWS as u64);
    Ok(started.elapsed().as_secs_f64())
}

fn peer(python: &str, remote: &str, columns: usize) -> Outcome<f64> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/pipeline/wide_peer.py");
    let mut command = Command::new(python);
    command.args([script, TABLE, &columns.to_string()]).env("SPARK_REMOTE", remote).stderr(Stdio::inherit());
    let output = command.output()?;
    let text = String::from_utf8(output.stdout)?;
    Ok(text.lines().last().ok_or_else(|| format!("no reading ({})", output.status))?.parse()?)
}

pub fn median(seconds: &mut [f64]) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}
