"""Scores rows of four doubles as the Iris pipeline does, with PyTorch: columns to a matrix, scaled, through the network, to
chances, classes and names. Prints microseconds a row.

    rows_peer.py ROWS CALLS
"""

import sys
import time

import numpy as np
import torch

rows, calls = int(sys.argv[1]), int(sys.argv[2])
torch.set_num_threads(1)
columns = [np.random.default_rng(i).random(rows) for i in range(4)]
mean, std = np.random.default_rng(9).random((2, 4)) + 0.5
names = np.array(["setosa", "versicolor", "virginica"], dtype=object)
net = torch.nn.Sequential(
    torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3)
)


@torch.inference_mode()
def score():
    x = (np.stack(columns, axis=1) - mean) / std
    raw = net(torch.from_numpy(x.astype(np.float32)))
    chances = torch.softmax(raw, 1)
    predicted = chances.argmax(1).numpy()
    return raw.numpy(), chances.numpy(), predicted, names[predicted]


for _ in range(calls // 10):
    score()
start = time.perf_counter()
for _ in range(calls):
    score()
print((time.perf_counter() - start) * 1e6 / (calls * rows))
