"""Nodes of NIR as the layers of a synapse."""

import re
from typing import Any

import keras
import numpy as np

from keras_spiking_bp.cells.graph import INPUT
from keras_spiking_bp.interchange.axes import Scale, Signal, dense_from_nir


def scaled(layer: keras.layers.Layer, factor: float | np.ndarray) -> keras.layers.Layer:
    """`layer` with its output times `factor`, a number or one for each neuron: in its weights, or by another layer."""
    factor = np.asarray(factor, "float32")
    of_channel = factor if factor.ndim == 0 else factor.reshape(-1, factor.shape[-1])[0]
    if layer.weights and np.all(factor == of_channel):
        layer.set_weights([of_channel * weight for weight in layer.get_weights()])
        return layer
    return keras.Sequential([layer, Scale(factor.tolist(), dtype="float32")])


def joined(layers: list[keras.layers.Layer]) -> keras.layers.Layer:
    """The layers one after the other, as one."""
    return layers[0] if len(layers) == 1 else keras.Sequential(layers or [keras.layers.Identity(dtype="float32")])


def keras_name(name: str) -> str:
    """The name of a node, valid in Keras, in a `GraphCell` and as a scope of TensorFlow: ASCII, no underscore first."""
    name = re.sub(r"[^A-Za-z0-9_]", "_", name)
    if name == INPUT:
        name = f"_{name}"
    return f"node{name}" if name.startswith("_") else name


def _dense(name, node, signal):
    weight = np.asarray(node.weight, "float32")
    if weight.ndim != 2 or signal.shape != weight.shape[1:]:
        raise ValueError(
            f"`weight` of node {name!r} must be (out, in) on a flat input. Received: {weight.shape} on {signal.shape}"
        )
    bias = getattr(node, "bias", None)
    layer = keras.layers.Dense(len(weight), use_bias=bias is not None, name=keras_name(name), dtype="float32")
    layer.build((None, *signal.shape))
    kernel = dense_from_nir(weight, signal)
    layer.set_weights([kernel] if bias is None else [kernel, np.asarray(bias, "float32")])
    return layer, Signal((len(weight),))


def _conv(name, node, signal):
    weight, bias = np.asarray(node.weight, "float32"), np.asarray(node.bias, "float32")
    axes = weight.ndim - 2
    strides, dilation, size = _sizes(node.stride, axes), _sizes(node.dilation, axes), weight.shape[2:]
    padding, sides = node.padding, (0,) * axes
    if not isinstance(padding, str):
        padding, sides = "valid", _sizes(padding, axes)
        if set(strides) == {1} and all(2 * p == d * (k - 1) for p, d, k in zip(sides, dilation, size, strict=True)):
            padding, sides = "same", (0,) * axes
    elif padding == "same" and set(strides) != {1}:
        raise ValueError(f"`padding` of node {name!r} must be numbers, since it has strides. Received: 'same'")
    layer = conv = (keras.layers.Conv2D if axes == 2 else keras.layers.Conv1D)(
        len(weight), size, strides=strides, padding=padding, dilation_rate=dilation,
        use_bias=bool(np.any(bias)),  # NIR has no convolution without bias
        data_format="channels_last", name=keras_name(name) + "_conv" * any(sides), dtype="float32",
    )  # fmt: skip
    if any(sides):
        pad, both = (keras.layers.ZeroPadding2D, sides) if axes == 2 else (keras.layers.ZeroPadding1D, sides[0])
        around = pad(both, data_format="channels_last", dtype="float32")
        layer = keras.Sequential([around, conv], name=keras_name(name))
    layer.build((None, *signal.shape))
    kernel = np.moveaxis(weight, (0, 1), (-1, -2))
    conv.set_weights([kernel, bias] if conv.use_bias else [kernel])
    return layer, _output(layer, signal)


def _average_pooling(name, node, signal, suffix=""):
    if any(_sizes(node.padding, 2)):
        raise ValueError(f"`padding` of node {name!r} must be 0. Received: padding={_sizes(node.padding, 2)}")
    layer = keras.layers.AveragePooling2D(
        _sizes(node.kernel_size, 2), strides=_sizes(node.stride, 2), data_format="channels_last",
        name=f"{keras_name(name)}{suffix}", dtype="float32",
    )  # fmt: skip
    return layer, _output(layer, signal)


def _sum_pooling(name, node, signal):
    """The average, times the size of its window."""
    average, signal = _average_pooling(name, node, signal, "_average")
    times = keras.layers.Rescaling(float(average.pool_size[0] * average.pool_size[1]), dtype="float32")
    return keras.Sequential([average, times], name=keras_name(name)), signal


def _scale(name, node, signal):
    scale = np.asarray(node.scale, "float32")
    if scale.ndim > 1:
        scale = np.moveaxis(scale, 0, -1)
    signal.check_order(f"The node {name!r}")
    if scale.ndim and scale.shape != signal.shape:
        raise ValueError(
            f"`scale` of node {name!r} must have the shape of its input. Received: {scale.shape} on {signal.shape}"
        )
    return Scale(scale.tolist(), name=keras_name(name), dtype="float32"), signal


def _flatten(name, node, signal):
    rank = len(signal.shape)
    if int(node.start_dim) != 0 or int(node.end_dim) not in (-1, rank - 1):
        raise ValueError(f"The Flatten node {name!r} must flatten the whole input of one step, start_dim=0, end_dim=-1")
    layer = keras.layers.Flatten(data_format="channels_last", name=keras_name(name), dtype="float32")
    return layer, signal.flat()


#: The layer of a node on a signal, with its weights, and its output: by the type of the node.
READERS = {
    "Affine": _dense,
    "AvgPool2d": _average_pooling,
    "Conv1d": _conv,
    "Conv2d": _conv,
    "Flatten": _flatten,
    "Linear": _dense,
    "Scale": _scale,
    "SumPool2d": _sum_pooling,
}


def _output(layer: keras.layers.Layer, signal: Signal) -> Signal:
    return Signal(tuple(layer.compute_output_shape((None, *signal.shape))[1:]))


def _sizes(value: Any, axes: int) -> tuple[int, ...]:
    """One integer for each axis."""
    return tuple(int(size) for size in np.broadcast_to(np.asarray(value), (axes,)))
