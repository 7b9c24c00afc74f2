//! Scores a table into another: on the cluster and locally, beside PySpark's `predict_batch_udf` with PyTorch and a
//! `mapInArrow` with NumPy, on the same server and workers.

use std::{
    env,
    process::{Command, Stdio},
    time::Instant,
};

use tinderbox::{ScoreOptions, Scoring, connect::LocalSpark, prelude::*};

use super::Outcome;

const TABLE: &str = "tinderbox_bench_rows";
const SCORED_BY_PEER: &str = "tinderbox_bench_scored_by_peer";
const WIDTH: usize = 20;

/// Runs all ways in turn; `ROWS` is 5,000,000 unless set.
pub async fn run(rounds: usize) -> Outcome<()> {
    let rows: u64 = env::var("ROWS").map_or(Ok(5_000_000), |rows| rows.parse())?;
    let finder = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/stream/python.sh");
    let packages = ["bench-score", "pyspark[connect]==4.2.1", "torch==2.15.0", "numpy==2.4.6"];
    let python = Command::new(finder).args(packages).stderr(Stdio::inherit()).output()?;
    let python = String::from_utf8(python.stdout)?.trim().to_owned();
    let server = LocalSpark::builder().driver_memory("2g").python(&python).start().await?;
    let spark = Session::builder().remote(server.remote()).create().await?;
    let numbers = (0..WIDTH).map(|i| format!("CAST(pmod(hash(id, {i}), 10007) / 10007D AS FLOAT) AS x{i}"));
    let numbers = numbers.collect::<Vec<_>>().join(", ");
    let text = format!("SELECT id, CAST(id % 3 AS DOUBLE) AS label, {numbers} FROM range(0, {rows}, 1, 8)");
    spark.sql(&format!("CREATE TABLE {TABLE} USING parquet AS {text}")).await?;
    let table = spark.table(TABLE);

    let names = (0..WIDTH).map(|i| format!("x{i}"));
    let classifier = NeuralClassifier::new(Network::mlp([64, 32])).features_cols(names).epochs(1).seed(1);
    let classifier = classifier.raw_prediction_col("").predicted_label_col("");
    let model = Pipeline::new().stage(classifier).fit(&table.limit(10_000)).await?;

    println!("{rows} rows × {WIDTH} columns, table to table, seconds; medians of {rounds} alternating rounds");
    let ways = ["on the cluster", "locally", "PySpark, PyTorch", "PySpark, NumPy"];
    let mut readings = vec![Vec::new(); ways.len()];
    for round in 0..=rounds {
        for (way, readings) in readings.iter_mut().enumerate() {
            let seconds = match way {
                0 => score(&model, &table, Scoring::OnCluster, rows).await?,
                1 => score(&model, &table, Scoring::Local, rows).await?,
                2 => peer(&python, &server.remote(), "torch", TABLE, SCORED_BY_PEER, WIDTH)?,
                _ => peer(&python, &server.remote(), "numpy", TABLE, SCORED_BY_PEER, WIDTH)?,
            };
            // The first round warms the server up.
            if round > 0 {
                readings.push(seconds);
            }
        }
    }
    for (way, readings) in ways.iter().zip(&mut readings) {
        readings.sort_by(f64::total_cmp);
        let seconds = readings[readings.len() / 2];
        println!("{way:<20} {seconds:>8.1} {:>12.0} rows/s", rows as f64 / seconds);
    }
    spark.stop().await?;
    Ok(())
}

async fn score(model: &PipelineModel, table: &DataFrame, scoring: Scoring, rows: u64) -> Outcome<f64> {
    let started = Instant::now();
    let options = ScoreOptions::new().mode(SaveMode::Overwrite).scoring(scoring);
    let scored = model.predict_into_with(table, "tinderbox_bench_scored", options).await?;
    assert_eq!(scored.rows, rows);
    Ok(started.elapsed().as_secs_f64())
}

/// Runs PySpark's side on a table whose feature columns are x0, x1, …, and returns its seconds.
pub fn peer(python: &str, remote: &str, way: &str, source: &str, target: &str, width: usize) -> Outcome<f64> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/pipeline/score_peer.py");
    let mut command = Command::new(python);
    command.args([script, way, source, target, &width.to_string()]);
    let output = command.env("SPARK_REMOTE", remote).stderr(Stdio::inherit()).output()?;
    let text = String::from_utf8(output.stdout)?;
    text.trim().parse().map_err(|_| format!("PySpark printed `{}`", text.trim()).into())
}
