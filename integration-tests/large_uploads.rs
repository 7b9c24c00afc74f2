//! More rows from this process than the server's memory holds.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use futures::stream;
use tinderbox::{Error, dataframe::DataFrame, prelude::*, stream::RecordStream};

use crate::support::{database_for, own_server, rows, session};

fn batch(from: i64, count: i64) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(from..from + count));
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values((from..from + count).map(|id| format!("{id:0>100}"))));
    RecordBatch::try_from_iter([("id", ids), ("te.xt", texts)]).unwrap()
}

async fn staging_tables(spark: &Session, database: &str) -> Vec<String> {
    rows(&spark.sql(&format!("SHOW TABLES IN {database} LIKE 'tinderbox_stage_*'")).await.unwrap()).await
}

/// Number of rows and the checksum of their values.
async fn checksum(frame: &DataFrame) -> Vec<String> {
    let id = "CAST(id AS BIGINT)";
    rows(&frame.select_expr(["count(*)", &format!("bit_xor(xxhash64({id}, `te.xt`))"), &format!("sum({id})")])).await
}

#[tokio::test]
async fn frame_of_more_rows_than_the_heap_holds_is_staged_and_dropped_with_the_session() {
    let server = own_server().start().await.unwrap();
    let spark = Session::builder().remote(server.remote()).create().await.unwrap();
    // 330 MB of Arrow; a driver of 600 MB died of 200.
    const ROWS: i64 = 2_500_000;
    let batches = stream::iter((0..ROWS / 10_000).map(|i| Ok(batch(i * 10_000, 10_000))));
    let frame =
        spark.create_dataframe_from_stream(RecordStream::new(batch(0, 1).schema(), batches), None).await.unwrap();
    let expected = spark.range(0, ROWS).select_expr(["id", "lpad(CAST(id AS STRING), 100, '0') AS `te.xt`"]);
    assert_eq!(checksum(&frame).await, checksum(&expected).await);
    assert_eq!(staging_tables(&spark, "default").await.len(), 1);
    spark.stop().await.unwrap();
    let after = Session::builder().remote(server.remote()).create().await.unwrap();
    assert_eq!(staging_tables(&after, "default").await, [""; 0]);
    server.stop().await;
}

#[tokio::test]
async fn stream_that_fails_half_way_leaves_no_staging_table() {
    let spark = session().await;
    let database = database_for("stream_that_fails_half_way_leaves_no_staging_table").await;
    spark.sql(&format!("USE {database}")).await.unwrap();
    let failing = (0..60).map(|i| match i {
        59 => Err(Error::Cancelled { what: "the source".into() }),
        i => Ok(batch(i * 10_000, 10_000)),
    });
    let rows = RecordStream::new(batch(0, 1).schema(), stream::iter(failing));
    let error = spark.create_dataframe_from_stream(rows, None).await.unwrap_err();
    assert!(matches!(error, Error::Cancelled { .. }), "{error}");
    spark.client().settle().await;
    assert_eq!(staging_tables(&spark, &database.to_string()).await, [""; 0]);
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn staged_frame_that_is_dropped_with_its_session_takes_its_table_along() {
    let spark = session().await;
    let database = database_for("staged_frame_that_is_dropped_with_its_session_takes_its_table_along").await;
    spark.sql(&format!("USE {database}")).await.unwrap();
    let batches = stream::iter((0..60).map(|i| Ok(batch(i * 10_000, 10_000))));
    let frame =
        spark.create_dataframe_from_stream(RecordStream::new(batch(0, 1).schema(), batches), None).await.unwrap();
    assert_eq!(frame.count().await.unwrap(), 600_000);
    assert_eq!(staging_tables(&spark, &database.to_string()).await.len(), 1);
    let client = spark.client().clone();
    drop((spark, frame));
    client.settle().await;
    let after = session().await;
    assert_eq!(staging_tables(&after, &database.to_string()).await, [""; 0]);
    after.stop().await.unwrap();
}
