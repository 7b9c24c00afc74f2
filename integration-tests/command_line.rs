//! The command line, by its program: exit codes, both output streams, files.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tinderbox::{
    dataframe::{column, function},
    prelude::*,
};

use crate::support::{Database, database_for, own_server, remote, send};

const IRIS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/iris.csv");

/// The program on a server, in a folder.
struct Shell<'a> {
    remote: String,
    folder: &'a Path,
}

/// What a command printed.
struct Printed {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Shell<'_> {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tinderbox"));
        command.args(arguments).current_dir(self.folder).stdin(Stdio::null());
        command.env_remove("RUST_LOG").env("XDG_CONFIG_HOME", self.folder.join("config"));
        if self.remote.is_empty() {
            command.env_remove("SPARK_REMOTE")
        } else {
            command.env("SPARK_REMOTE", &self.remote)
        };
        command
    }

    fn run(&self, arguments: &[&str]) -> Printed {
        let Output { status, stdout, stderr } = self.command(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Printed { code: status.code(), out: text(stdout), err: text(stderr) }
    }

    /// Runs a command that must succeed, and returns its standard output.
    fn ok(&self, arguments: &[&str]) -> String {
        let printed = self.run(arguments);
        assert_eq!(printed.code, Some(0), "{arguments:?}: {}\n{}", printed.out, printed.err);
        printed.out
    }

    /// Runs a command that must fail with a code, prints nothing as a result, and returns its standard error.
    fn fails(&self, arguments: &[&str], code: i32) -> String {
        let printed = self.run(arguments);
        assert_eq!(printed.code, Some(code), "{arguments:?}: {}\n{}", printed.out, printed.err);
        assert!(printed.err.contains("error:"), "{}", printed.err);
        printed.err
    }

    fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let out = self.ok(&[arguments, &["--format", "json"]].concat());
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

async fn shell<'a>(folder: &'a tempfile::TempDir, test: &str) -> (Shell<'a>, Database) {
    (Shell { remote: remote().await, folder: folder.path() }, database_for(test).await)
}

#[tokio::test]
async fn table_goes_from_csv_to_a_promoted_model_and_its_report() {
    let folder = tempfile::tempdir().unwrap();
    let (shell, database) = shell(&folder, "command_line_path").await;
    let (iris, models) = (database.table("iris"), database.table("models"));
    let imported = shell.json(&["import", IRIS, "--to", &iris]);
    assert_eq!(imported[0]["rows"], 150);
    let refused = shell.fails(&["import", IRIS, "--to", &iris], 64);
    assert!(refused.contains("--overwrite"), "{refused}");

    shell.ok(&["init", &iris, "--label", "species", "--to", "job.toml"]);
    let job = std::fs::read_to_string(folder.path().join("job.toml")).unwrap();
    assert!(job.contains("sepal_length = \"number\"") && job.contains("task = \"classes\""), "{job}");
    shell.fails(&["init", &iris, "--label", "species", "--to", "job.toml"], 64);
    let dry = shell.json(&["train", "job.toml", "--dry-run"]);
    assert_eq!(dry[0]["rows"], 150);

    let set = format!("output.scored={}", database.table("scored"));
    let trained = shell.json(&["train", "job.toml", "--models", &models, "--set", "training.epochs=60", "--set", &set]);
    assert!(trained[0]["metrics"]["accuracy"].as_f64().unwrap() > 0.85, "{trained:?}");
    assert_eq!((trained[0]["saved"]["version"].as_i64(), trained[0]["scored"]["rows"].as_i64()), (Some(1), Some(150)));
    let page = std::fs::read_to_string(folder.path().join("iris.html")).unwrap();
    assert!(page.contains("Confusion matrix") && page.contains("versicolor") && !page.contains("<script"));

    let named = ["--models", models.as_str()];
    let evaluate = |more: &[&'static str]| [&["evaluate", iris.as_str(), "--model", "iris"], &named[..], more].concat();
    shell.ok(&evaluate(&["--fail-under", "accuracy=0.85"]));
    let below = shell.run(&evaluate(&["--fail-under", "accuracy=1.1"]));
    assert_eq!(below.code, Some(1), "{}", below.err);
    shell.fails(&evaluate(&["--fail-under", "acuracy=1"]), 64);

    shell.ok(&[&["models", "promote", "iris"], &named[..]].concat());
    let listed = shell.json(&[&["models", "list", "iris"], &named[..]].concat());
    assert_eq!((listed.len(), &listed[0]["tags"]), (1, &Value::from("production")));
    let scored = database.table("by_tag");
    let predicted = shell.json(
        &[&["predict", &iris, "--model", "iris@production", "--to", &scored, "--on", "local"], &named[..]].concat(),
    );
    assert_eq!(predicted[0]["rows"], 150);
    shell.ok(&[&["models", "export", "iris", "--to", "files"], &named[..]].concat());
    let again = shell.json(&[&["models", "import", "files", "copy"], &named[..]].concat());
    assert_eq!(again[0]["version"], 1);
    shell.ok(&[&["report", "copy", "--to", "copy.html"], &named[..]].concat());
    let bad = shell.fails(&[&["models", "show", "iris@9"], &named[..]].concat(), 74);
    assert!(bad.contains("version 9"), "{bad}");
}

#[tokio::test]
async fn random_split_keeps_equal_rows_together() {
    let folder = tempfile::tempdir().unwrap();
    let (shell, database) = shell(&folder, "command_line_split").await;
    let table = database.table("rows");
    let query = format!("CREATE TABLE {table} AS SELECT id % 100 AS x, id % 2 AS y FROM range(1000)");
    shell.ok(&["sql", &query]);
    let job = format!("[data]\ntable = \"{table}\"\nlabel = \"y\"\n[columns]\nx = \"number\"\n");
    std::fs::write(folder.path().join("job.toml"), job).unwrap();
    let plan = shell.json(&["train", "job.toml", "--dry-run", "--set", "split.by=random", "--set", "split.test=0.4"]);
    let [rows, training, test] = ["rows", "training", "test"].map(|key| plan[0][key].as_u64().unwrap());
    assert_eq!((rows, training + test, test % 10), (1000, 1000, 0));
    assert!((200..600).contains(&test), "{test}");
}

#[tokio::test]
async fn job_with_three_mistakes_is_refused_before_a_server_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let shell = Shell { remote: "sc://127.0.0.1:1/;connect_timeout=1".into(), folder: folder.path() };
    let job = "[data]\ntable = \"t\"\nlabel = \"y\"\n[columns]\nx = \"nubmer\"\n[training]\nepoch = 3\nbatch_size = \"all\"\n";
    std::fs::write(folder.path().join("job.toml"), job).unwrap();
    let said = shell.fails(&["train", "job.toml"], 64);
    for words in
        ["3 problems", "line 5, column 5", "`number`", "line 7, column 1", "`epochs`", "line 8", "whole number"]
    {
        assert!(said.contains(words), "{words} in {said}");
    }
    shell.fails(&["sql", "SELECT 1"], 69);
    shell.fails(&["train", "absent.toml"], 74);
    assert_eq!(shell.run(&["trian"]).code, Some(64));
    assert_eq!(shell.run(&["train"]).code, Some(64));
    let schema: Value = serde_json::from_str(&shell.ok(&["job", "schema"])).unwrap();
    assert!(schema["properties"]["data"].is_object());
    assert!(shell.ok(&["completions", "bash"]).contains("_tinderbox"));
    assert!(shell.ok(&["man"]).contains(".TH tinderbox"));
    assert!(shell.ok(&["--version"]).starts_with(concat!("tinderbox ", env!("CARGO_PKG_VERSION"))));
}

#[tokio::test]
async fn results_are_tables_json_and_csv_on_standard_output() {
    let folder = tempfile::tempdir().unwrap();
    let (shell, database) = shell(&folder, "command_line_results").await;
    let table = database.table("odd");
    let spark = Session::builder().remote(&shell.remote).create().await.unwrap();
    let odd = "SELECT id, CASE WHEN id % 2 = 0 THEN '<b>&' END AS `a.b`, CAST(id AS DOUBLE) / 4 AS `größe`, array(id, 1) AS z, \
               current_timestamp() AS t FROM range(200)";
    spark.sql(&format!("CREATE TABLE {table} USING parquet AS {odd}")).await.unwrap();
    let rows = shell.json(&["sql", &format!("SELECT * FROM {table} ORDER BY id LIMIT 2; SELECT 'x;y' AS `semi;`")]);
    assert_eq!((&rows[0]["a.b"], rows[1].get("a.b"), &rows[2]["semi;"]), (&"<b>&".into(), None, &"x;y".into()));
    let csv = shell.ok(&["sql", &format!("SELECT `a.b`, `größe` FROM {table} ORDER BY id LIMIT 2"), "--format", "csv"]);
    assert_eq!(csv, "a.b,größe\n<b>&,0.0\n,0.25\n");
    let shown = shell.run(&["sql", &format!("SELECT id FROM {table}"), "--limit", "3"]);
    assert!(shown.err.contains("--limit 0") && shown.out.lines().count() == 5, "{}{}", shown.out, shown.err);
    let described = shell.json(&["describe", &table]);
    assert_eq!((&described[1]["nulls"], &described[0]["max"]), (&100.into(), &"199".into()));
    assert_eq!(described[2]["distribution"]["counts"].as_array().unwrap().len(), 20);
    // Vectors are shown as arrays, one that is null too.
    let vector = function("array_to_vector", [column("z").cast_str("array<double>")]);
    let vector = functions::when(column("id").gt(lit(0)), vector).alias("v");
    let rows = spark.table(&table).filter_expr("id < 2").select([column("id"), vector]);
    rows.write().save_as_table(&database.table("vectors")).await.unwrap();
    let query = format!("SELECT v FROM {} ORDER BY id", database.table("vectors"));
    let rows = shell.json(&["sql", &query]);
    assert_eq!((rows[0].get("v"), &rows[1]["v"]), (None, &serde_json::json!([1.0, 1.0])));
    let near = shell.fails(&["describe", &table.replace("odd", "ood")], 76);
    assert!(near.contains("did you mean `odd`?"), "{near}");
    let wrong = shell.fails(&["sql", "SELEC 1"], 76);
    assert!(wrong.contains("PARSE_SYNTAX_ERROR"), "{wrong}");
    // `head` closes the pipe, which is no failure.
    let mut child = shell.command(&["sql", "SELECT * FROM range(1000000)", "--format", "csv"]);
    let mut child = child.stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[tokio::test]
async fn files_of_every_format_come_back_as_they_went() {
    let folder = tempfile::tempdir().unwrap();
    let (shell, database) = shell(&folder, "command_line_files").await;
    let query = "SELECT id, CASE WHEN id % 3 > 0 THEN concat('zeile, \"', id, '\"\n') END AS text, id / 8 AS x FROM range(5000)";
    for format in ["parquet", "arrow", "csv", "jsonl"] {
        let (file, table) = (format!("rows.{format}"), database.table(format));
        let exported = shell.json(&["export", query, "--to", &file]);
        assert_eq!(exported[0]["rows"], 5000);
        shell.ok(&["import", &file, "--to", &table]);
        let sums = format!("SELECT count(*) AS n, sum(id) AS ids, sum(x) AS x, count(text) AS texts FROM {table}");
        let sums = &shell.json(&["sql", &sums])[0];
        let expected = serde_json::json!({ "n": 5000, "ids": 12497500, "x": 1562187.5, "texts": 3333 });
        assert_eq!(sums, &expected, "{format}");
    }
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains(".part")), "{left:?}");
    let failed = shell.fails(&["export", "SELECT raise_error('no') FROM range(3)", "--to", "failed.csv"], 76);
    assert!(failed.contains("no") && !folder.path().join("failed.csv").exists());
    shell.fails(&["export", query, "--to", "absent/rows.csv"], 74);
    shell.fails(&["export", query, "--to", "rows.xlsx"], 64);
    std::fs::write(folder.path().join("empty.csv"), "a,b\n").unwrap();
    let empty = shell.json(&["import", "empty.csv", "--to", &database.table("empty")]);
    assert_eq!(empty[0]["rows"], 0);
}

#[tokio::test]
async fn local_spark_runs_in_the_background_until_it_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let shell = Shell { remote: String::new(), folder: folder.path() };
    let name = format!("test-{}", std::process::id());
    let named = ["--name", name.as_str()];
    let start = [&["spark", "start", "--master", "local[1]", "--memory", "600m"], &named[..]].concat();
    let started = shell.json(&start);
    let remote = started[0]["remote"].as_str().unwrap().to_owned();
    assert_eq!(shell.json(&start)[0]["remote"], remote.as_str());
    let listed = shell.json(&["spark", "status"]);
    let entry = listed.iter().find(|entry| entry["name"] == name.as_str()).unwrap();
    assert_eq!(entry["remote"], remote.as_str());
    assert_eq!(shell.ok(&["sql", "SELECT 42 AS n", "--format", "csv", "--remote", &remote]), "n\n42\n");
    assert!(
        shell.ok(&[&["spark", "logs", "--lines", "0"], &named[..]].concat()).contains("Spark Connect server started")
    );
    shell.ok(&[&["spark", "stop"], &named[..]].concat());
    assert!(!Path::new(entry["folder"].as_str().unwrap()).exists());
    shell.fails(&[&["spark", "stop"], &named[..]].concat(), 71);
    shell.fails(&["sql", "SELECT 1", "--remote", &format!("{remote}/;connect_timeout=1")], 69);
    assert_eq!(shell.run(&["spark", "start", "--name", "a b"]).code, Some(64));
}

#[tokio::test]
async fn doctor_names_the_step_that_fails_and_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let spark = own_server().conf("spark.connect.authenticate.token", "right").start().await.unwrap();
    let shell = Shell { remote: format!("{}/;token=right", spark.remote()), folder: folder.path() };
    let healthy = shell.json(&["doctor"]);
    let state = |step: &str| healthy.iter().find(|line| line["step"] == step).map(|line| line["state"].clone());
    assert_eq!(
        (state("access"), state("query"), state("ML over Connect")),
        (Some("good".into()), Some("good".into()), Some("good".into()))
    );

    let wrong = shell.run(&["doctor", "--remote", &format!("{}/;token=sesame", spark.remote())]);
    assert_eq!(wrong.code, Some(1), "{}{}", wrong.out, wrong.err);
    assert!(wrong.out.contains("✗ access") && wrong.out.contains("refused the credentials"), "{}", wrong.out);
    assert!(!wrong.out.contains("sesame") && !wrong.err.contains("sesame"));
    shell.fails(&["sql", "SELECT 1", "--remote", &format!("{}/;token=sesame", spark.remote())], 77);

    // The same by a profile, whose token is in the environment.
    std::fs::create_dir_all(folder.path().join("config/tinderbox")).unwrap();
    let profile = format!("[profile.lab]\nremote = \"{}\"\ntoken = \"env:LAB_TOKEN\"\n", spark.remote());
    std::fs::write(folder.path().join("config/tinderbox/config.toml"), profile).unwrap();
    let by_profile = Shell { remote: String::new(), folder: folder.path() };
    let sql = ["sql", "SELECT 1 AS n", "--format", "csv", "--profile", "lab"];
    let with = by_profile.command(&sql).env("LAB_TOKEN", "right").output().unwrap();
    assert_eq!(with.stdout, b"n\n1\n");
    let without = by_profile.fails(&sql, 77);
    assert!(without.contains("LAB_TOKEN is not set"), "{without}");
    let absent = by_profile.fails(&["tables", "--profile", "labb"], 64);
    assert!(absent.contains("`lab`"), "{absent}");
    let closed = shell.run(&["doctor", "--remote", "sc://127.0.0.1:1"]);
    assert!(closed.code == Some(1) && closed.out.contains("✗ TCP"), "{}", closed.out);
    spark.stop().await;
}

#[tokio::test]
async fn ctrl_c_ends_training_with_a_checkpoint_that_the_next_run_continues() {
    let folder = tempfile::tempdir().unwrap();
    let (shell, database) = shell(&folder, "command_line_interrupt").await;
    let (iris, models) = (database.table("iris"), database.table("models"));
    shell.ok(&["import", IRIS, "--to", &iris]);
    shell.ok(&["init", &iris, "--label", "species", "--to", "job.toml"]);
    let train = |epochs: &'static str| {
        [
            "train",
            "job.toml",
            "--resume",
            "--models",
            models.as_str(),
            "--set",
            "training.early_stopping.patience=100000",
            "--set",
            epochs,
        ]
    };
    let long = train("training.epochs=100000");
    let mut child = shell.command(&long).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let checkpoints = folder.path().join("checkpoints");
    while !checkpoints.exists() && child.try_wait().unwrap().is_none() {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    send("INT", child.id());
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(130), "{said}");
    assert!(said.contains("nothing is written") && said.contains("checkpoints"), "{said}");
    assert!(ended.stdout.is_empty() && std::fs::read_dir(&checkpoints).unwrap().next().is_some());
    assert!(shell.json(&["models", "list", "--models", &models]).is_empty());
    let resumed = shell.run(&[&train("training.epochs=60")[..], &["-v"]].concat());
    assert_eq!(resumed.code, Some(0), "{}", resumed.err);
    assert!(resumed.err.contains("training resumes from a checkpoint"), "{}", resumed.err);
    assert!(std::fs::read_dir(&checkpoints).unwrap().next().is_none(), "checkpoints of a run that is over");
    assert_eq!(shell.json(&["models", "list", "--models", &models])[0]["latest"], 1);
}
