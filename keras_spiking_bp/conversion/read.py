"""Reads an ordinary Keras model as a `Graph`; rejects unsupported parts."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_spiking_bp.cells.composite import JOINS
from keras_spiking_bp.cells.graph import INPUT
from keras_spiking_bp.conversion.fold import channel_affine, factor_and_shift_arrays
from keras_spiking_bp.conversion.graph import AFFINE, AVERAGE, END, JOIN, MAXIMUM, MOVING, RELU, WEIGHTED, Graph
from keras_spiking_bp.conversion.refusals import refuse, refuse_activation, refuse_if, refuse_layer
from keras_spiking_bp.utils.layer_copies import copy_of, copy_with_weights, free_weights
from keras_spiking_bp.utils.layer_graph import Call, calls, check_is_layer, name_of_output, unique_name
from keras_spiking_bp.utils.layer_kinds import SAME, computes_otherwise, is_of_keras
from keras_spiking_bp.utils.validation import check_static_shape

_MAXIMUM = (
    keras.layers.MaxPooling1D, keras.layers.MaxPooling2D, keras.layers.GlobalMaxPooling1D,
    keras.layers.GlobalMaxPooling2D,
)  # fmt: skip
_SEPARABLE = {
    keras.layers.SeparableConv1D: (keras.layers.DepthwiseConv1D, keras.layers.Conv1D),
    keras.layers.SeparableConv2D: (keras.layers.DepthwiseConv2D, keras.layers.Conv2D),
}
_NOTHING = (*SAME, keras.layers.ActivityRegularization)  # in inference
_PREPARES = (
    keras.layers.Rescaling, keras.layers.Normalization, keras.layers.Resizing, keras.layers.CenterCrop,
)  # fmt: skip
#: Layers that augment images, besides those called `Random...`.
_AUGMENT = ("AugMix", "CutMix", "MixUp", "RandAugment")
_ENDS = ("softmax", "sigmoid")
_KINDS = (
    *WEIGHTED, *_SEPARABLE, *_MAXIMUM, *AVERAGE, *MOVING, *JOINS, *_NOTHING, keras.layers.BatchNormalization,
    keras.layers.Rescaling, keras.layers.Activation, keras.layers.ReLU, keras.layers.Softmax,
)  # fmt: skip
#: Functions accepted as an activation, by its name: the name of a function alone proves nothing.
_FUNCTIONS = {
    "linear": (keras.activations.linear,),
    "relu": (keras.activations.relu, keras.ops.relu, tf.nn.relu),
    "relu6": (keras.activations.relu6, keras.ops.relu6, tf.nn.relu6),
    "softmax": (keras.activations.softmax, keras.ops.softmax, tf.nn.softmax),
    "sigmoid": (keras.activations.sigmoid, keras.ops.sigmoid, tf.nn.sigmoid),
}


def read(ann: keras.Model) -> Graph:
    """The graph of `ann`: nested models expanded, activations as separate nodes, without a softmax at the end.

    Raises:
        TypeError, ValueError: as `layer_graph.calls`; ValueError too, with its name, if a layer cannot be converted, or
            not there.
    """
    found = calls(ann, layers_only=False)  # the first layer that cannot be converted is named first
    graph = Graph(check_static_shape("input shape of `ann`", ann.inputs[0].shape[1:]))
    graph.output, _ = _walk(found, name_of_output(ann), INPUT, graph, alone=True)
    _give_dropout(graph)
    _drop_end(graph)
    last = graph.nodes.get(graph.output)
    rectified = last is None or (graph.spikes(last.name) and not isinstance(last.layer, AVERAGE))
    if rectified or not any(isinstance(node.layer, WEIGHTED) for node in graph):
        raise ValueError(
            "`ann` must end in a Dense or convolutional layer, linear or with a softmax or sigmoid behind it (pooling "
            "or reshaping may be between)"
        )
    return graph


def _walk(found: list[Call], output: str, source: str, graph: Graph, alone: bool) -> tuple[str, bool]:
    """Adds the layers of a model that takes `source`, `alone` if nothing else does.

    Returns the name of its output, and whether nothing else takes that, if it is still `source`.
    """
    ends = {INPUT: source}
    alone_at = {INPUT: alone}  # those that nothing else takes, nor any value that they only pass on
    taken = [name for call in found for name in call.sources]
    for call in found:
        layer = call.layer
        check_is_layer(layer)
        if isinstance(layer, keras.layers.InputLayer):
            ends[layer.name], alone_at[layer.name] = source, alone
            continue
        sources = [ends[name] for name in call.sources]
        alone_here = alone_at[layer.name] = alone_at[call.sources[0]] and taken.count(call.sources[0]) == 1
        if isinstance(layer, keras.Model):
            inner = calls(layer, layers_only=False)
            ends[layer.name], alone_at[layer.name] = _walk(inner, name_of_output(layer), sources[0], graph, alone_here)
        elif sources == [INPUT] and alone_here and _prepares(layer):
            before = graph.front
            shape, layers = (graph.shape, []) if before is None else (before.input_shape[1:], before.layers)
            name = unique_name(layer.name, {part.name for part in layers})
            graph.front = keras.Sequential([keras.Input(shape), *layers, copy_with_weights(layer, name)])
            graph.shape = tuple(graph.front.output_shape)[1:]
            ends[layer.name] = INPUT
        else:
            ends[layer.name] = _add(layer, sources, graph)
    return ends[output], alone_at[output]


def _prepares(layer: keras.layers.Layer) -> bool:
    """Whether a layer prepares or augments images."""
    return isinstance(layer, _PREPARES) or _augments(layer)


def _augments(layer: keras.layers.Layer) -> bool:
    """Whether it changes images, and in training only."""
    kind = type(layer).__name__
    return is_of_keras(layer) and (kind.startswith("Random") or kind in _AUGMENT)


def _add(layer: keras.layers.Layer, sources: list[str], graph: Graph) -> str:
    """Adds one ANN layer; returns the name of the node with its output."""
    _check_computes_as_known(layer)
    refuse_if(getattr(layer, "data_format", None) == "channels_first", layer, "it must be channels_last")
    behind = graph.nodes.get(sources[0])
    if _drops_single_values(layer) and behind is not None and behind.kind == RELU:
        return graph.add(AFFINE, copy_of(layer, **free_weights(layer)), sources, layer.name).name
    nothing = isinstance(layer, _NOTHING) or (_augments(layer) and not isinstance(layer, keras.layers.RandomCrop))
    if nothing or (_is_activation(layer) and _activation(layer) == "linear"):
        return sources[0]
    of = layer.name
    if isinstance(layer, JOINS):
        refuse_if(len(sources) < 2, layer, "it takes one output only")
        ranks = {len(graph.shape_of(source)) for source in sources}
        refuse_if(len(ranks) > 1, layer, "its inputs must have as many dimensions each")
        rank = ranks.pop()
        channels = not isinstance(layer, keras.layers.Concatenate) or layer.axis in (-1, rank)
        refuse_if(not channels, layer, f"it must join channels, and has axis={getattr(layer, 'axis', None)}")
        return graph.add(JOIN, copy_of(layer, **free_weights(layer)), sources, of).name
    if len(sources) > 1:
        refuse_layer(layer)
    if _is_activation(layer):
        return _activated(layer, sources[0], graph)
    if isinstance(layer, keras.layers.Softmax):
        return graph.add(END, None, sources, of).name
    if isinstance(layer, tuple(_SEPARABLE)):
        return _activated(layer, _separable(layer, sources, graph), graph)
    if isinstance(layer, WEIGHTED):
        new_layer = copy_of(layer, activation=None, **free_weights(layer))
        node = graph.add(AFFINE, new_layer, sources, of)
        for new, old in zip(node.layer.weights, layer.weights, strict=True):
            new.assign(old)
        return _activated(layer, node.name, graph)
    shape = graph.shape_of(sources[0])
    if isinstance(layer, keras.layers.BatchNormalization):
        on_channels = layer.axis in (-1, len(shape))
        refuse_if(not on_channels, layer, f"it must normalise channels, and has axis={layer.axis}")
        return graph.add(AFFINE, channel_affine(*factor_and_shift_arrays(layer), shape, of), sources, of).name
    if isinstance(layer, keras.layers.Rescaling):
        factor, shift = (_of_channels(name, getattr(layer, name), layer, shape) for name in ("scale", "offset"))
        return graph.add(AFFINE, channel_affine(factor, shift, shape, of), sources, of).name
    if isinstance(layer, _MAXIMUM):
        return graph.add(MAXIMUM, copy_of(layer, **free_weights(layer)), sources, of).name
    if isinstance(layer, (*MOVING, *AVERAGE)):
        return graph.add(AFFINE, copy_of(layer, **free_weights(layer)), sources, of).name
    refuse_layer(layer)


def _of_channels(name: str, value: Any, layer: keras.layers.Layer, shape: tuple[int, ...]) -> np.ndarray:
    """A scale or offset of `Rescaling` as one number per channel; `shape` is the input's."""
    array = np.asarray(value, "float32")
    in_last = all(size == 1 for size in array.shape[:-1]) and array.ndim <= 1 + len(shape)
    why = f"its {name} must be a number, or one a channel ({shape[-1]}). Received: {name} of shape {array.shape}"
    refuse_if(not in_last or array.size not in (1, shape[-1]), layer, why)
    return np.broadcast_to(array.reshape(-1), shape[-1:])


def _check_computes_as_known(layer: keras.layers.Layer) -> None:
    """Rejects a layer of a known kind that computes something else."""
    otherwise = computes_otherwise(layer, _KINDS)
    if otherwise is not None:
        refuse(layer, otherwise)
    quantized = getattr(layer, "quantization_mode", None)
    refuse_if(quantized, layer, f"it is quantized ({quantized!r}): convert the network before `quantize`")
    lora = getattr(layer, "lora_enabled", False)
    refuse_if(lora, layer, "it has LoRA weights beside its kernel: add them to the kernel of a layer without LoRA")


def _separable(layer: keras.layers.Layer, sources: list[str], graph: Graph) -> str:
    """A depthwise convolution, and a 1x1 convolution after it."""
    depthwise, pointwise = next(made for kind, made in _SEPARABLE.items() if isinstance(layer, kind))
    first = depthwise(
        layer.kernel_size, strides=layer.strides, padding=layer.padding, depth_multiplier=layer.depth_multiplier,
        dilation_rate=layer.dilation_rate, data_format="channels_last", use_bias=False,
        name=f"{layer.name}_depthwise", dtype="float32", trainable=layer.trainable,
    )  # fmt: skip
    second = pointwise(
        layer.filters, 1, data_format="channels_last", use_bias=layer.use_bias, name=layer.name, dtype="float32",
        trainable=layer.trainable,
    )  # fmt: skip
    between = graph.add(AFFINE, first, sources, first.name)
    node = graph.add(AFFINE, second, [between.name], layer.name)
    first.kernel.assign(layer.depthwise_kernel)
    second.kernel.assign(layer.pointwise_kernel)
    if layer.use_bias:
        second.bias.assign(layer.bias)
    return node.name


def _activated(layer: keras.layers.Layer, source: str, graph: Graph) -> str:
    """The activation of a layer, after its own operation."""
    called = _activation(layer)
    if called == "linear":
        return source
    if called in _ENDS:
        return graph.add(END, None, [source], layer.name).name
    if called not in ("relu", "relu6"):
        refuse_activation(layer, called)
    maximum = 6.0 if called == "relu6" else np.inf
    if isinstance(layer, keras.layers.ReLU):
        refuse_if(
            layer.negative_slope, layer, "with a negative_slope its output can be negative, and spikes have no sign"
        )
        refuse_if(layer.threshold, layer, "with a threshold it jumps there, and no count of spikes follows that")
        maximum = np.inf if layer.max_value is None else float(layer.max_value)
    return graph.add(RELU, None, [source], layer.name, maximum=maximum).name


def _is_activation(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, (keras.layers.Activation, keras.layers.ReLU))


def _activation(layer: keras.layers.Layer) -> str:
    """The name of an activation; with its module if it only shares the name of a known function."""
    if isinstance(layer, keras.layers.ReLU):
        return "relu"
    activation = getattr(layer, "activation", None)
    if activation is None:
        return "linear"
    for name, functions in _FUNCTIONS.items():
        if any(activation is function for function in functions):
            return name
    name = getattr(activation, "__name__", str(activation))
    return f"{activation.__module__}.{name}" if name in _FUNCTIONS else name


def _drops_single_values(layer: keras.layers.Layer | None) -> bool:
    """Whether it is the dropout that `LIFCell` has too, not one of whole channels."""
    whole = (keras.layers.SpatialDropout1D, keras.layers.SpatialDropout2D, keras.layers.SpatialDropout3D)
    return isinstance(layer, keras.layers.Dropout) and not isinstance(layer, whole) and layer.noise_shape is None


def _give_dropout(graph: Graph) -> None:
    """Removes dropout after a ReLU; its rate goes to the ReLU if nothing else uses the ReLU's output."""
    for node in graph:
        if _drops_single_values(node.layer):
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
            raise ValueError(
                f"The layer {node.of!r} cannot be converted: its activation is a softmax or sigmoid inside of the "
                "network, not at its end, and only a ReLU is what a neuron does"
            )
