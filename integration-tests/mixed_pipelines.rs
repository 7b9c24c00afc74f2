//! Pipelines of our stages, Spark ML's own and networks: fitted, saved, loaded in another session.

use arrow::array::RecordBatch;
use futures::TryStreamExt;
use tinderbox::{
    Error,
    ml::{feature::MaxAbsScaler, operator::RemoteEstimator, operator::RemoteTransformer},
    prelude::*,
};

use crate::support::{ServerFolder, database_for, rows, session};

/// Three classes in six columns of numbers.
async fn leaves(spark: &Session) -> DataFrame {
    let part = |i: i64| format!("(id + {i}) % 3 + pmod(hash(id, {i}), 100) / 300.0D AS x{i}");
    let parts: Vec<String> = (0..6).map(part).collect();
    let text = format!(
        "SELECT id, element_at(array('oak', 'größe', 'o''hara'), 1 + CAST(id % 3 AS INT)) AS species, {} \
         FROM range(0, 300, 1, 2)",
        parts.join(", ")
    );
    spark.sql(&text).await.unwrap()
}

fn pipeline() -> Pipeline {
    Pipeline::new()
        .stage(StringIndexer::new("species", "label"))
        .stage(VectorAssembler::new((0..6).map(|i| format!("x{i}")), "raw"))
        .stage(StandardScaler::new("raw", "scaled").with_mean(true))
        .stage(RemoteEstimator::pca("scaled", "components", 3))
        .stage(MaxAbsScaler::new("components", "features"))
        .stage(NeuralClassifier::new(Network::mlp([8])).epochs(30).learning_rate(0.01).seed(7))
}

/// The predicted names and chances, as text by id.
async fn predictions(model: &PipelineModel, frame: &DataFrame) -> Vec<String> {
    use arrow::util::display::array_value_to_string;
    let batches: Vec<RecordBatch> = model.predict(frame).await.unwrap().try_collect().await.unwrap();
    let columns = ["id", "predictedLabel", "probability"];
    let row = |batch: &RecordBatch, i| {
        columns.map(|name| array_value_to_string(batch.column_by_name(name).unwrap(), i).unwrap()).join("|")
    };
    let mut all: Vec<String> =
        batches.iter().flat_map(|batch| (0..batch.num_rows()).map(move |i| row(batch, i))).collect();
    all.sort();
    all
}

#[tokio::test]
async fn a_pipeline_with_a_stage_of_the_server_predicts_the_same_in_another_session() {
    let spark = session().await;
    let database = database_for("a_pipeline_with_a_stage_of_the_server").await;
    let frame = leaves(&spark).await;
    let model = pipeline().fit(&frame).await.unwrap();
    let before = predictions(&model, &frame).await;
    let right = model.transform(&frame).await.unwrap().filter_expr("species = predictedLabel").count().await.unwrap();
    assert!(before.len() == 300 && right > 290, "{right} of {}", before.len());

    let table = database.table("models");
    let refused = model.save(&spark, &table, "leaves").await.unwrap_err().to_string();
    assert!(refused.contains("stage 3") && refused.contains("save_beside"), "{refused}");
    let folder = ServerFolder::of("models_of_three_kinds");
    let path = folder.join("leaves");
    assert_eq!(model.save_beside(&spark, &table, "leaves", &path).await.unwrap(), 1);
    spark.stop().await.unwrap();

    let other = session().await;
    let frame = leaves(&other).await;
    let loaded = PipelineModel::load(&other, &table, "leaves", None).await.unwrap();
    assert_eq!(predictions(&loaded, &frame).await, before);

    // The first session's model is no one's any more; that is said before any row is read.
    let lost = model.transform(&frame).await.unwrap_err().to_string();
    assert!(lost.contains("PCAModel") && lost.contains("save"), "{lost}");
    let other_files = other.range(0, 1).write().mode(SaveMode::Overwrite).format("parquet");
    other_files.save(&path).await.unwrap();
    let gone = PipelineModel::load(&other, &table, "leaves", None).await.unwrap_err();
    assert!(matches!(gone, Error::ModelTable { .. }), "{gone}");
    assert!(gone.to_string().contains("stage 3") && gone.to_string().contains(&path), "{gone}");
    other.stop().await.unwrap();
}

#[tokio::test]
async fn arrays_become_vectors_for_stages_of_the_server_and_arrays_again() {
    let spark = session().await;
    let frame = leaves(&spark).await.select_expr(["id", "array(float(x0), float(x1), float(x2)) AS xs"]);
    let pca = RemoteEstimator::pca("xs", "components", 2);
    let out = pca.fit(&frame).await.unwrap().transform(&frame).await.unwrap();
    let schema = out.schema().await.unwrap();
    assert_eq!(schema.require("xs").unwrap().data_type.simple_string(), "array<float>");
    let xs = |frame: &DataFrame| frame.select(["id", "xs"]).order_by(["id"]);
    assert_eq!(rows(&xs(&out)).await, rows(&xs(&frame)).await);

    let norm = RemoteTransformer::new("org.apache.spark.ml.feature.Normalizer");
    let norm = norm.set("inputCol", "xs").set("outputCol", "unit");
    let out = PipelineModel::new([norm.duplicate()]).transform(&frame).await.unwrap();
    let restored = norm.native().unwrap().to_json();
    let again = tinderbox::advanced::NativeStage::from_json(&restored).unwrap().into_transformer();
    let again = again.transform(&frame).await.unwrap();
    assert_eq!(rows(&out.order_by(["id"])).await, rows(&again.order_by(["id"])).await);
    spark.stop().await.unwrap();
}
