//! A neural classifier on rows of the cluster: fitted, put to use, saved and loaded.

use std::sync::{Arc, Mutex};

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::Float64Type,
};
use futures::TryStreamExt;
use tinderbox::{
    Error,
    dataframe::{SaveMode, function, is_vector},
    model::EpochRecord,
    prelude::*,
    train::Observer,
};

use crate::support::{database_for, rows, session};

/// Three classes that a line tells apart: `id`, `species`, `x` and `y`, columns of other types, and a column with metadata.
async fn flowers(spark: &Session) -> DataFrame {
    let text = "SELECT id, element_at(array('größe', 'b.c', 'o''hara'), 1 + CAST(id % 3 AS INT)) AS species, \
                id % 3 + pmod(hash(id), 100) / 250.0D AS x, pmod(hash(id), 71) / 71.0D - id % 3 AS y, \
                CAST(id AS DECIMAL(20, 2)) AS price, TIMESTAMP '2024-02-29 12:00:00' AS at, \
                named_struct('a', id, 'b', array(id)) AS nested \
                FROM range(0, 300, 1, 2)";
    let metadata = serde_json::json!({"comment": "as it was"});
    spark.sql(text).await.unwrap().with_metadata("price", metadata.as_object().unwrap())
}

fn classifier() -> NeuralClassifier {
    NeuralClassifier::new(Network::mlp([8])).epochs(40).learning_rate(0.01).seed(7)
}

fn pipeline(classifier: NeuralClassifier) -> Pipeline {
    Pipeline::new()
        .stage(StringIndexer::new("species", "label"))
        .stage(VectorAssembler::new(["x", "y"], "raw"))
        .stage(StandardScaler::new("raw", "features").with_mean(true))
        .stage(classifier)
}

fn texts<'a>(batch: &'a RecordBatch, name: &str) -> Vec<Option<&'a str>> {
    batch.column_by_name(name).unwrap().as_string::<i32>().iter().collect()
}

#[tokio::test]
async fn scored_rows_keep_their_columns_and_carry_class_names() {
    let spark = session().await;
    let database = database_for("scored_rows_keep_their_columns_and_carry_class_names").await;
    let frame = flowers(&spark).await;
    let model = pipeline(classifier().validation_fraction(0.2)).fit(&frame).await.unwrap();
    let table = database.table("scored");
    model.predict_into(&frame, &table).await.unwrap();

    let scored = spark.table(&table);
    assert_eq!(scored.count().await.unwrap(), 300);
    let right = scored.filter_expr("species = predictedLabel").count().await.unwrap();
    assert!(right >= 290, "{right}");
    let (before, after) = (frame.schema().await.unwrap(), scored.schema().await.unwrap());
    for field in before.fields() {
        let kept = after.require(&field.name).unwrap();
        // A table forgets what cannot be null.
        assert_eq!(kept.data_type.simple_string(), field.data_type.simple_string(), "{}", field.name);
        assert_eq!(kept.metadata, field.metadata, "{}", field.name);
    }
    let names: Vec<&str> = after.names().skip(before.fields().len()).collect();
    let outputs = ["rawPrediction", "probability", "prediction", "predictedLabel"];
    assert_eq!(names, ["label", "raw", "features"].into_iter().chain(outputs).collect::<Vec<_>>());
    for name in ["raw", "features", "rawPrediction", "probability"] {
        assert!(is_vector(&after.require(name).unwrap().data_type), "{name}");
    }
    let attribute = &after.require("prediction").unwrap().metadata["ml_attr"];
    assert_eq!(attribute["type"], "nominal");
    assert_eq!(attribute["vals"], after.require("label").unwrap().metadata["ml_attr"]["vals"]);
    let same = "id, species, x, y, price, string(at), nested";
    let kept = scored.select_expr(same.split(", ")).order_by(["id"]);
    assert_eq!(rows(&kept).await, rows(&frame.select_expr(same.split(", ")).order_by(["id"])).await);

    let error = model.predict_into(&frame, &table).await.unwrap_err();
    assert!(matches!(error, Error::Param { .. }) && error.to_string().contains(&table), "{error}");
    assert_eq!(spark.table(&table).count().await.unwrap(), 300);
    model.predict_into_with(&frame.limit(7), &table, SaveMode::Overwrite).await.unwrap();
    assert_eq!(spark.table(&table).count().await.unwrap(), 7);
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn a_saved_pipeline_predicts_as_the_one_that_was_fitted() {
    let spark = session().await;
    let database = database_for("a_saved_pipeline_predicts_as_the_one_that_was_fitted").await;
    let frame = flowers(&spark).await;
    let fitted = pipeline(classifier().thresholds([0.2, 0.5, 0.3])).fit(&frame).await.unwrap();
    let table = database.table("models");
    assert_eq!(fitted.save(&spark, &table, "flowers").await.unwrap(), 1);
    let other = session().await;
    let loaded = PipelineModel::load(&other, &table, "flowers", None).await.unwrap();
    other.stop().await.unwrap();
    for (a, b) in fitted.stages().iter().zip(loaded.stages()) {
        let neural = |stage: &dyn Transformer| stage.as_any().downcast_ref::<NeuralModel>().cloned();
        assert_eq!((a.native(), neural(a.as_ref())), (b.native(), neural(b.as_ref())));
    }
    let mut columns = Vec::new();
    for model in [&fitted, &loaded] {
        let batches: Vec<RecordBatch> = model.predict(&frame).await.unwrap().try_collect().await.unwrap();
        columns.push(batches.iter().map(|b| b.column_by_name("probability").unwrap().to_data()).collect::<Vec<_>>());
    }
    assert_eq!(columns[0], columns[1]);

    let message =
        Pipeline::new().fit(&frame).await.unwrap().save(&spark, &table, "none").await.unwrap_err().to_string();
    assert!(message.contains("a pipeline with a network"), "{message}");
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn data_that_cannot_be_learnt_from_is_refused_before_training() {
    #[derive(Default)]
    struct Untold(Mutex<bool>);
    impl Observer for Untold {
        fn reading(&self, _: u64) {
            *self.0.lock().unwrap() = true;
        }
    }
    let spark = session().await;
    let base = "id % 2 AS label, array(double(id), 1.0D) AS features";
    let untold = Arc::new(Untold::default());
    for (text, words) in [
        (format!("SELECT {base} FROM range(0)"), vec!["at least one row"]),
        ("SELECT 0 AS label, array(1.0D) AS features FROM range(9)".into(), vec!["label"]),
        ("SELECT 'a' AS label, array(1.0D) AS features".into(), vec!["`label`", "string"]),
        ("SELECT 0 AS label, 'a' AS features".into(), vec!["`features`", "string"]),
        ("SELECT array(1.0D) AS features".into(), vec!["`label`", "features"]),
        (format!("SELECT {base}, 1 AS prediction FROM range(9)"), vec!["`prediction`"]),
        (
            "SELECT id % 2 AS label, if(id < 3, null, array(1.0D)) AS features FROM range(9)".into(),
            vec!["`features`", "3", "null"],
        ),
        (
            "SELECT id % 2 AS label, array(if(id = 4, double('NaN'), 1.0D)) AS features FROM range(9)".into(),
            vec!["`features`", "1", "NaN"],
        ),
        ("SELECT id / 2 AS label, array(1.0D) AS features FROM range(9)".into(), vec!["`label`", "whole"]),
        (
            "SELECT id % 2 AS label, array_repeat(1.0D, 1 + CAST(id % 2 AS INT)) AS features FROM range(9)".into(),
            vec!["`features`", "1", "2"],
        ),
    ] {
        let frame = spark.sql(&text).await.unwrap();
        let message = classifier().observe(untold.clone()).fit(&frame).await.unwrap_err().to_string();
        assert!(words.iter().all(|word| message.contains(word)), "{text}: {message}");
    }
    assert!(!*untold.0.lock().unwrap());
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn rows_that_cannot_be_used_are_skipped_or_kept_on_request() {
    let spark = session().await;
    let text = "SELECT id, id % 2 AS label, array(if(id = 4, null, double(id % 2)), 1.0D) AS features FROM range(20)";
    let frame = spark.sql(text).await.unwrap();
    let fit = |policy| {
        let classifier = classifier().handle_invalid(policy);
        let frame = frame.clone();
        async move { classifier.fit_frame(&frame).await.unwrap() }
    };
    let model = fit(HandleInvalid::Skip).await;
    assert_eq!((model.model().history().rows.trained, model.model().history().rows.skipped), (19, 1));
    assert_eq!(model.lineage().rows, 20);
    assert_eq!(model.transform(&frame).await.unwrap().count().await.unwrap(), 19);
    let kept = fit(HandleInvalid::Keep).await.transform(&frame).await.unwrap();
    assert_eq!(kept.count().await.unwrap(), 20);
    let unknown = kept.filter_expr("prediction IS NULL AND predictedLabel IS NULL AND probability IS NULL");
    assert_eq!(rows(&unknown.select(["id"])).await, ["4"]);
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn weights_and_a_validation_column_are_used_and_every_form_of_features_read() {
    #[derive(Default)]
    struct Epochs(Mutex<Vec<EpochRecord>>);
    impl Observer for Epochs {
        fn epoch(&self, epoch: &EpochRecord) {
            self.0.lock().unwrap().push(epoch.clone());
        }
    }
    let spark = session().await;
    // A label is contradicted by as many rows of weight 0.
    let text = "SELECT id, if(id % 4 < 2, id % 2, 1 - id % 2) AS label, if(id % 4 < 2, 2, 0) AS w, id >= 160 AS held, \
                array(double(id % 2), 1.0D) AS dense, id % 2 AS one FROM range(0, 200, 1, 2)";
    let frame = spark.sql(text).await.unwrap();
    let frame = frame.with_column("vector", function("array_to_vector", [column("dense")]));
    for features in ["vector", "dense", "one"] {
        let epochs = Arc::new(Epochs::default());
        let classifier = classifier().features_col(features).weight_col("w").validation_indicator_col("held");
        let model = classifier.observe(epochs.clone()).fit_frame(&frame).await.unwrap();
        let history = model.model().history();
        assert_eq!((history.rows.trained, history.rows.held_out), (160, 40), "{features}");
        assert_eq!(history.held_out_accuracy(), Some(0.5), "{features}");
        assert!(history.last().unwrap().held_out.unwrap().loss < 0.1, "{features}: {:?}", history.last());
        assert_eq!(*epochs.0.lock().unwrap(), history.epochs);
        let batches = model.score(&frame).await.unwrap().collect().await.unwrap();
        for batch in &batches {
            let predictions = batch.column_by_name("prediction").unwrap().as_primitive::<Float64Type>();
            assert!(
                texts(batch, "predictedLabel")
                    .iter()
                    .zip(predictions)
                    .all(|(name, p)| { *name == p.map(|p| if p == 0.0 { "0" } else { "1" }) })
            );
        }
    }
    spark.stop().await.unwrap();
}
