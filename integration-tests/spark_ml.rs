//! Spark ML's own operators work over this connection.

use arrow::{array::AsArray, datatypes::Float64Type};

use crate::support::{self, connect, spark_ml};

/// Every value of a batch's column of vectors, row by row.
fn dense(batch: &arrow::array::RecordBatch, column: &str) -> Vec<f64> {
    let vectors = batch.column_by_name(column).unwrap().as_struct();
    let values = vectors.column_by_name("values").unwrap().as_list::<i32>();
    values.values().as_primitive::<Float64Type>().values().to_vec()
}

#[tokio::test]
async fn spark_mls_own_stages_fit_and_write_metadata_over_this_connection() {
    let client = connect(&support::remote().await).await.unwrap();
    let words = || spark_ml::sql("SELECT * FROM VALUES ('b'), ('a'), ('b'), ('c') AS t(word)");
    let indexer = spark_ml::Operator::feature("StringIndexer").text("inputCol", "word").text("outputCol", "label");
    let relation = indexer.fit_transform(&client, words(), words()).await.unwrap();
    let (schema, batches) = spark_ml::rows(&client, relation).await.unwrap();
    let Some(spark_connect_proto::data_type::Kind::Struct(schema)) = schema.kind else { panic!("{schema:?}") };
    let metadata = schema.fields[1].metadata();
    assert!(metadata.contains(r#""vals":["b","a","c"]"#), "{metadata}");
    assert_eq!(batches.iter().map(|b| b.num_rows()).sum::<usize>(), 4);

    let numbers = spark_ml::sql("SELECT * FROM VALUES (1.0D, 5.0D), (3.0D, 5.0D) AS t(x, y)");
    let assembler =
        spark_ml::Operator::feature("VectorAssembler").texts("inputCols", &["x", "y"]).text("outputCol", "raw");
    let assembled = || assembler.transform(numbers.clone());
    let scaler = spark_ml::Operator::feature("StandardScaler").text("inputCol", "raw").text("outputCol", "scaled");
    let scaled = scaler.flag("withMean", true).fit_transform(&client, assembled(), assembled()).await.unwrap();
    let (_, batches) = spark_ml::rows(&client, scaled).await.unwrap();
    let values: Vec<f64> = batches.iter().flat_map(|b| dense(b, "scaled")).collect();
    let root = 1.0 / 2f64.sqrt(); // Spark multiplies by the reciprocal of the deviation
    assert_eq!(values, [-root, 0.0, root, 0.0], "of a sample's standard deviation; none gives zero");
    client.release_session().await.unwrap();
}
