"""Answers of PySpark's Connect client on a table, as JSON: for each case the sorted rows as JSON text, or numbers.

    answers.py REMOTE LEFT RIGHT
"""

import json
import sys

from pyspark.sql.connect import functions as F
from pyspark.sql.connect.session import SparkSession
from pyspark.sql.connect.window import Window

ROW = F.expr("to_json(struct(*), map('ignoreNullFields', 'false'))")


def frames(left, right):
    key = F.col("k")
    yield "na fill", left.na.fill(-1)
    yield "na fill text", left.na.fill("none", ["t"])
    yield "na fill each", left.na.fill({"x": 0.5, "t": "none"})
    yield "na drop", left.na.drop()
    yield "na drop all", left.na.drop("all", subset=["x", "t"])
    yield "na drop fewer", left.na.drop(thresh=3)
    yield "na replace", left.na.replace({"a": "z", "b": None}, subset=["t"])
    yield "na replace numbers", left.na.replace({1: 100, 2: 200}, subset=["k"])
    yield "crosstab", left.stat.crosstab("k", "t")
    yield "freq_items", left.stat.freqItems(["k"], 0.1)
    yield "sample_by", left.stat.sampleBy("t", {"a": 1.0, "b": 0.0}, 3)
    yield "describe", left.describe("k", "t")
    yield "summary", left.select("k").summary()
    yield "pivot", left.groupBy("k").pivot("t", ["a", "b"]).agg(F.count("id").alias("n"), F.max("x").alias("m"))
    yield "pivot all", left.groupBy("k").pivot("t").count()
    yield "grouping sets", left.groupingSets([["k"], ["k", "t"], []], "k", "t").agg(F.count("id").alias("n"))
    yield "rollup", left.rollup("k", "t").count()
    yield "cube", left.cube("k", "t").count()
    yield "aggregates", left.groupBy("k").avg("x").join(left.groupBy("k").sum("id"), "k")
    yield "unpivot", left.unpivot(["id"], ["k", "x"], "name", "value")
    yield "transpose", left.groupBy("t").agg(F.count("id").alias("n")).na.fill("none", ["t"]).orderBy("t").transpose()
    pair = [frame.selectExpr("id % 20 AS m", "k") for frame in (left, right)]
    yield "intersect", pair[0].intersect(pair[1])
    yield "intersect_all", pair[0].intersectAll(pair[1])
    yield "subtract", pair[0].subtract(pair[1])
    yield "except_all", pair[0].exceptAll(pair[1])
    yield "union_by_name", left.drop("x").unionByName(right.drop("t"), True)
    for kind in ["inner", "left_outer", "right_outer", "full", "left_semi", "left_anti"]:
        yield f"join {kind}", left.join(right.withColumnRenamed("x", "y").drop("t"), ["id"], kind)
    yield "as_of_join", left.select("id", "k")._joinAsOf(
        right.select(F.col("id").alias("rid"), F.col("k").alias("rk")), "id", "rid", tolerance=F.lit(5), direction="forward"
    )
    yield "lateral_join", left.lateralJoin(
        left.sparkSession.tvf.explode(F.array(key, F.lit(7)))
    )
    rank = Window.partitionBy("t").orderBy(F.col("x").desc(), "id")
    yield "window", left.select("id", F.row_number().over(rank).alias("r"), F.sum("k").over(rank.rowsBetween(-2, 0)).alias("s"))
    yield "scalar", left.filter(key > right.select(F.avg("k")).scalar())
    yield "exists", left.alias("l").filter(right.alias("r").filter(F.col("r.id") == F.col("l.id")).exists())
    if not left.sparkSession.version.startswith("4.0."):
        yield "contains", left.filter(left.id.isin(right.select("id")))
    yield "zip_with_index", left.orderBy("id").zipWithIndex("i")
    yield "to_schema", left.to(left.select("id", "t").schema)


def main(remote, left, right):
    spark = SparkSession.builder.remote(remote).create()
    left, right = spark.table(left), spark.table(right)
    answers = {name: sorted(row[0] for row in frame.select(ROW).collect()) for name, frame in frames(left, right)}
    answers["cov"] = [left.stat.cov("k", "x")]
    answers["corr"] = [left.stat.corr("k", "x")]
    answers["approx_quantile"] = left.stat.approxQuantile(["k", "x"], [0.0, 0.25, 1.0], 0.0)
    answers["tail"] = [row[0] for row in left.orderBy("id").select("id").tail(3)]
    answers["dtypes"] = [list(pair) for pair in left.dtypes]
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
