"""Small restricted Boltzmann machines summed over all their states by NumPy: `python rbm.py > rbm.json`.

Conditionals, free energies, log Z and the exact gradient of the mean log-likelihood, in double precision.
"""

import itertools
import json

import numpy as np

V, H, ROWS = 5, 4, 6
random = np.random.default_rng(3)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def states(n):
    return np.array(list(itertools.product([0.0, 1.0], repeat=n)))


def case(units):
    w = random.normal(0, 0.8, (H, V)).round(3)
    b = random.normal(0, 0.5, V).round(3)
    c = random.normal(0, 0.5, H).round(3)
    if units == "bernoulli":
        x = random.integers(0, 2, (ROWS, V)).astype(float)
    else:
        x = random.normal(0, 1, (ROWS, V)).round(3)
    up = sigmoid(x @ w.T + c)
    down = up @ w + b
    softplus = np.logaddexp(0, x @ w.T + c).sum(1)
    hidden = states(H)
    u = hidden @ w
    if units == "bernoulli":
        free = -(x @ b) - softplus
        score = hidden @ c + np.logaddexp(0, u + b).sum(1)
        means, down = sigmoid(u + b), sigmoid(down)
    else:
        free = 0.5 * ((x - b) ** 2).sum(1) - softplus
        score = hidden @ c + V / 2 * np.log(2 * np.pi) + u @ b + 0.5 * (u**2).sum(1)
        means = u + b
    log_z = np.logaddexp.reduce(score)
    p = np.exp(score - log_z)
    gradient = {
        "weight": up.T @ x / ROWS - (hidden * p[:, None]).T @ means,
        "visible_bias": x.mean(0) - p @ means,
        "hidden_bias": up.mean(0) - p @ hidden,
    }
    return {
        "units": units,
        "weight": w.flatten().tolist(),
        "visible_bias": b.tolist(),
        "hidden_bias": c.tolist(),
        "x": x.flatten().tolist(),
        "hidden": up.flatten().tolist(),
        "reconstruction": down.flatten().tolist(),
        "free_energy": free.tolist(),
        "log_partition": float(log_z),
        "gradient": {k: v.flatten().tolist() for k, v in gradient.items()},
    }


print(json.dumps([case("bernoulli"), case("gaussian")]))
