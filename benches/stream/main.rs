//! Streams a table of 200,000 rows of `array<float>` × 784 three ways and compares time and peak memory.
//!
//! `make bench-stream` runs tinderbox, the Apache crate's `collect_record_batches` and PySpark's `toArrow()` alternately,
//! each in a process of its own, against the server that `SPARK_REMOTE` names or a local one with 4 GiB.
//!
//! Environment: `ROUNDS` (5), `ROWS` (200000), `PYTHON` (a Python with PySpark's Connect client, installed into the cache
//! when unset).

use std::{
    env,
    error::Error,
    process::{Command, Stdio},
    time::Instant,
};

use futures::StreamExt;
use spark_connect_proto as proto;
use tinderbox::{
    connect::{Client, ConnectOptions, Event, ExecuteOptions, LocalSpark},
    stream::ipc::Decoder,
};

type Outcome<T> = Result<T, Box<dyn Error>>;

const WIDTH: usize = 784;
const TABLE: &str = "tinderbox_bench_stream";

/// One run of one way: what a child process prints as its last line.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
struct Reading {
    seconds: f64,
    rows: u64,
    sum: f64,
    peak_mib: f64,
}

fn main() -> Outcome<()> {
    match env::args().nth(1).as_deref() {
        Some("ours") => report(tokio::runtime::Runtime::new()?.block_on(ours(&env::var("SPARK_REMOTE")?))?),
        Some("drain") => report(tokio::runtime::Runtime::new()?.block_on(drain(&env::var("SPARK_REMOTE")?))?),
        Some("apache") => report(apache(&env::var("SPARK_REMOTE")?)?),
        _ => compare(),
    }
}

async fn execution(remote: &str) -> Outcome<tinderbox::connect::Execution> {
    let client = Client::connect(ConnectOptions::new(remote.parse()?)).await?;
    let mut options = ExecuteOptions::default();
    if let Ok(bytes) = env::var("PREFETCH") {
        options.prefetch_bytes = bytes.parse()?;
    }
    if let Ok(bytes) = env::var("CHUNK") {
        options.chunk_bytes = bytes.parse()?;
    }
    Ok(client.execute(table_plan(), options))
}

fn table_plan() -> proto::Plan {
    let table = proto::read::NamedTable { unparsed_identifier: TABLE.into(), ..Default::default() };
    let read = proto::Read { read_type: Some(proto::read::ReadType::NamedTable(table)), ..Default::default() };
    let root = proto::Relation { rel_type: Some(proto::relation::RelType::Read(read)), ..Default::default() };
    proto::Plan { op_type: Some(proto::plan::OpType::Root(root)) }
}

async fn ours(remote: &str) -> Outcome<(f64, u64, f64)> {
    let mut events = execution(remote).await?;
    let started = Instant::now();
    let (mut decoder, mut rows, mut sum) = (Decoder::default(), 0, 0.0);
    while let Some(event) = events.next().await {
        if let Event::Batch(payload) = event? {
            for batch in decoder.decode(payload.data, payload.rows)? {
                rows += batch.num_rows() as u64;
                sum += first_values(&batch);
            }
        }
    }
    Ok((started.elapsed().as_secs_f64(), rows, sum))
}

async fn drain(remote: &str) -> Outcome<(f64, u64, f64)> {
    let mut events = execution(remote).await?;
    let started = Instant::now();
    let mut rows = 0;
    while let Some(event) = events.next().await {
        if let Event::Batch(payload) = event? {
            rows += payload.rows;
        }
    }
    Ok((started.elapsed().as_secs_f64(), rows, 0.0))
}

fn apache(remote: &str) -> Outcome<(f64, u64, f64)> {
    let spark = spark_connect::SparkSession::builder().remote(remote).get_or_create()?;
    let table = spark.table(TABLE)?;
    let started = Instant::now();
    let batches = table.collect_record_batches()?;
    let rows = batches.iter().map(|b| b.num_rows() as u64).sum();
    let sum = batches.iter().map(first_values).sum();
    Ok((started.elapsed().as_secs_f64(), rows, sum))
}

/// The sum of each row's first value: a cheap proof that the same rows were decoded.
fn first_values(batch: &arrow::array::RecordBatch) -> f64 {
    use arrow::array::{AsArray, types::Float32Type};
    let lists = batch.column(0).as_list::<i32>();
    let values = lists.values().as_primitive::<Float32Type>();
    lists.offsets().windows(2).map(|w| f64::from(values.value(w[0] as usize))).sum()
}

fn report((seconds, rows, sum): (f64, u64, f64)) -> Outcome<()> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).and_then(|l| l.split_whitespace().next());
    let peak_mib = peak.ok_or("no VmHWM in /proc/self/status")?.parse::<f64>()? / 1024.0;
    println!("{}", serde_json::to_string(&Reading { seconds, rows, sum, peak_mib })?);
    Ok(())
}

fn compare() -> Outcome<()> {
    let number = |name: &str, default: usize| env::var(name).map_or(Ok(default), |n| n.parse());
    let (rounds, rows) = (number("ROUNDS", 5)?, number("ROWS", 200_000)?);
    let runtime = tokio::runtime::Runtime::new()?;
    let local = match env::var("SPARK_REMOTE") {
        Ok(_) => None,
        Err(_) => Some(runtime.block_on(LocalSpark::builder().driver_memory("4g").start())?),
    };
    let remote = local.as_ref().map_or_else(|| env::var("SPARK_REMOTE"), |spark| Ok(spark.remote()))?;
    runtime.block_on(make_table(&remote, rows))?;

    let own = env::current_exe()?;
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/stream");
    let found = Command::new(format!("{folder}/python.sh")).stderr(Stdio::inherit()).output()?;
    let python = String::from_utf8(found.stdout)?.trim().to_owned();
    let script = format!("{folder}/peer.py");
    let ways: Vec<(&str, Vec<String>)> = [
        ("tinderbox, decoded", vec![own.display().to_string(), "ours".into()]),
        ("tinderbox, drained", vec![own.display().to_string(), "drain".into()]),
        ("Apache crate, collect_record_batches", vec![own.display().to_string(), "apache".into()]),
        ("PySpark, toArrow", vec![python, script, TABLE.into()]),
    ]
    .into();

    let mut readings: Vec<Vec<Reading>> = vec![Vec::new(); ways.len()];
    for round in 0..rounds {
        for (way, (name, command)) in ways.iter().enumerate() {
            match run(command, &remote) {
                Ok(reading) => readings[way].push(reading),
                Err(error) => eprintln!("round {round}: {name}: {error}"),
            }
        }
    }
    println!("{rows} rows of array<float> x {WIDTH}, medians of {rounds} alternating rounds");
    println!("{:<38} {:>9} {:>7} {:>11} {:>9}", "", "seconds", "ratio", "peak MiB", "rows");
    let base = readings[0].iter().map(|r| r.seconds).collect::<Vec<_>>();
    for ((name, _), readings) in ways.iter().zip(&readings) {
        let Some(last) = readings.last() else {
            println!("{name:<38} could not be run");
            continue;
        };
        let seconds = median(readings.iter().map(|r| r.seconds));
        let ratio = seconds / median(base.iter().copied());
        let peak = median(readings.iter().map(|r| r.peak_mib));
        println!("{name:<38} {seconds:>9.2} {ratio:>7.2} {peak:>11.0} {:>9}", last.rows);
    }
    Ok(())
}

fn run(command: &[String], remote: &str) -> Outcome<Reading> {
    let output =
        Command::new(&command[0]).args(&command[1..]).env("SPARK_REMOTE", remote).stderr(Stdio::inherit()).output()?;
    let text = String::from_utf8(output.stdout)?;
    let last = text.lines().last().ok_or_else(|| format!("no reading ({})", output.status))?;
    Ok(serde_json::from_str(last)?)
}

async fn make_table(remote: &str, rows: usize) -> Outcome<()> {
    let client = Client::connect(ConnectOptions::new(remote.parse()?)).await?;
    let sql = |query: String| {
        let sql = proto::Sql { query, ..Default::default() };
        let relation = proto::Relation { rel_type: Some(proto::relation::RelType::Sql(sql)), ..Default::default() };
        let command = proto::SqlCommand { input: Some(relation), ..Default::default() };
        let command = proto::Command { command_type: Some(proto::command::CommandType::SqlCommand(command)) };
        client.execute(proto::Plan { op_type: Some(proto::plan::OpType::Command(command)) }, Default::default())
    };
    sql(format!("DROP TABLE IF EXISTS {TABLE}")).responses().await?;
    sql(format!(
        "CREATE TABLE {TABLE} USING parquet AS SELECT transform(sequence(1, {WIDTH}), \
         i -> CAST((id * {WIDTH} + i) % 1000003 / 1000 AS FLOAT)) AS x FROM range(0, {rows}, 1, 8)"
    ))
    .responses()
    .await?;
    Ok(())
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
