//! Jobs from a look at a table to a report that a browser shows without fault.

use std::process::Command;

use tinderbox::{
    job::{JobFile, JobOptions, propose},
    ml::{Histogram, TableProfile},
};

use crate::support::{database_for, session};

/// A table whose names and values HTML, TOML and SQL could read as their own.
const ODD: &str = "SELECT id AS key, \
    CAST(id % 97 AS DOUBLE) + IF(id % 3 = 0, 50, 0) AS `<b>bold</b> & \"quoted\"`, \
    CAST(id % 11 AS INT) - IF(id % 3 = 1, 5, 0) AS `größe.länge`, \
    concat('<i>', id % 5, '</i>') AS `a column with a name that is so long that no table of a narrow page can hold it whole`, \
    IF(id % 10 = 0, NULL, CAST(id % 7 AS FLOAT)) AS gaps, 'same' AS constant, \
    concat('x', id % 3) AS leak, timestamp_seconds(id) AS moment, \
    CASE id % 3 WHEN 0 THEN '</td><script>alert(1)</script>' WHEN 1 THEN 'größe' ELSE 'other\\n' END AS label FROM range(600)";

#[tokio::test]
async fn odd_table_becomes_a_job_a_model_and_a_page_without_fault() {
    let spark = session().await;
    let database = database_for("odd_report").await;
    let (table, models) = (database.table("odd"), database.table("models"));
    spark.sql(&format!("CREATE TABLE {table} USING parquet AS {ODD}")).await.unwrap();

    let proposal = propose(&spark.table(&table), &table, "label").await.unwrap();
    let left_out: Vec<&str> = proposal.left_out.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(left_out, ["key", "constant", "leak", "moment"]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("job.toml");
    std::fs::write(&path, proposal.to_toml()).unwrap();
    let changes = [("training.epochs", "15"), ("output.models", models.as_str()), ("output.model", "<m> & co")];
    let changes = changes.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let file = JobFile::read(&path, &changes).unwrap();
    let plan = file.plan(&spark).await.unwrap();
    assert_eq!((plan.rows, plan.training + plan.test), (600, 600));
    let outcome = file.run(&spark, &JobOptions::default()).await.unwrap();
    let test = outcome.test.unwrap();
    assert_eq!((test.rows, test.unusable), (plan.test, 0));
    assert!(test.metrics["accuracy"] > 0.6, "{:?}", test.metrics);
    assert_eq!(outcome.saved.unwrap(), ("<m> & co".to_owned(), 1, models));

    let looks = folder.path().join("looks");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/report-look");
    let looked = Command::new(script).arg(&outcome.files[0]).arg(&looks).output().unwrap();
    let said = String::from_utf8_lossy(&looked.stdout).into_owned() + &String::from_utf8_lossy(&looked.stderr);
    assert!(looked.status.success(), "{said}");
}

#[tokio::test]
async fn numbers_are_predicted_and_settings_searched_by_a_job() {
    let spark = session().await;
    let database = database_for("job_of_numbers").await;
    let table = database.table("t");
    let rows = "SELECT CAST(id % 100 AS DOUBLE) AS x, CAST(id % 7 AS INT) AS z, 3.0 * (id % 100) - 10 * (id % 7) AS y FROM range(1500)";
    spark.sql(&format!("CREATE TABLE {table} USING parquet AS {rows}")).await.unwrap();
    let text = format!(
        "[data]\ntable = \"{table}\"\nlabel = \"y\"\n[columns]\nx = \"number\"\nz = \"category\"\n[split]\nby = \"key\"\ncolumn = \"x\"\n\
         [network]\nhidden = [32]\n[training]\nepochs = 60\nbatch_size = 64\n[tune]\nfolds = 2\nparams = {{ stepSize = [1e-7, 0.01] }}\n"
    );
    let file = JobFile::parse(&text, "job.toml", &[]).unwrap();
    let outcome = file.run(&spark, &JobOptions::default()).await.unwrap();
    let metrics = &outcome.test.unwrap().metrics;
    assert!(metrics["r2"] > 0.95, "{metrics:?}");
    assert!(outcome.saved.is_none() && outcome.files.is_empty());
    let short = [("training.epochs".to_owned(), "10".to_owned())];
    let results =
        JobFile::parse(&text, "job.toml", &short).unwrap().tune(&spark, &JobOptions::default()).await.unwrap();
    assert_eq!(results.best().params.get("stepSize").and_then(|rate| rate.as_f64()), Some(0.01));
    let unfit = [("columns.x".to_owned(), "vector".to_owned()), ("data.label".to_owned(), "yy".to_owned())];
    let error = JobFile::parse(&text, "job.toml", &unfit).unwrap().check(&spark).await.unwrap_err();
    let tinderbox::Error::Job(found) = error else { panic!("{error}") };
    let keys: Vec<_> = found.problems.iter().map(|problem| (problem.line, problem.key.as_str())).collect();
    assert_eq!(keys, [(3, "data.label"), (5, "columns.x")]);
}

#[tokio::test]
async fn profile_counts_what_columns_of_every_type_hold() {
    let spark = session().await;
    let frame = spark
        .sql(
            "SELECT id, IF(id < 10, NULL, id) AS gaps, IF(id % 2 = 0, CAST('NaN' AS DOUBLE), id) AS nans, id % 3 = 0 AS flag, \
             concat('ä', id % 4) AS text, CAST(id AS DECIMAL(10, 2)) AS exact, date_add(DATE'2024-01-01', CAST(id AS INT)) AS day, \
             array(id, id + 1) AS list, map(id, 1) AS map, named_struct('a', id) AS s, CAST('ab' AS BINARY) AS bytes, \
             CAST(NULL AS INT) AS nothing FROM range(100)",
        )
        .await
        .unwrap();
    let profile = TableProfile::of(&frame).await.unwrap();
    assert_eq!((profile.rows, profile.columns.len()), (100, 12));
    let column = |name: &str| profile.column(name).unwrap();
    let range = |name: &str| (column(name).min.as_deref(), column(name).max.as_deref());
    assert_eq!((column("gaps").nulls, column("nans").nans, column("nothing").nulls), (10, 50, 100));
    assert_eq!((range("id"), range("nans")), ((Some("0"), Some("99")), (Some("1.0"), Some("99.0"))));
    assert_eq!(
        (range("text"), range("list"), range("bytes")),
        ((Some("2"), Some("2")), (Some("2"), Some("2")), (Some("2"), Some("2")))
    );
    assert_eq!(
        (range("day"), range("exact")),
        ((Some("2024-01-01"), Some("2024-04-09")), (Some("0.00"), Some("99.00")))
    );
    assert_eq!((column("nans").mean, column("map").distinct, column("text").distinct), (Some(50.0), None, Some(4)));
    assert!(column("id").is_unique(100) && column("bytes").is_constant(100) && column("nothing").is_constant(100));
    let Some(Histogram::Numbers { counts, .. }) = &column("id").histogram else { panic!("no bins") };
    assert_eq!((counts.len(), counts.iter().sum::<u64>()), (20, 100));
    let Some(Histogram::Values(values)) = &column("flag").histogram else { panic!("no values") };
    assert_eq!(values, &[("false".to_owned(), 66), ("true".to_owned(), 34)]);
    let empty = TableProfile::of(&frame.filter_expr("id < 0")).await.unwrap();
    assert_eq!((empty.rows, empty.columns[0].nulls, &empty.columns[0].histogram), (0, 0, &None));
}
