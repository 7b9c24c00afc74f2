//! Flowers that keep coming, scored as they come: a pipeline is fitted on a table, and each new micro-batch of another
//! table is scored by it and appended to a third, every flower once.
//!
//! `cargo run --example stream_scores`, on the Spark of `SPARK_REMOTE` or a local one that it starts itself. Its tables
//! are in the database `tinderbox_demo`, its progress in the folder of Spark's tables.

#[path = "support/arguments.rs"]
mod arguments;
#[path = "support/log.rs"]
mod log;

use arguments::Arguments;
use tinderbox::{ScoreOptions, prelude::*, streaming::Trigger};

const MEASURES: [&str; 4] = ["sepal_length", "sepal_width", "petal_length", "petal_width"];

/// A row of the table of flowers.
#[derive(Debug, serde::Serialize)]
struct Flower {
    sepal_length: f64,
    sepal_width: f64,
    petal_length: f64,
    petal_width: f64,
    species: &'static str,
}

#[tokio::main]
async fn main() -> Result<()> {
    Arguments::read(include_str!("stream_scores.rs"));
    log::to_stderr("tinderbox=warn");

    let spark = Session::builder().get_or_create().await?;
    spark.sql("CREATE DATABASE IF NOT EXISTS tinderbox_demo").await?;
    for table in ["arrivals", "arrivals_scored"] {
        spark.drop_table(&format!("tinderbox_demo.{table}")).await?;
    }
    let flowers = spark.create_dataframe_from(&flowers(), None).await?;
    let pipeline = Pipeline::new()
        .stage(StringIndexer::new("species", "label"))
        .stage(VectorAssembler::new(MEASURES, "raw"))
        .stage(StandardScaler::new("raw", "features").with_mean(true))
        .stage(NeuralClassifier::new(Network::mlp([16, 16])).epochs(60).seed(7));
    let model = pipeline.fit(&flowers).await?;
    println!("a pipeline is fitted on {} flowers", flowers.count().await?);

    let warehouse = spark.conf().get("spark.sql.warehouse.dir").await?.unwrap_or_default();
    let progress = format!("{warehouse}/arrivals_progress_{}", spark.client().session_id());
    for (arrival, part) in flowers.random_split(&[1.0, 2.0, 3.0], 7)?.iter().enumerate() {
        part.write().mode(SaveMode::Append).save_as_table("tinderbox_demo.arrivals").await?;
        println!("arrival {arrival}: {} flowers", part.count().await?);

        let arrivals = spark.read_stream().table("tinderbox_demo.arrivals");
        let batches = arrivals.write_stream().trigger(Trigger::AvailableNow);
        let score = async |flowers: DataFrame, number: u64| {
            // A batch that is given again, because this program was killed, finds its rows in the table.
            let options = ScoreOptions::new().mode(SaveMode::Append).run_id(format!("batch {number}"));
            let scored = model.predict_into_with(&flowers, "tinderbox_demo.arrivals_scored", options).await?;
            println!("  batch {number}: {} flowers scored", scored.rows);
            Ok(())
        };
        batches.for_each_batch(&progress, score).await?;
    }

    let scored = spark.table("tinderbox_demo.arrivals_scored");
    let right = functions::count_if(col("species").eq(col("predictedLabel"))).alias("right");
    let counts = scored.group_by([col("run_id")]).agg([functions::count(lit(1)).alias("flowers"), right]);
    counts.order_by([col("run_id")]).show(10).await?;
    spark.stop().await
}

fn flowers() -> Vec<Flower> {
    let lines = include_str!("data/iris.csv").lines().skip(1);
    let flower = |line: &'static str| {
        let cells: Vec<&str> = line.split(',').collect();
        let measure = |i: usize| cells[i].parse().expect("a measure is a number");
        Flower {
            sepal_length: measure(0),
            sepal_width: measure(1),
            petal_length: measure(2),
            petal_width: measure(3),
            species: cells[4],
        }
    };
    lines.map(flower).collect()
}
