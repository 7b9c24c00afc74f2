"""Pillow's side: decodes and resizes a folder's images on one core, as tensors of [3, 224, 224] from 0 to 1."""

import io
import json
import pathlib
import sys
import time

import numpy as np
from PIL import Image

files = [path.read_bytes() for path in sorted(pathlib.Path(sys.argv[1]).iterdir())]
started = time.perf_counter()
total, count = 0.0, 0
for start in range(0, len(files), 64):
    group = files[start : start + 64]
    batch = np.empty((len(group), 3, 224, 224), dtype=np.float32)
    for row, data in enumerate(group):
        image = Image.open(io.BytesIO(data)).convert("RGB").resize((224, 224), Image.Resampling.BILINEAR)
        batch[row] = np.asarray(image).transpose(2, 0, 1)
    batch /= 255.0
    values = batch.reshape(-1)[::1009]
    total, count = total + float(values.sum(dtype=np.float64)), count + len(values)
seconds = time.perf_counter() - started
print(json.dumps({"seconds": seconds, "rows": len(files), "sum": total / count}))
