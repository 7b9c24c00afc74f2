//! Results that the server or the network ends early arrive whole all the same.

use std::time::Duration;

use arrow::{
    array::AsArray,
    datatypes::{Int32Type, Int64Type},
};
use futures::StreamExt;
use tinderbox::{
    Error, Result,
    advanced::{Client, Event, ExecuteOptions, IpcDecoder, OperationState},
    connect::{ConnectOptions, LocalSpark},
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
    let mut decoder = IpcDecoder::default();
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

const MANY: u64 = 5_000_000;

/// Count, sum and exclusive-or of many rows of two numbers: what must come out the same here and on the server.
type Checksum = (u64, i64, i64);

fn many_rows() -> String {
    format!("SELECT id, hash(id) % 1000003 AS v FROM range(0, {MANY}, 1, 4)")
}

async fn checksum_there(client: &Client) -> Checksum {
    let sums = format!("SELECT count(*), sum(v), bit_xor(id * 31 + v) FROM ({})", many_rows());
    let mut sums = client.execute(query(&sums), ExecuteOptions::default());
    while let Some(event) = sums.next().await {
        let Event::Batch(payload) = event.unwrap() else { continue };
        if let Some(batch) = IpcDecoder::default().decode(payload.data, payload.rows).unwrap().first() {
            let value = |column: usize| batch.column(column).as_primitive::<Int64Type>().value(0);
            return (value(0) as u64, value(1), value(2));
        }
    }
    panic!("no sums");
}

async fn checksum_here(client: &Client) -> Checksum {
    let mut events = client.execute(query(&many_rows()), ExecuteOptions::default());
    let mut decoder = IpcDecoder::default();
    let (mut rows, mut sum, mut xor) = (0, 0, 0);
    while let Some(event) = events.next().await {
        let Event::Batch(payload) = event.unwrap() else { continue };
        for batch in decoder.decode(payload.data, payload.rows).unwrap() {
            let ids = batch.column(0).as_primitive::<Int64Type>().values();
            let values = batch.column(1).as_primitive::<Int32Type>().values();
            rows += batch.num_rows() as u64;
            for (id, v) in ids.iter().zip(values) {
                sum += i64::from(*v);
                xor ^= id * 31 + i64::from(*v);
            }
        }
    }
    (rows, sum, xor)
}

#[tokio::test]
async fn five_million_rows_arrive_whole_when_streams_end_early_and_connections_are_cut() {
    let spark =
        own_server().conf("spark.connect.execute.reattachable.senderMaxStreamSize", "1m").start().await.unwrap();
    let client = connect(&spark.remote()).await.unwrap();
    let expected = checksum_there(&client).await;
    assert_eq!(expected.0, MANY);
    assert_eq!(checksum_here(&client).await, expected, "streams of at most a mebibyte");

    let proxy = Proxy::to(&spark.remote()).await;
    let cut_off = connect(&proxy.remote()).await.unwrap();
    proxy.cut_every(2_500_000);
    assert_eq!(checksum_here(&cut_off).await, expected, "connections of at most 2.5 MB");
    assert!(proxy.cuts() >= 20, "only {} cuts", proxy.cuts());
    println!("{MANY} rows through {} cuts", proxy.cuts());
    cut_off.release_session().await.unwrap();
    client.release_session().await.unwrap();
    spark.stop().await;
}

#[tokio::test]
async fn a_result_dropped_half_way_leaves_no_operation_behind() {
    let client = connect(&support::remote().await).await.unwrap();
    let mut events = client.execute(query("SELECT id FROM range(0, 30000000, 1, 60)"), ExecuteOptions::default());
    let operation = events.operation_id().to_owned();
    while !matches!(events.next().await.unwrap().unwrap(), Event::Batch(_)) {}
    drop(events);
    client.settle().await;
    let mut states = Vec::new();
    for _ in 0..50 {
        states = client.operation_states(vec![operation.clone()]).await.unwrap();
        let over = |state: &OperationState| !matches!(state, OperationState::Running | OperationState::Terminating);
        if states.iter().all(|(_, state)| over(state)) {
            return client.release_session().await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("still there after five seconds: {states:?}");
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

/// The rows read, and how often the connection stalled for so long meanwhile: three times, if there is enough to read.
async fn read_with_stalls(client: &Client, proxy: &Proxy, pause: Duration) -> (i64, i64) {
    let mut stalls = 0;
    let rows = read_in_order(client, async |rows| {
        if rows > stalls * ROWS / 3 {
            stalls += 1;
            proxy.stall(true);
            tokio::time::sleep(pause).await;
            proxy.stall(false);
        }
    });
    (rows.await.unwrap(), stalls)
}

#[tokio::test]
async fn a_connection_that_stalls_goes_on_where_it_was() {
    let proxy = Proxy::to(&support::remote().await).await;
    let client = connect(&proxy.remote()).await.unwrap();
    let (rows, stalls) = read_with_stalls(&client, &proxy, Duration::from_millis(300)).await;
    assert_eq!((rows, stalls, proxy.connections()), (ROWS, 3, 1));
    client.release_session().await.unwrap();
}

#[tokio::test]
async fn a_connection_that_stalls_for_longer_than_keep_alive_is_replaced() {
    let proxy = Proxy::to(&support::remote().await).await;
    let mut options = ConnectOptions::new(proxy.remote().parse().unwrap());
    options.http2_keep_alive = Duration::from_millis(250);
    let client = Client::connect(options).await.unwrap();
    let (rows, stalls) = read_with_stalls(&client, &proxy, Duration::from_millis(1500)).await;
    assert_eq!((rows, stalls), (ROWS, 3));
    assert!(proxy.connections() > 1, "{} connections", proxy.connections());
    client.release_session().await.unwrap();
}

/// Ends a server as a crash would: no farewell to its clients.
fn crash(spark: &LocalSpark) {
    support::send("KILL", spark.process_id());
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
