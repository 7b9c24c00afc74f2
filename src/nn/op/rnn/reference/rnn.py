"""Outputs and gradients of PyTorch 2.15's recurrent layers on packed sequences: `python rnn.py > rnn.json`."""

import json

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

torch.manual_seed(0)

# kind, inputs, hidden, layers, bidirectional, lengths, padded to
CASES = [
    ("lstm", 3, 4, 1, False, [5, 2, 4, 1, 3], 5),
    ("lstm", 3, 4, 2, True, [5, 2, 4, 1, 3, 5, 5, 2, 1, 4], 6),
    ("lstm", 1, 1, 1, False, [1], 1),
    ("lstm", 2, 17, 1, True, [1, 1, 1], 1),
    ("gru", 3, 4, 1, False, [5, 2, 4, 1, 3], 5),
    ("gru", 3, 4, 2, True, [5, 2, 4, 1, 3, 5, 5, 2, 1, 4], 7),
    ("gru", 1, 1, 1, False, [1], 1),
    ("gru", 2, 17, 1, True, [3], 3),
    ("tanh", 3, 5, 2, True, [5, 2, 4, 1, 3], 5),
    ("relu", 3, 5, 1, False, [5, 2, 4, 1, 3], 5),
]


def build(kind, inputs, hidden, layers, both):
    settings = dict(num_layers=layers, bidirectional=both, batch_first=True)
    if kind == "lstm":
        return nn.LSTM(inputs, hidden, **settings)
    if kind == "gru":
        return nn.GRU(inputs, hidden, **settings)
    return nn.RNN(inputs, hidden, nonlinearity=kind, **settings)


def read_out(name, y, h_n, lengths, both):
    if name == "all":
        return y
    if name == "last":
        return torch.cat([h_n[-2], h_n[-1]], 1) if both else h_n[-1]
    rows = [y[i, :n] for i, n in enumerate(lengths)]
    return torch.stack([r.mean(0) if name == "mean" else r.max(0).values for r in rows])


cases = []
for kind, inputs, hidden, layers, both, lengths, time in CASES:
    net = build(kind, inputs, hidden, layers, both)
    x = torch.randn(len(lengths), time, inputs, requires_grad=True)
    factors = torch.randn(len(lengths), time, 2 * hidden)
    case = dict(kind=kind, inputs=inputs, hidden=hidden, layers=layers, bidirectional=both, lengths=lengths, time=time)
    case |= dict(x=x.flatten().tolist(), factors=factors.flatten().tolist(), readouts={})
    case["weights"] = {k: v.flatten().tolist() for k, v in net.named_parameters()}
    for name in ["all", "last", "mean", "max"]:
        net.zero_grad()
        x.grad = None
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, state = net(packed)
        y, _ = pad_packed_sequence(y, batch_first=True, total_length=time)
        out = read_out(name, y, state[0] if kind == "lstm" else state, lengths, both)
        (out.flatten() * factors.flatten()[: out.numel()]).sum().backward()
        gradients = {k: v.grad.flatten().tolist() for k, v in net.named_parameters()}
        case["readouts"][name] = dict(y=out.flatten().tolist(), x=x.grad.flatten().tolist(), weights=gradients)
    cases.append(case)
rounded = json.loads(json.dumps(cases), parse_float=lambda v: float("%.7g" % float(v)))
print(json.dumps(rounded, separators=(",", ":")))
