//! Rows that are many times the cluster's memory.

use std::fs;

use arrow::{array::AsArray, datatypes::Int64Type};
use futures::TryStreamExt;
use tinderbox::stream::RecordSource;

use crate::{docker::restore, work::session};

/// Numbers in a row.
const WIDTH: i64 = 784;

/// The most memory that this process had, in MiB.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[tokio::test]
async fn five_gigabytes_of_arrays_stream_through_small_workers_and_a_small_server() {
    restore().await;
    let spark = session().await;
    let rows = 1_600_000_i64;
    spark.sql("DROP TABLE IF EXISTS tinderbox_cluster_large").await.unwrap();
    let text = format!(
        "CREATE TABLE tinderbox_cluster_large USING parquet AS SELECT id, transform(sequence(1, {WIDTH}), i -> \
         CAST(pmod(id * 31 + i * 7, 251) AS FLOAT)) AS x FROM range(0, {rows}, 1, 64)"
    );
    spark.sql(&text).await.unwrap();
    let before = peak();
    let began = std::time::Instant::now();
    let mut stream = spark.table("tinderbox_cluster_large").source().open(0).await.unwrap();
    let (mut found, mut ids) = (0, 0);
    while let Some(batch) = stream.try_next().await.unwrap() {
        found += batch.num_rows() as i64;
        ids += batch.column(0).as_primitive::<Int64Type>().values().iter().sum::<i64>();
    }
    assert_eq!((found, ids), (rows, rows * (rows - 1) / 2));
    let (seconds, gigabytes) = (began.elapsed().as_secs_f64(), (rows * WIDTH * 4) as f64 / 1e9);
    println!("| {gigabytes:.1} GB of arrays | {seconds:.1} s | {} MiB here, {before} before |", peak());
    drop(stream);
    spark.sql("DROP TABLE tinderbox_cluster_large").await.unwrap();
    spark.stop().await.unwrap();
}
