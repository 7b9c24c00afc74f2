"""PySpark's side of the benchmark of many columns: assembles and trains over Connect and prints the seconds."""

import os
import sys
import time
import warnings

warnings.filterwarnings("ignore")

from pyspark.ml import Pipeline
from pyspark.ml.classification import MultilayerPerceptronClassifier
from pyspark.ml.feature import VectorAssembler
from pyspark.sql import SparkSession

spark = SparkSession.builder.remote(os.environ["SPARK_REMOTE"]).getOrCreate()
table, columns = spark.table(sys.argv[1]), int(sys.argv[2])
started = time.perf_counter()
assembler = VectorAssembler(inputCols=[f"x{i}" for i in range(columns)], outputCol="features")
network = MultilayerPerceptronClassifier(layers=[columns, 16, 2], maxIter=2, seed=1)
Pipeline(stages=[assembler, network]).fit(table)
print(time.perf_counter() - started)
sys.stdout.flush()
# At a usual end PySpark asks the server to delete its models when gRPC may be gone already, and waits for ever.
os._exit(0)
