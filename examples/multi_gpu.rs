//! One network on several devices: how long steps take, and that it learns what one device learns.
//!
//! ```sh
//! cargo run --release --example multi_gpu -- cpu,cpu
//! cargo run --release --features cuda --example multi_gpu -- cuda:all
//! ```
//!
//! It needs no Spark: the rows are made here.

#[path = "support/arguments.rs"]
mod arguments;
#[path = "support/log.rs"]
mod log;

use std::{sync::Arc, time::Instant};

use arguments::Arguments;
use arrow::{
    array::{ArrayRef, FixedSizeListArray, Int32Array, RecordBatch},
    datatypes::Float32Type,
};
use tinderbox::{
    model::TrainedNetwork,
    nn::{Devices, Network},
    stream::MemorySource,
    tensor::Columns,
    train::{ProgressObserver, TrainParams, Trainer},
};

const INPUTS: usize = 784;

#[tokio::main]
async fn main() -> tinderbox::Result<()> {
    let arguments = Arguments::read(include_str!("multi_gpu.rs"));
    log::to_stderr("tinderbox=info");
    let several: Devices = arguments.word(0).unwrap_or("cpu,cpu").parse()?;
    let name = several.to_string();
    let single = if name == "cuda:all" { "cuda:0" } else { name.split(',').next().unwrap_or("cpu") };
    let rows = rows(20_000);

    let one = train(single.parse()?, &rows).await?;
    let all = train(several, &rows).await?;
    let pairs = one.weights().tensors().iter().zip(all.weights().tensors());
    let gap = pairs.flat_map(|(a, b)| a.values.iter().zip(&b.values)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    println!("largest difference between the weights: {gap:.1e}");
    Ok(())
}

async fn train(devices: Devices, rows: &MemorySource) -> tinderbox::Result<TrainedNetwork> {
    let name = devices.to_string();
    let params = TrainParams { epochs: 4, batch_size: 256, learning_rate: 1e-3, devices, ..TrainParams::default() };
    let trainer = Trainer::new(Network::mlp([512, 256]), Columns::new("x", "y"), params);
    let begun = Instant::now();
    let model = trainer.observe(Arc::new(ProgressObserver::new())).fit(rows).await?;
    let history = model.history();
    let fastest = history.epochs.iter().map(|epoch| epoch.seconds).fold(f64::INFINITY, f64::min);
    let loss = history.last().map_or(f64::NAN, |epoch| epoch.training.loss);
    println!(
        "{name:<16} {:>8.0} rows/s in the fastest epoch, {:.1} s in all, loss {loss:.4}",
        history.rows.trained as f64 / fastest,
        begun.elapsed().as_secs_f64()
    );
    Ok(model)
}

/// Rows of ten classes, each around a pattern of its own.
fn rows(count: usize) -> MemorySource {
    let noise = |i: usize| ((i.wrapping_mul(2_654_435_761) >> 7) % 1000) as f32 / 1000.0 - 0.5;
    let value = |row: usize, i: usize| 0.3 * ((row % 10 * 31 + i * 7) as f32).sin() + noise(row * INPUTS + i);
    let values = |row: usize| Some((0..INPUTS).map(move |i| Some(value(row, i))));
    let x = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>((0..count).map(values), INPUTS as i32);
    let y = Int32Array::from_iter_values((0..count).map(|row| (row % 10) as i32));
    let columns: [(&str, ArrayRef); 2] = [("x", Arc::new(x)), ("y", Arc::new(y))];
    let batch = RecordBatch::try_from_iter(columns).expect("the columns are equally long");
    MemorySource::new(batch.schema(), vec![batch])
}
