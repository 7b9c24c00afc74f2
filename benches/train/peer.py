"""The peer: the same nets in PyTorch on the same threads. `peer.py NET THREADS` prints one line of JSON."""

import json
import resource
import statistics
import sys
import time

import torch
from torch import nn

torch.manual_seed(7)
name, threads = sys.argv[1], int(sys.argv[2])
torch.set_num_threads(threads)


def mlp(*sizes):
    layers = [l for a, b in zip(sizes, sizes[1:]) for l in (nn.Linear(a, b), nn.ReLU())]
    return layers[:-1]


class Last(nn.Module):
    """The scores of a recurrent layer's last hidden state."""

    def __init__(self, cell):
        super().__init__()
        self.cell, self.linear = cell, nn.Linear(128, 10)

    def forward(self, x):
        return self.linear(self.cell(x)[0][:, -1])


if name == "mlp":
    net, rows, shape = nn.Sequential(*mlp(784, 512, 256, 10)), 128, (784,)
elif name == "cnn":
    net = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), *mlp(3136, 128, 10),
    )
    rows, shape = 64, (1, 28, 28)
elif name in ("lstm", "gru"):
    net, rows, shape = Last((nn.LSTM if name == "lstm" else nn.GRU)(32, 128, batch_first=True)), 64, (50, 32)
else:
    net, rows, shape = nn.Sequential(*mlp(784, 256, 64, 32, 64, 256, 784), nn.Sigmoid()), 128, (784,)

x = torch.rand(rows, *shape)
target = x if name == "autoencoder" else torch.arange(rows) % 10
loss = nn.MSELoss() if name == "autoencoder" else nn.CrossEntropyLoss()
optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)


def step():
    optimizer.zero_grad(set_to_none=True)
    value = loss(net(x), target)
    value.backward()
    optimizer.step()


rows_of_an_epoch = 8064
everything = torch.rand(rows_of_an_epoch, *shape)
labels = torch.arange(rows_of_an_epoch) % 10


def epoch():
    order = torch.randperm(rows_of_an_epoch)
    for begin in range(0, rows_of_an_epoch, rows):
        own = order[begin:begin + rows]
        batch = everything[own]
        optimizer.zero_grad(set_to_none=True)
        wanted = batch if name == "autoencoder" else labels[own]
        # tinderbox's epoch has no sigmoid either.
        loss((net[:-1] if name == "autoencoder" else net)(batch), wanted).backward()
        optimizer.step()


def forward():
    with torch.inference_mode():
        net(x)


def median_ms(f, seconds):
    for _ in range(2 if f is epoch else 5):
        f()
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 5:
        start = time.perf_counter()
        f()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


reading = {"forward_ms": median_ms(forward, 0.5), "step_ms": median_ms(step, 1.0)}
if shape == (784,):
    reading["epoch_ms"] = median_ms(epoch, 1.0)
reading["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
reading["what"] = f"PyTorch {torch.__version__}"
print(json.dumps(reading))
