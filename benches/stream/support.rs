//! Child processes and what they say of themselves.

use std::{
    env,
    error::Error,
    process::{Command, Stdio},
};

use tinderbox::{connect::LocalSpark, session::Session};

pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

/// What a child process prints as its last line.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct Reading {
    pub(crate) seconds: f64,
    pub(crate) rows: u64,
    /// Proof that it was the same rows.
    pub(crate) sum: f64,
    #[serde(default)]
    pub(crate) peak_mib: f64,
}

/// Runs, and prints the reading with the process's peak memory.
pub(crate) fn report(run: impl FnOnce() -> Outcome<Reading>) -> Outcome<()> {
    let mut reading = run()?;
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).and_then(|l| l.split_whitespace().next());
    reading.peak_mib = peak.ok_or("no VmHWM in /proc/self/status")?.parse::<f64>()? / 1024.0;
    println!("{}", serde_json::to_string(&reading)?);
    Ok(())
}

/// The command of this program with these arguments.
pub(crate) fn own<const N: usize>(arguments: [&str; N]) -> Outcome<Vec<String>> {
    let program = env::current_exe()?.display().to_string();
    Ok(std::iter::once(program).chain(arguments.map(str::to_owned)).collect())
}

/// The command of a script beside this file, run by the peers' Python.
pub(crate) fn python<const N: usize>(script: &str, arguments: [&str; N]) -> Outcome<Vec<String>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/stream");
    let found = Command::new(format!("{folder}/python.sh")).stderr(Stdio::inherit()).output()?;
    let python = String::from_utf8(found.stdout)?.trim().to_owned();
    Ok([python, format!("{folder}/{script}")].into_iter().chain(arguments.map(str::to_owned)).collect())
}

/// Runs a child process against a server; the error is what it said.
pub(crate) fn child(command: &[String], remote: &str) -> Outcome<Reading> {
    let child = Command::new(&command[0]).args(&command[1..]).env("SPARK_REMOTE", remote).output()?;
    let text = String::from_utf8(child.stdout)?;
    match text.lines().last().map(serde_json::from_str) {
        Some(Ok(reading)) if child.status.success() => Ok(reading),
        _ => {
            let said = String::from_utf8_lossy(&child.stderr);
            let is_error = |line: &&str| line.contains("Exception: ") || line.contains("Error: ");
            let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
            Err(said.lines().find(is_error).unwrap_or(last).chars().take(300).collect::<String>().into())
        }
    }
}

/// Runs all ways in turn, `rounds` times, every other time in reverse, as a server gets faster with every query;
/// readings by way.
pub(crate) fn alternate(ways: &[(String, Vec<String>)], remote: &str, rounds: usize) -> Vec<Vec<Reading>> {
    let mut readings = vec![Vec::new(); ways.len()];
    for round in 0..rounds {
        let mut turns: Vec<_> = ways.iter().zip(&mut readings).collect();
        if round % 2 == 1 {
            turns.reverse();
        }
        for ((name, command), readings) in turns {
            match child(command, remote) {
                Ok(reading) => readings.push(reading),
                Err(error) => eprintln!("round {round}: {name}: {error}"),
            }
        }
    }
    readings
}

/// A number from the environment.
pub(crate) fn number(name: &str, default: usize) -> Outcome<usize> {
    Ok(env::var(name).map_or(Ok(default), |n| n.parse())?)
}

pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The server at `SPARK_REMOTE`, or a local one with so much memory; and its address.
pub(crate) async fn server(memory: &str) -> Outcome<(Option<LocalSpark>, String)> {
    match env::var("SPARK_REMOTE") {
        Ok(remote) => Ok((None, remote)),
        Err(_) => {
            let spark = LocalSpark::builder().driver_memory(memory).start().await?;
            let remote = spark.remote();
            Ok((Some(spark), remote))
        }
    }
}

pub(crate) async fn session(remote: &str) -> Outcome<Session> {
    Ok(Session::builder().remote(remote).create().await?)
}
