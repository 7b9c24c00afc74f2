//! Workers that are killed, servers that are started again, networks that are cut.

use std::{
    thread,
    time::{Duration, Instant},
};

use tinderbox::{
    dataframe::Strategy,
    estimator::NeuralModel,
    ml::Estimator,
    prelude::*,
    score::{ScoreOptions, Scoring},
};

use crate::{
    docker::{container, containers, docker, healthy, restore},
    work::{ROWS, classifier, expected, once, read, session, source, table},
};

fn told(fault: &str, during: &str, began: Instant, outcome: impl std::fmt::Display) {
    println!("| {fault} | {during} | {:.1} s | {outcome} |", began.elapsed().as_secs_f64());
}

#[tokio::test]
async fn a_worker_that_is_killed_costs_no_row() {
    let spark = session().await;
    let frame = table(&spark).await;
    for (strategy, during) in [(Strategy::Files, "rows stream from files"), (Strategy::Persisted, "kept rows are read")]
    {
        restore().await;
        let began = Instant::now();
        let source = source(&frame, strategy);
        let kill = once(50_000, || _ = docker(&["kill", &containers("worker")[0]]));
        let sums = read(&source, kill).await.unwrap();
        assert_eq!(sums, expected(), "{during}");
        source.close().await.unwrap();
        told("a worker killed", during, began, format!("{} rows, checksum {}", sums.0, sums.1));
    }
    restore().await;
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn when_all_workers_are_lost_reading_goes_on_once_one_is_back() {
    let spark = session().await;
    let frame = table(&spark).await;
    restore().await;
    let began = Instant::now();
    let workers = containers("worker");
    let kill = once(50_000, || {
        docker(&["kill", &workers[0], &workers[1]]);
        let back = workers[0].clone();
        thread::spawn(move || {
            thread::sleep(Duration::from_secs(10));
            docker(&["start", &back]);
        });
    });
    let sums = read(&source(&frame, Strategy::Files), kill).await.unwrap();
    assert_eq!(sums, expected());
    told("both workers killed, one back after 10 s", "rows stream from files", began, format!("{} rows", sums.0));
    restore().await;
    spark.stop().await.unwrap();
}

fn weights(model: &dyn tinderbox::ml::Model) -> tinderbox::nn::Weights {
    model.as_any().downcast_ref::<NeuralModel>().unwrap().model().weights().clone()
}

#[tokio::test]
async fn training_comes_to_the_same_weights_through_a_lost_worker_and_a_restarted_server() {
    let spark = session().await;
    let frame = table(&spark).await;
    restore().await;
    let undisturbed = weights(&*classifier().fit(&frame).await.unwrap());
    let server = container("connect");
    type Fault = Box<dyn Fn() + Send + Sync>;
    let faults: [(&str, Fault); 2] = [
        ("a worker killed", Box::new(|| _ = docker(&["kill", &containers("worker")[1]]))),
        ("the Connect server restarted", Box::new(move || _ = docker(&["restart", "-t", "0", &server]))),
    ];
    for (fault, make) in faults {
        restore().await;
        let spark = session().await;
        let frame = table(&spark).await;
        let began = Instant::now();
        let making = thread::spawn(move || {
            thread::sleep(Duration::from_millis(2500));
            make();
        });
        let fitted = classifier().fit(&frame).await;
        making.join().unwrap();
        let outcome = match fitted {
            Ok(model) => {
                assert!(weights(&*model) == undisturbed, "{fault}: other weights");
                "the same weights".to_owned()
            }
            Err(error) => panic!("{fault}: {error}"),
        };
        told(fault, "a network learns", began, outcome);
    }
    restore().await;
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn a_restarted_server_costs_no_row_while_rows_stream() {
    let spark = session().await;
    let frame = table(&spark).await;
    restore().await;
    let began = Instant::now();
    let server = container("connect");
    let restart = once(50_000, || _ = docker(&["restart", "-t", "0", &server]));
    let sums = read(&source(&frame, Strategy::Files), restart).await.unwrap();
    assert_eq!(sums, expected());
    told(
        "the Connect server restarted",
        "rows stream from files",
        began,
        format!("{} rows, checksum {}", sums.0, sums.1),
    );
    restore().await;
}

#[tokio::test]
async fn a_server_restarted_during_a_write_leaves_all_or_nothing() {
    let spark = session().await;
    let frame = table(&spark).await;
    restore().await;
    let model = Pipeline::new().stage(classifier()).fit(&frame.limit(5000)).await.unwrap();
    let server = container("connect");
    for during in ["predict_into", "save"] {
        restore().await;
        let spark = session().await;
        for name in ["tinderbox_cluster_scored", "tinderbox_cluster_models"] {
            spark.sql(&format!("DROP TABLE IF EXISTS {name}")).await.unwrap();
        }
        let began = Instant::now();
        let (server, after) = (server.clone(), if during == "save" { 100 } else { 3000 });
        let making = thread::spawn(move || {
            thread::sleep(Duration::from_millis(after));
            docker(&["restart", "-t", "0", &server]);
        });
        let write = async |spark: &Session| match during {
            "save" => model.save(spark, "tinderbox_cluster_models", "m").await.map(drop),
            _ => {
                let options = ScoreOptions::new().mode(SaveMode::Overwrite).scoring(Scoring::Local);
                let frame = spark.table("tinderbox_cluster_rows");
                model.predict_into_with(&frame, "tinderbox_cluster_scored", options).await.map(drop)
            }
        };
        let written = write(&spark).await;
        let (noticed, outcome) = (began, written.as_ref().err().map_or("done".to_owned(), ToString::to_string));
        making.join().unwrap();
        restore().await;
        let spark = session().await;
        let there = async |spark: &Session| match during {
            "save" => PipelineModel::load(spark, "tinderbox_cluster_models", "m", None).await.is_ok(),
            _ if !spark.table_exists("tinderbox_cluster_scored").await.unwrap() => false,
            _ => {
                assert_eq!(spark.table("tinderbox_cluster_scored").count().await.unwrap(), ROWS as u64);
                true
            }
        };
        let is_there = there(&spark).await;
        assert!(is_there || written.is_err(), "{during}: told that all is written, and nothing is there");
        told("the Connect server restarted", during, noticed, format!("{outcome}; there: {is_there}"));
        write(&spark).await.unwrap();
        assert!(there(&spark).await, "{during}, once more");
        spark.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_network_that_is_cut_costs_no_row() {
    let spark = crate::gateway::through(|builder| builder).await.unwrap();
    let frame = table(&spark).await;
    restore().await;
    let (gateway, network) = (container("gateway"), docker(&["inspect", "-f", NETWORK, &container("gateway")]));
    for seconds in [5, 30, 90] {
        let began = Instant::now();
        let cut = once(50_000, || {
            docker(&["network", "disconnect", &network, &gateway]);
            let (gateway, network) = (gateway.clone(), network.clone());
            thread::spawn(move || {
                thread::sleep(Duration::from_secs(seconds));
                docker(&["network", "connect", &network, &gateway]);
            });
        });
        let sums = read(&source(&frame, Strategy::Files), cut).await.unwrap();
        assert_eq!(sums, expected(), "cut for {seconds} s");
        told(&format!("the network cut for {seconds} s"), "rows stream", began, format!("{} rows", sums.0));
        healthy("gateway").await;
    }
    spark.stop().await.unwrap();
}

const NETWORK: &str = "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}}{{end}}";
