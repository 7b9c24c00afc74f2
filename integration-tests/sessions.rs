//! A session: SQL, settings, tags, progress.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tinderbox::session::{Session, named, positional};

use crate::support::{database_for, remote, rows, session};

#[tokio::test]
async fn arguments_are_values_and_never_text() {
    let spark = session().await;
    let tricky = "x' OR 1 = 1 -- ";
    let arguments = named("text", tricky).and("low", 3i64).and("none", None::<i32>);
    let sql = "SELECT id, :text AS t, :none AS n FROM range(5) WHERE id >= :low ORDER BY id";
    let frame = spark.sql_with(sql, arguments.into()).await.unwrap();
    assert_eq!(rows(&frame).await, [format!("3|{tricky}|"), format!("4|{tricky}|")]);
    let arguments = positional(1.5f64).and(true).and(&b"\x00\xff"[..]);
    assert_eq!(rows(&spark.sql_with("SELECT ?, ?, ?", arguments.into()).await.unwrap()).await, ["1.5|true|00ff"]);
    let error = spark.sql("SELECT :absent").await.unwrap_err();
    assert!(error.server().is_some_and(|e| e.is("UNBOUND_SQL_PARAMETER")), "{error}");
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn a_sql_command_runs_at_once_and_once() {
    let spark = session().await;
    let database = database_for("a_sql_command_runs_at_once_and_once").await;
    let table = database.table("t");
    spark.sql(&format!("CREATE TABLE {table} AS SELECT 1 AS a")).await.unwrap();
    let inserted = spark.sql(&format!("INSERT INTO {table} VALUES (2)")).await.unwrap();
    inserted.collect().await.unwrap();
    inserted.collect().await.unwrap();
    assert_eq!(spark.table(&table).count().await.unwrap(), 2);
    let shown = spark.sql(&format!("SHOW TABLES IN {database}")).await.unwrap();
    assert_eq!(rows(&shown.select(["tableName"])).await, ["t"]);
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn settings_are_set_read_and_unset() {
    let spark =
        Session::builder().remote(remote().await).config("spark.sql.shuffle.partitions", "3").create().await.unwrap();
    let conf = spark.conf();
    assert_eq!(conf.get("spark.sql.shuffle.partitions").await.unwrap().as_deref(), Some("3"));
    conf.set("spark.sql.shuffle.partitions", 5).await.unwrap();
    assert_eq!(conf.get("spark.sql.shuffle.partitions").await.unwrap().as_deref(), Some("5"));
    conf.unset("spark.sql.shuffle.partitions").await.unwrap();
    assert_ne!(conf.get("spark.sql.shuffle.partitions").await.unwrap().as_deref(), Some("5"));
    assert_eq!(conf.get("no.such.setting").await.unwrap(), None);
    assert!(conf.set("spark.sql.shuffle.partitions", "many").await.is_err());
    assert!(spark.version().at_least(4, 0));
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn the_shared_session_is_one_until_it_is_stopped() {
    let remote = remote().await;
    let builder = || Session::builder().remote(&remote);
    let (first, second) = tokio::join!(builder().get_or_create(), builder().get_or_create());
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(first.client().session_id(), second.client().session_id());
    first.stop().await.unwrap();
    let third = builder().get_or_create().await.unwrap();
    assert_ne!(third.client().session_id(), first.client().session_id());

    // Released behind the session's back, as by another clone of its client.
    third.client().release_session().await.unwrap();
    let fourth = builder().get_or_create().await.unwrap();
    assert_ne!(fourth.client().session_id(), third.client().session_id());
    assert_eq!(fourth.range(0, 3).count().await.unwrap(), 3);

    // Another user, header or session id is another identity: none sees what is another's.
    fourth.sql("CREATE TEMP VIEW only_mine AS SELECT 1 AS a").await.unwrap();
    let mut others = Vec::new();
    for part in ["user_id=somebody_else", "x-tenant=b", "session_id=6f2b0a56-5b0e-4a80-a5ad-3c1f4a3b5f7e"] {
        let url = match remote.contains("/;") {
            true => format!("{remote};{part}"),
            false => format!("{remote}/;{part}"),
        };
        let other = Session::builder().remote(url.clone()).get_or_create().await.unwrap();
        assert_ne!(other.client().session_id(), fourth.client().session_id(), "{part}");
        assert!(!other.catalog().table_exists("only_mine").await.unwrap(), "{part}");
        let again = Session::builder().remote(url).get_or_create().await.unwrap();
        assert_eq!(again.client().session_id(), other.client().session_id(), "{part}");
        others.push(other);
    }
    assert_eq!(others[0].client().user_id(), "somebody_else");
    fourth.stop().await.unwrap();
    for other in others {
        other.stop().await.unwrap();
    }
}

#[tokio::test]
async fn what_runs_under_a_tag_is_interrupted_and_nothing_else() {
    let spark = session().await;
    spark.add_tag("slow").unwrap();
    assert!(spark.add_tag("a,b").is_err());
    assert_eq!(spark.tags(), ["slow"]);
    let running = tokio::spawn({
        let frame = spark.range(0, 100_000_000).cross_join(&spark.range(0, 1_000_000)).select_expr(["sum(hash(*))"]);
        async move { frame.collect().await }
    });
    let mut interrupted = Vec::new();
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(spark.interrupt_tag("other").await.unwrap().is_empty());
        interrupted = spark.interrupt_tag("slow").await.unwrap();
        if !interrupted.is_empty() {
            break;
        }
    }
    assert_eq!(interrupted.len(), 1);
    let error = running.await.unwrap().unwrap_err();
    assert!(error.server().is_some_and(|e| e.is("OPERATION_CANCELED")), "{error}");
    spark.remove_tag("slow");
    assert!(spark.tags().is_empty());
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn a_progress_handler_is_called_until_its_guard_is_dropped() {
    let spark = session().await;
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = calls.clone();
    let guard = spark.on_progress(move |_| _ = counter.fetch_add(1, Ordering::Relaxed));
    let work = || {
        spark.range_with(0, 200_000, 1, Some(4)).select_expr(["sum(length(repeat(sha2(CAST(id AS STRING), 512), 50)))"])
    };
    for _ in 0..20 {
        work().collect().await.unwrap();
        if calls.load(Ordering::Relaxed) > 0 {
            break;
        }
    }
    let seen = calls.load(Ordering::Relaxed);
    assert!(seen > 0);
    drop(guard);
    work().collect().await.unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), seen);
    spark.stop().await.unwrap();
}
