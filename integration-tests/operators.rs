//! Spark ML's own operators as stages of ours.

use arrow::{array::AsArray, datatypes::Float64Type};
use spark_connect::{functions::expr, lit_string};
use tinderbox::{
    Error,
    ml::{
        Estimator, Pipeline, Transformer,
        feature::{MaxAbsScaler, StandardScaler, StringIndexer, VectorAssembler},
        operator::{RemoteEstimator, RemoteEvaluator, RemoteTransformer, SavedModel},
    },
};

use crate::{
    ml::{assert_same_vectors, mixed, vectors},
    support::{ServerFolder, rows, session},
};

#[tokio::test]
async fn a_pipeline_mixes_our_stages_with_those_of_the_server() {
    let spark = session().await;
    let frame = mixed(&spark, 1);
    let pipeline = Pipeline::new()
        .stage(VectorAssembler::new(["float", "dec", "flag"], "raw"))
        .stage(StandardScaler::new("raw", "scaled"))
        .stage(RemoteEstimator::pca("scaled", "components", 2))
        .stage(MaxAbsScaler::new("components", "small"));
    let model = pipeline.fit(&frame).await.unwrap();
    let transformed = model.transform(&frame).await.unwrap();
    let small = vectors(&transformed, "small").await;
    assert!(small.len() == 120 && small.iter().all(|(_, v)| v.len() == 2 && v.iter().all(|x| x.abs() <= 1.0)));
    // What the server's stage gave is looked at before the next is fitted.
    let clash = Pipeline::new()
        .stage(VectorAssembler::new(["float", "dec"], "raw"))
        .stage(RemoteEstimator::pca("raw", "components", 1))
        .stage(MaxAbsScaler::new("missing", "small"));
    assert!(clash.fit(&frame).await.unwrap_err().to_string().contains("column `missing`"));
    let absent = RemoteEstimator::pca("absent", "components", 1).fit(&frame).await.unwrap_err().to_string();
    assert!(absent.contains("column `absent`"), "{absent}");
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn a_models_attributes_are_fetched_and_it_is_saved_loaded_and_deleted() {
    let spark = session().await;
    let frame = VectorAssembler::new(["float", "dec"], "raw").transform(&mixed(&spark, 2)).await.unwrap();
    let model = RemoteEstimator::pca("raw", "components", 2).fit_remote(&frame).await.unwrap();
    let explained = model.attribute("explainedVariance").await.unwrap().numbers().unwrap();
    assert!(explained.len() == 2 && (explained.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{explained:?}");
    let transformed = model.transform(&frame).await.unwrap();

    let folder = ServerFolder::of("a_models_attributes_are_fetched");
    let path = folder.join("pca");
    model.save(&path, false).await.unwrap();
    assert!(model.save(&path, false).await.is_err(), "what is there is not written over unasked");
    assert_eq!(model.save(&path, true).await.unwrap().class, "org.apache.spark.ml.feature.PCAModel");
    let loaded = SavedModel::new("org.apache.spark.ml.feature.PCAModel", &path).load(&spark).await.unwrap();
    assert_same_vectors(&loaded.transform(&frame).await.unwrap(), &transformed, "components", 0.0).await;
    let wrong = SavedModel::new("org.apache.spark.ml.feature.Word2VecModel", &path).load(&spark).await.unwrap_err();
    assert!(wrong.server().is_some(), "{wrong}");

    model.delete().await.unwrap();
    let gone = transformed.collect().await.unwrap_err();
    assert!(gone.server().is_some_and(|e| e.is("CONNECT_ML")), "{gone}");
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn a_classifier_of_spark_mls_learns_from_our_features_and_is_judged() {
    let spark = session().await;
    let frame = mixed(&spark, 3).with_column("word", expr("IF(float > 0, 'up', 'down')"));
    let prepared = Pipeline::new()
        .stage(StringIndexer::new("word", "label"))
        .stage(VectorAssembler::new(["float", "dec"], "features"));
    let frame = prepared.fit(&frame).await.unwrap().transform(&frame).await.unwrap();
    let regression = RemoteEstimator::logistic_regression("features", "label").set("maxIter", 30).set("regParam", 1e-6);
    let model = regression.fit_remote(&frame).await.unwrap();
    let predicted = model.transform(&frame).await.unwrap();
    let judged = RemoteEvaluator::multiclass("label", "prediction", "accuracy").evaluate(&predicted).await.unwrap();
    let counted = rows(&predicted.select_expr(["avg(IF(label = prediction, 1D, 0D))"])).await;
    assert!(judged > 0.9 && counted == [format!("{judged:?}")], "{judged}, {counted:?}");
    let summary = model.attribute("summary.accuracy").await.unwrap().as_f64().unwrap();
    assert!((summary - judged).abs() < 1e-12, "{summary}");
    let network = RemoteEstimator::multilayer_perceptron("features", "label", [2, 3, 2]).set("maxIter", 3);
    let network = network.fit_remote(&frame).await.unwrap();
    // Two inputs and a bias to three units, which with a bias go to two.
    assert_eq!(network.attribute("weights").await.unwrap().numbers().unwrap().len(), 3 * 3 + 4 * 2);
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn words_become_vectors_by_stages_of_the_server() {
    let spark = session().await;
    let frame = spark.range(0, 30).select_expr(["id", "concat('a b c ', CAST(id % 3 AS STRING)) AS text"]);
    let words = RemoteTransformer::new("org.apache.spark.ml.feature.Tokenizer");
    let words = words.set("inputCol", "text").set("outputCol", "words").transform(&frame).await.unwrap();
    let model = RemoteEstimator::word2vec("words", "v", 3).set("minCount", 1).fit_remote(&words).await.unwrap();
    let vectors = model.attribute_frame("getVectors").collect().await.unwrap();
    assert_eq!(vectors.iter().map(|batch| batch.num_rows()).sum::<usize>(), 6);
    let lengths = model.transform(&words).await.unwrap().with_column(
        "n",
        tinderbox::dataframe::function(
            "size",
            [tinderbox::dataframe::function("vector_to_array", [spark_connect::col("v"), lit_string("float64")])],
        ),
    );
    assert_eq!(rows(&lengths.select(["n"]).distinct()).await, ["3"]);
    let lost = RemoteEstimator::new("org.example.Missing").fit_remote(&frame).await.unwrap_err();
    assert!(matches!(lost, Error::Unsupported { .. }), "{lost}");
    let version = spark.version().to_string();
    assert!(lost.to_string().contains("org.example.Missing") && lost.to_string().contains(&version), "{lost}");
    let weights = model.attribute("nothing").await.unwrap_err();
    assert!(matches!(weights, Error::Unsupported { .. }), "{weights}");
    assert!(weights.to_string().contains("nothing"), "{weights}");
    let sizes = vectors[0].column(1).as_struct().column_by_name("values").unwrap().as_list::<i32>().value(0);
    assert_eq!(sizes.as_primitive::<Float64Type>().len(), 3);
    spark.stop().await.unwrap();
}
