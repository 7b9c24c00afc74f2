//! A first epoch, which trains while rows arrive, beside each alone.

use std::{env, process::Command, time::Instant};

use futures::TryStreamExt;
use tinderbox::{
    advanced::{Decoder, ExampleDecoder},
    connect::LocalSpark,
    nn::Network,
    stream::RecordSource,
    tensor::{Columns, OnInvalid},
    train::{TrainParams, Trainer},
};

use super::support::{Outcome, median, number, session};

const TABLE: &str = "tinderbox_bench_epoch";

/// A cluster is another machine: here the server has one core, and this process another.
pub(crate) fn compare() -> Outcome<()> {
    let (rounds, rows) = (number("ROUNDS", 5)?, number("ROWS", 300_000)?);
    let runtime = tokio::runtime::Runtime::new()?;
    let spark = match env::var("SPARK_REMOTE") {
        Ok(_) => None,
        Err(_) => Some(runtime.block_on(LocalSpark::builder().driver_memory("4g").master("local[1]").start())?),
    };
    let remote = spark.as_ref().map_or_else(|| env::var("SPARK_REMOTE"), |spark| Ok(spark.remote()))?;
    if let Some(spark) = &spark {
        pin(spark.process_id(), 0)?;
        pin(std::process::id(), 1)?;
    }
    runtime.block_on(async {
        let session = session(&remote).await?;
        session.drop_table(TABLE).await?;
        let cells = "transform(sequence(1, 784), i -> CAST((id * 784 + i) % 1000003 / 1000003 AS FLOAT)) AS x";
        let frame =
            session.range_with(0, rows as i64, 1, Some(32)).select_expr([cells, "CAST(id % 10 AS DOUBLE) AS y"]);
        frame.write().save_as_table(TABLE).await?;
        let cap = (number("CAP_MIB", 128)? as u64) << 20;
        let source = session.table(TABLE).source().cap(cap);
        source.plan().await?;
        let params = |epochs| TrainParams { epochs, batch_size: 128, tol: 0.0, ..TrainParams::default() };
        // Training waits for all rows where nobody has said which classes there are.
        let classes: Vec<String> = (0..10).map(|class| class.to_string()).collect();
        println!("{rows} rows of array<float> x 784, medians of {rounds} alternating rounds, seconds");
        println!(
            "one core for all of this process: it must also receive and decode, which takes `receive` of its time"
        );
        println!(
            "{:<16} {:>8} {:>8} {:>8} {:>8} {:>12} {:>18}",
            "network", "stream", "receive", "train", "epoch 1", "÷ the longer", "÷ train + receive"
        );
        for hidden in [[128, 64], [512, 256]] {
            let (mut streams, mut receives, mut trains, mut firsts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
            for _ in 0..rounds {
                let (stream, receive) = stream_alone(&source).await?;
                streams.push(stream);
                receives.push(receive);
                let trainer = |epochs| {
                    Trainer::new(Network::mlp(hidden), Columns::new("x", "y"), params(epochs)).classes(classes.clone())
                };
                let (started, before) = (Instant::now(), computed()?);
                let model = trainer(1).fit(&source).await?;
                firsts.push(started.elapsed().as_secs_f64());
                if env::var_os("VERBOSE").is_some() {
                    println!("{:?} cpu {}", model.history().epochs[0], computed()? - before);
                }
                let model = trainer(2).fit(&source).await?;
                trains.push(model.history().epochs[1].seconds);
            }
            let [stream, receive, train, first] = [streams, receives, trains, firsts].map(median);
            let name = format!("784-{}-{}-10", hidden[0], hidden[1]);
            println!(
                "{name:<16} {stream:>8.2} {receive:>8.2} {train:>8.2} {first:>8.2} {:>12.2} {:>18.2}",
                first / stream.max(train),
                first / stream.max(train + receive)
            );
        }
        source.close().await?;
        Ok(session.stop().await?)
    })
}

/// Seconds, and how many of them this process computed.
async fn stream_alone(source: &dyn RecordSource) -> Outcome<(f64, f64)> {
    let (started, computed) = (Instant::now(), computed()?);
    let mut stream = source.open(0).await?;
    let mut decoder = ExampleDecoder::bind(stream.schema(), &Columns::new("x", "y"), OnInvalid::Error)?;
    while let Some(batch) = stream.try_next().await? {
        decoder.decode(&batch)?;
    }
    decoder.finish()?;
    Ok((started.elapsed().as_secs_f64(), self::computed()? - computed))
}

/// Seconds that all threads of this process have computed, those that have ended too.
fn computed() -> Outcome<f64> {
    let text = std::fs::read_to_string("/proc/self/stat")?;
    // The name before it may hold anything; user and system time are the 14th and 15th field, in hundredths.
    let fields = text.rsplit_once(')').ok_or("no name in /proc/self/stat")?.1;
    let ticks: Vec<f64> = fields.split_whitespace().skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
    Ok(ticks.iter().sum::<f64>() / 100.0)
}

fn pin(process: u32, core: usize) -> Outcome<()> {
    let pinned = Command::new("taskset").args(["-acp", &core.to_string(), &process.to_string()]).output()?;
    match pinned.status.success() {
        true => Ok(()),
        false => Err(format!("taskset: {}", String::from_utf8_lossy(&pinned.stderr)).into()),
    }
}
