# Rebuilds the networks of a model table in PyTorch, by scripts/pytorch_model.py: the largest difference from what is
# expected, a line each. `pytorch.py FOLDER REMOTE TABLE`
import json
import os
import sys

import numpy as np
import torch
from pyspark.sql import SparkSession

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../scripts"))
import pytorch_model


def features(case):
    dims, rows = case["dims"], case["features"]
    if not case["ragged"]:
        return torch.tensor(rows, dtype=torch.float32).reshape(len(rows), *dims), None
    rows = [torch.tensor(row, dtype=torch.float32).reshape(-1, *dims) for row in rows]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), torch.tensor([len(row) for row in rows])


def difference(spark, table, case):
    net, manifest = pytorch_model.load(spark, table, case["file"])
    outputs = case["outputs"]
    name = next(name for name in ("probability", "again", "prediction") if name in outputs)
    found = pytorch_model.predict(net, manifest, *features(case)).numpy()
    expected = np.array(outputs[name], np.float64).reshape(found.shape)
    # Values of a million are as good as single precision is.
    return float((np.abs(found - expected) / np.maximum(1, np.abs(expected))).max())


folder, remote, table = sys.argv[1:]
spark = SparkSession.builder.remote(remote).getOrCreate()
for case in json.load(open(os.path.join(folder, "cases.json"))):
    try:
        print("%r" % difference(spark, table, case))
    except Exception as error:
        print("%s: %s: %s" % (case["name"], type(error).__name__, str(error).replace("\n", " ")), file=sys.stderr)
        print("nan")
