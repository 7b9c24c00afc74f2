//! Transformations, actions, names and metadata.

use arrow::datatypes::DataType as Arrow;
use spark_connect::{col, functions, lit};
use tinderbox::dataframe::{DataFrame, ExplainMode, JoinType, METADATA_KEY, column};

use crate::support::{rows, session};

#[tokio::test]
async fn transformations_do_what_their_names_say() {
    let spark = session().await;
    let numbers = spark.range_with(0, 10, 1, Some(3));
    let even = numbers.filter(col("id").modulo(lit(2)).eq(lit(0)));
    assert_eq!(even.count().await.unwrap(), 5);
    let halves = even.with_columns([("half", functions::expr("id div 2")), ("text", functions::expr("'x' || id"))]);
    assert_eq!(rows(&halves.order_by([col("id").desc()]).limit(2)).await, ["8|4|x8", "6|3|x6"]);
    assert_eq!(rows(&halves.drop(["half", "absent"]).order_by(["id"]).offset(4).limit(9)).await, ["8|x8"]);
    assert_eq!(rows(&numbers.select_expr(["id % 3 AS k"]).distinct().order_by(["k"])).await, ["0", "1", "2"]);
    let renamed = numbers.with_column_renamed("id", "n").with_column_renamed("absent", "x").to_df(["m"]);
    assert_eq!(rows(&renamed.sort_within_partitions([col("m").desc()]).coalesce(1).limit(1)).await.len(), 1);
    assert_eq!(renamed.schema().await.unwrap().to_string(), "m: bigint not null\n");
    let grouped = halves
        .group_by([functions::expr("half % 2").alias("odd")])
        .agg([functions::sum(col("id")).alias("sum"), functions::max(col("text")).alias("last")]);
    assert_eq!(rows(&grouped.order_by(["odd"])).await, ["0|12|x8", "1|8|x6"]);
    assert_eq!(rows(&even.group_by(["id"]).count().filter_expr("count > 1")).await, Vec::<String>::new());
    assert_eq!(rows(&even.union(&even).drop_duplicates(["id"]).agg([functions::sum(col("id"))])).await, ["20"]);
    let other = spark.range(0, 1).select_expr(["7 AS b", "id"]);
    let both = halves.select(["id"]).limit(1).union_by_name(&other, true);
    assert_eq!(rows(&both).await, ["0|", "0|7"]);
    for frame in [numbers.repartition(4), numbers.repartition_by(Some(4), ["id"])] {
        let parts = frame.select([functions::spark_partition_id()]).distinct();
        assert!(parts.count().await.unwrap() > 1);
        assert_eq!(frame.count().await.unwrap(), 10);
    }
    let ranged =
        numbers.repartition_by_range(Some(2), [col("id").desc()]).with_column("p", functions::spark_partition_id());
    assert_eq!(rows(&ranged.filter_expr("p = 0").agg([functions::max(col("id"))])).await, ["9"]);
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn a_random_split_puts_every_row_in_exactly_one_part() {
    let spark = session().await;
    let parts = spark.range_with(0, 1000, 1, Some(4)).repartition(3).random_split(&[3.0, 1.0, 1.0], 7).unwrap();
    let mut counts = Vec::new();
    for part in &parts {
        counts.push(part.count().await.unwrap());
    }
    assert_eq!(counts.iter().sum::<u64>(), 1000);
    assert!((500..700).contains(&counts[0]), "{counts:?}");
    let all = parts[0].union(&parts[1]).union(&parts[2]).distinct();
    assert_eq!(all.count().await.unwrap(), 1000);
    assert!(spark.range(0, 1).random_split(&[0.0, -1.0], 1).is_err());
    assert!(spark.range(0, 1).sample(false, 1.5, 1).is_err());
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn joins_keep_the_rows_they_should() {
    let spark = session().await;
    let left = spark.range(0, 4).with_column("side", spark_connect::lit_string("l"));
    let right = spark.range(2, 6).with_column("side", spark_connect::lit_string("r"));
    let counts = [
        (JoinType::Inner, 2),
        (JoinType::LeftOuter, 4),
        (JoinType::RightOuter, 4),
        (JoinType::FullOuter, 6),
        (JoinType::LeftSemi, 2),
        (JoinType::LeftAnti, 2),
    ];
    for (kind, count) in counts {
        assert_eq!(left.join(&right, ["id"], kind).count().await.unwrap(), count, "{kind:?}");
    }
    assert_eq!(left.cross_join(&right).count().await.unwrap(), 16);
    // Both sides have both names: only the frame tells them apart.
    let on = left.join_on(&right, left.col("id").eq(right.col("id")), JoinType::Inner);
    let picked = on.select([right.col("side"), left.col("side"), left.col("id")]).order_by([left.col("id")]);
    assert_eq!(rows(&picked).await, ["r|l|2", "r|l|3"]);
    let aliased = left.alias("a").join_on(&left.alias("b"), functions::expr("a.id = b.id + 1"), JoinType::Inner);
    assert_eq!(rows(&aliased.select(["a.id", "b.id"]).order_by(["a.id"])).await, ["1|0", "2|1", "3|2"]);
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn a_column_may_have_any_name() {
    let spark = session().await;
    for name in ["a.b", "`", "a`b.c", "größe 身長", "", " ", "count(1)", "*", "x'y\"z", "SELECT"] {
        let frame = spark.range(0, 3).with_column(name, functions::expr("id * 10"));
        let picked = frame.filter(column(name).gt(lit(0))).select([column(name)]);
        assert_eq!(rows(&picked.order_by([column(name)])).await, ["10", "20"], "`{name}`");
        assert_eq!(picked.schema().await.unwrap().names().collect::<Vec<_>>(), [name]);
        let renamed = frame.with_column_renamed(name, "other");
        assert_eq!(renamed.schema().await.unwrap().names().collect::<Vec<_>>(), ["id", "other"]);
        assert_eq!(rows(&frame.drop_duplicates([name]).drop([name]).agg([functions::sum(col("id"))])).await, ["3"]);
        assert_eq!(frame.drop([name]).schema().await.unwrap().names().collect::<Vec<_>>(), ["id"], "`{name}`");
    }
    let nested = spark.range(0, 1).select_expr(["named_struct('b', id + 5) AS a"]);
    assert_eq!(rows(&nested.select(["a.b"])).await, ["5"]);
    spark.stop().await.unwrap();
}

fn metadata() -> serde_json::Map<String, serde_json::Value> {
    let json = serde_json::json!({"ml_attr": {"type": "nominal", "vals": ["ä", "b\"c"], "name": "y"}, "note": 1.5});
    json.as_object().unwrap().clone()
}

async fn metadata_of(frame: &DataFrame) -> serde_json::Value {
    let schema = frame.schema().await.unwrap();
    let of_schema = serde_json::to_value(&schema.require("y").unwrap().metadata).unwrap();
    let stream = frame.stream().await.unwrap();
    let field = stream.schema().field_with_name("y").unwrap().clone();
    let of_stream: serde_json::Value = serde_json::from_str(&field.metadata()[METADATA_KEY]).unwrap();
    assert_eq!(of_stream, of_schema);
    for batch in stream.collect().await.unwrap() {
        assert_eq!(batch.schema().field_with_name("y").unwrap(), &field);
    }
    of_schema
}

#[tokio::test]
async fn metadata_stays_with_a_column() {
    let spark = session().await;
    let database = crate::support::database_for("metadata_stays_with_a_column").await;
    let expected = serde_json::Value::Object(metadata());
    let frame = spark.range(0, 3).select_expr(["id", "id AS y"]).with_metadata("y", &metadata());
    assert_eq!(metadata_of(&frame).await, expected);
    frame.create_temp_view("with_metadata").await.unwrap();
    assert_eq!(metadata_of(&spark.table("with_metadata").filter_expr("id > 0")).await, expected);
    frame.write().save_as_table(&database.table("t")).await.unwrap();
    assert_eq!(metadata_of(&spark.table(&database.table("t"))).await, expected);
    let aliased = spark.range(0, 1).select([tinderbox::dataframe::with_metadata(col("id"), "y", &metadata())]);
    assert_eq!(metadata_of(&aliased).await, expected);
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn an_empty_result_still_has_a_schema() {
    let spark = session().await;
    let empty = spark.range_with(0, 100, 1, Some(5)).select_expr(["id", "'x' AS text"]).filter_expr("id < 0");
    let stream = empty.stream().await.unwrap();
    let types: Vec<_> = stream.schema().fields().iter().map(|f| (f.name().clone(), f.data_type().clone())).collect();
    assert_eq!(types, [("id".into(), Arrow::Int64), ("text".into(), Arrow::Utf8)]);
    assert_eq!(stream.collect().await.unwrap().iter().map(|b| b.num_rows()).sum::<usize>(), 0);
    assert_eq!(empty.count().await.unwrap(), 0);
    assert!(empty.is_empty().await.unwrap() && empty.first().await.unwrap().is_none());
    assert!(!spark.range(0, 1).is_empty().await.unwrap());
    // Some partitions empty, some not.
    let sparse = spark.range_with(0, 100, 1, Some(10)).filter_expr("id IN (15, 77)");
    assert_eq!(rows(&sparse).await, ["15", "77"]);
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn spark_shows_and_explains_a_frame() {
    let spark = session().await;
    let frame = spark.range(0, 30).select_expr(["id", "repeat('y', 30) AS long"]);
    let text = frame.to_text(2).await.unwrap();
    assert!(text.contains("| id|                long|") && text.contains("|  0|yyyyyyyyyyyyyyyyy...|"), "{text}");
    assert!(text.contains("only showing top 2 rows"), "{text}");
    assert!(frame.to_text_with(1, 0, true).await.unwrap().contains(&"y".repeat(30)));
    let plan = frame.explain(ExplainMode::Extended).await.unwrap();
    assert!(plan.contains("== Optimized Logical Plan ==") && plan.contains("Range (0, 30"), "{plan}");
    frame.persist().await.unwrap();
    assert!(frame.explain(ExplainMode::Simple).await.unwrap().contains("InMemoryTableScan"));
    frame.unpersist().await.unwrap();
    let error = spark.table("no_such_table").schema().await.unwrap_err();
    assert!(error.server().is_some_and(|e| e.is("TABLE_OR_VIEW_NOT_FOUND")), "{error}");
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn every_type_arrives_as_arrow() {
    let spark = session().await;
    let arrives = [
        ("CAST(1.5 AS DECIMAL(38, 10))", "1.5000000000"),
        ("TIMESTAMP '2024-03-31 02:30:00+02:00'", "2024-03-31T01:30:00+01:00"),
        ("TIMESTAMP_NTZ '2024-03-31 02:30:00'", "2024-03-31T02:30:00"),
        ("DATE '1582-10-15'", "1582-10-15"),
        ("array(struct(1 AS a, map('k', array(1.5D)) AS m))", "[{a: 1, m: {k: [1.5]}}]"),
        ("INTERVAL '1-2' YEAR TO MONTH", "1 years 2 mons"),
        ("INTERVAL '1 02:03:04' DAY TO SECOND", "PT93784S"),
        ("NULL", ""),
        ("X'00ff'", "00ff"),
    ];
    spark.conf().set("spark.sql.session.timeZone", "Europe/Berlin").await.unwrap();
    for (expression, shown) in arrives {
        let batches = spark.range(0, 1).select_expr([expression]).collect().await;
        let batches = batches.unwrap_or_else(|e| panic!("{expression}: {e}"));
        let text = arrow::util::display::array_value_to_string(batches[0].column(0), 0).unwrap();
        assert_eq!(text, shown, "{expression}");
    }
    let variant = spark.range(0, 1).select_expr(["parse_json('{\"a\": 1}') AS odd"]).collect().await.unwrap();
    assert!(matches!(variant[0].schema().field(0).data_type(), Arrow::Struct(parts) if parts.len() == 2));
    let interval = spark.range(0, 1).select_expr(["make_interval(1, 2, 3, 4) AS odd"]).collect().await.unwrap();
    assert!(matches!(interval[0].schema().field(0).data_type(), Arrow::Interval(_)));
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn a_frame_of_3000_columns_is_described_and_streamed() {
    let spark = session().await;
    let names: Vec<String> = (0..3000).map(|i| format!("id + {i} AS c{i}")).collect();
    let wide = spark.range(0, 20).select_expr(names.iter().map(String::as_str));
    assert_eq!(wide.schema().await.unwrap().fields().len(), 3000);
    let batches = wide.collect().await.unwrap();
    assert_eq!(batches.iter().map(|b| b.num_rows()).sum::<usize>(), 20);
    assert_eq!(batches[0].num_columns(), 3000);
    spark.stop().await.unwrap();
}
