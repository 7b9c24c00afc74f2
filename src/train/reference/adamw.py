"""Ten steps of AdamW in PyTorch 2.15 on a fixed quadratic: `python adamw.py > adamw.json`."""

import json

import torch

torch.manual_seed(2)
start, target = torch.randn(3, 4), torch.randn(3, 4)
theta = start.clone().requires_grad_()
optimizer = torch.optim.AdamW([theta], lr=0.05, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1)
steps = []
for _ in range(10):
    optimizer.zero_grad()
    ((theta - target) ** 2).sum().backward()
    optimizer.step()
    steps.append(theta.detach().flatten().tolist())
print(json.dumps({"start": start.flatten().tolist(), "target": target.flatten().tolist(), "steps": steps}))
