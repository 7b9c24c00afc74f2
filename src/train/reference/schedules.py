"""The learning rate of every step in PyTorch 2.15, 6 epochs of 4 steps: `python schedules.py > schedules.json`."""

import json

import torch
from torch.optim import lr_scheduler as schedulers

RATE, EPOCHS, STEPS = 0.1, 6, 4
LOSSES = [1.0, 0.9, 0.95, 0.9, 0.92, 0.91]


def rates(make, every_step, metric=False):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=RATE)
    scheduler, seen = make(optimizer), []
    for epoch in range(EPOCHS):
        for step in range(STEPS):
            seen.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            last = epoch == EPOCHS - 1 and step == STEPS - 1
            if every_step and not last:
                scheduler.step()
        if not every_step:
            scheduler.step(LOSSES[epoch]) if metric else scheduler.step()
    return seen


total = EPOCHS * STEPS
print(
    json.dumps(
        {
            "step": rates(lambda o: schedulers.StepLR(o, step_size=2, gamma=0.3), False),
            "exponential": rates(lambda o: schedulers.ExponentialLR(o, gamma=0.8), False),
            "cosine": rates(lambda o: schedulers.CosineAnnealingLR(o, T_max=total, eta_min=0.01), True),
            "linear": rates(lambda o: schedulers.LinearLR(o, 1.0, 0.2, total_iters=total), True),
            "one_cycle": rates(
                lambda o: schedulers.OneCycleLR(o, max_lr=RATE, total_steps=total, pct_start=0.25, cycle_momentum=False),
                True,
            ),
            "plateau": rates(
                lambda o: schedulers.ReduceLROnPlateau(o, factor=0.5, patience=1, threshold=1e-4, min_lr=0.03),
                False,
                metric=True,
            ),
        }
    )
)
