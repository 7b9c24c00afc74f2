//! The Connect server restarted while tables and models are written: all is there or nothing, and what is said is true.

use std::{
    thread,
    time::{Duration, Instant},
};

use tinderbox::{Error, Result, ScoreOptions, Scoring, prelude::*};

use crate::{
    docker::{container, docker, restore},
    work::{ROWS, classifier, session, table, told},
};

const SCORED: &str = "tinderbox_cluster_scored";
const MODELS: &str = "tinderbox_cluster_models";

#[derive(Debug, Clone, Copy, PartialEq)]
enum Write {
    Score(Scoring),
    Save,
}

impl Write {
    async fn run(self, spark: &Session, model: &PipelineModel) -> Result<()> {
        match self {
            Write::Score(scoring) => {
                let options = ScoreOptions::new().mode(SaveMode::Overwrite).scoring(scoring);
                model.predict_into_with(&table(spark).await, SCORED, options).await.map(drop)
            }
            Write::Save => model.save(spark, MODELS, "m").await.map(drop),
        }
    }

    /// Whether what was written is there. A part of it is a failure.
    async fn is_there(self, spark: &Session) -> bool {
        match self {
            Write::Save => PipelineModel::load(spark, MODELS, "m", None).await.is_ok(),
            Write::Score(_) if !spark.catalog().table_exists(SCORED).await.unwrap() => false,
            Write::Score(_) => {
                let ids = format!(
                    "SELECT 1 FROM (SELECT count(*) n, count(DISTINCT id) ids FROM {SCORED}) \
                                   WHERE n = {ROWS} AND ids = {ROWS}"
                );
                assert_eq!(spark.sql(&ids).await.unwrap().count().await.unwrap(), 1, "a part of the rows");
                true
            }
        }
    }
}

#[tokio::test]
async fn a_server_restarted_during_a_write_leaves_all_or_nothing() {
    restore().await;
    let spark = session().await;
    let small = Pipeline::new().stage(classifier()).fit(&table(&spark).await.limit(5000)).await.unwrap();
    let large = NeuralClassifier::new(Network::mlp([2000, 2000])).epochs(1);
    let large = Pipeline::new().stage(large).fit(&table(&spark).await.limit(500)).await.unwrap();
    spark.stop().await.unwrap();
    let server = container("connect");
    for (write, after, during) in [
        (Write::Score(Scoring::Local), 4000, "predict_into, scored here"),
        (Write::Score(Scoring::OnCluster), 2000, "predict_into, scored on the cluster"),
        (Write::Save, 500, "save"),
    ] {
        let model = if write == Write::Save { &large } else { &small };
        restore().await;
        let spark = session().await;
        for name in [SCORED, MODELS] {
            spark.sql(&format!("DROP TABLE IF EXISTS {name}")).await.unwrap();
        }
        let began = Instant::now();
        let restart = {
            let server = server.clone();
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(after));
                docker(&["restart", "-t", "0", &server]);
            })
        };
        let written = write.run(&spark, model).await;
        let is_early = !restart.is_finished() && began.elapsed() < Duration::from_millis(after);
        assert!(!is_early, "{during} was over before the fault");
        let noticed = began.elapsed().as_secs_f64();
        restart.join().unwrap();
        restore().await;
        let spark = session().await;
        let is_there = write.is_there(&spark).await;
        assert!(is_there || written.is_err(), "{during}: told that all is written, and nothing is there");
        let outcome = written.as_ref().err().map_or("written".to_owned(), ToString::to_string);
        let mut state = if is_there { "whole" } else { "absent" };
        match write.run(&spark, model).await {
            // Spark knows no table, and does not make one over the files of a write that it did not survive.
            Err(Error::Server(error)) if error.is("LOCATION_ALREADY_EXISTS") => {
                let folder = error.parameters["location"].trim_matches('\'').trim_start_matches("file:");
                docker(&["exec", &server, "rm", "-r", folder]);
                state = "absent, its folder removed";
                write.run(&spark, model).await.unwrap();
            }
            again => again.unwrap(),
        }
        assert!(write.is_there(&spark).await, "{during}, once more");
        told(
            "the Connect server restarted",
            during,
            began,
            format!("after {noticed:.1} s: {outcome}; {state}; then written"),
        );
        spark.stop().await.unwrap();
    }
    let spark = session().await;
    let left = spark.sql("SHOW TABLES LIKE 'tinderbox_stage_*'").await.unwrap().count().await.unwrap();
    assert_eq!(left, 0, "staging tables are left");
    spark.stop().await.unwrap();
}
