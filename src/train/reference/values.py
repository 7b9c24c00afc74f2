"""Losses over values and their gradients in PyTorch 2.15: `python values.py > values.json`."""

import json

import torch
from torch.nn import functional as F

torch.manual_seed(2)
rows, width = 5, 3
weights = torch.tensor([1.0, 0.5, 2.0, 0.0, 1.5]).unsqueeze(1)


def pinball(outputs, target, q):
    error = target - outputs
    return torch.maximum(q * error, (q - 1) * error)


cases = []
for loss, each, kind in (
    ("squared_error", lambda o, t: F.mse_loss(o, t, reduction="none"), "numbers"),
    ("absolute_error", lambda o, t: F.l1_loss(o, t, reduction="none"), "numbers"),
    ({"huber": {"delta": 0.75}}, lambda o, t: F.huber_loss(o, t, delta=0.75, reduction="none"), "numbers"),
    ({"quantile": {"quantile": 0.9}}, lambda o, t: pinball(o, t, 0.9), "numbers"),
    ("poisson", lambda o, t: F.poisson_nll_loss(o, t, reduction="none"), "counts"),
    ("binary_cross_entropy", lambda o, t: F.binary_cross_entropy_with_logits(o, t, reduction="none"), "chances"),
):
    outputs = (2 * torch.randn(rows, width)).requires_grad_()
    target = {
        "numbers": 2 * torch.randn(rows, width),
        "counts": torch.poisson(torch.full((rows, width), 2.0)),
        "chances": (torch.rand(rows, width) > 0.5).float(),
    }[kind]
    mean = (weights * each(outputs, target)).sum() / (width * weights.sum())
    mean.backward()
    cases.append(
        {
            "loss": loss,
            "outputs": outputs.flatten().tolist(),
            "target": target.flatten().tolist(),
            "weights": weights.flatten().tolist(),
            "mean": mean.item(),
            "gradient": outputs.grad.flatten().tolist(),
        }
    )
print(json.dumps(cases))
