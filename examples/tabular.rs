//! Categories and numbers together: embeddings for the categories, class weights for a rare class.
//!
//! `cargo run --release --example tabular`. The customers are made up on the cluster: whether one leaves depends on the
//! city and the plan (their numbers are in no order) and on three figures; one in ten does.

#[path = "support/arguments.rs"]
mod arguments;

use arguments::Arguments;
use tinderbox::prelude::*;

const CUSTOMERS: &str = "SELECT id, element_at(array('Oslo','Rome','Bern','Kyiv','Bonn','Lyon','Cork','Graz'), 1 + city) AS city, \
    element_at(array('basic','family','student','business'), 1 + plan) AS plan, age, months, calls, \
    IF(weight + 0.4 * randn(3) > 1.75, 'leaves', 'stays') AS fate FROM (SELECT *, \
    IF(city IN (1, 4, 6), 1.0, 0.0) + IF(plan IN (0, 2), 0.7, 0.0) - IF(city = 4 AND plan = 2, 1.2, 0.0) \
    + 0.2 * calls - months / 90.0 AS weight FROM (SELECT id, pmod(hash(id), 8) AS city, pmod(hash(id, 1), 4) AS plan, \
    18 + pmod(hash(id, 2), 60) AS age, pmod(hash(id, 3), 72) AS months, pmod(hash(id, 4), 6) AS calls FROM range(0, 8000, 1, 2)))";

#[tokio::main]
async fn main() -> Result<()> {
    Arguments::read(include_str!("tabular.rs"));
    let spark = Session::builder().get_or_create().await?;
    let customers = spark.sql(CUSTOMERS).await?;
    println!(
        "{} customers, {} of whom leave\n",
        customers.count().await?,
        customers.filter_expr("fate = 'leaves'").count().await?
    );
    let network = Network::tabular(["city_index", "plan_index"], [32, 16]);
    let mut shown = false;
    for (name, weights) in [("as they are", ClassWeights::None), ("balanced", ClassWeights::Balanced)] {
        let classifier = NeuralClassifier::new(network.clone())
            .features_cols(["city_index", "plan_index", "scaled"])
            .class_weights(weights)
            .validation_fraction(0.25)
            .epochs(25)
            .batch_size(64)
            .learning_rate(3e-3)
            .seed(7);
        let pipeline = Pipeline::new()
            .stage(StringIndexer::new("fate", "label"))
            .stage(StringIndexer::new("city", "city_index"))
            .stage(StringIndexer::new("plan", "plan_index"))
            .stage(VectorAssembler::new(["age", "months", "calls"], "figures"))
            .stage(StandardScaler::new("figures", "scaled").with_mean(true))
            .stage(classifier.progress());
        let model = pipeline.fit(&customers).await?;
        let network = model.network()?.model();
        if !std::mem::replace(&mut shown, true) {
            println!("{}", network.spec().summary());
        }
        if let Some(matrix) = &network.history().held_out {
            let accuracy = 100.0 * matrix.accuracy();
            println!(
                "classes {name}: {accuracy:.1} % of {} held out\n{}\n",
                matrix.rows(),
                matrix.table(network.classes())
            );
        }
    }
    spark.stop().await
}
