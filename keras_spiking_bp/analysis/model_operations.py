"""What one inference of an ordinary Keras model costs."""

from __future__ import annotations

import collections
import dataclasses
import math
import re
from typing import NamedTuple

import keras
import numpy as np

from keras_spiking_bp.analysis.synapse_counts import PASSES_ON, fan_out
from keras_spiking_bp.encoders import Encoder
from keras_spiking_bp.rnn.spiking_model import output_layer, sequences_and_mask
from keras_spiking_bp.utils.layer_graph import calls, name_of_output
from keras_spiking_bp.utils.layer_kinds import ONE_TO_ONE, POOLING, SAME
from keras_spiking_bp.utils.validation import check_static_shape


class OperationCount(NamedTuple):
    """Numbers of additions of a weight or a value, and of multiplications with an addition."""

    accumulates: int = 0
    macs: int = 0

    def plus(self, accumulates: int = 0, macs: int = 0) -> OperationCount:
        return OperationCount(self.accumulates + accumulates, self.macs + macs)

    def plus_synapses(self, synapses: int, layer: keras.layers.Layer) -> OperationCount:
        """With one operation for each of these synapses of `layer`: without weights, as in pooling, it adds only."""
        return self.plus(macs=synapses) if layer.weights else self.plus(accumulates=synapses)


def operations_before(model: keras.Model) -> OperationCount:
    """Operations of the layers before the encoder of a spiking network, once per inference.

    Raises:
        TypeError, ValueError: as `operations_of_model`; ValueError too if a layer that computes sums stands between the
            encoder, or the input where there is none, and the `SpikingRNN`.
    """
    cost = OperationCount()
    output_layer(model)
    inputs, tensor = model.inputs, sequences_and_mask(model)[0]
    while tensor is not None:
        operation, index, _ = tensor._keras_history
        taken = operation._inbound_nodes[index].input_tensors
        is_model = isinstance(operation, keras.Model) and getattr(operation, "outputs", None)
        inside = is_model and any(isinstance(part, Encoder) for part in operation._flatten_layers())
        tensor = taken[0] if len(taken) == 1 else None
        if isinstance(operation, Encoder) or inside:
            before = keras.Model(inputs, taken)
            if any(map(_computes_sums, _operations(before))):
                cost = cost.plus(*operations_of_model(before))
            inputs, tensor = (operation.inputs, operation.outputs[0]) if inside else (None, None)
        elif _computes_sums(operation) or (len(taken) > 1 and any(map(_computes_sums, _operations(model)[:-1]))):
            raise ValueError(
                "`model` must have its layers inside of the cell, or before an encoder: what is computed in each time "
                f"step by, or before, {operation.name!r} cannot be counted"
            )
    return cost


#: Names of classes of `keras.ops`, and of layers without weights, that compute sums of products, or pool.
_SUMS = {
    "AdaptiveAveragePool", "AdaptiveMaxPool", "AdditiveAttention", "Attention", "AveragePool", "Conv", "ConvTranspose",
    "Correlate", "DepthwiseConv", "Dot", "DotProductAttention", "Einsum", "Inner", "Matmul", "MaxPool", "SeparableConv",
    "Tensordot", "Vdot",
}  # fmt: skip


def _operations(model: keras.Operation) -> list[keras.Operation]:
    """Those of a functional model, layers and others; those of a Sequential; none of another layer."""
    return list(getattr(model, "operations", getattr(model, "layers", ())))


def _computes_sums(operation: keras.Operation) -> bool:
    """Whether it, or a layer in it, has synapses: pooling, or weights that are more than one factor an element."""
    if not isinstance(operation, keras.layers.Layer):
        return type(operation).__name__ in _SUMS
    layers = operation._flatten_layers()
    parts = [part for part in layers if len(part._flatten_layers()) == 1]
    return any(
        re.sub(r"ing\dD$", "", type(part).__name__) in _SUMS
        for layer in layers
        for part in (layer, *_operations(layer))
    ) or any(isinstance(part, POOLING) or (part.weights and not isinstance(part, _PER_ELEMENT)) for part in parts)


def operations_of_model(ann: keras.Model) -> OperationCount:
    """Operations of one inference of an ordinary Keras model.

    One MAC for each synapse of a dense layer or convolution (not padding, unless joined or resized since), one
    accumulate for each element of a pooling window, and of an unweighted input of an `Add`, such as an identity
    shortcut. Other layers without weights, such as activations, cost nothing, nor does normalisation by fixed
    statistics, which can be folded into the weights.

    Raises:
        TypeError: if it is neither Sequential nor functional.
        ValueError: if it holds a layer whose synapses are not known, or cannot be followed (`layer_graph.calls`).

    Example:
        >>> ann = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Conv2D(2, 3), keras.layers.Flatten()])
        >>> operations_of_model(ann)
        OperationCount(accumulates=0, macs=72)
    """
    return _counted(ann, _Value())[0]


@dataclasses.dataclass(frozen=True)
class _Value:
    """What is known of a value in an ordinary model.

    Attributes:
        is_sum: whether it is a sum of weights, or over a pooling window, which an `Add` can go on with.
        padding: the layers that padded it last, and those since that moved or cropped it.
        unpadded: its shape before those; None without.
    """

    is_sum: bool = False
    padding: tuple[keras.layers.Layer, ...] = ()
    unpadded: tuple[int | None, ...] | None = None

    def behind(self, layer: keras.layers.Layer, shared: bool) -> _Value:
        """What is known behind a layer that computes no sums; `shared` says whether others take this value too."""
        passed = self if keeps_zeros(layer) else _Value()
        if self.padding and isinstance(layer, PASSES_ON) and not isinstance(layer, SAME):  # moves or crops it
            passed = dataclasses.replace(self, padding=(*self.padding, layer))
        still_sum = self.is_sum and not shared and isinstance(layer, (*ONE_TO_ONE, *SAME))
        return dataclasses.replace(passed, is_sum=still_sum)


def _counted(ann: keras.Model, given: _Value) -> tuple[OperationCount, _Value]:
    """The operations of a model on an input of which `given` is known; and what is known of its output."""
    cost = OperationCount()
    values: dict[str, _Value] = {}
    found = calls(ann)
    takers = collections.Counter(source for call in found for source in call.sources)
    for call in found:
        layer, value = call.layer, _Value()
        taken = [values.get(source, given) for source in call.sources]
        shared = [takers[source] > 1 for source in call.sources]  # a value that others need is no partial sum
        if isinstance(layer, keras.layers.InputLayer):
            value = given
        elif isinstance(layer, keras.Model):
            inner = dataclasses.replace(taken[0], is_sum=taken[0].is_sum and not shared[0])
            more, value = _counted(layer, inner)
            cost = cost.plus(*more)
        elif isinstance(layer, keras.layers.Add):
            unweighted = sum(not of.is_sum or others for of, others in zip(taken, shared, strict=True))
            shapes = [check_static_shape("the input of an Add", shape) for shape in call.shapes]
            cost = cost.plus(accumulates=unweighted * math.prod(np.broadcast_shapes(*shapes)))
        elif isinstance(layer, _PADDING):
            since, unpadded = (*taken[0].padding, layer), taken[0].unpadded or call.shapes[0]
            value = dataclasses.replace(taken[0], is_sum=False, padding=since, unpadded=unpadded)
        elif isinstance(layer, (*PASSES_ON, *_PER_ELEMENT)) or keeps_zeros(layer):
            value = taken[0].behind(layer, shared[0])
        elif isinstance(layer, keras.layers.Concatenate) or (len(taken) == 1 and not _computes_sums(layer)):
            pass  # such as Resizing: what is behind it is no padding
        else:
            shape = check_static_shape(f"the input of {layer.name!r}", taken[0].unpadded or call.shapes[0])
            synapses = round(fan_out((*taken[0].padding, layer), shape).sum())
            cost = cost.plus_synapses(synapses, layer)
            value = _Value(is_sum=is_linear(layer))
        values[layer.name] = value
    return cost, values[name_of_output(ann)]


def keeps_zeros(layer: keras.layers.Layer) -> bool:
    """Whether padding behind it is still padding."""
    if isinstance(layer, keras.layers.Activation):
        return layer.activation in (keras.activations.linear, keras.activations.relu)
    if isinstance(layer, keras.layers.Rescaling):
        return not np.any(layer.offset)
    return isinstance(layer, (*PASSES_ON, keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.PReLU))


def is_linear(layer: keras.layers.Layer) -> bool:
    """Whether it has no activation."""
    return getattr(layer, "activation", None) in (None, keras.activations.linear)


_PER_ELEMENT = (
    keras.layers.ReLU, keras.layers.Activation, keras.layers.Softmax, keras.layers.Normalization, *ONE_TO_ONE,
)  # fmt: skip
_PADDING = (keras.layers.ZeroPadding1D, keras.layers.ZeroPadding2D, keras.layers.ZeroPadding3D)
