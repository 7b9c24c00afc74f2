"""PySpark's side of the scoring benchmark: from table to scored table, by predict_batch_udf with PyTorch or by mapInArrow with
NumPy; prints the seconds."""

import os
import sys
import time
import warnings

warnings.filterwarnings("ignore")

from pyspark.ml.functions import predict_batch_udf
from pyspark.sql import SparkSession
from pyspark.sql.functions import array
from pyspark.sql.types import ArrayType, DoubleType, FloatType, StructField, StructType

way, source, target, width = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
spark = SparkSession.builder.remote(os.environ["SPARK_REMOTE"]).getOrCreate()
names = [f"x{i}" for i in range(width)]
table = spark.table(source)


def torch_predict():
    import torch

    layers = [torch.nn.Linear(width, 64), torch.nn.ReLU(), torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 3)]
    network = torch.nn.Sequential(*layers).eval()

    def predict(rows):
        with torch.no_grad():
            return torch.softmax(network(torch.from_numpy(rows)), 1).numpy()

    return predict


def numpy_predict(batches):
    import numpy as np
    import pyarrow as pa

    draw = np.random.default_rng(1)
    sizes = [width, 64, 32, 3]
    layers = [(draw.normal(size=pair).astype(np.float32), np.zeros(pair[1], np.float32)) for pair in zip(sizes, sizes[1:])]
    for batch in batches:
        x = np.column_stack([batch.column(name).to_numpy() for name in names])
        for place, (weight, bias) in enumerate(layers):
            x = x @ weight + bias
            x = np.maximum(x, 0) if place < 2 else x
        x = np.exp(x - x.max(axis=1, keepdims=True))
        x /= x.sum(axis=1, keepdims=True)
        offsets = pa.array(np.arange(len(x) + 1, dtype=np.int32) * np.int32(3))
        lists = pa.ListArray.from_arrays(offsets, pa.array(x.reshape(-1)))
        classes = pa.array(x.argmax(axis=1).astype(np.float64))
        yield pa.RecordBatch.from_arrays([*batch.columns, lists, classes], [*batch.schema.names, "probability", "prediction"])


def run():
    if way == "torch":
        score = predict_batch_udf(torch_predict, return_type=ArrayType(FloatType()), batch_size=8192, input_tensor_shapes=[[width]])
        scored = table.withColumn("probability", score(array(*names)))
    else:
        added = [StructField("probability", ArrayType(FloatType())), StructField("prediction", DoubleType())]
        scored = table.mapInArrow(numpy_predict, StructType([*table.schema.fields, *added]))
    scored.write.mode("overwrite").saveAsTable(target)


started = time.perf_counter()
run()
print(time.perf_counter() - started)
