"""PySpark's side of the stream benchmark: collects a table with toArrow() and prints one JSON line."""

import json
import os
import resource
import sys
import time
import warnings

warnings.filterwarnings("ignore")

import pyarrow.compute as pc
from pyspark.sql import SparkSession

spark = SparkSession.builder.remote(os.environ["SPARK_REMOTE"]).getOrCreate()
table = spark.table(sys.argv[1])
started = time.perf_counter()
arrow = table.toArrow()
total = pc.sum(pc.list_element(arrow.column(0), 0).cast("double")).as_py()
seconds = time.perf_counter() - started
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"seconds": seconds, "rows": arrow.num_rows, "sum": total, "peak_mib": peak}))
