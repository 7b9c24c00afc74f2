//! Clients that are killed, and servers that end, while tables and models are written: what is left is whole or absent.

use std::{
    env,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tinderbox::{ScoreOptions, Scoring, ml::Transformer, nn::Network, prelude::*, tensor::Columns};

use crate::support::{classes, own_server, rows, send, untrained};

/// What a child is to do, and at which server.
const TASK: &str = "TINDERBOX_TEST_TASK";
const REMOTE: &str = "TINDERBOX_TEST_REMOTE";
/// How often a child is killed for each task.
const KILLS: &str = "TINDERBOX_TEST_KILLS";

const ROWS: u64 = 300_000;

fn pipeline(hidden: impl IntoIterator<Item = usize>, inputs: usize) -> PipelineModel {
    let stage = untrained(Network::mlp(hidden), inputs, Columns::new("features", ""), classes());
    PipelineModel::new([Box::new(stage) as Box<dyn Transformer>])
}

/// More rows than travel at once, scored in this process and written to a table.
async fn predict(spark: &Session) -> tinderbox::Result<()> {
    let text = format!(
        "SELECT id, lpad(CAST(id AS STRING), 100, '0') AS text, array(sin(id), cos(id), 1D) AS features \
         FROM range(0, {ROWS}, 1, 4)"
    );
    let options = ScoreOptions::new().mode(SaveMode::Overwrite).scoring(Scoring::Local);
    pipeline([4], 3).predict_into_with(&spark.sql(&text).await?, "scored", options).await.map(drop)
}

/// A model of 38 MB, more than travels at once.
fn large() -> PipelineModel {
    pipeline([3000, 3000], 200)
}

async fn work(task: &str, remote: &str) -> tinderbox::Result<()> {
    let spark = Session::builder().remote(remote).create().await?;
    match task {
        "predict" => predict(&spark).await?,
        _ => drop(large().save(&spark, "models", "large").await?),
    }
    spark.stop().await
}

fn child(task: &str, remote: &str) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "killed_clients::what_a_killed_client_leaves_is_whole_or_absent"])
        .envs([(TASK, task), (REMOTE, remote)])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What is there of a task's work: nothing, or all of it.
async fn left(task: &str, spark: &Session) -> bool {
    if task == "predict" {
        if !spark.catalog().table_exists("scored").await.unwrap() {
            return false;
        }
        // Another session wrote it.
        spark.catalog().refresh_table("scored").await.unwrap();
        let text = "SELECT count(*), count(DISTINCT id), count(prediction) FROM scored";
        assert_eq!(rows(&spark.sql(text).await.unwrap()).await, [format!("{ROWS}|{ROWS}|{ROWS}")]);
        return true;
    }
    match PipelineModel::load(spark, "models", "large", None).await {
        Ok(model) => {
            let weights = |model: &PipelineModel| model.network().unwrap().model().weights().clone();
            assert!(weights(&model) == weights(&large()), "other weights than were saved");
            true
        }
        Err(tinderbox::Error::ModelTable { .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn what_a_killed_client_leaves_is_whole_or_absent() {
    if let (Ok(task), Ok(remote)) = (env::var(TASK), env::var(REMOTE)) {
        return work(&task, &remote).await.unwrap();
    }
    let kills: u32 = env::var(KILLS).map_or(2, |kills| kills.parse().unwrap());
    for task in ["predict", "save"] {
        let server = own_server().driver_memory("1g").start().await.unwrap();
        // The server is slow at first.
        let mut whole = Duration::ZERO;
        for _ in 0..2 {
            let began = Instant::now();
            let done = child(task, &server.remote()).wait_with_output().unwrap();
            assert!(done.status.success(), "{task}: {}", String::from_utf8_lossy(&done.stderr));
            whole = began.elapsed();
        }
        let spark = Session::builder().remote(server.remote()).create().await.unwrap();
        assert!(left(task, &spark).await, "{task}");
        let mut found = 0;
        for kill in 1..=kills {
            for table in ["scored", "models"] {
                spark.sql(&format!("DROP TABLE IF EXISTS {table}")).await.unwrap();
            }
            let mut child = child(task, &server.remote());
            tokio::time::sleep(whole * kill / (kills + 1)).await;
            child.kill().unwrap();
            child.wait().unwrap();
            let is_there = left(task, &spark).await;
            found += u32::from(is_there);
            work(task, &server.remote()).await.unwrap();
            assert!(left(task, &spark).await, "{task}, killed after {kill} of {} parts", kills + 1);
            let staged = spark.sql("SHOW TABLES LIKE 'tinderbox_stage_*'").await.unwrap();
            assert_eq!(rows(&staged).await, [""; 0], "{task}");
        }
        println!("{task}: takes {whole:.1?}; of {kills} that were killed {found} had written all");
        spark.stop().await.unwrap();
        server.stop().await;
    }
}

#[tokio::test]
async fn a_client_is_told_of_a_server_that_ended_while_it_wrote() {
    for task in ["predict", "save"] {
        let server = own_server().driver_memory("1g").start().await.unwrap();
        let remote = format!("{}/;connect_timeout=5", server.remote().trim_end_matches('/'));
        let began = Instant::now();
        let working = work(task, &remote);
        let ending = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            send("KILL", server.process_id());
            Instant::now()
        };
        let (done, ended) = tokio::join!(working, ending);
        let error = done.expect_err("a server that is gone");
        println!("{task}, ended after {:.1?}, told {:.1?} later: {error}", ended - began, ended.elapsed());
        server.stop().await;
    }
}
