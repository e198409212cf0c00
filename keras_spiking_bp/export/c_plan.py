"""A network as the C code runs it: operations in order, each with the connections that lead to it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_spiking_bp.cells import Cell, LIFCell, MaxPoolingCell, ReadoutCell
from keras_spiking_bp.cells.composite import CELL_INPUT, JOINS
from keras_spiking_bp.cells.neuron import NeuronCell
from keras_spiking_bp.cells.walk import flat
from keras_spiking_bp.utils.layer_kinds import (
    AVERAGE_POOLING,
    GLOBAL_AVERAGE_POOLING,
    GLOBAL_MAX_POOLING,
    MAX_POOLING,
    PADDING,
    SAME,
    computes_otherwise,
    parts_of,
)  # fmt: skip
from keras_spiking_bp.utils.validation import named

Shape = tuple[int, ...]
Pair = tuple[int, int]

INPUT = -1
_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
_CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D, *_DEPTHWISE)
_POOLING = (*AVERAGE_POOLING[:2], *GLOBAL_AVERAGE_POOLING[:2])
_SHAPED = (keras.layers.Flatten, keras.layers.Reshape)
_KINDS = (keras.layers.Dense, *_CONVOLUTIONS, *_POOLING, *PADDING[:2], *_SHAPED, keras.layers.Rescaling, *SAME)


@dataclasses.dataclass(frozen=True)
class Signal:
    """What an operation passes on: whole numbers times `scale`, of at most `largest`; if that is None, floats.

    `operation` is its index among those of the plan, or `INPUT`.
    """

    operation: int
    shape: Shape
    scale: float = 1.0
    largest: int | None = 1


@dataclasses.dataclass(frozen=True)
class Connection:
    """From (height, width, channels) to currents: a convolution, of which all other kinds are cases.

    The weights are (kernel, kernel, channels / groups, out_channels); None: the sum of a window of each channel.
    With `joined` channels in all, its own begin at `offset`.
    """

    size: Pair
    channels: int
    out_size: Pair
    out_channels: int
    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    weights: np.ndarray | None = None
    joined: int | None = None
    offset: int = 0


@dataclasses.dataclass(frozen=True)
class Path:
    """`scale` times what a connection (None: the identity) makes of a signal, padded by `padding`; of shape `shape`."""

    signal: Signal
    shape: Shape
    scale: float
    connection: Connection | None = None
    padding: tuple[Pair, Pair] = ((0, 0), (0, 0))

    def connected(self) -> Connection:
        """Its connection, also of the identity."""
        if self.connection is not None:
            return self.connection
        height, width, channels = as_image(self.signal.shape)
        (top, bottom), (left, right) = self.padding
        out_size = (height + top + bottom, width + left + right)
        return Connection((height, width), channels, out_size, channels, padding=(top, left), groups=channels)


@dataclasses.dataclass(frozen=True)
class Value:
    """What a node gives: the sum of paths, and of a bias of its shape."""

    paths: tuple[Path, ...]
    bias: np.ndarray | float = 0.0

    @property
    def shape(self) -> Shape:
        return self.paths[0].shape

    @property
    def is_plain(self) -> bool:
        """Whether it is one signal as it stands."""
        path = self.paths[0]
        changed = path.connection is not None or np.any(path.padding) or path.scale != path.signal.scale
        return len(self.paths) == 1 and not changed and not np.any(self.bias)


@dataclasses.dataclass(frozen=True)
class Operation:
    """Neurons or a maximum; without a cell, a sum that is passed on as it is. `signal` is what it gives."""

    name: str
    shape: Shape
    cell: NeuronCell | None
    paths: tuple[Path, ...]
    bias: np.ndarray | float
    signal: Signal

    @property
    def signal_unit(self) -> float:
        """What 1 in its sums stands for; neurons have sums in units of the network."""
        return self.signal.scale if self.cell is None else 1.0


class Plan:
    """The operations of a cell without batch normalisation.

    Args:
        cell: of the network.
        input_signal: of the input of a step.
        scale: factor on the input.
        integer: whether all signals between layers of neurons must be whole numbers.
    """

    def __init__(self, cell: Cell, input_signal: Signal, scale: float, integer: bool):
        self.operations: list[Operation] = []
        self._integer = integer
        nodes, values = flat(cell), []  # type: ignore[var-annotated]
        start = Value((Path(input_signal, input_signal.shape, scale),))
        for node in nodes:
            inputs = [start if i == CELL_INPUT else values[i] for i in node.inputs]
            if isinstance(node.cell, MaxPoolingCell):
                value = inputs[0]  # the cell pools
            elif isinstance(node.layer, MaxPoolingCell):
                value = self._maximum(node.layer, self._plain(inputs[0], node.name))
            elif isinstance(node.layer, NeuronCell):
                value = self._neurons(node.layer, _summed(inputs))
            elif isinstance(node.layer, JOINS):
                value = self._joined(node.layer, node.shape, inputs)
            else:
                value = inputs[0]
                for part in parts_of(node.layer):
                    value = self._through(part, value)
            if node.delayed_to is not None:
                self._feed_back(values[node.delayed_to], value)
            values.append(value)
        last = max(i for i, node in enumerate(nodes) if node.delayed_to is None)
        self.output = self._plain(values[last], nodes[last].name).paths[0].signal.operation

    def _add(self, name: str, cell: NeuronCell | None, value: Value, shape: Shape, signal: Signal) -> Value:
        for path in value.paths:
            source = path.signal.operation
            if source != INPUT and isinstance(self.operations[source].cell, ReadoutCell):
                raise ValueError(f"The readout {self.operations[source].name!r} must be the last cell, for C")
        self.operations.append(Operation(name, shape, cell, value.paths, value.bias, signal))
        return Value((Path(signal, shape, signal.scale),))

    def _neurons(self, cell: NeuronCell, value: Value) -> Value:
        if type(cell).fire not in (LIFCell.fire, ReadoutCell.fire) or not cell.has_stock_current:
            raise ValueError(f"The cell {named(cell)} has a `fire` or `current` of its own, which C does not know")
        return self._add(cell.name, cell, value, value.shape, Signal(len(self.operations), value.shape))

    def _feed_back(self, neurons: Value, value: Value) -> None:
        """Adds a current of the next step."""
        i = neurons.paths[0].signal.operation
        if any(np.any(operation.bias) for operation in self.operations[i + 1 :]):
            raise ValueError(
                f"The recurrent synapse of {self.operations[i].name!r} must have a bias in its last layer only, for C: "
                "before the first step the others have not run"
            )
        old = self.operations[i]
        summed = _summed([Value(old.paths, old.bias), value])
        self.operations[i] = dataclasses.replace(old, paths=summed.paths, bias=summed.bias)

    def _maximum(self, cell: MaxPoolingCell, value: Value) -> Value:
        (path,) = value.paths
        if path.signal.operation == INPUT:
            raise ValueError(f"The cell {named(cell)} must not pool the input, for C")
        window = _window(cell.synapse, path)
        shape = cell.output_shape_of_step
        signal = dataclasses.replace(path.signal, operation=len(self.operations), shape=shape)
        return self._add(cell.name, cell, Value((window,)), shape, signal)

    def _plain(self, value: Value, name: str) -> Value:
        """The value as a signal, by an operation that passes it on if need be."""
        return value if value.is_plain else self._passed(value, name, value.shape)

    def _passed(self, value: Value, name: str, shape: Shape) -> Value:
        connections = [path.connected() for path in value.paths]
        whole = [path.signal.largest for path in value.paths if path.signal.largest is not None]
        unit = min(abs(path.scale) for path in value.paths)
        factors = [path.scale / unit for path in value.paths]
        if (
            len(whole) == len(connections) and all(c.weights is None for c in connections)
            and not np.any(value.bias) and np.allclose(factors, np.round(factors))
        ):  # fmt: skip
            areas = [math.prod(connection.kernel) for connection in connections]
            largest = sum(abs(round(f)) * area * n for f, area, n in zip(factors, areas, whole, strict=True))
            signal = Signal(len(self.operations), shape, unit, largest)
        elif self._integer:
            raise ValueError(
                f"`model` must have neurons behind each layer with weights or a bias, for weights='int8'. What goes "
                f"into {name!r} has none, or joins averages of windows of other sizes"
            )
        else:
            signal = Signal(len(self.operations), shape, 1.0, None)
        return self._add(name, None, value, shape, signal)

    def _joined(self, layer: keras.layers.Layer, shape: Shape, inputs: Sequence[Value]) -> Value:
        if any(value.shape[:-1] != shape[:-1] for value in inputs):
            raise ValueError(f"The layer {named(layer)} must join outputs of one size, for C")
        if isinstance(layer, keras.layers.Add):
            summed = _summed(inputs)
            return self._passed(summed, layer.name, shape) if all(value.is_plain for value in inputs) else summed
        if layer.axis not in (-1, len(shape)):
            raise ValueError(f"The layer {named(layer)} must join channels, the last axis, for C")
        paths, offset = [], 0
        for value in inputs:
            (path,) = self._plain(value, layer.name).paths
            part = dataclasses.replace(path.connected(), joined=shape[-1], offset=offset)
            paths.append(dataclasses.replace(path, connection=part))
            offset += value.shape[-1]
        return self._passed(Value(tuple(paths)), layer.name, shape)

    def _through(self, part: keras.layers.Layer, value: Value) -> Value:
        """What a Keras layer makes of a value."""
        why = "it is of another kind" if type(part) not in _KINDS else computes_otherwise(part, _KINDS)
        if getattr(part, "activation", keras.activations.linear) is not keras.activations.linear:
            why = "it has an activation"
        if getattr(part, "data_format", None) == "channels_first" or getattr(part, "quantization_mode", None):
            why = "it has channels first, or is quantised by Keras"
        if why:
            raise ValueError(
                f"The layer {named(part)} has no form in C: {why}. Allowed are linear "
                f"{', '.join(sorted({kind.__name__ for kind in _KINDS} - {kind.__name__ for kind in SAME}))}"
            )
        if isinstance(part, SAME):
            return value
        if isinstance(part, keras.layers.Rescaling):
            if np.ndim(part.scale) or np.any(part.offset):
                raise ValueError(f"The layer {named(part)} must have one number as its scale, and no offset, for C")
            paths = [dataclasses.replace(path, scale=path.scale * part.scale) for path in value.paths]
            return Value(tuple(paths), value.bias * part.scale)
        shape = tuple(part.compute_output_shape((None, *value.shape))[1:])
        if isinstance(part, _SHAPED):
            if any(np.any(path.padding) for path in value.paths):
                value = self._passed(value, part.name, value.shape)
            bias = np.broadcast_to(value.bias, value.shape).reshape(shape) if np.ndim(value.bias) else value.bias
            return Value(tuple(_reshaped(path, shape) for path in value.paths), bias)
        if np.any(value.bias) or any(path.connection is not None for path in value.paths):
            value = self._passed(value, part.name, value.shape)
        if isinstance(part, PADDING):
            return Value(tuple(_padded(part, path, shape) for path in value.paths))
        make = _window if isinstance(part, _POOLING) else _weighted
        bias = np.broadcast_to(np.asarray(part.bias), shape) if getattr(part, "use_bias", False) else 0.0
        return Value(tuple(make(part, path) for path in value.paths), bias)


def _summed(values: Sequence[Value]) -> Value:
    return Value(tuple(path for value in values for path in value.paths), sum(value.bias for value in values))


def as_image(shape: Shape) -> tuple[int, int, int]:
    """Height, width and channels of a signal of any number of axes."""
    if len(shape) > 3:
        raise ValueError(f"`model` must have signals of at most three axes, for C. Received: the shape {shape}")
    height, width, channels = (*(1,) * (3 - len(shape)), *shape)
    return height, width, channels


def _reshaped(path: Path, shape: Shape) -> Path:
    signal = path.signal if path.connection else dataclasses.replace(path.signal, shape=shape)
    return dataclasses.replace(path, signal=signal, shape=shape)


def _padded(part: keras.layers.Layer, path: Path, shape: Shape) -> Path:
    more = part.padding if isinstance(part, keras.layers.ZeroPadding2D) else ((0, 0), part.padding)
    ((top, bottom), (left, right)), ((above, below), (before, behind)) = path.padding, more
    padding = ((top + above, bottom + below), (left + before, right + behind))
    return dataclasses.replace(path, padding=padding, shape=shape)


def _pair(values: Sequence[int] | int) -> Pair:
    """Of one or two axes; one axis is the width."""
    values = (values,) if isinstance(values, int) else tuple(values)
    return (1, values[0]) if len(values) == 1 else (values[0], values[1])


def _sides(part: keras.layers.Layer, size: Pair, kernel: Pair, stride: Pair, dilation: Pair) -> tuple[Pair, Pair]:
    """What the `padding` of a layer puts before and after each axis."""
    reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    if part.padding == "causal":
        return (0, 0), (reach[1], 0)
    if part.padding != "same":
        return (0, 0), (0, 0)
    totals = [max((math.ceil(n / s) - 1) * s + r + 1 - n, 0) for n, s, r in zip(size, stride, reach, strict=True)]
    (top, bottom), (left, right) = ((total // 2, total - total // 2) for total in totals)
    return (top, bottom), (left, right)


def _sliding(
    part: keras.layers.Layer, path: Path, kernel: Pair, stride: Pair, dilation: Pair, out_channels: int, **how: Any
) -> Path:
    """The path through a layer that slides a window over an image or a series."""
    height, width, channels = as_image(path.signal.shape)
    (top, bottom), (left, right) = path.padding
    padded = (height + top + bottom, width + left + right)
    more = _sides(part, padded, kernel, stride, dilation)
    rows, columns = (
        (n + sum(sides) - d * (k - 1) - 1) // s + 1
        for n, sides, d, k, s in zip(padded, more, dilation, kernel, stride, strict=True)
    )
    out_size = (rows, columns)
    before = (top + more[0][0], left + more[1][0])
    connection = Connection((height, width), channels, out_size, out_channels, kernel, stride, before, dilation, **how)
    shape = (*out_size, out_channels)[3 - len(path.shape) :]
    return Path(path.signal, shape, path.scale, connection)


def _window(part: keras.layers.Layer, path: Path) -> Path:
    """The sum of each window of each channel, times 1 / its size of an average."""
    height, width, channels = as_image(path.signal.shape)
    if isinstance(part, (*GLOBAL_AVERAGE_POOLING, *GLOBAL_MAX_POOLING)):
        if np.any(path.padding):
            raise ValueError(f"The layer {named(part)} must not stand behind a padding, for C")
        connection = Connection((height, width), channels, (1, 1), channels, (height, width), groups=channels)
        shape = (1,) * (len(path.shape) - 1) * part.keepdims + (channels,)
        pooled = Path(path.signal, shape, path.scale, connection)
    else:
        kernel, stride = _pair(part.pool_size), _pair(part.strides)
        pooled = _sliding(part, path, kernel, stride, (1, 1), channels, groups=channels)
        padded = (height + sum(path.padding[0]), width + sum(path.padding[1]))
        sides = _sides(part, padded, kernel, stride, (1, 1))
        if not isinstance(part, MAX_POOLING) and np.any(sides):
            raise ValueError(
                f"The layer {named(part)} must have windows that fit, for C: its average leaves out what it pads"
            )
    if isinstance(part, (*MAX_POOLING, *GLOBAL_MAX_POOLING)):
        return pooled
    return dataclasses.replace(pooled, scale=path.scale / math.prod(pooled.connected().kernel))


def _weighted(part: keras.layers.Layer, path: Path) -> Path:
    weights = np.asarray(keras.ops.convert_to_numpy(part.kernel), "float64")
    if isinstance(part, keras.layers.Dense):
        shape = path.shape
        if np.any(path.padding):
            raise ValueError(f"The layer {named(part)} must not stand behind a padding, for C")
        inputs, units = weights.shape
        size = (1, math.prod(shape[:-1]))
        connection = Connection(size, inputs, size, units, weights=weights[None, None])
        return Path(path.signal, (*shape[:-1], units), path.scale, connection)
    if weights.ndim == 3:
        weights = weights[None]
    kernel, stride, dilation = (_pair(sizes) for sizes in (part.kernel_size, part.strides, part.dilation_rate))
    channels = path.shape[-1]
    groups = channels if isinstance(part, _DEPTHWISE) else part.groups
    weights = weights.reshape(*kernel, channels // groups, -1)
    return _sliding(part, path, kernel, stride, dilation, weights.shape[-1], weights=weights, groups=groups)
