"""PySpark's side of the client's benchmark; prints one JSON line."""

import json
import os
import resource
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

warnings.filterwarnings("ignore")

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import SparkSession

task, way = sys.argv[1:]
spark = SparkSession.builder.remote(os.environ["SPARK_REMOTE"]).getOrCreate()
spark.range(1).toArrow()
small = spark.range(1_000_000).selectExpr("id", "id / 7D AS half", "concat('row ', id) AS name")
started = time.perf_counter()
if task == "rows" and way == "rows":
    rows = small.collect()
    total = sum(row.id for row in rows) / 1e6
    seconds = time.perf_counter() - started
elif task == "rows":
    total = pc.sum(small.toArrow().column("id")).as_py() / 1e6
    seconds = time.perf_counter() - started
elif task == "latency":
    times = []
    for i in range(int(os.environ.get("QUERIES", "1000"))):
        started = time.perf_counter()
        spark.range(i, i + 1).toArrow()
        times.append(time.perf_counter() - started)
    times.sort()
    seconds, total = times[(len(times) - 1) // 2], times[int((len(times) - 1) * 0.99)] * 1e3
elif task == "concurrent":
    with ThreadPoolExecutor(100) as pool:
        sums = pool.map(lambda i: pc.sum(spark.range(i, i + 1000).toArrow().column("id")).as_py() / 1e6, range(100))
    total = sum(sums)
    seconds = time.perf_counter() - started
else:
    batches = int(os.environ.get("BATCHES", "4"))
    ids = np.arange(batches * 1_000_000, dtype=np.int64)
    table = pa.table({"id": ids, "half": ids / 7.0})
    started = time.perf_counter()
    total = spark.createDataFrame(table).count() / 1e6
    seconds = time.perf_counter() - started
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"seconds": seconds, "rows": 0, "sum": total, "peak_mib": peak}))
