//! The PySpark that is part of the Spark under test.

use std::{path::Path, process::Stdio};

use tinderbox::connect::LocalSpark;

/// Runs a script of `integration-tests/pyspark` with classic PySpark, in a process and a JVM of its own; the last line that
/// it prints.
pub async fn pyspark(script: &str, arguments: &[&str]) -> String {
    let home = LocalSpark::shared().await.expect("a local Spark for the tests").spark_home();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("integration-tests/pyspark").join(script);
    // An installation from the package index lies in its environment; any other has its Python beside it.
    let environment = home.ancestors().map(|folder| folder.join("bin/python3")).find(|python| python.exists());
    let mut command = tokio::process::Command::new(environment.unwrap_or_else(|| "python3".into()));
    let sources = home.join("python");
    if sources.join("lib").exists() {
        let zips = std::fs::read_dir(sources.join("lib")).unwrap().map(|zip| zip.unwrap().path());
        command.env("PYTHONPATH", std::env::join_paths(std::iter::once(sources.clone()).chain(zips)).unwrap());
    }
    // What the tests run with is not what the script is to run with.
    command
        .env_remove("SPARK_REMOTE")
        .env("SPARK_HOME", home)
        .env("SPARK_LOCAL_IP", "127.0.0.1")
        .arg(script)
        .args(arguments);
    let done = command.output().await.unwrap();
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success(), "{said}{}", String::from_utf8_lossy(&done.stderr));
    said.lines().last().unwrap_or_default().to_owned()
}

/// Runs a script of `integration-tests/pyspark` with PySpark's Connect client; what it prints, and whether it ended well.
pub async fn pyspark_connect(script: &str, arguments: Vec<String>) -> (String, bool) {
    let root = env!("CARGO_MANIFEST_DIR");
    let mut finder = tokio::process::Command::new(format!("{root}/benches/stream/python.sh"));
    let python = finder.stderr(Stdio::inherit()).output().await.unwrap();
    let mut script_run = tokio::process::Command::new(String::from_utf8(python.stdout).unwrap().trim());
    script_run.arg(format!("{root}/integration-tests/pyspark/{script}")).args(arguments);
    let done = script_run.stderr(Stdio::inherit()).output().await.unwrap();
    (String::from_utf8(done.stdout).unwrap(), done.status.success())
}
