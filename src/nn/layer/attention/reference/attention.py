"""Writes attention.json: blocks of self-attention over sequences of several lengths, from PyTorch's modules.

python3 attention.py > attention.json   (PyTorch 2.15, CPU)
"""

import json

import torch
from torch import nn

torch.manual_seed(5)


class Block(nn.Module):
    """What `nn.TransformerEncoderLayer` computes without dropout, put together from its parts."""

    def __init__(self, inputs, num_heads, width=None, positions=False, feed_forward=None, output="all"):
        super().__init__()
        size = width or inputs
        if width:
            self.project = nn.Linear(inputs, size)
        self.self_attn = nn.MultiheadAttention(size, num_heads, batch_first=True)
        self.norm1 = nn.LayerNorm(size)
        if feed_forward:
            self.linear1, self.linear2 = nn.Linear(size, feed_forward), nn.Linear(feed_forward, size)
            self.norm2 = nn.LayerNorm(size)
        self.size, self.width, self.positions, self.feed_forward, self.output = size, width, positions, feed_forward, output

    def forward(self, x, lengths):
        time = x.shape[1]
        behind = torch.arange(time)[None, :] >= lengths[:, None]
        if self.width:
            x = self.project(x)
        if self.positions:
            i = torch.arange(self.size)
            angle = torch.arange(time, dtype=torch.float64)[:, None] / 10000.0 ** ((i - i % 2) / self.size)[None, :].double()
            x = x + torch.where((i % 2 == 0)[None, :], angle.sin(), angle.cos()).float()
        y = self.norm1(x + self.self_attn(x, x, x, key_padding_mask=behind, need_weights=False)[0])
        if self.feed_forward:
            y = self.norm2(y + self.linear2(torch.relu(self.linear1(y))))
        has = ~behind[:, :, None]
        if self.output == "mean":
            return (y * has).sum(1) / lengths[:, None]
        if self.output == "max":
            return y.masked_fill(~has, -torch.inf).max(1).values
        if self.output == "last":
            return y[torch.arange(len(lengths)), lengths - 1]
        return y * has


def numbers(tensor):
    return [float(f"{v:.7g}") for v in tensor.detach().flatten().tolist()]


def case(inputs, lengths, time, **settings):
    block = Block(inputs, **settings)
    for parameter in block.parameters():
        parameter.data = (10 * parameter.data + 3 * torch.randn_like(parameter)).round() / 10
    x = ((torch.randn(len(lengths), time, inputs) * 100).round() / 100).requires_grad_()
    lengths = torch.tensor(lengths)
    y = block(x, lengths)
    upstream = (torch.randn_like(y) * 10).round() / 10
    if settings.get("output", "all") == "all":
        upstream = upstream * (torch.arange(time)[None, :] < lengths[:, None])[:, :, None]
    (y * upstream).sum().backward()
    return {
        "settings": settings, "inputs": inputs, "time": time, "lengths": lengths.tolist(),
        "weights": {k: numbers(v) for k, v in block.state_dict().items()},
        "x": numbers(x), "y": numbers(y), "upstream": numbers(upstream), "dx": numbers(x.grad),
        "gradients": {k: numbers(v.grad) for k, v in block.named_parameters()},
    }


cases = [
    case(4, [3], 3, num_heads=1),
    case(6, [2, 5, 1], 5, num_heads=3, output="mean"),
    case(4, [4, 1, 3, 4], 4, num_heads=2, feed_forward=5, positions=True),
    case(3, [2, 6, 4], 6, num_heads=2, width=4, positions=True, feed_forward=6, output="last"),
    case(3, [7, 7], 7, num_heads=1, width=5, feed_forward=3, output="max"),
    case(4, [5, 2], 6, num_heads=4, output="last"),
]
print("[\n" + ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases) + "\n]")
