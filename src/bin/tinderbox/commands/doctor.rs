//! `tinderbox doctor`: connection, server and machine, step by step.

use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;
use tinderbox::{
    Error,
    connect::ConnectUrl,
    ml::{Transformer, operator::RemoteTransformer},
    nn::Devices,
    session::Session,
};
use tokio::net::{TcpStream, lookup_host};

use crate::{
    cli::Global,
    connection::Connection,
    failure::{Failure, Result},
    output::{Format, Output},
};

/// Time for a server to accept a connection.
const TCP: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(crate) struct Arguments {}

/// Outcome of a step.
#[derive(Debug)]
enum Outcome {
    Good(String),
    /// Work goes on without it.
    Lacking(String),
    Failed(String),
}

/// The steps so far.
#[derive(Debug)]
struct Steps<'a> {
    output: &'a Output,
    failures: usize,
}

impl Steps<'_> {
    /// Prints a step as it ends.
    fn add(&mut self, step: &str, outcome: Outcome) -> Result {
        let (mark, state, detail) = match &outcome {
            Outcome::Good(detail) => ("\x1b[32m✓\x1b[0m", "good", detail),
            Outcome::Lacking(detail) => ("\x1b[33m–\x1b[0m", "lacking", detail),
            Outcome::Failed(detail) => ("\x1b[31m✗\x1b[0m", "failed", detail),
        };
        self.failures += usize::from(matches!(outcome, Outcome::Failed(_)));
        match self.output.format() {
            Format::Table => self.output.line(format!("{mark} {step:<20} {detail}")),
            _ => self.output.line(json!({ "step": step, "state": state, "detail": detail }).to_string()),
        }
    }
}

pub(crate) async fn run(_: Arguments, global: &Global, output: &Output) -> Result {
    let mut steps = Steps { output, failures: 0 };
    machine(&mut steps)?;
    let connection = Connection::find(global).await?;
    let spark = match &connection.remote {
        Some(remote) => reach(&mut steps, &connection, remote).await?,
        None => {
            steps.add("server", Outcome::Good("none is named; a local Spark is started to look at it".into()))?;
            match connection.builder()?.create().await {
                Ok(spark) => Some(spark),
                Err(error) => {
                    steps.add("local Spark", Outcome::Failed(error.to_string()))?;
                    None
                }
            }
        }
    };
    if let Some(spark) = spark {
        server(&mut steps, &spark).await?;
        spark.stop().await?;
    }
    match steps.failures {
        0 => Ok(()),
        1 => Err(Failure::Below("1 step failed".into())),
        failures => Err(Failure::Below(format!("{failures} steps failed"))),
    }
}

/// Looks at this machine.
fn machine(steps: &mut Steps<'_>) -> Result {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    steps.add("processor", Outcome::Good(format!("{threads} threads")))?;
    let cuda = if cfg!(feature = "cuda") {
        match "cuda:all".parse::<Devices>().and_then(|devices| devices.open()) {
            Ok(devices) => Outcome::Good(format!("{} devices: devices = \"cuda:all\" in a job", devices.len())),
            Err(error) => Outcome::Lacking(error.to_string()),
        }
    } else {
        Outcome::Lacking("this build has no CUDA; `cargo install tinderbox --features cuda` makes one that has".into())
    };
    steps.add("GPU", cuda)?;
    let folder = std::env::temp_dir();
    let free = rustix::fs::statvfs(&folder).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    let disk = match free {
        Ok(bytes) => {
            let text = format!("{:.1} GB free in {}, where training keeps rows", bytes as f64 / 1e9, folder.display());
            if bytes < 2_000_000_000 {
                Outcome::Failed(format!("{text}; set TMPDIR, or training.cache_folder of a job, to a larger disk"))
            } else {
                Outcome::Good(text)
            }
        }
        Err(error) => Outcome::Lacking(format!("{}: {error}", folder.display())),
    };
    steps.add("disk", disk)
}

/// Reaches the server step by step: name, TCP, TLS and token.
async fn reach(steps: &mut Steps<'_>, connection: &Connection, remote: &str) -> Result<Option<Session>> {
    let url: ConnectUrl = match remote.parse() {
        Ok(url) => url,
        Err(error) => {
            steps.add("address", Outcome::Failed(Error::to_string(&error)))?;
            return Ok(None);
        }
    };
    let url = &url;
    let kind = if url.use_ssl() { "with TLS" } else { "without TLS" };
    steps.add("address", Outcome::Good(format!("{} {kind}, from {}", url.address(), connection.origin)))?;
    let addresses: Vec<_> = match lookup_host((url.host(), url.port())).await {
        Ok(addresses) => addresses.collect(),
        Err(error) => {
            let advice = "check the name, and that this machine's DNS knows it";
            steps.add("DNS", Outcome::Failed(format!("{}: {error}; {advice}", url.host())))?;
            return Ok(None);
        }
    };
    let shown: Vec<_> = addresses.iter().map(|address| address.ip().to_string()).collect();
    steps.add("DNS", Outcome::Good(format!("{} is {}", url.host(), shown.join(", "))))?;
    let begun = Instant::now();
    match tokio::time::timeout(TCP, TcpStream::connect(addresses.as_slice())).await {
        Ok(Ok(_)) => {
            let took = begun.elapsed().as_secs_f64() * 1e3;
            steps.add("TCP", Outcome::Good(format!("port {} accepts connections, in {took:.1} ms", url.port())))?;
        }
        Ok(Err(error)) => {
            let advice = "start the Spark Connect server, or check port and firewall";
            steps.add("TCP", Outcome::Failed(format!("port {}: {error}; {advice}", url.port())))?;
            return Ok(None);
        }
        Err(_) => {
            let advice = "a firewall may drop the packets; check that the port is open";
            steps.add(
                "TCP",
                Outcome::Failed(format!("port {}: no answer in {} s; {advice}", url.port(), TCP.as_secs())),
            )?;
            return Ok(None);
        }
    }
    match connection.builder()?.connect_timeout(Duration::from_secs(10)).create().await {
        Ok(spark) => {
            let text = if url.use_ssl() { "TLS and token accepted" } else { "accepted" };
            steps.add("access", Outcome::Good(text.into()))?;
            Ok(Some(spark))
        }
        Err(error) => {
            let advice = match &error {
                Error::Unauthenticated { .. } => "",
                Error::Unreachable { .. } if url.use_ssl() => {
                    "; check the certificate: `ca_file` in the profile names an authority of your own"
                }
                Error::Unreachable { .. } => "; if the server speaks TLS, add `;use_ssl=true` to the address",
                _ => "",
            };
            steps.add("access", Outcome::Failed(format!("{error}{advice}")))?;
            Ok(None)
        }
    }
}

/// Looks at what the server can do.
async fn server(steps: &mut Steps<'_>, spark: &Session) -> Result {
    let version = spark.version();
    let known = version.at_least(4, 0);
    let text = format!("Spark {version}");
    steps.add(
        "version",
        if known { Outcome::Good(text) } else { Outcome::Lacking(format!("{text}; tested are 4.0 to 4.3")) },
    )?;
    let begun = Instant::now();
    match spark.range(0, 1000).count().await {
        Ok(_) => {
            let took = begun.elapsed().as_secs_f64();
            steps.add("query", Outcome::Good(format!("1,000 rows counted in {took:.2} s")))?;
        }
        Err(error) => return steps.add("query", Outcome::Failed(error.to_string())),
    }
    let probe = RemoteTransformer::new("org.apache.spark.ml.feature.Binarizer");
    let probe = probe.set("inputCol", "id").set("outputCol", "bit").set("threshold", 0.5);
    let numbers = spark.range(0, 1).select_expr(["CAST(id AS DOUBLE) AS id"]);
    let operators = async { probe.transform(&numbers).await?.schema().await };
    steps.add(
        "ML over Connect",
        match operators.await {
            Ok(_) => Outcome::Good("Spark ML's operators run on the server".into()),
            Err(error) => Outcome::Lacking(format!("only stages of this program's own: {error}")),
        },
    )?;
    steps.add(
        "Python workers",
        match spark.python_workers().await {
            Ok(Ok(packages)) => Outcome::Good(format!("{packages}: models score on the cluster")),
            Ok(Err(reason)) => Outcome::Lacking(format!("{reason}; models score on this machine")),
            Err(error) => Outcome::Failed(error.to_string()),
        },
    )?;
    match spark.catalog().current_database().await {
        Ok(database) => steps.add("catalog", Outcome::Good(format!("the current database is {database}"))),
        Err(error) => steps.add("catalog", Outcome::Failed(error.to_string())),
    }
}
