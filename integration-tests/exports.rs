//! Exports that end early: the next one resumes from there.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use arrow::{array::AsArray, datatypes::Int64Type};
use futures::TryStreamExt;
use tinderbox::{
    Error,
    dataframe::{PartitionedSource, SaveMode},
    files::{Exported, FileFormat, ReadOptions, export_file, read_files},
    session::Session,
};

use crate::support::{Proxy, database_for, remote, session};

const ROWS: i64 = 60_000;

fn source(spark: &Session, table: &str, more: &str) -> PartitionedSource {
    let query = spark.table(table).select_expr(["id", more, "text AS `text, \"more\"`"]);
    // 16 groups of a file each.
    query.source().cap(1 << 20)
}

/// Starts an export over a slow network and ends it when groups have arrived.
async fn broken_off(table: &str, path: &Path, format: FileFormat) {
    let proxy = Proxy::to(&remote().await).await;
    let slow = Session::builder().remote(proxy.remote()).create().await.unwrap();
    let rows = source(&slow, table, "id % 7 AS seven");
    rows.plan().await.unwrap();
    proxy.delay();
    let target = path.to_owned();
    let export = tokio::spawn(async move { export_file(&rows, &target, format).await });
    while parts(path).len() < 2 {
        assert!(!export.is_finished(), "the export was faster than the network: {:?}", export.await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    export.abort();
    assert!(export.await.unwrap_err().is_cancelled());
    assert!(!path.exists());
}

/// The whole files of groups beside the export.
fn parts(path: &Path) -> Vec<PathBuf> {
    let folder = path.with_file_name(format!("{}.parts", path.file_name().unwrap().to_str().unwrap()));
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_none() && path.file_name().unwrap() != "lock").collect()
}

/// Number and sum of the ids in a file, and its columns.
async fn read(path: &Path, format: FileFormat) -> (i64, i64, Vec<String>) {
    let rows = read_files(&[path.to_owned()], &ReadOptions { format: Some(format), ..Default::default() }).unwrap();
    let names = rows.schema().fields().iter().map(|field| field.name().clone()).collect();
    let batches: Vec<_> = rows.try_collect().await.unwrap();
    let ids = batches.iter().flat_map(|batch| {
        batch.column_by_name("id").unwrap().as_primitive::<Int64Type>().values().iter().copied().collect::<Vec<_>>()
    });
    let (count, sum) = ids.fold((0, 0), |(count, sum), id| (count + 1, sum + id));
    (count, sum, names)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn export_that_broke_off_resumes_with_the_groups_that_are_missing() {
    let spark = session().await;
    let database = database_for("exports").await;
    let table = database.table("rows");
    let rows = spark.range_with(0, ROWS, 1, Some(16)).select_expr(["id", "repeat('ö\"\n', 40 + id % 9) AS text"]);
    rows.write().save_as_table(&table).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    for format in [FileFormat::Parquet, FileFormat::Arrow, FileFormat::Csv, FileFormat::JsonLines] {
        let path = folder.path().join(format!("rows.{format}"));
        broken_off(&table, &path, format).await;
        let Exported { rows, resumed, .. } =
            export_file(&source(&spark, &table, "id % 7 AS seven"), &path, format).await.unwrap();
        assert_eq!(rows, ROWS as u64, "{format}");
        assert!(resumed >= 2 * rows / 16 && resumed < rows, "{format}: {resumed} rows were there");
        let (count, sum, names) = read(&path, format).await;
        assert_eq!((count, sum), (ROWS, ROWS * (ROWS - 1) / 2), "{format}");
        assert_eq!(names.len(), 3);
        assert!(names.iter().any(|name| name == "text, \"more\""), "{names:?}");
    }
    // Another query to the same file takes nothing over.
    let path = folder.path().join("other.csv");
    broken_off(&table, &path, FileFormat::Csv).await;
    let other = export_file(&source(&spark, &table, "id % 8 AS seven"), &path, FileFormat::Csv).await.unwrap();
    assert_eq!((other.rows, other.resumed), (ROWS as u64, 0));
    // A folder that is somebody else's is left as it is.
    let path = folder.path().join("taken.csv");
    let taken = folder.path().join("taken.csv.parts");
    std::fs::create_dir(&taken).unwrap();
    std::fs::write(taken.join("mine.txt"), "mine").unwrap();
    let refused = export_file(&source(&spark, &table, "id % 7 AS seven"), &path, FileFormat::Csv).await.unwrap_err();
    assert!(matches!(&refused, Error::Param { name, .. } if name == "path"), "{refused}");
    assert!(taken.join("mine.txt").exists() && !taken.join("lock").exists());
    // Nor does the same one after the table has changed, but for the files that are as they were.
    let path = folder.path().join("changed.csv");
    broken_off(&table, &path, FileFormat::Csv).await;
    spark
        .range(0, 7)
        .select_expr(["id", "'more' AS text"])
        .write()
        .mode(SaveMode::Append)
        .save_as_table(&table)
        .await
        .unwrap();
    let changed = export_file(&source(&spark, &table, "id % 7 AS seven"), &path, FileFormat::Csv).await.unwrap();
    assert_eq!(changed.rows, ROWS as u64 + 7);
    assert_eq!(read(&path, FileFormat::Csv).await.0, ROWS + 7);
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 7, "{left:?}");
    spark.stop().await.unwrap();
}
