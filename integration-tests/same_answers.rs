//! The answers of this crate beside those of PySpark, on tables of random rows with nulls.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use spark_connect::window::FrameBound;
use tinderbox::{
    dataframe::{AsOfDirection, AsOfJoin, IntoLiteral, NullRule, window},
    prelude::*,
};

use crate::support::{database_for, pyspark_connect, remote, session};

fn frames(left: &DataFrame, right: &DataFrame) -> Vec<(String, DataFrame)> {
    let id = || col("id");
    let mut frames = Vec::new();
    let mut add = |name: &str, frame: DataFrame| frames.push((name.to_owned(), frame));
    add("na fill", left.na().fill(-1, &[]));
    add("na fill text", left.na().fill("none", &["t"]));
    add("na fill each", left.na().fill_each([("x", 0.5.into_literal()), ("t", "none".into_literal())]));
    add("na drop", left.na().drop(NullRule::Any, &[]));
    add("na drop all", left.na().drop(NullRule::All, &["x", "t"]));
    add("na drop fewer", left.na().drop(NullRule::FewerThan(3), &[]));
    add("na replace", left.na().replace([(Some("a"), Some("z")), (Some("b"), None)], &["t"]));
    add("na replace numbers", left.na().replace([(1, 100), (2, 200)], &["k"]));
    add("crosstab", left.stat().crosstab("k", "t"));
    add("freq_items", left.stat().freq_items(&["k"], 0.1).unwrap());
    add("sample_by", left.stat().sample_by(col("t"), [("a", 1.0), ("b", 0.0)], 3).unwrap());
    add("describe", left.describe(&["k", "t"]));
    add("summary", left.select([col("k")]).summary(&[]));
    let pivot = left.group_by([col("k")]).pivot(col("t"), ["a", "b"]);
    add("pivot", pivot.agg([functions::count(id()).alias("n"), functions::max(col("x")).alias("m")]));
    add("pivot all", left.group_by([col("k")]).pivot_all(col("t")).count());
    let sets = [vec![col("k")], vec![col("k"), col("t")], vec![]];
    add("grouping sets", left.grouping_sets(sets, [col("k"), col("t")]).agg([functions::count(id()).alias("n")]));
    add("rollup", left.rollup([col("k"), col("t")]).count());
    add("cube", left.cube([col("k"), col("t")]).count());
    let (means, sums) = (left.group_by([col("k")]).avg(&["x"]), left.group_by([col("k")]).sum(&["id"]));
    add("aggregates", means.join(&sums, ["k"], JoinType::Inner));
    add("unpivot", left.unpivot([id()], [col("k"), col("x")], "name", "value"));
    let counts = left.group_by([col("t")]).agg([functions::count(id()).alias("n")]);
    add("transpose", counts.na().fill("none", &["t"]).order_by([col("t")]).transpose(None));
    let pair = [left, right].map(|frame| frame.select_expr(["id % 20 AS m", "k"]));
    add("intersect", pair[0].intersect(&pair[1]));
    add("intersect_all", pair[0].intersect_all(&pair[1]));
    add("subtract", pair[0].subtract(&pair[1]));
    add("except_all", pair[0].except_all(&pair[1]));
    add("union_by_name", left.drop(["x"]).union_by_name(&right.drop(["t"]), true));
    let kinds = [
        ("inner", JoinType::Inner),
        ("left_outer", JoinType::LeftOuter),
        ("right_outer", JoinType::RightOuter),
        ("full", JoinType::FullOuter),
        ("left_semi", JoinType::LeftSemi),
        ("left_anti", JoinType::LeftAnti),
    ];
    for (name, kind) in kinds {
        let other = right.with_column_renamed("x", "y").drop(["t"]);
        add(&format!("join {name}"), left.join(&other, ["id"], kind));
    }
    let near = right.select([id().alias("rid"), col("k").alias("rk")]);
    let settings = AsOfJoin { tolerance: Some(lit(5)), direction: AsOfDirection::Forward, ..Default::default() };
    let few = left.select([id(), col("k")]);
    add("as_of_join", few.as_of_join(&near, few.col("id"), near.col("rid"), settings));
    let spark = Session::new(left.client().clone());
    let exploded = spark.tvf().explode(functions::array([col("k"), lit(7)]));
    add("lateral_join", left.lateral_join(&exploded, None, JoinType::Inner).unwrap());
    let rank = || window([col("t")], [col("x").desc(), id()]);
    let near = rank().rows_between(FrameBound::Preceding(2), FrameBound::CurrentRow);
    let ranked =
        [id(), functions::row_number().over(rank()).alias("r"), functions::sum(col("k")).over(near).alias("s")];
    add("window", left.select(ranked));
    let mean = right.select([functions::avg(col("k"))]);
    add("scalar", left.filter(col("k").gt(mean.scalar())));
    add("exists", left.alias("l").filter(right.alias("r").filter(col("r.id").eq(col("l.id"))).exists()));
    if spark.version().at_least(4, 1) {
        add("contains", left.filter(right.select([id()]).contains([left.col("id")])));
    }
    add("zip_with_index", left.order_by([id()]).zip_with_index("i"));
    frames
}

async fn answers(left: &DataFrame, right: &DataFrame) -> BTreeMap<String, Value> {
    let row = || functions::expr("to_json(struct(*), map('ignoreNullFields', 'false'))");
    let mut answers = BTreeMap::new();
    let mut frames = frames(left, right);
    let schema = left.select([col("id"), col("t")]).schema().await.unwrap();
    frames.push(("to_schema".to_owned(), left.to_schema(&schema)));
    for (name, frame) in frames {
        let rows: tinderbox::Result<Vec<RowText>> = frame.select([row().alias("row")]).collect_as().await;
        let mut rows: Vec<_> = rows.unwrap_or_else(|e| panic!("{name}: {e}")).into_iter().map(|row| row.row).collect();
        rows.sort();
        answers.insert(name, json!(rows));
    }
    let stat = left.stat();
    answers.insert("cov".into(), json!([stat.cov("k", "x").await.unwrap()]));
    answers.insert("corr".into(), json!([stat.corr("k", "x").await.unwrap()]));
    let quantiles = stat.approx_quantile(&["k", "x"], &[0.0, 0.25, 1.0], 0.0).await.unwrap();
    answers.insert("approx_quantile".into(), json!(quantiles));
    let tail = left.order_by([col("id")]).select([col("id")]).tail(3).await.unwrap();
    let tail: Vec<i64> =
        tail.iter().flat_map(tinderbox::dataframe::Row::of).map(|row| row.get("id").unwrap()).collect();
    answers.insert("tail".into(), json!(tail));
    answers.insert("dtypes".into(), json!(left.dtypes().await.unwrap()));
    answers
}

#[derive(serde::Deserialize)]
struct RowText {
    row: String,
}

#[tokio::test]
async fn answers_are_those_of_pyspark() {
    let (spark, remote) = (session().await, remote().await);
    let database = database_for("answers_are_those_of_pyspark").await;
    let names = ["l", "r"].map(|name| database.table(name));
    for (seed, name) in names.iter().enumerate() {
        let hash = |salt: i32, modulo: i32| format!("pmod(hash(id, {seed}, {salt}), {modulo})");
        let text = format!(
            "SELECT id * 2 + {seed} * pmod(id, 2) AS id, if({} = 0, NULL, {}) AS k, if({} = 0, NULL, {} / 8D) AS x, \
             element_at(array('a', 'b', 'größe', NULL), 1 + {}) AS t FROM range(300)",
            hash(1, 5),
            hash(2, 7),
            hash(3, 4),
            hash(4, 1000),
            hash(5, 4),
        );
        spark.sql(&text).await.unwrap().write().save_as_table(name).await.unwrap();
    }
    let [left, right] = names.each_ref().map(|name| spark.table(name));
    let ours = answers(&left, &right).await;

    let arguments = std::iter::once(remote).chain(names).collect();
    let (said, is_done) = pyspark_connect("answers.py", arguments).await;
    assert!(is_done, "PySpark's half failed; its words are above");
    let theirs: BTreeMap<String, Value> = serde_json::from_str(&said).unwrap();
    let names = |answers: &BTreeMap<String, Value>| answers.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&ours), names(&theirs));
    for (name, answer) in &ours {
        assert_eq!(answer, &theirs[name], "{name}");
        assert_ne!(answer, &json!([]), "{name} compares nothing");
    }
    spark.stop().await.unwrap();
}
