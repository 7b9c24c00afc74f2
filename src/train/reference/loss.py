"""Cross-entropy and its gradient in PyTorch 2.15: `python loss.py > loss.json`."""

import json

import torch
from torch.nn.functional import cross_entropy

torch.manual_seed(1)
cases = []
for class_weights in (None, [0.5, 2.0, 1.0, 0.25]):
    for smoothing in (0.0, 0.1):
        logits = (5 * torch.randn(6, 4)).requires_grad_()
        labels = torch.tensor([0, 3, 1, 1, 2, 0])
        weight = None if class_weights is None else torch.tensor(class_weights)
        loss = cross_entropy(logits, labels, weight=weight, label_smoothing=smoothing)
        loss.backward()
        cases.append(
            {
                "logits": logits.tolist(),
                "labels": labels.tolist(),
                "class_weights": class_weights,
                "smoothing": smoothing,
                "loss": loss.item(),
                "gradient": logits.grad.tolist(),
            }
        )
print(json.dumps(cases))
