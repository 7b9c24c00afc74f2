//! Reading and writing tables and files.

use tinderbox::dataframe::{SaveMode, Schema};

use crate::support::{ServerFolder, database_for, rows, session};

#[tokio::test]
async fn what_is_written_in_a_format_is_read_back() {
    let spark = session().await;
    let folder = ServerFolder::of("what_is_written_in_a_format_is_read_back");
    let frame = spark.range(0, 5).select_expr(["id", "'ä' || id AS text", "id / 2 AS half"]);
    let ddl = "id BIGINT, text STRING, half DOUBLE";
    let expected = rows(&frame).await;
    for format in ["parquet", "orc", "json", "csv"] {
        let path = folder.join(format);
        frame.write().format(format).option("header", true).save(&path).await.unwrap();
        let reader = spark.read().option("header", true).schema_ddl(ddl);
        let back = match format {
            "parquet" => reader.parquet(&path),
            "orc" => reader.orc(&path),
            "json" => reader.json(&path),
            _ => reader.csv(&path),
        };
        assert_eq!(rows(&back.order_by(["id"])).await, expected, "{format}");
        let schema = Schema::from_ddl("half DOUBLE, id INT").unwrap();
        let typed = spark.read().format(format).schema(&schema).load([path.as_str()]).schema().await.unwrap();
        assert_eq!(typed.to_string(), "half: double\nid: int\n");
    }
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn save_modes_append_overwrite_ignore_and_refuse() {
    let spark = session().await;
    let database = database_for("save_modes_append_overwrite_ignore_and_refuse").await;
    let table = database.table("t");
    let (two, three) = (spark.range(0, 2), spark.range(10, 13));
    assert!(!spark.catalog().table_exists(&table).await.unwrap());
    two.write().save_as_table(&table).await.unwrap();
    assert!(spark.catalog().table_exists(&table).await.unwrap());
    let error = three.write().save_as_table(&table).await.unwrap_err();
    assert!(error.server().is_some_and(|e| e.is("TABLE_OR_VIEW_ALREADY_EXISTS")), "{error}");
    assert_eq!(rows(&spark.table(&table).order_by(["id"])).await, ["0", "1"]);
    three.write().mode(SaveMode::Ignore).save_as_table(&table).await.unwrap();
    assert_eq!(spark.table(&table).count().await.unwrap(), 2);
    three.write().mode(SaveMode::Append).save_as_table(&table).await.unwrap();
    three.write().insert_into(&table).await.unwrap();
    assert_eq!(spark.table(&table).count().await.unwrap(), 8);
    three.write().mode(SaveMode::Overwrite).save_as_table(&table).await.unwrap();
    assert_eq!(rows(&spark.table(&table).order_by(["id"])).await, ["10", "11", "12"]);
    spark.drop_table(&table).await.unwrap();
    spark.drop_table(&table).await.unwrap();
    assert!(!spark.catalog().table_exists(&table).await.unwrap());
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn a_partitioned_table_and_an_empty_one_keep_their_columns() {
    let spark = session().await;
    let database = database_for("a_partitioned_table_and_an_empty_one_keep_their_columns").await;
    let frame = spark.range(0, 6).select_expr(["id", "id % 2 AS `körper.teil`"]);
    frame.write().format("parquet").partition_by(["körper.teil"]).save_as_table(&database.table("p")).await.unwrap();
    // A Hive catalog cannot filter partitions by such a name; Spark then filters them itself if it may.
    spark.conf().set("spark.sql.hive.metastorePartitionPruningFallbackOnException", true).await.unwrap();
    let part = spark.table(&database.table("p")).filter_expr("`körper.teil` = 1");
    assert_eq!(rows(&part.select(["id"]).order_by(["id"])).await, ["1", "3", "5"]);
    frame.filter_expr("id < 0").write().save_as_table(&database.table("e")).await.unwrap();
    let empty = spark.table(&database.table("e"));
    assert_eq!(empty.count().await.unwrap(), 0);
    assert_eq!(empty.schema().await.unwrap().to_string(), "id: bigint\nkörper.teil: bigint\n");
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn views_name_a_frame_for_a_session_or_for_all() {
    let spark = session().await;
    let other = session().await;
    spark.range(0, 2).create_temp_view("numbers").await.unwrap();
    assert!(spark.range(0, 3).create_temp_view("numbers").await.is_err());
    spark.range(0, 3).create_or_replace_temp_view("numbers").await.unwrap();
    assert_eq!(spark.sql("SELECT * FROM numbers").await.unwrap().count().await.unwrap(), 3);
    assert!(other.table("numbers").count().await.is_err());
    spark.range(0, 4).create_or_replace_global_temp_view("tinderbox_numbers").await.unwrap();
    assert_eq!(other.table("global_temp.tinderbox_numbers").count().await.unwrap(), 4);
    other.sql("DROP VIEW global_temp.tinderbox_numbers").await.unwrap();
    spark.stop().await.unwrap();
    other.stop().await.unwrap();
}
