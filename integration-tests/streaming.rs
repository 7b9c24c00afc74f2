//! Queries whose rows keep coming.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use futures::StreamExt;
use tinderbox::{
    Error,
    dataframe::Observation,
    prelude::*,
    streaming::{OutputMode, StreamingQuery, StreamingQueryEvent, Trigger},
};

use crate::support::{ServerFolder, database_for, own_server, remote, rows, send, session, session_at};

async fn until_batch(query: &StreamingQuery, batch: i64) {
    let began = Instant::now();
    while query.last_progress().await.unwrap().is_none_or(|report| report.batch_id < batch) {
        assert!(began.elapsed() < Duration::from_secs(60), "no batch {batch} after a minute");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn query_reports_stops_and_is_found_by_its_id() {
    let spark = session().await;
    let seen = Observation::named("seen");
    let clock = spark.read_stream().format("rate").option("rowsPerSecond", 50).load();
    assert!(clock.is_streaming().await.unwrap());
    let observed = clock.observe(&seen, [functions::count(col("value")).alias("n")]);
    let query = observed
        .write_stream()
        .format("noop")
        .query_name("clock")
        .trigger(Trigger::ProcessingTime(Duration::from_millis(500)));
    let query = query.start().await.unwrap();
    assert_eq!(query.name(), Some("clock"));
    until_batch(&query, 2).await;
    let reports = query.recent_progress().await.unwrap();
    assert!(reports.windows(2).all(|pair| pair[0].batch_id < pair[1].batch_id), "{reports:?}");
    let report = reports.last().unwrap();
    assert_eq!((&*report.id, &*report.run_id), (query.id(), query.run_id()));
    assert!(report.sources[0].description.starts_with("RateStream"), "{report:?}");
    assert!(report.observed_metrics["seen"]["n"].as_i64().is_some(), "{report:?}");
    assert!(query.is_active().await.unwrap() && query.exception().await.unwrap().is_none());
    assert!(query.explain(false).await.unwrap().contains("Physical Plan"));
    let found = spark.streams().get(query.id()).await.unwrap().unwrap();
    assert_eq!((found.run_id(), found.name()), (query.run_id(), Some("clock")));
    assert!(spark.streams().active().await.unwrap().iter().any(|active| active.id() == query.id()));
    assert!(!query.await_termination(Some(Duration::from_millis(200))).await.unwrap());
    query.stop().await.unwrap();
    assert!(query.await_termination(None).await.unwrap());
    assert!(!query.is_active().await.unwrap());
    assert!(spark.streams().await_any_termination(Some(Duration::from_secs(10))).await.unwrap());
    spark.streams().reset_terminated().await.unwrap();
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn aggregates_over_windows_of_time_go_into_a_view() {
    let spark = session().await;
    let folder = ServerFolder::of("aggregates_over_windows_of_time_go_into_a_view");
    let events = "SELECT timestamp_seconds(id) AS time, id % 3 AS kind FROM range(60)";
    spark.sql(events).await.unwrap().write().parquet(&folder.join("in")).await.unwrap();
    let events = spark.read_stream().schema_ddl("time TIMESTAMP, kind BIGINT").parquet(&folder.join("in"));
    let minutes = functions::expr("window(time, '30 seconds')");
    let counts = events.with_watermark("time", "1 minute").group_by([minutes, col("kind")]).count();
    let query = counts.write_stream().format("memory").query_name("counts").output_mode(OutputMode::Complete);
    let query = query.trigger(Trigger::AvailableNow).start().await.unwrap();
    assert!(query.await_termination(Some(Duration::from_secs(60))).await.unwrap());
    let counts = spark.table("counts").select_expr(["kind", "count"]).order_by([col("kind")]);
    assert_eq!(rows(&counts).await, ["0|10", "0|10", "1|10", "1|10", "2|10", "2|10"]);
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn query_that_fails_says_why() {
    let spark = session().await;
    let clock = spark.read_stream().format("rate").option("rowsPerSecond", 10).load();
    let failing = clock.select_expr(["raise_error('no more') AS x"]);
    let query = failing.write_stream().format("noop").start().await.unwrap();
    let error = query.await_termination(Some(Duration::from_secs(60))).await.unwrap_err();
    assert!(error.server().is_some_and(|e| e.message.contains("no more")), "{error}");
    let failure = query.exception().await.unwrap().expect("a failure");
    assert!(failure.message.contains("no more") && !failure.class.is_empty(), "{failure:?}");
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn bad_queries_are_refused() {
    let spark = session().await;
    let clock = spark.read_stream().format("rate").load();
    let error = spark.range(0, 3).write_stream().format("noop").start().await.unwrap_err();
    assert!(error.server().is_some(), "a table as a stream: {error}");
    let error = clock.count().await.unwrap_err();
    assert!(error.server().is_some(), "a stream as a table: {error}");
    let error = clock.write_stream().trigger(Trigger::Continuous(Duration::ZERO)).start().await.unwrap_err();
    assert!(matches!(&error, Error::Param { name, .. } if name == "trigger"), "{error}");
    let every = clock.write_stream().trigger(Trigger::Continuous(Duration::from_secs(1)));
    let error = every.for_each_batch("/nowhere", async |_, _| Ok(())).await.unwrap_err();
    assert!(matches!(&error, Error::Param { name, .. } if name == "trigger"), "{error}");
    let error = clock.write_stream().format("parquet").start_into("/nowhere").await.unwrap_err();
    assert!(error.server().is_some(), "no checkpoint: {error}");
    let unknown = spark.streams().get("00000000-0000-0000-0000-000000000000").await;
    assert!(unknown.as_ref().is_ok_and(|query| query.is_none()), "{unknown:?}");
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn events_of_queries_arrive_as_a_stream() {
    let spark = session().await;
    let mut events = spark.streams().events().await.unwrap();
    let clock = spark.read_stream().format("rate").option("rowsPerSecond", 10).load();
    let query = clock.write_stream().format("noop").start().await.unwrap();
    let mut progressed = false;
    loop {
        let event = tokio::time::timeout(Duration::from_secs(60), events.next()).await.unwrap().unwrap().unwrap();
        match event {
            StreamingQueryEvent::Progress(report) if report.run_id == query.run_id() && !progressed => {
                progressed = true;
                query.stop().await.unwrap();
            }
            StreamingQueryEvent::Terminated { run_id, exception, .. } if run_id == query.run_id() => {
                assert!(progressed && exception.is_none());
                break;
            }
            _ => {}
        }
    }
    drop(events);
    spark.client().settle().await;
    // The place of the listener is free again.
    drop(spark.streams().events().await.unwrap());
    spark.stop().await.unwrap();
}

/// Writes a file of rows, with ids from `from` on, for a source of files to find.
async fn add_rows(spark: &Session, folder: &ServerFolder, from: i64, count: i64) {
    let rows = spark.range_with(from, from + count, 1, Some(2));
    rows.write().mode(SaveMode::Append).parquet(&folder.join("in")).await.unwrap();
}

#[tokio::test]
async fn every_row_is_in_one_batch_however_often_the_work_is_cut_off() {
    let spark = session().await;
    let folder = ServerFolder::of("every_row_is_in_one_batch_however_often_the_work_is_cut_off");
    let database = database_for("every_row_is_in_one_batch").await;
    let (source, state) = (folder.join("in"), folder.join("größe 1/state"));
    let ids = || spark.read_stream().schema_ddl("id BIGINT").option("maxFilesPerTrigger", 1).parquet(&source);
    let batches = || ids().write_stream().trigger(Trigger::AvailableNow);
    let sink = database.table("sink");
    // Work that may be given twice looks at the number.
    let append = async |rows: DataFrame, number: u64| {
        let known = spark.catalog().table_exists(&sink).await?
            && !spark.table(&sink).filter(col("batch").eq(lit(number as i64))).is_empty().await?;
        if known {
            return Ok(());
        }
        let numbered = rows.with_column("batch", lit(number as i64));
        numbered.write().mode(SaveMode::Append).save_as_table(&sink).await
    };
    add_rows(&spark, &folder, 0, 1000).await;
    assert_eq!(batches().for_each_batch(&state, append).await.unwrap(), 1);
    // Nothing new: no batch.
    assert_eq!(batches().for_each_batch(&state, append).await.unwrap(), 1);
    // The work fails, and is given the same rows under the same number, although more have come since.
    add_rows(&spark, &folder, 1000, 500).await;
    let failing = batches().for_each_batch(&state, async |_, _| Err(Error::Cancelled { what: "the work".into() }));
    let failed = failing.await;
    assert!(matches!(failed, Err(Error::Cancelled { .. })), "{failed:?}");
    add_rows(&spark, &folder, 1500, 250).await;
    let mut given = Vec::new();
    let done = batches().for_each_batch(&state, async |rows, number| {
        given.push((number, rows.count().await?));
        append(rows, number).await
    });
    assert_eq!(done.await.unwrap(), 3);
    assert_eq!(given, [(1, 500), (2, 250)]);
    // The future is dropped while the query gathers a batch.
    add_rows(&spark, &folder, 1750, 250).await;
    for millis in [50, 300, 900] {
        let cut = batches().for_each_batch(&state, append);
        _ = tokio::time::timeout(Duration::from_millis(millis), cut).await;
        spark.client().settle().await;
    }
    batches().for_each_batch(&state, append).await.unwrap();
    let sums = spark.table(&sink).agg([
        functions::count(col("id")),
        functions::expr("count(DISTINCT id)"),
        functions::sum(col("id")),
    ]);
    assert_eq!(rows(&sums).await, ["2000|2000|1999000"]);
    let numbers: BTreeSet<String> =
        rows(&spark.table(&sink).select([col("batch")]).distinct()).await.into_iter().collect();
    assert!(numbers.len() >= 4, "{numbers:?}");
    spark.stop().await.unwrap();
}

/// The folder of a child's work, and its server.
const WORK: &str = "TINDERBOX_TEST_STREAM";

/// Copies the rows of batches from a folder to another, with the numbers of their batches.
async fn copy_batches(folder: &str, remote: &str, trigger: Trigger) -> tinderbox::Result<u64> {
    let spark = Session::builder().remote(remote).create().await?;
    let ids = spark.read_stream().schema_ddl("id BIGINT").parquet(&format!("{folder}/in"));
    let append = async |rows: DataFrame, number: u64| {
        if !copied(&spark, folder).filter(col("batch").eq(lit(number as i64))).is_empty().await? {
            return Ok(());
        }
        // One file, which is there or not.
        let numbered = rows.with_column("batch", lit(number as i64)).coalesce(1);
        numbered.write().mode(SaveMode::Append).parquet(&format!("{folder}/out")).await
    };
    let done = ids.write_stream().trigger(trigger).for_each_batch(&format!("{folder}/state"), append).await?;
    spark.stop().await?;
    Ok(done)
}

fn copied(spark: &Session, folder: &str) -> DataFrame {
    spark.read().schema_ddl("id BIGINT, batch BIGINT").parquet(&format!("{folder}/out"))
}

/// Every row was copied once.
async fn check_copies(spark: &Session, folder: &str, count: i64) {
    let sums = "count(id), count(DISTINCT id), sum(id)".split(", ").map(functions::expr);
    let expected = format!("{count}|{count}|{}", count * (count - 1) / 2);
    assert_eq!(rows(&copied(spark, folder).agg(sums)).await, [expected]);
    let batches = rows(&copied(spark, folder).select([col("batch")]).distinct()).await.len();
    println!("{count} rows in {batches} batches");
}

async fn prepare(spark: &Session, folder: &ServerFolder) -> String {
    let empty = spark.range(0, 0).select_expr(["id", "id AS batch"]);
    empty.write().mode(SaveMode::Overwrite).parquet(&folder.join("out")).await.unwrap();
    add_rows(spark, folder, 0, 100).await;
    folder.join("").trim_end_matches('/').to_owned()
}

fn child(folder: &str, remote: &str) -> std::process::Child {
    std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "streaming::every_row_is_in_one_batch_through_killed_clients"])
        .env(WORK, format!("{folder}\n{remote}"))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn every_row_is_in_one_batch_through_killed_clients() {
    if let Ok(work) = std::env::var(WORK) {
        let (folder, remote) = work.split_once('\n').unwrap();
        copy_batches(folder, remote, Trigger::ProcessingTime(Duration::from_millis(100))).await.unwrap();
        return;
    }
    let (spark, remote) = (session().await, remote().await);
    let place = ServerFolder::of("every_row_is_in_one_batch_through_killed_clients");
    let folder = prepare(&spark, &place).await;
    let mut count = 100;
    for round in 0..5 {
        let mut child = child(&folder, &remote);
        work_for_a_while(&spark, &place, &folder, &mut count).await;
        // At another point each time.
        tokio::time::sleep(Duration::from_millis(50 + 170 * round)).await;
        child.kill().unwrap();
        child.wait().unwrap();
    }
    copy_batches(&folder, &remote, Trigger::AvailableNow).await.unwrap();
    check_copies(&spark, &folder, count).await;
    spark.stop().await.unwrap();
}

/// Adds rows, some of them after another batch was copied.
async fn work_for_a_while(spark: &Session, place: &ServerFolder, folder: &str, count: &mut i64) {
    let batches = async || rows(&copied(spark, folder).select([col("batch")]).distinct()).await.len();
    let (before, began) = (batches().await, Instant::now());
    loop {
        add_rows(spark, place, *count, 100).await;
        *count += 100;
        if batches().await > before {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(120), "no batch in two minutes");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test]
async fn every_row_is_in_one_batch_through_a_server_that_ends() {
    let place = ServerFolder::of("every_row_is_in_one_batch_through_a_server_that_ends");
    let mut count = 100;
    let mut folder = String::new();
    for round in 0..2 {
        let server = own_server().start().await.unwrap();
        let spark = session_at(&server).await;
        if round == 0 {
            folder = prepare(&spark, &place).await;
        }
        let mut child = child(&folder, &server.remote());
        work_for_a_while(&spark, &place, &folder, &mut count).await;
        send("KILL", server.process_id());
        child.kill().unwrap();
        child.wait().unwrap();
        server.stop().await;
    }
    let (spark, remote) = (session().await, remote().await);
    copy_batches(&folder, &remote, Trigger::AvailableNow).await.unwrap();
    check_copies(&spark, &folder, count).await;
    spark.stop().await.unwrap();
}
