//! Partition groups through whatever goes wrong: every row comes once, or there is an error.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use arrow::{array::AsArray, datatypes::Int64Type};
use futures::{TryStreamExt, future::BoxFuture};
use tinderbox::{
    Result,
    advanced::Client,
    connect::{ConnectOptions, LocalSpark},
    dataframe::{DataFrame, PartitionedSource, Scratch, Strategy},
    nn::Network,
    session::Session,
    stream::{RecordSource, RecordStream},
    tensor::Columns,
    train::{TrainParams, Trainer},
};
use tokio::sync::Mutex;

use crate::support::{self, Proxy, own_server};

const ROWS: i64 = 120_000;

/// Count, sum and exclusive-or of the numbers from 0 to before `ROWS`.
fn whole() -> (u64, i64, i64) {
    (ROWS as u64, ROWS * (ROWS - 1) / 2, (0..ROWS).fold(0, |xor, id| xor ^ id))
}

/// Reads all rows, calling `meanwhile` with the count of rows after each batch.
async fn read(source: &PartitionedSource, mut meanwhile: impl AsyncFnMut(u64)) -> Result<(u64, i64, i64)> {
    let mut stream = source.stream().await?;
    let mut sums = (0, 0, 0);
    while let Some(batch) = stream.try_next().await? {
        for id in batch.column_by_name("id").unwrap().as_primitive::<Int64Type>().values() {
            sums = (sums.0 + 1, sums.1 + id, sums.2 ^ id);
        }
        meanwhile(sums.0).await;
    }
    Ok(sums)
}

/// About 14 MB as files in a folder that outlives a server.
async fn written(spark: &Session, folder: &tempfile::TempDir) -> DataFrame {
    let path = folder.path().join("rows").to_str().unwrap().to_owned();
    let rows = spark.range_with(0, ROWS, 1, Some(12)).select_expr(["id", "repeat('x', 100) AS text"]);
    rows.write().format("parquet").save(&path).await.unwrap();
    spark.read().parquet(&path)
}

async fn through(proxy: &Proxy) -> Session {
    Session::new(patient(&proxy.remote()).await)
}

/// A server takes its time to start, on a busy machine.
async fn patient(remote: &str) -> Client {
    let mut options = ConnectOptions::new(remote.parse().unwrap());
    options.retry.give_up_after = Duration::from_secs(120);
    options.connect_timeout = Duration::from_secs(60);
    Client::connect(options).await.unwrap()
}

#[tokio::test]
async fn connections_that_are_cut_and_stall_lose_no_row_of_any_group() {
    // Messages of about 250 KB, so that some pass before a connection is cut.
    let server = own_server().conf("spark.sql.execution.arrow.maxRecordsPerBatch", "2000");
    let server = server.conf("spark.connect.execute.reattachable.senderMaxStreamSize", "300k");
    let spark = server.start().await.unwrap();
    let proxy = Proxy::to(&spark.remote()).await;
    let session = through(&proxy).await;
    let folder = tempfile::tempdir().unwrap();
    let frame = written(&session, &folder).await;
    let source = frame.source().cap(2 << 20);
    assert!(source.plan().await.unwrap().groups >= 6);
    proxy.cut_every(700_000);
    let mut stalls = 0;
    let sums = read(&source, async |rows| {
        if rows as i64 > stalls * ROWS / 4 {
            stalls += 1;
            proxy.stall(true);
            tokio::time::sleep(Duration::from_millis(300)).await;
            proxy.stall(false);
        }
    });
    assert_eq!(sums.await.unwrap(), whole());
    assert!(proxy.cuts() >= 8 && stalls == 4, "{} cuts, {stalls} stalls", proxy.cuts());
    println!("{ROWS} rows through {} cuts and {stalls} stalls, streams of at most 300 KB", proxy.cuts());
    session.stop().await.unwrap();
    spark.stop().await;
}

#[tokio::test]
async fn a_far_network_that_loses_packets_loses_no_row() {
    let spark = own_server().start().await.unwrap();
    let proxy = Proxy::to(&spark.remote()).await;
    let session = through(&proxy).await;
    let folder = tempfile::tempdir().unwrap();
    let frame = written(&session, &folder).await;
    proxy.delay();
    let source = frame.source().cap(2 << 20);
    assert_eq!(read(&source, async |_| {}).await.unwrap(), whole());
    assert_eq!(proxy.connections(), 1, "slow is not gone");
    session.stop().await.unwrap();
    spark.stop().await;
}

/// Starts another server in place of one that is killed, and leads the proxy there.
async fn replace(old: LocalSpark, proxy: &Proxy) -> LocalSpark {
    support::send("KILL", old.process_id());
    let new = own_server().start().await.unwrap();
    proxy.lead_to(&new.remote());
    old.stop().await;
    new
}

#[tokio::test]
async fn a_server_that_is_started_again_serves_the_rest_of_files_and_of_staged_rows() {
    let mut spark = Some(own_server().start().await.unwrap());
    let proxy = Proxy::to(&spark.as_ref().unwrap().remote()).await;
    let folder = tempfile::tempdir().unwrap();
    let mut restarts = 0;
    let session = through(&proxy).await;
    let frame = written(&session, &folder).await;
    session.conf().set("spark.sql.shuffle.partitions", 3).await.unwrap();
    let scratch = folder.path().join("scratch").to_str().unwrap().to_owned();
    let staged = frame.distinct().source().strategy(Strategy::Staged(Scratch::Path(scratch)));
    let sources = [("files", frame.source().cap(2 << 20)), ("staged", staged.cap(2 << 20))];
    for (name, source) in &sources {
        assert!(source.plan().await.unwrap().groups >= 6, "{name}");
    }
    for (name, source) in sources {
        // Once while a group is handed on and the next is under way, once more near the end.
        let mut due = vec![ROWS as u64 * 3 / 4, 1];
        let sums = read(&source, async |rows| {
            if due.last().is_some_and(|at| rows >= *at) {
                due.pop();
                spark = Some(replace(spark.take().unwrap(), &proxy).await);
                restarts += 1;
            }
        });
        assert_eq!(sums.await.unwrap(), whole(), "{name}");
    }
    println!("{ROWS} rows twice through {restarts} restarts of the server");
    assert_eq!(restarts, 4);
    spark.unwrap().stop().await;
}

#[tokio::test]
async fn kept_rows_that_are_lost_in_the_middle_are_an_error_and_at_the_beginning_computed_again() {
    let spark = own_server().start().await.unwrap();
    let proxy = Proxy::to(&spark.remote()).await;
    let session = through(&proxy).await;
    let folder = tempfile::tempdir().unwrap();
    session.conf().set("spark.sql.shuffle.partitions", 3).await.unwrap();
    let source = written(&session, &folder).await.distinct().source().cap(2 << 20);
    assert_eq!(source.plan().await.unwrap().strategy, Strategy::Persisted);
    let spark = replace(spark, &proxy).await;
    let mut spark = Some(spark);
    let mut once = true;
    let outcome = read(&source, async |_| {
        if std::mem::take(&mut once) {
            spark = Some(replace(spark.take().unwrap(), &proxy).await);
        }
    });
    let error = outcome.await.unwrap_err();
    println!("{error}");
    assert!(matches!(error, tinderbox::Error::KeptRowsLost { .. }) && error.is_rows_lost(), "{error}");
    // From its beginning the epoch can be read again.
    assert_eq!(read(&source, async |_| {}).await.unwrap(), whole());
    spark.unwrap().stop().await;
}

/// A source whose server is replaced in the middle of the first reading.
struct Interrupted {
    source: PartitionedSource,
    spark: Arc<Mutex<Option<LocalSpark>>>,
    proxy: Arc<Proxy>,
    opened: AtomicUsize,
}

impl RecordSource for Interrupted {
    fn open(&self, epoch: usize) -> BoxFuture<'_, Result<RecordStream>> {
        Box::pin(async move {
            let stream = self.source.open(epoch).await?;
            let first = self.opened.fetch_add(1, Ordering::SeqCst) == 0;
            let (spark, proxy) = (self.spark.clone(), self.proxy.clone());
            let mut batches = 0;
            Ok(RecordStream::new(
                stream.schema().clone(),
                stream.and_then(move |batch| {
                    batches += 1;
                    let now = first && batches == 1;
                    let (spark, proxy) = (spark.clone(), proxy.clone());
                    async move {
                        if now {
                            let mut spark = spark.lock().await;
                            *spark = Some(replace(spark.take().unwrap(), &proxy).await);
                        }
                        Ok(batch)
                    }
                }),
            ))
        })
    }

    fn origin(&self) -> String {
        self.source.origin()
    }
}

#[tokio::test]
async fn training_begins_again_when_rows_that_were_kept_are_lost() {
    let spark = own_server().start().await.unwrap();
    let proxy = Arc::new(Proxy::to(&spark.remote()).await);
    let session = through(&proxy).await;
    let folder = tempfile::tempdir().unwrap();
    session.conf().set("spark.sql.shuffle.partitions", 3).await.unwrap();
    let frame = written(&session, &folder).await.distinct();
    let frame = frame.select_expr(["text", "CAST(id % 1000 AS DOUBLE) / 1000 AS x", "CAST(id % 2 AS DOUBLE) AS y"]);
    let source = frame.source().cap(2 << 20);
    assert_eq!(source.plan().await.unwrap().strategy, Strategy::Persisted);
    let spark = Arc::new(Mutex::new(Some(spark)));
    let source = Interrupted { source, spark: spark.clone(), proxy, opened: AtomicUsize::new(0) };
    let params = TrainParams { epochs: 2, batch_size: 512, ..TrainParams::default() };
    let model = Trainer::new(Network::mlp([4]), Columns::new("x", "y"), params).fit(&source).await.unwrap();
    assert_eq!(source.opened.load(Ordering::SeqCst), 2);
    assert_eq!(model.history().rows.trained, ROWS as u64);
    let spark = spark.lock().await.take().unwrap();
    spark.stop().await;
}

#[tokio::test]
async fn an_executor_that_is_killed_costs_no_row() {
    let spark =
        own_server().master("local-cluster[2,1,512]").conf("spark.executor.memory", "512m").start().await.unwrap();
    let session = Session::builder().remote(spark.remote()).create().await.unwrap();
    session.conf().set("spark.sql.shuffle.partitions", 3).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let frame = written(&session, &folder).await.distinct();
    let source = frame.source().cap(2 << 20);
    assert_eq!(source.plan().await.unwrap().strategy, Strategy::Persisted);
    let mut killed = 0;
    let sums = read(&source, async |_| {
        if killed == 0 {
            let executors = executors_of(spark.process_id());
            assert_eq!(executors.len(), 2, "{executors:?}");
            support::send("KILL", executors[0]);
            killed += 1;
        }
    });
    assert_eq!(sums.await.unwrap(), whole());
    println!("{ROWS} rows, {killed} of 2 executors killed");
    source.close().await.unwrap();
    session.stop().await.unwrap();
    spark.stop().await;
}

/// The processes of executors that a server started, on Linux.
fn executors_of(server: u32) -> Vec<u32> {
    let children =
        std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    let executors = children.filter(|pid| {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let parent = read("stat").rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
        parent == Some(server) && read("cmdline").contains("CoarseGrainedExecutorBackend")
    });
    executors.filter_map(|pid| pid.parse().ok()).collect()
}

#[tokio::test]
async fn a_session_that_is_kept_alive_outlives_silence_and_one_that_is_not_is_replaced() {
    // A request of a busy machine may take seconds, in which its session is silent too.
    const SILENCE: Duration = Duration::from_secs(34);
    let spark = own_server()
        .conf("spark.connect.session.manager.defaultSessionTimeout", "30s")
        .conf("spark.connect.session.manager.maintenanceInterval", "500ms")
        .start()
        .await
        .unwrap();
    let alive =
        Session::builder().remote(spark.remote()).keep_alive(Duration::from_millis(500)).create().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let frame = written(&alive, &folder).await;
    let silent = Session::builder().remote(spark.remote()).keep_alive(Duration::ZERO).create().await.unwrap();
    let source = silent.read().parquet(folder.path().join("rows").to_str().unwrap()).source().cap(2 << 20);
    source.plan().await.unwrap();
    // What was set by SQL counts too: the hour of a moment is another in another zone.
    silent.sql("SET spark.sql.session.timeZone = Asia/Tokyo").await.unwrap();
    let hours =
        silent.range(0, 40_000).select_expr(["CAST(hour(timestamp_seconds(id)) AS BIGINT) AS h", "repeat('x', 90)"]);
    let zoned = hours.source().cap(1 << 20);
    zoned.plan().await.unwrap();
    silent.range(0, 5).create_temp_view("gone").await.unwrap();
    let of_view = silent.table("gone").source();
    of_view.plan().await.unwrap();
    frame.create_temp_view("mine").await.unwrap();
    tokio::time::sleep(SILENCE).await;

    assert_eq!(alive.table("mine").count().await.unwrap(), ROWS as u64);
    let error = silent.range(0, 3).count().await.unwrap_err();
    assert!(error.is_session_lost(), "{error}");
    let mut silences = 0;
    let sums = read(&source, async |rows| {
        if rows as i64 > ROWS / 2 && silences == 0 {
            silences += 1;
            tokio::time::sleep(SILENCE).await;
        }
    });
    assert_eq!(sums.await.unwrap(), whole());

    let batches: Vec<_> = zoned.stream().await.unwrap().try_collect().await.unwrap();
    let hours = batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec());
    // In Tokyo it is nine o'clock at the beginning of 1970.
    assert_eq!(hours.sum::<i64>(), (0..40_000).map(|second| 9 + second / 3600).sum::<i64>());
    let error = of_view.stream().await.unwrap_err();
    assert!(matches!(error, tinderbox::Error::Incomplete { .. }), "{error}");
    alive.stop().await.unwrap();
    spark.stop().await;
}
