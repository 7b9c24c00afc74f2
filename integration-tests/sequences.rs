//! Sequences that vary in length, from arrays of arrays on the cluster to predictions in a table.

use tinderbox::prelude::*;

use crate::support::{database_for, session};

/// Arrays of 2 to 9 steps of two numbers, the first of which rises or falls; `kind` says which.
async fn curves(spark: &Session) -> DataFrame {
    let text = "SELECT id, if(id % 3 = 0, 'rises', 'falls') AS kind, \
                transform(sequence(1, 2 + CAST(id % 8 AS INT)), \
                          t -> array(sin(id) + if(id % 3 = 0, 0.3, -0.3) * t, cos(id * 7 + t))) AS steps \
                FROM range(0, 240, 1, 2)";
    spark.sql(text).await.unwrap()
}

fn pipeline(network: Network) -> Pipeline {
    let classifier = NeuralClassifier::new(network).sequence_col("steps").epochs(30).learning_rate(0.01);
    Pipeline::new().stage(StringIndexer::new("kind", "label")).stage(classifier)
}

#[tokio::test]
async fn curves_of_any_length_are_told_apart_and_the_model_comes_back_from_its_table() {
    let spark = session().await;
    let database = database_for("curves_of_any_length_are_told_apart").await;
    let frame = curves(&spark).await;
    let model = pipeline(Network::gru(12)).fit(&frame).await.unwrap();
    let table = database.table("scored");
    model.predict_into(&frame, &table).await.unwrap();
    let scored = spark.table(&table);
    let right = scored.filter_expr("kind = predictedLabel").count().await.unwrap();
    assert!(scored.count().await.unwrap() == 240 && right > 230, "{right}");

    model.save(&spark, &database.table("models"), "curves").await.unwrap();
    let loaded = PipelineModel::load(&spark, &database.table("models"), "curves", None).await.unwrap();
    let again = loaded.transform(&frame).await.unwrap();
    assert_eq!(again.filter_expr("kind = predictedLabel").count().await.unwrap(), right);
}

#[tokio::test]
async fn an_empty_sequence_is_refused_with_its_column_and_row() {
    let spark = session().await;
    let frame = curves(&spark).await.with_column("steps", functions::expr("if(id = 7, slice(steps, 1, 0), steps)"));
    let message = pipeline(Network::lstm(4)).fit(&frame).await.unwrap_err().to_string();
    assert!(message.contains("`steps`") && message.contains("length 0") && message.contains("row 7"), "{message}");
}
