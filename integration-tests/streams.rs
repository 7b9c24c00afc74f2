//! Results that the server or the network ends early arrive whole all the same.

use std::time::Duration;

use arrow::{array::AsArray, datatypes::Int64Type};
use futures::StreamExt;
use tinderbox::{
    Error, Result,
    connect::{Client, Event, ExecuteOptions, LocalSpark},
    stream::ipc,
};

use crate::support::{self, Proxy, connect, own_server, query, run};

const ROWS: i64 = 200_000;

/// About 26 MB in four partitions.
fn wide_rows() -> spark_connect_proto::Plan {
    query(&format!("SELECT id, concat(repeat('x', 120), id) AS text FROM range(0, {ROWS}, 1, 4)"))
}

/// Reads `wide_rows`, calling `meanwhile` with the count of rows after each batch; fails unless each came once, in order.
async fn read_in_order(client: &Client, mut meanwhile: impl AsyncFnMut(i64)) -> Result<i64> {
    let mut events = client.execute(wide_rows(), ExecuteOptions::default());
    let mut decoder = ipc::Decoder::default();
    let mut next = 0;
    while let Some(event) = events.next().await {
        let Event::Batch(payload) = event? else { continue };
        for batch in decoder.decode(payload.data, payload.rows)? {
            for id in batch.column(0).as_primitive::<Int64Type>().values() {
                assert_eq!(*id, next, "a row was lost or came twice");
                next += 1;
            }
        }
        meanwhile(next).await;
    }
    Ok(next)
}

#[tokio::test]
async fn a_stream_that_the_server_ends_early_again_and_again_loses_no_row() {
    let spark =
        own_server().conf("spark.connect.execute.reattachable.senderMaxStreamSize", "1m").start().await.unwrap();
    let client = connect(&spark.remote()).await.unwrap();
    assert_eq!(read_in_order(&client, async |_| {}).await.unwrap(), ROWS);
    client.release_session().await.unwrap();
    spark.stop().await;
}

#[tokio::test]
async fn a_connection_that_is_cut_again_and_again_loses_no_row() {
    let proxy = Proxy::to(&support::remote().await).await;
    let client = connect(&proxy.remote()).await.unwrap();
    proxy.cut_every(2_500_000);
    assert_eq!(read_in_order(&client, async |_| {}).await.unwrap(), ROWS);
    assert!(proxy.cuts() >= 5, "only {} cuts", proxy.cuts());
    client.release_session().await.unwrap();
}

#[tokio::test]
async fn a_connection_that_stalls_goes_on_where_it_was() {
    let proxy = Proxy::to(&support::remote().await).await;
    let client = connect(&proxy.remote()).await.unwrap();
    let mut stalls = 0;
    let rows = read_in_order(&client, async |rows| {
        if rows > stalls * ROWS / 3 {
            stalls += 1;
            proxy.stall(true);
            tokio::time::sleep(Duration::from_millis(300)).await;
            proxy.stall(false);
        }
    });
    assert_eq!(rows.await.unwrap(), ROWS);
    assert_eq!((stalls, proxy.connections()), (3, 1));
    client.release_session().await.unwrap();
}

/// Ends a server as a crash would: no farewell to its clients.
fn crash(spark: &LocalSpark) {
    let pid = spark.process_id().to_string();
    assert!(std::process::Command::new("kill").args(["-s", "KILL", &pid]).status().unwrap().success());
}

#[tokio::test]
async fn a_server_that_dies_in_mid_query_is_an_error_that_says_how_long_was_tried() {
    let spark = own_server().start().await.unwrap();
    let patience = Duration::from_secs(3);
    let client = support::connect_impatiently(&spark.remote(), patience).await.unwrap();
    run(&client, "SELECT 1").await.unwrap();

    let mut crashed = false;
    let reading = read_in_order(&client, async |_| {
        if !crashed {
            crash(&spark);
            crashed = true;
        }
    });
    let error = tokio::time::timeout(Duration::from_secs(60), reading).await.expect("an end").unwrap_err();
    let Error::Unreachable { address, waited, .. } = &error else { panic!("{error}") };
    assert_eq!(*address, spark.address().to_string());
    assert!(*waited >= patience / 2 && error.to_string().contains("gave up after"), "{error}");
}
