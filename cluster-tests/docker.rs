//! The cluster's containers: what runs, what is ended, what is awaited.

use std::{
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Runs `docker` to its end, and gives what it printed.
pub fn docker(arguments: &[&str]) -> String {
    run("docker", arguments)
}

/// Runs Compose on the cluster.
pub fn compose(arguments: &[&str]) -> String {
    run(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/cluster"), &[&["compose"], arguments].concat())
}

fn run(program: &str, arguments: &[&str]) -> String {
    let done = Command::new(program).args(arguments).stderr(Stdio::piped()).output().unwrap();
    let (said, failed) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{program} {arguments:?}: {failed}");
    said.trim().to_owned()
}

/// The containers of a service, those that ended too.
pub fn containers(service: &str) -> Vec<String> {
    compose(&["ps", "-q", service]).lines().map(str::to_owned).collect()
}

/// The only container of a service.
pub fn container(service: &str) -> String {
    containers(service).remove(0)
}

/// Waits until so many executors are there.
pub async fn executors(count: usize) {
    let connect = container("connect");
    until(&format!("{count} executors"), || {
        let mut asked = Command::new("docker");
        asked.args(["exec", &connect, "health.py", "executors", &count.to_string()]);
        asked.stderr(Stdio::null()).stdout(Stdio::null()).status().unwrap().success()
    })
    .await;
}

/// Kills both workers; one is started again after ten seconds, in the background.
pub fn lose_both_workers_for_a_while() {
    let workers = containers("worker");
    docker(&["kill", &workers[0], &workers[1]]);
    thread::spawn(move || {
        thread::sleep(Duration::from_secs(10));
        docker(&["start", &workers[0]]);
    });
}

/// Starts what a test ended, and waits until the cluster is whole again.
pub async fn restore() {
    for service in ["worker", "connect", "gateway"] {
        for container in containers(service) {
            docker(&["start", &container]);
        }
    }
    healthy("connect").await;
    executors(2).await;
}

/// Waits until a service says that it is healthy.
pub async fn healthy(service: &str) {
    let container = container(service);
    until(service, || docker(&["inspect", "-f", "{{.State.Health.Status}}", &container]) == "healthy").await;
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(180), "no {what} after three minutes");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
