"""What cannot be converted, and why."""

from __future__ import annotations

from typing import NoReturn

import keras

_KNOWN = (
    "Dense, Conv1D, Conv2D, DepthwiseConv and SeparableConv, BatchNormalization, ReLU with or without a maximum, "
    "average and max pooling, ZeroPadding, Cropping, Flatten, Reshape, Permute, Rescaling, Add, Concatenate, Dropout, "
    "layers that prepare or augment images in front, and a softmax or sigmoid at the end"
)
_NEGATIVE = "its output can be negative, and spikes have no sign: only a ReLU is what a neuron does"
_GATE = "it multiplies its input with a gate that depends on it, and spikes only add: only a ReLU is what a neuron does"
_CURVE = "only a ReLU, with or without a maximum, is what a neuron does"
_ACTIVATIONS = {
    **dict.fromkeys(("leaky_relu", "elu", "selu", "celu", "tanh", "softsign", "hard_tanh"), _NEGATIVE),
    **dict.fromkeys(("silu", "swish", "hard_silu", "hard_swish", "gelu", "mish", "glu"), _GATE),
}
_LAYERS = {
    **dict.fromkeys(("LeakyReLU", "PReLU", "ELU"), _NEGATIVE),
    **dict.fromkeys(("Multiply", "Dot"), "it multiplies activations with each other, and spikes only add"),
    **dict.fromkeys(
        ("LayerNormalization", "GroupNormalization", "UnitNormalization", "RMSNormalization"),
        "it normalises each sample by statistics of that sample, which no weights can stand for",
    ),
    **dict.fromkeys(("Minimum", "Maximum"), "the larger or smaller of two values is no sum of them"),
    "Normalization": "it must stand in front of all other layers",
}


def refuse(layer: keras.layers.Layer, why: str) -> NoReturn:
    """Says which layer, and why."""
    raise ValueError(f"The layer {layer.name!r} ({type(layer).__name__}) cannot be converted: {why}")


def refuse_if(condition: object, layer: keras.layers.Layer, why: str) -> None:
    """`refuse`, under a condition."""
    if condition:
        refuse(layer, why)


def refuse_activation(layer: keras.layers.Layer, called: str) -> NoReturn:
    """A layer with an activation that no neurons have."""
    refuse(layer, f"its activation is {called!r}: {_ACTIVATIONS.get(called, _CURVE)}")


def refuse_layer(layer: keras.layers.Layer) -> NoReturn:
    """A layer of a kind that cannot be converted."""
    name = type(layer).__name__
    known = next((_LAYERS[kind.__name__] for kind in type(layer).__mro__ if kind.__name__ in _LAYERS), None)
    if known is None:
        raise ValueError(f"The layer {layer.name!r} ({name}) cannot be converted. What can: {_KNOWN}")
    refuse(layer, known)
