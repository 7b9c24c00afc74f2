//! What comes out of Spark, beside PySpark and the Apache crate; each way in a process of its own, alternately.
//!
//! | command | compares |
//! |---|---|
//! | `make bench-stream` | 200,000 rows of `array<float>` × 784 and of binary cells: time and peak memory |
//! | `make bench-client` | small rows, short queries one by one and at once, local rows sent up: time and peak memory |
//! | `make bench-large` | 5 GB through a server of 2 GiB, and 2,000 cells of 2 MB through one of 1 GiB |
//! | `make bench-images` | decoding PNG and JPEG on one core, beside Pillow |
//! | `make bench-epoch` | a first epoch, which trains while rows arrive, beside the stream alone and training alone |
//!
//! Environment: `ROUNDS` (5), `ROWS` (of each), `CAP_MIB` (of a group, for the epoch: 128), `SPARK_REMOTE` (a server to use
//! where any will do), `PYTHON` (a Python with PySpark's Connect client and Pillow, installed into the cache when unset).

mod client;
mod epoch;
mod images;
mod large;
mod layouts;
mod support;

use std::env;

use support::{Outcome, report};

fn main() -> Outcome<()> {
    let arguments: Vec<String> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        [] => layouts::compare(),
        ["large"] => large::compare(),
        ["images"] => images::compare(),
        ["client"] => client::compare(),
        ["client", task, way] => report(|| client::run(task, way)),
        ["epoch"] => epoch::compare(),
        ["way", layout, way] => report(|| layouts::run(layout, way)),
        ["group", table] => report(|| large::run(table)),
        ["decode", folder] => report(|| images::run(folder)),
        _ => Err(format!("{words:?} is not one of `client`, `large`, `images`, `epoch`").into()),
    }
}
