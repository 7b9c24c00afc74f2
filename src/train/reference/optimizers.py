"""Eight steps of every optimizer on a fixed quadratic: `python optimizers.py > optimizers.json`.

PyTorch 2.15; LAMB, which PyTorch lacks, from algorithm 2 of You et al., "Large batch optimization for deep learning:
training BERT in 76 minutes", ICLR 2020, in double precision. Weights decay, biases do not.
"""

import json

import numpy as np
import torch

RATE, BETAS, EPS, DECAY = 0.05, (0.8, 0.95), 1e-6, 0.1
torch.manual_seed(2)
starts, targets = [[torch.randn(3, 4), torch.randn(4)] for _ in range(2)]


def flat(tensors):
    return [float(x) for t in tensors for x in np.asarray(t).ravel()]


def pytorch(make, clip=lambda tensors: None):
    thetas = [t.clone().requires_grad_() for t in starts]
    groups = [{"params": [thetas[0]], "weight_decay": DECAY}, {"params": [thetas[1]], "weight_decay": 0.0}]
    optimizer, steps = make(groups), []
    for _ in range(8):
        optimizer.zero_grad()
        sum(((theta - target) ** 2).sum() for theta, target in zip(thetas, targets)).backward()
        clip(thetas)
        optimizer.step()
        steps.append(flat(t.detach() for t in thetas))
    return steps


def lamb():
    thetas = [t.double().numpy().copy() for t in starts]
    moments, steps = [(0.0, 0.0)] * 2, []
    for step in range(1, 9):
        for i, (target, decay) in enumerate(zip(targets, (DECAY, 0.0))):
            gradient = 2 * (thetas[i] - target.double().numpy())
            m = BETAS[0] * moments[i][0] + (1 - BETAS[0]) * gradient
            v = BETAS[1] * moments[i][1] + (1 - BETAS[1]) * gradient**2
            moments[i] = (m, v)
            ratio = (m / (1 - BETAS[0] ** step)) / (np.sqrt(v / (1 - BETAS[1] ** step)) + EPS)
            update = ratio + decay * thetas[i]
            thetas[i] = thetas[i] - RATE * np.linalg.norm(thetas[i]) / np.linalg.norm(update) * update
        steps.append(flat(thetas))
    return steps


adam = dict(lr=RATE, betas=BETAS, eps=EPS)
optim, clip = torch.optim, torch.nn.utils
print(
    json.dumps(
        {
            "starts": [flat([t]) for t in starts],
            "targets": [flat([t]) for t in targets],
            "steps": {
                "adamw": pytorch(lambda p: optim.AdamW(p, **adam)),
                "adam": pytorch(lambda p: optim.Adam(p, **adam)),
                "sgd": pytorch(lambda p: optim.SGD(p, lr=RATE)),
                "momentum": pytorch(lambda p: optim.SGD(p, lr=RATE, momentum=0.9)),
                "nesterov": pytorch(lambda p: optim.SGD(p, lr=RATE, momentum=0.9, nesterov=True)),
                "adagrad": pytorch(lambda p: optim.Adagrad(p, lr=RATE, eps=EPS, initial_accumulator_value=0.1)),
                "rmsprop": pytorch(lambda p: optim.RMSprop(p, lr=RATE, alpha=0.9, eps=EPS)),
                "rmsprop_momentum": pytorch(lambda p: optim.RMSprop(p, lr=RATE, alpha=0.9, eps=EPS, momentum=0.7)),
                "lamb": lamb(),
                "by_norm": pytorch(lambda p: optim.SGD(p, lr=RATE), lambda t: clip.clip_grad_norm_(t, 1.5)),
                "by_value": pytorch(lambda p: optim.SGD(p, lr=RATE), lambda t: clip.clip_grad_value_(t, 0.75)),
            },
        }
    )
)
