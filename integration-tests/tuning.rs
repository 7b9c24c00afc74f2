//! Params tuned on folds of the cluster's rows, which are read once.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

use tinderbox::{
    ml::{
        ParamMap,
        evaluation::{
            BinaryClassificationEvaluator, BinaryMetric, Evaluator, MulticlassClassificationEvaluator,
            MulticlassMetric, RegressionEvaluator, RegressionMetric,
        },
    },
    prelude::*,
    tuning::{CrossValidator, ParamGrid, RandomSearch, TrainValidationSplit},
};

use crate::support::{database_for, own_server, rows, session};

/// Three classes that overlap, and a number to be learnt.
const ROWS: &str = "SELECT id, CAST(id % 3 AS DOUBLE) AS label, \
    array(float(id % 3 + pmod(hash(id), 100) / 70.0D), float(pmod(hash(id), 71) / 71.0D - id % 3)) AS features, \
    id % 3 + pmod(hash(id), 100) / 50.0D AS target, CAST(id % 4 AS INT) AS fold FROM range(0, 400, 1, 2)";

fn classifier() -> NeuralClassifier {
    NeuralClassifier::new(Network::mlp([8])).epochs(12).learning_rate(0.01).seed(7)
}

fn accuracy() -> MulticlassClassificationEvaluator {
    MulticlassClassificationEvaluator::new(MulticlassMetric::Accuracy)
}

/// How many jobs a server has started, by its event log.
fn jobs(folder: &Path) -> usize {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let count = |path: std::path::PathBuf| match path.is_dir() {
        true => jobs(&path),
        false => fs::read_to_string(path).unwrap().matches("\"Event\":\"SparkListenerJobStart\"").count(),
    };
    paths.map(count).sum()
}

#[tokio::test]
async fn candidates_are_judged_on_folds_of_a_table_that_is_read_once() {
    let events = tempfile::tempdir().unwrap();
    let server = own_server()
        .conf("spark.eventLog.enabled", "true")
        .conf("spark.eventLog.compress", "false")
        .conf("spark.eventLog.dir", events.path().display().to_string());
    let server = server.start().await.unwrap();
    let spark = Session::builder().remote(server.remote()).create().await.unwrap();
    spark.sql(ROWS).await.unwrap().write().save_as_table("flowers").await.unwrap();
    let frame = spark.table("flowers");

    let before = jobs(events.path());
    let one = CrossValidator::new(classifier(), [ParamMap::new()], accuracy()).num_folds(2);
    one.fit_frame(&frame).await.unwrap();
    let once = jobs(events.path()) - before;
    let grid = ParamGrid::new().add("stepSize", [0.01, 1e-5]).add("batchSize", [16, 64]);
    let tuned = CrossValidator::new(classifier(), grid, accuracy()).num_folds(3).fit_frame(&frame).await.unwrap();
    assert_eq!(
        jobs(events.path()) - before,
        2 * once,
        "twelve fits and a last one ask no more than two and a last one"
    );

    let results = &tuned.results;
    assert_eq!(results.tried.len(), 4);
    assert!(results.tried.iter().all(|tried| tried.metrics.len() == 3 && tried.seconds > 0.0));
    let step = results.best().params.get("stepSize").unwrap().as_f64().unwrap();
    assert!(step == 0.01 && results.best().mean() > 0.8, "{results}");
    let table = spark.create_dataframe(&[results.to_record_batch().unwrap()]).await.unwrap();
    let best = rows(&table.filter_expr("best").select(["stepSize", "mean"])).await;
    assert_eq!(best, [format!("0.01|{:?}", results.best().mean())]);

    // The best has learnt from all rows, as it would have by itself.
    let alone = classifier()
        .learning_rate(0.01)
        .batch_size(results.best().params.get("batchSize").unwrap().as_u64().unwrap() as usize);
    let alone = alone.fit_frame(&frame).await.unwrap();
    assert_eq!(tuned.model.model().history().rows, alone.model().history().rows);
    assert_eq!(tuned.model.training(), alone.training());
    spark.stop().await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn a_tuner_is_the_last_stage_of_a_pipeline_that_is_saved() {
    let spark = session().await;
    let database = database_for("a_tuner_is_the_last_stage").await;
    let frame = spark.sql(ROWS).await.unwrap();
    let told = Arc::new(Mutex::new(None));
    let teller = told.clone();
    let search = RandomSearch::new(3, 5).log_uniform("stepSize", 1e-3, 1e-1).whole("batchSize", 16, 64);
    let regressor =
        NeuralRegressor::new(Network::mlp([8])).label_col("target").features_col("scaled").epochs(8).seed(3);
    let judge = RegressionEvaluator::new(RegressionMetric::Rmse).label_col("target");
    let tuner = TrainValidationSplit::new(regressor, search, judge).train_ratio(0.8);
    let tuner = tuner.report(move |results| *teller.lock().unwrap() = Some(results.clone()));
    let pipeline = Pipeline::new().stage(StandardScaler::new("features", "scaled").with_mean(true)).stage(tuner);
    let model = pipeline.fit(&frame).await.unwrap();
    let results = told.lock().unwrap().clone().unwrap();
    assert!(results.tried.iter().all(|tried| tried.metrics.len() == 1 && tried.mean() > 0.0 && tried.std() == 0.0));
    assert!(results.tried.iter().all(|tried| tried.mean() >= results.best().mean()), "{results}");
    let table = database.table("models");
    model.save(&spark, &table, "tuned").await.unwrap();
    let loaded = PipelineModel::load(&spark, &table, "tuned", None).await.unwrap();
    let network = loaded.network().unwrap();
    let step = results.best().params.get("stepSize").unwrap().as_f64().unwrap();
    assert!((network.training().learning_rate - step).abs() < 1e-12);
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn folds_can_be_named_and_bad_candidates_are_refused_before_any_work() {
    let spark = session().await;
    let frame = spark.sql(ROWS).await.unwrap();
    let by_col = CrossValidator::new(classifier().epochs(1), [ParamMap::new()], accuracy()).fold_col("fold");
    let tuned = by_col.clone().num_folds(4).fit_frame(&frame).await.unwrap();
    assert_eq!(tuned.results.tried[0].metrics.len(), 4);
    let outside = by_col.num_folds(3).fit_frame(&frame).await.unwrap_err().to_string();
    assert!(outside.contains("expected folds 0 to 2, found 3"), "{outside}");

    let missing = spark.table("no_such_table");
    let refused = |params: ParamMap| {
        let tuner = CrossValidator::new(classifier(), [params], accuracy());
        let missing = missing.clone();
        async move { tuner.fit_frame(&missing).await.unwrap_err().to_string() }
    };
    assert!(refused(ParamMap::new().with("stepSise", 1)).await.contains("stepSize"));
    assert!(refused(ParamMap::new().with("stepSize", -1.0)).await.contains("learning_rate"));
    assert!(refused(ParamMap::new().with("featuresCol", ["x"].to_vec())).await.contains("read once"));
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn candidates_differ_in_whether_targets_are_scaled() {
    let spark = session().await;
    let frame = spark.sql(ROWS).await.unwrap();
    let frame = frame.with_column("target", spark_connect::functions::expr("target * 40 + 300"));
    let judge = || RegressionEvaluator::new(RegressionMetric::Rmse).label_col("target");
    for scaled in [true, false] {
        let regressor = NeuralRegressor::new(Network::mlp([8])).label_col("target").epochs(4).seed(3);
        let grid = ParamGrid::new().add("scaleTargets", [true, false]);
        let tuner = CrossValidator::new(regressor.scale_targets(scaled), grid, judge()).num_folds(2);
        let results = tuner.fit_frame(&frame).await.unwrap().results;
        let [with, without] = [0, 1].map(|i| results.tried[i].mean());
        assert!(with < 60.0 && without > 200.0, "{results}");
    }
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn rows_here_are_judged_as_the_cluster_judges_them() {
    let spark = session().await;
    let frame = spark.range_with(0, 200, 1, Some(3)).select_expr([
        "CAST(pmod(hash(id), 3) AS DOUBLE) AS label",
        "CAST(pmod(hash(id, 1), 3) AS DOUBLE) AS prediction",
        "array(0.5D, pmod(hash(id, 2), 50) / 49D, 0.25D) AS probability",
        "pmod(hash(id, 3), 40) / 39D AS rawPrediction",
        "1 + id % 4 AS w",
    ]);
    let two = frame.filter_expr("label < 2");
    let (all, some) = (frame.collect().await.unwrap(), two.collect().await.unwrap());
    use MulticlassMetric as M;
    for metric in [M::F1, M::Accuracy, M::WeightedPrecision, M::WeightedFalsePositiveRate, M::LogLoss, M::HammingLoss] {
        let evaluator = MulticlassClassificationEvaluator::new(metric).weight_col("w");
        let (there, here) = (evaluator.evaluate(&frame).await.unwrap(), evaluator.evaluate_rows(&all).unwrap());
        assert!((there - here).abs() < 1e-12, "{metric:?}: {here} where the cluster has {there}");
    }
    let beyond = frame.with_column("label", spark_connect::functions::expr("label + 1"));
    let evaluator = MulticlassClassificationEvaluator::new(M::LogLoss);
    let here = evaluator.evaluate_rows(&beyond.collect().await.unwrap()).unwrap();
    assert!(here.is_nan() && evaluator.evaluate(&beyond).await.unwrap().is_nan(), "a class without a chance: {here}");
    for metric in [BinaryMetric::AreaUnderRoc, BinaryMetric::AreaUnderPr] {
        for column in ["rawPrediction", "probability"] {
            let evaluator = BinaryClassificationEvaluator::new(metric).raw_prediction_col(column).weight_col("w");
            let (there, here) = (evaluator.evaluate(&two).await.unwrap(), evaluator.evaluate_rows(&some).unwrap());
            assert!((there - here).abs() < 1e-12, "{metric:?} of {column}: {here} where the cluster has {there}");
        }
    }
    use RegressionMetric as R;
    for metric in [R::Rmse, R::Mse, R::Mae, R::R2, R::Var] {
        for evaluator in [RegressionEvaluator::new(metric), RegressionEvaluator::new(metric).weight_col("w")] {
            let (there, here) = (evaluator.evaluate(&frame).await.unwrap(), evaluator.evaluate_rows(&all).unwrap());
            assert!((there - here).abs() < 1e-12 * there.abs().max(1.0), "{metric:?}: {here}, the cluster has {there}");
        }
    }
    spark.stop().await.unwrap();
}
