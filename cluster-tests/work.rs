//! What runs while something fails, and how it is held against the server's own figures.

use std::{
    env, fmt,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use arrow::{array::AsArray, datatypes::Int64Type};
use futures::TryStreamExt;
use tinderbox::{
    connect::RetryPolicy,
    dataframe::{PartitionedSource, SourceOptions, Strategy},
    estimator::NeuralModel,
    ml::Model,
    nn::Weights,
    prelude::*,
    stream::RecordSource,
    train::{Observer, StepRecord},
};

/// Rows and the sum of their ids.
pub type Checksum = (u64, i64);

pub fn remote() -> String {
    env::var("SPARK_REMOTE").expect("`make test-cluster` starts the cluster and says where it is")
}

/// A session that waits so long for a server that is gone.
pub async fn patient(seconds: u64) -> Session {
    let retry = RetryPolicy { give_up_after: Duration::from_secs(seconds), ..RetryPolicy::default() };
    Session::builder().remote(remote()).retry(retry).wait_for_server(Duration::from_secs(60)).create().await.unwrap()
}

/// A session that waits two minutes for a server that is gone.
pub async fn session() -> Session {
    patient(120).await
}

/// Prints a line of the table of faults.
pub fn told(fault: &str, during: &str, began: Instant, outcome: impl fmt::Display) {
    println!("| {fault} | {during} | {:.1} s | {outcome} |", began.elapsed().as_secs_f64());
}

pub const ROWS: i64 = 400_000;

/// The table of all tests: 400,000 rows of 100 bytes in 16 files.
pub async fn table(spark: &Session) -> DataFrame {
    let name = "tinderbox_cluster_rows";
    if !spark.catalog().table_exists(name).await.unwrap() {
        let text = format!(
            "CREATE TABLE {name} USING parquet AS SELECT id, CAST(id % 3 AS DOUBLE) AS label, \
             transform(sequence(1, 20), i -> CAST(sin(id * i) + id % 3 AS FLOAT)) AS features FROM range(0, {ROWS}, 1, 16)"
        );
        spark.sql(&text).await.unwrap();
    }
    spark.table(name)
}

/// What the server counts.
pub fn expected() -> Checksum {
    (ROWS as u64, ROWS * (ROWS - 1) / 2)
}

/// Reads a frame; `fault` is told how many rows have come.
pub async fn read(source: &PartitionedSource, mut fault: impl FnMut(u64)) -> tinderbox::Result<Checksum> {
    let mut sums = (0, 0);
    let mut stream = source.open(0).await?;
    while let Some(batch) = stream.try_next().await? {
        let ids = batch.column_by_name("id").unwrap().as_primitive::<Int64Type>();
        sums = (sums.0 + batch.num_rows() as u64, sums.1 + ids.values().iter().sum::<i64>());
        fault(sums.0);
        // Slow enough that a fault meets rows that are still to come.
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    Ok(sums)
}

/// Reads groups of 4 MiB, one at a time.
pub fn source(frame: &DataFrame, strategy: Strategy) -> PartitionedSource {
    frame.source().cap(4 << 20).in_flight(1).strategy(strategy)
}

/// A classifier that reads each row twice, in a fixed order.
pub fn classifier() -> NeuralClassifier {
    let small = SourceOptions { cap: Some(4 << 20), in_flight: 1, ..SourceOptions::default() };
    let classifier = NeuralClassifier::new(Network::mlp([8])).epochs(2).batch_size(256).seed(3);
    classifier.source(small).shuffle_buffer(1 << 20)
}

/// A classifier that takes its time over the first epoch, while a fault is made at a step of it.
pub fn disturbed(at: usize, fault: impl FnOnce() + Send + 'static) -> NeuralClassifier {
    classifier().observe(Arc::new(Disturbance { at, fault: Mutex::new(Some(Box::new(fault))) }))
}

struct Disturbance {
    at: usize,
    fault: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Observer for Disturbance {
    fn step(&self, step: &StepRecord) {
        if step.epoch > 0 {
            return;
        }
        if step.step == self.at
            && let Some(fault) = self.fault.lock().unwrap().take()
        {
            fault();
        }
        thread::sleep(Duration::from_millis(5));
    }
}

pub fn weights(model: &dyn Model) -> Weights {
    model.as_any().downcast_ref::<NeuralModel>().unwrap().model().weights().clone()
}

/// A fault that is made once.
pub fn once(at: u64, fault: impl FnOnce()) -> impl FnMut(u64) {
    let mut fault = Some(fault);
    move |rows| {
        if rows >= at
            && let Some(fault) = fault.take()
        {
            fault();
        }
    }
}
