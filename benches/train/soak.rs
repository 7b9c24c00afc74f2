//! Training for a long time: memory stays flat, and so does the time of a step.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tinderbox::{
    nn::Network,
    stream::MemorySource,
    tensor::Columns,
    train::{Observer, StepRecord, TrainParams, Trainer},
};

use super::{Outcome, median, memory_mib};

/// Prints a line a minute.
struct Minutes(Mutex<(Instant, Vec<f64>, usize)>);

impl Observer for Minutes {
    fn step(&self, step: &StepRecord) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.1.push(1e3 * step.took.as_secs_f64());
        if state.0.elapsed() < Duration::from_secs(60) {
            return;
        }
        state.2 += 1;
        let (memory, steps) = (memory_mib("VmRSS:").unwrap_or(f64::NAN), state.1.len());
        let took = median(std::mem::take(&mut state.1));
        println!(
            "minute {:>3}: {memory:>6.1} MiB, {steps:>6} steps, median {took:.3} ms, loss {:.4}",
            state.2, step.loss
        );
        state.0 = Instant::now();
    }
}

pub(super) fn run(minutes: f64, rows: MemorySource) -> Outcome<()> {
    let params = TrainParams {
        epochs: usize::MAX / 2,
        max_seconds: Some(60.0 * minutes + 1.0),
        batch_size: 128,
        learning_rate: 1e-4,
        tol: 0.0,
        validation_fraction: 0.1,
        cache_memory: 8 << 20,
        ..TrainParams::default()
    };
    let network = Network::mlp([512, 256]).with_dropout(0.2);
    let watch = Arc::new(Minutes(Mutex::new((Instant::now(), Vec::new(), 0))));
    let trainer = Trainer::new(network, Columns::new("x", "y"), params).observe(watch);
    let model = tokio::runtime::Runtime::new()?.block_on(trainer.fit(&rows))?;
    println!("{} epochs", model.history().epochs.len());
    Ok(())
}
