# A network over numpy, as a function of Arrow columns. `make` takes the description that mod.rs writes.
import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

F32 = np.float32


# Activations.

def sigmoid(x):
    with np.errstate(over="ignore"):
        return (1 / (1 + np.exp(-x))).astype(x.dtype)


def erf(x):
    # Abramowitz and Stegun 7.1.26, to 1.5e-7.
    sign, x = np.sign(x), np.abs(x).astype(np.float64)
    t = 1 / (1 + 0.3275911 * x)
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return (sign * (1 - series * np.exp(-x * x))).astype(F32)


ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "leaky_relu": lambda x: np.where(x > 0, x, x * F32(0.01)),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "gelu": lambda x: x * F32(0.5) * (1 + erf(x * F32(math.sqrt(0.5)))),
    "silu": lambda x: x * sigmoid(x),
    "tanh": np.tanh,
    "sigmoid": sigmoid,
    "softplus": lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
}


# Layers: settings, parameters by name, rows (rows, ...), lengths of sequences (rows, time, ...) or None.

def linear(settings, own, x, lengths):
    return x @ own["weight"].T + own["bias"]


def activation(settings, own, x, lengths):
    return ACTIVATIONS[settings["function"]](x)


def flatten(settings, own, x, lengths):
    return x.reshape(len(x), math.prod(x.shape[1:]))


def unflatten(settings, own, x, lengths):
    return x.reshape(len(x), *settings["dims"])


def embedding(settings, own, x, lengths):
    return own["weight"][x.astype(np.int64)]


def categories(settings, own, x, lengths):
    count = len(settings["tables"])
    ids = x[:, :count].astype(np.int64)
    return np.concatenate([own["weight_%d" % i][ids[:, i]] for i in range(count)] + [x[:, count:]], axis=1)


def windows(x, kernel, stride, dilation):
    # (rows, channels, places..., kernel...)
    axes = tuple(range(2, x.ndim))
    span = dilation * (kernel - 1) + 1
    view = np.lib.stride_tricks.sliding_window_view(x, (span,) * len(axes), axis=axes)
    return view[(slice(None),) * 2 + (slice(None, None, stride),) * len(axes) + (slice(None, None, dilation),) * len(axes)]


def padded(x, padding, value):
    if padding == 0:
        return x
    return np.pad(x, [(0, 0)] * 2 + [(padding, padding)] * (x.ndim - 2), constant_values=value)


def conv(settings, own, x, lengths):
    weight, axes, groups = own["weight"], x.ndim - 2, settings.get("groups", 1)
    view = windows(padded(x, settings.get("padding", 0), 0), settings["kernel_size"], settings.get("stride", 1), settings.get("dilation", 1))
    places = view.shape[2:2 + axes]
    channels, outputs, parts = weight.shape[1], weight.shape[0] // groups, []
    for group in range(groups):
        part = view[:, group * channels:(group + 1) * channels]
        part = np.moveaxis(part, 1, 1 + axes).reshape(-1, weight[0].size)
        part = part @ weight[group * outputs:(group + 1) * outputs].reshape(outputs, -1).T
        parts.append(part.reshape(len(x), *places, outputs))
    return np.moveaxis(np.concatenate(parts, axis=-1) + own["bias"], -1, 1)


def conv_transpose2d(settings, own, x, lengths):
    kernel, stride, padding = settings["kernel_size"], settings.get("stride", 1), settings.get("padding", 0)
    extra, (rows, _, height, width) = settings.get("output_padding", 0), x.shape
    whole = [(side - 1) * stride + kernel + extra for side in (height, width)]
    y = np.zeros((rows, *whole, own["weight"].shape[1]), F32)
    x = np.moveaxis(x, 1, -1)
    for i in range(kernel):
        for j in range(kernel):
            y[:, i:i + height * stride:stride, j:j + width * stride:stride] += x @ own["weight"][:, :, i, j]
    y = y[:, padding:whole[0] - padding, padding:whole[1] - padding] + own["bias"]
    return np.moveaxis(y, -1, 1)


def pool(reduce, outside):
    def apply(settings, own, x, lengths):
        kernel = settings["kernel_size"]
        view = windows(padded(x, settings.get("padding", 0), outside), kernel, settings.get("stride") or kernel, 1)
        return reduce(view, axis=tuple(range(x.ndim, view.ndim)))
    return apply


max_pool, avg_pool = pool(np.max, -np.finfo(F32).max), pool(np.mean, 0)


def global_max_pool(settings, own, x, lengths):
    return x.max(axis=tuple(range(2, x.ndim)))


def global_avg_pool(settings, own, x, lengths):
    return x.mean(axis=tuple(range(2, x.ndim)))


def batch_norm(settings, own, x, lengths):
    scale = own["weight"] / np.sqrt(own["running_var"] + F32(settings["eps"]))
    shift = own["bias"] - own["running_mean"] * scale
    shape = (1, -1) + (1,) * (x.ndim - 2)
    return x * scale.reshape(shape) + shift.reshape(shape)


def normal(x, axes, eps):
    centred = x - x.mean(axis=axes, keepdims=True)
    return centred / np.sqrt((centred * centred).mean(axis=axes, keepdims=True) + F32(eps))


def layer_norm(settings, own, x, lengths):
    return normal(x, tuple(range(1, x.ndim)), settings["eps"]) * own["weight"] + own["bias"]


def lstm(own, x, before, state):
    i, f, g, o = np.split(x + before @ own["weight_hh"].T + own["bias_hh"], 4, axis=1)
    now = sigmoid(f) * state + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(now), now


def gru(own, x, before, state):
    (r, z, n), (hr, hz, hn) = np.split(x, 3, axis=1), np.split(before @ own["weight_hh"].T + own["bias_hh"], 3, axis=1)
    keep, new = sigmoid(z + hz), np.tanh(n + sigmoid(r + hr) * hn)
    return new + keep * (before - new), state


def simple(function):
    return lambda own, x, before, state: (function(x + before @ own["weight_hh"].T + own["bias_hh"]), state)


def direction(cell, own, x, lengths, backwards):
    hidden, outputs = own["weight_hh"].shape[1], []
    before = state = np.zeros((len(x), hidden), F32)
    x = x @ own["weight_ih"].T + own["bias_ih"]
    for step in range(x.shape[1]):
        at = x.shape[1] - 1 - step if backwards else step
        now, memory = cell(own, x[:, at], before, state)
        if lengths is not None:
            # Nothing changes after a sequence's end, and nothing comes out.
            inside = (at < lengths)[:, None]
            now, memory = np.where(inside, now, before), np.where(inside, memory, state)
            outputs.append(now * inside)
        else:
            outputs.append(now)
        before, state = now, memory
    return np.stack(outputs[::-1] if backwards else outputs, axis=1), before


def recurrent(cell):
    def apply(settings, own, x, lengths):
        for layer in range(settings.get("num_layers", 1)):
            sides, last = [], []
            for suffix in ["", "_reverse"] if settings.get("bidirectional") else [""]:
                end = "_l%d%s" % (layer, suffix)
                weights = {name: own[name + end] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
                outputs, state = direction(cell, weights, x, lengths, suffix != "")
                sides.append(outputs)
                last.append(state)
            x = np.concatenate(sides, axis=2)
        readout = settings.get("output", "last")
        return np.concatenate(last, axis=1) if readout == "last" else read(readout, x, lengths)
    return apply


def read(readout, x, lengths):
    if readout == "all":
        return x
    rows, time = np.arange(len(x)), x.shape[1]
    if lengths is None:
        lengths = np.full(len(x), time)
    if readout == "last":
        return x[rows, lengths - 1]
    inside = (np.arange(time) < lengths[:, None])[:, :, None]
    if readout == "mean":
        return (x * inside).sum(axis=1) / lengths[:, None].astype(F32)
    return np.where(inside, x, -np.inf).max(axis=1).astype(F32)


def attention(settings, own, x, lengths):
    def project(x, name):
        return x @ own[name + "weight"].T + own[name + "bias"]

    def norm(x, name):
        return normal(x, (2,), 1e-5) * own[name + ".weight"] + own[name + ".bias"]

    if settings.get("width") is not None:
        x = project(x, "project.")
    rows, time, width = x.shape
    if settings.get("positions"):
        at = np.arange(width)
        angles = np.arange(time)[:, None] / 10000.0 ** ((at - at % 2) / width)
        x = x + np.where(at % 2 == 0, np.sin(angles), np.cos(angles)).astype(F32)
    heads = settings["num_heads"]
    parts = project(x, "self_attn.in_proj_").reshape(rows, time, 3, heads, width // heads).transpose(2, 0, 3, 1, 4)
    scores = parts[0] @ parts[1].transpose(0, 1, 3, 2) / F32(math.sqrt(width // heads))
    if lengths is not None:
        scores = np.where((np.arange(time) < lengths[:, None])[:, None, None, :], scores, F32(-1e30))
    scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    mixed = (scores / scores.sum(axis=-1, keepdims=True)) @ parts[2]
    y = norm(x + project(mixed.transpose(0, 2, 1, 3).reshape(rows, time, width), "self_attn.out_proj."), "norm1")
    if settings.get("feed_forward") is not None:
        y = norm(y + project(np.maximum(project(y, "linear1."), 0), "linear2."), "norm2")
    return read(settings.get("output", "all"), y, lengths)


LAYERS = {
    "linear": linear, "activation": activation, "dropout": lambda settings, own, x, lengths: x, "flatten": flatten,
    "unflatten": unflatten, "embedding": embedding, "categories": categories, "conv1d": conv, "conv2d": conv,
    "conv_transpose2d": conv_transpose2d, "max_pool1d": max_pool, "max_pool2d": max_pool, "avg_pool1d": avg_pool,
    "avg_pool2d": avg_pool, "global_max_pool": global_max_pool, "global_avg_pool": global_avg_pool,
    "batch_norm": batch_norm, "layer_norm": layer_norm, "lstm": recurrent(lstm), "gru": recurrent(gru),
    "rnn": recurrent(simple(np.tanh)), "rnn_relu": recurrent(simple(lambda x: np.maximum(x, 0))), "attention": attention,
}
SEQUENCES = {"lstm", "gru", "rnn", "rnn_relu", "attention"}


def dims_of(shape):
    return [shape] if isinstance(shape, int) else [side for side in shape if side is not None]


def through(layers, prefix, weights, x, lengths):
    for position, layer in enumerate(layers):
        x = apply(layer, "%s%d." % (prefix, position), weights, x, lengths)
        if lengths is not None and layer["kind"] in SEQUENCES and layer.get("output", "all" if layer["kind"] == "attention" else "last") != "all":
            lengths = None
    return x


def apply(layer, prefix, weights, x, lengths):
    kind = layer["kind"]
    if kind == "residual":
        return through(layer["layers"], prefix, weights, x, lengths) + through(
            layer.get("shortcut", []), prefix + "shortcut.", weights, x, lengths)
    if kind == "join":
        x, parts = x.reshape(len(x), math.prod(x.shape[1:])), []
        for number, branch in enumerate(layer["branches"]):
            own = np.concatenate([x[:, part["begin"]:part["begin"] + part["count"]] for part in branch["columns"]], axis=1)
            own = own.reshape(len(x), *dims_of(branch["inputs"]))
            parts.append(through(branch.get("layers", []), "%s%d." % (prefix, number), weights, own, None))
        return np.concatenate(parts, axis=1)
    own = {name[len(prefix):]: values for name, values in weights.items() if name.startswith(prefix)}
    if kind == "tied":
        own["weight"], layer, kind = weights["%d.weight" % layer["of"]], layer["layer"], layer["layer"]["kind"]
        own["weight"] = own["weight"].T if kind == "linear" else own["weight"]
    if lengths is None or kind in SEQUENCES:
        return LAYERS[kind](layer, own, x, lengths)
    # Each step by itself, as if it were a row.
    rows, time = x.shape[:2]
    y = LAYERS[kind](layer, own, x.reshape(rows * time, *x.shape[2:]), None)
    if kind == "embedding":
        y = y.reshape(rows * time, -1)
    return y.reshape(rows, time, *y.shape[1:])


# Columns to rows.

class Rows:
    def __init__(self, columns, names, width):
        lists = [pa.types.is_list(column.type) or pa.types.is_large_list(column.type) for column in columns]
        self.valid, self.faults, parts = np.ones(len(columns[0]), bool), [], []
        free = [width - len(columns) + 1 if alone else None for alone in [is_list and sum(lists) == 1 for is_list in lists]]
        for column, name, is_list, known in zip(columns, names, lists, free):
            values, usable, words = list_values(column, known) if is_list else numbers(column)
            self.faults.append((name, usable, words))
            self.valid &= usable
            parts.append(values)
        self.values = np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0]
        if self.values.shape[1] != width:
            if self.valid.any():
                raise ValueError("column `%s`: rows have %d values; the network takes %d" % (", ".join(names), self.values.shape[1], width))
            self.values = np.zeros((len(self.valid), width), F32)
        self.values[~self.valid] = 0
        self.checked = self.valid


def reason(rows, row):
    # Why a row cannot be used.
    return next(("column `%s` %s" % (name, words(row)) for name, usable, words in rows.faults if not usable[row]), None)


def single(array):
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.int8())
    if pa.types.is_decimal(array.type):
        array = array.cast(pa.float64())
    with np.errstate(over="ignore", invalid="ignore"):
        return array.to_numpy(zero_copy_only=False).astype(F32)


def finite(values, usable):
    # The sum is finite only where all values are; what overflows is looked at again.
    with np.errstate(over="ignore", invalid="ignore"):
        odd = ~np.isfinite(values.sum(axis=1)) & usable
    if odd.any():
        odd[odd] = ~np.isfinite(values[odd]).all(axis=1)
    return odd


NOT_FINITE = "holds a NaN or an infinity (or a number too large for single precision)"


def numbers(column):
    nulls = column.is_null().to_numpy(zero_copy_only=False)
    values = single(column)[:, None]
    odd = finite(values, ~nulls)
    return values, ~(nulls | odd), lambda row: "is null" if nulls[row] else NOT_FINITE


def list_values(column, width):
    nulls = column.is_null().to_numpy(zero_copy_only=False)
    lengths = pc.list_value_length(column).fill_null(-1).to_numpy(zero_copy_only=False)
    if width is None:
        known = lengths[~nulls]
        width = int(known[0]) if len(known) else 0
    usable = lengths == width
    values = np.zeros((len(column), width), F32)
    inner = (column if usable.all() else column.filter(pa.array(usable))).flatten()
    values[usable] = single(inner).reshape(-1, width)
    odd = finite(values, usable)

    def words(row):
        if nulls[row]:
            return "is null"
        if lengths[row] != width:
            return "has %d values, not %d" % (lengths[row], width)
        return "holds a null element" if column[row].values.null_count else NOT_FINITE

    return values, usable & ~odd, words


class Sequences:
    # A column of lists of steps, each a number or a list of numbers.
    def __init__(self, columns, names, width):
        column, = columns
        nulls = column.is_null().to_numpy(zero_copy_only=False)
        lengths = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
        steps = column.flatten()
        owner = np.repeat(np.arange(len(column)), lengths)
        if pa.types.is_list(steps.type) or pa.types.is_large_list(steps.type):
            values, usable, _ = list_values(steps, width)
        elif width == 1:
            values, usable, _ = numbers(steps)
        else:
            # Steps side by side.
            whole = lengths % width == 0
            steps = column.filter(pa.array(whole)).flatten()
            values = single(steps).reshape(-1, width)
            nulls |= ~whole
            lengths = np.where(whole, lengths // width, 0)
            owner = np.repeat(np.arange(len(column)), lengths)
            usable = ~finite(values, np.ones(len(values), bool))
        self.valid = ~nulls & (lengths > 0)
        self.valid[owner[~usable]] = False
        self.faults = [(names[0], self.valid, lambda row: "is null" if column[row].values is None else "is a sequence of length 0" if len(column[row]) == 0 else "holds a step that is null, of another length, or not finite")]
        starts = np.cumsum(lengths) - lengths
        self.lengths = np.where(self.valid, lengths, 1)
        self.values, self.starts, self.width, self.checked = values, starts, width, self.valid[owner]

    def padded(self, rows):
        lengths = self.lengths[rows]
        x = np.zeros((len(rows), int(lengths.max()), self.width), F32)
        for i, row in enumerate(rows):
            if self.valid[row]:
                x[i, :lengths[i]] = self.values[self.starts[row]:self.starts[row] + lengths[i]]
        return x, lengths


# Outputs to columns.

def lists(values, kind):
    rows, width = values.shape
    offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * np.int32(width))
    return pa.ListArray.from_arrays(offsets, pa.array(values.reshape(-1), kind))


def softmax(scores):
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    return scores / scores.sum(axis=1, keepdims=True)


def link(task, scores):
    kind = task.get("link", "identity")
    if kind == "exp":
        scores = np.exp(scores)
    elif kind == "sigmoid":
        scores = sigmoid(scores)
    scaling = task.get("scaling")
    return scores * np.array(scaling["std"]) + np.array(scaling["mean"]) if scaling else scores


def chosen(chances, thresholds):
    if thresholds is None:
        return chances.argmax(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = chances / np.array(thresholds)
    return np.where(np.isnan(scaled), -np.inf, scaled).argmax(axis=1)


def predictions(config, scores):
    task, thresholds = config["task"], config.get("thresholds")
    scores, double = scores.astype(np.float64), pa.float64()
    if task["kind"] == "classes":
        chances = softmax(scores)
        classes = chosen(chances, thresholds)
        return {
            "raw_prediction": lambda: lists(scores, double), "probability": lambda: lists(chances, double),
            "prediction": lambda: pa.array(classes.astype(np.float64)),
            "predicted_label": lambda: pa.array(task["names"], pa.string()).take(pa.array(classes)),
        }
    if task["kind"] == "labels":
        chances = sigmoid(scores)
        has = chances > np.array(thresholds if thresholds is not None else [0.5] * scores.shape[1])
        names = np.array(task["names"], dtype=object)
        return {
            "raw_prediction": lambda: lists(scores, double), "probability": lambda: lists(chances, double),
            "prediction": lambda: lists(has.astype(np.float64), double),
            "predicted_label": lambda: pa.array([list(names[row]) for row in has], pa.list_(pa.string())),
        }
    values = link(task, scores)
    alone = task["kind"] == "values" and scores.shape[1] == 1
    return {"prediction": lambda: pa.array(values[:, 0]) if alone else lists(values, double)}


def encodings(config, rows, code, restored):
    single, error = pa.float32(), lambda: ((rows.astype(np.float64) - restored) ** 2).mean(axis=1)
    return {"code": lambda: lists(code, single), "reconstruction": lambda: lists(restored, single), "error": lambda: pa.array(error())}


def check_ids(config, rows):
    for place, count, column in config["ids"]:
        values = rows.values[:, place]
        bad = rows.checked & ~((values >= 0) & (values < count) & (values == np.floor(values)))
        if bad.any():
            raise ValueError("column `%s`: expected a category from 0 to %d, found %g; fit the index again, or declare more categories" % (
                column, count - 1, values[bad][0]))


def forward(config, weights, layers, prefix, rows):
    dims, count = dims_of(config["inputs"]), len(rows.valid)
    results = []
    for start in range(0, count, config["rows_at_once"]):
        if config["ragged"]:
            x, lengths = rows.padded(np.arange(start, min(count, start + config["rows_at_once"])))
        else:
            x, lengths = rows.values[start:start + config["rows_at_once"]], None
            x = x.reshape(len(x), *dims)
        results.append(through(layers, prefix, weights, x, lengths).astype(F32))
    return np.concatenate(results) if len(results) > 1 else results[0]


def make(text, data):
    config = json.loads(text)
    weights, at = {}, 0
    for name, shape in config["weights"]:
        size = math.prod(shape)
        weights[name] = data[at:at + size].reshape(shape)
        at += size
    names, width = config["columns"], math.prod(dims_of(config["inputs"]))

    def score(*columns):
        columns = [column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column for column in columns]
        if len(columns[0]) == 0:
            return pa.array([], result)
        rows = (Sequences if config["ragged"] else Rows)(columns, names, width)
        if config["on_invalid"] == "error" and not rows.valid.all():
            raise ValueError("%d of %d rows of a batch cannot be used; one of them: %s; fill or drop such rows, or set handleInvalid to skip" % (
                (~rows.valid).sum(), len(rows.valid), reason(rows, np.flatnonzero(~rows.valid)[0])))
        check_ids(config, rows)
        layers, cut = config["layers"], config.get("layer_index")
        if cut is None:
            made = predictions(config, forward(config, weights, layers, "", rows))
        else:
            code = forward(config, weights, layers[:cut], "", rows)
            whole = forward(config, weights, layers, "", rows) if config["restores"] else None
            made = encodings(config, rows.values, code.reshape(len(code), -1), whole)
        bad, mask = ~rows.valid, None
        made["invalid_reason"] = lambda: pa.array([reason(rows, row) if bad[row] else None for row in range(len(bad))], pa.string())
        arrays = [made[kind]() for kind, _ in config["outputs"]]
        if any(kind == "invalid_reason" for kind, _ in config["outputs"]):
            # The reason stays where the others are null.
            usable = pa.array(np.arange(len(bad)), mask=bad)
            arrays = [array if kind == "invalid_reason" else array.take(usable) for (kind, _), array in zip(config["outputs"], arrays)]
        else:
            mask = pa.array(bad)
        fields = [pa.field(name, array.type) for (_, name), array in zip(config["outputs"], arrays)]
        return pa.StructArray.from_arrays(arrays, fields=fields, mask=mask)

    empty = [pa.field(name, pa.null()) for _, name in config["outputs"]]
    result = pa.struct(empty)
    return score
