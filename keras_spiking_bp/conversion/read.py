"""Reads an ordinary Keras model as a `Graph`; rejects unsupported parts."""

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_spiking_bp.cells.folding import factor_and_shift
from keras_spiking_bp.cells.graph import INPUT
from keras_spiking_bp.conversion.fold import WEIGHTED, channel_affine
from keras_spiking_bp.conversion.graph import AFFINE, AVERAGE, END, JOIN, MAXIMUM, RELU, Graph
from keras_spiking_bp.utils.layer_kinds import (
    GLOBAL_MAX_POOLING,
    MAX_POOLING,
    MOVING,
    SAME,
    computes_otherwise,
    is_of_keras,
)
from keras_spiking_bp.utils.layers import (
    Call,
    calls,
    check_is_layer,
    copy_of,
    copy_with_weights,
    free_weights,
    name_of_output,
    unique_name,
)
from keras_spiking_bp.utils.validation import check_static_shape

_PREPARES = (keras.layers.Rescaling, keras.layers.Normalization, keras.layers.Resizing, keras.layers.CenterCrop)
#: Layers that augment images, besides those called `Random...`.
_AUGMENT = ("AugMix", "CutMix", "MixUp", "RandAugment")
#: Functions accepted as an activation, by its name: the name of a function alone proves nothing.
_FUNCTIONS = {
    "linear": (None, keras.activations.linear),
    "relu": (keras.activations.relu, keras.ops.relu, tf.nn.relu),
    "relu6": (keras.activations.relu6, keras.ops.relu6, tf.nn.relu6),
    "softmax": (keras.activations.softmax, keras.ops.softmax, tf.nn.softmax),
    "sigmoid": (keras.activations.sigmoid, keras.ops.sigmoid, tf.nn.sigmoid),
}


def read(ann: keras.Model) -> Graph:
    """The graph of `ann`: nested models expanded, activations as separate nodes, without a softmax at the end."""
    found = calls(ann, layers_only=False)  # the first layer that cannot be converted is named first
    graph = Graph(check_static_shape("input shape of `ann`", ann.inputs[0].shape[1:]))
    graph.output, _ = _walk(found, name_of_output(ann), INPUT, graph, alone=True)
    _give_dropout(graph)
    _drop_end(graph)
    last = graph.nodes.get(graph.output)
    rectified = last is None or (graph.spikes(last.name) and not isinstance(last.layer, AVERAGE))
    if rectified or not any(isinstance(node.layer, WEIGHTED) for node in graph):
        raise ValueError("`ann` must end in a Dense or convolutional layer without a ReLU; pooling may follow it")
    return graph


def _walk(found: list[Call], output: str, source: str, graph: Graph, alone: bool) -> tuple[str, bool]:
    """Adds the layers of a model on `source`; returns its output, and whether all is one row (`alone`) until there."""
    ends = {INPUT: source}
    taken = [name for call in found for name in call.sources]
    for call in found:
        layer = call.layer
        check_is_layer(layer)
        if isinstance(layer, keras.layers.InputLayer):
            ends[layer.name] = source
            continue
        sources = [ends[name] for name in call.sources]
        alone = alone and taken.count(call.sources[0]) == 1
        if isinstance(layer, keras.Model):
            inner = calls(layer, layers_only=False)
            ends[layer.name], alone = _walk(inner, name_of_output(layer), sources[0], graph, alone)
        elif sources == [INPUT] and alone and (isinstance(layer, _PREPARES) or _augments(layer)):
            before = graph.front
            shape, layers = (graph.shape, []) if before is None else (before.input_shape[1:], before.layers)
            name = unique_name(layer.name, {part.name for part in layers})
            graph.front = keras.Sequential([keras.Input(shape), *layers, copy_with_weights(layer, name)])
            graph.shape = tuple(graph.front.output_shape)[1:]
            ends[layer.name] = INPUT
        else:
            ends[layer.name] = _add(layer, sources, graph)
    return ends[output], alone


def _augments(layer: keras.layers.Layer) -> bool:
    """Whether it changes images, and in training only."""
    kind = type(layer).__name__
    return is_of_keras(layer) and (kind.startswith("Random") or kind in _AUGMENT)


def _refuse_if(condition: object, layer: keras.layers.Layer, why: str) -> None:
    if condition:
        raise ValueError(f"The layer {layer.name!r} ({type(layer).__name__}) cannot be converted: {why}")


def _add(layer: keras.layers.Layer, sources: list[str], graph: Graph) -> str:
    """Adds one ANN layer; returns the name of the node with its output."""
    otherwise = computes_otherwise(layer, tuple(_HANDLERS))
    _refuse_if(otherwise, layer, otherwise or "")
    _refuse_if(getattr(layer, "data_format", None) == "channels_first", layer, "it must be channels_last")
    other = _nothing if _augments(layer) and not isinstance(layer, keras.layers.RandomCrop) else _unknown
    handler = next((_HANDLERS[kind] for kind in type(layer).__mro__ if kind in _HANDLERS), other)
    return handler(layer, sources, graph)


def _unknown(layer, sources, graph):
    _refuse_if(True, layer, "the docstring of `convert_to_snn` has the kinds of layers that can")


def _nothing(layer, sources, graph):
    return sources[0]


def _dropout(layer, sources, graph):
    """That of single values behind a ReLU, which `LIFCell` has too: `_give_dropout` gives it to the neurons."""
    before = graph.nodes.get(sources[0])
    if layer.noise_shape is not None or before is None or before.kind != RELU:
        return sources[0]
    return _affine(layer, sources, graph)


def _affine(layer, sources, graph, kind=AFFINE):
    return graph.add(kind, copy_of(layer, **free_weights(layer)), sources, layer.name).name


def _join(layer, sources, graph):
    ranks = {len(graph.shape_of(source)) for source in sources}
    _refuse_if(len(ranks) > 1, layer, "its inputs must have as many dimensions each")
    axis = getattr(layer, "axis", -1)
    _refuse_if(axis not in (-1, *ranks), layer, f"it must join channels, and has axis={axis}")
    return _affine(layer, sources, graph, JOIN)


def _weighted(layer, sources, graph):
    node = graph.add(AFFINE, copy_of(layer, activation=None, **free_weights(layer)), sources, layer.name)
    for new, old in zip(node.layer.weights, layer.weights, strict=True):
        new.assign(old)
    return _activated(layer, [node.name], graph)


def _separable(layer, sources, graph):
    """A depthwise convolution, and a 1x1 convolution after it."""
    if isinstance(layer, keras.layers.SeparableConv1D):
        depthwise, pointwise = keras.layers.DepthwiseConv1D, keras.layers.Conv1D
    else:
        depthwise, pointwise = keras.layers.DepthwiseConv2D, keras.layers.Conv2D
    common = {"data_format": "channels_last", "dtype": "float32", "trainable": layer.trainable}
    first = depthwise(
        layer.kernel_size, strides=layer.strides, padding=layer.padding, depth_multiplier=layer.depth_multiplier,
        dilation_rate=layer.dilation_rate, use_bias=False, name=f"{layer.name}_depthwise", **common,
    )  # fmt: skip
    second = pointwise(layer.filters, 1, use_bias=layer.use_bias, name=layer.name, **common)
    between = graph.add(AFFINE, first, sources, first.name)
    node = graph.add(AFFINE, second, [between.name], layer.name)
    first.kernel.assign(layer.depthwise_kernel)
    second.kernel.assign(layer.pointwise_kernel)
    if layer.use_bias:
        second.bias.assign(layer.bias)
    return _activated(layer, [node.name], graph)


def _normalization(layer, sources, graph):
    shape = graph.shape_of(sources[0])
    _refuse_if(layer.axis not in (-1, len(shape)), layer, f"it must normalise channels, and has axis={layer.axis}")
    new = channel_affine(*factor_and_shift(layer), shape, layer.name)
    return graph.add(AFFINE, new, sources, layer.name).name


def _rescaling(layer, sources, graph):
    shape = graph.shape_of(sources[0])
    channels = (*(1 for _ in shape), shape[-1])  # NumPy refuses all but one number, or one a channel
    factor, shift = (np.broadcast_to(x, channels).astype("float32").ravel() for x in (layer.scale, layer.offset))
    return graph.add(AFFINE, channel_affine(factor, shift, shape, layer.name), sources, layer.name).name


def _activated(layer, sources, graph):
    """The activation of a layer, after its own operation."""
    activation, maximum = getattr(layer, "activation", None), np.inf
    if isinstance(layer, keras.layers.ReLU):
        _refuse_if(layer.negative_slope, layer, "its negative_slope makes outputs negative, and spikes have no sign")
        _refuse_if(layer.threshold, layer, "with a threshold it jumps there, and no count of spikes follows that")
        activation = keras.activations.relu
        maximum = np.inf if layer.max_value is None else float(layer.max_value)
    known = (name for name, functions in _FUNCTIONS.items() if any(activation is function for function in functions))
    name = next(known, None)
    if name == "linear":
        return sources[0]
    if name in ("softmax", "sigmoid"):
        return _end(layer, sources, graph)
    why = f"its activation is {getattr(activation, '__name__', activation)!r}, no ReLU of Keras or TensorFlow"
    _refuse_if(name is None, layer, f"{why}, and only a ReLU is what a neuron does")
    return graph.add(RELU, None, sources, layer.name, maximum=6.0 if name == "relu6" else maximum).name


def _end(layer, sources, graph):
    return graph.add(END, None, sources, layer.name).name


#: What adds a layer of each kind; of a subclass, the handler of its nearest base.
_HANDLERS: dict[type, Callable[[Any, list[str], Graph], str]] = {
    **dict.fromkeys(WEIGHTED, _weighted),
    **dict.fromkeys((keras.layers.SeparableConv1D, keras.layers.SeparableConv2D), _separable),
    **dict.fromkeys((*MOVING, *AVERAGE), _affine),
    **dict.fromkeys((*MAX_POOLING, *GLOBAL_MAX_POOLING), functools.partial(_affine, kind=MAXIMUM)),
    **dict.fromkeys((keras.layers.Add, keras.layers.Concatenate), _join),
    **dict.fromkeys((*SAME, keras.layers.ActivityRegularization), _nothing),
    **dict.fromkeys((keras.layers.Activation, keras.layers.ReLU), _activated),
    keras.layers.Dropout: _dropout,
    keras.layers.BatchNormalization: _normalization,
    keras.layers.Rescaling: _rescaling,
    keras.layers.Softmax: _end,
}


def _give_dropout(graph: Graph) -> None:
    """Removes dropout after a ReLU; its rate goes to the ReLU if nothing else uses the ReLU's output."""
    for node in graph:
        if isinstance(node.layer, keras.layers.Dropout):
            rectified = graph.nodes[node.sources[0]]
            if graph.taken_once(rectified.name):
                rectified.dropout = float(node.layer.rate)
            graph.drop(node)


def _drop_end(graph: Graph) -> None:
    """Removes a softmax or sigmoid at the end, where at most reshaping follows; rejects it elsewhere."""
    name = graph.output
    while name in graph.nodes:
        node = graph.nodes[name]
        name = node.sources[0]
        if node.kind == END:
            graph.drop(node)
        elif not isinstance(node.layer, MOVING):
            break
    for node in graph:
        if node.kind == END:
            raise ValueError(f"The layer {node.of!r} cannot be converted: a softmax or sigmoid must be at the end")
