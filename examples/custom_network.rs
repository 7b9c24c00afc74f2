//! A custom network in plain candle code, as a stage of a pipeline: a deep-and-cross network.
//!
//! `cargo run --release --example custom_network`. The network (Wang et al., "Deep & Cross Network for Ad Click
//! Predictions", 2017) multiplies its input with itself layer by layer, which sums alone learn badly; the rows, made up
//! on the cluster, are of one class when the product of three numbers is above 0.

#[path = "support/arguments.rs"]
mod arguments;

use arguments::Arguments;
use candle_core::{Result as Candle, Tensor};
use candle_nn::{Module, ModuleT, VarBuilder, func_t, linear};
use serde_json::{Value, json};
use tinderbox::{
    nn::{CustomNetwork, InputShape, register},
    prelude::*,
};

/// Crossing layers, `x₀ (w · x + b) + x` each, beside a deep part.
struct DeepAndCross;

impl CustomNetwork for DeepAndCross {
    fn build(&self, settings: &Value, inputs: &InputShape, weights: VarBuilder<'_>) -> Candle<Box<dyn ModuleT>> {
        let (width, crossings) = (inputs.count(), settings["crossings"].as_u64().unwrap_or(2));
        let units = settings["units"].as_u64().unwrap_or(16) as usize;
        let cross = (0..crossings)
            .map(|i| linear(width, width, weights.pp(format!("cross_{i}"))))
            .collect::<Candle<Vec<_>>>()?;
        let deep = linear(width, units, weights.pp("deep"))?;
        Ok(Box::new(func_t(move |first, _| {
            let mut x = first.clone();
            for layer in &cross {
                x = ((first * layer.forward(&x)?)? + x)?;
            }
            Tensor::cat(&[x, deep.forward(first)?.relu()?], 1)
        })))
    }
}

const ROWS: &str = "SELECT a, b, c, IF(a * b * c > 0, 'even', 'odd') AS kind FROM (SELECT \
    pmod(hash(id), 2001) / 1000.0D - 1 AS a, pmod(hash(id, 1), 2001) / 1000.0D - 1 AS b, \
    pmod(hash(id, 2), 2001) / 1000.0D - 1 AS c FROM range(0, 6000, 1, 2))";

#[tokio::main]
async fn main() -> Result<()> {
    Arguments::read(include_str!("custom_network.rs"));
    register("deep and cross", DeepAndCross);
    let spark = Session::builder().get_or_create().await?;
    let rows = spark.sql(ROWS).await?;
    let crossed = Network::new().custom("deep and cross", json!({"crossings": 2, "units": 16}));
    println!("{}", crossed.resolve(3, 2)?.summary());
    for (name, network) in [("deep and cross", crossed), ("one hidden layer of 16", Network::mlp([16]))] {
        let classifier = NeuralClassifier::new(network)
            .validation_fraction(0.2)
            .epochs(20)
            .batch_size(64)
            .learning_rate(5e-3)
            .seed(7);
        let pipeline = Pipeline::new()
            .stage(StringIndexer::new("kind", "label"))
            .stage(VectorAssembler::new(["a", "b", "c"], "features"))
            .stage(classifier.progress());
        let model = pipeline.fit(&rows).await?;
        let history = model.network()?.model().history();
        let accuracy = history.held_out_accuracy().unwrap_or(f64::NAN);
        println!("{name}: {:.1} % of the rows held out", 100.0 * accuracy);
    }
    spark.stop().await
}
