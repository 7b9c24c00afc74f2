"""PySpark's side: collects a table with toArrow() and prints one JSON line."""

import json
import os
import resource
import sys
import time
import warnings

warnings.filterwarnings("ignore")

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import SparkSession

spark = SparkSession.builder.remote(os.environ["SPARK_REMOTE"]).getOrCreate()
table = spark.table(sys.argv[1])
started = time.perf_counter()
arrow = table.toArrow()
cells = arrow.column("x")
if pa.types.is_binary(cells.type):
    total = float(pc.sum(pc.binary_length(cells)).as_py())
else:
    total = pc.sum(pc.list_element(cells, 0).cast("double")).as_py()
seconds = time.perf_counter() - started
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"seconds": seconds, "rows": arrow.num_rows, "sum": total, "peak_mib": peak}))
