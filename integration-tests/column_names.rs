//! Columns whose names differ in case, are repeated, or name a field of a struct.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray, Int64Array, RecordBatch},
    datatypes::Int64Type,
};
use futures::TryStreamExt;
use tinderbox::{Error, dataframe::JoinType, prelude::*, stream::RecordStream};

use crate::support::{database_for, session};

fn classifier(features: &str) -> NeuralClassifier {
    NeuralClassifier::new(Network::mlp([4])).features_col(features).epochs(2).seed(1)
}

async fn predictions(model: &PipelineModel, frame: &DataFrame) -> usize {
    let batches: Vec<_> = model.predict(frame).await.unwrap().try_collect().await.unwrap();
    batches.iter().map(|batch| batch.num_rows()).sum()
}

#[tokio::test]
async fn names_in_another_case_fit_predict_and_load_alike() {
    let spark = session().await;
    let database = database_for("names_in_another_case").await;
    let frame = spark.range(0, 200).select_expr(["array(id % 7 / 7D, id % 3 / 3D) AS features", "id % 2 AS label"]);
    let pipeline = Pipeline::new().stage(classifier("FEATURES").label_col("Label"));
    let model = pipeline.fit(&frame).await.unwrap();
    assert_eq!(predictions(&model, &frame).await, 200);
    let table = database.table("scored");
    model.predict_into(&frame, &table).await.unwrap();
    assert_eq!(spark.table(&table).count().await.unwrap(), 200);
    let models = database.table("models");
    model.save(&spark, &models, "m").await.unwrap();
    let loaded = PipelineModel::load(&spark, &models, "m", None).await.unwrap();
    let batches = frame.with_column_renamed("features", "Features").collect().await.unwrap();
    let rows = RecordStream::from_batches(batches[0].schema(), batches);
    let scored = loaded.predict_rows(rows).unwrap().collect().await.unwrap();
    assert_eq!(scored.iter().map(|batch| batch.num_rows()).sum::<usize>(), 200);

    // Where two differ in case only, the one written exactly so is meant.
    let both = frame.with_column_renamed("features", "FEATURES");
    spark.conf().set("spark.sql.caseSensitive", true).await.unwrap();
    let both = both.with_column("features", functions::expr("'text'"));
    assert_eq!(predictions(&model, &both).await, 200);
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn unused_columns_of_one_name_pass_through_and_are_refused_where_they_are_written() {
    let spark = session().await;
    let database = database_for("unused_columns_of_one_name").await;
    let left = spark.range(0, 100).select_expr(["id AS k", "id % 7 / 7D AS x", "'l' AS s", "id % 2 AS label"]);
    let right = spark.range(0, 100).select_expr(["id AS j", "'r' AS s"]);
    let frame = left.join_on(&right, functions::expr("k = j"), JoinType::Inner);
    let batches: Vec<_> = frame.source().stream().await.unwrap().try_collect().await.unwrap();
    let names: Vec<&str> = batches[0].schema_ref().fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["k", "x", "s", "label", "j", "s"]);
    assert_eq!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), 100);
    for cap in [64 << 10, 128 << 20] {
        let wide = frame.with_column("t", functions::expr("repeat('x', 5000)"));
        let batches: Vec<_> = wide.source().cap(cap).stream().await.unwrap().try_collect().await.unwrap();
        assert_eq!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), 100, "{cap}");
    }

    let pipeline = Pipeline::new().stage(VectorAssembler::new(["x"], "features")).stage(classifier("features"));
    let model = pipeline.fit(&frame).await.unwrap();
    let transformed = model.stages()[0].transform(&frame).await.unwrap();
    assert_eq!(transformed.count().await.unwrap(), 100);
    assert_eq!(predictions(&model, &frame).await, 100);
    let error = model.predict_into(&frame, &database.table("scored")).await.unwrap_err();
    assert!(matches!(&error, Error::Schema { column, .. } if column == "s"), "{error}");
    let error = Pipeline::new().stage(VectorAssembler::new(["s"], "features")).fit(&frame).await.unwrap_err();
    assert!(error.to_string().contains("`s`"), "{error}");
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn uploaded_columns_keep_names_of_any_characters() {
    let spark = session().await;
    let names = ["a`b.c", "größe", "two words", "", "x,y STRING"];
    let column = |i: i64| Arc::new(Int64Array::from(vec![i])) as ArrayRef;
    let batch = RecordBatch::try_from_iter(names.iter().zip(0..).map(|(name, i)| (*name, column(i)))).unwrap();
    let frame = spark.create_dataframe(&[batch]).await.unwrap();
    assert_eq!(frame.schema().await.unwrap().names().collect::<Vec<_>>(), names);
    let found = frame.collect().await.unwrap();
    let values = found[0].columns().iter().map(|column| column.as_primitive::<Int64Type>().value(0));
    assert_eq!(values.collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    spark.stop().await.unwrap();
}
