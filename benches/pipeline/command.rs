//! What the command line costs: `tinderbox train` beside a program of the same steps, both as processes of their own.

use std::{
    env, fs,
    process::{Command, Stdio},
    time::Instant,
};

use tinderbox::{
    connect::LocalSpark,
    ml::{
        evaluation::{MulticlassClassificationEvaluator, MulticlassMetric},
        rows::Split,
    },
    prelude::*,
};

use super::{Outcome, wide::median};

const TABLE: &str = "tinderbox_bench_command";
const MODELS: &str = "tinderbox_bench_command_models";
const COLUMNS: usize = 20;
const EPOCHS: usize = 20;

/// Runs both alternately on a table of `ROWS` rows.
pub async fn run(rounds: usize) -> Outcome<()> {
    let rows = env::var("ROWS").map_or(Ok(300_000), |rows| rows.parse::<usize>())?;
    let local = LocalSpark::builder().driver_memory("4g").start().await?;
    let spark = Session::builder().remote(local.remote()).create().await?;
    let numbers: Vec<_> = (0..COLUMNS).map(|i| format!("pmod(hash(id, {i}), 10007) / 10007D AS x{i}")).collect();
    let table = format!(
        "SELECT *, if(x0 + x1 * x2 + 0.2 * x3 > 0.85, 'yes', 'no') AS label FROM (SELECT {} FROM range(0, {rows}, 1, 4))",
        numbers.join(", ")
    );
    spark.sql(&table).await?.write().mode(SaveMode::Overwrite).save_as_table(TABLE).await?;
    let folder = tempfile::tempdir()?;
    let columns: String = (0..COLUMNS).map(|i| format!("x{i} = \"number\"\n")).collect();
    let job = format!(
        "[data]\ntable = \"{TABLE}\"\nlabel = \"label\"\n[columns]\n{columns}[split]\ntest = 0.2\nvalidation = 0.0\n\
         [network]\nhidden = [64, 32]\n[training]\nepochs = {EPOCHS}\nseed = 1\n[output]\nmodel = \"command\"\n\
         models = \"{MODELS}\"\n"
    );
    let path = folder.path().join("job.toml");
    fs::write(&path, job)?;
    let mut seconds = [Vec::new(), Vec::new()];
    for round in 0..=rounds {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tinderbox"));
        let command = timed(command.args(["train", "--quiet"]).arg(&path), &local.remote())?;
        let program = timed(Command::new(env::current_exe()?).arg("command-program"), &local.remote())?;
        // The first round warms the server up.
        if round > 0 {
            println!("round {round}: command {command:.2} s, program {program:.2} s");
            seconds[0].push(command);
            seconds[1].push(program);
        }
    }
    let [command, program] = seconds.each_mut().map(|seconds| median(seconds));
    println!(
        "{rows} rows of {COLUMNS} columns, {EPOCHS} epochs, medians of {rounds} alternating rounds: tinderbox train \
         {command:.2} s, the same program in Rust {program:.2} s, ratio {:.3}",
        command / program
    );
    Ok(())
}

fn timed(command: &mut Command, remote: &str) -> Outcome<f64> {
    let started = Instant::now();
    let output = command.env("SPARK_REMOTE", remote).stdin(Stdio::null()).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(started.elapsed().as_secs_f64())
}

/// The steps of the job as a program has them.
pub async fn program() -> Outcome<()> {
    let spark = Session::builder().get_or_create().await?;
    let rows = Split::random("part", [("train", 0.8), ("test", 0.2)]).seed(42).transform(&spark.table(TABLE)).await?;
    let training = rows.filter_expr("part = 'train'").drop(["part"]);
    let test = rows.filter_expr("part = 'test'").drop(["part"]);
    let inputs = (0..COLUMNS).map(|i| format!("x{i}"));
    let classifier = NeuralClassifier::new(Network::mlp([64, 32])).features_col("scaled").epochs(EPOCHS).seed(1);
    let pipeline = Pipeline::new()
        .stage(StringIndexer::new("label", "index"))
        .stage(VectorAssembler::new(inputs, "features"))
        .stage(StandardScaler::new("features", "scaled").with_mean(true))
        .stage(classifier.label_col("index"));
    let model = pipeline.fit(&training).await?;
    let scored = model.transform(&test).await?;
    let evaluator = MulticlassClassificationEvaluator::new(MulticlassMetric::Accuracy).label_col("index");
    println!("accuracy {:.4}", evaluator.metrics(&scored).await?.get(MulticlassMetric::Accuracy));
    println!("version {}", model.save(&spark, MODELS, "program").await?);
    Ok(spark.stop().await?)
}
