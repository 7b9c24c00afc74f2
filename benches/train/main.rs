//! Training steps beside PyTorch's on the same threads: forward pass, whole step, a whole epoch from memory, peak memory.
//!
//! An epoch is 8,064 rows shuffled, copied together and learnt from by [`Trainer`], and by a loop over shuffled indices of one
//! tensor in PyTorch; once by one replica with all threads, once by two replicas that share them.
//!
//! `make bench-train` runs each net in a process of its own, tinderbox and PyTorch alternately, and prints medians.
//!
//! `cargo bench --bench train -- soak MINUTES` trains for so long and says every minute how much memory it has and how long
//! steps take.
//!
//! Environment: `ROUNDS` (5), `NETS` (all; some of `mlp cnn autoencoder lstm gru`), `THREADS` (2), `PYTHON` (a Python with PyTorch,
//! installed into the cache when unset).

use std::{
    env,
    error::Error,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use arrow::{
    array::{ArrayRef, FixedSizeListArray, Float32Array, RecordBatch, UInt32Array},
    datatypes::{DataType, Field},
};
use candle_core::Device;
use tinderbox::{
    advanced::{Mode, Tape, Updater, cross_entropy},
    nn::{Activation, LayerSpec, Network, NetworkSpec, Sequential},
    stream::MemorySource,
    tensor::Columns,
    train::{Loss, TrainParams, Trainer},
};

mod soak;

type Outcome<T> = Result<T, Box<dyn Error>>;

const NETS: [&str; 5] = ["mlp", "cnn", "autoencoder", "lstm", "gru"];

/// What a child process prints as its last line.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
struct Reading {
    forward_ms: f64,
    step_ms: f64,
    peak_mib: f64,
    /// A whole epoch, of the nets that have flat rows.
    epoch_ms: Option<f64>,
    /// The same by two replicas.
    two_ms: Option<f64>,
    what: String,
}

const EPOCH_ROWS: usize = 8064;

fn main() -> Outcome<()> {
    let mut arguments = env::args().skip(1).filter(|argument| argument != "--bench");
    match arguments.next() {
        Some(word) if word == "soak" => {
            let minutes = arguments.next().ok_or("soak takes minutes")?.parse()?;
            soak::run(minutes, rows()?)
        }
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
    let (epoch_ms, two_ms) = match name {
        "mlp" | "autoencoder" => (Some(epoch(name, "cpu")?), Some(epoch(name, "cpu,cpu")?)),
        _ => (None, None),
    };
    let peak_mib = memory_mib("VmHWM:")?;
    Ok(Reading {
        forward_ms,
        step_ms,
        peak_mib,
        epoch_ms,
        two_ms,
        what: format!("tinderbox {}", env!("CARGO_PKG_VERSION")),
    })
}

/// The rows of an epoch.
fn rows() -> Outcome<MemorySource> {
    let values = (0..EPOCH_ROWS * 784).map(|i| ((i * 7919) % 1009) as f32 / 1009.0);
    let item = Arc::new(Field::new_list_field(DataType::Float32, false));
    let x = FixedSizeListArray::try_new(item, 784, Arc::new(Float32Array::from_iter_values(values)), None)?;
    let y = UInt32Array::from_iter_values((0..EPOCH_ROWS).map(|row| (row % 10) as u32));
    let batch = RecordBatch::try_from_iter([("x", Arc::new(x) as ArrayRef), ("y", Arc::new(y))])?;
    Ok(MemorySource::new(batch.schema(), vec![batch]))
}

/// The median time of an epoch after the first, the feed included.
fn epoch(name: &str, devices: &str) -> Outcome<f64> {
    let (network, columns, loss) = match name {
        "mlp" => (Network::mlp([512, 256]), Columns::new("x", "y"), Loss::CrossEntropy),
        _ => (Network::mlp([256, 64, 32, 64, 256]), Columns::unlabelled("x"), Loss::SquaredError),
    };
    let (devices, epochs) = (devices.parse()?, 8);
    let params =
        TrainParams { epochs, batch_size: 128, learning_rate: 1e-3, tol: 0.0, loss, devices, ..TrainParams::default() };
    let source = rows()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let model = runtime.block_on(Trainer::new(network, columns, params).fit(&source))?;
    Ok(median(model.history().epochs.iter().skip(1).map(|epoch| 1e3 * epoch.seconds).collect()))
}

/// A line of the process's status in the kernel's words, such as `VmRSS:`.
fn memory_mib(line: &str) -> Outcome<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let kib = status.lines().find_map(|l| l.strip_prefix(line)).and_then(|l| l.split_whitespace().next());
    Ok(kib.ok_or_else(|| format!("no {line} in /proc/self/status"))?.parse::<f64>()? / 1024.0)
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
    println!(
        "{:<12} {:<20} {:>9} {:>6} {:>9} {:>6} {:>9} {:>6} {:>9} {:>9}",
        "", "", "forward", "ratio", "step", "ratio", "epoch", "ratio", "2 repl.", "peak MiB"
    );
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
            let epoch = readings[0].epoch_ms.map(|_| of(way, |r| r.epoch_ms.unwrap_or(f64::NAN)));
            let two = readings[0].two_ms.map(|_| of(way, |r| r.two_ms.unwrap_or(f64::NAN)));
            let shown = |value: Option<f64>, digits: usize| value.map_or("-".into(), |v| format!("{v:.digits$}"));
            let ratio = epoch.map(|epoch| against(epoch, |r| r.epoch_ms.unwrap_or(f64::NAN)));
            println!(
                "{net:<12} {:<20} {forward:>9.2} {:>6.2} {step:>9.2} {:>6.2} {:>9} {:>6} {:>9} {:>9.0}",
                readings[0].what,
                against(forward, |r| r.forward_ms),
                against(step, |r| r.step_ms),
                shown(epoch, 0),
                shown(ratio, 2),
                shown(two, 0),
                of(way, |r| r.peak_mib)
            );
        }
    }
    Ok(())
}
