"""How many synapses each spike reaches, and what a network costs as an ANN."""

from __future__ import annotations

import collections
import math
from collections.abc import Iterable

import keras
import numpy as np
import tensorflow as tf

from keras_spiking_bp.cells.graph import JOINS
from keras_spiking_bp.connections import ONE_TO_ONE, Connection
from keras_spiking_bp.layer_graph import calls, copy_of, parts_of
from keras_spiking_bp.validation import check_static_shape


def fan_out(layers: tuple[keras.layers.Layer, ...], source_shape: tuple[int, ...]) -> np.ndarray:
    """The number of synapses that each element of the source reaches through `layers`.

    Borders, strides, dilation and groups are counted exactly: a corner pixel reaches fewer synapses of a 3x3
    convolution than one in the middle. A pooling window counts as one synapse for each of its elements; the identity as
    one. Through average pooling not followed by neurons, a spike reaches the synapses that its window reaches; batch
    normalisation and joins add none.

    Args:
        layers: built layers, as in `Connection.layers`.
        source_shape: shape of the source, without the batch.

    Returns:
        float64 array of the shape `source_shape`.

    Raises:
        ValueError: if the synapses of a kind of layer are unknown, or there are two layers of synapses with no neurons
            between them, except for average pooling with non-overlapping windows before another layer.

    Example:
        >>> conv = keras.layers.Conv2D(1, 3, padding="same")
        >>> fan_out((conv,), (3, 3, 1))[..., 0].astype(int).tolist()
        [[4, 6, 4], [6, 9, 6], [4, 6, 4]]
    """
    steps = [part for layer in layers for part in parts_of(layer)]
    counted = [part for part in steps if _has_synapses(part)]
    if not all(_averages_apart(part) for part in counted[:-1]):
        raise ValueError(
            f"The layers {[part.name for part in counted]} follow each other with no neurons between them: a spike "
            "has no count of synapses there. Put a cell around each; only average pooling may stand without neurons "
            "before another layer, if its windows do not overlap"
        )
    x = tf.zeros((1, *source_shape))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = x
        for part in steps:
            if isinstance(part, _PASSES_ON):  # in full precision, whatever the policy: these are counts
                y = copy_of(part)(y, training=False)
            elif _has_synapses(part):
                y = _with_ones(part, y)
        reached = tf.reduce_sum(y)
    return tape.gradient(reached, x)[0].numpy().astype("float64")


_PASSES_ON = (
    keras.layers.Flatten, keras.layers.Reshape, keras.layers.Permute, keras.layers.Identity, keras.layers.Dropout,
    keras.layers.ZeroPadding1D, keras.layers.ZeroPadding2D, keras.layers.ZeroPadding3D, keras.layers.Cropping1D,
    keras.layers.Cropping2D, keras.layers.Cropping3D,
)  # fmt: skip
_PER_ELEMENT = (keras.layers.ReLU, keras.layers.Activation, keras.layers.Softmax, *ONE_TO_ONE)
_PADDING = (keras.layers.ZeroPadding1D, keras.layers.ZeroPadding2D, keras.layers.ZeroPadding3D)
_WITH_WEIGHTS = (
    keras.layers.Dense, keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D, keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D, keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)  # fmt: skip
_GLOBAL_POOLING = (
    keras.layers.GlobalAveragePooling1D, keras.layers.GlobalAveragePooling2D, keras.layers.GlobalAveragePooling3D,
    keras.layers.GlobalMaxPooling1D, keras.layers.GlobalMaxPooling2D, keras.layers.GlobalMaxPooling3D,
)  # fmt: skip
_AVERAGES = (keras.layers.AveragePooling1D, keras.layers.AveragePooling2D, keras.layers.AveragePooling3D)
_GLOBAL_AVERAGES = _GLOBAL_POOLING[:3]
_POOLING = {  # the convolution with the same windows
    keras.layers.AveragePooling1D: keras.layers.Conv1D, keras.layers.MaxPooling1D: keras.layers.Conv1D,
    keras.layers.AveragePooling2D: keras.layers.Conv2D, keras.layers.MaxPooling2D: keras.layers.Conv2D,
    keras.layers.AveragePooling3D: keras.layers.Conv3D, keras.layers.MaxPooling3D: keras.layers.Conv3D,
}  # fmt: skip


def _has_synapses(part: keras.layers.Layer) -> bool:
    return not isinstance(part, (*_PASSES_ON, *ONE_TO_ONE, *JOINS))


def _averages_apart(part: keras.layers.Layer) -> bool:
    """Whether it is average pooling with non-overlapping windows."""
    if isinstance(part, _GLOBAL_AVERAGES):
        return True
    return isinstance(part, _AVERAGES) and all(a <= b for a, b in zip(part.pool_size, part.strides, strict=True))


def _with_ones(layer: keras.layers.Layer, x: tf.Tensor) -> tf.Tensor:
    """Applies a layer of synapses with all weights 1."""
    kind = type(layer)
    if kind in _WITH_WEIGHTS:
        ones = {name: "ones" for name in ("kernel_initializer", "depthwise_initializer") if hasattr(layer, name)}
        return copy_of(layer, use_bias=False, activation=None, **ones)(x)
    if kind in _GLOBAL_POOLING:
        return tf.reduce_sum(x, axis=list(range(1, x.shape.rank - 1)), keepdims=layer.keepdims)
    if kind in _POOLING:
        if layer.data_format != "channels_last":
            raise ValueError(
                f"The layer {layer.name!r} must have data_format='channels_last' for its synapses to count"
            )
        windows = _POOLING[kind](
            1, layer.pool_size, strides=layer.strides, padding=layer.padding, use_bias=False, kernel_initializer="ones",
            dtype="float32",
        )  # fmt: skip
        swap = [x.shape.rank - 1, *range(1, x.shape.rank - 1), 0]  # each channel by itself: one sample each
        return tf.transpose(windows(tf.transpose(x, swap)), swap)
    raise ValueError(
        f"The synapses of the layer {layer.name!r} ({kind.__name__}) cannot be counted: known are dense layers, "
        "convolutions and pooling, and layers that only move or drop values"
    )


def ann_operations(paths: Iterable[Connection]) -> list[tuple[int, int]]:
    """Cost of each connection in one inference of the same network as an ANN: `(macs, accumulates)`.

    As `synapses_of` counts: one MAC for each synapse with a weight, one accumulate for each element of a pooling
    window, and for each element of a summand that is not itself a sum of weights, such as an identity shortcut. An
    identity that is no summand counts as one accumulate for each element. What several paths share, such as the pooling
    before a residual block or the layers after an `Add`, is counted once, for the first. An ANN has no feedback of
    spikes.
    """
    paths = list(paths)
    values = [_values(path) for path in paths]
    takers: dict[_Value, set[_Value]] = collections.defaultdict(set)
    summands: dict[str, set[_Value]] = collections.defaultdict(set)
    concatenations = {
        id(layer) for path in paths for layer in path.layers if isinstance(layer, keras.layers.Concatenate)
    }
    for path, of in zip(paths, values, strict=True):
        if not path.delayed:
            last = max((i for i, value in enumerate(of[-1]) if value in concatenations), default=0)
            summands[path.target].add(of[-1][last:])
            for before, after in zip(of, [*of[1:], (path.target,)], strict=True):
                takers[before].add(after)
    found: list[tuple[int, int]] = []
    done: set[_Value] = set()
    added: set[tuple[_Value, _Value]] = set()  # summands, each with the sum
    for path, of in zip(paths, values, strict=True):
        if path.delayed:
            found.append((0, 0))
            continue
        macs = accumulates = 0
        shape: tuple[int, ...] = path.source_shape
        waiting: list[keras.layers.Layer] = []  # layers since that shape
        is_sum = False  # whether the value so far is a sum of weights, or over a pooling window
        is_identity = True
        ends_in_sum = len(summands[path.target]) > 1
        behind = [*of[1:], (path.target,)]
        sums = iter(path.sums)
        for layer, before, after in zip([*path.layers, None], of, behind, strict=True):
            if isinstance(layer, keras.layers.Add) or (layer is None and ends_in_sum):
                if (before, after) not in added and not (is_sum and len(takers[before]) == 1):
                    accumulates += math.prod(_behind(waiting, shape))
                added.add((before, after))
                shape, waiting, is_sum, is_identity = next(sums, shape), [], False, False
                continue
            for part in () if layer is None else parts_of(layer):
                waiting.append(part)
                if _has_synapses(part):
                    synapses = 0 if after in done else round(fan_out(tuple(waiting), shape).sum())
                    macs, accumulates = (
                        (macs + synapses, accumulates) if part.weights else (macs, accumulates + synapses)
                    )
                    shape, waiting, is_identity = _behind(waiting, shape), [], False
                is_sum = _has_synapses(part) or (is_sum and isinstance(part, keras.layers.BatchNormalization))
            done.add(after)
        if is_identity:
            accumulates += math.prod(_behind(waiting, shape))
        found.append((macs, accumulates))
    return found


#: What identifies a value on a path: the source, or the last `Add`, and the layers since.
_Value = tuple[str | int, ...]


def _values(path: Connection) -> list[_Value]:
    """The values on a path: at its source and after each of its layers."""
    found: list[_Value] = [(path.source,)]
    for layer in path.layers:
        found.append((id(layer),) if isinstance(layer, keras.layers.Add) else (*found[-1], id(layer)))
    return found


def _behind(layers: Iterable[keras.layers.Layer], shape: tuple[int, ...]) -> tuple[int, ...]:
    for layer in layers:
        if not isinstance(layer, JOINS):
            shape = tuple(layer.compute_output_shape((None, *shape)))[1:]
    return shape


def synapses_of(ann: keras.Model) -> tuple[int, int]:
    """Operations of one inference of an ordinary Keras model: `(macs, accumulates)`.

    One MAC for each synapse of a dense layer or convolution (not padding), one accumulate for each element of a pooling
    window, and of an unweighted input of an `Add`, such as an identity shortcut. Activations, and batch normalisation
    (which can be folded into the weights), cost nothing.

    Raises:
        TypeError: if it is neither Sequential nor functional.
        ValueError: if it holds a layer whose synapses are not known, or cannot be followed (`layer_graph.calls`).

    Example:
        >>> synapses_of(keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Conv2D(2, 3), keras.layers.Flatten()]))
        (72, 0)
    """
    macs = accumulates = 0
    padded: dict[str, tuple[tuple[keras.layers.Layer, ...], tuple]] = {}  # padding before a layer with weights
    weighted: set[str] = set()  # layers whose outputs are sums of weights
    found = calls(ann)
    takers = collections.Counter(source for call in found for source in call.sources)
    for call in found:
        layer, name = call.layer, call.layer.name
        if isinstance(layer, keras.layers.InputLayer):
            continue
        before, shape = padded.get(call.sources[0], ((), call.shapes[0]))
        if isinstance(layer, keras.Model):
            inner = synapses_of(layer)
            macs, accumulates = macs + inner[0], accumulates + inner[1]
            weighted.add(name)
        elif isinstance(layer, keras.layers.Add):
            # an output that other layers use too reaches the Add as it is
            unweighted = sum(source not in weighted or takers[source] > 1 for source in call.sources)
            accumulates += unweighted * math.prod(check_static_shape("the input of an Add", call.shapes[0]))
        elif isinstance(layer, _PADDING):
            padded[name] = ((*before, layer), shape)
        elif isinstance(layer, keras.layers.BatchNormalization) and call.sources[0] in weighted:
            weighted.add(name)
        elif not isinstance(layer, (*_PASSES_ON, *_PER_ELEMENT, keras.layers.Concatenate)):
            synapses = round(fan_out((*before, layer), shape).sum())
            macs, accumulates = (macs + synapses, accumulates) if layer.weights else (macs, accumulates + synapses)
            weighted.add(name)
    return macs, accumulates
