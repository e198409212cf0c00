"""How many synapses each spike reaches."""

import keras
import numpy as np
import tensorflow as tf

from keras_spiking_bp.cells.composite import JOINS
from keras_spiking_bp.utils.layer_kinds import (
    AVERAGE_POOLING,
    GLOBAL_AVERAGE_POOLING,
    GLOBAL_POOLING,
    MAX_POOLING,
    MOVING,
    ONE_TO_ONE,
    SAME,
    parts_of,
)
from keras_spiking_bp.utils.layers import copy_of, free_weights


def fan_out(layers: tuple[keras.layers.Layer, ...], source_shape: tuple[int, ...]) -> np.ndarray:
    """The number of synapses that each element of the source reaches through the layers of a `Connection`.

    Borders, strides, dilation and groups are counted exactly: a corner pixel reaches fewer synapses of a 3x3
    convolution than one in the middle. A pooling window counts as one synapse for each of its elements; the identity as
    one. Through average pooling not followed by neurons, a spike reaches the synapses that its window reaches; batch
    normalisation and joins add none.

    Example:
        >>> conv = keras.layers.Conv2D(1, 3, padding="same")
        >>> fan_out((conv,), (3, 3, 1))[..., 0].astype(int).tolist()
        [[4, 6, 4], [6, 9, 6], [4, 6, 4]]
    """
    steps = [part for layer in layers for part in parts_of(layer)]
    counted = [part for part in steps if has_synapses(part)]
    if not all(_averages_apart(part) for part in counted[:-1]):
        raise ValueError(
            f"The layers {[part.name for part in counted]} follow each other with no neurons between them: put a cell "
            "around each. Only average pooling may stand there, if its windows do not overlap"
        )
    x = tf.zeros((1, *source_shape))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = x
        for part in steps:
            if isinstance(part, PASSES_ON):  # in full precision, whatever the policy: these are counts
                y = copy_of(part)(y, training=False)
            elif has_synapses(part):
                y = _with_ones(part, y)
        reached = tf.reduce_sum(y)
    return tape.gradient(reached, x)[0].numpy().astype("float64")


PASSES_ON = (*MOVING, *SAME)
_WITH_WEIGHTS = (
    keras.layers.Dense, keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D, keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D, keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)  # fmt: skip
_CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)


def has_synapses(part: keras.layers.Layer) -> bool:
    """Whether `fan_out` counts it: it neither passes values on one by one nor joins them."""
    return not isinstance(part, (*PASSES_ON, *ONE_TO_ONE, *JOINS))


def _averages_apart(part: keras.layers.Layer) -> bool:
    """Whether it is average pooling with non-overlapping windows."""
    if isinstance(part, GLOBAL_AVERAGE_POOLING):
        return True
    return isinstance(part, AVERAGE_POOLING) and all(a <= b for a, b in zip(part.pool_size, part.strides, strict=True))


def _with_ones(layer: keras.layers.Layer, x: tf.Tensor) -> tf.Tensor:
    """Applies a layer of synapses with all weights 1."""
    kind = type(layer)
    if kind in _WITH_WEIGHTS:
        ones = {name: "ones" for name in ("kernel_initializer", "depthwise_initializer") if hasattr(layer, name)}
        return copy_of(layer, **{**free_weights(layer), **ones}, use_bias=False, activation=None)(x)
    if kind in GLOBAL_POOLING:
        return tf.reduce_sum(x, axis=list(range(1, x.shape.rank - 1)), keepdims=layer.keepdims)
    if kind in (*AVERAGE_POOLING, *MAX_POOLING):
        if layer.data_format != "channels_last":
            raise ValueError(f"The synapses of the layer {layer.name!r} cannot be counted: it is channels_first")
        windows = _CONVOLUTIONS[x.shape.rank - 3](
            1, layer.pool_size, strides=layer.strides, padding=layer.padding, use_bias=False, kernel_initializer="ones",
            data_format="channels_last", dtype="float32",
        )  # fmt: skip
        swap = [x.shape.rank - 1, *range(1, x.shape.rank - 1), 0]  # each channel by itself: one sample each
        return tf.transpose(windows(tf.transpose(x, swap)), swap)
    raise ValueError(f"The synapses of the layer {layer.name!r} ({kind.__name__}) cannot be counted")
