//! The catalog: databases, tables, views and functions that the server knows.

use std::collections::BTreeMap;

use tinderbox::{
    dataframe::{Schema, StorageLevel},
    session::NewTable,
};

use crate::support::{database_for, rows, session};

#[tokio::test]
async fn tables_are_made_listed_described_and_dropped() {
    let spark = session().await;
    let database = database_for("tables_are_made_listed_described_and_dropped").await;
    let catalog = spark.catalog();
    let [plain, parted] = ["plain", "parted"].map(|name| database.table(name));
    let name = plain.rsplit_once('.').unwrap().0.trim_matches('`').to_owned();

    let schema = Schema::from_ddl("`größe.cm` DOUBLE, n INT NOT NULL").unwrap();
    let new = NewTable {
        source: Some("parquet".into()),
        schema: Some(schema),
        description: Some("made by a test".into()),
        ..Default::default()
    };
    assert_eq!(catalog.create_table(&plain, new).await.unwrap().count().await.unwrap(), 0);
    let numbers = spark.range(0, 6).select_expr(["id AS n", "id % 2 AS part"]);
    numbers.write().partition_by(["part"]).save_as_table(&parted).await.unwrap();

    assert!(catalog.database_exists(&name).await.unwrap() && !catalog.database_exists("no_such").await.unwrap());
    assert_eq!(catalog.get_database(&name).await.unwrap().name, name);
    assert!(catalog.list_databases(Some(&name)).await.unwrap().iter().any(|found| found.name == name));
    let listed = catalog.list_tables(Some(&name), None).await.unwrap();
    let names: Vec<_> = listed.iter().filter(|table| !table.is_temporary).map(|table| &*table.name).collect();
    assert_eq!(names, ["parted", "plain"]);
    assert_eq!(catalog.list_tables(Some(&name), Some("pl*")).await.unwrap().len(), 1);
    let table = catalog.get_table(&plain).await.unwrap();
    assert_eq!((table.description.as_deref(), table.table_type.as_deref()), (Some("made by a test"), Some("MANAGED")));
    assert_eq!(table.namespace, Some(vec![name.clone()]));
    let columns = catalog.list_columns(&plain).await.unwrap();
    let columns: Vec<_> = columns.iter().map(|column| (&*column.name, &*column.data_type)).collect();
    assert_eq!(columns, [("größe.cm", "double"), ("n", "int")]);
    assert!(
        catalog.list_columns(&parted).await.unwrap().iter().any(|column| column.name == "part" && column.is_partition)
    );
    if spark.version().at_least(4, 2) {
        assert_eq!(catalog.list_partitions(&parted).await.unwrap(), ["part=0", "part=1"]);
        assert!(catalog.create_table_string(&plain, false).await.unwrap().starts_with("CREATE TABLE"));
        assert!(catalog.table_properties(&plain).await.is_ok());
        catalog.analyze_table(&parted, false).await.unwrap();
        catalog.truncate_table(&parted).await.unwrap();
        assert_eq!(spark.table(&parted).count().await.unwrap(), 0);
        catalog.drop_table(&parted, false, false).await.unwrap();
        assert!(catalog.drop_table(&parted, false, false).await.unwrap_err().server().is_some());
        catalog.drop_table(&parted, true, false).await.unwrap();
        let other = format!("{name}_other");
        catalog.create_database(&other, false, BTreeMap::from([("comment".into(), "c".into())])).await.unwrap();
        assert_eq!(catalog.get_database(&other).await.unwrap().description.as_deref(), Some("c"));
        catalog.drop_database(&other, false, true).await.unwrap();
        assert!(!catalog.database_exists(&other).await.unwrap());
    }
    let missing = catalog.get_table("no_such_table").await.unwrap_err();
    assert!(missing.server().is_some(), "{missing}");
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn names_of_a_session_are_found_and_dropped() {
    let spark = session().await;
    let catalog = spark.catalog();
    assert_eq!(catalog.current_catalog().await.unwrap(), "spark_catalog");
    assert!(catalog.list_catalogs(None).await.unwrap().iter().any(|found| found.name == "spark_catalog"));
    let database = catalog.current_database().await.unwrap();
    catalog.set_current_database(&database).await.unwrap();
    assert!(catalog.set_current_database("no_such_database").await.unwrap_err().server().is_some());

    spark.range(0, 5).create_temp_view("five").await.unwrap();
    let view = catalog.get_table("five").await.unwrap();
    assert!(view.is_temporary && view.table_type.as_deref() == Some("TEMPORARY"), "{view:?}");
    assert!(!catalog.is_cached("five").await.unwrap());
    catalog.cache_table("five", Some(StorageLevel::MEMORY_ONLY)).await.unwrap();
    assert!(catalog.is_cached("five").await.unwrap());
    catalog.uncache_table("five").await.unwrap();
    assert!(!catalog.is_cached("five").await.unwrap());
    assert!(catalog.drop_temp_view("five").await.unwrap() && !catalog.drop_temp_view("five").await.unwrap());

    spark.range(0, 2).create_or_replace_global_temp_view("two_for_all").await.unwrap();
    assert!(catalog.table_exists("global_temp.two_for_all").await.unwrap());
    assert!(catalog.drop_global_temp_view("two_for_all").await.unwrap());

    assert!(catalog.function_exists("abs").await.unwrap() && !catalog.function_exists("no_such").await.unwrap());
    assert!(catalog.get_function("abs").await.unwrap().class_name.unwrap().ends_with("Abs"));
    assert!(catalog.list_functions(None, Some("ab*")).await.unwrap().iter().any(|found| found.name == "abs"));
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn files_and_java_functions_come_to_a_session() {
    use tinderbox::session::ArtifactKind;
    let spark = session().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("größe 1.txt");
    std::fs::write(&file, "x").unwrap();
    spark.add_artifact(&file, ArtifactKind::File).await.unwrap();
    spark.add_artifact(&file, ArtifactKind::File).await.unwrap();
    let error = spark.add_artifact(&file, ArtifactKind::Jar).await.unwrap_err();
    assert!(matches!(&error, tinderbox::Error::Param { name, .. } if name == "path"), "{error}");
    let error = spark.add_artifact(folder.path().join("none.jar"), ArtifactKind::Jar).await.unwrap_err();
    assert!(matches!(error, tinderbox::Error::Io { .. }), "{error}");
    let error = spark.copy_from_local_to_fs(&file, "relative").await.unwrap_err();
    assert!(matches!(&error, tinderbox::Error::Param { name, .. } if name == "destination"), "{error}");

    let error = spark.register_java_function("f", "no.such.Class", None).await.unwrap_err();
    assert!(error.server().is_some(), "{error}");
    spark.stop().await.unwrap();
    assert!(spark.is_stopped());
}

#[tokio::test]
async fn copies_of_sessions_go_their_own_ways() {
    let spark = session().await;
    spark.conf().set("spark.sql.shuffle.partitions", 3).await.unwrap();
    spark.range(0, 3).create_temp_view("three").await.unwrap();
    let fresh = spark.new_session().await.unwrap();
    assert_eq!(fresh.conf().get("spark.sql.shuffle.partitions").await.unwrap().as_deref(), Some("3"));
    assert!(!fresh.catalog().table_exists("three").await.unwrap());
    if spark.version().at_least(4, 1) {
        let copy = spark.clone_session().await.unwrap();
        assert_eq!(rows(&copy.table("three")).await, ["0", "1", "2"]);
        copy.catalog().drop_temp_view("three").await.unwrap();
        assert!(spark.catalog().table_exists("three").await.unwrap());
        copy.stop().await.unwrap();
    }
    let settings = spark.conf().get_all(Some("spark.sql.shuffle.")).await.unwrap();
    assert_eq!(settings.get("spark.sql.shuffle.partitions").map(String::as_str), Some("3"), "{settings:?}");
    assert!(spark.conf().is_modifiable("spark.sql.shuffle.partitions").await.unwrap());
    assert!(!spark.conf().is_modifiable("spark.driver.memory").await.unwrap());
    spark.add_tag("x").unwrap();
    spark.clear_tags();
    assert!(spark.tags().is_empty());
    fresh.stop().await.unwrap();
    spark.stop().await.unwrap();
}
