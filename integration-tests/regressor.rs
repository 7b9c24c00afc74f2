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
    let stage =
        |model: &PipelineModel| model.stages().last().unwrap().as_any().downcast_ref::<NeuralModel>().unwrap().clone();
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
    let stage = model.stages().last().unwrap().as_any().downcast_ref::<NeuralModel>().unwrap();
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
    assert!(message.contains("`holes`") && message.contains("1 are null"), "{message}");
    let message = fit("text").await;
    assert!(message.contains("`text`") && message.contains("number"), "{message}");
}
