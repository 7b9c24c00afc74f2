//! Frames that the cluster keeps, watches, and answers questions about.

use serde_json::json;
use tinderbox::{
    dataframe::{InsertAction, MergeAction, Observation, Schema, StorageLevel},
    prelude::*,
};

use crate::support::{ServerFolder, database_for, own_server, rows, session, session_at};

#[tokio::test]
async fn checkpoints_replace_the_plan_by_its_rows() {
    let server =
        own_server().conf("spark.checkpoint.dir", std::env::temp_dir().display().to_string()).start().await.unwrap();
    let spark = session_at(&server).await;
    let random = spark.range(0, 100).select_expr(["id", "rand() AS r"]);
    for (name, frame) in [
        ("checkpoint", random.checkpoint(true).await.unwrap()),
        ("local_checkpoint", random.local_checkpoint(true, None).await.unwrap()),
        ("local_checkpoint on disk", random.local_checkpoint(false, Some(StorageLevel::DISK_ONLY)).await.unwrap()),
    ] {
        let first = rows(&frame.order_by([col("id")])).await;
        assert_eq!(rows(&frame.order_by([col("id")])).await, first, "{name}");
        // Frames over it keep it, and the last one lets it go.
        let sum = frame.agg([functions::count(col("r"))]);
        drop(frame);
        assert_eq!(rows(&sum).await, ["100"], "{name}");
        drop(sum);
        spark.client().settle().await;
    }
    spark.stop().await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn checkpoint_without_a_folder_is_refused() {
    let spark = session().await;
    let error = spark.range(0, 3).checkpoint(true).await.unwrap_err();
    assert!(error.server().is_some_and(|error| error.message.contains("heckpoint")), "{error}");
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn observations_are_taken_by_every_action() {
    let spark = session().await;
    let database = database_for("observations_are_taken_by_every_action").await;
    let (all, even) = (Observation::new(), Observation::named("größe"));
    let observed = spark.range_with(0, 1000, 1, Some(3)).observe(
        &all,
        [
            functions::count(lit(1)).alias("rows"),
            functions::max(col("id")).alias("greatest"),
            functions::avg(col("id")).alias("mean"),
            functions::max(functions::expr("IF(id < 0, 'x', NULL)")).alias("none"),
        ],
    );
    let observed =
        observed.filter(functions::expr("id % 2 = 0")).observe(&even, [functions::count(lit(1)).alias("rows")]);
    assert_eq!(all.get(), None);
    observed.write().save_as_table(&database.table("t")).await.unwrap();
    let seen = json!({"rows": 1000, "greatest": 999, "mean": 499.5, "none": null});
    assert_eq!(json!(all.get()), seen);
    assert_eq!(json!(even.get()), json!({"rows": 500}));
    let fewer = spark.range(0, 10).observe(&even, [functions::count(lit(1)).alias("rows")]);
    assert_eq!(fewer.collect().await.unwrap().iter().map(|batch| batch.num_rows()).sum::<usize>(), 10);
    assert_eq!(json!(even.get()), json!({"rows": 10}));
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn metrics_say_how_many_rows_each_node_gave() {
    let spark = session().await;
    let frame = spark.range_with(0, 1000, 1, Some(2)).filter(functions::expr("id % 4 = 0"));
    let (batches, nodes) = frame.collect_with_metrics().await.unwrap();
    assert_eq!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), 250);
    let filter = nodes.iter().find(|node| node.node == "Filter").unwrap_or_else(|| panic!("{nodes:?}"));
    assert_eq!(filter.metrics["numOutputRows"].value, 250);
    let range = nodes.iter().find(|node| node.node == "Range").unwrap();
    assert_eq!((range.metrics["numOutputRows"].value, range.parent), (1000, filter.id));
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn questions_about_a_plan_are_answered() {
    let spark = session().await;
    let folder = ServerFolder::of("questions_about_a_plan_are_answered");
    let numbers = spark.range(0, 5).with_column("t", functions::expr("CAST(id AS STRING)"));
    assert_eq!(numbers.columns().await.unwrap(), ["id", "t"]);
    assert_eq!(numbers.dtypes().await.unwrap()[1], ("t".to_owned(), "string".to_owned()));
    assert!(numbers.tree_string(None).await.unwrap().starts_with("root\n |-- id: long"));
    assert!(!numbers.is_streaming().await.unwrap());
    assert!(spark.sql("SHOW DATABASES").await.unwrap().is_local().await.unwrap());
    let same = spark.range(0, 5).with_column("t", functions::expr("CAST(id AS STRING)"));
    assert!(numbers.same_semantics(&numbers).await.unwrap() && !numbers.same_semantics(&same.limit(1)).await.unwrap());
    assert_eq!(numbers.semantic_hash().await.unwrap(), numbers.semantic_hash().await.unwrap());
    assert!(!numbers.is_cached().await.unwrap());
    numbers.persist_at(StorageLevel::DISK_ONLY).await.unwrap();
    assert_eq!(numbers.storage_level().await.unwrap(), StorageLevel::DISK_ONLY);
    numbers.unpersist().await.unwrap();

    numbers.write().mode(SaveMode::Overwrite).json(&folder.join("größe")).await.unwrap();
    let files = spark.read().json(&folder.join("größe"));
    assert!(!files.input_files().await.unwrap().is_empty());
    let texts = spark.read().text(&folder.join("größe"));
    let parsed = spark.read().format("json").schema_ddl("id BIGINT, t STRING").parse(&texts).unwrap();
    assert_eq!(parsed.count().await.unwrap(), 5);
    let read = spark.read().binary_file(&folder.join("größe")).select([functions::sum(col("length"))]);
    assert_ne!(rows(&read).await, ["0"]);
    assert_eq!(numbers.transform(|frame| frame.limit(2)).count().await.unwrap(), 2);
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn tables_of_a_catalog_are_made_replaced_and_added_to() {
    let spark = session().await;
    let database = database_for("tables_of_a_catalog_are_made_replaced_and_added_to").await;
    let table = database.table("made");
    let numbers = |from, to| spark.range(from, to).select_expr(["id", "id % 2 AS part"]);
    numbers(0, 4).write_to(&table).using("parquet").partitioned_by([col("part")]).create().await.unwrap();
    assert!(numbers(0, 1).write_to(&table).using("parquet").create().await.unwrap_err().server().is_some());
    // Spark's own catalog has tables of the first kind, which only the older writer adds to.
    let error = numbers(4, 6).write_to(&table).append().await.unwrap_err();
    assert!(error.server().is_some_and(|error| error.message.contains("v1 table")), "{error}");
    numbers(4, 6).write().mode(SaveMode::Append).partition_by(["part"]).save_as_table(&table).await.unwrap();
    assert_eq!(spark.table(&table).count().await.unwrap(), 6);
    assert!(numbers(0, 1).write_to("no_such_table").append().await.unwrap_err().server().is_some());

    let merge = numbers(0, 1).merge_into(&table, functions::expr("1 = 1"));
    let error = merge.clone().merge().await.unwrap_err();
    assert!(matches!(&error, tinderbox::Error::Param { name, .. } if name == "clauses"), "{error}");
    let merge = merge.when_matched(None, MergeAction::Delete).when_not_matched(None, InsertAction::All);
    let error = merge.merge().await.unwrap_err();
    assert!(error.server().is_some(), "Parquet knows no merges: {error}");

    let bucketed = database.table("bucketed");
    numbers(0, 10).write().bucket_by(2, ["id"]).sort_by(["id"]).save_as_table(&bucketed).await.unwrap();
    assert!(spark.catalog().list_columns(&bucketed).await.unwrap().iter().any(|column| column.is_bucket));
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn folder_of_a_lost_write_is_named_by_the_error() {
    let spark = session().await;
    let database = database_for("folder_of_a_lost_write_is_named_by_the_error").await;
    let table = database.table("lost");
    let name = table.rsplit_once('.').unwrap().0.trim_matches('`').to_owned();
    let place = spark.catalog().get_database(&name).await.unwrap().location_uri.unwrap();
    spark.range(0, 3).write().parquet(&format!("{place}/lost")).await.unwrap();
    let error = spark.range(0, 3).write().save_as_table(&table).await.unwrap_err();
    assert!(error.server().is_some_and(|error| error.is("LOCATION_ALREADY_EXISTS")), "{error}");
    assert!(error.to_string().contains("if no table needs it, remove"), "{error}");
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn schema_is_taken_by_name_and_refused_where_it_would_lose() {
    let spark = session().await;
    let frame = spark.range(0, 3).select_expr(["CAST(id AS INT) AS a", "'x' AS b"]);
    let schema = Schema::from_ddl("b STRING, a BIGINT").unwrap();
    assert_eq!(rows(&frame.to_schema(&schema)).await, ["x|0", "x|1", "x|2"]);
    let narrow = Schema::from_ddl("b INT").unwrap();
    assert!(frame.to_schema(&narrow).schema().await.unwrap_err().server().is_some());
    spark.stop().await.unwrap();
}
