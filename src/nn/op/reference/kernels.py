"""Writes kernels.json: small networks of one or two layers in PyTorch, their outputs and gradients.

python3 kernels.py > kernels.json   (PyTorch 2.15, CPU)
"""

import json

import torch
from torch import nn

torch.manual_seed(11)
ACTIVATIONS = {
    "relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "elu": nn.ELU, "gelu": nn.GELU, "silu": nn.SiLU,
    "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "softplus": nn.Softplus,
}


class Residual(nn.Module):
    """Layers, and what goes into them, or what a shortcut makes of it, added to what comes out."""

    def __init__(self, layers, shortcut, shape):
        super().__init__()
        self.layers = len(layers)
        for i, layer in enumerate(sequence(layers, shape)):
            self.add_module(str(i), layer)
        self.shortcut = sequence(shortcut, shape)

    def forward(self, x):
        y = x
        for i in range(self.layers):
            y = getattr(self, str(i))(y)
        return y + self.shortcut(x)


def sequence(layers, shape):
    net, width = nn.Sequential(), list(shape)
    for layer in layers:
        net.append(module(layer, width).eval())
        width = list(net(torch.zeros(2, *shape)).shape[1:])
    return net


def module(layer, shape):
    kind = layer["kind"]
    if kind == "residual":
        return Residual(layer["layers"], layer.get("shortcut", []), shape)
    window = {k: layer.get(k, d) for k, d in (("stride", 1), ("padding", 0), ("dilation", 1), ("groups", 1))}
    pool = dict(kernel_size=layer.get("kernel_size"), stride=layer.get("stride"), padding=layer.get("padding", 0))
    if kind == "linear":
        return nn.Linear(layer["in_features"], layer["out_features"])
    if kind == "activation":
        return ACTIVATIONS[layer["function"]]()
    if kind in ("conv1d", "conv2d"):
        return getattr(nn, kind.replace("conv", "Conv"))(shape[0], layer["out_channels"], layer["kernel_size"], **window)
    if kind == "conv_transpose2d":
        more = {"output_padding": layer.get("output_padding", 0), "stride": window["stride"], "padding": window["padding"]}
        return nn.ConvTranspose2d(shape[0], layer["out_channels"], layer["kernel_size"], **more)
    if kind.startswith("max_pool"):
        return getattr(nn, "MaxPool" + kind[-2:])(**pool)
    if kind.startswith("avg_pool"):
        return getattr(nn, "AvgPool" + kind[-2:])(**pool)
    if kind == "global_max_pool":
        return nn.Sequential(nn.AdaptiveMaxPool1d(1) if len(shape) == 2 else nn.AdaptiveMaxPool2d(1), nn.Flatten())
    if kind == "global_avg_pool":
        return nn.Sequential(nn.AdaptiveAvgPool1d(1) if len(shape) == 2 else nn.AdaptiveAvgPool2d(1), nn.Flatten())
    if kind == "batch_norm":
        return (nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d)(shape[0])
    if kind == "layer_norm":
        return nn.LayerNorm(shape)
    return nn.Flatten()


def numbers(tensor):
    return [float(f"{v:.7g}") for v in tensor.detach().flatten().tolist()]


def case(name, rows, shape, layers, train=False):
    layers = [*layers, {"kind": "flatten"}]
    x = (torch.randn(rows, *shape) * 100).round() / 100
    x.requires_grad_()
    net, width = nn.Sequential(), list(shape)
    for layer in layers:
        net.append(module(layer, width))
        net.eval()
        width = list(net(x).shape[1:])
    for parameter in net.parameters():
        parameter.data = (parameter.data + 0.3 * torch.randn_like(parameter) * 10).round() / 10
    for key, buffer in net.named_buffers():
        if key.endswith(("running_mean", "running_var")):
            buffer.copy_((torch.rand_like(buffer) * 100 + 20).round() / 100)
    weights = {k: {"shape": list(v.shape), "values": numbers(v)} for k, v in net.state_dict().items() if v.dtype == torch.float32}
    net.train(train)
    y = net(x)
    upstream = (torch.randn_like(y) * 10).round() / 10
    (y * upstream).sum().backward()
    after = {k: numbers(v) for k, v in net.named_buffers() if k.endswith(("running_mean", "running_var"))}
    return {
        "name": name, "rows": rows, "train": train,
        "spec": {"inputs": shape[0] if len(shape) == 1 else shape, "outputs": width[0], "layers": layers},
        "weights": weights, "x": numbers(x), "y": numbers(y), "upstream": numbers(upstream), "dx": numbers(x.grad),
        "gradients": {k: numbers(v.grad) for k, v in net.named_parameters()}, "statistics": after,
    }


def conv(dims, outputs, kernel, **settings):
    return {"kind": f"conv{dims}d", "out_channels": outputs, "kernel_size": kernel, **settings}


def act(function):
    return {"kind": "activation", "function": function}


def pool(kind, kernel, **settings):
    return {"kind": kind, "kernel_size": kernel, **settings}


LINEAR = {"kind": "linear", "in_features": 4, "out_features": 5}
cases = [case(f"linear, {f}", 3, [4], [LINEAR, act(f)]) for f in ACTIVATIONS]
cases += [case(f"{f} alone", 2, [5], [act(f)]) for f in ACTIVATIONS]
cases += [
    case("linear, one row, one value", 1, [1], [{"kind": "linear", "in_features": 1, "out_features": 1}]),
    case("conv2d", 2, [2, 5, 6], [conv(2, 3, 3), act("relu")]),
    case("conv2d, nine rows", 9, [1, 4, 3], [conv(2, 2, 2), act("tanh")]),
    case("conv2d, kernel as large as the input", 1, [1, 4, 4], [conv(2, 2, 4)]),
    case("conv2d, stride beyond the kernel", 2, [1, 7, 8], [conv(2, 2, 2, stride=3)]),
    case("conv2d, padding, stride", 2, [2, 5, 4], [conv(2, 2, 3, padding=2, stride=2), act("leaky_relu")]),
    case("conv2d, dilation", 2, [1, 7, 6], [conv(2, 2, 3, dilation=2, padding=1)]),
    case("conv2d, groups", 2, [4, 4, 5], [conv(2, 6, 3, groups=2, padding=1), act("elu")]),
    case("conv2d, depthwise", 2, [3, 4, 4], [conv(2, 3, 2, groups=3, stride=2)]),
    case("conv2d, 1×1", 2, [3, 3, 2], [conv(2, 2, 1), act("sigmoid")]),
    case("conv2d, padding wider than the kernel", 1, [1, 2, 2], [conv(2, 1, 2, padding=3, stride=2)]),
    case("conv2d twice", 2, [1, 6, 6], [conv(2, 2, 3, padding=1), act("gelu"), conv(2, 3, 3, stride=2)]),
    case("conv1d", 3, [2, 7], [conv(1, 3, 3), act("relu")]),
    case("conv1d, everything", 2, [4, 9], [conv(1, 4, 3, stride=2, padding=2, dilation=2, groups=2)]),
    case("max_pool2d", 2, [2, 4, 6], [pool("max_pool2d", 2)]),
    case("max_pool2d, odd sides", 2, [1, 5, 7], [pool("max_pool2d", 2)]),
    case("max_pool2d, overlapping, padded", 2, [2, 5, 6], [pool("max_pool2d", 3, stride=2, padding=1)]),
    case("max_pool2d, stride beyond the kernel", 2, [1, 7, 7], [pool("max_pool2d", 2, stride=3)]),
    case("max_pool1d", 2, [3, 7], [pool("max_pool1d", 2)]),
    case("max_pool1d, padded", 2, [1, 6], [pool("max_pool1d", 3, padding=1)]),
    case("avg_pool2d", 2, [2, 4, 6], [pool("avg_pool2d", 2)]),
    case("avg_pool2d, overlapping, padded", 2, [1, 5, 6], [pool("avg_pool2d", 3, stride=2, padding=1)]),
    case("avg_pool1d", 2, [3, 7], [pool("avg_pool1d", 3)]),
    case("global_max_pool", 2, [3, 4, 5], [{"kind": "global_max_pool"}]),
    case("global_avg_pool", 2, [3, 4, 5], [{"kind": "global_avg_pool"}]),
    case("global_avg_pool over a length", 2, [3, 5], [{"kind": "global_avg_pool"}]),
    case("layer_norm", 3, [6], [{"kind": "layer_norm"}]),
    case("layer_norm over planes", 2, [2, 3, 2], [{"kind": "layer_norm"}]),
]
for train in (False, True):
    way = "training" if train else "prediction"
    cases += [
        case(f"batch_norm, {way}", 4, [5], [{"kind": "batch_norm"}], train),
        case(f"batch_norm over a length, {way}", 3, [2, 4], [{"kind": "batch_norm"}], train),
        case(f"batch_norm over planes, {way}", 3, [2, 3, 2], [conv(2, 2, 2), {"kind": "batch_norm"}, act("relu")], train),
    ]
for train in (False, True):
    way = "training" if train else "prediction"
    norm = {"kind": "batch_norm"}
    block = [conv(2, 3, 3, stride=2, padding=1), norm, act("relu"), conv(2, 3, 3, padding=1), norm]
    linear = {"kind": "linear", "in_features": 4, "out_features": 3}
    cases += [
        case(f"residual, convolutions, {way}", 3, [2, 5, 6],
             [{"kind": "residual", "layers": block, "shortcut": [conv(2, 3, 1, stride=2)]}, act("relu")], train),
        case(f"residual, normalised on both sides, {way}", 4, [4],
             [{"kind": "residual", "layers": [linear, norm], "shortcut": [norm, linear, norm]}, norm], train),
    ]
square = {"kind": "linear", "in_features": 4, "out_features": 4}
cases += [
    case("residual, nothing beside it", 3, [4], [{"kind": "residual", "layers": [square, act("tanh"), square, act("sigmoid")]}]),
    case("residual within residual", 2, [4], [square, {"kind": "residual", "layers": [
        {"kind": "residual", "layers": [square, act("gelu")]}, {"kind": "residual", "layers": [act("silu")]}, square]}, act("elu")]),
    case("residual, flattened beside it", 2, [1, 2, 2], [{"kind": "residual", "layers": [{"kind": "flatten"}, square, act("relu"), LINEAR],
         "shortcut": [{"kind": "flatten"}, LINEAR]}]),
]
up = lambda outputs, kernel, **settings: {"kind": "conv_transpose2d", "out_channels": outputs, "kernel_size": kernel, **settings}
cases += [
    case("conv_transpose2d", 2, [2, 3, 4], [up(3, 3), act("relu")]),
    case("conv_transpose2d, nine rows", 9, [1, 2, 3], [up(2, 2, stride=2), act("tanh")]),
    case("conv_transpose2d, everything", 2, [3, 3, 2], [up(2, 3, stride=3, padding=2, output_padding=1), act("silu")]),
    case("conv_transpose2d, 1×1", 2, [2, 2, 3], [up(4, 1), act("sigmoid")]),
    case("conv_transpose2d behind conv2d", 2, [1, 6, 5], [conv(2, 2, 3, stride=2, padding=1), act("elu"), up(1, 3, stride=2, padding=1)]),
]
print("[\n" + ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases) + "\n]")
