//! What cannot be trained on or scored is refused in words that help, and leaves nothing behind.
//!
//! Addresses, tokens and versions have their tests with the connection.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Float32Array, Float64Array, RecordBatch},
    datatypes::{DataType, Field, Schema},
};
use candle_core::Result as Candle;
use candle_nn::{ModuleT, VarBuilder, func_t};
use serde_json::{Value, json};
use tinderbox::{
    Error,
    dataframe::METADATA_KEY,
    nn::{CustomNetwork, Embedding, InputShape, register},
    prelude::*,
    tensor::codec::{Dtype, TensorType},
};

use crate::support;

async fn session() -> Session {
    Session::builder().remote(support::remote().await).create().await.unwrap()
}

/// The flowers' pipeline in small: text to label, two numbers to features.
fn pipeline(classifier: NeuralClassifier) -> Pipeline {
    Pipeline::new()
        .stage(StringIndexer::new("kind", "label"))
        .stage(VectorAssembler::new(["x", "y"], "raw"))
        .stage(StandardScaler::new("raw", "features").with_mean(true))
        .stage(classifier)
}

fn classifier() -> NeuralClassifier {
    NeuralClassifier::new(Network::mlp([4])).epochs(2)
}

/// Two classes, forty rows, nothing wrong.
const GOOD: &str =
    "SELECT IF(id % 2 = 0, 'even', 'odd') AS kind, CAST(id % 2 AS DOUBLE) AS x, id * 0.1D AS y FROM range(40)";

async fn refusal(spark: &Session, case: &str, rows: &str, pipeline: Pipeline) -> Error {
    let frame = spark.sql(rows).await.unwrap();
    let error = pipeline.fit(&frame).await.expect_err(case);
    println!("{case}:\n    {error}");
    error
}

#[tokio::test]
async fn rows_that_cannot_be_trained_on_are_refused_before_training() {
    let spark = session().await;
    let cases: Vec<(&str, String, Pipeline, Vec<&str>)> = vec![
        ("missing column", GOOD.replace("AS y", "AS z"), pipeline(classifier()), vec!["column `y`", "kind, x, z"]),
        (
            "wrongly typed column",
            GOOD.replace("id * 0.1D", "DATE'2026-01-01'"),
            pipeline(classifier()),
            vec!["column `y`", "date"],
        ),
        (
            "null in a feature",
            GOOD.replace("id * 0.1D", "IF(id = 7, NULL, id * 0.1D)"),
            pipeline(classifier()),
            vec!["`y`", "null"],
        ),
        (
            "NaN in a feature",
            GOOD.replace("id * 0.1D", "IF(id = 7, DOUBLE('NaN'), id * 0.1D)"),
            pipeline(classifier()),
            vec!["`y`", "NaN"],
        ),
        ("one class only", GOOD.replace("'odd'", "'even'"), pipeline(classifier()), vec!["`label`", "two classes"]),
        ("empty table", format!("{GOOD} WHERE id < 0"), pipeline(classifier()), vec!["at least one"]),
        (
            "a split that leaves nothing to train on",
            format!("{GOOD} WHERE id < 3"),
            pipeline(classifier().validation_fraction(0.999)),
            vec!["validation_fraction"],
        ),
        (
            "an output column that exists",
            GOOD.replace("AS kind,", "AS kind, 1 AS prediction,"),
            pipeline(classifier()),
            vec!["prediction"],
        ),
        (
            "a bad parameter",
            GOOD.to_owned(),
            pipeline(classifier().learning_rate(f64::NAN)),
            vec!["learning_rate", "NaN"],
        ),
    ];
    for (case, rows, pipeline, words) in cases {
        let error = refusal(&spark, case, &rows, pipeline).await.to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{case}: {error}");
    }
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn features_that_were_never_assembled_are_counted_by_the_cluster_first() {
    let spark = session().await;
    let bare = || Pipeline::new().stage(classifier().features_col("v"));
    let rows = "SELECT array(IF(id % 10 = 3, NULL, 1.0D), IF(id % 10 = 4, DOUBLE('NaN'), 2.0D)) AS v, \
                CAST(id % 2 AS DOUBLE) AS label FROM range(40)";
    let error = refusal(&spark, "null and NaN in an array", rows, bare()).await.to_string();
    assert!(error.contains("`v`") && error.contains('4'), "{error}");
    let rows =
        "SELECT array_repeat(1.0D, CAST(2 + id % 2 AS INT)) AS v, CAST(id % 2 AS DOUBLE) AS label FROM range(40)";
    let error = refusal(&spark, "arrays of different lengths", rows, bare()).await.to_string();
    assert!(error.contains("`v`") && error.contains('2') && error.contains('3'), "{error}");
    let rows = "SELECT array(1.0D) AS v, IF(id = 5, 0.5D, CAST(id % 2 AS DOUBLE)) AS label FROM range(40)";
    let error = refusal(&spark, "a label that is no whole number", rows, bare()).await.to_string();
    assert!(error.contains("`label`") && error.contains("0.5"), "{error}");
    let rows = "SELECT array(1.0D) AS v, CAST(id % 2 - 1 AS DOUBLE) AS label FROM range(40)";
    let error = refusal(&spark, "a negative label", rows, bare()).await.to_string();
    assert!(error.contains("`label`") && error.contains("-1"), "{error}");
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn an_unknown_class_at_prediction_leaves_no_table_behind() {
    let database = support::database_for("an_unknown_class_at_prediction_leaves_no_table_behind").await;
    let spark = session().await;
    let model = pipeline(classifier()).fit(&spark.sql(GOOD).await.unwrap()).await.unwrap();
    let strange = spark.sql(&GOOD.replace("'odd'", "'strange'")).await.unwrap();
    let table = database.table("scored");
    let error = model.predict_into(&strange, &table).await.expect_err("an unknown class");
    println!("unknown label at transform:\n    {error}");
    let error = error.to_string();
    assert!(error.contains("`kind`") && error.contains("strange"), "{error}");
    assert!(!spark.catalog().table_exists(&table).await.unwrap(), "a half-written table is left");

    model.predict_into(&spark.sql(GOOD).await.unwrap(), &table).await.unwrap();
    let error = model.predict_into(&spark.sql(GOOD).await.unwrap(), &table).await.expect_err("the table exists");
    println!("existing table:\n    {error}");
    assert!(error.to_string().contains(&table), "{error}");
    assert_eq!(spark.table(&table).count().await.unwrap(), 40);
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn empty_partitions_are_ordinary_input() {
    let spark = session().await;
    let rows = spark.sql(GOOD).await.unwrap().repartition(64);
    let model = pipeline(classifier().epochs(30).learning_rate(0.05)).fit(&rows).await.unwrap();
    let scored = model.transform(&rows).await.unwrap();
    assert_eq!(scored.count().await.unwrap(), 40);
    let none = rows.filter_expr("kind = 'neither'");
    assert_eq!(model.transform(&none).await.unwrap().count().await.unwrap(), 0, "no row in, no row out");
    spark.stop().await.unwrap();
}

/// A network of a user's own that makes one row of all rows.
struct OneRow;

impl CustomNetwork for OneRow {
    fn build(&self, _: &Value, _: &InputShape, _: VarBuilder<'_>) -> Candle<Box<dyn ModuleT>> {
        Ok(Box::new(func_t(|x, _| x.sum_keepdim(0))))
    }
}

#[tokio::test]
async fn what_a_network_cannot_take_is_refused_with_its_layer_or_column() {
    let spark = session().await;
    register("one row", OneRow);
    let good = "SELECT array(CAST(id % 3 AS FLOAT), 1.0F, 2.0F, CAST(id AS FLOAT)) AS features, id % 2 AS label FROM range(40)";
    let on = |network: Network| NeuralClassifier::new(network).epochs(1);
    let image = TensorReader::new("features").of(TensorType::new(Dtype::Float32, [1, 2, 2]));
    let large = Network::new().conv2d(Conv::new(4, 5));
    let cases = [
        (
            "a kernel larger than its input",
            good,
            on(large.clone()).input(image),
            vec!["0 (conv2d)", "1×2×2", "reaches over 5"],
        ),
        ("a convolution over flat rows", good, on(large), vec!["0 (conv2d)", "4", "channels × height × width"]),
        ("recurrent layers over flat rows", good, on(Network::lstm(4)), vec!["0 (lstm)", "4", "steps × values"]),
        (
            "a category that is not in the table",
            good,
            on(Network::new().categories([Embedding::new(2, 1)]).linear(4)),
            vec!["`features`", "found 2 as value 0", "from 0 to 1"],
        ),
        (
            "a network that gives the wrong shape",
            good,
            on(Network::new().custom("one row", json!(null))),
            vec!["custom `one row`", "for 3 rows"],
        ),
    ];
    for (case, text, classifier, words) in cases {
        let error = classifier.fit_frame(&spark.sql(text).await.unwrap()).await.expect_err(case).to_string();
        println!("{case}:\n    {error}");
        assert!(words.iter().all(|word| error.contains(word)), "{case}: {error}");
    }

    let names = json!({"ml_attr": {"type": "nominal", "name": "label", "vals": ["no", "yes"]}}).to_string();
    let label = Field::new("label", DataType::Float64, false).with_metadata([(METADATA_KEY.to_owned(), names)].into());
    let schema = Arc::new(Schema::new(vec![Field::new("x", DataType::Float32, false), label]));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Float32Array::from(vec![1.0; 9])),
        Arc::new(Float64Array::from_iter_values((0..9).map(|i| f64::from(i % 3)))),
    ];
    let frame = spark.create_dataframe(&[RecordBatch::try_new(schema, columns).unwrap()]).await.unwrap();
    let error = on(Network::new()).features_col("x").fit_frame(&frame).await.expect_err("a third class").to_string();
    println!("a label outside the classes:\n    {error}");
    assert!(error.contains("`label`") && error.contains("found 2 in 3 rows") && error.contains("2 classes"), "{error}");
    spark.stop().await.unwrap();
}
