//! The whole way, on 150 flowers: a table on Spark, a pipeline with a network, scored rows and a saved model.
//!
//! `cargo run --example iris` (or `make demo`), on the Spark of `SPARK_REMOTE` or a local one that it starts itself.
//! Its tables are in the database `tinderbox_demo`.

#[path = "support/arguments.rs"]
mod arguments;
#[path = "support/log.rs"]
mod log;

use std::sync::Arc;

use arguments::Arguments;
use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use tinderbox::{
    dataframe::{function, vector_to_array},
    prelude::*,
};

const MEASURES: [&str; 4] = ["sepal_length", "sepal_width", "petal_length", "petal_width"];

#[tokio::main]
async fn main() -> Result<()> {
    Arguments::read(include_str!("iris.rs"));
    log::to_stderr("tinderbox=info");

    let spark = Session::builder().get_or_create().await?;
    println!("Spark {} at {}\n", spark.version(), spark.client().address());
    spark.sql("CREATE DATABASE IF NOT EXISTS tinderbox_demo").await?;
    let flowers = spark.create_dataframe(&[flowers()]).await?;
    flowers.write().mode(SaveMode::Overwrite).save_as_table("tinderbox_demo.iris").await?;

    let iris = spark.table("tinderbox_demo.iris");
    let classifier = NeuralClassifier::new(Network::mlp([16, 16])).epochs(60).seed(7);
    let pipeline = Pipeline::new()
        .stage(StringIndexer::new("species", "label"))
        .stage(VectorAssembler::new(MEASURES, "raw"))
        .stage(StandardScaler::new("raw", "features").with_mean(true))
        .stage(classifier.validation_fraction(0.2).progress());
    let model = pipeline.fit(&iris).await?;
    describe(&model)?;

    model.predict_into_with(&iris, "tinderbox_demo.iris_scored", SaveMode::Overwrite).await?;
    let scored = spark.table("tinderbox_demo.iris_scored");
    println!("tinderbox_demo.iris_scored: {} rows. Those it is least sure of:", scored.count().await?);
    let sure = functions::round_scale(function("array_max", [probability()]), lit(3)).alias("probability");
    let shown = scored.select([col("petal_length"), col("petal_width"), col("species"), col("predictedLabel"), sure]);
    shown.order_by(["probability"]).show(6).await?;

    let version = model.save(&spark, "tinderbox_demo.models", "iris").await?;
    println!("\nsaved as version {version} of model `iris` in tinderbox_demo.models");
    let loaded = PipelineModel::load(&spark, "tinderbox_demo.models", "iris", Some(version)).await?;
    let again = loaded.transform(&iris).await?;
    println!("rows that the loaded model predicts differently: {}", differing(&spark, &scored, &again).await?);
    spark.stop().await
}

/// The flowers as one batch.
fn flowers() -> RecordBatch {
    let rows: Vec<Vec<&str>> =
        include_str!("data/iris.csv").lines().skip(1).map(|line| line.split(',').collect()).collect();
    let measure = |i: usize| {
        let values = rows.iter().map(|row| row[i].parse::<f64>().expect("a measure is a number"));
        (MEASURES[i], Arc::new(Float64Array::from_iter_values(values)) as ArrayRef)
    };
    let species = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row[4]))) as ArrayRef;
    let columns = (0..MEASURES.len()).map(measure).chain([("species", species)]);
    RecordBatch::try_from_iter(columns).expect("the columns are equally long")
}

/// Prints how well the network does on the flowers held out.
fn describe(model: &PipelineModel) -> Result<()> {
    let network = model.network()?.model();
    if let Some(held_out) = &network.history().held_out {
        let (accuracy, rows) = (100.0 * held_out.accuracy(), held_out.rows());
        println!("accuracy on {rows} flowers held out: {accuracy:.1} %\n\n{}\n", held_out.table(network.classes()));
    }
    Ok(())
}

/// The probabilities as an array.
fn probability() -> Column {
    vector_to_array(column("probability"), "float64")
}

/// Returns the number of rows of one frame of predictions that are not in the other, counted by the cluster.
async fn differing(spark: &Session, a: &DataFrame, b: &DataFrame) -> Result<u64> {
    for (frame, view) in [(a, "predicted"), (b, "predicted_again")] {
        let columns = MEASURES.iter().map(|name| column(name));
        let columns = columns.chain([column("prediction"), column("predictedLabel"), probability().alias("p")]);
        frame.select(columns).create_or_replace_temp_view(view).await?;
    }
    let difference = "(TABLE predicted EXCEPT ALL TABLE predicted_again) \
                      UNION ALL (TABLE predicted_again EXCEPT ALL TABLE predicted)";
    spark.sql(difference).await?.count().await
}
