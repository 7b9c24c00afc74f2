//! Networks that learn numbers and labels on rows of the cluster: fitted, put to use, saved and loaded.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Float64Type;
use futures::TryStreamExt;
use tinderbox::{
    dataframe::is_vector,
    model::{Metric, Task},
    prelude::*,
};

use crate::support::{database_for, rows, session};

/// `a` and `b` in [-1, 1], `price = 200000 + 50000 (a - b)`, `area = a + 2`, `count` around `exp(a)`, two labels.
async fn houses(spark: &Session) -> DataFrame {
    let text = "SELECT id, pmod(hash(id), 101) / 50.0D - 1 AS a, pmod(hash(id, 7), 97) / 48.0D - 1 AS b \
                FROM range(0, 400, 1, 2)";
    spark
        .sql(text)
        .await
        .unwrap()
        .with_column("price", functions::expr("200000 + 50000 * (a - b)"))
        .with_column("area", functions::expr("a + 2"))
        .with_column("count", functions::expr("CAST(round(exp(a)) AS INT)"))
        .with_column("large", functions::expr("a > 0"))
        .with_column("cheap", functions::expr("b > a"))
}

fn pipeline(regressor: impl Estimator + 'static) -> Pipeline {
    Pipeline::new().stage(VectorAssembler::new(["a", "b"], "features")).stage(regressor)
}

async fn collected(model: &PipelineModel, frame: &DataFrame) -> Vec<RecordBatch> {
    model.predict(frame).await.unwrap().try_collect().await.unwrap()
}

fn doubles(batch: &RecordBatch, name: &str) -> Vec<f64> {
    batch.column_by_name(name).unwrap().as_primitive::<Float64Type>().values().to_vec()
}

#[tokio::test]
async fn a_price_is_learnt_in_its_own_units_and_the_model_comes_back_from_its_table() {
    let spark = session().await;
    let database = database_for("a_price_is_learnt_in_its_own_units").await;
    let frame = houses(&spark).await;
    let regressor = NeuralRegressor::new(Network::mlp([16]))
        .label_col("price")
        .epochs(60)
        .learning_rate(0.01)
        .validation_fraction(0.2);
    let model = pipeline(regressor).fit(&frame).await.unwrap();
    let stage = |model: &PipelineModel| model.network().unwrap().clone();
    let history = stage(&model).model().history().clone();
    assert_eq!(history.metric, Metric::Rmse);
    let error = history.last().unwrap().held_out.unwrap().metric;
    assert!(error < 5_000.0, "{error}");

    let table = database.table("scored");
    model.predict_into(&frame, &table).await.unwrap();
    let scored = spark.table(&table);
    let off = scored.agg([functions::expr("max(abs(prediction - price))").alias("off")]);
    let off: f64 = rows(&off).await[0].parse().unwrap();
    assert!(off < 30_000.0, "{off}");

    model.save(&spark, &database.table("models"), "price").await.unwrap();
    let loaded = PipelineModel::load(&spark, &database.table("models"), "price", None).await.unwrap();
    assert_eq!(stage(&loaded), stage(&model));
    let (one, other) = (collected(&model, &frame).await, collected(&loaded, &frame).await);
    assert_eq!(one, other);
}

#[tokio::test]
async fn several_targets_become_a_vector_that_names_them() {
    let spark = session().await;
    let frame = houses(&spark).await;
    let regressor =
        NeuralRegressor::new(Network::mlp([16])).label_cols(["price", "area"]).epochs(60).learning_rate(0.01);
    let model = pipeline(regressor).fit(&frame).await.unwrap();
    let scored = model.transform(&frame).await.unwrap();
    let schema = scored.schema().await.unwrap();
    let prediction = schema.require("prediction").unwrap();
    assert!(is_vector(&prediction.data_type));
    let attributes = prediction.metadata["ml_attr"]["attrs"]["numeric"].as_array().unwrap().clone();
    let names: Vec<_> = attributes.iter().map(|attribute| attribute["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names, ["price", "area"]);
    for batch in collected(&model, &frame).await {
        let predicted = batch.column_by_name("prediction").unwrap().as_list::<i32>().values().clone();
        let predicted = predicted.as_primitive::<Float64Type>().values().to_vec();
        for (row, (price, area)) in doubles(&batch, "price").into_iter().zip(doubles(&batch, "area")).enumerate() {
            assert!((predicted[2 * row] - price).abs() < 40_000.0 && (predicted[2 * row + 1] - area).abs() < 0.8);
        }
    }
}

#[tokio::test]
async fn counts_and_labels_are_learnt() {
    let spark = session().await;
    let frame = houses(&spark).await;
    let counts = NeuralRegressor::new(Network::mlp([8])).label_col("count").loss(Loss::Poisson).epochs(20);
    let model = pipeline(counts).fit(&frame).await.unwrap();
    assert!(
        collected(&model, &frame).await.iter().flat_map(|batch| doubles(batch, "prediction")).all(|rate| rate > 0.0)
    );

    let labels = NeuralMultilabelClassifier::new(Network::mlp([16])).label_cols(["large", "cheap"]).epochs(40);
    let model = pipeline(labels.learning_rate(0.01)).fit(&frame).await.unwrap();
    let stage = model.network().unwrap();
    assert_eq!(*stage.model().task(), Task::Labels { names: vec!["large".into(), "cheap".into()] });
    let (mut right, mut all) = (0, 0);
    for batch in collected(&model, &frame).await {
        let named = batch.column_by_name("predictedLabel").unwrap().as_list::<i32>().clone();
        let large = batch.column_by_name("large").unwrap().as_boolean().clone();
        for row in 0..batch.num_rows() {
            let has = named.value(row).as_string::<i32>().iter().any(|name| name == Some("large"));
            right += usize::from(has == large.value(row));
            all += 1;
        }
    }
    assert!(all == 400 && right > 380, "{right} of {all}");
}

#[tokio::test]
async fn targets_that_are_missing_or_no_numbers_are_refused() {
    let spark = session().await;
    let frame = houses(&spark).await.with_column("text", functions::expr("string(a)"));
    let frame = frame.with_column("holes", functions::expr("if(id = 3, NULL, a)"));
    let fit = |label: &str| {
        let regressor = NeuralRegressor::new(Network::new()).label_col(label).epochs(1);
        let (pipeline, frame) = (pipeline(regressor), frame.clone());
        async move { pipeline.fit(&frame).await.unwrap_err().to_string() }
    };
    let message = fit("holes").await;
    assert!(message.contains("`holes`") && message.contains("null in 1 "), "{message}");
    let message = fit("text").await;
    assert!(message.contains("`text`") && message.contains("number"), "{message}");
}

#[tokio::test]
async fn target_far_from_zero_is_fitted_in_every_form() {
    let spark = session().await;
    let rows = "SELECT pmod(hash(id), 101) / 50.0D - 1 AS x, id FROM range(0, 2000, 1, 2)";
    let frame = spark.sql(rows).await.unwrap();
    // Doubles, whole numbers and an array; a time in seconds, of which single precision keeps steps of 128.
    for label in
        ["1.7e9D + 10 * x", "CAST(round(1.7e9D + 1000 * x) AS BIGINT)", "array(1.7e9D + 10 * x, -1.7e12D - 1000 * x)"]
    {
        let frame = frame.with_column("label", functions::expr(label));
        let regressor = NeuralRegressor::new(Network::mlp([16])).features_col("x").epochs(40).learning_rate(0.01);
        let model = Pipeline::new().stage(regressor).fit(&frame).await.unwrap();
        let mut of = [Vec::new(), Vec::new()];
        for batch in collected(&model, &frame).await {
            let labels = batch.column_by_name("label").unwrap();
            let targets = if label.starts_with("array") { 2 } else { 1 };
            for (target, pairs) in of.iter_mut().enumerate().take(targets) {
                let element = |column: &arrow::array::ArrayRef| match column.as_list_opt::<i32>() {
                    Some(lists) => {
                        let values = lists.values().as_primitive::<Float64Type>().values();
                        values.iter().skip(target).step_by(2).copied().collect::<Vec<f64>>()
                    }
                    None => arrow::compute::cast(column, &arrow::datatypes::DataType::Float64)
                        .unwrap()
                        .as_primitive::<Float64Type>()
                        .values()
                        .to_vec(),
                };
                let predicted = element(batch.column_by_name("prediction").unwrap());
                pairs.extend(element(labels).into_iter().zip(predicted));
            }
        }
        for pairs in of.iter().filter(|pairs| !pairs.is_empty()) {
            let mean = pairs.iter().map(|(label, _)| label).sum::<f64>() / pairs.len() as f64;
            let spread: f64 = pairs.iter().map(|(label, _)| (label - mean).powi(2)).sum();
            let error: f64 = pairs.iter().map(|(label, predicted)| (label - predicted).powi(2)).sum();
            let r2 = 1.0 - error / spread;
            assert!(r2 > 0.99, "{label}: {r2}");
        }
    }
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn model_with_figures_that_are_not_finite_is_loaded_again() {
    let spark = session().await;
    let database = database_for("model_with_figures_that_are_not_finite").await;
    // The rows held out lie where the exponential of the output is infinite.
    let frame = spark.range(0, 400).select_expr([
        "IF(id % 4 = 0, 1e6D, pmod(hash(id), 101) / 50.0D - 1) AS x",
        "1 + id % 3 AS label",
        "id % 4 = 0 AS later",
    ]);
    let regressor = NeuralRegressor::new(Network::mlp([8]))
        .features_col("x")
        .loss(tinderbox::train::Loss::Poisson)
        .validation_indicator_col("later")
        .epochs(3)
        .seed(3);
    let model = Pipeline::new().stage(regressor).fit(&frame).await.unwrap();
    let stage = |model: &PipelineModel| model.network().unwrap().model().history().clone();
    let history = stage(&model);
    let losses: Vec<f64> = history.epochs.iter().map(|epoch| epoch.held_out.unwrap().loss).collect();
    assert!(losses.iter().any(|loss| !loss.is_finite()), "{losses:?}");
    let table = database.table("models");
    model.save(&spark, &table, "counts").await.unwrap();
    let loaded = stage(&PipelineModel::load(&spark, &table, "counts", None).await.unwrap());
    let again: Vec<f64> = loaded.epochs.iter().map(|epoch| epoch.held_out.unwrap().loss).collect();
    assert_eq!(format!("{losses:?}"), format!("{again:?}"));
    spark.stop().await.unwrap();
}
