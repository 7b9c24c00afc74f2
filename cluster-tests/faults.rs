//! Workers that are killed, servers that are started again, networks that are cut.

use std::{
    thread,
    time::{Duration, Instant},
};

use tinderbox::dataframe::Strategy;

use crate::{
    docker::{container, containers, docker, healthy, lose_both_workers_for_a_while, restore},
    gateway,
    work::{expected, once, read, session, source, table, told},
};

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
    let kill = once(50_000, lose_both_workers_for_a_while);
    let sums = read(&source(&frame, Strategy::Files), kill).await.unwrap();
    assert_eq!(sums, expected());
    told("both workers killed, one back after 10 s", "rows stream from files", began, format!("{} rows", sums.0));
    restore().await;
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn a_restarted_server_costs_no_row_while_rows_stream() {
    let server = container("connect");
    // While this side waits, the group on its way arrives whole, and nothing runs.
    for (wait, during) in [(0, "a group of rows streams"), (5, "between groups of rows")] {
        restore().await;
        let spark = session().await;
        let frame = table(&spark).await;
        let began = Instant::now();
        let restart = once(50_000, || {
            thread::sleep(Duration::from_secs(wait));
            docker(&["restart", "-t", "0", &server]);
        });
        let sums = read(&source(&frame, Strategy::Files), restart).await.unwrap();
        assert_eq!(sums, expected(), "{during}");
        told("the Connect server restarted", during, began, format!("{} rows, checksum {}", sums.0, sums.1));
    }
    restore().await;
}

#[tokio::test]
async fn a_network_that_is_cut_costs_no_row() {
    let spark = gateway::through(|builder| builder).await.unwrap();
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
