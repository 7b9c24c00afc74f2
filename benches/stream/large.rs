//! More rows than the server may return or hold, and cells that are large.

use std::{env, time::Instant};

use arrow::{
    array::AsArray,
    datatypes::{Float32Type, Int64Type},
};
use futures::TryStreamExt;
use tinderbox::{connect::LocalSpark, session::Session};

use super::support::{Outcome, Reading, child, number, own, python, session};

struct Case {
    table: &'static str,
    what: &'static str,
    rows: usize,
    /// Memory of the server.
    heap: &'static str,
    /// SQL of a cell.
    cell: &'static str,
    /// SQL of what proves a row: a whole number.
    proof: &'static str,
}

const CASES: [Case; 2] = [
    Case {
        table: "tinderbox_bench_floats",
        what: "array<float> x 784",
        rows: 1_600_000,
        heap: "2g",
        cell: "transform(sequence(1, 784), i -> CAST((id * 784 + i) % 1000003 AS FLOAT))",
        proof: "id + CAST(x[0] AS BIGINT) + CAST(x[391] AS BIGINT) + CAST(x[783] AS BIGINT)",
    },
    Case {
        table: "tinderbox_bench_cells",
        what: "binary of 2 MB",
        rows: 2_000,
        heap: "1g",
        cell: "CAST(repeat(sha2(CAST(id AS STRING), 256), 31250) AS BINARY)",
        proof: "id + crc32(x)",
    },
];

pub(crate) fn compare() -> Outcome<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    for case in CASES {
        let rows = number("ROWS", case.rows)?;
        let spark = runtime.block_on(LocalSpark::builder().driver_memory(case.heap).start())?;
        let (expected, bytes) = runtime.block_on(written(&case, rows, &spark.remote()))?;
        println!("\n{rows} rows, {} ({:.2} GB), a server of {}", case.what, bytes as f64 / 1e9, case.heap);
        match child(&own(["group", case.table])?, &spark.remote()) {
            Ok(reading) => {
                let same = reading.rows == rows as u64 && reading.sum == expected;
                println!(
                    "tinderbox: {} rows in {:.1} s, checksum {} {}, peak {:.0} MiB here",
                    reading.rows,
                    reading.seconds,
                    reading.sum,
                    if same { "as the server's" } else { "NOT the server's" },
                    reading.peak_mib
                );
                if !same {
                    return Err(format!("the server has {rows} rows, checksum {expected}").into());
                }
            }
            Err(error) => return Err(format!("tinderbox: {error}").into()),
        }
        println!("the server afterwards: {}", runtime.block_on(state(&spark.remote())));
        let patience = ["timeout", "600"].map(str::to_owned).into_iter();
        let peer = patience.chain(python("peer.py", [case.table])?).collect::<Vec<_>>();
        match child(&peer, &spark.remote()) {
            Ok(reading) => {
                println!("PySpark: {} rows in {:.1} s, peak {:.0} MiB", reading.rows, reading.seconds, reading.peak_mib)
            }
            Err(error) => println!("PySpark: {error}"),
        }
        println!("the server afterwards: {}", runtime.block_on(state(&spark.remote())));
        runtime.block_on(spark.stop());
    }
    Ok(())
}

/// Writes the table in small files; the checksum and the bytes that its cells have.
async fn written(case: &Case, rows: usize, remote: &str) -> Outcome<(f64, i64)> {
    let session = session(remote).await?;
    let cell = format!("{} AS x", case.cell);
    let frame = session.range_with(0, rows as i64, 1, Some(64)).select_expr(["id", &cell]);
    let write = frame.write().option("parquet.page.size.row.check.min", 10).option("parquet.block.size", 16 << 20);
    write.save_as_table(case.table).await?;
    let bytes = if case.cell.starts_with("CAST") { "octet_length(x)" } else { "4 * size(x)" };
    let sums = [format!("sum({}) AS s", case.proof), format!("sum({bytes}) AS b")];
    let session = careful(session).await?;
    let batches = session.table(case.table).select_expr(sums.iter().map(String::as_str)).collect().await?;
    let row = batches.iter().find(|batch| batch.num_rows() > 0).ok_or("no sums")?;
    let number = |at: usize| row.column(at).as_primitive::<Int64Type>().value(0);
    let sums = (number(0) as f64, number(1));
    session.stop().await?;
    Ok(sums)
}

/// For the checksum's own query: the usual 4,096 rows a batch would be 8 GB of large cells.
async fn careful(session: Session) -> Outcome<Session> {
    session.conf().set("spark.sql.parquet.columnarReaderBatchSize", 16).await?;
    Ok(session)
}

async fn state(remote: &str) -> String {
    let asked = async { Outcome::Ok(session(remote).await?.range(0, 1000).count().await?) };
    match asked.await {
        Ok(1000) => "alive".into(),
        Ok(count) => format!("counts 1000 rows as {count}"),
        Err(error) => format!("dead: {error}"),
    }
}

/// Reads a table in partition groups.
pub(crate) fn run(table: &str) -> Outcome<Reading> {
    tokio::runtime::Runtime::new()?.block_on(async {
        let session = session(&env::var("SPARK_REMOTE")?).await?;
        let started = Instant::now();
        let source = session.table(table).source();
        let mut stream = source.stream().await?;
        let (mut rows, mut sum) = (0, 0i64);
        while let Some(batch) = stream.try_next().await? {
            rows += batch.num_rows() as u64;
            sum += batch.column(0).as_primitive::<Int64Type>().values().iter().sum::<i64>();
            let cells = batch.column(1);
            if let Some(binary) = cells.as_binary_opt::<i32>() {
                sum += binary.iter().flatten().map(|cell| i64::from(crc32fast::hash(cell))).sum::<i64>();
            } else {
                let lists = cells.as_list::<i32>();
                let values = lists.values().as_primitive::<Float32Type>().values();
                for start in lists.offsets().iter().take(values.len() / 784) {
                    sum += [0, 391, 783].iter().map(|at| values[*start as usize + at] as i64).sum::<i64>();
                }
            }
        }
        let seconds = started.elapsed().as_secs_f64();
        source.close().await?;
        session.stop().await?;
        Ok(Reading { seconds, rows, sum: sum as f64, peak_mib: 0.0 })
    })
}
