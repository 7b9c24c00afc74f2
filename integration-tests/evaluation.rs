//! Evaluators against Spark ML's own on the same rows.

use tinderbox::{
    dataframe::DataFrame,
    ml::evaluation::{
        BinaryClassificationEvaluator, BinaryMetric, Evaluator, MulticlassClassificationEvaluator, MulticlassMetric,
        MultilabelClassificationEvaluator, MultilabelMetric, RegressionEvaluator, RegressionMetric,
    },
    session::Session,
};

use crate::support::{session, spark_ml::Operator};

/// Rows of true and predicted classes, chances, numbers and weights, at random; some classes are never predicted.
/// Numbers lie around 9: far from 0, Spark's explained variance loses digits.
fn judged(spark: &Session, seed: i64) -> DataFrame {
    let columns = [
        "id".to_owned(),
        format!("CAST(pmod(hash(id, {seed}), 4) AS DOUBLE) AS `la.bel`"),
        format!("CAST(pmod(hash(id, {seed}, 1), 3) AS DOUBLE) AS prediction"),
        format!(
            "transform(array(1, 2, 3, 4), k -> (1 + pmod(hash(id, {seed}, k), 50)) \
             / aggregate(array(1, 2, 3, 4), 0D, (s, j) -> s + 1 + pmod(hash(id, {seed}, j), 50))) AS chances"
        ),
        format!("CAST(pmod(hash(id, {seed}, 2), 7) AS DOUBLE) / 2 AS weight"),
        format!("CAST(hash(id, {seed}, 3) / 1e8 + 9 AS DOUBLE) AS y"),
        format!("CAST(hash(id, {seed}, 3) / 1e8 + hash(id, {seed}, 4) / 9e8 + 9 AS DOUBLE) AS y_hat"),
        format!("CAST(pmod(hash(id, {seed}, 5), 2) AS DOUBLE) AS yes"),
        format!("pmod(hash(id, {seed}, 6), 40) / 40D AS score"),
        format!("filter(array(0D, 1D, 2D, 3D), k -> pmod(hash(id, {seed}, 7, k), 3) = 0) AS labels"),
        format!("filter(array(0D, 1D, 2D, 3D), k -> pmod(hash(id, {seed}, 8, k), 2) = 0) AS predictions"),
    ];
    spark.range_with(0, 300, 1, Some(3)).select_expr(columns.iter().map(String::as_str))
}

async fn assert_same(ours: &dyn Evaluator, theirs: &Operator, frame: &DataFrame, what: &str) {
    let mine = ours.evaluate(frame).await.unwrap();
    let reference = theirs.evaluate(frame.client(), frame.relation().clone()).await.unwrap();
    assert!((mine - reference).abs() <= 1e-12 * reference.abs().max(1.0), "{what}: {mine} where Spark has {reference}");
}

#[tokio::test]
async fn every_figure_is_spark_mls() {
    let spark = session().await;
    for seed in 0..3 {
        let frame = judged(&spark, seed).with_column_renamed("la.bel", "label");
        let weighted = seed > 0;

        use MulticlassMetric as M;
        for (metric, name) in [
            (M::F1, "f1"),
            (M::Accuracy, "accuracy"),
            (M::WeightedPrecision, "weightedPrecision"),
            (M::WeightedRecall, "weightedRecall"),
            (M::WeightedFalsePositiveRate, "weightedFalsePositiveRate"),
            (M::LogLoss, "logLoss"),
            (M::HammingLoss, "hammingLoss"),
        ] {
            let vectors = frame.with_column(
                "chances",
                tinderbox::dataframe::function("array_to_vector", [tinderbox::dataframe::column("chances")]),
            );
            let mut ours = MulticlassClassificationEvaluator::new(metric).probability_col("chances");
            let mut theirs = Operator::evaluator("MulticlassClassificationEvaluator").text("metricName", name);
            theirs = theirs.text("probabilityCol", "chances");
            if weighted {
                (ours, theirs) = (ours.weight_col("weight"), theirs.text("weightCol", "weight"));
            }
            assert_same(&ours, &theirs, &vectors, name).await;
        }

        use RegressionMetric as R;
        for (metric, name) in [(R::Rmse, "rmse"), (R::Mse, "mse"), (R::R2, "r2"), (R::Mae, "mae"), (R::Var, "var")] {
            for through_origin in [false, true] {
                let ours = RegressionEvaluator::new(metric).label_col("y").prediction_col("y_hat");
                let mut ours = ours.through_origin(through_origin);
                let theirs = Operator::evaluator("RegressionEvaluator").text("metricName", name);
                let mut theirs = theirs.text("labelCol", "y").text("predictionCol", "y_hat");
                theirs = theirs.flag("throughOrigin", through_origin);
                if weighted {
                    (ours, theirs) = (ours.weight_col("weight"), theirs.text("weightCol", "weight"));
                }
                assert_same(&ours, &theirs, &frame, name).await;
            }
        }

        use BinaryMetric as B;
        for (metric, name) in [(B::AreaUnderRoc, "areaUnderROC"), (B::AreaUnderPr, "areaUnderPR")] {
            let mut ours = BinaryClassificationEvaluator::new(metric).label_col("yes").raw_prediction_col("score");
            let theirs = Operator::evaluator("BinaryClassificationEvaluator").text("metricName", name);
            let mut theirs = theirs.text("labelCol", "yes").text("rawPredictionCol", "score").int("numBins", 0);
            if weighted {
                (ours, theirs) = (ours.weight_col("weight"), theirs.text("weightCol", "weight"));
            }
            assert_same(&ours, &theirs, &frame, name).await;
        }

        use MultilabelMetric as L;
        for (metric, name) in [
            (L::F1Measure, "f1Measure"),
            (L::SubsetAccuracy, "subsetAccuracy"),
            (L::Accuracy, "accuracy"),
            (L::HammingLoss, "hammingLoss"),
            (L::Precision, "precision"),
            (L::Recall, "recall"),
            (L::MicroPrecision, "microPrecision"),
            (L::MicroRecall, "microRecall"),
            (L::MicroF1Measure, "microF1Measure"),
        ] {
            let ours = MultilabelClassificationEvaluator::new(metric).label_col("labels").prediction_col("predictions");
            let theirs = Operator::evaluator("MultilabelClassificationEvaluator").text("metricName", name);
            let theirs = theirs.text("labelCol", "labels").text("predictionCol", "predictions");
            // A row without a true class is 0 / 0 for Spark.
            let some = frame.filter_expr("size(labels) > 0");
            assert_same(&ours, &theirs, &some, name).await;
        }
    }
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_judged_is_refused_by_column() {
    let spark = session().await;
    let frame = judged(&spark, 1);
    let multiclass = || MulticlassClassificationEvaluator::new(MulticlassMetric::Accuracy).label_col("la.bel");
    let figure = multiclass().evaluate(&frame).await.unwrap();
    assert!(figure > 0.0 && figure < 1.0, "{figure}");

    let says = |error: tinderbox::Error, words: &[&str]| {
        let message = error.to_string();
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    };
    let nulls = frame.select_expr(["nullif(`la.bel`, 1) AS `la.bel`", "prediction"]);
    says(multiclass().evaluate(&nulls).await.unwrap_err(), &["`la.bel`", "null"]);
    let idle = frame.select_expr(["if(id = 3, NULL, `la.bel`) AS `la.bel`", "prediction", "if(id = 3, 0, 1) AS w"]);
    says(multiclass().weight_col("w").evaluate(&idle).await.unwrap_err(), &["`la.bel`", "null"]);
    says(multiclass().evaluate(&frame.filter_expr("id < 0")).await.unwrap_err(), &["at least one row"]);
    says(multiclass().prediction_col("chances").evaluate(&frame).await.unwrap_err(), &["`chances`", "numbers"]);
    says(multiclass().prediction_col("gone").evaluate(&frame).await.unwrap_err(), &["`gone`"]);
    says(
        RegressionEvaluator::default().label_col("y").evaluate(&frame.filter_expr("id < 0")).await.unwrap_err(),
        &["at least one row"],
    );
    let gone = frame.select_expr(["nullif(id, 3) AS label", "prediction"]);
    says(RegressionEvaluator::default().evaluate(&gone).await.unwrap_err(), &["`label`", "1 rows"]);
    let binary = BinaryClassificationEvaluator::default().raw_prediction_col("score");
    let one_class = frame.select_expr(["1 AS label", "score"]);
    says(binary.evaluate(&one_class).await.unwrap_err(), &["`label`", "two classes"]);
    let nan = frame.select_expr(["yes AS label", "if(id = 5, double('NaN'), score) AS score"]);
    says(binary.evaluate(&nan).await.unwrap_err(), &["`score`", "NaN"]);
    spark.stop().await.unwrap();
}
