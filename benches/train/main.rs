//! Training steps beside PyTorch's on the same threads: forward pass, whole step, peak memory.
//!
//! `make bench-train` runs each net in a process of its own, tinderbox and PyTorch alternately, and prints medians.
//!
//! Environment: `ROUNDS` (5), `NETS` (all; some of `mlp cnn autoencoder lstm gru`), `THREADS` (2), `PYTHON` (a Python with PyTorch,
//! installed into the cache when unset).

use std::{
    env,
    error::Error,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use candle_core::Device;
use tinderbox::{
    nn::{Activation, LayerSpec, Mode, Network, NetworkSpec, Sequential, Tape, cross_entropy},
    train::{TrainParams, Updater},
};

type Outcome<T> = Result<T, Box<dyn Error>>;

const NETS: [&str; 5] = ["mlp", "cnn", "autoencoder", "lstm", "gru"];

/// What a child process prints as its last line.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
struct Reading {
    forward_ms: f64,
    step_ms: f64,
    peak_mib: f64,
    what: String,
}

fn main() -> Outcome<()> {
    match env::args().skip(1).find(|argument| argument != "--bench") {
        Some(net) => {
            println!("{}", serde_json::to_string(&measure(&net)?)?);
            Ok(())
        }
        None => compare(),
    }
}

/// The net, and rows of a minibatch.
fn net(name: &str) -> Outcome<(NetworkSpec, usize)> {
    Ok(match name {
        "mlp" => (Network::mlp([512, 256]).resolve(784, 10)?, 128),
        "cnn" => (Network::cnn([32, 64], [128]).resolve([1, 28, 28], 10)?, 64),
        "autoencoder" => {
            let mut spec = Network::mlp([256, 64, 32, 64, 256]).resolve(784, 784)?;
            spec.layers.push(LayerSpec::Activation { function: Activation::Sigmoid });
            (spec, 128)
        }
        "lstm" => (Network::lstm(128).resolve([50, 32], 10)?, 64),
        "gru" => (Network::gru(128).resolve([50, 32], 10)?, 64),
        other => return Err(format!("no net is called {other}; there are {NETS:?}").into()),
    })
}

fn measure(name: &str) -> Outcome<Reading> {
    let (spec, rows) = net(name)?;
    let network = Sequential::init(&spec, 7, &Device::Cpu)?;
    let mut tape = Tape::new(&network)?;
    let params = TrainParams { learning_rate: 1e-3, ..TrainParams::default() };
    let mut optimizer = Updater::new(&params, network.parameters())?;
    let x: Vec<f32> = (0..rows * spec.inputs.count()).map(|i| ((i * 7919) % 1009) as f32 / 1009.0).collect();
    let target: Vec<f32> = (0..rows * 10).map(|i| f32::from(u8::from(i / 10 % 10 == i % 10))).collect();
    let scale = 1.0 / rows as f32;

    let forward_ms = median_ms(Duration::from_millis(500), || {
        tape.forward(&network, &x, rows, Mode::Eval)?;
        Ok(())
    })?;
    let mut step = 0;
    let step_ms = median_ms(Duration::from_secs(1), || {
        step += 1;
        let loss = tape.learn(&network, &x, rows, Mode::Train { seed: 7, step, first_row: 0 }, |y, gradient| {
            if spec.outputs == 10 { cross_entropy(y, &target, 10, scale, gradient) } else { squared(y, &x, gradient) }
        })?;
        assert!(loss.is_finite());
        optimizer.step(network.parameters(), tape.gradients())?;
        Ok(())
    })?;
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).and_then(|l| l.split_whitespace().next());
    let peak_mib = peak.ok_or("no VmHWM in /proc/self/status")?.parse::<f64>()? / 1024.0;
    Ok(Reading { forward_ms, step_ms, peak_mib, what: format!("tinderbox {}", env!("CARGO_PKG_VERSION")) })
}

/// The mean squared difference and its gradient.
fn squared(y: &[f32], x: &[f32], gradient: &mut [f32]) -> f64 {
    let mut sum = 0.0;
    let scale = 2.0 / y.len() as f32;
    for ((g, y), x) in gradient.iter_mut().zip(y).zip(x) {
        *g = scale * (y - x);
        sum += (y - x) * (y - x);
    }
    f64::from(sum) / y.len() as f64
}

fn median_ms(time: Duration, mut f: impl FnMut() -> Outcome<()>) -> Outcome<f64> {
    for _ in 0..5 {
        f()?;
    }
    let (mut times, begin) = (Vec::new(), Instant::now());
    while begin.elapsed() < time || times.len() < 5 {
        let start = Instant::now();
        f()?;
        times.push(1e3 * start.elapsed().as_secs_f64());
    }
    Ok(median(times))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn compare() -> Outcome<()> {
    let rounds: usize = env::var("ROUNDS").map_or(Ok(5), |n| n.parse())?;
    let threads = env::var("THREADS").unwrap_or_else(|_| "2".into());
    let nets = env::var("NETS").unwrap_or_else(|_| NETS.join(" "));
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/train");
    let found = Command::new(format!("{folder}/python.sh")).stderr(Stdio::inherit()).output()?;
    let python = String::from_utf8(found.stdout)?.trim().to_owned();
    let own = env::current_exe()?;
    println!("{threads} threads, medians of {rounds} alternating rounds, ms");
    println!("{:<14} {:<22} {:>9} {:>7} {:>9} {:>7} {:>10}", "", "", "forward", "ratio", "step", "ratio", "peak MiB");
    for net in nets.split_whitespace() {
        let ways = [
            vec![own.display().to_string(), net.to_owned()],
            vec![python.clone(), format!("{folder}/peer.py"), net.to_owned(), threads.clone()],
        ];
        let mut readings: [Vec<Reading>; 2] = Default::default();
        for _ in 0..rounds {
            for (way, command) in ways.iter().enumerate() {
                let run = Command::new(&command[0]).args(&command[1..]).env("RAYON_NUM_THREADS", &threads).output()?;
                let text = String::from_utf8(run.stdout)?;
                let last = text.lines().last().ok_or_else(|| String::from_utf8_lossy(&run.stderr).into_owned())?;
                readings[way].push(serde_json::from_str(last)?);
            }
        }
        let of = |way: usize, value: fn(&Reading) -> f64| median(readings[way].iter().map(value).collect());
        for (way, readings) in readings.iter().enumerate() {
            let (forward, step) = (of(way, |r| r.forward_ms), of(way, |r| r.step_ms));
            let against = |ours: f64, value: fn(&Reading) -> f64| ours / of(1, value);
            println!(
                "{net:<14} {:<22} {forward:>9.2} {:>7.2} {step:>9.2} {:>7.2} {:>10.0}",
                readings[0].what,
                against(forward, |r| r.forward_ms),
                against(step, |r| r.step_ms),
                of(way, |r| r.peak_mib)
            );
        }
    }
    Ok(())
}
