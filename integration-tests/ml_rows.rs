//! Splits, partitions, and SQL over a frame.

use std::collections::BTreeMap;

use tinderbox::{
    advanced::NativeStage,
    dataframe::DataFrame,
    ml::{
        Estimator, Pipeline, Transformer,
        feature::{MaxAbsScaler, SqlTransformer, VectorAssembler},
        rows::{Repartition, Split, TimeSplit, TimeSplitModel},
    },
};

use crate::{
    ml::{Reference, mixed},
    support::{rows, session, spark_ml::Operator},
};

const PARTS: [(&str, f64); 3] = [("train", 0.7), ("validation", 0.1), ("test", 0.2)];

/// A stage as it comes back from JSON.
fn restored(stage: &dyn Transformer) -> Box<dyn Transformer> {
    NativeStage::from_json(&stage.native().unwrap().to_json()).unwrap().into_transformer()
}

/// How many rows each part has.
async fn sizes(frame: &DataFrame) -> BTreeMap<String, u64> {
    let counted = rows(&frame.group_by(["part"]).count()).await;
    counted.iter().filter_map(|row| row.split_once('|').map(|(part, n)| (part.into(), n.parse().unwrap()))).collect()
}

#[tokio::test]
async fn a_random_split_follows_from_the_rows_alone() {
    let spark = session().await;
    let frame = mixed(&spark, 1).union(&mixed(&spark, 2)).union(&mixed(&spark, 3));
    let frame = VectorAssembler::new(["float", "dec"], "v").transform(&frame).await.unwrap();
    let split = Split::random("part", PARTS).seed(3);
    let here = restored(&split).transform(&frame).await.unwrap().select(["id", "part"]);
    let there = restored(&split).transform(&frame.repartition(7)).await.unwrap().select(["id", "part"]);
    let in_order = |frame: &DataFrame| frame.order_by(["id", "part"]);
    assert_eq!(rows(&in_order(&here)).await, rows(&in_order(&there)).await, "whatever the partitions");
    let counts = sizes(&here).await;
    assert_eq!(counts.values().sum::<u64>(), 360);
    for (part, share) in PARTS {
        let (found, expected) = (counts[part] as f64, 360.0 * share);
        assert!((found - expected).abs() < 4.0 * (expected * (1.0 - share)).sqrt(), "{part}: {found} of {expected}");
    }
    let other = Split::random("part", PARTS).seed(4).transform(&frame).await.unwrap().select(["id", "part"]);
    assert_ne!(rows(&in_order(&here)).await, rows(&in_order(&other)).await);
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn keys_stay_together_and_classes_are_split_to_the_row() {
    let spark = session().await;
    let frame = spark.range_with(0, 1000, 1, Some(5)).select_expr([
        "id",
        "id % 90 AS customer",
        "element_at(map(0, 'rare', 1, 'rare'), CAST(id % 20 AS INT)) AS class",
    ]);
    let by_key = restored(&Split::by_key(["customer"], "part", PARTS)).transform(&frame).await.unwrap();
    let torn = by_key
        .group_by(["customer"])
        .agg([spark_connect::functions::count_distinct(spark_connect::col("part")).alias("n")]);
    assert_eq!(torn.filter_expr("n > 1").count().await.unwrap(), 0);
    assert_eq!(sizes(&by_key).await.len(), 3);

    let stratified = restored(&Split::stratified("class", "part", PARTS)).transform(&frame).await.unwrap();
    let rare = sizes(&stratified.filter_expr("class = 'rare'")).await;
    let usual = sizes(&stratified.filter_expr("class IS NULL")).await;
    let expected = |n: [u64; 3]| ["train", "validation", "test"].map(str::to_owned).into_iter().zip(n).collect();
    assert_eq!((rare, usual), (expected([70, 10, 20]), expected([630, 90, 180])));
    assert_eq!(stratified.schema().await.unwrap().names().last(), Some("part"), "nothing is left behind");

    let held_out = Split::stratified("class", "held_out", PARTS).indicator_of("validation");
    let held_out = held_out.transform(&frame).await.unwrap();
    assert_eq!(held_out.filter_expr("held_out").count().await.unwrap(), 100);
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn a_split_by_time_keeps_the_latest_for_the_test() {
    let spark = session().await;
    let frame = spark.range_with(0, 100, 1, Some(3)).select_expr([
        "id",
        "timestampadd(HOUR, CAST(99 - id AS INT), TIMESTAMP '2024-03-30 00:00:00') AS at",
        "date_add(DATE '2024-02-20', CAST(id DIV 10 AS INT)) AS day",
        "IF(id = 5, NULL, id) AS number",
    ]);
    for (time, first) in [("at", "id >= 30"), ("day", "id < 70"), ("number", "id < 71")] {
        let model = TimeSplit::new(time, "part", PARTS).fit(&frame).await.unwrap();
        let known: &TimeSplitModel = model.as_any().downcast_ref().unwrap();
        assert!(known.cuts().len() == 2 && known.cuts()[0] < known.cuts()[1]);
        let split = restored(model.as_ref()).transform(&frame.filter_expr("number IS NOT NULL")).await.unwrap();
        assert_eq!(split.filter_expr(&format!("(part = 'train') != ({first})")).count().await.unwrap(), 0, "{time}");
        assert_eq!(sizes(&split).await.len(), 3);
    }
    let model = TimeSplit::new("number", "part", PARTS).fit(&frame).await.unwrap();
    let lost = model.transform(&frame).await.unwrap().collect().await.unwrap_err().to_string();
    assert!(lost.contains("Column `number` is null"), "{lost}");
    let none = TimeSplit::new("number", "part", PARTS).fit(&frame.filter_expr("number IS NULL")).await;
    assert!(none.unwrap_err().to_string().contains("at least one time"));
    // Wall clocks over the hour that Berlin leaves out in spring, split alike in every zone.
    let naive = frame.select_expr([
        "id",
        "timestampadd(MINUTE, CAST(99 - id AS INT) * 6, TIMESTAMP_NTZ '2024-03-30 22:00:00.5') AS at",
    ]);
    let model = TimeSplit::new("at", "part", PARTS).fit(&naive).await.unwrap();
    let first: &TimeSplitModel = model.as_any().downcast_ref().unwrap();
    // 2024-03-30T22:00:00.5Z in microseconds, and 69 times 6 minutes.
    assert_eq!(first.cuts()[0], 1_711_836_000_500_000.0 + 69.0 * 360e6);
    spark.conf().set("spark.sql.session.timeZone", "Europe/Berlin").await.unwrap();
    let split = model.transform(&naive).await.unwrap();
    assert_eq!(split.filter_expr("(part = 'train') != (id >= 30)").count().await.unwrap(), 0);
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn rows_are_put_into_partitions_by_key_range_or_number() {
    let spark = session().await;
    let frame = spark.range(0, 1000).select_expr(["id", "id % 10 AS k"]);
    let placed = |stage: Repartition| {
        let frame = frame.clone();
        async move {
            let with_place = restored(&stage).transform(&frame).await.unwrap();
            with_place.select_expr(["id", "k", "spark_partition_id() AS p"])
        }
    };
    let by_key = placed(Repartition::by_key(["k"]).partitions(4)).await;
    let of_key =
        by_key.group_by(["k"]).agg([spark_connect::functions::count_distinct(spark_connect::col("p")).alias("n")]);
    assert_eq!(of_key.filter_expr("n > 1").count().await.unwrap(), 0);
    let ranges = placed(Repartition::by_range(["id"]).partitions(4)).await;
    let ranges = ranges
        .select_expr(["p", "id"])
        .group_by(["p"])
        .agg([spark_connect::functions::expr("max(id) - min(id) + 1 - count(1)").alias("gaps")]);
    assert_eq!(rows(&ranges.select(["gaps"]).distinct()).await, ["0"]);
    let even = rows(&placed(Repartition::evenly(4)).await.group_by(["p"]).count().select(["count"])).await;
    assert!(even.len() == 4 && even.iter().all(|n| (245..=255).contains(&n.parse::<i32>().unwrap())), "{even:?}");
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn a_query_over_the_frame_is_a_stage_like_spark_mls() {
    let spark = session().await;
    let frame = mixed(&spark, 5).select(["id", "float", "flag"]);
    let statement = "SELECT *, float * 2 AS twice FROM __THIS__ WHERE flag";
    let ours = restored(&SqlTransformer::new(statement)).transform(&frame).await.unwrap();
    let theirs = Operator::feature("SQLTransformer").text("statement", statement).apply(&frame);
    let in_order = |frame: &DataFrame| frame.order_by(["id"]);
    assert_eq!(rows(&in_order(&ours)).await, rows(&in_order(&theirs)).await);
    let pipeline = Pipeline::new()
        .stage(SqlTransformer::new(statement))
        .stage(VectorAssembler::new(["twice"], "raw"))
        .stage(MaxAbsScaler::new("raw", "scaled"))
        .stage(SqlTransformer::new("SELECT id, scaled FROM __THIS__"));
    let model = pipeline.fit(&frame).await.unwrap();
    let out = restored(&model).transform(&frame).await.unwrap();
    assert_eq!(out.schema().await.unwrap().names().collect::<Vec<_>>(), ["id", "scaled"]);
    assert_eq!(out.count().await.unwrap(), 40);
    let missing =
        Pipeline::new().stage(SqlTransformer::new("SELECT id FROM __THIS__")).stage(MaxAbsScaler::new("float", "x"));
    assert!(missing.fit(&frame).await.unwrap_err().to_string().contains("column `float`"));
    spark.stop().await.unwrap();
}
