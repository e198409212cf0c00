"""What one inference costs as an ANN."""

from __future__ import annotations

import collections
import dataclasses
import math
import re
from collections.abc import Iterable

import keras
import numpy as np

from keras_spiking_bp.analysis.synapse_counts import PASSES_ON, fan_out, has_synapses
from keras_spiking_bp.cells.graph import JOINS
from keras_spiking_bp.connections import ONE_TO_ONE, POOLING, SAME, Connection
from keras_spiking_bp.encoders import Encoder
from keras_spiking_bp.layer_graph import calls, name_of_output, parts_of
from keras_spiking_bp.spiking_model import output_layer, sequences_of
from keras_spiking_bp.validation import check_static_shape


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
    takers, summands = _uses(paths, values)
    found: list[tuple[int, int]] = []
    counted: set[_Place] = set()
    added: set[tuple[_Place, _Place]] = set()  # summands, each with the sum
    for path, of in zip(paths, values, strict=True):
        if path.delayed:
            found.append((0, 0))
            continue
        macs = accumulates = 0
        state = _State(path.source_shape)
        sums = iter(path.sums)
        ends_in_sum = len(summands[path.target]) > 1
        for layer, before, after in zip([*path.layers, None], of, [*of[1:], (path.target,)], strict=True):
            if isinstance(layer, keras.layers.Add) or (layer is None and ends_in_sum):
                if (before, after) not in added and not (state.is_sum and len(takers[before]) == 1):
                    accumulates += math.prod(state.shape)
                added.add((before, after))
                state = _State(next(sums, state.shape), is_identity=False)
                continue
            for part in () if layer is None else parts_of(layer):
                synapses = 0 if after in counted else state.synapses(part)
                macs, accumulates = (macs + synapses, accumulates) if part.weights else (macs, accumulates + synapses)
                state = state.behind(part)
            if len(takers[before]) > 1 and isinstance(layer, (*ONE_TO_ONE, *SAME)):
                state = dataclasses.replace(state, is_sum=False)  # what others need too is no partial sum
            counted.add(after)
        if state.is_identity:
            accumulates += math.prod(state.shape)
        found.append((macs, accumulates))
    return found


#: What identifies a value on a path: the source, or the last `Add`, and the layers since.
_Place = tuple[str | int, ...]


def _values(path: Connection) -> list[_Place]:
    """The values on a path: at its source and after each of its layers."""
    found: list[_Place] = [(path.source,)]
    for layer in path.layers:
        found.append((id(layer),) if isinstance(layer, keras.layers.Add) else (*found[-1], id(layer)))
    return found


def _uses(
    paths: list[Connection], values: list[list[_Place]]
) -> tuple[dict[_Place, set[_Place]], dict[str, set[_Place]]]:
    """What takes each value, and the summands of the current of each target."""
    takers: dict[_Place, set[_Place]] = collections.defaultdict(set)
    summands: dict[str, set[_Place]] = collections.defaultdict(set)
    concatenations = {
        id(layer) for path in paths for layer in path.layers if isinstance(layer, keras.layers.Concatenate)
    }
    for path, of in zip(paths, values, strict=True):
        if not path.delayed:
            last = max((i for i, value in enumerate(of[-1]) if value in concatenations), default=0)
            summands[path.target].add(of[-1][last:])
            for before, after in zip(of, [*of[1:], (path.target,)], strict=True):
                takers[before].add(after)
    return takers, summands


@dataclasses.dataclass(frozen=True)
class _State:
    """What is known of a value on a path.

    Attributes:
        origin: shape of the last value before it that synapses, an `Add` or a normalisation computed, or of the source.
        since: the layers since that one.
        is_sum: whether it is a sum of weights, or over a pooling window.
        is_identity: whether it is the output of the source.
    """

    origin: tuple[int, ...]
    since: tuple[keras.layers.Layer, ...] = ()
    is_sum: bool = False
    is_identity: bool = True

    @property
    def shape(self) -> tuple[int, ...]:
        shape = self.origin
        for layer in self.since:
            if not isinstance(layer, JOINS):
                shape = tuple(layer.compute_output_shape((None, *shape)))[1:]
        return shape

    def synapses(self, part: keras.layers.Layer) -> int:
        """Those that the whole value reaches in `part`."""
        return round(fan_out((*self.since, part), self.origin).sum()) if has_synapses(part) else 0

    def behind(self, part: keras.layers.Layer) -> _State:
        """The state of the output of `part`."""
        passed = dataclasses.replace(self, since=(*self.since, part))
        if has_synapses(part):
            return _State(passed.shape, is_sum=_is_linear(part), is_identity=False)
        still_sum = self.is_sum and isinstance(part, (*ONE_TO_ONE, *SAME))
        if isinstance(part, ONE_TO_ONE) and not _keeps_zeros(part):
            return dataclasses.replace(self, origin=passed.shape, since=(), is_sum=still_sum)
        return dataclasses.replace(passed, is_sum=still_sum)


def operations_before(model: keras.Model) -> tuple[int, int]:
    """Operations of the layers before the encoder of a spiking network, once per inference: `(macs, accumulates)`.

    Raises:
        TypeError, ValueError: as `synapses_of`; ValueError too if a layer that computes sums stands between the
            encoder, or the input where there is none, and the `SpikingRNN`.
    """
    macs = accumulates = 0
    output_layer(model)
    inputs, tensor = model.inputs, sequences_of(model)
    while tensor is not None:
        operation, index, _ = tensor._keras_history
        taken = operation._inbound_nodes[index].input_tensors
        is_model = isinstance(operation, keras.Model) and getattr(operation, "outputs", None)
        inside = is_model and any(isinstance(part, Encoder) for part in operation._flatten_layers())
        tensor = taken[0] if len(taken) == 1 else None
        if isinstance(operation, Encoder) or inside:
            before = keras.Model(inputs, taken)
            if any(map(_computes_sums, _operations(before))):
                more_macs, more_accumulates = synapses_of(before)
                macs, accumulates = macs + more_macs, accumulates + more_accumulates
            inputs, tensor = (operation.inputs, operation.outputs[0]) if inside else (None, None)
        elif _computes_sums(operation) or (len(taken) > 1 and any(map(_computes_sums, _operations(model)[:-1]))):
            raise ValueError(
                "`model` must have its layers inside of the cell, or before an encoder: what is computed in each time "
                f"step by, or before, {operation.name!r} cannot be counted"
            )
    return macs, accumulates


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


def synapses_of(ann: keras.Model) -> tuple[int, int]:
    """Operations of one inference of an ordinary Keras model: `(macs, accumulates)`.

    One MAC for each synapse of a dense layer or convolution (not padding), one accumulate for each element of a pooling
    window, and of an unweighted input of an `Add`, such as an identity shortcut. Other layers without weights,
    such as activations, cost nothing, nor does normalisation by fixed statistics, which can be folded into the weights.

    Raises:
        TypeError: if it is neither Sequential nor functional.
        ValueError: if it holds a layer whose synapses are not known, or cannot be followed (`layer_graph.calls`).

    Example:
        >>> synapses_of(keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Conv2D(2, 3), keras.layers.Flatten()]))
        (72, 0)
    """
    macs, accumulates, _ = _counted(ann, _Value())
    return macs, accumulates


@dataclasses.dataclass(frozen=True)
class _Value:
    """What is known of a value in an ordinary model.

    Attributes:
        is_sum: whether it is a sum of weights, or over a pooling window, which an `Add` can go on with.
        padding: the layers that padded it last, and those since that moved or cropped it.
        joined: the name of the last layer that joined padded values, so that it is unknown where there is padding.
        unpadded: its shape before those; None without.
    """

    is_sum: bool = False
    padding: tuple[keras.layers.Layer, ...] = ()
    unpadded: tuple[int | None, ...] | None = None
    joined: str | None = None

    def behind(self, layer: keras.layers.Layer, shared: bool) -> _Value:
        """What is known behind a layer that computes no sums; `shared` says whether others take this value too."""
        passed = self if _keeps_zeros(layer) else _Value()
        if self.padding and isinstance(layer, PASSES_ON) and not isinstance(layer, SAME):  # moves or crops it
            passed = dataclasses.replace(self, padding=(*self.padding, layer))
        still_sum = self.is_sum and not shared and isinstance(layer, (*ONE_TO_ONE, *SAME))
        return dataclasses.replace(passed, is_sum=still_sum)


def _counted(ann: keras.Model, given: _Value) -> tuple[int, int, _Value]:
    """The operations of a model on an input of which `given` is known; and what is known of its output."""
    macs = accumulates = 0
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
            more_macs, more_accumulates, value = _counted(layer, inner)
            macs, accumulates = macs + more_macs, accumulates + more_accumulates
        elif isinstance(layer, keras.layers.Add):
            value = _Value(joined=layer.name if all(of.padding or of.joined for of in taken) else None)
            unweighted = sum(not of.is_sum or others for of, others in zip(taken, shared, strict=True))
            shapes = [check_static_shape("the input of an Add", shape) for shape in call.shapes]
            accumulates += unweighted * math.prod(np.broadcast_shapes(*shapes))
        elif isinstance(layer, _PADDING):
            since, unpadded = (*taken[0].padding, layer), taken[0].unpadded or call.shapes[0]
            value = dataclasses.replace(taken[0], is_sum=False, padding=since, unpadded=unpadded)
        elif isinstance(layer, keras.layers.Concatenate):
            value = _Value(joined=layer.name if any(of.padding or of.joined for of in taken) else None)
        elif isinstance(layer, (*PASSES_ON, *_PER_ELEMENT)) or _keeps_zeros(layer):
            value = taken[0].behind(layer, shared[0])
        elif len(taken) == 1 and not _computes_sums(layer):  # such as Resizing
            value = _Value(joined=layer.name if taken[0].padding or taken[0].joined else None)
        else:
            if taken[0].joined:
                raise ValueError(
                    f"The synapses of the layer {layer.name!r} ({type(layer).__name__}) cannot be counted: "
                    f"{taken[0].joined!r} before it joins values with padding, which costs nothing. Put the padding "
                    "behind it"
                )
            shape = check_static_shape(f"the input of {layer.name!r}", taken[0].unpadded or call.shapes[0])
            synapses = round(fan_out((*taken[0].padding, layer), shape).sum())
            macs, accumulates = (macs + synapses, accumulates) if layer.weights else (macs, accumulates + synapses)
            value = _Value(is_sum=_is_linear(layer))
        values[layer.name] = value
    return macs, accumulates, values[name_of_output(ann)]


def _keeps_zeros(layer: keras.layers.Layer) -> bool:
    """Whether padding behind it is still padding."""
    if isinstance(layer, keras.layers.Activation):
        return layer.activation in (keras.activations.linear, keras.activations.relu)
    if isinstance(layer, keras.layers.Rescaling):
        return not np.any(layer.offset)
    return isinstance(layer, (*PASSES_ON, keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.PReLU))


def _is_linear(layer: keras.layers.Layer) -> bool:
    return getattr(layer, "activation", None) in (None, keras.activations.linear)


_PER_ELEMENT = (
    keras.layers.ReLU, keras.layers.Activation, keras.layers.Softmax, keras.layers.Normalization, *ONE_TO_ONE,
)  # fmt: skip
_PADDING = (keras.layers.ZeroPadding1D, keras.layers.ZeroPadding2D, keras.layers.ZeroPadding3D)
