//! The next hour of a series: windows are made on the cluster with SQL, a network learns what follows them.
//!
//! `cargo run --release --example forecast`. The series is made up there too: demand for 400 days with a daily and a
//! weekly rhythm, a trend and noise. The last 60 days are held out, and the network is held against the same hour of
//! the day before.

#[path = "support/arguments.rs"]
mod arguments;

use arguments::Arguments;
use tinderbox::prelude::*;

/// Hours that a forecast looks back on.
const WINDOW: usize = 48;

/// Units of demand that are 1 to the network.
const SCALE: f64 = 50.0;

const SERIES: &str = "SELECT id AS hour, \
    200 + id / 100.0D + 60 * sin(2 * pi() * id / 24) + 25 * sin(2 * pi() * id / 168) + 12 * randn(7) AS demand \
    FROM range(0, 9600, 1, 1)";

#[tokio::main]
async fn main() -> Result<()> {
    Arguments::read(include_str!("forecast.rs"));
    let spark = Session::builder().get_or_create().await?;
    spark.sql(SERIES).await?.create_or_replace_temp_view("series").await?;
    // The hours before each hour, the oldest first, and the hour of the week it is. Demand is held against what it was a day
    // before: the trend leads to levels that no training row has.
    let windows = spark
        .sql(&format!(
            "SELECT hour, demand, yesterday, (demand - yesterday) / {SCALE} AS change, hour >= 340 * 24 AS held_out, \
             concat(transform(past, x -> (x - yesterday) / {SCALE}), \
             array(sin(2 * pi() * hour / 168), cos(2 * pi() * hour / 168))) AS features \
             FROM (SELECT *, past[{yesterday}] AS yesterday FROM (SELECT *, collect_list(demand) OVER \
             (ORDER BY hour ROWS BETWEEN {WINDOW} PRECEDING AND 1 PRECEDING) AS past FROM series) \
             WHERE size(past) = {WINDOW})",
            yesterday = WINDOW - 24,
        ))
        .await?;
    let regressor = NeuralRegressor::new(
        Network::new().linear(64).activation(Activation::Relu).linear(32).activation(Activation::Relu),
    )
    .label_col("change")
    .validation_indicator_col("held_out")
    .loss(Loss::Huber { delta: 1.0 })
    .epochs(15)
    .learning_rate(1e-3)
    .seed(7);
    let model = Pipeline::new().stage(regressor.progress()).fit(&windows).await?;
    let scored = model.transform(&windows).await?.filter_expr("held_out");
    let scored = scored.with_column("forecast", functions::expr(&format!("yesterday + {SCALE} * prediction")));
    let error = |of: &str, name: &str| functions::expr(&format!("round(avg(abs({of} - demand)), 2)")).alias(name);
    let quantile = functions::expr("round(percentile(abs(forecast - demand), 0.9), 2)").alias("network_90th");
    println!("\nmean absolute error over the last 60 days, in units of demand:");
    scored.agg([error("forecast", "network"), quantile, error("yesterday", "as_yesterday")]).show(1).await?;
    let shown =
        ["hour", "round(demand, 1) AS demand", "round(forecast, 1) AS forecast", "round(yesterday, 1) AS yesterday"];
    scored.order_by(["hour"]).select_expr(shown).show(6).await?;
    spark.stop().await
}
