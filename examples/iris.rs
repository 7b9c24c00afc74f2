//! Trains a classifier on Iris: the flowers are prepared by Spark and the network is trained here.
//!
//! ```sh
//! cargo run --release --example iris
//! ```
//!
//! Uses the Spark at `SPARK_REMOTE`, or one that it finds or installs and starts here.

use std::sync::Arc;

use futures::TryStreamExt;
use spark_connect_proto::{Plan, Relation, Sql, plan::OpType, relation::RelType};
use tinderbox::{
    Result,
    connect::{Client, ConnectOptions, Event, ExecuteOptions, LocalSpark},
    nn::Network,
    stream::{MemorySource, ipc::Decoder},
    tensor::Columns,
    train::{Progress, TrainParams, Trainer},
};

const SPECIES: [&str; 3] = ["setosa", "versicolor", "virginica"];

#[tokio::main]
async fn main() -> Result<()> {
    let remote = match std::env::var("SPARK_REMOTE") {
        Ok(remote) => remote,
        Err(_) => LocalSpark::shared().await?.remote(),
    };
    let client = Client::connect(ConnectOptions::new(remote.parse()?)).await?;
    println!("Spark {} at {}", client.version(), client.address());

    let flowers = flowers(&client).await?;
    let params = TrainParams { epochs: 60, validation_fraction: 0.2, seed: 7, ..TrainParams::default() };
    let model = Trainer::new(Network::mlp([16, 16]), Columns::new("features", "label"), params)
        .classes(SPECIES.map(String::from).to_vec())
        .observe(Arc::new(Progress::new()))
        .fit(&flowers)
        .await?;
    if let Some(accuracy) = model.history().held_out_accuracy() {
        println!("{:.1} % of the flowers held out are named rightly", 100.0 * accuracy);
    }
    client.release_session().await
}

/// Has Spark index the species and scale the measurements, and takes the result into memory.
async fn flowers(client: &Client) -> Result<MemorySource> {
    let rows: Vec<String> = include_str!("data/iris.csv")
        .lines()
        .skip(1)
        .filter_map(|line| line.rsplit_once(','))
        .map(|(numbers, species)| format!("({numbers}, '{species}')"))
        .collect();
    let query = format!(
        "WITH iris AS (
           SELECT * FROM VALUES {} AS t(sepal_length, sepal_width, petal_length, petal_width, species)),
         scale AS (
           SELECT avg(sepal_length) sl, stddev(sepal_length) sl_sd, avg(sepal_width) sw, stddev(sepal_width) sw_sd,
                  avg(petal_length) pl, stddev(petal_length) pl_sd, avg(petal_width) pw, stddev(petal_width) pw_sd
           FROM iris)
         SELECT CAST(array_position(array('setosa', 'versicolor', 'virginica'), species) - 1 AS double) AS label,
                array(float((sepal_length - sl) / sl_sd), float((sepal_width - sw) / sw_sd),
                      float((petal_length - pl) / pl_sd), float((petal_width - pw) / pw_sd)) AS features
         FROM iris CROSS JOIN scale",
        rows.join(", ")
    );
    let relation = Relation { rel_type: Some(RelType::Sql(Sql { query, ..Default::default() })), ..Default::default() };
    let plan = Plan { op_type: Some(OpType::Root(relation)) };

    let mut decoder = Decoder::default();
    let mut batches = Vec::new();
    let mut events = client.execute(plan, ExecuteOptions::default());
    while let Some(event) = events.try_next().await? {
        if let Event::Batch(payload) = event {
            batches.extend(decoder.decode(payload.data, payload.rows)?);
        }
    }
    let schema = decoder.schema().cloned().unwrap_or_else(|| Arc::new(arrow::datatypes::Schema::empty()));
    Ok(MemorySource::new(schema, batches))
}
