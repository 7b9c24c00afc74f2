"""Models of a model table (docs/model-table.md) as PyTorch modules.

    import pytorch_model
    net, manifest = pytorch_model.load(spark, "lab.models", "iris")
    with torch.inference_mode():
        scores = net(torch.tensor([[0.1, -0.3, 0.2, 0.7]]))

It needs PySpark, with or without Connect, and PyTorch. A network takes rows of the manifest's `network.inputs`, as what the
stages before the network give (`manifest["columns"]["features"]`), and gives the scores before softmax, sigmoid or the
scaling of `task`: `predict` applies those. Sequences of any length are padded to the longest of a batch, with their lengths
as the second argument. Parameters have the names that they have in the table, so `state_dict` is the table's content.
"""

import hashlib
import json
import math

import torch
from torch import nn
from torch.nn import functional as F


def load(spark, table, model, version=None, part=None):
    """The network of a model's newest whole version, or of `version`, in evaluation mode, and its manifest. `part` names one
    of its further networks, such as `encoder0`.

    Raises LookupError where there is no such version or none that is whole, ValueError for a damaged one.
    """
    rows = spark.table(table).where("kind <> 'tag'")
    rows = rows.where(rows["model"] == model)
    if version is not None:
        rows = rows.where(rows["version"] == version)
    manifests = rows.where("kind = 'manifest'").orderBy("version", ascending=False).collect()
    if not manifests:
        raise LookupError(f"table {table} has no model `{model}`" + (f" of version {version}" if version else ""))
    faults = []
    for row in manifests:
        try:
            manifest = json.loads(verified(row.json.encode(), row, "the manifest"))
            if manifest["format"] != 1:
                raise ValueError(f"format {manifest['format']}, which this script does not know")
            tensors = rows.where(rows["version"] == row.version).where("kind = 'tensor'")
            tensors = tensors.where(tensors["created_at"] == row.created_at)
            return network(manifest, tensor_dict(tensors.collect(), manifest), part), manifest
        except ValueError as fault:
            if version is not None:
                raise ValueError(f"model `{model}` version {row.version} of table {table}: {fault}") from None
            faults.append(f"version {row.version}: {fault}")
    raise LookupError(f"no version of model `{model}` in table {table} is whole: {'; '.join(faults)}")


def verified(data, row, what):
    if hashlib.sha256(data).hexdigest() != row.sha256:
        raise ValueError(f"the checksum of {what} does not agree")
    return data


def tensor_dict(rows, manifest):
    """The tensors by name."""
    parts = {}
    for row in rows:
        parts.setdefault(row.name, {})[row.chunk] = verified(bytes(row.data), row, f"tensor `{row.name}`, part {row.chunk},")
    found, whole = {}, hashlib.sha256()
    for entry in sorted(manifest["tensors"], key=lambda entry: entry["name"]):
        name, shape = entry["name"], entry["shape"]
        data = b"".join(parts.get(name, {})[i] for i in sorted(parts.get(name, {})))
        if len(data) != 4 * math.prod(shape):
            raise ValueError(f"tensor `{name}` has {len(data)} bytes, not {4 * math.prod(shape)}: parts are missing")
        whole.update(f"{name} {entry['dtype']} {shape}\n".encode() + data)
        values = torch.frombuffer(bytearray(data), dtype=torch.float32) if data else torch.empty(0)
        found[name] = values.reshape(shape)
    if whole.hexdigest() != manifest["checksum"]:
        raise ValueError("the checksum over all tensors does not agree")
    return found


def network(manifest, tensors, part=None):
    """The network of a manifest with its tensors."""
    if part is None:
        description, prefix = manifest["network"], ""
        tensors = {name: values for name, values in tensors.items() if "/" not in name}
    else:
        number = int(part.removeprefix("encoder"))
        description, prefix = manifest["encoders"][number]["network"], part + "/"
        tensors = {name[len(prefix):]: values for name, values in tensors.items() if name.startswith(prefix)}
    net = Network(description)
    odd = net.load_state_dict(tensors, strict=False)
    # PyTorch counts the batches that a norm has seen; the table does not.
    missing = [name for name in odd.missing_keys if not name.endswith("num_batches_tracked")]
    if missing or odd.unexpected_keys:
        raise ValueError(f"tensors that the network lacks: {odd.unexpected_keys}; that the table lacks: {missing}")
    return net.eval()


def predict(net, manifest, rows, lengths=None):
    """What the outputs mean: the chance of each class or label, or the values."""
    with torch.inference_mode():
        scores = net(rows, lengths).double()
    task = manifest.get("task") or {"kind": "classes"}
    if task["kind"] == "classes":
        return scores.softmax(1)
    if task["kind"] == "labels":
        return scores.sigmoid()
    link = task.get("link", "identity")
    scores = scores.exp() if link == "exp" else scores.sigmoid() if link == "sigmoid" else scores
    scaling = task.get("scaling")
    return scores * torch.tensor(scaling["std"]) + torch.tensor(scaling["mean"]) if scaling else scores


# Layers, made of a description and the shape of one row. Those over sequences take lengths too.

ACTIVATIONS = {
    "relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "elu": nn.ELU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid, "softplus": nn.Softplus,
}


class Embedding(nn.Embedding):
    def forward(self, x):
        return super().forward(x.long())


class Categories(nn.Module):
    """Leading columns of ids, each through a table of its own, before the other columns."""

    def __init__(self, shapes):
        super().__init__()
        for i, shape in enumerate(shapes):
            self.register_parameter(f"weight_{i}", nn.Parameter(torch.empty(shape)))
        self.count = len(shapes)

    def forward(self, x):
        parts = [getattr(self, f"weight_{i}")[x[:, i].long()] for i in range(self.count)]
        return torch.cat([*parts, x[:, self.count:]], 1)


class GlobalPool(nn.Module):
    def __init__(self, largest):
        super().__init__()
        self.largest = largest

    def forward(self, x):
        x = x.flatten(2)
        return x.amax(2) if self.largest else x.mean(2)


class Tied(nn.Module):
    """A linear layer or a transposed convolution with an earlier layer's weight."""

    def __init__(self, layer, of, bias):
        super().__init__()
        self.layer, self.of = layer, [of]
        self.bias = nn.Parameter(torch.empty(bias))

    def forward(self, x):
        weight, settings = self.of[0].weight, self.layer
        if settings["kind"] == "linear":
            return F.linear(x, weight.T, self.bias)
        return F.conv_transpose2d(
            x, weight, self.bias, stride=settings.get("stride", 1), padding=settings.get("padding", 0),
            output_padding=settings.get("output_padding", 0),
        )


def readout(kind, x, lengths):
    if kind == "all":
        return x
    if lengths is None:
        lengths = torch.full((len(x),), x.shape[1])
    if kind == "last":
        return x[torch.arange(len(x)), lengths - 1]
    inside = (torch.arange(x.shape[1]) < lengths[:, None])[:, :, None]
    if kind == "mean":
        return (x * inside).sum(1) / lengths[:, None]
    return x.masked_fill(~inside, -math.inf).amax(1)


class Recurrent(nn.Module):
    """A cell of PyTorch's, and which of its outputs are taken. The parameters' names are the cell's own."""

    def __init__(self, cell, output):
        super().__init__()
        self.cell, self.output = [cell], output
        for name, value in cell.named_parameters():
            self.register_parameter(name, value)

    def forward(self, x, lengths=None):
        cell = self.cell[0]
        packed = x
        if lengths is not None:
            packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, state = cell(packed)
        if lengths is not None:
            y, _ = nn.utils.rnn.pad_packed_sequence(y, batch_first=True, total_length=x.shape[1])
        if self.output == "last":
            state = state[0] if isinstance(state, tuple) else state
            return torch.cat(list(state[-2:] if cell.bidirectional else state[-1:]), 1)
        return readout(self.output, y, lengths)


class Attention(nn.Module):
    """An encoder layer as in PyTorch's `TransformerEncoderLayer`, norms last."""

    def __init__(self, settings, inputs):
        super().__init__()
        width = settings.get("width") or inputs
        self.settings = settings
        if settings.get("width") is not None:
            self.project = nn.Linear(inputs, width)
        self.self_attn = nn.MultiheadAttention(width, settings["num_heads"], batch_first=True)
        self.norm1 = nn.LayerNorm(width)
        if settings.get("feed_forward") is not None:
            self.linear1, self.linear2 = nn.Linear(width, settings["feed_forward"]), nn.Linear(settings["feed_forward"], width)
            self.norm2 = nn.LayerNorm(width)

    def forward(self, x, lengths=None):
        if hasattr(self, "project"):
            x = self.project(x)
        _, time, width = x.shape
        if self.settings.get("positions"):
            at = torch.arange(width)
            angles = torch.arange(time)[:, None] / 10000.0 ** ((at - at % 2) / width)
            x = x + torch.where(at % 2 == 0, angles.sin(), angles.cos())
        outside = None if lengths is None else torch.arange(time) >= lengths[:, None]
        y = self.norm1(x + self.self_attn(x, x, x, key_padding_mask=outside, need_weights=False)[0])
        if hasattr(self, "linear1"):
            y = self.norm2(y + self.linear2(self.linear1(y).relu()))
        return readout(self.settings.get("output", "all"), y, lengths)


SEQUENCES = (Recurrent, Attention)


class Layers(nn.Module):
    """Layers one after another, named by their positions."""

    def __init__(self, layers, shape, root=None):
        super().__init__()
        self.kinds = []
        for position, layer in enumerate(layers):
            made, shape = make(layer, shape, root or self)
            self.add_module(str(position), made)
            self.kinds.append(layer["kind"])
        self.shape = shape

    def forward(self, x, lengths=None):
        for position, kind in enumerate(self.kinds):
            layer = getattr(self, str(position))
            if lengths is None:
                x = layer(x)
            elif isinstance(layer, SEQUENCES):
                x, whole = layer(x, lengths), layer.output if isinstance(layer, Recurrent) else layer.settings.get("output", "all")
                lengths = lengths if whole == "all" else None
            else:
                # Each step by itself, as if it were a row.
                y = layer(x.flatten(0, 1))
                y = y.flatten(1) if kind == "embedding" else y
                x = y.unflatten(0, x.shape[:2])
        return x


class Residual(Layers):
    def __init__(self, settings, shape, root):
        super().__init__(settings["layers"], shape, root)
        self.shortcut = Layers(settings.get("shortcut", []), shape, root)

    def forward(self, x, lengths=None):
        return super().forward(x, lengths) + self.shortcut(x, lengths)


class Join(nn.Module):
    """Branches side by side, each over columns of its own."""

    def __init__(self, branches, root):
        super().__init__()
        self.parts, width = [], 0
        for number, branch in enumerate(branches):
            shape = dims_of(branch["inputs"])
            layers = Layers(branch.get("layers", []), shape, root)
            self.add_module(str(number), layers)
            self.parts.append((branch["columns"], shape))
            width += math.prod(layers.shape)
        self.shape = [width]

    def forward(self, x):
        x, made = x.flatten(1), []
        for number, (columns, shape) in enumerate(self.parts):
            own = torch.cat([x[:, part["begin"]:part["begin"] + part["count"]] for part in columns], 1)
            made.append(getattr(self, str(number))(own.reshape(len(x), *shape)).flatten(1))
        return torch.cat(made, 1)


class Network(Layers):
    """A network of a manifest's `network`: rows of any shape that has as many values, and lengths where they vary."""

    def __init__(self, description):
        inputs = description["inputs"]
        self.dims = dims_of(inputs)
        self.ragged = isinstance(inputs, list) and None in inputs
        super().__init__(description["layers"], [None, *self.dims] if self.ragged else self.dims)

    def forward(self, x, lengths=None):
        if not self.ragged:
            x = x.reshape(len(x), *self.dims)
        return super().forward(x, lengths if self.ragged else None)


def dims_of(shape):
    return [shape] if isinstance(shape, int) else [side for side in shape if side is not None]


def make(layer, shape, root):
    """A layer, and the shape of its rows."""
    kind, steps = layer["kind"], shape[:1] if shape[0] is None else []
    inner = shape[len(steps):]
    if kind == "residual":
        made = Residual(layer, shape, root)
        return made, made.shape
    if kind == "join":
        made = Join(layer["branches"], root)
        return made, made.shape
    if kind in ("lstm", "gru", "rnn", "rnn_relu"):
        cell = {"lstm": nn.LSTM, "gru": nn.GRU}.get(kind, nn.RNN)
        more = {"nonlinearity": "relu"} if kind == "rnn_relu" else {}
        both = bool(layer.get("bidirectional"))
        cell = cell(shape[-1], layer["hidden_size"], layer.get("num_layers", 1), batch_first=True, bidirectional=both, **more)
        output = layer.get("output", "last")
        width = [layer["hidden_size"] * (1 + both)]
        return Recurrent(cell, output), [shape[0], *width] if output == "all" else width
    if kind == "attention":
        made = Attention(layer, shape[-1])
        width = [layer.get("width") or shape[-1]]
        return made, [shape[0], *width] if layer.get("output", "all") == "all" else width
    made, after = single(layer, inner, root)
    if kind == "embedding" and steps:
        after = [math.prod(after)]
    return made, [*steps, *after]


def single(layer, shape, root):
    """A layer that looks at one row, or one step."""
    kind, size = layer["kind"], math.prod(shape)
    if kind == "linear":
        return nn.Linear(layer["in_features"], layer["out_features"]), [*shape[:-1], layer["out_features"]]
    if kind == "activation":
        return ACTIVATIONS[layer["function"]](), shape
    if kind == "dropout":
        return nn.Dropout(layer.get("p", 0.5)), shape
    if kind == "flatten":
        return nn.Flatten(), [size]
    if kind == "unflatten":
        return nn.Unflatten(1, layer["dims"]), layer["dims"]
    if kind == "embedding":
        return Embedding(layer["num_embeddings"], layer["embedding_dim"]), [*shape, layer["embedding_dim"]]
    if kind == "categories":
        tables = [(table["num_embeddings"], table["embedding_dim"]) for table in layer["tables"]]
        return Categories(tables), [size - len(tables) + sum(dims for _, dims in tables)]
    if kind in ("conv1d", "conv2d"):
        make = nn.Conv1d if kind == "conv1d" else nn.Conv2d
        made = make(
            shape[0], layer["out_channels"], layer["kernel_size"], layer.get("stride", 1), layer.get("padding", 0),
            layer.get("dilation", 1), layer.get("groups", 1),
        )
        return made, traced(made, shape)
    if kind == "conv_transpose2d":
        made = nn.ConvTranspose2d(
            shape[0], layer["out_channels"], layer["kernel_size"], layer.get("stride", 1), layer.get("padding", 0),
            layer.get("output_padding", 0),
        )
        return made, traced(made, shape)
    if kind in ("max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d"):
        make = {"max_pool1d": nn.MaxPool1d, "max_pool2d": nn.MaxPool2d, "avg_pool1d": nn.AvgPool1d, "avg_pool2d": nn.AvgPool2d}
        made = make[kind](layer["kernel_size"], layer.get("stride"), layer.get("padding", 0))
        return made, traced(made, shape)
    if kind in ("global_max_pool", "global_avg_pool"):
        return GlobalPool(kind == "global_max_pool"), shape[:1]
    if kind == "batch_norm":
        norms = {1: nn.BatchNorm1d, 2: nn.BatchNorm1d, 3: nn.BatchNorm2d}
        return norms[len(shape)](shape[0], eps=layer["eps"]), shape
    if kind == "layer_norm":
        return nn.LayerNorm(shape, eps=layer["eps"]), shape
    if kind == "tied":
        of, inner = getattr(root, str(layer["of"])), layer["layer"]
        if inner["kind"] == "linear":
            return Tied(inner, of, of.in_features), [of.in_features]
        made = Tied(inner, of, of.in_channels)
        return made, traced(made, shape)
    raise ValueError(f"a layer of kind `{kind}`, which PyTorch does not have")


def traced(layer, shape):
    """The shape that a layer gives of rows of a shape."""
    with torch.no_grad():
        return list(layer.eval()(torch.zeros(1, *shape)).shape[1:])
