//! Training that survives: Ctrl-C finishes the step, writes a checkpoint and ends; the next start resumes from it. So
//! does one after a kill, from the last checkpoint written.
//!
//! ```sh
//! cargo run --release --example resume -- /tmp/run            # press Ctrl-C, start again
//! cargo run --release --example resume -- /tmp/run 5000       # more epochs than the 2,000 it has else
//! ```
//!
//! It needs no Spark: the rows are two spirals made here.

#[path = "support/arguments.rs"]
mod arguments;
#[path = "support/log.rs"]
mod log;

use std::{sync::Arc, time::Duration};

use arguments::{Arguments, number};
use arrow::{
    array::{ArrayRef, FixedSizeListArray, Int32Array, RecordBatch},
    datatypes::Float32Type,
};
use tinderbox::{
    nn::Network,
    stream::MemorySource,
    tensor::Columns,
    train::{Checkpoints, ProgressObserver, Stop, TrainParams, Trainer},
};

#[tokio::main]
async fn main() -> tinderbox::Result<()> {
    let arguments = Arguments::read(include_str!("resume.rs"));
    log::to_stderr("tinderbox=info");
    let folder = arguments.word(0).unwrap_or("/tmp/tinderbox_resume").to_owned();
    let epochs = arguments.word(1).map_or(2000, |epochs| number("epochs", epochs));

    let stop = Stop::default();
    let asked = stop.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            eprintln!("\nfinishing the step; start again to go on");
            asked.request();
        }
    });

    let checkpoints = Checkpoints::new(&folder).every_epochs(50).every(Duration::from_secs(60)).keep_best(1);
    let params = TrainParams { epochs, tol: 0.0, validation_fraction: 0.2, batch_size: 64, ..TrainParams::default() };
    let trainer = Trainer::new(Network::mlp([64, 64]), Columns::new("x", "spiral"), params)
        .checkpoints(checkpoints.clone())
        .observe(Arc::new(ProgressObserver::new()))
        .stop(stop.clone());
    let model = trainer.fit(&spirals()).await?;

    let (passed, steps) = (model.history().epochs.len(), checkpoints.steps()?);
    let ended = if stop.requested() { "asked to stop" } else { "done" };
    println!("{ended} after epoch {passed} of {epochs}; checkpoints in {folder} after steps {steps:?}");
    if let Some(accuracy) = model.history().held_out_accuracy() {
        println!("accuracy on the points held out: {:.1} %", 100.0 * accuracy);
    }
    Ok(())
}

/// Six thousand points on two spirals that wind around each other.
fn spirals() -> MemorySource {
    let points = 0..6000;
    let place = |i: i32| {
        let along = i as f32 / 6000.0;
        let angle = 9.0 * along + if i % 2 == 0 { 0.0 } else { std::f32::consts::PI };
        Some([Some(along * angle.cos()), Some(along * angle.sin())])
    };
    let x = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(points.clone().map(place), 2);
    let spiral = Int32Array::from_iter_values(points.map(|i| i % 2));
    let columns: [(&str, ArrayRef); 2] = [("x", Arc::new(x)), ("spiral", Arc::new(spiral))];
    let batch = RecordBatch::try_from_iter(columns).expect("the columns are equally long");
    MemorySource::new(batch.schema(), vec![batch])
}
