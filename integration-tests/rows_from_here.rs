//! Frames of rows that are on this side.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, TimestampNanosecondArray,
        UInt64Array,
    },
    datatypes::{DataType, Field, Schema as ArrowSchema},
};
use futures::stream;
use spark_connect::functions;
use tinderbox::{
    dataframe::{METADATA_KEY, Schema, function, is_vector},
    stream::RecordStream,
};

use crate::support::{rows, session};

fn numbers(from: i64, count: i64, width: usize) -> RecordBatch {
    let texts = StringArray::from_iter_values((from..from + count).map(|i| format!("{i:0width$}")));
    let ids = Int64Array::from_iter_values(from..from + count);
    let metadata = [(METADATA_KEY.to_owned(), r#"{"note":{"a":[1,2]}}"#.to_owned())];
    let schema = ArrowSchema::new(vec![
        Field::new("id", DataType::Int64, false).with_metadata(metadata.into()),
        Field::new("te.xt", DataType::Utf8, true),
    ]);
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(ids), Arc::new(texts)]).unwrap()
}

#[tokio::test]
async fn rows_arrive_whole_however_they_travel() {
    let spark = session().await;
    // Within the plan, as an upload, and through a staging table, whose columns may all be null: 10 KB, 1 MB, 70 MB.
    for (batches, per_batch, width, id) in
        [(2, 10, 500, "bigint not null"), (2, 1000, 500, "bigint not null"), (14, 10_000, 500, "bigint")]
    {
        let sent: Vec<_> = (0..batches).map(|i| numbers(i * per_batch, per_batch, width)).collect();
        let frame = spark.create_dataframe(&sent).await.unwrap();
        let check = frame.select_expr([
            "count(*)",
            "sum(id)",
            "count_if(CAST(`te.xt` AS BIGINT) = id)",
            "min(length(`te.xt`))",
        ]);
        let n = batches * per_batch;
        assert_eq!(rows(&check).await, [format!("{n}|{}|{n}|{width}", n * (n - 1) / 2)]);
        let schema = frame.schema().await.unwrap();
        assert_eq!(schema.to_string(), format!("id: {id}\nte.xt: string\n"));
        assert_eq!(schema.fields()[0].metadata["note"], serde_json::json!({"a": [1, 2]}));
    }
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn rows_that_were_uploaded_are_read_back_as_often_as_asked() {
    let spark = session().await;
    // Within the plan, and uploaded.
    for count in [10, 2000] {
        let frame = spark.create_dataframe(&[numbers(0, count, 100)]).await.unwrap();
        for _ in 0..2 {
            let source = frame.source();
            let batches = source.stream().await.unwrap().collect().await.unwrap();
            assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), count as usize);
            source.close().await.unwrap();
        }
    }
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn a_stream_is_uploaded_as_it_comes_and_its_failure_is_the_callers() {
    let spark = session().await;
    let schema = numbers(0, 1, 1).schema();
    let many = stream::iter((0..50).map(|i| Ok(numbers(i * 1000, 1000, 400))));
    let frame = spark.create_dataframe_from_stream(RecordStream::new(schema.clone(), many), None).await.unwrap();
    assert_eq!(frame.count().await.unwrap(), 50_000);
    let broken = stream::iter([Ok(numbers(0, 1, 1)), Err(tinderbox::Error::Cancelled { what: "the source".into() })]);
    let error = spark.create_dataframe_from_stream(RecordStream::new(schema.clone(), broken), None).await.unwrap_err();
    assert_eq!(error.to_string(), "cancelled: the source");
    let typed = Schema::from_ddl("a DECIMAL(10, 2), b STRING").unwrap();
    let one = RecordStream::from_batches(schema, vec![numbers(7, 1, 2)]);
    let frame = spark.create_dataframe_from_stream(one, Some(&typed)).await.unwrap();
    assert_eq!(rows(&frame).await, ["7.00|07"]);
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn frames_without_rows_have_columns() {
    let spark = session().await;
    let empty = numbers(0, 0, 1);
    for batches in [vec![empty.clone()], vec![empty.clone(), empty.clone()], vec![empty.clone(), numbers(0, 0, 1)]] {
        let frame = spark.create_dataframe(&batches).await.unwrap();
        assert_eq!(frame.count().await.unwrap(), 0);
        assert_eq!(frame.schema().await.unwrap().names().collect::<Vec<_>>(), ["id", "te.xt"]);
    }
    assert!(spark.create_dataframe(&[]).await.unwrap_err().to_string().contains("at least one batch"));
    let mixed = [empty, numbers(3, 2, 1), numbers(0, 0, 1)];
    assert_eq!(rows(&spark.create_dataframe(&mixed).await.unwrap()).await, ["3|3", "4|4"]);
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn types_of_arrow_become_those_of_spark() {
    let spark = session().await;
    spark.conf().set("spark.sql.session.timeZone", "Europe/Berlin").await.unwrap();
    let zoned = TimestampMicrosecondArray::from(vec![1_711_850_400_000_000]).with_timezone("America/New_York");
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("big", Arc::new(UInt64Array::from(vec![u64::MAX]))),
        ("zoned", Arc::new(zoned)),
        ("plain", Arc::new(TimestampMicrosecondArray::from(vec![1_711_850_400_000_000]))),
        ("words", Arc::new(["x"].into_iter().collect::<arrow::array::DictionaryArray<arrow::datatypes::Int32Type>>())),
        ("nanos", Arc::new(TimestampNanosecondArray::from(vec![1_500]).with_timezone("Europe/Berlin"))),
        ("none", Arc::new(arrow::array::NullArray::new(1))),
    ];
    let frame = spark.create_dataframe(&[RecordBatch::try_from_iter(columns).unwrap()]).await.unwrap();
    let text = frame.schema().await.unwrap().to_string();
    let types: Vec<_> = text.lines().map(|line| line.split(' ').nth(1).unwrap()).collect();
    assert_eq!(types, ["decimal(20,0)", "timestamp", "timestamp_ntz", "string", "timestamp", "void"], "{text}");
    let shown = frame.select_expr([
        "CAST(big AS STRING)",
        "CAST(zoned AS STRING)",
        "CAST(plain AS STRING)",
        "words",
        "CAST(nanos AS STRING)",
    ]);
    assert_eq!(
        rows(&shown).await,
        ["18446744073709551615|2024-03-31 04:00:00|2024-03-31 02:00:00|x|1970-01-01 01:00:00.000001"]
    );
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn a_vector_column_comes_back_as_a_vector() {
    let spark = session().await;
    let values = functions::expr("array(CAST(id AS DOUBLE), 0.5D)");
    let vectors = spark.range(0, 3).select([function("array_to_vector", [values]).alias("v")]);
    let batches = vectors.collect().await.unwrap();
    let back = spark.create_dataframe(&batches).await.unwrap();
    assert!(is_vector(&back.schema().await.unwrap().fields()[0].data_type));
    let arrays =
        back.select([function("vector_to_array", [spark_connect::col("v"), spark_connect::lit_string("float64")])]);
    assert_eq!(rows(&arrays).await, ["[0.0, 0.5]", "[1.0, 0.5]", "[2.0, 0.5]"]);
    spark.stop().await.unwrap();
}
