//! Models as rows of a table.

use candle_core::Device;
use tinderbox::{
    Error,
    advanced::encode,
    dataframe::{SaveMode, column},
    model::{History, Lineage, PredictOptions},
    nn::{Network, Sequential, Weights},
    session::Session,
    table::{Manifest, ModelTable, Withdrawn},
    tensor::Columns,
    train::TrainParams,
};

use crate::support::{database_for, own_server, rows, session};

/// A manifest and weights of an untrained network.
fn untrained(hidden: usize, seed: u64) -> (Manifest, Weights) {
    let network = Network::mlp([hidden]).resolve(4, 3).unwrap();
    let weights = Sequential::init(&network, seed, &Device::Cpu).unwrap().weights().unwrap();
    let manifest = Manifest {
        format: 1,
        library: String::new(),
        network,
        columns: Columns::new("features", "label"),
        classes: ["a", "b", "ç"].map(String::from).to_vec(),
        task: None,
        encoders: Vec::new(),
        stages: Vec::new(),
        training: TrainParams { seed, ..TrainParams::default() },
        prediction: PredictOptions::default(),
        history: History::default(),
        metrics: [("held_out_accuracy".to_owned(), 1.0 / 3.0)].into(),
        lineage: Lineage { source: "a test".into(), rows: 3, plan_hash: None },
        withdrawn: Vec::new(),
        tensors: Vec::new(),
        checksum: String::new(),
    };
    (manifest, weights)
}

#[tokio::test]
async fn models_are_saved_listed_and_loaded_by_version() {
    let spark = session().await;
    let database = database_for("models_are_saved_listed_and_loaded_by_version").await;
    let models = ModelTable::new(&spark, database.table("models"));
    assert_eq!(models.models().await.unwrap(), []);
    let message = models.load("o'hara", None).await.unwrap_err().to_string();
    assert!(message.contains("`o'hara`") && message.contains("nor any other"), "{message}");

    let (manifest, first) = untrained(5, 1);
    // 2,100 × 4,100 single-precision numbers: more than one row of 32 MiB.
    let (large_manifest, large) = {
        let (manifest, _) = untrained(5, 2);
        let network = Network::new().linear(2_100).linear(4_100).resolve(4, 3).unwrap();
        let weights = Sequential::init(&network, 2, &Device::Cpu).unwrap().weights().unwrap();
        (Manifest { network, ..manifest }, weights)
    };
    assert_eq!(models.save("o'hara", &manifest, &first).await.unwrap(), 1);
    assert_eq!(models.save("o'hara", &large_manifest, &large).await.unwrap(), 2);
    assert_eq!(models.save("größe", &manifest, &first).await.unwrap(), 1);

    let (version, read, weights) = models.load("o'hara", None).await.unwrap();
    assert_eq!((version, &weights), (2, &large));
    assert_eq!((read.training, read.metrics), (large_manifest.training, large_manifest.metrics));
    assert_eq!(models.load("o'hara", Some(1)).await.unwrap().2, first);
    assert_eq!(models.load("größe", None).await.unwrap().2, first);

    let listed = models.models().await.unwrap();
    let listed: Vec<_> = listed.iter().map(|m| (m.name.as_str(), m.latest, m.versions)).collect();
    assert_eq!(listed, [("größe", 1, 1), ("o'hara", 2, 2)]);
    let versions = models.versions("o'hara").await.unwrap();
    assert_eq!(versions.iter().map(|v| v.version).collect::<Vec<_>>(), [2, 1]);
    assert!(versions[0].created_at >= versions[1].created_at);
    assert_eq!(versions[1].manifest.classes, ["a", "b", "ç"]);

    let message = models.load("o'hara", Some(7)).await.unwrap_err().to_string();
    assert!(message.contains("no version 7") && message.contains("2, 1"), "{message}");
    let message = models.load("ohara", None).await.unwrap_err().to_string();
    assert!(message.contains("größe, o'hara"), "{message}");
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn sql_of_the_documentation_tells_models_and_tensors() {
    let spark = session().await;
    let database = database_for("sql_of_the_documentation_tells_models_and_tensors").await;
    spark.sql(&format!("USE {database}")).await.unwrap();
    let (manifest, weights) = untrained(5, 1);
    let table = ModelTable::new(&spark, "models");
    table.save("iris", &manifest, &weights).await.unwrap();
    table.tag("iris", 1, "production").await.unwrap();
    let text = include_str!("../docs/model-table.md");
    let queries = text.split("```sql").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let mut answers = Vec::new();
    for query in queries.split(';').filter(|query| !query.trim().is_empty()) {
        answers.push(rows(&spark.sql(query).await.unwrap()).await);
    }
    let [models, tags, tensors] = &answers[..] else { panic!("{} queries", answers.len()) };
    assert!(models[0].starts_with("iris|1|") && models[0].ends_with("|a test|3|0.3333333333333333"), "{models:?}");
    assert_eq!(tags, &["iris|production|1"]);
    assert_eq!(tensors[..2], ["0.bias|[5]|20", "0.weight|[5, 4]|80"]);
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn a_version_that_is_not_whole_is_passed_over_and_named_when_asked_for() {
    let spark = session().await;
    let database = database_for("a_version_that_is_not_whole_is_passed_over_and_named_when_asked_for").await;
    let table = database.table("models");
    let models = ModelTable::new(&spark, &table);
    let (manifest, weights) = untrained(5, 1);
    models.save("iris", &manifest, &weights).await.unwrap();

    let half = encode("iris", 2, 0, &manifest, &weights).unwrap()[0].slice(0, 3);
    let half = spark.create_dataframe(&[half]).await.unwrap();
    half.write().mode(SaveMode::Append).save_as_table(&table).await.unwrap();
    assert_eq!(models.load("iris", None).await.unwrap().0, 1);
    let error = models.load("iris", Some(2)).await.unwrap_err();
    assert!(matches!(error, Error::ModelTable { .. }) && error.to_string().contains("bytes of tensors"), "{error}");
    // A number is never used again.
    assert_eq!(models.save("iris", &manifest, &weights).await.unwrap(), 3);

    // Two who saved at once under one number: nobody can tell whose it is, until one of them has withdrawn.
    let (mut late, other) = untrained(5, 2);
    let append = async |version, created_at, manifest: &Manifest| {
        let rows = encode("iris", version, created_at, manifest, &other).unwrap();
        let rows = spark.create_dataframe(&rows).await.unwrap();
        rows.write().mode(SaveMode::Append).save_as_table(&table).await.unwrap();
    };
    append(3, 1, &late).await;
    let message = models.load("iris", Some(3)).await.unwrap_err().to_string();
    assert!(message.contains("2 of whom did not withdraw"), "{message}");
    assert_eq!(models.load("iris", None).await.unwrap().0, 1);
    late.withdrawn.push(Withdrawn { version: 3, created_at: 1 });
    append(4, 2, &late).await;
    assert_eq!(models.load("iris", Some(3)).await.unwrap().2, weights);
    assert_eq!(models.load("iris", Some(4)).await.unwrap().2, other);
    let versions: Vec<i64> = models.versions("iris").await.unwrap().iter().map(|entry| entry.version).collect();
    assert_eq!(versions, [4, 3, 2, 1]);
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn versions_are_tagged_copied_compared_and_deleted() {
    let spark = session().await;
    let database = database_for("versions_are_tagged_copied_compared_and_deleted").await;
    let models = ModelTable::new(&spark, database.table("models"));
    assert_eq!(models.tags("o'hara").await.unwrap().len(), 0);
    for seed in 1..=5 {
        let (manifest, weights) = untrained(5, seed);
        assert_eq!(models.save("o'hara", &manifest, &weights).await.unwrap(), seed as i64);
    }
    let (manifest, other) = untrained(7, 9);
    models.save("another", &manifest, &other).await.unwrap();

    for (version, tag) in [(1, "production"), (2, "production"), (3, "größer")] {
        models.tag("o'hara", version, tag).await.unwrap();
    }
    let expected = [("größer".to_owned(), 3), ("production".to_owned(), 2)];
    assert_eq!(models.tags("o'hara").await.unwrap(), expected.into());
    assert_eq!(models.tagged("o'hara", "production").await.unwrap(), 2);
    for (error, words) in [
        (models.tagged("o'hara", "x").await.unwrap_err(), "größer, production"),
        (models.tag("o'hara", 9, "x").await.unwrap_err(), "no version 9; it has 5, 4, 3, 2, 1"),
        (models.delete("o'hara", 9).await.unwrap_err(), "no version 9"),
        (models.prune("o'hara", 0).await.unwrap_err(), "at least 1"),
        (models.prune("nobody", 1).await.unwrap_err(), "no model `nobody`"),
    ] {
        assert!(error.to_string().contains(words), "{error}");
    }
    let versions = models.versions("o'hara").await.unwrap();
    let differences = versions[0].manifest.differences(&versions[1].manifest);
    assert_eq!(differences, [("training.seed".to_owned(), 5.into(), 4.into())]);
    assert_eq!(models.versions("another").await.unwrap()[0].manifest.differences(&manifest)[0].0, "library");

    let elsewhere = ModelTable::new(&spark, database.table("elsewhere"));
    assert_eq!(models.copy_to("o'hara", 2, &elsewhere, "copy").await.unwrap(), 1);
    assert_eq!(elsewhere.load("copy", None).await.unwrap().2, untrained(5, 2).1);

    models.delete("o'hara", 5).await.unwrap();
    assert_eq!(models.prune("o'hara", 1).await.unwrap(), [1]);
    let left: Vec<i64> = models.versions("o'hara").await.unwrap().iter().map(|entry| entry.version).collect();
    assert_eq!(left, [4, 3, 2], "the newest, and those with tags");
    models.delete("o'hara", 2).await.unwrap();
    assert_eq!(models.tags("o'hara").await.unwrap(), [("größer".to_owned(), 3)].into());
    assert_eq!(models.load("o'hara", None).await.unwrap().2, untrained(5, 4).1);
    assert_eq!(models.load("another", None).await.unwrap().2, other);
    let tables = spark.sql(&format!("SHOW TABLES IN {database}")).await.unwrap();
    assert_eq!(rows(&tables).await.len(), 2, "nothing is left of staging");
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn model_larger_than_the_servers_spare_memory_is_saved_and_loaded() {
    let server = own_server().start().await.unwrap();
    let spark = Session::builder().remote(server.remote()).create().await.unwrap();
    // 30 million single-precision numbers: 120 MB through a driver of 600 MB.
    let (manifest, _) = untrained(5, 2);
    let network = Network::new().linear(5_000).linear(6_000).resolve(4, 3).unwrap();
    let weights = Sequential::init(&network, 2, &Device::Cpu).unwrap().weights().unwrap();
    let models = ModelTable::new(&spark, "models");
    assert_eq!(models.save("large", &Manifest { network, ..manifest }, &weights).await.unwrap(), 1);
    assert!(models.load("large", None).await.unwrap().2 == weights, "other weights came back");
    let left = spark.sql("SHOW TABLES LIKE 'tinderbox_stage_*'").await.unwrap();
    assert_eq!(left.count().await.unwrap(), 0);
    spark.stop().await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn several_who_save_at_once_get_a_version_each() {
    let spark = session().await;
    let database = database_for("several_who_save_at_once_get_a_version_each").await;
    let table = database.table("models");
    let (manifest, first) = untrained(5, 1);
    ModelTable::new(&spark, &table).save("iris", &manifest, &first).await.unwrap();
    let save = async |seed| {
        let spark = session().await;
        let (manifest, weights) = untrained(5, seed);
        let version = ModelTable::new(&spark, &table).save("iris", &manifest, &weights).await.unwrap();
        spark.stop().await.unwrap();
        (version, weights)
    };
    let (a, b, c) = tokio::join!(save(2), save(3), save(4));
    for (version, weights) in [&a, &b, &c] {
        let (_, _, read) = ModelTable::new(&spark, &table).load("iris", Some(*version)).await.unwrap();
        assert_eq!(read, *weights, "version {version}");
    }
    assert!(a.0 != b.0 && b.0 != c.0 && c.0 != a.0, "{} {} {}", a.0, b.0, c.0);
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn a_table_of_something_else_is_refused() {
    let spark = session().await;
    let database = database_for("a_table_of_something_else_is_refused").await;
    let table = database.table("numbers");
    spark.range(0, 3).select([column("id").alias("model")]).write().save_as_table(&table).await.unwrap();
    let models = ModelTable::new(&spark, &table);
    let (manifest, weights) = untrained(5, 1);
    for message in [
        models.save("iris", &manifest, &weights).await.unwrap_err().to_string(),
        models.load("iris", None).await.unwrap_err().to_string(),
        models.models().await.unwrap_err().to_string(),
    ] {
        assert!(message.contains("no model table") && message.contains("`version`"), "{message}");
    }
    assert_eq!(spark.table(&table).count().await.unwrap(), 3);
    let message = models.save("", &manifest, &weights).await.unwrap_err().to_string();
    assert!(message.contains("name"), "{message}");
    spark.stop().await.unwrap();
}
