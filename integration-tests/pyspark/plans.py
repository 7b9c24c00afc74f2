"""Compares the plans that PySpark's Connect client builds with this crate's, message by message.

    plans.py REMOTE FILE

FILE has a JSON object of this crate's messages (hexadecimal) by the names of the cases below. Prints the number of equal
ones; a difference is printed as lines of text, and ends the script with status 1.
"""

import difflib
import json
import sys

from google.protobuf import text_format
from pyspark.sql.connect import functions as F
from pyspark.sql.connect import proto
from pyspark.sql.connect.session import SparkSession
from pyspark.sql.connect.window import Window
from pyspark.sql.types import LongType, StringType, StructField, StructType
from pyspark.storagelevel import StorageLevel

SCHEMA = StructType([StructField("a", LongType()), StructField("b", StringType(), False)])


def frames(spark):
    t, u = spark.table("t"), spark.table("u")
    a, b = F.col("a"), F.col("b")
    yield "table", t
    yield "range", spark.range(3, 10, 2, 4)
    yield "read csv", spark.read.format("csv").option("header", "true").schema("a INT").load(["p", "q"])
    yield "read json", spark.read.json("p")
    yield "read parquet", spark.read.parquet("p")
    yield "read orc", spark.read.orc("p")
    yield "read text", spark.read.text("p")
    yield "read xml", spark.read.xml("p")
    yield "read binary", spark.read.format("binaryFile").load("p")
    yield "read jdbc", spark.read.jdbc("jdbc:x", "d.t", properties={"user": "me"})
    yield "read jdbc where", spark.read.jdbc("jdbc:x", "d.t", predicates=["a < 1", "a >= 1"], properties={"user": "me"})
    yield "read table with options", spark.read.option("k", "v").table("t")
    yield "read changes", spark.read.option("startingVersion", "1").changes("t")
    yield "select", t.select(a, (b + 1).alias("c"))
    yield "select_expr", t.selectExpr("a + 1 AS c", "*")
    yield "filter", t.filter(a > 3)
    yield "with_columns", t.withColumns({"c": a + b, "d": F.lit("x")})
    yield "with_metadata", t.withColumns({"a": a.alias("a")})
    yield "with_columns_renamed", t.withColumnsRenamed({"a": "x", "b": "y"})
    yield "to_df", t.toDF("x", "y")
    yield "drop", t.drop("a", "b")
    yield "drop_columns", t.drop(t.a)
    yield "to_schema", t.to(SCHEMA)
    yield "zip_with_index", t.zipWithIndex("i")
    yield "to_json", t.toJSON()
    yield "col_regex", t.select(t.colRegex("`a.*`"))
    yield "metadata_column", t.select(t.metadataColumn("_metadata"))
    yield "order_by", t.orderBy(a, b.desc(), a.asc_nulls_last(), b.desc_nulls_first())
    yield "sort_within_partitions", t.sortWithinPartitions(a.desc())
    yield "limit", t.limit(5)
    yield "offset", t.offset(5)
    yield "distinct", t.distinct()
    yield "drop_duplicates", t.dropDuplicates(["a"])
    yield "drop_duplicates_within_watermark", t.withWatermark("a", "10 minutes").dropDuplicatesWithinWatermark(["b"])
    yield "sample", t.sample(True, 0.5, 7)
    for i, part in enumerate(t.randomSplit([1.0, 3.0], 7)):
        yield f"random_split {i}", part
    yield "repartition", t.repartition(4)
    yield "coalesce", t.coalesce(4)
    yield "repartition_by", t.repartition(4, a)
    yield "repartition_by, without a number", t.repartition(a, b)
    yield "repartition_by_range", t.repartitionByRange(4, a.desc())
    yield "repartition_by_id", t.repartitionById(4, a)
    yield "alias", t.alias("x")
    yield "hint", t.hint("broadcast")
    yield "union", t.union(u)
    yield "union_by_name", t.unionByName(u, True)
    yield "intersect", t.intersect(u)
    yield "intersect_all", t.intersectAll(u)
    yield "subtract", t.subtract(u)
    yield "except_all", t.exceptAll(u)
    yield "join on names", t.join(u, ["a", "b"], "left_outer")
    yield "join on a condition", t.join(u, t.a == u.a, "inner")
    for kind in ["right", "full", "left_semi", "left_anti"]:
        yield f"join {kind}", t.join(u, ["a"], kind)
    yield "cross_join", t.crossJoin(u)
    yield "lateral_join", t.lateralJoin(spark.tvf.explode(t.a), how="left")
    yield "as_of_join", t._joinAsOf(
        u, "a", "b", on=["c"], how="left", tolerance=F.lit(5), allowExactMatches=False, direction="nearest"
    )
    yield "nearest_by_join", t.nearestByJoin(u, t.a - u.a, 3, "approx", "distance", joinType="leftouter")
    yield "group_by", t.groupBy(a).agg(F.sum(b).alias("s"))
    yield "group_by, all", t.agg(F.max(a))
    yield "group_by, count", t.groupBy("a").count()
    yield "rollup", t.rollup(a, b).agg(F.min(a))
    yield "cube", t.cube(a, b).agg(F.min(a))
    yield "grouping_sets", t.groupingSets([[a], [a, b], []], a, b).agg(F.min(a))
    yield "pivot", t.groupBy(a).pivot("b", ["x", "y"]).agg(F.avg(a))
    yield "pivot_all", t.groupBy(a).pivot("b").agg(F.avg(a))
    yield "unpivot", t.unpivot([a], [b], "k", "v")
    yield "unpivot_others", t.unpivot([a], None, "k", "v")
    yield "transpose", t.transpose()
    yield "transpose by", t.transpose(a)
    yield "na fill", t.na.fill("x", ["a", "b"])
    yield "na fill all", t.na.fill(1.5)
    yield "na fill each", t.na.fill({"a": 1.5, "b": "x"})
    yield "na drop any", t.na.drop()
    yield "na drop all", t.na.drop("all", subset=["a"])
    yield "na drop fewer", t.na.drop(thresh=2)
    yield "na replace", t.na.replace({"x": "y", "z": None}, subset=["b"])
    yield "crosstab", t.stat.crosstab("a", "b")
    yield "freq_items", t.stat.freqItems(["a"], 0.25)
    yield "sample_by", t.stat.sampleBy(a, {"x": 0.25, "y": 1.0}, 7)
    yield "describe", t.describe("a")
    yield "summary", t.summary("count", "75%")
    yield "with_watermark", t.withWatermark("a", "10 minutes")
    yield "observe", t.observe("seen", F.count(a).alias("n"))
    yield "tvf explode", spark.tvf.explode(F.array(F.lit("x")))
    yield "tvf posexplode_outer", spark.tvf.posexplode_outer(F.array(F.lit("x")))
    yield "tvf inline", spark.tvf.inline(a)
    yield "tvf json_tuple", spark.tvf.json_tuple(a, F.lit("k"))
    yield "tvf stack", spark.tvf.stack(F.lit(2), a, b)
    yield "tvf collations", spark.tvf.collations()
    yield "stream rate", spark.readStream.format("rate").option("rowsPerSecond", "5").load()
    yield "stream table", spark.readStream.table("t")
    yield "stream files", spark.readStream.schema("a INT").json("p")
    yield "subquery scalar", t.filter(a > u.select(F.max(a)).scalar())
    yield "subquery exists", t.filter(u.filter(u.a > 1).exists())
    yield "subquery in", t.filter(a.isin(u.select(a)))
    yield "subqueries", t.withColumn("both", (a > u.select(F.max(a)).scalar()) & ~u.exists()).select(t.a)


def columns():
    a, b = F.col("a"), F.col("b")
    yield "path", F.col("a.b")
    yield "star", F.col("*")
    yield "alias", a.alias("x")
    yield "alias with metadata", a.alias("x", metadata={"k": 1})
    yield "cast", a.cast("bigint")
    yield "try_cast", a.try_cast("bigint")
    yield "is_null", a.isNull()
    yield "is_not_null", a.isNotNull()
    yield "is_nan", a.isNaN()
    yield "substr", a.substr(F.lit("1"), F.lit("2"))
    yield "like", a.like("x%")
    yield "ilike", a.ilike("x%")
    yield "rlike", a.rlike("x.")
    yield "contains", a.contains(b)
    yield "startswith", a.startswith(b)
    yield "endswith", a.endswith(b)
    yield "eq_null_safe", a.eqNullSafe(b)
    yield "bitwise_and", a.bitwiseAND(b)
    yield "bitwise_or", a.bitwiseOR(b)
    yield "bitwise_xor", a.bitwiseXOR(b)
    yield "between", a.between(F.lit("x"), F.lit("y"))
    yield "isin", a.isin("x", "y")
    yield "with_field", a.withField("f", b)
    yield "drop_fields", a.dropFields("f", "g")
    yield "get_field", a.getField("f")
    yield "get_item", a.getItem(F.lit("k"))
    yield "asc", a.asc()
    yield "desc_nulls_last", a.desc_nulls_last()
    yield "when", F.when(a > b, F.lit("x")).when(a < b, F.lit("y")).otherwise(F.lit("z"))
    yield "compare", (a == b) & (a != b) | ~(a >= b) & (a <= b)
    yield "arithmetic", (a + b) * (a - b) / (a % b)
    yield "neg", -a
    window = Window.partitionBy(a).orderBy(b.desc())
    yield "over", F.row_number().over(window)
    yield "over rows", F.sum(a).over(window.rowsBetween(Window.unboundedPreceding, -1))
    yield "over range", F.sum(a).over(window.rangeBetween(Window.currentRow, Window.unboundedFollowing))
    yield "lambda", F.transform(a, lambda x: x + b)
    yield "literal int", F.lit(3)
    yield "literal long", F.lit(1 << 40)
    yield "literal double", F.lit(0.5)
    yield "literal text", F.lit("größe")
    yield "literal bool", F.lit(True)
    yield "literal bytes", F.lit(b"\x00\xff")
    yield "expr", F.expr("a + 1")
    yield "call", F.call_function("f", a)


def commands(spark):
    t, u = spark.table("t"), spark.table("u")
    a, b = F.col("a"), F.col("b")
    yield "view", lambda: t.createTempView("v")
    yield "view, replaced", lambda: t.createOrReplaceTempView("v")
    yield "view, global", lambda: t.createGlobalTempView("v")
    yield "view, global, replaced", lambda: t.createOrReplaceGlobalTempView("v")
    yield "write table", lambda: t.write.mode("overwrite").format("parquet").partitionBy("a").saveAsTable("w")
    yield "write buckets", lambda: t.write.bucketBy(4, "a").sortBy("b").saveAsTable("w")
    yield "write clusters", lambda: t.write.clusterBy("a").saveAsTable("w")
    yield "write into", lambda: t.write.insertInto("w")
    yield "write into, overwriting", lambda: t.write.insertInto("w", overwrite=True)
    yield "write files", lambda: t.write.option("k", "v").csv("p")
    yield "write jdbc", lambda: t.write.jdbc("jdbc:x", "d.t", mode="append", properties={"user": "me"})
    v2 = t.writeTo("c.w")
    yield "write_to append", lambda: v2.append()
    yield "write_to create", lambda: t.writeTo("c.w").using("parquet").tableProperty("k", "v").option("o", "1") \
        .partitionedBy(a, F.years(b)).create()
    yield "write_to replace", lambda: t.writeTo("c.w").replace()
    yield "write_to create_or_replace", lambda: t.writeTo("c.w").createOrReplace()
    yield "write_to overwrite", lambda: t.writeTo("c.w").overwrite(a > b)
    yield "write_to overwrite_partitions", lambda: t.writeTo("c.w").overwritePartitions()
    yield "merge", lambda: t.mergeInto("w", F.expr("w.a = t.a")).whenMatched(a > b).delete().whenMatched().updateAll() \
        .whenNotMatched().insertAll().whenNotMatchedBySource(b > a).update({"a": b}).withSchemaEvolution().merge()
    yield "merge, insert", lambda: t.mergeInto("w", F.expr("w.a = t.a")).whenNotMatched(a > b).insert({"a": b}).merge()
    yield "checkpoint", lambda: t.checkpoint()
    yield "local_checkpoint", lambda: t.localCheckpoint(False, StorageLevel.DISK_ONLY)
    yield "write_stream", lambda: spark.readStream.table("t").writeStream.format("console").outputMode("append") \
        .option("k", "v").queryName("q").trigger(processingTime="5 seconds").partitionBy("a").start()
    yield "write_stream to a table", lambda: spark.readStream.table("t").writeStream.trigger(availableNow=True).toTable("w")


class Captured(Exception):
    pass


def captured(client, call):
    """The command that a call would send."""
    kept = []

    def keep(command, *_args, **_kwargs):
        kept.append(command)
        raise Captured

    client.execute_command, client.execute_command_as_iterator = keep, keep
    try:
        call()
    except Captured:
        pass
    return kept[0]


# Differences that are meant.
MEANT = {
    "command merge": "the keys of assignments are exact names there, SQL text here",
    "command merge, insert": "the keys of assignments are exact names there, SQL text here",
    "frame col_regex": "the Apache client's column of a regular expression has no number of a plan",
    "frame na replace": "null has a type there, and none here",
    "frame read text": "PySpark sends the default of `wholetext`",
    **{f"function {call}": "each call draws a seed" for call in
       ("count_min_sketch 3", "rand 0", "randn 0", "randstr 1", "shuffle 1", "uniform 2", "uuid 0")},
    **{f"function tuple_union_{call}": "PySpark sends the function's own defaults" for call in
       ("agg_double 1", "agg_integer 1", "double 2", "integer 2", "theta_double 2", "theta_integer 2")},
    "frame with_metadata": "an alias within `with_columns` has no effect but its metadata, and is left out there",
}


def normal(message, ids):
    """The message without call sites, with defaults said, and plans and variables numbered as they occur."""
    for field, value in list(message.ListFields()):
        if field.name == "plan_id":
            setattr(message, field.name, ids.setdefault(value, len(ids)))
        elif field.name in ("origin", "source_info") or (field.name == "common" and message.DESCRIPTOR.name == "Expression"):
            message.ClearField(field.name)
        elif field.name == "schema" and value == "":
            message.ClearField(field.name)
        elif field.name == "metadata" and isinstance(value, str):
            message.metadata = json.dumps(json.loads(value))
        elif field.name == "name_parts":
            value[:] = [f"variable {ids.setdefault(part, len(ids))}" for part in value]
        elif field.message_type is None:
            continue
        elif field.message_type.GetOptions().map_entry:
            if field.message_type.fields_by_name["value"].message_type is not None:
                for key in sorted(value):
                    normal(value[key], ids)
        elif hasattr(value, "ListFields"):
            normal(value, ids)
        else:
            for part in value:
                normal(part, ids)
    if message.DESCRIPTOR.name == "WriteOperation" and message.mode == proto.WriteOperation.SAVE_MODE_UNSPECIFIED:
        into = message.table.save_method == proto.WriteOperation.SaveTable.TABLE_SAVE_METHOD_INSERT_INTO
        modes = proto.WriteOperation
        message.mode = modes.SAVE_MODE_APPEND if into else modes.SAVE_MODE_ERROR_IF_EXISTS
    return message


def main(remote, path):
    spark = SparkSession.builder.remote(remote).create()
    theirs = {}
    for name, frame in frames(spark):
        theirs[f"frame {name}"] = frame._plan.plan(spark.client)
    for name, column in columns():
        theirs[f"column {name}"] = column._expr.to_plan(spark.client)
    for name, call in commands(spark):
        theirs[f"command {name}"] = captured(spark.client, call)
    with open(path) as file:
        ours = {name: bytes.fromhex(message) for name, message in json.load(file).items()}
    for key in ours:
        if key.startswith("function "):
            _, name, count = key.split()
            call = getattr(F, name)(*[F.col(column) for column in "abcdefghij"[: int(count)]])
            theirs[key] = call._expr.to_plan(spark.client)
    failed = [f"{name}: only {'here' if name in theirs else 'there'}" for name in sorted(set(theirs) ^ set(ours))]
    equal = 0
    for name in sorted(set(theirs) & set(ours)):
        expected = theirs[name]
        found = normal(type(expected).FromString(ours[name]), {})
        expected = normal(type(expected).FromString(expected.SerializeToString()), {})
        equal += expected == found
        if expected == found and name in MEANT:
            failed.append(f"{name}: equal, although it is listed as different")
        elif expected != found and name not in MEANT:
            texts = [text_format.MessageToString(message).splitlines() for message in (expected, found)]
            failed += [f"== {name}", *difflib.unified_diff(*texts, "PySpark", "tinderbox", lineterm="", n=4)]
    print(*failed, f"{equal} of {len(set(theirs) | set(ours))} plans are equal, {len(MEANT)} differ as listed", sep="\n")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main(*sys.argv[1:])
