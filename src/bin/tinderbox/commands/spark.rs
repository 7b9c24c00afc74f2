//! `tinderbox spark`: local Sparks that outlive the command.
//!
//! Each is kept by a process of this program in the background. It listens on a socket in the user's cache and answers
//! with its state, or ends. A socket without a listener was left by a killed one, and is removed.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tinderbox::{Error, connect::LocalSpark};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
};

use crate::{
    failure::{Failure, Result},
    output::{Align, Format, Output, Rows},
};

/// Name of the local Spark that commands use by themselves.
pub(crate) const DEFAULT_NAME: &str = "default";

/// Time for a socket's owner to answer.
const ANSWER: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Start a local Spark that runs until it is stopped; its tables go with it
    Start {
        #[command(flatten)]
        name: Name,
        #[command(flatten)]
        server: ServerArguments,
    },
    /// List the local Sparks that run
    Status,
    /// Stop one, or all
    Stop {
        #[command(flatten)]
        name: Name,
        /// Stop all that run
        #[arg(long, conflicts_with = "name")]
        all: bool,
    },
    /// Print the log of one
    Logs {
        #[command(flatten)]
        name: Name,
        /// Number of lines from the end; 0 for all
        #[arg(long, short, default_value_t = 50)]
        lines: usize,
    },
    /// Keep one in this process
    #[command(hide = true)]
    Keep {
        #[command(flatten)]
        name: Name,
        #[command(flatten)]
        server: ServerArguments,
    },
}

#[derive(Debug, Args)]
struct Name {
    /// Name of the local Spark; commands use the one named `default`
    #[arg(long, default_value = DEFAULT_NAME, value_parser = name)]
    name: String,
}

#[derive(Debug, Args)]
struct ServerArguments {
    /// Spark's master, such as local[4]
    #[arg(long, default_value = "local[*]")]
    master: String,
    /// Memory of the server, such as 4g; a quarter of the machine's unless given
    #[arg(long)]
    memory: Option<String>,
    /// Give its Python workers numpy and pyarrow, so that models score on it (150 MB more to install)
    #[arg(long)]
    python_workers: bool,
    /// A setting of the server; may be given several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = super::key_value)]
    conf: Vec<(String, String)>,
}

/// Checks a name that becomes a file's.
fn name(text: &str) -> std::result::Result<String, String> {
    let fits =
        !text.is_empty() && text.len() <= 40 && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    if fits { Ok(text.to_owned()) } else { Err("must be up to 40 letters, digits, `-` and `_`".into()) }
}

/// A local Spark that runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) remote: String,
    version: String,
    folder: PathBuf,
    process: u32,
    /// Seconds since its start.
    seconds: u64,
}

/// Returns the folder of sockets: short, since a socket's path may have 107 bytes.
fn folder() -> Result<PathBuf> {
    let folder = LocalSpark::default_cache_dir().unwrap_or_else(env::temp_dir).join("running");
    fs::create_dir_all(&folder).map_err(|error| Failure::io(&folder, error))?;
    Ok(folder)
}

fn socket(name: &str) -> Result<PathBuf> {
    Ok(folder()?.join(format!("{name}.sock")))
}

/// Sends a word to the process that keeps a local Spark; `None` if none listens.
async fn ask(socket: &Path, word: &str) -> Option<String> {
    let ask = async {
        let mut stream = UnixStream::connect(socket).await.ok()?;
        stream.write_all(format!("{word}\n").as_bytes()).await.ok()?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).await.ok()?;
        Some(answer)
    };
    tokio::time::timeout(ANSWER, ask).await.ok().flatten()
}

/// Returns the state of the local Spark of a name, if it runs.
pub(crate) async fn running(name: &str) -> Option<State> {
    serde_json::from_str(&ask(&socket(name).ok()?, "state").await?).ok()
}

/// Returns the names of all local Sparks that run, and their states.
async fn all() -> Result<Vec<(String, State)>> {
    let folder = folder()?;
    let entries = fs::read_dir(&folder).map_err(|error| Failure::io(&folder, error))?;
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".sock")?.to_owned()))
        .collect();
    names.sort();
    let mut found = Vec::new();
    for name in names {
        match running(&name).await {
            Some(state) => found.push((name, state)),
            None => _ = fs::remove_file(socket(&name)?),
        }
    }
    Ok(found)
}

pub(crate) async fn run(arguments: Arguments, output: &Output) -> Result {
    match arguments.action {
        Action::Start { name, server } => start(&name.name, &server, output).await,
        Action::Keep { name, server } => keep(&name.name, server).await,
        Action::Status => status(output).await,
        Action::Stop { name, all: false } => stop(&[name.name], output).await,
        Action::Stop { all: true, .. } => {
            let names: Vec<_> = all().await?.into_iter().map(|(name, _)| name).collect();
            stop(&names, output).await
        }
        Action::Logs { name, lines } => logs(&name.name, lines, output).await,
    }
}

async fn start(name: &str, server: &ServerArguments, output: &Output) -> Result {
    if let Some(state) = running(name).await {
        output.say(format!("local Spark `{name}` runs already"));
        return print(&state, output);
    }
    output.say("starting Spark; the first time it is installed, which takes a minute or two");
    let program = env::current_exe().map_err(|error| Failure::io("this program", error))?;
    let log = folder()?.join(format!("{name}.log"));
    let errors = fs::File::create(&log).map_err(|error| Failure::io(&log, error))?;
    let mut command = Command::new(program);
    command.args(["spark", "keep", "--name", name, "--master", &server.master]);
    if let Some(memory) = &server.memory {
        command.args(["--memory", memory]);
    }
    if server.python_workers {
        command.arg("--python-workers");
    }
    for (key, value) in &server.conf {
        command.arg("--conf").arg(format!("{key}={value}"));
    }
    // A group of its own, so that Ctrl-C in the terminal does not reach it.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
    let mut process = command.spawn().map_err(|error| Failure::io("this program", error))?;
    let begun = Instant::now();
    loop {
        if let Some(state) = running(name).await {
            output.say(format!("local Spark `{name}` is ready after {:.1} s", begun.elapsed().as_secs_f64()));
            return print(&state, output);
        }
        if process.try_wait().map_err(|error| Failure::io("the process in the background", error))?.is_some() {
            let reason = fs::read_to_string(&log).unwrap_or_default();
            let reason = reason.trim().trim_start_matches("error: local Spark: ").to_owned();
            return Err(Error::LocalSpark { reason, log: String::new() }.into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Prints how to reach a local Spark.
fn print(state: &State, output: &Output) -> Result {
    let object = json!({ "remote": state.remote, "version": state.version });
    output.object(|| format!("SPARK_REMOTE={}", state.remote), &object)
}

/// Runs a local Spark until somebody asks for its end.
async fn keep(name: &str, server: ServerArguments) -> Result {
    let socket = socket(name)?;
    let builder = LocalSpark::builder().master(server.master).python_workers(server.python_workers);
    let builder = server.conf.into_iter().fold(builder, |builder, (key, value)| builder.conf(key, value));
    let builder = match server.memory {
        Some(memory) => builder.driver_memory(memory),
        None => builder,
    };
    let spark = builder.start().await?;
    if running(name).await.is_some() {
        let reason = format!("another `{name}` was started at the same time");
        return Err(Error::LocalSpark { reason, log: String::new() }.into());
    }
    _ = fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).map_err(|error| Failure::io(&socket, error))?;
    let begun = Instant::now();
    let mut ended = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = ended.recv() => break,
        };
        let Ok((stream, _)) = stream else { continue };
        let mut stream = BufReader::new(stream);
        let mut word = String::new();
        if tokio::time::timeout(ANSWER, stream.read_line(&mut word)).await.is_err() {
            continue;
        }
        let state = State {
            remote: spark.remote(),
            version: spark.version().to_owned(),
            folder: spark.folder().to_owned(),
            process: std::process::id(),
            seconds: begun.elapsed().as_secs(),
        };
        if word.trim() == "stop" {
            _ = fs::remove_file(&socket);
            spark.stop().await;
            // Who asked waits for the end of the stream, by which all is gone.
            _ = stream.get_mut().write_all(b"stopped\n").await;
            return Ok(());
        }
        // The end of the stream without a state says that the server died.
        let alive = tokio::net::TcpStream::connect(spark.address()).await.is_ok();
        if !alive {
            break;
        }
        _ = stream.get_mut().write_all(format!("{}\n", json!(state)).as_bytes()).await;
    }
    _ = fs::remove_file(&socket);
    spark.stop().await;
    Ok(())
}

async fn status(output: &Output) -> Result {
    let columns = ["name", "remote", "version", "process", "running", "folder"];
    let mut rows = Rows::new(columns.map(|name| (name, Align::Left)));
    for (name, state) in all().await? {
        let running = match output.format() {
            Format::Table => json!(crate::output::duration(Duration::from_secs(state.seconds))),
            _ => json!(state.seconds),
        };
        let State { remote, version, folder, process, .. } = state;
        rows.push([json!(name), json!(remote), json!(version), json!(process), running, json!(folder)]);
    }
    output.rows(&rows, "no local Spark runs")
}

async fn stop(names: &[String], output: &Output) -> Result {
    if names.is_empty() {
        output.say("no local Spark runs");
    }
    for name in names {
        // The JVM takes a moment to end.
        let socket = socket(name)?;
        let asked = async {
            let mut stream = UnixStream::connect(&socket).await.ok()?;
            stream.write_all(b"stop\n").await.ok()?;
            let mut answer = String::new();
            BufReader::new(stream).read_line(&mut answer).await.ok()
        };
        match tokio::time::timeout(Duration::from_secs(60), asked).await {
            Ok(Some(_)) => output.say(format!("stopped local Spark `{name}`")),
            Ok(None) => {
                let reason = format!("none named `{name}` runs; `tinderbox spark status` lists those that do");
                return Err(Error::LocalSpark { reason, log: String::new() }.into());
            }
            Err(_) => {
                let reason = format!("`{name}` did not stop within 60 s");
                return Err(Error::LocalSpark { reason, log: String::new() }.into());
            }
        }
    }
    Ok(())
}

async fn logs(name: &str, lines: usize, output: &Output) -> Result {
    let Some(state) = running(name).await else {
        let reason = format!("none named `{name}` runs; `tinderbox spark status` lists those that do");
        return Err(Error::LocalSpark { reason, log: String::new() }.into());
    };
    let path = state.folder.join("spark.log");
    let log = fs::read_to_string(&path).map_err(|error| Failure::io(&path, error))?;
    let all: Vec<&str> = log.lines().collect();
    let begin = if lines == 0 { 0 } else { all.len().saturating_sub(lines) };
    output.line(all[begin..].join("\n"))
}
