//! Rows of two layouts, read five ways.

use std::{env, time::Instant};

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::Float32Type,
};
use futures::{StreamExt, TryStreamExt};
use spark_connect_proto as proto;
use tinderbox::{
    advanced::{
        Client, Decoder, ElementType, Event, ExecuteOptions, InputDecoder, IpcDecoder, RecordDecoder, RecordReader,
    },
    connect::ConnectOptions,
    tensor::{
        Columns, OnInvalid,
        codec::Dtype,
        reader::{Readers, TensorReader},
    },
};

use super::support::{Outcome, Reading, alternate, median, number, own, python, server, session};

const WIDTH: usize = 784;

/// Name, SQL of a row's cell, bytes of it.
const LAYOUTS: [(&str, &str, usize); 2] = [
    ("floats", "transform(sequence(1, 784), i -> CAST((id * 784 + i) % 1000003 / 1000 AS FLOAT))", 4 * WIDTH),
    ("binary", "unhex(repeat(md5(CAST(id AS STRING)), 98))", 16 * 98),
];

fn table(layout: &str) -> String {
    format!("tinderbox_bench_{layout}")
}

pub(crate) fn compare() -> Outcome<()> {
    let (rounds, rows) = (number("ROUNDS", 5)?, number("ROWS", 200_000)?);
    let runtime = tokio::runtime::Runtime::new()?;
    let (_spark, remote) = runtime.block_on(server("4g"))?;
    for (layout, sql, bytes) in LAYOUTS {
        let table = table(layout);
        runtime.block_on(async {
            let session = session(&remote).await?;
            session.drop_table(&table).await?;
            let cells = format!("{sql} AS x");
            session
                .range_with(0, rows as i64, 1, Some(8))
                .select_expr([cells.as_str()])
                .write()
                .save_as_table(&table)
                .await?;
            Outcome::Ok(session.stop().await?)
        })?;
        let way = |name: &str, way: &str| Ok((name.to_owned(), own(["way", layout, way])?));
        let ways: Vec<(String, Vec<String>)> = [
            way("tinderbox, drained", "drained"),
            way("tinderbox, Arrow", "arrow"),
            way("tinderbox, tensors", "tensors"),
            way("Apache crate, collect_record_batches", "apache"),
            Ok(("PySpark, toArrow".into(), python("peer.py", [&table])?)),
        ]
        .into_iter()
        .collect::<Outcome<_>>()?;
        let readings = alternate(&ways, &remote, rounds);
        let mb = rows as f64 * bytes as f64 / 1e6;
        println!("\n{layout}: {rows} rows, {mb:.0} MB; medians of {rounds} alternating rounds");
        println!("{:<38} {:>9} {:>16} {:>9} {:>9}", "", "seconds", "÷ drained", "peak MiB", "rows");
        let base = median(readings[0].iter().map(|r| r.seconds));
        for ((name, _), readings) in ways.iter().zip(&readings) {
            let Some(last) = readings.last() else {
                println!("{name:<38} could not be run");
                continue;
            };
            let seconds = median(readings.iter().map(|r| r.seconds));
            let peak = median(readings.iter().map(|r| r.peak_mib));
            println!("{name:<38} {seconds:>9.2} {:>16.2} {peak:>9.0} {:>9}", seconds / base, last.rows);
        }
        let sums: Vec<f64> = readings[1..].iter().filter_map(|r| Some(r.last()?.sum)).collect();
        if sums.iter().any(|sum| (sum - sums[0]).abs() > 1e-9 * sums[0].abs()) {
            return Err(format!("not the same rows: {sums:?}").into());
        }
    }
    Ok(())
}

pub(crate) fn run(layout: &str, way: &str) -> Outcome<Reading> {
    let remote = env::var("SPARK_REMOTE")?;
    let runtime = tokio::runtime::Runtime::new()?;
    match way {
        "drained" => runtime.block_on(drained(&remote, layout)),
        "arrow" => runtime.block_on(arrow(&remote, layout)),
        "tensors" => runtime.block_on(tensors(&remote, layout)),
        "apache" => apache(&remote, layout),
        other => Err(format!("there is no way {other}").into()),
    }
}

async fn execution(remote: &str, layout: &str) -> Outcome<tinderbox::advanced::Execution> {
    let client = Client::connect(ConnectOptions::new(remote.parse()?)).await?;
    let mut options = ExecuteOptions::default();
    if let Ok(bytes) = env::var("PREFETCH") {
        options.prefetch_bytes = bytes.parse()?;
    }
    if let Ok(bytes) = env::var("CHUNK") {
        options.chunk_bytes = bytes.parse()?;
    }
    let table = proto::read::NamedTable { unparsed_identifier: table(layout), ..Default::default() };
    let read = proto::Read { read_type: Some(proto::read::ReadType::NamedTable(table)), ..Default::default() };
    let root = proto::Relation { rel_type: Some(proto::relation::RelType::Read(read)), ..Default::default() };
    Ok(client.execute(proto::Plan { op_type: Some(proto::plan::OpType::Root(root)) }, options))
}

/// Bytes only.
async fn drained(remote: &str, layout: &str) -> Outcome<Reading> {
    let mut events = execution(remote, layout).await?;
    let (started, mut rows) = (Instant::now(), 0);
    while let Some(event) = events.next().await {
        if let Event::Batch(payload) = event? {
            rows += payload.rows;
        }
    }
    Ok(Reading { seconds: started.elapsed().as_secs_f64(), rows, sum: 0.0, peak_mib: 0.0 })
}

async fn arrow(remote: &str, layout: &str) -> Outcome<Reading> {
    let mut events = execution(remote, layout).await?;
    let started = Instant::now();
    let (mut decoder, mut rows, mut sum) = (IpcDecoder::default(), 0, 0.0);
    while let Some(event) = events.next().await {
        if let Event::Batch(payload) = event? {
            for batch in decoder.decode(payload.data, payload.rows)? {
                rows += batch.num_rows() as u64;
                sum += proof(&batch);
            }
        }
    }
    Ok(Reading { seconds: started.elapsed().as_secs_f64(), rows, sum, peak_mib: 0.0 })
}

/// As training has them: canonical batches, checked for what cannot be learnt from.
async fn tensors(remote: &str, layout: &str) -> Outcome<Reading> {
    let session = session(remote).await?;
    let frame = session.table(&table(layout));
    let started = Instant::now();
    let mut stream = frame.stream().await?;
    let mut decoder: Box<dyn Decoder> = match layout {
        "floats" => Box::new(InputDecoder::bind(stream.schema(), &Columns::unlabelled("x"), OnInvalid::Error)?),
        _ => {
            let reader = TensorReader::bytes("x", Dtype::Uint8, [16 * 98]).element(ElementType::U8);
            let reader = RecordReader::inputs(stream.schema(), &Readers::new().input(reader))?;
            Box::new(RecordDecoder::new(reader, OnInvalid::Error)?)
        }
    };
    let (mut rows, mut sum) = (0, 0.0);
    while let Some(batch) = stream.try_next().await? {
        let decoded = decoder.decode(&batch)?.batch;
        rows += decoded.num_rows() as u64;
        sum += proof(&decoded);
    }
    decoder.finish()?;
    let seconds = started.elapsed().as_secs_f64();
    session.stop().await?;
    Ok(Reading { seconds, rows, sum, peak_mib: 0.0 })
}

fn apache(remote: &str, layout: &str) -> Outcome<Reading> {
    let spark = spark_connect::SparkSession::builder().remote(remote).get_or_create()?;
    let table = spark.table(&table(layout))?;
    let started = Instant::now();
    let batches = table.collect_record_batches()?;
    let rows = batches.iter().map(|b| b.num_rows() as u64).sum();
    let sum = batches.iter().map(proof).sum();
    Ok(Reading { seconds: started.elapsed().as_secs_f64(), rows, sum, peak_mib: 0.0 })
}

/// The sum of the floats that rows begin with, or the bytes of all cells.
fn proof(batch: &RecordBatch) -> f64 {
    let cells = batch.column(0);
    let firsts = |values: &dyn Array, starts: &mut dyn Iterator<Item = usize>| {
        let values = values.as_primitive::<Float32Type>().values();
        starts.map(|start| f64::from(values[start])).sum::<f64>()
    };
    if let Some(lists) = cells.as_list_opt::<i32>() {
        firsts(lists.values(), &mut lists.offsets().iter().take(lists.len()).map(|offset| *offset as usize))
    } else if let Some(binary) = cells.as_binary_opt::<i32>() {
        binary.value_data().len() as f64
    } else {
        let lists = cells.as_fixed_size_list();
        let width = lists.value_length() as usize;
        if lists.values().as_primitive_opt::<Float32Type>().is_some() {
            firsts(lists.values(), &mut (0..lists.len()).map(|row| row * width))
        } else {
            (lists.len() * width) as f64
        }
    }
}
