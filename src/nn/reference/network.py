"""Forward and backward of small networks in PyTorch 2.15: `python network.py > network.json`."""

import json

import torch
from torch import nn

torch.manual_seed(0)
FUNCTIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}

cases = []
for name, function in FUNCTIONS.items():
    net = nn.Sequential(nn.Linear(4, 5), function(), nn.Linear(5, 3))
    x = torch.randn(6, 4)
    y = net(x)
    (y * y).sum().backward()
    cases.append(
        {
            "function": name,
            "x": x.tolist(),
            "y": y.tolist(),
            "weights": {k: v.flatten().tolist() for k, v in net.named_parameters()},
            "gradients": {k: v.grad.flatten().tolist() for k, v in net.named_parameters()},
        }
    )
print(json.dumps(cases))
