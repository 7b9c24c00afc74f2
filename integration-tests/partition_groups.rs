//! Rows read in partition groups: every way to form them gives every row once.

use std::sync::Arc;

use arrow::{
    array::AsArray,
    datatypes::{DataType, Int64Type},
};
use futures::TryStreamExt;
use tinderbox::{
    Error, Result,
    advanced::OperationState,
    dataframe::{DataFrame, PartitionedSource, Scratch, Strategy, column},
    session::Session,
    stream::{RecordSource, RecordStream},
};

use crate::support::{ServerFolder, database_at, database_for, own_server, rows, session, session_at};

/// Count, sum and exclusive-or of a column of whole numbers.
type Checksum = (u64, i64, i64);

async fn there(frame: &DataFrame, column: &str) -> Checksum {
    let quoted = tinderbox::dataframe::quote(column);
    let sums = [format!("count({quoted})"), format!("sum({quoted})"), format!("bit_xor({quoted})")];
    let sums = frame.select_expr(sums.iter().map(String::as_str)).collect().await.unwrap();
    let row = sums.iter().find(|batch| batch.num_rows() > 0).unwrap();
    let value = |at: usize| row.column(at).as_primitive::<Int64Type>().value(0);
    (value(0) as u64, value(1), value(2))
}

async fn here(mut stream: RecordStream, column: &str) -> Result<Checksum> {
    let mut sums = (0, 0, 0);
    while let Some(batch) = stream.try_next().await? {
        for id in batch.column_by_name(column).unwrap().as_primitive::<Int64Type>().values() {
            sums = (sums.0 + 1, sums.1 + id, sums.2 ^ id);
        }
    }
    Ok(sums)
}

const ROWS: i64 = 60_000;

/// About 8 MB in Arrow, in as many files.
async fn table_of_files(spark: &Session, name: &str, files: i32) -> DataFrame {
    let rows = spark.range_with(0, ROWS, 1, Some(files)).select_expr([
        "id",
        "repeat('x', cast(100 + id % 50 as int)) AS `a.text`",
        "id % 7 AS seven",
    ]);
    rows.write().save_as_table(name).await.unwrap();
    spark.table(name)
}

async fn proven(source: &PartitionedSource, frame: &DataFrame) -> Checksum {
    let expected = there(frame, "id").await;
    for epoch in 0..2 {
        assert_eq!(here(source.open(epoch).await.unwrap(), "id").await.unwrap(), expected, "epoch {epoch}");
    }
    expected
}

#[tokio::test]
async fn a_table_of_files_is_read_in_groups_of_files() {
    let (spark, database) = (session().await, database_for("groups_of_files").await);
    let frame = table_of_files(&spark, &database.table("t"), 12).await;
    let frame = frame.filter_expr("seven <> 3").select_expr(["id", "`a.text`", "id * 2 AS twice"]);
    let source = frame.source().cap(1 << 20);
    let plan = source.plan().await.unwrap();
    assert_eq!(plan.strategy, Strategy::Files, "{plan:?}");
    assert!((7..=12).contains(&plan.groups), "{plan:?}");
    assert_eq!(proven(&source, &frame).await.0, plan.rows);
    assert_eq!(source.open(0).await.unwrap().schema(), frame.stream().await.unwrap().schema());

    let error = frame.source().cap(64 << 10).strategy(Strategy::Files).plan().await.unwrap_err().to_string();
    assert!(error.contains("strategy") && error.contains("a file has"), "{error}");
    let large = frame.source().cap(64 << 10);
    assert_eq!(large.plan().await.unwrap().strategy, Strategy::Persisted, "a file is larger than the cap");
    let error = frame.distinct().source().strategy(Strategy::Files).plan().await.unwrap_err().to_string();
    assert!(error.contains("row by row"), "{error}");
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn few_rows_and_none_are_one_plan() {
    let spark = session().await;
    for frame in [spark.range(0, 1000), spark.range(0, 0), spark.range(0, 5).filter_expr("id > 9")] {
        let source = frame.source();
        let plan = source.plan().await.unwrap();
        assert_eq!((plan.strategy, plan.groups), (Strategy::Single, 1));
        assert_eq!(here(source.stream().await.unwrap(), "id").await.unwrap().0, frame.count().await.unwrap());
    }
    let error = spark.range(0, 9).source().cap(1000).plan().await.unwrap_err().to_string();
    assert!(error.contains("`cap` = 1000"), "{error}");
    let error = spark.range(0, 9).source().in_flight(0).plan().await.unwrap_err().to_string();
    assert!(error.contains("`in_flight` = 0"), "{error}");
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn one_large_partition_is_cut_into_small_tasks_that_keep_the_order() {
    let server = own_server().start().await.unwrap();
    let spark = Session::builder().remote(server.remote()).create().await.unwrap();
    // 24 MB in one partition, which is more than one task of this server may give, in descending order.
    let frame = spark.range_with(0, 200_000, 1, Some(4)).select_expr(["id", "repeat('x', 100) AS t"]);
    let ordered = frame.order_by([column("id").desc()]).coalesce(1);
    let source = ordered.source();
    assert_eq!(source.plan().await.unwrap().strategy, Strategy::Single);
    let mut next = 200_000;
    let mut stream = source.stream().await.unwrap();
    while let Some(batch) = stream.try_next().await.unwrap() {
        for id in batch.column(0).as_primitive::<Int64Type>().values() {
            next -= 1;
            assert_eq!(*id, next);
        }
    }
    assert_eq!(next, 0);
    source.close().await.unwrap();
    spark.stop().await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn any_other_plan_is_computed_once_and_kept() {
    let spark = session().await;
    // Another draw every time it is analysed, were it not kept.
    let frame =
        spark.range_with(0, ROWS, 1, Some(3)).select_expr(["id", "repeat('y', 90) AS t"]).filter_expr("rand() < 0.5");
    let source = frame.source().cap(512 << 10);
    let plan = source.plan().await.unwrap();
    assert_eq!(plan.strategy, Strategy::Persisted);
    assert!(plan.groups > 5, "{plan:?}");
    let first = here(source.stream().await.unwrap(), "id").await.unwrap();
    assert_eq!(first.0, plan.rows);
    assert_eq!(here(source.stream().await.unwrap(), "id").await.unwrap(), first, "the same rows again");
    source.close().await.unwrap();

    // The same rows in the same order whenever it is read, so that a seed means something.
    let ids = async || {
        let frame = spark.range_with(0, 20_000, 1, Some(3)).select_expr(["id", "repeat('y', 90) AS t"]).distinct();
        let source = frame.source().cap(256 << 10);
        let batches = source.stream().await.unwrap().collect().await.unwrap();
        let ids = batches.iter().flat_map(|b| b.column(0).as_primitive::<Int64Type>().values().to_vec());
        ids.collect::<Vec<_>>()
    };
    let (first, second) = (ids().await, ids().await);
    assert_eq!(first.len(), 20_000);
    assert_eq!(first, second);
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn rows_that_are_alike_do_not_make_a_group_too_large() {
    let spark = session().await;
    let alike = spark.range_with(0, ROWS, 1, Some(3)).select_expr([
        "id * 0 AS id",
        "map('a', 1) AS m",
        "array(named_struct('m', map('b', 2))) AS nested",
    ]);
    let source = alike.filter_expr("rand() >= 0").source().cap(256 << 10);
    let plan = source.plan().await.unwrap();
    assert!(plan.strategy == Strategy::Persisted && plan.groups >= 10, "{plan:?}");
    let mut stream = source.stream().await.unwrap();
    let (mut rows, mut most) = (0, 0);
    while let Some(batch) = stream.try_next().await.unwrap() {
        (rows, most) = (rows + batch.num_rows(), most.max(batch.num_rows()));
    }
    assert_eq!(rows as i64, ROWS);
    assert!(most < 3 * rows / plan.groups, "{most} rows of {rows} in one of {} groups", plan.groups);
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn rows_are_staged_and_what_dead_processes_left_is_dropped() {
    let (spark, database) = (session().await, database_for("staged").await);
    let tables = async || {
        let names = spark.sql(&format!("SHOW TABLES IN {database}")).await.unwrap();
        rows(&names.select_expr(["tableName"])).await
    };
    let host = tables_host(&spark, &database.to_string()).await;
    let dead = format!("tinderbox_stage_{host}_999999999_1_1_00000000000040008000000000000000_0123abcd");
    for name in [dead.as_str(), "tinderbox_stage_mine", "other"] {
        spark.range(0, 3).write().save_as_table(&database.table(name)).await.unwrap();
    }
    let frame = spark
        .range_with(0, ROWS, 1, Some(3))
        .select_expr(["id", "repeat('y', 90) AS `t`", "array(id, 2) AS a"])
        .distinct();
    let source = frame.source().cap(1 << 20).strategy(Strategy::Staged(Scratch::Database(database.to_string())));
    let plan = source.plan().await.unwrap();
    assert!(plan.groups > 4 && plan.rows == ROWS as u64, "{plan:?}");
    let during = tables().await;
    assert!(!during.contains(&dead) && during.len() == 3, "{during:?}");
    proven(&source, &frame).await;
    let kinds = |stream: RecordStream| {
        let fields = stream.schema().fields().iter().map(|field| (field.name().clone(), spark_type(field.data_type())));
        fields.collect::<Vec<_>>()
    };
    assert_eq!(kinds(source.open(0).await.unwrap()), kinds(frame.stream().await.unwrap()));
    source.close().await.unwrap();
    assert_eq!(tables().await, ["other", "tinderbox_stage_mine"]);

    let folder = ServerFolder::of("staged");
    let path = folder.join("it's a ütf8 folder");
    let source = frame.source().cap(1 << 20).strategy(Strategy::Staged(Scratch::Path(path)));
    proven(&source, &frame).await;
    drop(source);
    spark.client().settle().await;
    if let Some(here) = folder.here() {
        assert_eq!(walk(here), Vec::<String>::new());
    }
    spark.stop().await.unwrap();
}

/// A type by its name, without whether elements may be null: what was in files may always be.
fn spark_type(data_type: &DataType) -> String {
    match data_type {
        DataType::List(element) => format!("list of {}", element.data_type()),
        other => other.to_string(),
    }
}

/// This machine, as the names of staged tables have it.
async fn tables_host(spark: &Session, database: &str) -> String {
    let source = spark.range(0, 100_000).source().cap(64 << 10);
    let source = source.strategy(Strategy::Staged(Scratch::Database(database.to_owned())));
    source.plan().await.unwrap();
    let names = spark.sql(&format!("SHOW TABLES IN {database}")).await.unwrap();
    let name = rows(&names.select_expr(["tableName"])).await.remove(0);
    source.close().await.unwrap();
    name.split('_').nth(2).unwrap().to_owned()
}

/// The files below a folder.
fn walk(folder: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path.display().to_string()] }).collect()
}

#[tokio::test]
async fn a_column_that_is_named_divides_the_rows() {
    let spark = session().await;
    let values = [
        "id % 10",
        "cast(id % 10 AS tinyint)",
        "concat('ü`', cast(id % 10 AS string))",
        "date_add(date'1969-12-28', cast(id % 10 AS int))",
        "timestamp_seconds(id % 10 * 7000000 - 30000000)",
        "cast(id % 10 AS decimal(20, 3)) / 8",
        "CASE WHEN id % 10 = 4 THEN double('NaN') WHEN id % 10 = 5 THEN double('-Infinity') ELSE id / 10 END",
        "id % 2 = 0",
    ];
    let divided = async |value: &str, rows: u32, cap: u64, least: usize| {
        let key = format!("CASE WHEN id % 10 = 3 THEN NULL ELSE {value} END AS `the.key`");
        let frame = spark.range_with(0, rows.into(), 1, Some(3));
        let frame = frame.select_expr(["id", "repeat('x', 80) AS t", key.as_str()]);
        let source = frame.source().cap(cap).by_column("the.key");
        let plan = source.plan().await.unwrap();
        assert!(plan.groups >= least && plan.rows == u64::from(rows), "{value}: {plan:?}");
        proven(&source, &frame).await;
    };
    for value in values {
        divided(value, 20_000, 1 << 20, 3).await;
    }
    // More values than are counted one by one.
    for value in ["id * 3", "cast(id AS string)", "timestamp_seconds(id * 1000 - 40000000)", "sqrt(id)"] {
        divided(value, 140_000, 2 << 20, 7).await;
    }
    let frame = spark.range(0, 20_000).select_expr(["id", "array(id) AS a", "1 AS one", "repeat('x', 80) AS t"]);
    let error =
        async |column: &str| frame.source().cap(1 << 20).by_column(column).plan().await.unwrap_err().to_string();
    assert!(error("a").await.contains("column `a`"), "{}", error("a").await);
    assert!(error("one").await.contains("rows with one value"), "{}", error("one").await);
    assert!(error("none").await.contains("`none`"), "{}", error("none").await);
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn a_server_that_refuses_large_results_and_has_little_memory_gives_all_rows_in_groups() {
    let spark = own_server().conf("spark.driver.maxResultSize", "16m").start().await.unwrap();
    let session = Session::builder().remote(spark.remote()).create().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows").to_str().unwrap().to_owned();
    let floats = "transform(sequence(1, 256), i -> float(id + i)) AS features";
    let rows = session.range_with(0, 100_000, 1, Some(24)).select_expr(["id", floats]);
    rows.write().format("parquet").save(&path).await.unwrap();
    let frame = session.read().parquet(&path);
    let refused = frame.collect().await.unwrap_err();
    assert!(refused.to_string().contains("maxResultSize"), "{refused}");
    for (source, strategy) in
        [(frame.source(), Strategy::Files), (frame.source().strategy(Strategy::Persisted), Strategy::Persisted)]
    {
        let plan = source.plan().await.unwrap();
        assert_eq!((&plan.strategy, plan.rows), (&strategy, 100_000), "{plan:?}");
        assert!(plan.bytes > 100_000_000 && plan.cap < 6 << 20, "{plan:?}");
        assert_eq!(here(source.stream().await.unwrap(), "id").await.unwrap(), there(&frame, "id").await);
        source.close().await.unwrap();
    }
    session.stop().await.unwrap();
    spark.stop().await;
}

#[tokio::test]
async fn a_stream_that_is_dropped_half_way_stops_the_work_and_leaves_nothing() {
    let spark = session().await;
    let frame = spark.range_with(0, ROWS, 1, Some(3)).select_expr(["id", "repeat('y', 90) AS t"]).distinct();
    let source = frame.source().cap(1 << 20);
    let mut stream = source.stream().await.unwrap();
    stream.try_next().await.unwrap().unwrap();
    drop((stream, source));
    spark.client().settle().await;
    let states = spark.client().operation_states(Vec::new()).await.unwrap();
    assert!(!states.iter().any(|(_, state)| *state == OperationState::Running), "{states:?}");
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn rows_that_change_while_they_are_read_are_an_error() {
    let (spark, database) = (session().await, database_for("changing").await);
    let frame = table_of_files(&spark, &database.table("t"), 12).await;
    let source: Arc<dyn RecordSource> = Arc::new(frame.source().cap(1 << 20));
    here(source.open(0).await.unwrap(), "id").await.unwrap();
    spark
        .range(0, 10)
        .select_expr(["id", "'x' AS `a.text`", "id AS seven"])
        .write()
        .mode(tinderbox::dataframe::SaveMode::Overwrite)
        .save_as_table(&database.table("t"))
        .await
        .unwrap();
    let error = match source.open(1).await {
        Ok(stream) => here(stream, "id").await.unwrap_err(),
        Err(error) => error,
    };
    assert!(matches!(error, Error::Data { .. } | Error::Server(_)), "{error}");
    println!("{error}");
    spark.stop().await.unwrap();
}

/// The sum and number of a frame's whole numbers, as its source gives them.
async fn read_by_source(frame: &DataFrame) -> (i64, u64) {
    let mut stream = frame.source().stream().await.unwrap();
    let (mut sum, mut rows) = (0, 0);
    while let Some(batch) = stream.try_next().await.unwrap() {
        rows += batch.num_rows() as u64;
        sum += batch.column(0).as_primitive::<arrow::datatypes::Int64Type>().values().iter().sum::<i64>();
    }
    (sum, rows)
}

#[tokio::test]
async fn source_of_a_plan_with_a_sql_variable_gives_what_collect_gives() {
    let spark = session().await;
    spark.sql("DECLARE VARIABLE cut INT DEFAULT 5").await.unwrap();
    let frame = spark.sql("SELECT id FROM range(100) WHERE id < cut").await.unwrap();
    assert_eq!(frame.count().await.unwrap(), 5);
    assert_eq!(read_by_source(&frame).await, (10, 5));
    // Set after the plan was made.
    spark.sql("SET VAR cut = 7").await.unwrap();
    assert_eq!(read_by_source(&frame).await, (21, 7));
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn source_reads_the_table_of_the_current_catalog_and_not_its_namesake() {
    // Of one process: the other catalog is in its memory.
    let server = own_server().start().await.unwrap();
    let spark = session_at(&server).await;
    let database = database_at(&server.remote(), "source_reads_the_current_catalog").await;
    let table = database.table("t");
    spark.sql(&format!("CREATE TABLE {table} AS SELECT id FROM range(3)")).await.unwrap();
    let conf = spark.conf();
    let catalog = "spark.sql.catalog.elsewhere";
    conf.set(catalog, "org.apache.spark.sql.execution.datasources.v2.jdbc.JDBCTableCatalog").await.unwrap();
    conf.set(&format!("{catalog}.url"), "jdbc:derby:memory:elsewhere;create=true").await.unwrap();
    conf.set(&format!("{catalog}.driver"), "org.apache.derby.jdbc.EmbeddedDriver").await.unwrap();
    spark.sql(&format!("CREATE NAMESPACE IF NOT EXISTS elsewhere.{database}")).await.unwrap();
    spark.sql(&format!("CREATE TABLE elsewhere.{table} AS SELECT id + 100 AS id FROM range(5)")).await.unwrap();
    let frame = spark.table(&table);
    assert_eq!(read_by_source(&frame).await, (3, 3));
    spark.sql("SET CATALOG elsewhere").await.unwrap();
    let frame = spark.table(&table);
    assert_eq!(frame.count().await.unwrap(), 5);
    assert_eq!(read_by_source(&frame).await, (510, 5));
    spark.sql(&format!("DROP TABLE elsewhere.{table}")).await.unwrap();
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn groups_of_a_column_of_wall_clock_times_give_every_row_once() {
    let spark = session().await;
    spark.conf().set("spark.sql.session.timeZone", "Europe/Berlin").await.unwrap();
    // Through the night in which an hour is missing in Berlin.
    let at = "timestampadd(SECOND, CAST(id AS INT), TIMESTAMP_NTZ '2024-03-31 01:00:00.123456') AS at";
    let frame = spark.range_with(0, 10_000, 1, Some(2)).select_expr(["id", at, "repeat('x', 100) AS t"]);
    let source = frame.source().cap(128 << 10).by_column("at");
    assert!(source.plan().await.unwrap().groups > 5);
    assert_eq!(here(source.stream().await.unwrap(), "id").await.unwrap(), there(&frame, "id").await);
    spark.stop().await.unwrap();
}
