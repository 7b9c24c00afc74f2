//! The plans of this crate beside those that PySpark's Connect client builds for the same calls.

use std::{collections::BTreeMap, time::Duration};

use prost::Message;
use spark_connect::window::FrameBound;
use tinderbox::{
    dataframe::{
        AsOfDirection, AsOfJoin, InsertAction, IntoLiteral, MergeAction, NearestByJoin, NullRule, Observation, Schema,
        StorageLevel, literal, window, with_metadata,
    },
    prelude::*,
    streaming::{OutputMode, Trigger},
};

use crate::support::{Gate, functions::each, pyspark_connect, remote, session};

type Plans = BTreeMap<String, String>;

fn hex(message: &impl Message) -> String {
    message.encode_to_vec().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn text(value: &str) -> Column {
    literal(value)
}

fn frames(spark: &Session, plans: &mut Plans) {
    let mut add = |name: &str, frame: DataFrame| {
        assert_eq!(plans.insert(format!("frame {name}"), hex(&frame.relation())), None, "{name} twice");
    };
    let (t, u) = (spark.table("t"), spark.table("u"));
    let (a, b) = (|| col("a"), || col("b"));
    let user = [("user", "me")];
    add("table", t.clone());
    add("range", spark.range_with(3, 10, 2, Some(4)));
    let csv = spark.read().format("csv").option("header", "true").schema_ddl("a INT");
    add("read csv", csv.load(["p", "q"]));
    add("read json", spark.read().json("p"));
    add("read parquet", spark.read().parquet("p"));
    add("read orc", spark.read().orc("p"));
    add("read text", spark.read().text("p"));
    add("read xml", spark.read().xml("p"));
    add("read binary", spark.read().binary_file("p"));
    add("read jdbc", spark.read().options(user).jdbc("jdbc:x", "d.t"));
    add("read jdbc where", spark.read().options(user).jdbc_where("jdbc:x", "d.t", ["a < 1", "a >= 1"]));
    add("read table with options", spark.read().option("k", "v").table("t"));
    add("read changes", spark.read().option("startingVersion", "1").changes("t"));
    add("select", t.select([a(), (b() + lit(1)).alias("c")]));
    add("select_expr", t.select_expr(["a + 1 AS c", "*"]));
    add("filter", t.filter(a().gt(lit(3))));
    add("with_columns", t.with_columns([("c", a() + b()), ("d", text("x"))]));
    add("with_metadata", t.with_columns([("a", a())]));
    add("with_columns_renamed", t.with_columns_renamed([("a", "x"), ("b", "y")]));
    add("to_df", t.to_df(["x", "y"]));
    add("drop", t.drop(["a", "b"]));
    add("drop_columns", t.drop_columns([t.col("a")]));
    add("to_schema", t.to_schema(&Schema::from_ddl("a BIGINT, b STRING NOT NULL").unwrap()));
    add("zip_with_index", t.zip_with_index("i"));
    add("to_json", t.to_json());
    add("col_regex", t.select([t.col_regex("`a.*`")]));
    add("metadata_column", t.select([t.metadata_column("_metadata")]));
    add("order_by", t.order_by([a(), b().desc(), a().asc_nulls_last(), b().desc_nulls_first()]));
    add("sort_within_partitions", t.sort_within_partitions([a().desc()]));
    add("limit", t.limit(5));
    add("offset", t.offset(5));
    add("distinct", t.distinct());
    add("drop_duplicates", t.drop_duplicates(["a"]));
    let late = t.with_watermark("a", "10 minutes");
    add("drop_duplicates_within_watermark", late.drop_duplicates_within_watermark(&["b"]));
    add("sample", t.sample(true, 0.5, 7).unwrap());
    for (i, part) in t.random_split(&[1.0, 3.0], 7).unwrap().into_iter().enumerate() {
        add(&format!("random_split {i}"), part);
    }
    add("repartition", t.repartition(4));
    add("coalesce", t.coalesce(4));
    add("repartition_by", t.repartition_by(Some(4), [a()]));
    add("repartition_by, without a number", t.repartition_by(None, [a(), b()]));
    add("repartition_by_range", t.repartition_by_range(Some(4), [a().desc()]));
    add("repartition_by_id", t.repartition_by_id(4, a()));
    add("alias", t.alias("x"));
    add("hint", t.hint::<Column>("broadcast", []));
    add("union", t.union(&u));
    add("union_by_name", t.union_by_name(&u, true));
    add("intersect", t.intersect(&u));
    add("intersect_all", t.intersect_all(&u));
    add("subtract", t.subtract(&u));
    add("except_all", t.except_all(&u));
    add("join on names", t.join(&u, ["a", "b"], JoinType::LeftOuter));
    add("join on a condition", t.join_on(&u, t.col("a").eq(u.col("a")), JoinType::Inner));
    let kinds = [
        ("right", JoinType::RightOuter),
        ("full", JoinType::FullOuter),
        ("left_semi", JoinType::LeftSemi),
        ("left_anti", JoinType::LeftAnti),
    ];
    for (name, kind) in kinds {
        add(&format!("join {name}"), t.join(&u, ["a"], kind));
    }
    add("cross_join", t.cross_join(&u));
    let exploded = spark.tvf().explode(t.col("a"));
    add("lateral_join", t.lateral_join(&exploded, None, JoinType::LeftOuter).unwrap());
    let nearest = AsOfJoin {
        names: vec!["c".into()],
        keeps_unmatched: true,
        tolerance: Some(lit(5)),
        allows_exact: false,
        direction: AsOfDirection::Nearest,
    };
    add("as_of_join", t.as_of_join(&u, t.col("a"), u.col("b"), nearest));
    let nearest = NearestByJoin { rows: 3, approximate: true, by_similarity: false, keeps_unmatched: true };
    add("nearest_by_join", t.nearest_by_join(&u, t.col("a") - u.col("a"), nearest).unwrap());
    add("group_by", t.group_by([a()]).agg([functions::sum(b()).alias("s")]));
    add("group_by, all", t.agg([functions::max(a())]));
    add("group_by, count", t.group_by([a()]).count());
    add("rollup", t.rollup([a(), b()]).agg([functions::min(a())]));
    add("cube", t.cube([a(), b()]).agg([functions::min(a())]));
    let sets = t.grouping_sets([vec![a()], vec![a(), b()], vec![]], [a(), b()]);
    add("grouping_sets", sets.agg([functions::min(a())]));
    add("pivot", t.group_by([a()]).pivot(t.col("b"), ["x", "y"]).agg([functions::avg(a())]));
    add("pivot_all", t.group_by([a()]).pivot_all(t.col("b")).agg([functions::avg(a())]));
    add("unpivot", t.unpivot([a()], [b()], "k", "v"));
    add("unpivot_others", t.unpivot_others([a()], "k", "v"));
    add("transpose", t.transpose(None));
    add("transpose by", t.transpose(Some(a())));
    add("na fill", t.na().fill("x", &["a", "b"]));
    add("na fill all", t.na().fill(1.5, &[]));
    add("na fill each", t.na().fill_each([("a", 1.5.into_literal()), ("b", "x".into_literal())]));
    add("na drop any", t.na().drop(NullRule::Any, &[]));
    add("na drop all", t.na().drop(NullRule::All, &["a"]));
    add("na drop fewer", t.na().drop(NullRule::FewerThan(2), &[]));
    add("na replace", t.na().replace([(Some("x"), Some("y")), (Some("z"), None)], &["b"]));
    add("crosstab", t.stat().crosstab("a", "b"));
    add("freq_items", t.stat().freq_items(&["a"], 0.25).unwrap());
    add("sample_by", t.stat().sample_by(a(), [("x", 0.25), ("y", 1.0)], 7).unwrap());
    add("describe", t.describe(&["a"]));
    add("summary", t.summary(&["count", "75%"]));
    add("with_watermark", late);
    add("observe", t.observe(&Observation::named("seen"), [functions::count(a()).alias("n")]));
    let array = || functions::array([text("x")]);
    add("tvf explode", spark.tvf().explode(array()));
    add("tvf posexplode_outer", spark.tvf().posexplode_outer(array()));
    add("tvf inline", spark.tvf().inline(a()));
    add("tvf json_tuple", spark.tvf().json_tuple(a(), [text("k")]));
    add("tvf stack", spark.tvf().stack(lit(2), [a(), b()]));
    add("tvf collations", spark.tvf().collations());
    add("stream rate", spark.read_stream().format("rate").option("rowsPerSecond", 5).load());
    add("stream table", spark.read_stream().table("t"));
    add("stream files", spark.read_stream().schema_ddl("a INT").json("p"));
    add("subquery scalar", t.filter(a().gt(u.select([functions::max(a())]).scalar())));
    add("subquery exists", t.filter(u.filter(u.col("a").gt(lit(1))).exists()));
    add("subquery in", t.filter(u.select([a()]).contains([a()])));
    let both = a().gt(u.select([functions::max(a())]).scalar()).and(u.exists().not());
    add("subqueries", t.with_column("both", both).select([t.col("a")]));
}

fn columns(plans: &mut Plans) {
    let mut add = |name: &str, column: Column| {
        assert_eq!(plans.insert(format!("column {name}"), hex(&column.to_proto())), None, "{name} twice");
    };
    let (a, b) = (|| col("a"), || col("b"));
    add("path", col("a.b"));
    add("star", col("*"));
    add("alias", a().alias("x"));
    let metadata = serde_json::json!({"k": 1});
    add("alias with metadata", with_metadata(a(), "x", metadata.as_object().unwrap()));
    add("cast", a().cast_str("bigint"));
    add("try_cast", a().try_cast_str("bigint"));
    add("is_null", a().is_null());
    add("is_not_null", a().is_not_null());
    add("is_nan", a().is_nan());
    add("substr", a().substr(text("1"), text("2")));
    add("like", a().like("x%"));
    add("ilike", a().ilike("x%"));
    add("rlike", a().rlike("x."));
    add("contains", a().contains(b()));
    add("startswith", a().startswith(b()));
    add("endswith", a().endswith(b()));
    add("eq_null_safe", a().eq_null_safe(b()));
    add("bitwise_and", a().bitwise_and(b()));
    add("bitwise_or", a().bitwise_or(b()));
    add("bitwise_xor", a().bitwise_xor(b()));
    add("between", a().between(text("x"), text("y")));
    add("isin", a().isin([text("x"), text("y")]));
    add("with_field", a().with_field("f", b()));
    add("drop_fields", a().drop_fields(vec!["f", "g"]));
    add("get_field", a().get_field("f"));
    add("get_item", a().get_item(text("k")));
    add("asc", a().asc());
    add("desc_nulls_last", a().desc_nulls_last());
    let when = functions::when(a().gt(b()), text("x")).when(a().lt(b()), text("y"));
    add("when", when.otherwise(text("z")));
    add("compare", a().eq(b()).and(a().ne(b())).or(a().ge(b()).not().and(a().le(b()))));
    add("arithmetic", (a() + b()) * (a() - b()) / (a().modulo(b())));
    add("neg", a().neg());
    let partition = || window([a()], [b().desc()]);
    add("over", functions::row_number().over(partition()));
    let rows = partition().rows_between(FrameBound::UnboundedPreceding, FrameBound::Preceding(1));
    add("over rows", functions::sum(a()).over(rows));
    let range = partition().range_between(FrameBound::CurrentRow, FrameBound::UnboundedFollowing);
    add("over range", functions::sum(a()).over(range));
    add("lambda", functions::transform(a(), |x| x[0].clone() + b()));
    add("literal int", literal(3));
    add("literal long", literal(1i64 << 40));
    add("literal double", literal(0.5));
    add("literal text", text("größe"));
    add("literal bool", literal(true));
    add("literal bytes", literal(&[0u8, 255][..]));
    add("expr", functions::expr("a + 1"));
    add("call", functions::call_function("f", [a()]));
}

/// Runs each command before a server that takes note of it; what comes of it does not matter.
async fn commands(spark: &Session, gate: &Gate, plans: &mut Plans) {
    let t = spark.table("t");
    let (a, b) = (|| col("a"), || col("b"));
    macro_rules! add {
        ($name:expr, $call:expr) => {{
            _ = $call.await;
            let name = format!("command {}", $name);
            let command = gate.command().unwrap_or_else(|| panic!("{name} sent no command"));
            assert_eq!(plans.insert(name, hex(&command)), None, "{} twice", $name);
        }};
    }
    add!("view", t.create_temp_view("v"));
    add!("view, replaced", t.create_or_replace_temp_view("v"));
    add!("view, global", t.create_global_temp_view("v"));
    add!("view, global, replaced", t.create_or_replace_global_temp_view("v"));
    let write = t.write().mode(SaveMode::Overwrite).format("parquet").partition_by(["a"]);
    add!("write table", write.save_as_table("w"));
    add!("write buckets", t.write().bucket_by(4, ["a"]).sort_by(["b"]).save_as_table("w"));
    add!("write clusters", t.write().cluster_by(["a"]).save_as_table("w"));
    add!("write into", t.write().insert_into("w"));
    add!("write into, overwriting", t.write().mode(SaveMode::Overwrite).insert_into("w"));
    add!("write files", t.write().option("k", "v").csv("p"));
    let write = t.write().mode(SaveMode::Append).options([("user", "me")]);
    add!("write jdbc", write.jdbc("jdbc:x", "d.t"));
    add!("write_to append", t.write_to("c.w").append());
    let create = t.write_to("c.w").using("parquet").table_property("k", "v").option("o", "1");
    add!("write_to create", create.partitioned_by([a(), functions::years(b())]).create());
    add!("write_to replace", t.write_to("c.w").replace());
    add!("write_to create_or_replace", t.write_to("c.w").create_or_replace());
    add!("write_to overwrite", t.write_to("c.w").overwrite(a().gt(b())));
    add!("write_to overwrite_partitions", t.write_to("c.w").overwrite_partitions());
    let merge = || t.merge_into("w", functions::expr("w.a = t.a"));
    let all = merge()
        .when_matched(Some(a().gt(b())), MergeAction::Delete)
        .when_matched(None, MergeAction::UpdateAll)
        .when_not_matched(None, InsertAction::All)
        .when_not_matched_by_source(Some(b().gt(a())), MergeAction::Update(vec![("a".into(), b())]));
    add!("merge", all.with_schema_evolution().merge());
    let insert = InsertAction::Columns(vec![("a".into(), b())]);
    add!("merge, insert", merge().when_not_matched(Some(a().gt(b())), insert).merge());
    add!("checkpoint", t.checkpoint(true));
    add!("local_checkpoint", t.local_checkpoint(false, Some(StorageLevel::DISK_ONLY)));
    let rows = spark.read_stream().table("t");
    let query = rows.write_stream().format("console").output_mode(OutputMode::Append).option("k", "v").query_name("q");
    let query = query.trigger(Trigger::ProcessingTime(Duration::from_secs(5))).partition_by(["a"]);
    add!("write_stream", query.start());
    add!("write_stream to a table", rows.write_stream().trigger(Trigger::AvailableNow).to_table("w"));
}

#[tokio::test]
async fn plans_are_those_of_pyspark() {
    let spark = session().await;
    let mut plans = Plans::new();
    frames(&spark, &mut plans);
    columns(&mut plans);
    each(|name, arguments, column| {
        assert_eq!(plans.insert(format!("function {name} {arguments}"), hex(&column.to_proto())), None, "{name} twice");
    });
    let gate = Gate::recording(&remote().await).await;
    let recorded = Session::builder().remote(gate.remote()).create().await.unwrap();
    commands(&recorded, &gate, &mut plans).await;

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plans.json");
    std::fs::write(&file, serde_json::to_vec(&plans).unwrap()).unwrap();
    let arguments = vec![remote().await, file.display().to_string()];
    let (said, is_equal) = pyspark_connect("plans.py", arguments).await;
    assert!(is_equal, "{said}");
    print!("{said}");
    assert!(said.contains(&format!("of {} plans", plans.len())), "{said}");
    spark.stop().await.unwrap();
}
