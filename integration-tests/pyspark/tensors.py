"""Reads tensor columns as any PySpark user would, by what the columns' metadata says; prints one JSON object."""

import json
import struct
import sys

from pyspark.sql import SparkSession

FORMATS = {"float32": "f", "uint8": "B", "int8": "b", "int16": "h", "int32": "i", "uint32": "I", "int64": "q", "float64": "d"}


def flat(value):
    return [number for part in value for number in flat(part)] if isinstance(value, (list, tuple)) else [value]


def numbers(cell, tensor):
    if cell is None:
        return None
    if isinstance(cell, (bytes, bytearray)):
        width = struct.calcsize(FORMATS[tensor["dtype"]])
        return list(struct.unpack(f"<{len(cell) // width}{FORMATS[tensor['dtype']]}", cell))
    return flat(list(cell["values"]) if hasattr(cell, "asDict") else cell)


spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
frame = spark.read.parquet(sys.argv[1]).orderBy("id")
rows = frame.collect()
columns = {}
for field in frame.schema.fields:
    tensor = field.metadata.get("tensor")
    if tensor is not None:
        cells = [numbers(row[field.name], tensor) for row in rows]
        # The bits of each number in single precision, so that NaN and negative zero can be told.
        bits = [None if cell is None else [struct.unpack("<I", struct.pack("<f", n))[0] for n in cell] for cell in cells]
        columns[field.name] = {"tensor": tensor, "bits": bits}
spark.stop()
print(json.dumps(columns))
