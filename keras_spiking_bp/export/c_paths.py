"""Paths of a network in C: from a signal through padding and one connection."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_spiking_bp.utils.layer_kinds import (
    AVERAGE_POOLING,
    GLOBAL_AVERAGE_POOLING,
    GLOBAL_MAX_POOLING,
    MAX_POOLING,
    same_padding,
)  # fmt: skip
from keras_spiking_bp.utils.validation import named

Shape = tuple[int, ...]
Pair = tuple[int, int]

#: In place of the index of an operation: the input of the network.
INPUT = -1
DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D, *DEPTHWISE)
POOLING = (*AVERAGE_POOLING[:2], *GLOBAL_AVERAGE_POOLING[:2])


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


def as_image(shape: Shape) -> tuple[int, int, int]:
    """Height, width and channels of a signal of any number of axes."""
    if len(shape) > 3:
        raise ValueError(f"`model` must have signals of at most three axes, for C. Received: the shape {shape}")
    height, width, channels = (*(1,) * (3 - len(shape)), *shape)
    return height, width, channels


def reshaped(path: Path, shape: Shape) -> Path:
    """The path through a layer that moves no numbers."""
    signal = path.signal if path.connection else dataclasses.replace(path.signal, shape=shape)
    return dataclasses.replace(path, signal=signal, shape=shape)


def padded(part: keras.layers.Layer, path: Path, shape: Shape) -> Path:
    """The path through a layer that pads."""
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
    if part.padding == "causal":
        return (0, 0), (dilation[1] * (kernel[1] - 1), 0)
    if part.padding != "same":
        return (0, 0), (0, 0)
    rows, columns = same_padding(size, kernel, stride, dilation)
    return rows, columns


def _sliding(
    part: keras.layers.Layer, path: Path, kernel: Pair, stride: Pair, dilation: Pair, out_channels: int, **how: Any
) -> Path:
    """The path through a layer that slides a window over an image or a series."""
    if max(stride) > 1 and max(dilation) > 1:
        raise ValueError(f"The layer {named(part)} must not have a stride and a dilation, for C")
    height, width, channels = as_image(path.signal.shape)
    (top, bottom), (left, right) = path.padding
    sizes = (height + top + bottom, width + left + right)
    more = _sides(part, sizes, kernel, stride, dilation)
    rows, columns = (
        (n + sum(sides) - d * (k - 1) - 1) // s + 1
        for n, sides, d, k, s in zip(sizes, more, dilation, kernel, stride, strict=True)
    )
    out_size = (rows, columns)
    before = (top + more[0][0], left + more[1][0])
    connection = Connection((height, width), channels, out_size, out_channels, kernel, stride, before, dilation, **how)
    shape = (*out_size, out_channels)[3 - len(path.shape) :]
    return Path(path.signal, shape, path.scale, connection)


def windowed(part: keras.layers.Layer, path: Path) -> Path:
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
        sizes = (height + sum(path.padding[0]), width + sum(path.padding[1]))
        sides = _sides(part, sizes, kernel, stride, (1, 1))
        if not isinstance(part, MAX_POOLING) and np.any(sides):
            raise ValueError(
                f"The layer {named(part)} must have windows that fit, for C: its average leaves out what it pads"
            )
    if isinstance(part, (*MAX_POOLING, *GLOBAL_MAX_POOLING)):
        return pooled
    return dataclasses.replace(pooled, scale=path.scale / math.prod(pooled.connected().kernel))


def weighted(part: keras.layers.Layer, path: Path) -> Path:
    """The path through a layer with a kernel."""
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
    groups = channels if isinstance(part, DEPTHWISE) else part.groups
    weights = weights.reshape(*kernel, channels // groups, -1)
    return _sliding(part, path, kernel, stride, dilation, weights.shape[-1], weights=weights, groups=groups)
