"""Synapses as nodes of NIR."""

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import keras
import numpy as np

from keras_spiking_bp.interchange.axes import Scale, Signal, dense_to_nir, neurons_to_nir, swapped
from keras_spiking_bp.utils.layer_kinds import parts_of, same_padding
from keras_spiking_bp.utils.validation import named


def write_layers(nir: ModuleType, layer: keras.layers.Layer, signal: Signal) -> Iterator[tuple[Any, Signal]]:
    """The nodes of a synapse on `signal`, in order, each with its output. No node: the identity."""
    parts = parts_of(layer)
    for before, part, behind in zip([None, *parts], parts, [*parts[1:], None], strict=False):
        if type(part) not in _WRITERS:
            raise ValueError(
                f"The layer {named(part)} has no node in NIR. Allowed are {[k.__name__ for k in _WRITERS]}"
            )
        linear = keras.activations.linear
        check_allowed(part, quantization_mode=None, data_format="channels_last", activation=linear, groups=1, offset=0)
        if type(part) in _PADDED:
            if type(behind) is not _PADDED[type(part)]:
                raise ValueError(f"{named(part)} must stand right before a convolution, in one Sequential with it")
            continue  # merged into the convolution
        padding = _symmetric(before) if type(before) in _PADDED else (0,) * (len(signal.shape) - 1)
        node, signal = _WRITERS[type(part)](nir, part, signal, padding)
        if node is not None:
            yield node, signal


def check_allowed(layer: keras.layers.Layer, **allowed: Any) -> None:
    """Rejects a layer or cell one of whose attributes is not the one that NIR can express."""
    for name, value in allowed.items():
        received = getattr(layer, name, value)
        if np.any(np.asarray(received) != value):
            value, received = (getattr(x, "__name__", x) for x in (value, received))
            raise ValueError(f"{named(layer)} must have {name}={value!r}, for NIR. Received: {received!r}")


def _conv(nir, layer, signal, padding):
    padded = (*(size + 2 * more for size, more in zip(signal.shape, padding, strict=False)), signal.shape[-1])
    output = _output(layer, padded)
    sides = ((0, 0),) * len(padding) if layer.padding == "valid" else _padding_of_same(layer, padded)
    total: Any
    if layer.padding != "causal" and all(before == after for before, after in sides):
        total = tuple(before + more for (before, _), more in zip(sides, padding, strict=True))
    elif layer.padding == "same" and set(layer.strides) == {1} and not any(padding):
        total = "same"
    else:
        raise ValueError(
            f"The layer {layer.name!r} pads its sides unequally (padding={layer.padding!r} with strides "
            f"{layer.strides}), which NIR cannot. Use keras.Sequential([ZeroPadding2D(...), Conv2D(...)])"
        )
    weight = np.moveaxis(_float32(layer.kernel), (-1, -2), (0, 1))
    bias = _float32(layer.bias) if layer.use_bias else np.zeros(layer.filters, "float32")
    sizes = [signal.shape[:-1], layer.strides, total, layer.dilation_rate]
    kind, of_axes = (nir.Conv1d, lambda size: int(size[0])) if len(padding) == 1 else (nir.Conv2d, tuple)
    inputs, strides, around, dilation = (size if isinstance(size, str) else of_axes(size) for size in sizes)
    return kind(inputs, weight, strides, around, dilation, groups=1, bias=bias), output


def _dense(nir, layer, signal, _):
    if len(signal.shape) != 1:
        raise ValueError(f"The layer {layer.name!r} must have a flat input. Received: {signal.shape}")
    weight = dense_to_nir(_float32(layer.kernel), signal)
    node = nir.Affine(weight, _float32(layer.bias)) if layer.use_bias else nir.Linear(weight)
    return node, _output(layer, signal.shape)


def _average_pooling(nir, layer, signal, _):
    if layer.padding == "same" and any(max(sides) for sides in _padding_of_same(layer, signal.shape)):
        raise ValueError(f"{layer.name!r} must have padding='valid', since NIR's average counts what is padded")
    node = nir.AvgPool2d(np.array(layer.pool_size), np.array(layer.strides), np.array((0, 0)))
    return node, _output(layer, signal.shape)


def _rescaling(nir, layer, signal, _):
    signal.check_order(f"The layer {named(layer)}")
    return nir.Scale(neurons_to_nir(np.asarray(layer.scale, "float32"), signal)), signal


def _flatten(nir, layer, signal, _):
    if len(signal.shape) == 1:
        return None, signal
    shape = {"input": np.array(swapped(signal.shape, "first"))}
    return nir.Flatten(shape, start_dim=0, end_dim=-1), signal.flat()


def _identity(nir, layer, signal, _):
    return None, signal


_WRITERS: dict[type, Any] = {
    keras.layers.AveragePooling2D: _average_pooling,
    keras.layers.Conv1D: _conv,
    keras.layers.Conv2D: _conv,
    keras.layers.Dense: _dense,
    keras.layers.Flatten: _flatten,
    keras.layers.Identity: _identity,
    keras.layers.Rescaling: _rescaling,
    Scale: _rescaling,
    keras.layers.ZeroPadding1D: _identity,
    keras.layers.ZeroPadding2D: _identity,
}
_PADDED = {keras.layers.ZeroPadding1D: keras.layers.Conv1D, keras.layers.ZeroPadding2D: keras.layers.Conv2D}


def _symmetric(layer: keras.layers.Layer) -> tuple[int, ...]:
    """The padding on both sides of each axis."""
    sides = layer.padding if isinstance(layer, keras.layers.ZeroPadding2D) else (layer.padding,)
    if any(before != after for before, after in sides):
        raise ValueError(f"{layer.name!r} must pad opposite sides equally, as NIR does. Received: {layer.padding}")
    return tuple(before for before, _ in sides)


def _output(layer: keras.layers.Layer, shape: tuple[int, ...]) -> Signal:
    return Signal(tuple(layer.compute_output_shape((None, *shape))[1:]))


def _padding_of_same(layer: keras.layers.Layer, shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """What padding='same' puts before and after each axis but the channels."""
    windows = getattr(layer, "pool_size", None) or layer.kernel_size
    return same_padding(shape[:-1], windows, layer.strides, getattr(layer, "dilation_rate", (1,) * len(windows)))


def _float32(variable: keras.Variable) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(variable), "float32")
