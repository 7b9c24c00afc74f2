# Computes the ONNX files of a folder with onnxruntime: the largest difference from what is expected, a line each.
import json
import os
import sys

import numpy as np
import onnxruntime


def features(case):
    dims, rows = case["dims"], case["features"]
    if not case["ragged"]:
        return {"features": np.array(rows, np.float32).reshape(len(rows), *dims)}
    rows = [np.array(row, np.float32).reshape(-1, *dims) for row in rows]
    lengths = [len(row) for row in rows]
    padded = np.zeros((len(rows), max(lengths), *dims), np.float32)
    for i, row in enumerate(rows):
        padded[i, :len(row)] = row
    return {"features": padded, "lengths": np.array(lengths, np.int64)}


def difference(folder, case):
    session = onnxruntime.InferenceSession(os.path.join(folder, case["file"]), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    largest = 0.0
    for name, found in zip(names, session.run(names, features(case))):
        expected = case["outputs"][name]
        if name == "predictedLabel":
            assert found.tolist() == expected, name
            continue
        expected = np.array(expected, np.float64).reshape(found.shape)
        largest = max(largest, float(np.abs(found - expected).max()))
    # No rows are no rows; but over recurrent layers of none the runtime itself ends the process.
    if len(case["dims"]) != 2 and not case["ragged"]:
        none = {name: value[:0] for name, value in features(case).items()}
        assert all(len(output) == 0 for output in session.run(names, none))
    return largest


folder = sys.argv[1]
for case in json.load(open(os.path.join(folder, "cases.json"))):
    try:
        print("%r" % difference(folder, case))
    except Exception as error:
        print("%s: %s" % (case["name"], str(error).replace("\n", " ")), file=sys.stderr)
        print("nan")
