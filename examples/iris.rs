//! Trains a classifier on Iris: the flowers are a table of Spark's, the network is trained here, and its predictions are
//! a table again.
//!
//! ```sh
//! cargo run --release --example iris
//! ```
//!
//! Uses the Spark at `SPARK_REMOTE`, or one that it finds or installs and starts here.

use std::sync::Arc;

use tinderbox::{
    Result,
    dataframe::SaveMode,
    model::PredictOptions,
    nn::Network,
    session::Session,
    tensor::Columns,
    train::{Progress, TrainParams, Trainer},
};

const SPECIES: [&str; 3] = ["setosa", "versicolor", "virginica"];

#[tokio::main]
async fn main() -> Result<()> {
    let spark = Session::builder().get_or_create().await?;
    println!("Spark {} at {}", spark.version(), spark.client().address());
    spark.sql("CREATE DATABASE IF NOT EXISTS tinderbox_demo").await?;
    plant(&spark).await?;

    // The cluster indexes the labels and scales the features; only what the network uses travels.
    let flowers = spark
        .sql(
            "WITH scale AS (
               SELECT avg(sepal_length) sl, stddev(sepal_length) sl_sd, avg(sepal_width) sw, stddev(sepal_width) sw_sd,
                      avg(petal_length) pl, stddev(petal_length) pl_sd, avg(petal_width) pw, stddev(petal_width) pw_sd
               FROM tinderbox_demo.iris)
             SELECT species,
                    CAST(array_position(array('setosa', 'versicolor', 'virginica'), species) - 1 AS double) AS label,
                    array(float((sepal_length - sl) / sl_sd), float((sepal_width - sw) / sw_sd),
                          float((petal_length - pl) / pl_sd), float((petal_width - pw) / pw_sd)) AS features
             FROM tinderbox_demo.iris CROSS JOIN scale",
        )
        .await?;

    let params = TrainParams { epochs: 60, validation_fraction: 0.2, seed: 7, ..TrainParams::default() };
    let model = Trainer::new(Network::mlp([16, 16]), Columns::new("features", "label"), params)
        .classes(SPECIES.map(String::from).to_vec())
        .observe(Arc::new(Progress::new()))
        .fit(&flowers)
        .await?;
    if let Some(accuracy) = model.history().held_out_accuracy() {
        println!("{:.1} % of the flowers held out are named rightly", 100.0 * accuracy);
    }

    let scored = model.predict(flowers.stream().await?, &PredictOptions::default())?;
    let scored = spark.create_dataframe_from_stream(scored, None).await?;
    scored.write().mode(SaveMode::Overwrite).save_as_table("tinderbox_demo.iris_scored").await?;
    spark
        .sql(
            "SELECT species, prediction, count(*) AS flowers FROM tinderbox_demo.iris_scored GROUP BY ALL ORDER BY ALL",
        )
        .await?
        .show(20)
        .await
}

/// Makes the table `tinderbox_demo.iris` from the 150 flowers.
async fn plant(spark: &Session) -> Result<()> {
    let rows: Vec<String> = include_str!("data/iris.csv")
        .lines()
        .skip(1)
        .filter_map(|line| line.rsplit_once(','))
        .map(|(numbers, species)| format!("({numbers}, '{species}')"))
        .collect();
    let table = spark
        .sql(&format!(
            "SELECT * FROM VALUES {} AS iris(sepal_length, sepal_width, petal_length, petal_width, species)",
            rows.join(", ")
        ))
        .await?;
    table.write().mode(SaveMode::Overwrite).save_as_table("tinderbox_demo.iris").await
}
