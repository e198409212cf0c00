"""Kinds of Keras layers, and whether a layer computes what its kind does."""

import math
from collections.abc import Iterable

import keras

#: A factor for each element: part of a weight on the path, which moves no values.
ONE_TO_ONE = (keras.layers.Rescaling, keras.layers.BatchNormalization)
AVERAGE_POOLING = (keras.layers.AveragePooling1D, keras.layers.AveragePooling2D, keras.layers.AveragePooling3D)
MAX_POOLING = (keras.layers.MaxPooling1D, keras.layers.MaxPooling2D, keras.layers.MaxPooling3D)
GLOBAL_AVERAGE_POOLING = (
    keras.layers.GlobalAveragePooling1D, keras.layers.GlobalAveragePooling2D, keras.layers.GlobalAveragePooling3D,
)  # fmt: skip
GLOBAL_MAX_POOLING = (
    keras.layers.GlobalMaxPooling1D, keras.layers.GlobalMaxPooling2D, keras.layers.GlobalMaxPooling3D,
)  # fmt: skip
GLOBAL_POOLING = (*GLOBAL_AVERAGE_POOLING, *GLOBAL_MAX_POOLING)
#: Layers whose synapses have no weights.
POOLING = (*AVERAGE_POOLING, *MAX_POOLING, *GLOBAL_POOLING)
PADDING = (keras.layers.ZeroPadding1D, keras.layers.ZeroPadding2D, keras.layers.ZeroPadding3D)
#: They pass values on unchanged, in place or moved, or drop them.
MOVING = (
    *PADDING, keras.layers.Cropping1D, keras.layers.Cropping2D, keras.layers.Cropping3D, keras.layers.Flatten,
    keras.layers.Reshape, keras.layers.Permute,
)  # fmt: skip
#: The identity in inference.
SAME = (
    keras.layers.Identity, keras.layers.Dropout, keras.layers.SpatialDropout1D, keras.layers.SpatialDropout2D,
    keras.layers.SpatialDropout3D, keras.layers.AlphaDropout, keras.layers.GaussianDropout, keras.layers.GaussianNoise,
)  # fmt: skip
#: Attributes of a class that define what its layers compute.
_COMPUTES = ("call", "__call__", "convolution_op", "_merge_function", "kernel")


def same_padding(
    sizes: Iterable[int], windows: Iterable[int], strides: Iterable[int], dilations: Iterable[int]
) -> list[tuple[int, int]]:
    """What `padding="same"` puts before and after each axis."""
    totals = [
        max((math.ceil(n / stride) - 1) * stride + dilation * (window - 1) + 1 - n, 0)
        for n, window, stride, dilation in zip(sizes, windows, strides, dilations, strict=True)
    ]
    return [(total // 2, total - total // 2) for total in totals]


def parts_of(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """The layers of a `keras.Sequential` as a flat list, nested ones too; any other layer alone."""
    in_a_row = isinstance(layer, keras.Sequential) and has_stock_call(layer) and layer.layers
    if not in_a_row:
        return [layer]
    return [part for inner in layer.layers for part in parts_of(inner)]


def is_of_keras(layer: keras.layers.Layer) -> bool:
    """Whether its class is one of Keras, whose behaviour is known, and none of the user's."""
    return type(layer).__module__.startswith("keras.")


def has_stock_call(model: keras.Model) -> bool:
    """Whether a model is called as Keras' Sequential and functional models are, by a `call` of Keras."""
    return type(model).call.__module__.startswith("keras.")


def computes_otherwise(layer: keras.layers.Layer, kinds: tuple[type, ...]) -> str | None:
    """Why a layer may compute something else than the one of `kinds` that it is; None if it cannot, or is none."""
    kind = next((kind for kind in type(layer).__mro__ if kind in kinds), None)
    if kind is None:
        return None
    for name in _COMPUTES:
        method = getattr(type(layer), name, None)
        ours = str(getattr(method, "__module__", "")).split(".")[0] == __package__.split(".")[0]
        if method is not getattr(kind, name, None) and not ours:
            return f"its class has a `{name}` of its own, other than that of {kind.__name__}"
    return None
