//! Few labels, many digits: a network that first looked at all digits without labels, against the same network from
//! random weights.
//!
//! `cargo run --release --example deep_belief` trains on the 8×8 digits that are shipped, 100 of them labelled; `--
//! --data FOLDER` from MNIST's files, 1,000 labelled, with the network 784-500-250-10. `--seeds 3` repeats it,
//! `--epochs` says how often a machine sees the digits.

mod support;

use std::path::Path;

use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::{Float64Type, Int32Type},
};
use futures::TryStreamExt;
use support::{Digits, arguments::Arguments, log};
use tinderbox::prelude::*;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::read(include_str!("deep_belief.rs"));
    log::to_stderr("tinderbox=warn");
    let digits = Digits::load(arguments.value("--data").as_deref().map(Path::new))?;
    let labelled = if digits.side == 28 { 1000 } else { 100 };
    let hidden = if digits.side == 28 { [500, 250] } else { [128, 64] };
    let spark = Session::builder().get_or_create().await?;
    let all = spark.create_dataframe(std::slice::from_ref(&digits.train)).await?;
    let few = spark.create_dataframe(&[digits.train.slice(0, labelled)]).await?;
    let test = spark.create_dataframe(std::slice::from_ref(&digits.test)).await?;
    println!(
        "{}: {} to look at, {labelled} of them labelled, {} to test\n",
        digits.name,
        digits.train.num_rows(),
        digits.test.num_rows()
    );

    let seeds = arguments.number("--seeds", 1u64);
    let (epochs, rows) = if digits.side == 28 { (15, 100) } else { (60, 20) };
    let epochs = arguments.number("--epochs", epochs);
    let mut sums = [0.0; 2];
    println!("seed  from random weights  pre-trained");
    for seed in 1..=seeds {
        let unlabelled = belief(hidden, rows, epochs).seed(seed).fit_frame(&all).await?;
        let trained = unlabelled.classifier()?;
        let random = NeuralClassifier::new(unlabelled.network()?.0).features_col("pixels");
        let mut shares = [0.0; 2];
        for (share, classifier) in shares.iter_mut().zip([random, trained]) {
            let model = finish(classifier, seed, digits.side).fit_frame(&few).await?;
            let scored: Vec<RecordBatch> = model.score(&test).await?.try_collect().await?;
            *share = right(&scored);
        }
        println!("{seed:>4}  {:>17.2} %  {:>9.2} %", shares[0], shares[1]);
        sums.iter_mut().zip(shares).for_each(|(sum, share)| *sum += share);
    }
    if seeds > 1 {
        let [random, trained] = sums.map(|sum| sum / seeds as f64);
        println!("mean  {random:>17.2} %  {trained:>9.2} %");
    }
    println!();

    let pipeline = Pipeline::new()
        .stage(belief(hidden, rows, epochs).seed(1).output_col("codes").reconstruction_error_col(""))
        .stage(NeuralClassifier::new(Network::new()).features_col("codes").epochs(30).learning_rate(0.01).seed(1));
    let model = pipeline.fit(&all).await?;
    spark.sql("CREATE DATABASE IF NOT EXISTS tinderbox_demo").await?;
    let version = model.save(&spark, "tinderbox_demo.models", "digits").await?;
    let loaded = PipelineModel::load(&spark, "tinderbox_demo.models", "digits", Some(version)).await?;
    let rows: Vec<RecordBatch> = loaded.predict(&test).await?.try_collect().await?;
    println!(
        "one pipeline, machines left as they are and logistic regression on their features, all labels, saved and loaded: \
         {:.2} %",
        right(&rows)
    );
    spark.stop().await
}

fn belief(hidden: [usize; 2], rows: usize, epochs: usize) -> DeepBelief {
    DeepBelief::new(hidden).features_col("pixels").epochs(epochs).learning_rate(0.05).batch_size(rows)
}

/// The same training for both, long enough for either.
fn finish(classifier: NeuralClassifier, seed: u64, side: usize) -> NeuralClassifier {
    let (epochs, rows) = if side == 28 { (60, 50) } else { (300, 20) };
    classifier.epochs(epochs).batch_size(rows).learning_rate(0.001).weight_decay(1e-4).tol(0.0).seed(seed)
}

/// Returns the share of right predictions, in percent.
fn right(rows: &[RecordBatch]) -> f64 {
    let (mut right, mut all) = (0, 0);
    for batch in rows {
        let labels = batch["label"].as_primitive::<Int32Type>().values();
        let predicted = batch["prediction"].as_primitive::<Float64Type>().values();
        right += labels.iter().zip(predicted).filter(|(label, class)| f64::from(**label) == **class).count();
        all += batch.num_rows();
    }
    100.0 * right as f64 / all as f64
}
