"""PySpark's side of the pipeline benchmark: fits the same stages over Connect and prints one JSON line."""

import json
import os
import sys
import time
import warnings

warnings.filterwarnings("ignore")

from pyspark.ml import Pipeline
from pyspark.ml.feature import Imputer, StandardScaler, StringIndexer, VectorAssembler
from pyspark.sql import SparkSession

spark = SparkSession.builder.remote(os.environ["SPARK_REMOTE"]).getOrCreate()
table, numbers = spark.table(sys.argv[1]), range(int(sys.argv[2]))
x, y = [f"x{i}" for i in numbers], [f"y{i}" for i in numbers]
started = time.perf_counter()
model = Pipeline(
    stages=[
        StringIndexer(inputCol="word", outputCol="label"),
        Imputer(inputCols=x, outputCols=y),
        VectorAssembler(inputCols=y, outputCol="raw"),
        StandardScaler(inputCol="raw", outputCol="features", withMean=True),
    ]
).fit(table)
seconds = time.perf_counter() - started
spread = float(sum(model.stages[3].std.toArray()))
print(json.dumps({"seconds": seconds, "labels": model.stages[0].labels, "spread": spread}))
sys.stdout.flush()
# At a usual end PySpark asks the server to delete its models when gRPC may be gone already, and waits for ever.
os._exit(0)
